/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu/tiles.h"

#include "backends/cpu/pages.h"

const uint64_t skv_cpu_empty_record[SKV_WORDS_MAX + SKV_READ_SLACK / 8];

static const uint8_t *find_block(const struct skv_cpu_walk *walk, const struct skv_pool *pool, struct skv_span blocks,
                                 uint64_t i_page)
{
    const int32_t *table = (const int32_t *)skv_host(blocks) + (uint64_t)walk->i_seq * walk->params->block_stride;
    return (const uint8_t *)skv_host(pool->pages) + (uint32_t)table[i_page] * pool->layout->block_bytes;
}

static struct skv_cpu_rows cache_rows(const struct skv_cpu_walk *walk, const struct skv_pool *pool,
                                      struct skv_span blocks, uint64_t first, uint32_t n, const uint8_t **row)
{
    const struct skv_layout *layout = pool->layout;
    const struct skv_layout_slot *head = &layout->head[walk->i_head];
    for (uint32_t t = 0; t < n;) {
        uint32_t i_slot = (uint32_t)((first + t) % layout->page_tokens);
        uint32_t here = layout->page_tokens - i_slot < n - t ? layout->page_tokens - i_slot : n - t;
        const uint8_t *page = find_block(walk, pool, blocks, (first + t) / layout->page_tokens) + head->page_offset;
        const uint8_t *record = page + (uint64_t)i_slot * head->row_stride;
        if (layout->form == SKV_RAGGED)
            for (uint32_t i = 0; i < here; i++)
                row[t + i] = skv_cpu_ragged_record(layout, head->page_bytes, page, i_slot + i);
        else
            for (uint32_t i = 0; i < here; i++, record += head->row_stride)
                row[t + i] = record;
        t += here;
    }
    return (struct skv_cpu_rows){row, NULL, 0};
}

static struct skv_cpu_rows tail_rows(const struct skv_cpu_walk *walk, struct skv_span tail, uint64_t first)
{
    const struct skv_attend_params *params = walk->params;
    const uint16_t *values = (const uint16_t *)skv_host(tail) + walk->i_seq * params->tail_seq_stride +
                             walk->i_head * params->tail_head_stride + first * params->tail_token_stride;
    return (struct skv_cpu_rows){NULL, (const uint8_t *)values, 2 * params->tail_token_stride};
}

/* The tokens from `first` on that one head takes before the next head goes through them. */
static uint64_t stretch_end(const struct skv_cpu_walk *walk, uint64_t first)
{
    const struct skv_attend_params *params = walk->params;
    uint64_t tokens = walk->end, limit = walk->end;
    if (first < walk->cache_tokens) {
        tokens = params->k_pool.layout->page_tokens;
        limit = walk->cache_tokens < limit ? walk->cache_tokens : limit;
    } else if (params->tail_head_stride < params->tail_token_stride) {
        tokens = SKV_CPU_TILE;
    }
    tokens = tokens < SKV_CPU_TILE ? SKV_CPU_TILE : tokens;
    uint64_t end = (first / tokens + 1) * tokens;
    return end < limit ? end : limit;
}

static uint64_t skip_gap(const struct skv_cpu_walk *walk, uint64_t position)
{
    return position >= walk->gap_first && position < walk->gap_end ? walk->gap_end : position;
}

static void start_stretch(struct skv_cpu_walk *walk, uint64_t first)
{
    const struct skv_attend_params *params = walk->params;
    walk->stretch_first = walk->position = skip_gap(walk, first);
    walk->i_head = walk->first_head;
    walk->stretch_end = walk->position < walk->end ? stretch_end(walk, walk->position) : walk->position;
    walk->k_block = walk->v_block = NULL;
    if (walk->position >= walk->stretch_end || walk->position >= walk->cache_tokens)
        return;
    uint64_t page_tokens = params->k_pool.layout->page_tokens, i_page = walk->position / page_tokens;
    walk->i_slot = (uint32_t)(walk->position % page_tokens);
    if (params->v_pool.layout->page_tokens != page_tokens ||
        walk->i_slot + (walk->stretch_end - walk->position) > page_tokens ||
        params->k_pool.layout->form == SKV_RAGGED || params->v_pool.layout->form == SKV_RAGGED)
        return;
    walk->k_block = find_block(walk, &params->k_pool, params->k_blocks, i_page);
    walk->v_block = find_block(walk, &params->v_pool, params->v_blocks, i_page);
}

static struct skv_cpu_rows page_rows(const struct skv_layout *layout, const uint8_t *block, uint32_t i_head,
                                     uint64_t i_slot)
{
    const struct skv_layout_slot *head = &layout->head[i_head];
    return (struct skv_cpu_rows){NULL, block + head->page_offset + i_slot * head->row_stride, head->row_stride};
}

void skv_cpu_walk_start(struct skv_cpu_walk *walk)
{
    start_stretch(walk, walk->first);
}

void skv_cpu_walk_next(struct skv_cpu_walk *walk, struct skv_cpu_tile *tile)
{
    const struct skv_attend_params *params = walk->params;
    uint64_t first = walk->position, left = walk->stretch_end - first;
    tile->first = first;
    tile->i_head = walk->i_head;
    tile->dense = first >= walk->cache_tokens;
    tile->n = left < SKV_CPU_TILE ? (uint32_t)left : SKV_CPU_TILE;
    if (tile->n == 0)
        return;
    if (tile->dense) {
        tile->k = tail_rows(walk, params->k_tail, first - walk->cache_tokens);
        tile->v = tail_rows(walk, params->v_tail, first - walk->cache_tokens);
    } else if (walk->k_block) {
        uint64_t i_slot = walk->i_slot + (first - walk->stretch_first);
        tile->k = page_rows(params->k_pool.layout, walk->k_block, walk->i_head, i_slot);
        tile->v = page_rows(params->v_pool.layout, walk->v_block, walk->i_head, i_slot);
    } else {
        tile->k = cache_rows(walk, &params->k_pool, params->k_blocks, first, tile->n, tile->k_list);
        tile->v = cache_rows(walk, &params->v_pool, params->v_blocks, first, tile->n, tile->v_list);
    }
    walk->position = skip_gap(walk, first + tile->n);
    if (walk->position < walk->stretch_end)
        return;
    if (walk->i_head + 1 < walk->first_head + walk->n_heads) {
        walk->i_head++;
        walk->position = walk->stretch_first;
        return;
    }
    start_stretch(walk, walk->stretch_end);
}

void skv_cpu_tile_expand(const struct skv_cpu_kernels *kernels, uint32_t head_dim, uint16_t *scratch,
                         struct skv_cpu_tile *tile)
{
    if (tile->dense)
        return;
    for (uint32_t t = 0; t < tile->n; t++) {
        uint16_t *k = scratch + (size_t)t * head_dim, *v = k + (size_t)SKV_CPU_TILE * head_dim;
        kernels->unpack(skv_cpu_row(&tile->k, t), head_dim, k);
        kernels->unpack(skv_cpu_row(&tile->v, t), head_dim, v);
    }
    size_t stride = 2 * (size_t)head_dim;
    tile->k = (struct skv_cpu_rows){NULL, (const uint8_t *)scratch, stride};
    tile->v = (struct skv_cpu_rows){NULL, (const uint8_t *)scratch + SKV_CPU_TILE * stride, stride};
    tile->dense = true;
}
