/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/gpu/driver.h"

struct driver_buffer {
    struct skv_buffer base;
    bool is_wrapped;
};

enum skv_status skv_driver_buffer_create(struct skv_device *device, const struct skv_buffer_params *params,
                                         struct skv_buffer **buffer)
{
    struct skv_driver_device *own = (struct skv_driver_device *)device;
    struct driver_buffer *made = skv_alloc(sizeof *made);
    if (!made)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a buffer object");
    made->is_wrapped = params->native != 0;
    made->base.native = params->native;
    uint64_t saved = 0;
    enum skv_status status = SKV_OK;
    if (!made->is_wrapped) {
        status = skv_driver_enter(own, &saved);
        if (status == SKV_OK) {
            int code = own->driver->memory_alloc(params->bytes, &made->base.native);
            own->driver->context_leave(saved);
            if (code != 0)
                status = skv_driver_fail(own, "allocate memory", code);
        }
    }
    if (status != SKV_OK) {
        skv_free(made);
        return status;
    }
    *buffer = &made->base;
    return SKV_OK;
}

void skv_driver_buffer_destroy(struct skv_buffer *buffer)
{
    struct skv_driver_device *own = (struct skv_driver_device *)buffer->device;
    uint64_t saved = 0;
    if (!((struct driver_buffer *)buffer)->is_wrapped &&
        own->driver->context_enter(own->ordinal, own->context, &saved) == 0) {
        (void)own->driver->memory_free(buffer->native);
        own->driver->context_leave(saved);
    }
    skv_free(buffer);
}

static void *stream_of(const struct skv_queue *queue)
{
    return ((const struct skv_driver_queue *)queue)->stream;
}

enum skv_status skv_driver_buffer_write(struct skv_queue *queue, struct skv_span to, const void *from, uint64_t n_bytes)
{
    struct skv_driver_device *device = skv_driver_device_of(queue);
    SKV_DRIVER_TRY(device, "copy to its memory",
                   device->driver->copy_to(skv_driver_address(to), from, n_bytes, stream_of(queue)));
    SKV_DRIVER_TRY(device, "copy to its memory", device->driver->stream_synchronize(stream_of(queue)));
    return SKV_OK;
}

enum skv_status skv_driver_buffer_read(struct skv_queue *queue, void *to, struct skv_span from, uint64_t n_bytes)
{
    struct skv_driver_device *device = skv_driver_device_of(queue);
    SKV_DRIVER_TRY(device, "copy from its memory",
                   device->driver->copy_from(to, skv_driver_address(from), n_bytes, stream_of(queue)));
    SKV_DRIVER_TRY(device, "copy from its memory", device->driver->stream_synchronize(stream_of(queue)));
    return SKV_OK;
}

enum skv_status skv_driver_buffer_copy(struct skv_queue *queue, struct skv_span to, struct skv_span from,
                                       uint64_t n_bytes)
{
    struct skv_driver_device *device = skv_driver_device_of(queue);
    SKV_DRIVER_TRY(
        device, "copy within its memory",
        device->driver->copy_within(skv_driver_address(to), skv_driver_address(from), n_bytes, stream_of(queue)));
    return SKV_OK;
}

enum skv_status skv_driver_buffer_fill(struct skv_queue *queue, struct skv_span to, uint8_t value, uint64_t n_bytes)
{
    struct skv_driver_device *device = skv_driver_device_of(queue);
    SKV_DRIVER_TRY(device, "fill its memory",
                   device->driver->fill(skv_driver_address(to), value, n_bytes, stream_of(queue)));
    return SKV_OK;
}

bool skv_driver_is_aligned(struct skv_span span)
{
    return skv_driver_address(span) % 16 == 0;
}
