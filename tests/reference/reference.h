/* SPDX-License-Identifier: Apache-2.0
 *
 * The independent reference: FORMAT.md in plain C and binary64, slow and laid out like its sections. It shares no code
 * with the library; of the public headers it uses the enumerators alone.
 */
#ifndef SKV_TESTS_REFERENCE_H
#define SKV_TESTS_REFERENCE_H

#include <stdint.h>

#include <skv/ops.h>

#define REF_HEAD_DIM_MAX 512

/* ---- section 1: values. Types are SKV_F16, SKV_BF16 and, for queries and results, SKV_F32 */

double ref_value(unsigned type, uint16_t bits);
/* Rounded to nearest, ties to even. */
uint16_t ref_round(unsigned type, double value);
/* As ref_round, but toward +infinity. */
uint16_t ref_round_up(unsigned type, double value);
uint16_t ref_infinity(unsigned type);

/* ---- sections 2 and 3: records, pages, pools */

struct ref_layout {
    unsigned type;
    unsigned form; /* SKV_FIXED, SKV_RAGGED */
    unsigned d, n_heads, page_tokens;
    const uint32_t *kept; /* [n_heads] */
    uint64_t row_stride;  /* fixed; 0: each head's record bytes rounded up to 8 */
    uint64_t page_bytes;  /* ragged; 0: enough for page_tokens rows of the head's kept */
};

unsigned ref_words(unsigned d);
uint64_t ref_record_bytes(unsigned d, unsigned n_survivors);
uint64_t ref_row_stride(const struct ref_layout *layout, unsigned i_head);
uint64_t ref_page_bytes(const struct ref_layout *layout, unsigned i_head);
uint64_t ref_page_offset(const struct ref_layout *layout, unsigned i_head);
uint64_t ref_block_bytes(const struct ref_layout *layout);
/* The slack of section 6 included. */
uint64_t ref_pool_bytes(const struct ref_layout *layout, uint64_t n_blocks);

/* Writes one row, keep[c] nonzero for its survivors, to slot `slot` of the pool (slot / page_tokens is the block).
 * Returns 0 when a ragged page has no room, or when its directory does not tell where the slot starts. */
int ref_write(const struct ref_layout *layout, uint8_t *pool, uint64_t slot, unsigned i_head, const uint16_t *row,
              const uint8_t *keep);
/* Expands a slot: row [d], and keep [d] when not NULL. A ragged slot that section 3.2 calls damaged is empty. */
void ref_read(const struct ref_layout *layout, const uint8_t *pool, uint64_t slot, unsigned i_head, uint16_t *row,
              uint8_t *keep);

/* ---- section 4: selection */

struct ref_rows {
    const uint16_t *values;
    uint64_t token_stride, head_stride;
};

struct ref_select {
    unsigned strategy;
    const uint32_t *kept; /* [n_heads]; not used by threshold and mask */
    float threshold;
    unsigned group_tokens, protect_tokens;
    const float *weights; /* [n_heads][d], or [n_heads][n_tokens] for the per-channel strategies */
    const uint64_t *mask; /* [n_tokens][n_heads][words] */
    const uint32_t *caps; /* [n_heads] in a ragged layout, else NULL */
};

uint32_t ref_weighted_score(unsigned type, uint16_t bits, float weight);
/* keep: [n_tokens][n_heads][d] bytes, 1 for survivors. */
void ref_select(unsigned type, unsigned d, unsigned n_heads, uint64_t n_tokens, const struct ref_rows *rows,
                const struct ref_select *select, uint8_t *keep);

/* ---- sections 8 and 9: attention and its error bound, for one query row */

struct ref_query {
    unsigned d;
    unsigned type;     /* of K and V */
    unsigned out_type; /* of the result that the bound is for */
    const double *q;   /* [d] */
    double scale;
    double softcap; /* 0: none */
    const float *sink;
    uint64_t n_tokens;
    int64_t position; /* negative: the query stands before the sequence's first token and sees nothing */
    uint64_t window;  /* 0: none */
    uint64_t sink_tokens;
    /* Row of position j: k + j * stride. Channels that were not kept are 0, which contributes nothing since q is
     * finite. */
    const double *k, *v;
    uint64_t stride;
};

struct ref_result {
    double out[REF_HEAD_DIM_MAX], out_bound[REF_HEAD_DIM_MAX];
    double lse, lse_bound;
    double e; /* E of section 9, which means something below 1/4 */
    uint64_t n_visible;
};

int ref_visible(const struct ref_query *query, uint64_t i_position);
void ref_attend(const struct ref_query *query, struct ref_result *result);

/* ---- operations that ops.h and layout.h define by a formula */

/* part_out [n_parts][part_stride], of which d count; part_lse [n_parts][lse_stride]. The bound is that of section 9
 * with scores that are given (A = 0), weights that are not rounded, and n_parts terms. */
void ref_merge(unsigned d, unsigned out_type, uint64_t n_parts, const float *part_out, uint64_t part_stride,
               const float *part_lse, uint64_t lse_stride, struct ref_result *result);

/* queries [n_queries][n_q_heads][d], rows [n_tokens][n_heads][d]; weights [n_heads][d]. Either may be absent (values
 * NULL). Returns the number of terms of the longest sum. */
uint64_t ref_channel_weights(unsigned kind, unsigned type, unsigned d, unsigned n_heads, unsigned n_q_heads,
                             uint64_t n_queries, const struct ref_rows *queries, uint64_t n_tokens,
                             const struct ref_rows *rows, double *weights);

#endif
