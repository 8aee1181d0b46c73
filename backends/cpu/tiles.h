/* SPDX-License-Identifier: Apache-2.0
 *
 * Tiles: up to SKV_CPU_TILE tokens of one sequence and KV head as lists of row addresses, wherever the rows lie.
 */
#ifndef SKV_CPU_TILES_H
#define SKV_CPU_TILES_H

#include <stdbool.h>

#include "backends/cpu/cpu.h"

/* What tiles are cut from. */
struct skv_cpu_rows {
    const struct skv_attend_params *params;
    uint32_t i_seq, i_head;
    uint64_t cache_tokens; /* tokens at and past this position are in the tail */
};

struct skv_cpu_tile {
    uint64_t first; /* position of row 0 */
    uint32_t n;
    bool dense;
    const uint8_t *k[SKV_CPU_TILE], *v[SKV_CPU_TILE];
};

/* The tile at position `first`, up to `end`, empty when that is reached; it never mixes cache and tail. */
void skv_cpu_tile_make(const struct skv_cpu_rows *rows, uint64_t first, uint64_t end, struct skv_cpu_tile *tile);

/* Replaces records by their dense expansion in scratch of [2][SKV_CPU_TILE][head_dim]. */
void skv_cpu_tile_expand(const struct skv_cpu_kernels *kernels, uint32_t head_dim, uint16_t *scratch,
                         struct skv_cpu_tile *tile);

/* What to prefetch of a tile. Hardware prefetchers lose the trail of records at every page, since the next page of the
 * same head lies a block away. Dense rows they follow well enough as long as the arithmetic takes as long as the
 * memory: one query row in f32 math (measured on Zen 4; asking twice costs 20 % there). */
static inline struct skv_cpu_ahead skv_cpu_tile_ahead(const struct skv_attend_params *params,
                                                      const struct skv_cpu_tile *tile, const uint8_t *const *row,
                                                      uint32_t m, enum skv_cpu_math math)
{
    if (tile->n == 0 || (tile->dense && m == 1 && math != SKV_CPU_BF16_DOT))
        return (struct skv_cpu_ahead){row, 0, 0};
    /* Rows of a page follow each other; a record's size is its successor's distance, or less. */
    uint32_t row_bytes = SKV_RECORD_BYTES(params->head_dim, params->head_dim);
    uintptr_t distance = tile->n > 1 ? (uintptr_t)row[1] - (uintptr_t)row[0] : row_bytes;
    return (struct skv_cpu_ahead){row, tile->n, distance < row_bytes ? (uint32_t)distance : row_bytes};
}

#endif
