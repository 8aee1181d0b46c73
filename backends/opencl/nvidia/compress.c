/* SPDX-License-Identifier: Apache-2.0
 *
 * Compression by the lane-per-row kernel, for what it can do: the largest of each token's 128 channels, records whose
 * bytes and places are multiples of 16.
 */
#include <stdio.h>

#include "backends/opencl/nvidia/nvidia.h"

#define HEAD_DIM 128
/* Of group memory: a row, where it is from and goes to, and what follows a record. */
#define ROW_BYTES 272
#define PLACE_BYTES 16
#define RECORD_PADDING 16

/* Records one after the other in group memory: the distance. */
static uint32_t record_step_of(const struct skv_layout *layout)
{
    uint32_t most = 0;
    for (uint32_t h = 0; h < layout->n_kv_heads; h++)
        if (layout->head[h].record_bytes > most)
            most = layout->head[h].record_bytes;
    return most + RECORD_PADDING;
}

/* Warps of a group that its memory has room for, or 0. */
static uint32_t warps_of(uint32_t record_step)
{
    uint32_t n = SKV_NVIDIA_SCRATCH_BYTES / (32 * (ROW_BYTES + record_step + PLACE_BYTES));
    return n < SKV_NVIDIA_COMPRESS_WARPS ? n : SKV_NVIDIA_COMPRESS_WARPS;
}

static bool is_fit(const struct skv_compress_params *params)
{
    const struct skv_layout *layout = params->pool.layout;
    if (layout->form != SKV_FIXED || layout->head_dim != HEAD_DIM || params->flags & SKV_COMPRESS_MEASURE ||
        params->select.strategy != SKV_TOKEN_MAGNITUDE || params->pool.pages.offset % 16 != 0 ||
        params->in.data.offset % 16 != 0 || params->in.token_stride % 8 != 0 || params->in.head_stride % 8 != 0 ||
        params->n_tokens > INT32_MAX / layout->n_kv_heads || params->pool.n_blocks > INT32_MAX / layout->page_tokens)
        return false;
    for (uint32_t h = 0; h < layout->n_kv_heads; h++)
        if (layout->head[h].record_bytes % 16 != 0 || layout->head[h].row_stride % 16 != 0 ||
            layout->head[h].page_offset % 16 != 0 || layout->head[h].kept >= HEAD_DIM ||
            skv_select_kept(&params->select, h) != layout->head[h].kept)
            return false;
    return layout->block_bytes % 16 == 0 && warps_of(record_step_of(layout));
}

enum skv_status skv_nvidia_compress_launch(struct skv_cl_queue *queue, const struct skv_compress_params *params,
                                           cl_kernel kernel)
{
    const struct skv_layout *layout = params->pool.layout;
    uint32_t record_step = record_step_of(layout), one = 1;
    uint32_t pieces = (record_step - RECORD_PADDING) / 16, share = (65536 + pieces - 1) / pieces;
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
        uint32_t n_warps = n_tiles <= n_units ? 1 : warps_of(record_step);
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
