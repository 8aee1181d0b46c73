/* SPDX-License-Identifier: Apache-2.0
 *
 * What the GPU backends (OpenCL, CUDA, HIP) share on the host: the operations, as launches of the kernels in kernels/.
 * A backend derives its devices and queues from the types here and enqueues a launch in its driver's way.
 */
#ifndef SKV_GPU_H
#define SKV_GPU_H

#include <stdbool.h>

#include "backends/gpu/params.h"
#include "core/backend.h"
#include "core/check.h"

enum skv_gpu_kernel {
    SKV_GPU_PRUNE,
    SKV_GPU_COMPRESS_FIXED,
    SKV_GPU_COMPRESS_RAGGED,
    SKV_GPU_DECOMPRESS,
    SKV_GPU_WEIGHTS,
    SKV_GPU_MERGE,
    SKV_GPU_ROW_KERNELS,
    SKV_GPU_ATTEND = SKV_GPU_ROW_KERNELS /* in the variant that the launch names */
};

/* The names of the row kernels in the kernels' text. */
extern const char *const skv_gpu_kernel_names[SKV_GPU_ROW_KERNELS];

#define SKV_GPU_CAPACITIES 4

struct skv_gpu_device {
    struct skv_device base;
    uint64_t group_bytes; /* group memory that a group may have */
    bool is_serial;       /* prune and compress have groups of one lane */
    /* The head_dims for which attention kernels were compiled, ascending, each serving the smaller ones; the first 0:
     * they are compiled for each head_dim. */
    uint32_t capacities[SKV_GPU_CAPACITIES];
};

/* A variant of the portable attention kernel. */
struct skv_gpu_variant {
    uint32_t head_dim; /* what it is compiled for; the call's may be less */
    uint32_t m;        /* query rows of a group */
    uint32_t dtype;
    uint32_t tile, lanes;
};

struct skv_gpu_launch;

struct skv_gpu_queue {
    struct skv_queue base;
    enum skv_status (*enqueue)(const struct skv_gpu_launch *launch);
    bool faults_likely; /* a kernel that can find faults was enqueued since they were read */
    uint64_t n_slots;   /* of the latest pool, for messages */
};

struct skv_gpu_arg {
    const void *value; /* n_bytes of it; NULL: a buffer */
    size_t n_bytes;
    struct skv_span span; /* without a buffer: absent, and the kernel does not touch it */
    bool is_faults;       /* the queue's record of faults */
};

#define SKV_GPU_ARGS_MAX 17

/* Values that are pointed to live until the launch is enqueued. */
struct skv_gpu_launch {
    struct skv_gpu_queue *queue;
    enum skv_gpu_kernel kernel;
    struct skv_gpu_variant variant; /* of SKV_GPU_ATTEND */
    uint32_t n_args, lanes;
    size_t scratch_bytes; /* 0: the kernel takes none */
    bool overlaps;        /* the kernel itself waits for those ahead of it */
    uint64_t groups[3];
    struct skv_gpu_arg args[SKV_GPU_ARGS_MAX];
};

struct skv_gpu_launch skv_gpu_launch_begin(struct skv_queue *queue, enum skv_gpu_kernel kernel);
void skv_gpu_arg_value(struct skv_gpu_launch *launch, const void *value, size_t n_bytes);
void skv_gpu_arg_buffer(struct skv_gpu_launch *launch, struct skv_span span);
void skv_gpu_arg_faults(struct skv_gpu_launch *launch);
enum skv_status skv_gpu_enqueue(struct skv_gpu_launch *launch, uint32_t lanes, uint64_t n_x, uint64_t n_y,
                                uint64_t n_z);

/* Offset of a span in elements; 0 for an absent one. */
static inline uint64_t skv_gpu_offset(struct skv_span span, uint32_t element_bytes)
{
    return span.buffer ? span.offset / element_bytes : 0;
}

struct skv_gpu_pool skv_gpu_pool_of(const struct skv_pool *pool);
/* The heads of a launch from `first` on; `layout` and `rule` may be NULL. Returns how many it serves. */
uint32_t skv_gpu_heads_of(const struct skv_layout *layout, const struct skv_select *rule, uint32_t n_heads,
                          uint32_t first, struct skv_gpu_heads *heads);
/* SKV_OK, or the error of the gravest of a queue's faults. */
enum skv_status skv_gpu_report_faults(const struct skv_gpu_queue *queue, const uint32_t faults[SKV_GPU_FAULTS]);

/* ---- the operations (rows.c, attend.c) */

enum skv_status skv_gpu_prune(struct skv_queue *queue, const struct skv_prune_params *params);
enum skv_status skv_gpu_channel_weights(struct skv_queue *queue, const struct skv_channel_weights_params *params);
enum skv_status skv_gpu_compress(struct skv_queue *queue, const struct skv_compress_params *params);
enum skv_status skv_gpu_decompress(struct skv_queue *queue, const struct skv_decompress_params *params);
enum skv_status skv_gpu_attend(struct skv_queue *queue, const struct skv_attend_params *params,
                               const struct skv_attend_plan *plan);
uint32_t skv_gpu_attend_split(const struct skv_device *device, const struct skv_attend_params *params);
enum skv_status skv_gpu_merge(struct skv_queue *queue, const struct skv_merge_params *params);

/* The parts of skv_gpu_compress and skv_gpu_decompress that a backend's own kernels need, too: the parameters but for
 * the heads, and all that a kernel takes. */
struct skv_gpu_compress skv_gpu_compress_args(const struct skv_queue *queue, const struct skv_compress_params *params);
void skv_gpu_compress_spans(struct skv_gpu_launch *launch, const struct skv_compress_params *params,
                            const struct skv_gpu_compress *args);
struct skv_gpu_decompress skv_gpu_decompress_args(const struct skv_decompress_params *params);
void skv_gpu_decompress_spans(struct skv_gpu_launch *launch, const struct skv_decompress_params *params,
                              const struct skv_gpu_decompress *args);

/* The parts of skv_gpu_attend that a backend's own attention kernels need, too: the parameters but for the heads, the
 * heads of one launch from `first` on (returns how many), and the merging of splits. */
struct skv_gpu_attend skv_gpu_attend_args(const struct skv_attend_params *params, const struct skv_attend_plan *plan);
uint32_t skv_gpu_attend_heads(const struct skv_attend_params *params, uint32_t first, struct skv_gpu_attend *args);
void skv_gpu_attend_spans(struct skv_gpu_launch *launch, const struct skv_attend_params *params,
                          const struct skv_attend_plan *plan);
enum skv_status skv_gpu_merge_splits(struct skv_queue *queue, const struct skv_attend_params *params,
                                     const struct skv_gpu_attend *args);
/* What kernels for matrix units ask of a call, whatever the backend: one new token, all of a sequence's, and dense rows
 * that start where 16 bytes do. */
bool skv_gpu_is_plain_decode(const struct skv_attend_params *params, bool (*is_aligned)(struct skv_span span));

#endif
