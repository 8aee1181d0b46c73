/* SPDX-License-Identifier: Apache-2.0
 *
 * Compression by the lane-per-row kernel, for what it can do.
 */
#include <stdio.h>

#include "backends/opencl/nvidia/nvidia.h"

/* Warps of a group that its memory has room for, or 0. */
static uint32_t warps_of(const struct skv_layout *layout)
{
    uint32_t n = SKV_NVIDIA_SCRATCH_BYTES / skv_compress_rows_warp_bytes(layout);
    return n < SKV_NVIDIA_COMPRESS_WARPS ? n : SKV_NVIDIA_COMPRESS_WARPS;
}

static bool is_fit(const struct skv_compress_params *params)
{
    return skv_compress_rows_fit(params, skv_nvidia_attend_kernels.is_aligned) && warps_of(params->pool.layout);
}

enum skv_status skv_nvidia_compress_launch(struct skv_cl_queue *queue, const struct skv_compress_params *params,
                                           cl_kernel kernel)
{
    const struct skv_layout *layout = params->pool.layout;
    uint32_t record_step = skv_compress_rows_step(layout), one = 1;
    uint32_t pieces = (record_step - SKV_COMPRESS_ROWS_PADDING) / 16, share = (65536 + pieces - 1) / pieces;
    struct skv_gpu_compress args = skv_gpu_compress_args(params);
    for (uint32_t first = 0, n; first < layout->n_kv_heads; first += n) {
        n = skv_gpu_heads_of(layout, &params->select, layout->n_kv_heads, first, &args.select.heads);
        struct skv_gpu_launch launch = skv_gpu_launch_begin(&queue->base.base, SKV_GPU_COMPRESS_FIXED);
        skv_gpu_compress_spans(&launch, params, &args);
        skv_gpu_arg_value(&launch, &n, sizeof n);
        skv_gpu_arg_value(&launch, &record_step, sizeof record_step);
        skv_gpu_arg_value(&launch, &share, sizeof share);
        skv_gpu_arg_value(&launch, &one, sizeof one);
        /* A tile of 32 rows for each warp; few tiles are spread over the multiprocessors, a warp each. */
        uint64_t n_tiles = (params->n_tokens * n + 31) / 32, n_units = queue->base.base.device->info.compute_units;
        uint32_t n_warps = n_tiles <= n_units ? 1 : warps_of(layout);
        uint64_t n_groups = (n_tiles + n_warps - 1) / n_warps, resident = n_units * SKV_NVIDIA_GROUPS;
        launch.lanes = 32 * n_warps;
        launch.groups[0] = n_groups < resident ? n_groups : resident;
        launch.groups[1] = launch.groups[2] = 1;
        SKV_TRY(skv_cl_enqueue_kernel(&launch, kernel));
    }
    return SKV_OK;
}

enum skv_status skv_nvidia_compress(struct skv_queue *queue, const struct skv_compress_params *params)
{
    cl_kernel kernel = NULL;
    if (skv_cl_device_of(queue)->nvidia.likely && is_fit(params))
        SKV_TRY(skv_nvidia_kernel((struct skv_cl_queue *)queue, SKV_NVIDIA_COMPRESS, &kernel));
    if (!kernel)
        return skv_gpu_compress(queue, params);
    SKV_TRY(skv_nvidia_compress_launch((struct skv_cl_queue *)queue, params, kernel));
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "compress opencl ptx.rows");
    return SKV_OK;
}
