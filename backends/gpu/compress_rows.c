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

uint32_t skv_compress_rows_step(const struct skv_layout *layout)
{
    uint32_t most = 0;
    for (uint32_t h = 0; h < layout->n_kv_heads; h++)
        if (layout->head[h].record_bytes > most)
            most = layout->head[h].record_bytes;
    return most + SKV_COMPRESS_ROWS_PADDING;
}

uint32_t skv_compress_rows_warp_bytes(const struct skv_layout *layout)
{
    return 32 * (ROW_BYTES + skv_compress_rows_step(layout) + PLACE_BYTES);
}
