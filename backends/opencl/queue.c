/* SPDX-License-Identifier: Apache-2.0
 *
 * Queues with their kernels and their record of faults, and timers of profiling events.
 */
#include <inttypes.h>
#include <stdio.h>

#include "backends/opencl/opencl.h"

static enum skv_status forget_faults(struct skv_cl_device *device, struct skv_cl_queue *own)
{
    const cl_uint none = SKV_GPU_NO_FAULT;
    SKV_CL_TRY(device->cl->clEnqueueFillBuffer(own->queue, own->faults, &none, sizeof none, 0,
                                               SKV_GPU_FAULTS * sizeof none, 0, NULL, NULL),
               "clEnqueueFillBuffer");
    own->base.faults_likely = false;
    return SKV_OK;
}

/* The caller's queue must be in order and of this device; it may lack profiling, then there are no timers. */
static enum skv_status wrap_queue(struct skv_cl_device *device, uint64_t native, struct skv_cl_queue *own)
{
    cl_command_queue queue = (cl_command_queue)(uintptr_t)native;
    cl_command_queue_properties properties = 0;
    cl_device_id id = NULL;
    SKV_CL_TRY(device->cl->clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof id, &id, NULL),
               "clGetCommandQueueInfo");
    SKV_CL_TRY(device->cl->clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL),
               "clGetCommandQueueInfo");
    SKV_REQUIRE(id == device->id, SKV_ERROR_WRONG_DEVICE,
                "params->native is 0x%" PRIx64 ", a queue of another device; it must be one of device \"%s\"", native,
                device->base.base.info.id);
    SKV_REQUIRE(!(properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE), SKV_ERROR_UNSUPPORTED,
                "params->native is 0x%" PRIx64 ", an out-of-order queue; it must be in order", native);
    SKV_CL_TRY(device->cl->clRetainCommandQueue(queue), "clRetainCommandQueue");
    own->queue = queue;
    own->profiling = (properties & CL_QUEUE_PROFILING_ENABLE) != 0;
    return SKV_OK;
}

enum skv_status skv_cl_queue_open(struct skv_cl_device *device, uint64_t native, struct skv_cl_queue *own)
{
    cl_int code = CL_SUCCESS;
    if (native) {
        SKV_TRY(wrap_queue(device, native, own));
    } else {
        own->queue = device->cl->clCreateCommandQueue(device->context, device->id, CL_QUEUE_PROFILING_ENABLE, &code);
        own->profiling = true;
        if (code != CL_SUCCESS)
            return skv_cl_fail("clCreateCommandQueue", code);
    }
    own->faults =
        device->cl->clCreateBuffer(device->context, CL_MEM_READ_WRITE, SKV_GPU_FAULTS * sizeof(cl_uint), NULL, &code);
    if (code != CL_SUCCESS)
        return skv_cl_fail("clCreateBuffer", code);
    own->base.enqueue = skv_cl_enqueue;
    return forget_faults(device, own);
}

static enum skv_status make_kernels(struct skv_cl_device *device, struct skv_cl_queue *own)
{
    cl_int code = CL_SUCCESS;
    cl_program program = NULL;
    SKV_TRY(skv_cl_program(device, device->base.is_serial ? "-DSKV_ROWS -DSKV_SERIAL" : "-DSKV_ROWS", &program));
    for (int i = 0; i < SKV_GPU_ROW_KERNELS; i++) {
        own->kernels[i] = device->cl->clCreateKernel(program, skv_gpu_kernel_names[i], &code);
        if (code != CL_SUCCESS)
            return skv_cl_fail("clCreateKernel", code);
    }
    return SKV_OK;
}

void skv_cl_queue_free(struct skv_cl_device *device, struct skv_cl_queue *own)
{
    for (int i = 0; i < SKV_GPU_ROW_KERNELS; i++)
        if (own->kernels[i])
            device->cl->clReleaseKernel(own->kernels[i]);
    for (int i = 0; i < SKV_NVIDIA_KERNELS; i++)
        if (own->nvidia[i])
            device->cl->clReleaseKernel(own->nvidia[i]);
    if (own->arrivals)
        device->cl->clReleaseMemObject(own->arrivals);
    while (own->attend) {
        struct skv_cl_attend_kernel *kernel = own->attend;
        own->attend = kernel->next;
        device->cl->clReleaseKernel(kernel->kernel);
        skv_free(kernel);
    }
    if (own->faults)
        device->cl->clReleaseMemObject(own->faults);
    if (own->queue)
        device->cl->clReleaseCommandQueue(own->queue);
    skv_free(own);
}

enum skv_status skv_cl_queue_create(struct skv_device *device, const struct skv_queue_params *params,
                                    struct skv_queue **queue)
{
    struct skv_cl_queue *own = skv_alloc(sizeof *own);
    if (!own)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a queue object");
    enum skv_status status = skv_cl_queue_open((struct skv_cl_device *)device, params->native, own);
    if (status == SKV_OK)
        status = make_kernels((struct skv_cl_device *)device, own);
    if (status != SKV_OK) {
        skv_cl_queue_free((struct skv_cl_device *)device, own);
        return status;
    }
    *queue = &own->base.base;
    return SKV_OK;
}

void skv_cl_queue_destroy(struct skv_queue *queue)
{
    struct skv_cl_queue *own = (struct skv_cl_queue *)queue;
    (void)skv_cl_device_of(queue)->cl->clFinish(own->queue);
    skv_cl_queue_free(skv_cl_device_of(queue), own);
}

enum skv_status skv_cl_queue_finish(struct skv_queue *queue)
{
    struct skv_cl_queue *own = (struct skv_cl_queue *)queue;
    struct skv_cl_device *device = skv_cl_device_of(queue);
    if (!own->base.faults_likely) {
        SKV_CL_TRY(device->cl->clFinish(own->queue), "clFinish");
        return SKV_OK;
    }
    cl_uint faults[SKV_GPU_FAULTS];
    SKV_CL_TRY(
        device->cl->clEnqueueReadBuffer(own->queue, own->faults, CL_TRUE, 0, sizeof faults, faults, 0, NULL, NULL),
        "clEnqueueReadBuffer");
    enum skv_status status = skv_gpu_report_faults(&own->base, faults);
    if (status == SKV_OK)
        own->base.faults_likely = false;
    else
        SKV_TRY(forget_faults(device, own));
    return status;
}

struct cl_timer {
    struct skv_timer base;
    cl_event mark[2];
};

enum skv_status skv_cl_timer_create(struct skv_device *device, struct skv_timer **timer)
{
    (void)device;
    struct cl_timer *made = skv_alloc(sizeof *made);
    *timer = made ? &made->base : NULL;
    return made ? SKV_OK : skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a timer object");
}

static void release_mark(struct cl_timer *timer, int i)
{
    if (timer->mark[i])
        ((struct skv_cl_device *)timer->base.device)->cl->clReleaseEvent(timer->mark[i]);
    timer->mark[i] = NULL;
}

void skv_cl_timer_destroy(struct skv_timer *timer)
{
    struct cl_timer *own = (struct cl_timer *)timer;
    release_mark(own, 0);
    release_mark(own, 1);
    skv_free(own);
}

enum skv_status skv_cl_timer_mark(struct skv_timer *timer, struct skv_queue *queue, int is_stop)
{
    struct cl_timer *own = (struct cl_timer *)timer;
    struct skv_cl_queue *at = (struct skv_cl_queue *)queue;
    SKV_REQUIRE(at->profiling, SKV_ERROR_UNSUPPORTED,
                "queue was wrapped without CL_QUEUE_PROFILING_ENABLE; a timer needs it");
    release_mark(own, is_stop);
    /* A fill of a word that no fault uses: some drivers give markers no times. */
    const cl_uint none = SKV_GPU_NO_FAULT;
    SKV_CL_TRY(skv_cl_device_of(queue)->cl->clEnqueueFillBuffer(at->queue, at->faults, &none, sizeof none,
                                                                (SKV_GPU_FAULTS - 1) * sizeof none, sizeof none, 0,
                                                                NULL, &own->mark[is_stop]),
               "clEnqueueFillBuffer");
    return SKV_OK;
}

enum skv_status skv_cl_timer_read(struct skv_timer *timer, uint64_t *nanoseconds)
{
    struct cl_timer *own = (struct cl_timer *)timer;
    const struct skv_cl_functions *cl = ((struct skv_cl_device *)timer->device)->cl;
    cl_ulong at[2] = {0, 0};
    SKV_CL_TRY(cl->clWaitForEvents(2, own->mark), "clWaitForEvents");
    for (int i = 0; i < 2; i++)
        SKV_CL_TRY(cl->clGetEventProfilingInfo(own->mark[i], CL_PROFILING_COMMAND_END, sizeof at[i], &at[i], NULL),
                   "clGetEventProfilingInfo");
    SKV_REQUIRE(at[1] != 0, SKV_ERROR_UNSUPPORTED, "the driver of device \"%s\" gives its events no times",
                timer->device->info.id);
    *nanoseconds = at[1] > at[0] ? at[1] - at[0] : 0;
    return SKV_OK;
}
