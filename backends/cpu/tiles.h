/* SPDX-License-Identifier: Apache-2.0
 *
 * Tiles: up to SKV_CPU_TILE tokens of one sequence and KV head, wherever their rows lie.
 */
#ifndef SKV_CPU_TILES_H
#define SKV_CPU_TILES_H

#include <stdbool.h>

#include "backends/cpu/cpu.h"

/* Rows no farther than this behind others are taken for their continuation. */
#define SKV_CPU_NEAR_BYTES 4096u

struct skv_cpu_tile {
    uint64_t first; /* position of row 0 */
    uint32_t n, i_head;
    bool dense;
    struct skv_cpu_rows k, v;
    const uint8_t *k_list[SKV_CPU_TILE], *v_list[SKV_CPU_TILE]; /* for rows that have no order */
};

/* The tiles of some tokens of one sequence and some KV heads, in the order in which the rows lie in memory: within a
 * block all heads follow each other, so each head takes the block's tokens before any goes on to the next block.
 * Hardware prefetchers follow such a walk; one head's pages alone they lose at every page. */
struct skv_cpu_walk {
    const struct skv_attend_params *params;
    uint32_t i_seq, first_head, n_heads;
    uint64_t cache_tokens;       /* tokens at and past this position are in the tail */
    uint64_t first, end;         /* the tokens */
    uint64_t gap_first, gap_end; /* tokens that are passed over */
    /* Where it stands, set by skv_cpu_walk_start. */
    uint32_t i_head;
    uint64_t position, stretch_first, stretch_end;
    /* Of a stretch in fixed slots of one block: the block, and the slot of its first token. Else NULL. */
    const uint8_t *k_block, *v_block;
    uint32_t i_slot;
};

void skv_cpu_walk_start(struct skv_cpu_walk *walk);
/* The next tile, empty when there are no more; it never mixes cache and tail. */
void skv_cpu_walk_next(struct skv_cpu_walk *walk, struct skv_cpu_tile *tile);

/* Replaces records by their dense expansion in scratch of [2][SKV_CPU_TILE][head_dim]. */
void skv_cpu_tile_expand(const struct skv_cpu_kernels *kernels, uint32_t head_dim, uint16_t *scratch,
                         struct skv_cpu_tile *tile);

/* What to prefetch of a tile whose K or V rows are `rows`; `before` is the last such row of the tile before it, or
 * NULL. Measured on Zen 4: dense rows the hardware follows well enough as long as the arithmetic takes as long as the
 * memory, one query row in f32 math; asking twice costs 20 %, and by dot products, in batches of tiles, 15 %. So it
 * does records that follow upon the last ones, and better than a program, whose requests wait for places among the
 * first-level cache's misses; but not as fast as two query rows take records of more than two lines, nor in the bursts
 * of the passes of more query rows. On Sapphire Rapids records are 15 to 20 % slower where the program does not ask
 * (`streams` false). */
static inline struct skv_cpu_ahead skv_cpu_tile_ahead(const struct skv_attend_params *params,
                                                      const struct skv_cpu_tile *tile, const struct skv_cpu_rows *rows,
                                                      const uint8_t *before, uint32_t m, enum skv_cpu_math math,
                                                      bool streams)
{
    const struct skv_cpu_ahead none = {{NULL, NULL, 0}, 0, 0};
    bool dot = math == SKV_CPU_BF16_DOT;
    if (tile->n == 0 || (tile->dense && m == 1 && (streams || !dot)))
        return none;
    /* Rows of a page follow each other; a record's size is its successor's distance, or less. */
    uint32_t row_bytes = SKV_RECORD_BYTES(params->head_dim, params->head_dim);
    uintptr_t first = (uintptr_t)skv_cpu_row(rows, 0);
    uintptr_t distance = tile->n > 1 ? (uintptr_t)skv_cpu_row(rows, 1) - first : row_bytes;
    bool follows = streams && first - (uintptr_t)before < SKV_CPU_NEAR_BYTES;
    bool small = distance < 2 * SKV_CPU_LINE_BYTES;
    if (!tile->dense && follows && (m == 1 || (m <= 2 && small)))
        return none;
    return (struct skv_cpu_ahead){*rows, tile->n, distance < row_bytes ? (uint32_t)distance : row_bytes};
}

#endif
