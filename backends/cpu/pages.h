/* SPDX-License-Identifier: Apache-2.0
 *
 * From slots to addresses (FORMAT.md section 3).
 */
#ifndef SKV_CPU_PAGES_H
#define SKV_CPU_PAGES_H

#include <string.h>

#include "backends/cpu/cpu.h"

/* The page of one head in a block. */
static inline uint8_t *skv_cpu_page(const struct skv_pool *pool, uint64_t i_block, uint32_t i_head)
{
    return (uint8_t *)skv_host(pool->pages) + i_block * pool->layout->block_bytes +
           pool->layout->head[i_head].page_offset;
}

static inline uint32_t skv_cpu_ragged_end(const uint8_t *page, uint32_t i_slot)
{
    uint32_t end;
    memcpy(&end, page + 4 * (size_t)i_slot, sizeof end);
    return end;
}

/* Where slot i's record starts in a ragged page. */
static inline uint32_t skv_cpu_ragged_start(const uint8_t *page, uint32_t i_slot, uint32_t page_tokens)
{
    return i_slot == 0 ? 4 * page_tokens : skv_cpu_ragged_end(page, i_slot - 1);
}

/* A record without survivors, for rows of damaged directories; with the bytes behind it that kernels may read. */
extern const uint64_t skv_cpu_empty_record[SKV_WORDS_MAX + SKV_READ_SLACK / 8];

/* The record of a ragged slot, checked against the directory and the page. */
static inline const uint8_t *skv_cpu_ragged_record(const struct skv_layout *layout, uint64_t page_bytes,
                                                   const uint8_t *page, uint32_t i_slot)
{
    uint64_t start = skv_cpu_ragged_start(page, i_slot, layout->page_tokens), end = skv_cpu_ragged_end(page, i_slot);
    uint64_t bitmap_bytes = (uint64_t)layout->n_words * SKV_WORD_BYTES;
    if (start % 8 != 0 || start < 4ull * layout->page_tokens || start + bitmap_bytes > page_bytes)
        return (const uint8_t *)skv_cpu_empty_record;
    uint64_t n = 0;
    for (uint32_t w = 0; w < layout->n_words; w++) {
        uint64_t word;
        memcpy(&word, page + start + w * sizeof word, sizeof word);
        if (w + 1 == layout->n_words && layout->head_dim % SKV_WORD_CHANNELS)
            word &= (1ull << layout->head_dim % SKV_WORD_CHANNELS) - 1;
        n += (uint64_t)__builtin_popcountll(word);
    }
    uint64_t limit = end < page_bytes ? end : page_bytes;
    return start + bitmap_bytes + 2 * n > limit ? (const uint8_t *)skv_cpu_empty_record : page + start;
}

static inline const uint8_t *skv_cpu_record(const struct skv_pool *pool, uint64_t slot, uint32_t i_head)
{
    const struct skv_layout *layout = pool->layout;
    const struct skv_layout_slot *head = &layout->head[i_head];
    uint32_t i_slot = (uint32_t)(slot % layout->page_tokens);
    const uint8_t *page = skv_cpu_page(pool, slot / layout->page_tokens, i_head);
    if (layout->form == SKV_RAGGED)
        return skv_cpu_ragged_record(layout, head->page_bytes, page, i_slot);
    return page + (uint64_t)i_slot * head->row_stride;
}

#endif
