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

/* Rows to prefetch: `n` is 0 where that would not pay. */
struct skv_cpu_ahead {
    const uint8_t *const *row;
    uint32_t n, row_bytes;
};

/* Tokens between two rounds of prefetching. */
#define SKV_CPU_STEP_ROWS 16
#define SKV_CPU_LINE_BYTES 64

/* What to prefetch of a tile. Hardware prefetchers follow dense rows well enough for a single query row, and lose the
 * trail at every page of records, since the next page of the same head lies a block away. */
static inline struct skv_cpu_ahead skv_cpu_tile_ahead(const struct skv_attend_params *params,
                                                      const struct skv_cpu_tile *tile, const uint8_t *const *row,
                                                      uint32_t m)
{
    if (tile->n == 0 || (tile->dense && m == 1))
        return (struct skv_cpu_ahead){row, 0, 0};
    /* Rows of a page follow each other; a record's size is its successor's distance, or less. */
    uint32_t row_bytes = SKV_RECORD_BYTES(params->head_dim, params->head_dim);
    uintptr_t distance = tile->n > 1 ? (uintptr_t)row[1] - (uintptr_t)row[0] : row_bytes;
    return (struct skv_cpu_ahead){row, tile->n, distance < row_bytes ? (uint32_t)distance : row_bytes};
}

/* Asks for rows first .. first + SKV_CPU_STEP_ROWS of a list that will be read in about a tile's time: as one range
 * where the first and the last are as far apart as their number says. Always inlined: GCC takes a function that only
 * prefetches for one without effects, and drops calls of it. */
static inline __attribute__((always_inline)) void skv_cpu_prefetch(const struct skv_cpu_ahead *ahead, uint32_t first)
{
    if (first >= ahead->n)
        return;
    uint32_t last = first + SKV_CPU_STEP_ROWS < ahead->n ? first + SKV_CPU_STEP_ROWS - 1 : ahead->n - 1;
    if ((uintptr_t)ahead->row[last] - (uintptr_t)ahead->row[first] <= (uint64_t)(last - first) * ahead->row_bytes) {
        const uint8_t *end = ahead->row[last] + ahead->row_bytes;
        for (const uint8_t *line = ahead->row[first]; line < end; line += SKV_CPU_LINE_BYTES)
            __builtin_prefetch(line, 0, 2);
        return;
    }
    for (uint32_t t = first; t <= last; t++)
        for (uint32_t byte = 0; byte < ahead->row_bytes; byte += SKV_CPU_LINE_BYTES)
            __builtin_prefetch(ahead->row[t] + byte, 0, 2);
}

#endif
