/* SPDX-License-Identifier: Apache-2.0
 *
 * Queues, launches and timers.
 */
#include <inttypes.h>

#include "backends/gpu/driver.h"

#define FAULTS_BYTES (SKV_GPU_FAULTS * sizeof(uint32_t))
#define ARRIVALS_BYTES (SKV_DRIVER_ARRIVALS * sizeof(uint32_t))

enum skv_status skv_driver_enqueue(const struct skv_gpu_launch *launch, void *function)
{
    struct skv_driver_queue *queue = (struct skv_driver_queue *)launch->queue;
    struct skv_driver_device *device = skv_driver_device_of(&queue->base.base);
    /* Kernels take buffers whole, and offsets in their parameters. */
    uint64_t address[SKV_GPU_ARGS_MAX];
    void *args[SKV_GPU_ARGS_MAX];
    for (uint32_t i = 0; i < launch->n_args; i++) {
        const struct skv_gpu_arg *arg = &launch->args[i];
        address[i] = arg->is_faults ? queue->faults : arg->span.buffer ? arg->span.buffer->native : 0;
        /* The driver copies values out of what it calls void *. */
        args[i] = arg->value ? (void *)(uintptr_t)arg->value : &address[i];
    }
    SKV_DRIVER_TRY(device, "launch a kernel",
                   device->driver->launch(function, launch->groups, launch->lanes, (uint32_t)launch->scratch_bytes,
                                          launch->overlaps, queue->stream, args));
    return SKV_OK;
}

enum skv_status skv_driver_arrivals(struct skv_queue *queue, uint64_t *address)
{
    struct skv_driver_queue *own = (struct skv_driver_queue *)queue;
    struct skv_driver_device *device = skv_driver_device_of(queue);
    uint64_t recording = 0;
    SKV_DRIVER_TRY(device, "ask its stream", device->driver->stream_recording(own->stream, &recording));
    *address = own->arrivals;
    if (recording == 0)
        return SKV_OK;
    uint32_t i = 0;
    while (i < own->n_recordings && own->recordings[i] != recording)
        i++;
    *address = i < SKV_DRIVER_RECORDINGS ? own->arrivals + (1 + i) * ARRIVALS_BYTES : 0;
    if (i == own->n_recordings && i < SKV_DRIVER_RECORDINGS)
        own->recordings[own->n_recordings++] = recording;
    return SKV_OK;
}

static enum skv_status enqueue(const struct skv_gpu_launch *launch)
{
    struct skv_driver_device *device = skv_driver_device_of(&launch->queue->base);
    if (launch->kernel != SKV_GPU_ATTEND)
        return skv_driver_enqueue(launch, device->rows[launch->kernel]);
    int c = 0;
    while (device->base.capacities[c] != launch->variant.head_dim)
        c++;
    return skv_driver_enqueue(launch, device->attend[c][launch->variant.m == 1 ? 0 : launch->variant.m == 4 ? 1 : 2]);
}

static enum skv_status forget_faults(struct skv_driver_device *device, struct skv_driver_queue *own)
{
    /* SKV_GPU_NO_FAULT is all ones. */
    SKV_DRIVER_TRY(device, "fill its memory", device->driver->fill(own->faults, 0xff, FAULTS_BYTES, own->stream));
    own->base.faults_likely = false;
    return SKV_OK;
}

/* The caller's stream must be of the device's context. */
static enum skv_status wrap_stream(struct skv_driver_device *device, struct skv_driver_queue *own, uint64_t native)
{
    void *context = device->context;
    own->stream = (void *)(uintptr_t)native;
    own->is_wrapped = true;
    if (device->driver->stream_context)
        SKV_DRIVER_TRY(device, "use params->native as a stream", device->driver->stream_context(own->stream, &context));
    SKV_REQUIRE(context == device->context, SKV_ERROR_WRONG_DEVICE,
                "params->native is 0x%" PRIx64 ", a stream of another context; it must be one of device \"%s\"'s",
                native, device->base.base.info.id);
    return SKV_OK;
}

static enum skv_status fill_queue(struct skv_driver_device *device, uint64_t native, struct skv_driver_queue *own)
{
    own->base.enqueue = enqueue;
    if (native)
        SKV_TRY(wrap_stream(device, own, native));
    else
        SKV_DRIVER_TRY(device, "make a stream", device->driver->stream_create(&own->stream));
    SKV_DRIVER_TRY(
        device, "allocate memory",
        device->driver->memory_alloc(FAULTS_BYTES + (1 + SKV_DRIVER_RECORDINGS) * ARRIVALS_BYTES, &own->faults));
    own->arrivals = own->faults + FAULTS_BYTES;
    SKV_DRIVER_TRY(device, "fill its memory",
                   device->driver->fill(own->arrivals, 0, (1 + SKV_DRIVER_RECORDINGS) * ARRIVALS_BYTES, own->stream));
    return forget_faults(device, own);
}

static void free_queue(struct skv_driver_device *device, struct skv_driver_queue *own)
{
    uint64_t saved = 0;
    if (device->driver->context_enter(device->ordinal, device->context, &saved) == 0) {
        if (own->stream)
            (void)device->driver->stream_synchronize(own->stream);
        if (own->faults)
            (void)device->driver->memory_free(own->faults);
        if (own->stream && !own->is_wrapped)
            (void)device->driver->stream_destroy(own->stream);
        device->driver->context_leave(saved);
    }
    skv_free(own);
}

enum skv_status skv_driver_queue_create(struct skv_device *device, const struct skv_queue_params *params,
                                        struct skv_queue **queue)
{
    struct skv_driver_queue *own = skv_alloc(sizeof *own);
    if (!own)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a queue object");
    enum skv_status status = fill_queue((struct skv_driver_device *)device, params->native, own);
    if (status != SKV_OK) {
        free_queue((struct skv_driver_device *)device, own);
        return status;
    }
    *queue = &own->base.base;
    return SKV_OK;
}

void skv_driver_queue_destroy(struct skv_queue *queue)
{
    free_queue(skv_driver_device_of(queue), (struct skv_driver_queue *)queue);
}

enum skv_status skv_driver_queue_finish(struct skv_queue *queue)
{
    struct skv_driver_queue *own = (struct skv_driver_queue *)queue;
    struct skv_driver_device *device = skv_driver_device_of(queue);
    uint32_t faults[SKV_GPU_FAULTS];
    if (own->base.faults_likely)
        SKV_DRIVER_TRY(device, "copy from its memory",
                       device->driver->copy_from(faults, own->faults, sizeof faults, own->stream));
    SKV_DRIVER_TRY(device, "finish its work", device->driver->stream_synchronize(own->stream));
    if (!own->base.faults_likely)
        return SKV_OK;
    enum skv_status status = skv_gpu_report_faults(&own->base, faults);
    if (status == SKV_OK)
        own->base.faults_likely = false;
    else
        SKV_TRY(forget_faults(device, own));
    return status;
}

struct driver_timer {
    struct skv_timer base;
    void *mark[2];
};

static void free_timer(struct skv_driver_device *device, struct driver_timer *own)
{
    uint64_t saved = 0;
    if (device->driver->context_enter(device->ordinal, device->context, &saved) == 0) {
        for (int i = 0; i < 2; i++)
            if (own->mark[i])
                (void)device->driver->event_destroy(own->mark[i]);
        device->driver->context_leave(saved);
    }
    skv_free(own);
}

static enum skv_status create_marks(struct skv_driver_device *device, struct driver_timer *own)
{
    for (int i = 0; i < 2; i++)
        SKV_DRIVER_TRY(device, "make an event", device->driver->event_create(&own->mark[i]));
    return SKV_OK;
}

enum skv_status skv_driver_timer_create(struct skv_device *device, struct skv_timer **timer)
{
    struct driver_timer *own = skv_alloc(sizeof *own);
    if (!own)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a timer object");
    enum skv_status status = create_marks((struct skv_driver_device *)device, own);
    if (status != SKV_OK) {
        free_timer((struct skv_driver_device *)device, own);
        return status;
    }
    *timer = &own->base;
    return SKV_OK;
}

void skv_driver_timer_destroy(struct skv_timer *timer)
{
    free_timer((struct skv_driver_device *)timer->device, (struct driver_timer *)timer);
}

enum skv_status skv_driver_timer_mark(struct skv_timer *timer, struct skv_queue *queue, int is_stop)
{
    struct skv_driver_device *device = skv_driver_device_of(queue);
    SKV_DRIVER_TRY(device, "record an event",
                   device->driver->event_record(((struct driver_timer *)timer)->mark[is_stop],
                                                ((struct skv_driver_queue *)queue)->stream));
    return SKV_OK;
}

enum skv_status skv_driver_timer_read(struct skv_timer *timer, uint64_t *nanoseconds)
{
    struct driver_timer *own = (struct driver_timer *)timer;
    struct skv_driver_device *device = (struct skv_driver_device *)timer->device;
    float milliseconds = 0;
    SKV_DRIVER_TRY(device, "wait for an event", device->driver->event_synchronize(own->mark[1]));
    SKV_DRIVER_TRY(device, "read its timer", device->driver->event_elapsed(&milliseconds, own->mark[0], own->mark[1]));
    *nanoseconds = (uint64_t)(milliseconds * 1e6);
    return SKV_OK;
}
