/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors, layouts, pools and pruning rules, each twice: for the library, and for the reference.
 */
#ifndef SKV_TESTS_CONFORMANCE_SHAPES_H
#define SKV_TESTS_CONFORMANCE_SHAPES_H

#include "tests/conformance/check.h"

#define SUITE_HEADS_MAX 8
#define SUITE_N_STRATEGIES (SKV_MASK + 1)

extern const unsigned suite_head_dims[];
extern const unsigned suite_n_head_dims;

/* One of 1, about d / 3, d / 2, d, or any count. */
unsigned suite_draw_kept(struct suite_context *t, unsigned d);
unsigned suite_draw_type(struct suite_context *t);
const char *suite_type_name(unsigned type);
const char *suite_strategy_name(unsigned strategy);

/* Dense rows: contiguous, or with gaps of odd numbers of elements, token by token or head by head. */
struct suite_rows {
    struct suite_array array;
    skv_rows rows;       /* for the library; strides are 0 where contiguous */
    struct ref_rows ref; /* for the reference: the image, with its strides */
    uint16_t *image;     /* the whole array, gaps included */
    uint64_t n_tokens;
    unsigned n_heads, d;
};
struct suite_rows suite_rows_input(struct suite_context *t, unsigned type, enum suite_kind kind, uint64_t n_tokens,
                                   unsigned n_heads, unsigned d);
/* The image is what the array holds now; write what is expected into it with suite_rows_at. */
struct suite_rows suite_rows_output(struct suite_context *t, uint64_t n_tokens, unsigned n_heads, unsigned d);
uint16_t *suite_rows_at(const struct suite_rows *rows, uint64_t i_token, unsigned i_head);
/* Compares the whole array, gaps included, with the image. */
void suite_rows_check(struct suite_context *t, const char *what, const struct suite_rows *rows);

struct suite_layout {
    skv_layout *layout;
    struct ref_layout ref;
    uint32_t kept[SUITE_HEADS_MAX];
};
/* Also checks all the numbers that the library gives for it. `kept_per_head` of the params is filled in when absent and
 * per_head is set: counts around params->kept. */
void suite_layout_make(struct suite_context *t, skv_layout_params params, bool per_head, struct suite_layout *layout);
/* head_dim, heads, form and type as told; the rest drawn. */
void suite_layout_draw(struct suite_context *t, unsigned type, unsigned form, unsigned d, unsigned n_heads,
                       struct suite_layout *layout);

/* A poisoned pool, and its image, into which ref_write writes. */
struct suite_pool {
    skv_pool pool;
    struct suite_array array;
    const struct suite_layout *layout;
    uint8_t *image;
};
struct suite_pool suite_pool_make(struct suite_context *t, const struct suite_layout *layout, uint64_t n_blocks);
/* The image as an input, for operations that only read it. */
void suite_pool_upload(struct suite_context *t, struct suite_pool *pool);
/* Compares every byte of the pool with the image. */
void suite_pool_check(struct suite_context *t, const char *what, const struct suite_pool *pool);

struct suite_rule {
    skv_select select;
    struct ref_select ref;
    uint32_t kept[SUITE_HEADS_MAX];
};
/* A rule of the strategy with hostile weights, masks and thresholds, for rows of the shape; layout is NULL for prune.
 */
void suite_rule_draw(struct suite_context *t, unsigned strategy, unsigned type, const struct suite_rows *rows,
                     const struct suite_layout *layout, struct suite_rule *rule);
/* keep [n_tokens][n_heads][d] by the reference. */
uint8_t *suite_rule_apply(struct suite_context *t, const struct suite_rule *rule, unsigned type,
                          const struct suite_rows *rows);

#endif
