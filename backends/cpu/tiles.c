/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu/tiles.h"

#include "backends/cpu/pages.h"

const uint64_t skv_cpu_empty_record[SKV_WORDS_MAX + SKV_READ_SLACK / 8];

static void cache_rows(const struct skv_cpu_rows *rows, const struct skv_pool *pool, struct skv_span blocks,
                       uint64_t first, uint32_t n, const uint8_t **row)
{
    const struct skv_layout *layout = pool->layout;
    const struct skv_layout_slot *head = &layout->head[rows->i_head];
    const int32_t *table = (const int32_t *)skv_host(blocks) + (uint64_t)rows->i_seq * rows->params->block_stride;
    for (uint32_t t = 0; t < n;) {
        uint32_t i_slot = (uint32_t)((first + t) % layout->page_tokens);
        uint32_t here = layout->page_tokens - i_slot < n - t ? layout->page_tokens - i_slot : n - t;
        const uint8_t *page =
            skv_cpu_page(pool, (uint64_t)(uint32_t)table[(first + t) / layout->page_tokens], rows->i_head);
        const uint8_t *record = page + (uint64_t)i_slot * head->row_stride;
        if (layout->form == SKV_RAGGED)
            for (uint32_t i = 0; i < here; i++)
                row[t + i] = skv_cpu_ragged_record(layout, head->page_bytes, page, i_slot + i);
        else
            for (uint32_t i = 0; i < here; i++, record += head->row_stride)
                row[t + i] = record;
        t += here;
    }
}

static void tail_rows(const struct skv_cpu_rows *rows, struct skv_span tail, uint64_t first, uint32_t n,
                      const uint8_t **row)
{
    const struct skv_attend_params *params = rows->params;
    const uint16_t *values = (const uint16_t *)skv_host(tail) + rows->i_seq * params->tail_seq_stride +
                             rows->i_head * params->tail_head_stride;
    for (uint32_t t = 0; t < n; t++)
        row[t] = (const uint8_t *)(values + (first + t) * params->tail_token_stride);
}

void skv_cpu_tile_make(const struct skv_cpu_rows *rows, uint64_t first, uint64_t end, struct skv_cpu_tile *tile)
{
    const struct skv_attend_params *params = rows->params;
    tile->first = first;
    tile->n = 0;
    tile->dense = first >= rows->cache_tokens;
    if (first >= end)
        return;
    uint64_t limit = tile->dense || end < rows->cache_tokens ? end : rows->cache_tokens;
    tile->n = limit - first < SKV_CPU_TILE ? (uint32_t)(limit - first) : SKV_CPU_TILE;
    if (tile->dense) {
        tail_rows(rows, params->k_tail, first - rows->cache_tokens, tile->n, tile->k);
        tail_rows(rows, params->v_tail, first - rows->cache_tokens, tile->n, tile->v);
    } else {
        cache_rows(rows, &params->k_pool, params->k_blocks, first, tile->n, tile->k);
        cache_rows(rows, &params->v_pool, params->v_blocks, first, tile->n, tile->v);
    }
}

void skv_cpu_tile_expand(const struct skv_cpu_kernels *kernels, uint32_t head_dim, uint16_t *scratch,
                         struct skv_cpu_tile *tile)
{
    if (tile->dense)
        return;
    for (uint32_t t = 0; t < tile->n; t++) {
        uint16_t *k = scratch + (size_t)t * head_dim, *v = k + (size_t)SKV_CPU_TILE * head_dim;
        kernels->unpack(tile->k[t], head_dim, k);
        kernels->unpack(tile->v[t], head_dim, v);
        tile->k[t] = (const uint8_t *)k;
        tile->v[t] = (const uint8_t *)v;
    }
    tile->dense = true;
}
