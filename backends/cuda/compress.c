/* SPDX-License-Identifier: Apache-2.0
 *
 * Compression by the lane-per-row kernel, for what it can do. The shared kernels do the rest.
 */
#include <stdio.h>

#include "backends/cuda/cuda.h"

#define WARPS 4
#define GROUPS_RESIDENT 4

enum skv_status skv_cuda_compress(struct skv_queue *queue, const struct skv_compress_params *params)
{
    struct skv_cuda_device *device = (struct skv_cuda_device *)queue->device;
    const struct skv_layout *layout = params->pool.layout;
    if (!device->compress_rows || !skv_compress_rows_fit(params, skv_driver_is_aligned))
        return skv_gpu_compress(queue, params);
    uint32_t record_step = skv_compress_rows_step(layout), one = 1;
    uint32_t pieces = (record_step - SKV_COMPRESS_ROWS_PADDING) / 16, share = (65536 + pieces - 1) / pieces;
    struct skv_gpu_compress args = skv_gpu_compress_args(params);
    for (uint32_t first = 0, n; first < layout->n_kv_heads; first += n) {
        n = skv_gpu_heads_of(layout, &params->select, layout->n_kv_heads, first, &args.select.heads);
        struct skv_gpu_launch launch = skv_gpu_launch_begin(queue, SKV_GPU_COMPRESS_FIXED);
        skv_gpu_compress_spans(&launch, params, &args);
        skv_gpu_arg_value(&launch, &n, sizeof n);
        skv_gpu_arg_value(&launch, &record_step, sizeof record_step);
        skv_gpu_arg_value(&launch, &share, sizeof share);
        skv_gpu_arg_value(&launch, &one, sizeof one);
        /* A tile of 32 rows for each warp; few tiles are spread over the multiprocessors, a warp each. */
        uint64_t n_tiles = (params->n_tokens * n + 31) / 32, n_units = device->base.facts.compute_units;
        uint32_t n_warps = n_tiles <= n_units ? 1 : WARPS;
        uint64_t n_groups = (n_tiles + n_warps - 1) / n_warps, resident = n_units * GROUPS_RESIDENT;
        launch.lanes = 32 * n_warps;
        launch.overlaps = true;
        launch.scratch_bytes = (size_t)n_warps * skv_compress_rows_warp_bytes(layout);
        launch.groups[0] = n_groups < resident ? n_groups : resident;
        launch.groups[1] = launch.groups[2] = 1;
        SKV_TRY(skv_driver_enqueue(&launch, device->compress_rows));
    }
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "compress cuda rows");
    return SKV_OK;
}
