/* SPDX-License-Identifier: Apache-2.0
 *
 * One call of skv_attend, its inputs made by the reference's encoder, and its results checked row by row.
 */
#ifndef SKV_TESTS_CONFORMANCE_ATTENTION_H
#define SKV_TESTS_CONFORMANCE_ATTENTION_H

#include "tests/conformance/shapes.h"

#define ATTENTION_SEQS_MAX 8

struct attention {
    /* what is asked for; attention_draw fills it in */
    unsigned type, q_type, out_type;
    unsigned d, n_heads, group, n_seqs, n_new;
    skv_layout_params k_layout, v_layout; /* dtype, head_dim and n_kv_heads are taken from above */
    bool kept_per_head;
    unsigned max_cache, max_tail;
    bool draw_lengths;    /* lengths from 0 up to the bounds; else all at the bounds and no lens arrays */
    bool short_lengths;   /* up to a 16th of the bounds only */
    bool separate_tables; /* v_blocks of its own; needed when the pages differ */
    bool aligned;         /* tails start at multiples of 16 bytes, else of 2 */
    bool gaps;            /* strides with gaps, in any order of dimensions */
    bool want_lse, want_sinks;
    float scale, softcap;
    uint64_t window, sink_tokens;
    unsigned split_tokens;
    enum suite_kind q_kind, k_kind, v_kind; /* q: finite kinds only */

    /* made by attention_build */
    skv_attend_params params;
    int32_t cache_lens[ATTENTION_SEQS_MAX], tail_lens[ATTENTION_SEQS_MAX];
    struct suite_layout layouts[2]; /* K, V */
    struct suite_pool pools[2];
    float *sinks;
    double *q;     /* [n_seqs][n_new][n_heads * group][d] */
    double *k, *v; /* [n_seqs][max_cache + max_tail][n_heads][d] */
    struct suite_array out, lse, workspace;
    uint64_t out_strides[3];

    /* made by attention_run */
    unsigned char *out_bytes; /* all of the array */
    float *lse_values;        /* [n_seqs][n_new][n_heads * group] */
};

/* A small problem with a cache and a tail, contiguous, nothing special switched on. */
void attention_draw(struct suite_context *t, unsigned d, struct attention *a);
/* Makes inputs and params. The params may be changed before they run, as long as what `a` says stays true. */
void attention_build(struct suite_context *t, struct attention *a);
/* Puts a fresh output, lse and workspace into the params. */
void attention_outputs(struct suite_context *t, struct attention *a);
void attention_run(struct suite_context *t, struct attention *a);
/* Compares out, the gaps in it, and lse with the reference, within the bound of FORMAT.md section 9. */
void attention_check(struct suite_context *t, const struct attention *a);
/* All of the above, and a reset. */
void attention_test(struct suite_context *t, struct attention *a);
/* The reference's view of one query row: sequence, query token, query head. */
void attention_query(const struct attention *a, unsigned i_seq, unsigned i_new, unsigned i_q_head,
                     struct ref_query *query);
/* Element c of a row of `out`, as read. */
double attention_result(const struct attention *a, unsigned i_seq, unsigned i_new, unsigned i_q_head, unsigned c);
/* Bytes of one element of q and out. */
unsigned attention_value_bytes(unsigned type);

#endif
