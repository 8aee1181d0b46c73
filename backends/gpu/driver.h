/* SPDX-License-Identifier: Apache-2.0
 *
 * The host side of CUDA and HIP, whose drivers do the same things under two names: a driver is a table of functions,
 * and everything else here is written once.
 */
#ifndef SKV_GPU_DRIVER_H
#define SKV_GPU_DRIVER_H

#include "backends/gpu/gpu.h"

/* What a driver says about a device before it is opened. */
struct skv_driver_facts {
    char name[128], driver[96], architecture[64];
    uint32_t compute_units, wave_lanes;
    uint64_t memory_bytes, group_bytes;
    uint32_t version; /* of the architecture, as the vendor counts: 90 for sm_90, 942 for gfx942 */
};

/* Functions return 0 or the driver's error code. Handles are the driver's own; memory is named by its device address.
 * All but those of the first group want the context entered. */
struct skv_driver {
    int (*device_count)(int *n_devices);
    int (*device_facts)(int i_device, struct skv_driver_facts *facts);
    /* `native` is the caller's context, or 0 for the device's shared one, which is retained. */
    int (*context_open)(int i_device, uint64_t native, void **context);
    void (*context_close)(int i_device, uint64_t native, void *context);
    int (*context_enter)(int i_device, void *context, uint64_t *saved);
    void (*context_leave)(uint64_t saved);
    const char *(*error_name)(int code);

    int (*module_load)(const void *image, void **module);
    int (*module_unload)(void *module);
    int (*module_function)(void *module, const char *name, void **function);
    /* Lets launches of the function ask for so much group memory. */
    int (*function_scratch)(void *function, uint32_t n_bytes);
    int (*function_occupancy)(void *function, uint32_t lanes, uint32_t scratch_bytes, int *n_groups);
    /* `overlaps`: the kernel may start before those ahead of it end, since it waits for them itself. */
    int (*launch)(void *function, const uint64_t groups[3], uint32_t lanes, uint32_t scratch_bytes, bool overlaps,
                  void *stream, void **args);

    int (*memory_alloc)(uint64_t n_bytes, uint64_t *address);
    int (*memory_free)(uint64_t address);
    int (*copy_to)(uint64_t to, const void *from, uint64_t n_bytes, void *stream);
    int (*copy_from)(void *to, uint64_t from, uint64_t n_bytes, void *stream);
    int (*copy_within)(uint64_t to, uint64_t from, uint64_t n_bytes, void *stream);
    int (*fill)(uint64_t to, uint8_t value, uint64_t n_bytes, void *stream);

    int (*stream_create)(void **stream);
    int (*stream_destroy)(void *stream);
    int (*stream_synchronize)(void *stream);
    int (*stream_context)(void *stream, void **context);        /* NULL: a stream cannot be asked */
    int (*stream_recording)(void *stream, uint64_t *recording); /* into a graph: its number, or 0 */
    int (*event_create)(void **event);
    int (*event_destroy)(void *event);
    int (*event_record)(void *event, void *stream);
    int (*event_synchronize)(void *event);
    int (*event_elapsed)(float *milliseconds, void *start, void *stop);
};

/* Query rows of a group in the compiled variants of the portable attention kernel. */
#define SKV_DRIVER_ROWS 3

struct skv_driver_device {
    struct skv_gpu_device base;
    const struct skv_driver *driver;
    struct skv_driver_facts facts;
    int ordinal;
    uint64_t native_context; /* the caller's, or 0 */
    void *context, *module;
    void *rows[SKV_GPU_ROW_KERNELS];
    void *attend[SKV_GPU_CAPACITIES][SKV_DRIVER_ROWS];
};

/* Counters by which the groups of a launch find their last one, at most, and recordings that have their own. */
#define SKV_DRIVER_ARRIVALS 1024
#define SKV_DRIVER_RECORDINGS 63

struct skv_driver_queue {
    struct skv_gpu_queue base;
    void *stream;
    bool is_wrapped;
    uint64_t faults;   /* device address of SKV_GPU_FAULTS words */
    uint64_t arrivals; /* of the counters of its own launches, then of each recording's; 0 between launches */
    uint64_t recordings[SKV_DRIVER_RECORDINGS];
    uint32_t n_recordings;
};

static inline struct skv_driver_device *skv_driver_device_of(const struct skv_queue *queue)
{
    return (struct skv_driver_device *)queue->device;
}

static inline uint64_t skv_driver_address(struct skv_span span)
{
    return span.buffer ? span.buffer->native + span.offset : 0;
}

/* Sets the message of a failed driver call, and returns the status that fits the code. */
enum skv_status skv_driver_fail(const struct skv_driver_device *device, const char *what, int code);

/* Runs a driver's function in the device's context. */
#define SKV_DRIVER_TRY(device, what, call)                   \
    do {                                                     \
        uint64_t saved_ = 0;                                 \
        SKV_TRY(skv_driver_enter((device), &saved_));        \
        int code_ = (call);                                  \
        (device)->driver->context_leave(saved_);             \
        if (code_ != 0)                                      \
            return skv_driver_fail((device), (what), code_); \
    } while (0)

enum skv_status skv_driver_enter(const struct skv_driver_device *device, uint64_t *saved);

/* ---- driver_device.c */

/* Describes a device that runs the given kernels; `refusal` (may be "") makes it unusable. */
void skv_driver_describe(const char *backend, int i_device, const struct skv_driver_facts *facts, const char *refusal,
                         struct skv_device_info *info);
/* Fills a device object, zeroed and larger than the base type if its backend wants that; `device` is closed on
 * failure, with ops->close. */
enum skv_status skv_driver_open(struct skv_driver_device *device, const struct skv_driver *driver,
                                const struct skv_device_ops *ops, const struct skv_driver_facts *facts,
                                const struct skv_device_info *info, int ordinal, const void *image,
                                uint64_t native_context);
/* The kernel of that name in the device's module, allowed to use so much scratch memory. */
enum skv_status skv_driver_function(struct skv_driver_device *device, const char *name, uint32_t scratch_bytes,
                                    void **function);
/* Frees what skv_driver_open acquired, and the object. */
void skv_driver_close(struct skv_device *device);

/* ---- driver_memory.c, driver_queue.c */

/* Whether an address is a multiple of 16. */
bool skv_driver_is_aligned(struct skv_span span);
enum skv_status skv_driver_buffer_create(struct skv_device *device, const struct skv_buffer_params *params,
                                         struct skv_buffer **buffer);
void skv_driver_buffer_destroy(struct skv_buffer *buffer);
enum skv_status skv_driver_buffer_write(struct skv_queue *queue, struct skv_span to, const void *from,
                                        uint64_t n_bytes);
enum skv_status skv_driver_buffer_read(struct skv_queue *queue, void *to, struct skv_span from, uint64_t n_bytes);
enum skv_status skv_driver_buffer_copy(struct skv_queue *queue, struct skv_span to, struct skv_span from,
                                       uint64_t n_bytes);
enum skv_status skv_driver_buffer_fill(struct skv_queue *queue, struct skv_span to, uint8_t value, uint64_t n_bytes);

enum skv_status skv_driver_queue_create(struct skv_device *device, const struct skv_queue_params *params,
                                        struct skv_queue **queue);
void skv_driver_queue_destroy(struct skv_queue *queue);
enum skv_status skv_driver_queue_finish(struct skv_queue *queue);
enum skv_status skv_driver_timer_create(struct skv_device *device, struct skv_timer **timer);
void skv_driver_timer_destroy(struct skv_timer *timer);
enum skv_status skv_driver_timer_mark(struct skv_timer *timer, struct skv_queue *queue, int is_stop);
enum skv_status skv_driver_timer_read(struct skv_timer *timer, uint64_t *nanoseconds);
/* The device address of SKV_DRIVER_ARRIVALS counters for the next launch, which must leave them 0. What is captured may
 * run beside others of the queue, so each recording has counters of its own; 0: there are none left. */
enum skv_status skv_driver_arrivals(struct skv_queue *queue, uint64_t *address);
/* Enqueues a launch of any function with the launch's arguments. */
enum skv_status skv_driver_enqueue(const struct skv_gpu_launch *launch, void *function);

/* The entries of skv_device_ops that every driver shares. */
#define SKV_DRIVER_OPS                                                                                       \
    .buffer_create = skv_driver_buffer_create, .buffer_destroy = skv_driver_buffer_destroy,                  \
    .buffer_write = skv_driver_buffer_write, .buffer_read = skv_driver_buffer_read,                          \
    .buffer_copy = skv_driver_buffer_copy, .buffer_fill = skv_driver_buffer_fill,                            \
    .queue_create = skv_driver_queue_create, .queue_destroy = skv_driver_queue_destroy,                      \
    .queue_finish = skv_driver_queue_finish, .timer_create = skv_driver_timer_create,                        \
    .timer_destroy = skv_driver_timer_destroy, .timer_mark = skv_driver_timer_mark,                          \
    .timer_read = skv_driver_timer_read, .prune = skv_gpu_prune, .channel_weights = skv_gpu_channel_weights, \
    .merge = skv_gpu_merge

#endif
