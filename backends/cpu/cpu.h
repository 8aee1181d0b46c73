/* SPDX-License-Identifier: Apache-2.0
 *
 * The CPU backend: host memory, synchronous queues, work cut into tasks that run on a thread pool or the host's
 * executor.
 */
#ifndef SKV_CPU_CPU_H
#define SKV_CPU_CPU_H

#include "backends/cpu/kernels/kernels.h"
#include "core/backend.h"

struct skv_cpu_pool; /* threads.c */

struct skv_cpu_device {
    struct skv_device base;
    struct skv_cpu_kernels kernels;
    struct skv_cpu_pool *pool;
};

static inline struct skv_cpu_device *skv_cpu_device_of(const struct skv_queue *queue)
{
    return (struct skv_cpu_device *)queue->device;
}

/* threads.c */

/* Cores that this process may use. */
uint32_t skv_cpu_cores(void);
/* n_threads >= 1, the caller's included; executor may be NULL. NULL when out of memory. */
struct skv_cpu_pool *skv_cpu_pool_create(uint32_t n_threads, const struct skv_executor *executor);
void skv_cpu_pool_destroy(struct skv_cpu_pool *pool);
uint32_t skv_cpu_pool_threads(const struct skv_cpu_pool *pool);
/* Runs task(context, i) for i < n_tasks and returns when all are done. Any thread may call it. */
void skv_cpu_pool_run(struct skv_cpu_pool *pool, void (*task)(void *context, size_t i_task), void *context,
                      size_t n_tasks);

/* memory.c and one file per operation: the entries of the device table */
enum skv_status skv_cpu_buffer_create(struct skv_device *device, const struct skv_buffer_params *params,
                                      struct skv_buffer **buffer);
void skv_cpu_buffer_destroy(struct skv_buffer *buffer);
enum skv_status skv_cpu_buffer_write(struct skv_queue *queue, struct skv_span to, const void *from, uint64_t n_bytes);
enum skv_status skv_cpu_buffer_read(struct skv_queue *queue, void *to, struct skv_span from, uint64_t n_bytes);
enum skv_status skv_cpu_buffer_copy(struct skv_queue *queue, struct skv_span to, struct skv_span from,
                                    uint64_t n_bytes);
enum skv_status skv_cpu_buffer_fill(struct skv_queue *queue, struct skv_span to, uint8_t value, uint64_t n_bytes);
enum skv_status skv_cpu_queue_create(struct skv_device *device, const struct skv_queue_params *params,
                                     struct skv_queue **queue);
void skv_cpu_queue_destroy(struct skv_queue *queue);
enum skv_status skv_cpu_queue_finish(struct skv_queue *queue);
enum skv_status skv_cpu_timer_create(struct skv_device *device, struct skv_timer **timer);
void skv_cpu_timer_destroy(struct skv_timer *timer);
enum skv_status skv_cpu_timer_mark(struct skv_timer *timer, struct skv_queue *queue, int is_stop);
enum skv_status skv_cpu_timer_read(struct skv_timer *timer, uint64_t *nanoseconds);

enum skv_status skv_cpu_prune(struct skv_queue *queue, const struct skv_prune_params *params);
enum skv_status skv_cpu_channel_weights(struct skv_queue *queue, const struct skv_channel_weights_params *params);
enum skv_status skv_cpu_compress(struct skv_queue *queue, const struct skv_compress_params *params);
enum skv_status skv_cpu_decompress(struct skv_queue *queue, const struct skv_decompress_params *params);
enum skv_status skv_cpu_attend(struct skv_queue *queue, const struct skv_attend_params *params,
                               const struct skv_attend_plan *plan);
enum skv_status skv_cpu_merge(struct skv_queue *queue, const struct skv_merge_params *params);

/* merge.c */

/* One query row's partial results -> one row: part p has its output at part_out + p * out_stride and its lse at
 * part_lse[p * lse_stride]. sink is one more logit that carries no value, or NULL. Writes head_dim values of out_dtype
 * and, where lse is not NULL, the lse. */
void skv_cpu_merge_row(const float *part_out, size_t out_stride, const float *part_lse, size_t lse_stride,
                       uint64_t n_parts, const float *sink, uint32_t head_dim, uint32_t out_dtype, void *out,
                       float *lse);

#endif
