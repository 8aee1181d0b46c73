/* SPDX-License-Identifier: Apache-2.0
 *
 * Host memory, queues that complete at once, and timers on the monotonic clock.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "backends/cpu/cpu.h"

struct cpu_buffer {
    struct skv_buffer base;
    void *owned; /* NULL when wrapped */
};

/* Caches are read front to back, and a walk of 4 KiB page tables costs a bandwidth-bound core about 15 %, so large
 * buffers ask for huge pages. */
#define HUGE_PAGE_BYTES ((size_t)2 << 20)

static void *alloc_memory(size_t n_bytes)
{
    if (n_bytes < 2 * HUGE_PAGE_BYTES)
        return skv_alloc_raw(n_bytes, 64);
    void *memory = skv_alloc_raw(n_bytes, HUGE_PAGE_BYTES);
#if defined(MADV_HUGEPAGE)
    /* Advice only: where it fails the memory is as good, just slower. */
    if (memory)
        (void)madvise(memory, n_bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

enum skv_status skv_cpu_buffer_create(struct skv_device *device, const struct skv_buffer_params *params,
                                      struct skv_buffer **buffer)
{
    struct cpu_buffer *made = skv_alloc(sizeof *made);
    if (!made)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a buffer object");
    made->base.host = params->host ? params->host : (void *)(uintptr_t)params->native;
    if (!made->base.host) {
        made->owned = made->base.host = alloc_memory((size_t)params->bytes);
        if (!made->owned) {
            skv_free(made);
            return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "params->bytes is %" PRIu64 "; device \"%s\" has no such memory",
                            params->bytes, device->info.id);
        }
    }
    made->base.native = (uint64_t)(uintptr_t)made->base.host;
    *buffer = &made->base;
    return SKV_OK;
}

void skv_cpu_buffer_destroy(struct skv_buffer *buffer)
{
    skv_free(((struct cpu_buffer *)buffer)->owned);
    skv_free(buffer);
}

enum skv_status skv_cpu_buffer_write(struct skv_queue *queue, struct skv_span to, const void *from, uint64_t n_bytes)
{
    (void)queue;
    memcpy(skv_host(to), from, (size_t)n_bytes);
    return SKV_OK;
}

enum skv_status skv_cpu_buffer_read(struct skv_queue *queue, void *to, struct skv_span from, uint64_t n_bytes)
{
    (void)queue;
    memcpy(to, skv_host(from), (size_t)n_bytes);
    return SKV_OK;
}

enum skv_status skv_cpu_buffer_copy(struct skv_queue *queue, struct skv_span to, struct skv_span from, uint64_t n_bytes)
{
    (void)queue;
    memcpy(skv_host(to), skv_host(from), (size_t)n_bytes);
    return SKV_OK;
}

enum skv_status skv_cpu_buffer_fill(struct skv_queue *queue, struct skv_span to, uint8_t value, uint64_t n_bytes)
{
    (void)queue;
    memset(skv_host(to), value, (size_t)n_bytes);
    return SKV_OK;
}

enum skv_status skv_cpu_queue_create(struct skv_device *device, const struct skv_queue_params *params,
                                     struct skv_queue **queue)
{
    if (params->native)
        return skv_fail(SKV_ERROR_UNSUPPORTED,
                        "params->native is 0x%" PRIx64 "; device \"%s\" has no native queues to wrap", params->native,
                        device->info.id);
    *queue = skv_alloc(sizeof **queue);
    return *queue ? SKV_OK : skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a queue object");
}

void skv_cpu_queue_destroy(struct skv_queue *queue)
{
    skv_free(queue);
}

enum skv_status skv_cpu_queue_finish(struct skv_queue *queue)
{
    (void)queue;
    return SKV_OK;
}

struct cpu_timer {
    struct skv_timer base;
    struct timespec mark[2];
};

enum skv_status skv_cpu_timer_create(struct skv_device *device, struct skv_timer **timer)
{
    (void)device;
    struct cpu_timer *made = skv_alloc(sizeof *made);
    *timer = made ? &made->base : NULL;
    return made ? SKV_OK : skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a timer object");
}

void skv_cpu_timer_destroy(struct skv_timer *timer)
{
    skv_free(timer);
}

enum skv_status skv_cpu_timer_mark(struct skv_timer *timer, struct skv_queue *queue, int is_stop)
{
    (void)queue;
    clock_gettime(CLOCK_MONOTONIC, &((struct cpu_timer *)timer)->mark[is_stop]);
    return SKV_OK;
}

enum skv_status skv_cpu_timer_read(struct skv_timer *timer, uint64_t *nanoseconds)
{
    const struct timespec *mark = ((struct cpu_timer *)timer)->mark;
    int64_t elapsed = (int64_t)(mark[1].tv_sec - mark[0].tv_sec) * 1000000000 + (mark[1].tv_nsec - mark[0].tv_nsec);
    *nanoseconds = (uint64_t)elapsed;
    return SKV_OK;
}
