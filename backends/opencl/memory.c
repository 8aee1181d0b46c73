/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "backends/opencl/opencl.h"

enum skv_status skv_cl_buffer_create(struct skv_device *device, const struct skv_buffer_params *params,
                                     struct skv_buffer **buffer)
{
    struct skv_cl_device *own = (struct skv_cl_device *)device;
    cl_int code = CL_SUCCESS;
    cl_mem memory = (cl_mem)(uintptr_t)params->native;
    if (memory) {
        SKV_CL_TRY(own->cl->clRetainMemObject(memory), "clRetainMemObject");
    } else {
        memory = own->cl->clCreateBuffer(own->context, CL_MEM_READ_WRITE, (size_t)params->bytes, NULL, &code);
        if (code == CL_OUT_OF_RESOURCES || code == CL_INVALID_BUFFER_SIZE)
            code = CL_MEM_OBJECT_ALLOCATION_FAILURE;
        if (code != CL_SUCCESS)
            return skv_cl_fail("clCreateBuffer", code);
    }
    struct skv_buffer *made = skv_alloc(sizeof *made);
    if (!made) {
        own->cl->clReleaseMemObject(memory);
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a buffer object");
    }
    made->native = (uint64_t)(uintptr_t)memory;
    *buffer = made;
    return SKV_OK;
}

void skv_cl_buffer_destroy(struct skv_buffer *buffer)
{
    ((struct skv_cl_device *)buffer->device)->cl->clReleaseMemObject(skv_cl_memory(buffer));
    skv_free(buffer);
}

enum skv_status skv_cl_buffer_write(struct skv_queue *queue, struct skv_span to, const void *from, uint64_t n_bytes)
{
    struct skv_cl_queue *own = (struct skv_cl_queue *)queue;
    SKV_CL_TRY(skv_cl_device_of(queue)->cl->clEnqueueWriteBuffer(own->queue, skv_cl_memory(to.buffer), CL_TRUE,
                                                                 (size_t)to.offset, (size_t)n_bytes, from, 0, NULL,
                                                                 NULL),
               "clEnqueueWriteBuffer");
    return SKV_OK;
}

enum skv_status skv_cl_buffer_read(struct skv_queue *queue, void *to, struct skv_span from, uint64_t n_bytes)
{
    struct skv_cl_queue *own = (struct skv_cl_queue *)queue;
    SKV_CL_TRY(skv_cl_device_of(queue)->cl->clEnqueueReadBuffer(own->queue, skv_cl_memory(from.buffer), CL_TRUE,
                                                                (size_t)from.offset, (size_t)n_bytes, to, 0, NULL,
                                                                NULL),
               "clEnqueueReadBuffer");
    return SKV_OK;
}

enum skv_status skv_cl_buffer_copy(struct skv_queue *queue, struct skv_span to, struct skv_span from, uint64_t n_bytes)
{
    struct skv_cl_queue *own = (struct skv_cl_queue *)queue;
    SKV_CL_TRY(skv_cl_device_of(queue)->cl->clEnqueueCopyBuffer(own->queue, skv_cl_memory(from.buffer),
                                                                skv_cl_memory(to.buffer), (size_t)from.offset,
                                                                (size_t)to.offset, (size_t)n_bytes, 0, NULL, NULL),
               "clEnqueueCopyBuffer");
    return SKV_OK;
}

enum skv_status skv_cl_buffer_fill(struct skv_queue *queue, struct skv_span to, uint8_t value, uint64_t n_bytes)
{
    struct skv_cl_queue *own = (struct skv_cl_queue *)queue;
    SKV_CL_TRY(skv_cl_device_of(queue)->cl->clEnqueueFillBuffer(own->queue, skv_cl_memory(to.buffer), &value, 1,
                                                                (size_t)to.offset, (size_t)n_bytes, 0, NULL, NULL),
               "clEnqueueFillBuffer");
    return SKV_OK;
}
