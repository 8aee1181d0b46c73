/* SPDX-License-Identifier: Apache-2.0
 *
 * Compression by the lane-per-row kernel (backends/cuda/kernels/compress_rows.h), whichever driver launches it: the
 * largest of each token's 128 channels, records whose bytes and places are multiples of 16.
 */
#include "backends/gpu/tensor.h"

#define HEAD_DIM 128
/* Of group memory: a row, and where it is from and goes to. */
#define ROW_BYTES 272
#define PLACE_BYTES 16
/* Behind a record. */
#define PADDING 16

bool skv_compress_rows_fit(const struct skv_compress_params *params, bool (*is_aligned)(struct skv_span span))
{
    const struct skv_layout *layout = params->pool.layout;
    if (layout->form != SKV_FIXED || layout->head_dim != HEAD_DIM || params->flags & SKV_COMPRESS_MEASURE ||
        params->select.strategy != SKV_TOKEN_MAGNITUDE || !is_aligned(params->pool.pages) ||
        !is_aligned(params->in.data) || params->in.token_stride % 8 != 0 || params->in.head_stride % 8 != 0 ||
        params->n_tokens > INT32_MAX / layout->n_kv_heads || params->pool.n_blocks > INT32_MAX / layout->page_tokens)
        return false;
    for (uint32_t h = 0; h < layout->n_kv_heads; h++)
        if (layout->head[h].record_bytes % 16 != 0 || layout->head[h].row_stride % 16 != 0 ||
            layout->head[h].page_offset % 16 != 0 || layout->head[h].kept >= HEAD_DIM ||
            skv_select_kept(&params->select, h) != layout->head[h].kept)
            return false;
    return layout->block_bytes % 16 == 0;
}

/* Records lie one after the other in group memory, each with its padding. */
static uint32_t record_step(const struct skv_layout *layout)
{
    uint32_t most = 0;
    for (uint32_t h = 0; h < layout->n_kv_heads; h++)
        if (layout->head[h].record_bytes > most)
            most = layout->head[h].record_bytes;
    return most + PADDING;
}

static uint32_t warp_bytes(const struct skv_layout *layout)
{
    return 32 * (ROW_BYTES + record_step(layout) + PLACE_BYTES);
}

uint32_t skv_compress_rows_warps(const struct skv_layout *layout, uint32_t most, uint64_t scratch_bytes)
{
    uint64_t n = scratch_bytes / warp_bytes(layout);
    return n < most ? (uint32_t)n : most;
}

enum skv_status skv_compress_rows(struct skv_queue *queue, const struct skv_compress_params *params,
                                  const struct skv_rows_kernel *kernel)
{
    const struct skv_layout *layout = params->pool.layout;
    uint32_t step = record_step(layout), one = 1, pieces = (step - PADDING) / 16, share = (65536 + pieces - 1) / pieces;
    struct skv_gpu_compress args = skv_gpu_compress_args(queue, params);
    for (uint32_t first = 0, n; first < layout->n_kv_heads; first += n) {
        n = skv_gpu_heads_of(layout, &params->select, layout->n_kv_heads, first, &args.select.heads);
        struct skv_gpu_launch launch = skv_gpu_launch_begin(queue, SKV_GPU_COMPRESS_FIXED);
        skv_gpu_compress_spans(&launch, params, &args);
        skv_gpu_arg_value(&launch, &n, sizeof n);
        skv_gpu_arg_value(&launch, &step, sizeof step);
        skv_gpu_arg_value(&launch, &share, sizeof share);
        skv_gpu_arg_value(&launch, &one, sizeof one);
        /* A tile of 32 rows for each warp; few tiles are spread over the multiprocessors, a warp each. */
        uint64_t n_tiles = (params->n_tokens * n + 31) / 32, n_units = queue->device->info.compute_units;
        uint32_t n_warps = n_tiles <= n_units ? 1 : kernel->warps;
        uint64_t n_groups = (n_tiles + n_warps - 1) / n_warps, resident = n_units * kernel->groups;
        launch.lanes = 32 * n_warps;
        launch.overlaps = true;
        launch.scratch_bytes = kernel->scratch_is_fixed ? 0 : (size_t)n_warps * warp_bytes(layout);
        launch.groups[0] = n_groups < resident ? n_groups : resident;
        launch.groups[1] = launch.groups[2] = 1;
        SKV_TRY(kernel->enqueue(&launch, kernel->kernel));
    }
    return SKV_OK;
}
