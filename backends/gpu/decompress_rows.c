/* SPDX-License-Identifier: Apache-2.0
 *
 * Decompression by the warp-per-32-rows kernels (backends/cuda/kernels/decompress_rows.h), whichever driver launches
 * them: fixed records of a head_dim that there is a kernel for, where records can be read and rows written in pieces of
 * 16 bytes.
 */
#include "backends/gpu/tensor.h"

bool skv_decompress_rows_fit(const struct skv_decompress_params *params, bool (*is_aligned)(struct skv_span span))
{
    const struct skv_layout *layout = params->pool.layout;
    if (layout->form != SKV_FIXED || layout->block_bytes % 16 != 0 || !is_aligned(params->pool.pages) ||
        !is_aligned(params->out.data) || params->out.token_stride % 8 != 0 || params->out.head_stride % 8 != 0)
        return false;
    for (uint32_t h = 0; h < layout->n_kv_heads; h++)
        if (layout->head[h].row_stride % 16 != 0 || layout->head[h].page_offset % 16 != 0)
            return false;
    return true;
}

/* In group memory, where the end of a record's last piece may hold what follows it in its slot. */
static uint32_t record_step(const struct skv_layout *layout)
{
    uint32_t most = 0;
    for (uint32_t h = 0; h < layout->n_kv_heads; h++)
        if (layout->head[h].record_bytes > most)
            most = layout->head[h].record_bytes;
    return (uint32_t)skv_round_up(most, 16);
}

/* A damaged bitmap claims up to a row more than the last record has. */
static uint32_t excess_bytes(const struct skv_layout *layout)
{
    return 2 * layout->head_dim;
}

uint32_t skv_decompress_rows_warps(const struct skv_layout *layout, uint32_t most, uint64_t scratch_bytes)
{
    uint64_t n = (scratch_bytes - excess_bytes(layout)) / (32 * record_step(layout));
    return n < most ? (uint32_t)n : most;
}

enum skv_status skv_decompress_rows(struct skv_queue *queue, const struct skv_decompress_params *params,
                                    const struct skv_rows_kernel *kernel)
{
    const struct skv_layout *layout = params->pool.layout;
    uint32_t step = record_step(layout), pieces = step / 16, share = (65536 + pieces - 1) / pieces;
    uint32_t lanes = 32 * kernel->warps;
    struct skv_gpu_decompress args = skv_gpu_decompress_args(params);
    for (uint32_t first = 0, n; first < layout->n_kv_heads; first += n) {
        n = skv_gpu_heads_of(layout, NULL, layout->n_kv_heads, first, &args.heads);
        struct skv_gpu_launch launch = skv_gpu_launch_begin(queue, SKV_GPU_DECOMPRESS);
        skv_gpu_decompress_spans(&launch, params, &args);
        skv_gpu_arg_value(&launch, &step, sizeof step);
        skv_gpu_arg_value(&launch, &share, sizeof share);
        launch.lanes = lanes;
        launch.overlaps = true;
        launch.scratch_bytes = kernel->scratch_is_fixed ? 0 : (size_t)lanes * step + excess_bytes(layout);
        launch.groups[0] = (params->n_tokens + lanes - 1) / lanes;
        launch.groups[1] = n;
        launch.groups[2] = 1;
        SKV_TRY(kernel->enqueue(&launch, kernel->kernel));
    }
    return SKV_OK;
}
