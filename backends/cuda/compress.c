/* SPDX-License-Identifier: Apache-2.0
 *
 * Compression by the lane-per-row kernel, for what it can do: the largest of each token's 128 channels, records whose
 * bytes and places are multiples of 16. The shared kernels do the rest.
 */
#include <stdio.h>

#include "backends/cuda/cuda.h"

#define HEAD_DIM 128
#define ROW_BYTES 272
#define WARPS 4
#define GROUPS_RESIDENT 4

static bool is_fit(const struct skv_compress_params *params)
{
    const struct skv_layout *layout = params->pool.layout;
    if (layout->form != SKV_FIXED || layout->head_dim != HEAD_DIM || params->flags & SKV_COMPRESS_MEASURE ||
        params->select.strategy != SKV_TOKEN_MAGNITUDE || skv_driver_address(params->pool.pages) % 16 != 0 ||
        skv_driver_address(params->in.data) % 16 != 0 || params->in.token_stride % 8 != 0 ||
        params->in.head_stride % 8 != 0 || params->n_tokens > UINT64_MAX / 4 / layout->n_kv_heads)
        return false;
    for (uint32_t h = 0; h < layout->n_kv_heads; h++)
        if (layout->head[h].record_bytes % 16 != 0 || layout->head[h].row_stride % 16 != 0 ||
            layout->head[h].page_offset % 16 != 0 || layout->head[h].kept >= HEAD_DIM ||
            skv_select_kept(&params->select, h) != layout->head[h].kept)
            return false;
    return layout->block_bytes % 16 == 0;
}

enum skv_status skv_cuda_compress(struct skv_queue *queue, const struct skv_compress_params *params)
{
    struct skv_cuda_device *device = (struct skv_cuda_device *)queue->device;
    const struct skv_layout *layout = params->pool.layout;
    if (!device->compress_rows || !is_fit(params))
        return skv_gpu_compress(queue, params);
    uint32_t record_step = 0, one = 1;
    for (uint32_t h = 0; h < layout->n_kv_heads; h++)
        if (layout->head[h].record_bytes + 16 > record_step)
            record_step = layout->head[h].record_bytes + 16;
    struct skv_gpu_compress args = skv_gpu_compress_args(params);
    for (uint32_t first = 0, n; first < layout->n_kv_heads; first += n) {
        n = skv_gpu_heads_of(layout, &params->select, layout->n_kv_heads, first, &args.select.heads);
        struct skv_gpu_launch launch = skv_gpu_launch_begin(queue, SKV_GPU_COMPRESS_FIXED);
        skv_gpu_compress_spans(&launch, params, &args);
        skv_gpu_arg_value(&launch, &n, sizeof n);
        skv_gpu_arg_value(&launch, &record_step, sizeof record_step);
        skv_gpu_arg_value(&launch, &one, sizeof one);
        /* A tile of 32 rows for each warp; few tiles are spread over the multiprocessors, a warp each. */
        uint64_t n_tiles = (params->n_tokens * n + 31) / 32, n_units = device->base.facts.compute_units;
        uint32_t n_warps = n_tiles <= n_units ? 1 : WARPS;
        uint64_t n_groups = (n_tiles + n_warps - 1) / n_warps, resident = n_units * GROUPS_RESIDENT;
        launch.lanes = 32 * n_warps;
        launch.scratch_bytes = (size_t)n_warps * 32 * (ROW_BYTES + record_step);
        launch.groups[0] = n_groups < resident ? n_groups : resident;
        launch.groups[1] = launch.groups[2] = 1;
        SKV_TRY(skv_driver_enqueue(&launch, device->compress_rows));
    }
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "compress cuda rows");
    return SKV_OK;
}
