/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "backends/opencl/opencl.h"

/* The attention kernel of a variant, made at its first use. */
static enum skv_status find_attend(struct skv_cl_queue *queue, const struct skv_gpu_variant *variant, cl_kernel *kernel)
{
    struct skv_cl_device *device = skv_cl_device_of(&queue->base.base);
    for (const struct skv_cl_attend_kernel *known = queue->attend; known; known = known->next)
        if (known->head_dim == variant->head_dim && known->m == variant->m && known->dtype == variant->dtype) {
            *kernel = known->kernel;
            return SKV_OK;
        }
    char options[128];
    cl_program program = NULL;
    cl_int code = CL_SUCCESS;
    snprintf(options, sizeof options,
             "-DATTEND=skv_attend -DHEAD_DIM=%" PRIu32 " -DHEAD_DIM_MAX=HEAD_DIM -DTILE=%" PRIu32 " -DLANES=%" PRIu32
             " -DM=%" PRIu32 " -DBF16=%d",
             variant->head_dim, variant->tile, variant->lanes, variant->m, variant->dtype == SKV_BF16);
    SKV_TRY(skv_cl_program(device, options, &program));
    struct skv_cl_attend_kernel *made = skv_alloc(sizeof *made);
    if (!made)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a kernel object");
    *made = (struct skv_cl_attend_kernel){
        .next = queue->attend, .head_dim = variant->head_dim, .m = variant->m, .dtype = variant->dtype};
    made->kernel = device->cl->clCreateKernel(program, "skv_attend", &code);
    if (code != CL_SUCCESS) {
        skv_free(made);
        return skv_cl_fail("clCreateKernel", code);
    }
    queue->attend = made;
    *kernel = made->kernel;
    return SKV_OK;
}

static cl_int set(const struct skv_cl_queue *queue, cl_kernel kernel, cl_uint i, const struct skv_gpu_arg *arg)
{
    const struct skv_cl_functions *cl = skv_cl_device_of(&queue->base.base)->cl;
    if (arg->value)
        return cl->clSetKernelArg(kernel, i, arg->n_bytes, arg->value);
    /* Some drivers refuse NULL; what stands in for an absent buffer is not read. */
    cl_mem memory = arg->span.buffer ? skv_cl_memory(arg->span.buffer) : queue->faults;
    return cl->clSetKernelArg(kernel, i, sizeof memory, &memory);
}

enum skv_status skv_cl_enqueue_kernel(const struct skv_gpu_launch *launch, cl_kernel kernel)
{
    struct skv_cl_queue *queue = (struct skv_cl_queue *)launch->queue;
    const struct skv_cl_functions *cl = skv_cl_device_of(&queue->base.base)->cl;
    for (cl_uint i = 0; i < launch->n_args; i++)
        SKV_CL_TRY(set(queue, kernel, i, &launch->args[i]), "clSetKernelArg");
    if (launch->scratch_bytes)
        SKV_CL_TRY(cl->clSetKernelArg(kernel, launch->n_args, launch->scratch_bytes, NULL), "clSetKernelArg");
    const size_t local[3] = {launch->lanes, 1, 1};
    const size_t global[3] = {(size_t)(launch->lanes * launch->groups[0]), (size_t)launch->groups[1],
                              (size_t)launch->groups[2]};
    SKV_CL_TRY(cl->clEnqueueNDRangeKernel(queue->queue, kernel, 3, NULL, global, local, 0, NULL, NULL),
               "clEnqueueNDRangeKernel");
    return SKV_OK;
}

enum skv_status skv_cl_enqueue(const struct skv_gpu_launch *launch)
{
    struct skv_cl_queue *queue = (struct skv_cl_queue *)launch->queue;
    cl_kernel kernel = NULL;
    if (launch->kernel == SKV_GPU_ATTEND)
        SKV_TRY(find_attend(queue, &launch->variant, &kernel));
    else
        kernel = queue->kernels[launch->kernel];
    return skv_cl_enqueue_kernel(launch, kernel);
}
