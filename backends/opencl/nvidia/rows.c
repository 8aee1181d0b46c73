/* SPDX-License-Identifier: Apache-2.0
 *
 * Compression and decompression in one pass, for what the kernels can do.
 */
#include <stdio.h>

#include "backends/opencl/nvidia/nvidia.h"

static enum skv_status enqueue(const struct skv_gpu_launch *launch, void *kernel)
{
    return skv_cl_enqueue_kernel(launch, kernel);
}

static struct skv_rows_kernel kernel_of(cl_kernel kernel, uint32_t warps)
{
    return (struct skv_rows_kernel){
        .enqueue = enqueue, .kernel = kernel, .warps = warps, .groups = SKV_NVIDIA_GROUPS, .scratch_is_fixed = true};
}

static uint32_t compress_warps(const struct skv_layout *layout)
{
    return skv_compress_rows_warps(layout, SKV_NVIDIA_COMPRESS_WARPS, SKV_NVIDIA_SCRATCH_BYTES);
}

static uint32_t decompress_warps(const struct skv_layout *layout)
{
    return skv_decompress_rows_warps(layout, SKV_NVIDIA_DECOMPRESS_WARPS, SKV_NVIDIA_SCRATCH_BYTES);
}

enum skv_status skv_nvidia_compress_launch(struct skv_cl_queue *queue, const struct skv_compress_params *params,
                                           cl_kernel kernel)
{
    const struct skv_rows_kernel own = kernel_of(kernel, compress_warps(params->pool.layout));
    return skv_compress_rows(&queue->base.base, params, &own);
}

enum skv_status skv_nvidia_decompress_launch(struct skv_cl_queue *queue, const struct skv_decompress_params *params,
                                             cl_kernel kernel)
{
    const struct skv_rows_kernel own = kernel_of(kernel, decompress_warps(params->pool.layout));
    return skv_decompress_rows(&queue->base.base, params, &own);
}

enum skv_status skv_nvidia_compress(struct skv_queue *queue, const struct skv_compress_params *params)
{
    struct skv_cl_queue *own = (struct skv_cl_queue *)queue;
    cl_kernel kernel = NULL;
    if (skv_cl_device_of(queue)->nvidia.likely && skv_compress_rows_fit(params, skv_nvidia_is_aligned) &&
        compress_warps(params->pool.layout))
        SKV_TRY(skv_nvidia_kernel(own, SKV_NVIDIA_COMPRESS, &kernel));
    if (!kernel)
        return skv_gpu_compress(queue, params);
    SKV_TRY(skv_nvidia_compress_launch(own, params, kernel));
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "compress opencl ptx.rows");
    return SKV_OK;
}

const uint32_t skv_nvidia_decompress_dims[SKV_NVIDIA_DECOMPRESS_KERNELS] = {
#define HEAD_DIM(head_dim) head_dim,
    SKV_CUDA_DECOMPRESS_VARIANTS(HEAD_DIM)};

enum skv_status skv_nvidia_decompress(struct skv_queue *queue, const struct skv_decompress_params *params)
{
    const struct skv_layout *layout = params->pool.layout;
    struct skv_cl_queue *own = (struct skv_cl_queue *)queue;
    cl_kernel kernel = NULL;
    if (skv_cl_device_of(queue)->nvidia.likely && skv_decompress_rows_fit(params, skv_nvidia_is_aligned) &&
        decompress_warps(layout))
        for (int i = 0; i < SKV_NVIDIA_DECOMPRESS_KERNELS; i++)
            if (skv_nvidia_decompress_dims[i] == layout->head_dim)
                SKV_TRY(skv_nvidia_kernel(own, SKV_NVIDIA_DECOMPRESS + i, &kernel));
    if (!kernel)
        return skv_gpu_decompress(queue, params);
    SKV_TRY(skv_nvidia_decompress_launch(own, params, kernel));
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "decompress opencl ptx.rows");
    return SKV_OK;
}
