/* SPDX-License-Identifier: Apache-2.0
 *
 * Pruning rules as bitmaps (FORMAT.md section 4): what prune and compress share.
 */
#ifndef SKV_CPU_SELECT_H
#define SKV_CPU_SELECT_H

#include <stdbool.h>

#include "backends/cpu/cpu.h"

/* A rule resolved for one call. */
struct skv_cpu_select {
    const struct skv_cpu_kernels *kernels;
    const struct skv_select *rule;
    const struct skv_rows *rows;
    const uint16_t *values; /* of rows */
    const uint32_t *caps;   /* per head, or NULL: no cap */
    uint32_t dtype, head_dim, n_words, n_kv_heads;
    uint32_t chunk_tokens;   /* tokens that are selected together: whole groups, at most SKV_CPU_ROWS_MAX */
    uint16_t threshold_bits; /* SKV_THRESHOLD */
    uint64_t n_tokens;
};

/* caps: n_kv_heads values, or NULL. */
void skv_cpu_select_init(struct skv_cpu_select *select, const struct skv_cpu_kernels *kernels,
                         const struct skv_select *rule, const struct skv_rows *rows, uint32_t dtype, uint32_t head_dim,
                         uint32_t n_kv_heads, uint64_t n_tokens, const uint32_t *caps);

static inline const uint16_t *skv_cpu_select_row(const struct skv_cpu_select *select, uint64_t i_token, uint32_t i_head)
{
    return select->values + i_token * select->rows->token_stride + i_head * select->rows->head_stride;
}

static inline uint64_t skv_cpu_select_chunks(const struct skv_cpu_select *select)
{
    return (select->n_tokens + select->chunk_tokens - 1) / select->chunk_tokens;
}

/* Tokens of chunk i. */
static inline uint32_t skv_cpu_select_chunk_size(const struct skv_cpu_select *select, uint64_t i_chunk)
{
    uint64_t left = select->n_tokens - i_chunk * select->chunk_tokens;
    return left < select->chunk_tokens ? (uint32_t)left : select->chunk_tokens;
}

/* Bitmaps of one head for all tokens of chunk i: [chunk size][n_words]. */
void skv_cpu_select_chunk(const struct skv_cpu_select *select, uint64_t i_chunk, uint32_t i_head, uint64_t *bitmap);

#endif
