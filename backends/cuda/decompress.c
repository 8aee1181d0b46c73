/* SPDX-License-Identifier: Apache-2.0
 *
 * Decompression of fixed records of 64, 128 or 256 channels, where records can be read and rows written in pieces of 16
 * bytes. The shared kernels do the rest.
 */
#include <stdio.h>

#include "backends/cuda/cuda.h"

static const uint32_t head_dims[SKV_CUDA_DECOMPRESS_KERNELS] = {64, 128, 256};

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

/* The kernel for a call, or NULL. */
static void *find_kernel(const struct skv_cuda_device *device, const struct skv_decompress_params *params)
{
    const struct skv_layout *layout = params->pool.layout;
    if (layout->form != SKV_FIXED || layout->block_bytes % 16 != 0 ||
        skv_driver_address(params->pool.pages) % 16 != 0 || skv_driver_address(params->out.data) % 16 != 0 ||
        params->out.token_stride % 8 != 0 || params->out.head_stride % 8 != 0)
        return NULL;
    for (uint32_t h = 0; h < layout->n_kv_heads; h++)
        if (layout->head[h].record_bytes % 16 != 0 || layout->head[h].row_stride % 16 != 0 ||
            layout->head[h].page_offset % 16 != 0)
            return NULL;
    for (int i = 0; i < SKV_CUDA_DECOMPRESS_KERNELS; i++)
        if (head_dims[i] == layout->head_dim)
            return device->decompress_rows[i];
    return NULL;
}

enum skv_status skv_cuda_decompress(struct skv_queue *queue, const struct skv_decompress_params *params)
{
    const struct skv_layout *layout = params->pool.layout;
    void *kernel = find_kernel((struct skv_cuda_device *)queue->device, params);
    if (!kernel)
        return skv_gpu_decompress(queue, params);
    uint32_t record_step = 0;
    for (uint32_t h = 0; h < layout->n_kv_heads; h++)
        if (layout->head[h].record_bytes > record_step)
            record_step = layout->head[h].record_bytes;
    uint32_t pieces = record_step / 16, share = (65536 + pieces - 1) / pieces;
    struct skv_gpu_decompress args = skv_gpu_decompress_args(params);
    for (uint32_t first = 0, n; first < layout->n_kv_heads; first += n) {
        n = skv_gpu_heads_of(layout, NULL, layout->n_kv_heads, first, &args.heads);
        struct skv_gpu_launch launch = skv_gpu_launch_begin(queue, SKV_GPU_DECOMPRESS);
        skv_gpu_decompress_spans(&launch, params, &args);
        skv_gpu_arg_value(&launch, &record_step, sizeof record_step);
        skv_gpu_arg_value(&launch, &share, sizeof share);
        launch.lanes = SKV_CUDA_DECOMPRESS_LANES;
        launch.overlaps = true;
        /* A damaged bitmap claims up to a row more than the last record has. */
        launch.scratch_bytes = (size_t)SKV_CUDA_DECOMPRESS_LANES * record_step + 2 * layout->head_dim;
        launch.groups[0] = (params->n_tokens + SKV_CUDA_DECOMPRESS_LANES - 1) / SKV_CUDA_DECOMPRESS_LANES;
        launch.groups[1] = n;
        launch.groups[2] = 1;
        SKV_TRY(skv_driver_enqueue(&launch, kernel));
    }
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "decompress cuda rows");
    return SKV_OK;
}
