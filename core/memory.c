/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "core/check.h"
#include "core/object.h"

skv_status skv_buffer_create(skv_device *device, const skv_buffer_params *user_params, skv_buffer **buffer)
{
    SKV_REQUIRE_NOT_NULL(device, "device");
    SKV_REQUIRE_NOT_NULL(buffer, "buffer");
    struct skv_buffer_params params;
    SKV_TRY(skv_check_params("params", user_params, &params, sizeof params));
    SKV_TRY(skv_check_flags("params->flags", params.flags, 0));
    SKV_REQUIRE(params.bytes >= 1, SKV_ERROR_INVALID_ARGUMENT, "params->bytes is 0; it must be at least 1");
    SKV_REQUIRE(params.bytes <= device->limits.buffer_bytes_max, SKV_ERROR_OVERFLOW,
                "params->bytes is %" PRIu64 "; device \"%s\" takes up to %" PRIu64, params.bytes, device->info.id,
                device->limits.buffer_bytes_max);
    SKV_REQUIRE(!(params.host && params.native), SKV_ERROR_INVALID_ARGUMENT,
                "params->host and params->native are both set; at most one may be");
    SKV_REQUIRE(!params.host || device->limits.host_memory, SKV_ERROR_UNSUPPORTED,
                "params->host is set; device \"%s\" does not work in host memory", device->info.id);

    struct skv_buffer *made = NULL;
    SKV_TRY(device->ops->buffer_create(device, &params, &made));
    made->device = device;
    made->bytes = params.bytes;
    skv_device_reference(device);
    *buffer = made;
    return SKV_OK;
}

void skv_buffer_destroy(skv_buffer *buffer)
{
    if (!buffer)
        return;
    struct skv_device *device = buffer->device;
    device->ops->buffer_destroy(buffer);
    skv_device_release(device);
}

uint64_t skv_buffer_bytes(const skv_buffer *buffer)
{
    return buffer ? buffer->bytes : 0;
}

void *skv_buffer_host(const skv_buffer *buffer)
{
    return buffer ? buffer->host : NULL;
}

uint64_t skv_buffer_native(const skv_buffer *buffer)
{
    return buffer ? buffer->native : 0;
}

skv_status skv_queue_create(skv_device *device, const skv_queue_params *user_params, skv_queue **queue)
{
    SKV_REQUIRE_NOT_NULL(device, "device");
    SKV_REQUIRE_NOT_NULL(queue, "queue");
    struct skv_queue_params params = {.struct_size = sizeof params};
    if (user_params)
        SKV_TRY(skv_check_params("params", user_params, &params, sizeof params));
    SKV_TRY(skv_check_flags("params->flags", params.flags, 0));
    struct skv_queue *made = NULL;
    SKV_TRY(device->ops->queue_create(device, &params, &made));
    made->device = device;
    skv_device_reference(device);
    *queue = made;
    return SKV_OK;
}

void skv_queue_destroy(skv_queue *queue)
{
    if (!queue)
        return;
    struct skv_device *device = queue->device;
    device->ops->queue_destroy(queue);
    skv_device_release(device);
}

skv_status skv_queue_finish(skv_queue *queue)
{
    SKV_REQUIRE_NOT_NULL(queue, "queue");
    return queue->device->ops->queue_finish(queue);
}

const char *skv_queue_last_kernel(const skv_queue *queue)
{
    return queue ? queue->last_kernel : "";
}

skv_status skv_buffer_write(skv_queue *queue, skv_span to, const void *from, uint64_t n_bytes)
{
    SKV_REQUIRE_NOT_NULL(queue, "queue");
    SKV_TRY(skv_check_span(queue->device, "to", to, 1, n_bytes));
    if (n_bytes == 0)
        return SKV_OK;
    SKV_REQUIRE_NOT_NULL(from, "from");
    return queue->device->ops->buffer_write(queue, to, from, n_bytes);
}

skv_status skv_buffer_read(skv_queue *queue, void *to, skv_span from, uint64_t n_bytes)
{
    SKV_REQUIRE_NOT_NULL(queue, "queue");
    SKV_TRY(skv_check_span(queue->device, "from", from, 1, n_bytes));
    if (n_bytes == 0)
        return SKV_OK;
    SKV_REQUIRE_NOT_NULL(to, "to");
    return queue->device->ops->buffer_read(queue, to, from, n_bytes);
}

skv_status skv_buffer_copy(skv_queue *queue, skv_span to, skv_span from, uint64_t n_bytes)
{
    SKV_REQUIRE_NOT_NULL(queue, "queue");
    SKV_TRY(skv_check_span(queue->device, "to", to, 1, n_bytes));
    SKV_TRY(skv_check_span(queue->device, "from", from, 1, n_bytes));
    SKV_REQUIRE(to.buffer != from.buffer || to.offset + n_bytes <= from.offset || from.offset + n_bytes <= to.offset,
                SKV_ERROR_INVALID_ARGUMENT,
                "to and from overlap in one buffer (offsets %" PRIu64 " and %" PRIu64 ", %" PRIu64
                " bytes); they must not",
                to.offset, from.offset, n_bytes);
    return n_bytes ? queue->device->ops->buffer_copy(queue, to, from, n_bytes) : SKV_OK;
}

skv_status skv_buffer_fill(skv_queue *queue, skv_span to, uint8_t value, uint64_t n_bytes)
{
    SKV_REQUIRE_NOT_NULL(queue, "queue");
    SKV_TRY(skv_check_span(queue->device, "to", to, 1, n_bytes));
    return n_bytes ? queue->device->ops->buffer_fill(queue, to, value, n_bytes) : SKV_OK;
}

skv_status skv_timer_create(skv_device *device, skv_timer **timer)
{
    SKV_REQUIRE_NOT_NULL(device, "device");
    SKV_REQUIRE_NOT_NULL(timer, "timer");
    struct skv_timer *made = NULL;
    SKV_TRY(device->ops->timer_create(device, &made));
    made->device = device;
    made->started = made->stopped = 0;
    skv_device_reference(device);
    *timer = made;
    return SKV_OK;
}

void skv_timer_destroy(skv_timer *timer)
{
    if (!timer)
        return;
    struct skv_device *device = timer->device;
    device->ops->timer_destroy(timer);
    skv_device_release(device);
}

static enum skv_status timer_mark(struct skv_timer *timer, struct skv_queue *queue, int is_stop)
{
    SKV_REQUIRE_NOT_NULL(timer, "timer");
    SKV_REQUIRE_NOT_NULL(queue, "queue");
    SKV_REQUIRE(timer->device == queue->device, SKV_ERROR_WRONG_DEVICE,
                "timer belongs to another device (\"%s\"); it must belong to the queue's (\"%s\")",
                timer->device->info.id, queue->device->info.id);
    SKV_REQUIRE(!is_stop || timer->started, SKV_ERROR_INVALID_ARGUMENT,
                "timer was not started; it must be before it is stopped");
    SKV_TRY(timer->device->ops->timer_mark(timer, queue, is_stop));
    timer->started = 1;
    timer->stopped = is_stop;
    return SKV_OK;
}

skv_status skv_timer_start(skv_timer *timer, skv_queue *queue)
{
    return timer_mark(timer, queue, 0);
}

skv_status skv_timer_stop(skv_timer *timer, skv_queue *queue)
{
    return timer_mark(timer, queue, 1);
}

skv_status skv_timer_read(skv_timer *timer, uint64_t *nanoseconds)
{
    SKV_REQUIRE_NOT_NULL(timer, "timer");
    SKV_REQUIRE_NOT_NULL(nanoseconds, "nanoseconds");
    SKV_REQUIRE(timer->stopped, SKV_ERROR_INVALID_ARGUMENT,
                "timer was not started and stopped; it must be before it is read");
    return timer->device->ops->timer_read(timer, nanoseconds);
}
