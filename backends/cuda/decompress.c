/* SPDX-License-Identifier: Apache-2.0
 *
 * Decompression of fixed records of 64, 128 or 256 channels, where records can be read and rows written in pieces of 16
 * bytes. The shared kernels do the rest.
 */
#include <stdio.h>

#include "backends/cuda/cuda.h"

#define HEAD_DIM(head_dim) head_dim,
static const uint32_t head_dims[SKV_CUDA_DECOMPRESS_KERNELS] = {SKV_CUDA_DECOMPRESS_VARIANTS(HEAD_DIM)};

enum skv_status skv_cuda_decompress_open(struct skv_cuda_device *device)
{
    for (int i = 0; i < SKV_CUDA_DECOMPRESS_KERNELS; i++) {
        char name[64];
        snprintf(name, sizeof name, "skv_kernel_decompress_rows_%u", head_dims[i]);
        SKV_TRY(skv_driver_function(&device->base, name,
                                    (uint32_t)device->base.facts.group_bytes - SKV_CUDA_STATIC_BYTES,
                                    &device->decompress_rows[i]));
    }
    return SKV_OK;
}

enum skv_status skv_cuda_decompress(struct skv_queue *queue, const struct skv_decompress_params *params)
{
    struct skv_cuda_device *device = (struct skv_cuda_device *)queue->device;
    struct skv_rows_kernel kernel = {.enqueue = skv_driver_enqueue, .warps = SKV_CUDA_DECOMPRESS_LANES / 32};
    for (int i = 0; i < SKV_CUDA_DECOMPRESS_KERNELS; i++)
        if (head_dims[i] == params->pool.layout->head_dim)
            kernel.kernel = device->decompress_rows[i];
    if (!kernel.kernel || !skv_decompress_rows_fit(params, skv_driver_is_aligned))
        return skv_gpu_decompress(queue, params);
    SKV_TRY(skv_decompress_rows(queue, params, &kernel));
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "decompress cuda rows");
    return SKV_OK;
}
