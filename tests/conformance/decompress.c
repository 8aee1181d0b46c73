/* SPDX-License-Identifier: Apache-2.0
 *
 * Decompression: exactly what was written, whatever lies around it.
 */
#include <string.h>

#include "tests/conformance/shapes.h"

/* Fills the slots of a pool with rows of exactly k (fixed) or any number of survivors, front to back. */
static void fill_pool(struct suite_context *t, struct suite_pool *pool, uint64_t n_slots)
{
    const struct ref_layout *ref = &pool->layout->ref;
    uint16_t row[REF_HEAD_DIM_MAX];
    uint8_t keep[REF_HEAD_DIM_MAX];
    for (uint64_t slot = 0; slot < n_slots; slot++)
        for (unsigned h = 0; h < ref->n_heads; h++) {
            unsigned left = ref->kept[h];
            if (ref->form == SKV_RAGGED)
                left = suite_below(t, left + 1);
            suite_row(t, ref->type, SUITE_ANY, row, ref->d);
            /* Any pattern of so many ones is as likely as any other. */
            for (unsigned c = 0; c < ref->d; c++) {
                keep[c] = suite_below(t, ref->d - c) < left;
                left -= keep[c];
            }
            if (!ref_write(ref, pool->image, slot, h, row, keep))
                suite_fail(t, "the suite's own rows do not fit");
        }
}

static void decompress_form(struct suite_context *t, unsigned form)
{
    suite_need(t, 0, 1u << form, 0, 0);
    unsigned n = t->quick ? 6 : 6 * suite_n_head_dims;
    for (unsigned i = 0; i < n; i++) {
        unsigned d = suite_head_dims[i % suite_n_head_dims], n_heads = 1 + suite_below(t, d > 192 ? 2 : 4);
        if (d > t->limits.head_dim_max)
            continue;
        struct suite_layout layout;
        suite_layout_draw(t, suite_draw_type(t), form, d, n_heads, &layout);
        unsigned page = layout.ref.page_tokens;
        struct suite_pool pool = suite_pool_make(t, &layout, 3);
        fill_pool(t, &pool, 2 * page + 1);
        suite_pool_upload(t, &pool);

        unsigned n_tokens = 1 + suite_below(t, 2 * page);
        int64_t *slots = suite_host(t, n_tokens * sizeof *slots);
        bool mapped = suite_below(t, 2) != 0;
        unsigned first = mapped ? 0 : suite_below(t, 2 * page + 2 - n_tokens);
        for (unsigned j = 0; j < n_tokens; j++) {
            slots[j] = first + j;
            if (mapped)
                slots[j] = suite_below(t, 8) ? (int64_t)suite_below(t, 2 * page + 1) : INT64_MIN + (int64_t)j;
        }
        struct suite_rows out = suite_rows_output(t, n_tokens, n_heads, d);
        skv_decompress_params params = {.struct_size = sizeof params,
                                        .n_tokens = n_tokens,
                                        .pool = pool.pool,
                                        .first_slot = first,
                                        .out = out.rows};
        if (mapped)
            params.slot_mapping = suite_input(t, slots, n_tokens * 8ull, 8).span;
        suite_shape(t, "%s %s head_dim %u heads %u page %u kept %u tokens %u %s",
                    form == SKV_RAGGED ? "ragged" : "fixed", suite_type_name(layout.ref.type), d, n_heads, page,
                    layout.kept[0], n_tokens, mapped ? "mapped" : "in a row");
        suite_try(t, "skv_decompress", skv_decompress(t->queue, &params));
        for (unsigned j = 0; j < n_tokens; j++)
            for (unsigned h = 0; h < n_heads; h++) {
                uint16_t *row = suite_rows_at(&out, j, h);
                memset(row, 0, 2 * d);
                if (slots[j] >= 0)
                    ref_read(&layout.ref, pool.image, (uint64_t)slots[j], h, row, NULL);
            }
        suite_rows_check(t, "expanded rows", &out);
        suite_reset(t);
    }
}

SUITE_CASE(decompress_fixed, "decompress/fixed")
{
    decompress_form(t, SKV_FIXED);
}

SUITE_CASE(decompress_ragged, "decompress/ragged")
{
    decompress_form(t, SKV_RAGGED);
}

static void round_trip(struct suite_context *t, unsigned form, unsigned strategy, unsigned d)
{
    struct suite_layout layout;
    unsigned type = suite_draw_type(t), n_heads = 1 + suite_below(t, 3), n_tokens = 1 + suite_below(t, 100);
    skv_layout_params layout_params = {
        .dtype = type, .form = form, .head_dim = d, .n_kv_heads = n_heads, .kept = suite_draw_kept(t, d)};
    if (form == SKV_RAGGED)
        layout_params.kept = 0; /* no caps, which skv_prune does not know */
    suite_layout_make(t, layout_params, false, &layout);
    struct suite_pool pool = suite_pool_make(t, &layout, 2);
    struct suite_rows in = suite_rows_input(t, type, SUITE_ANY, n_tokens, n_heads, d);
    struct suite_rows out = suite_rows_output(t, n_tokens, n_heads, d);
    struct suite_rows pruned = suite_rows_output(t, n_tokens, n_heads, d);
    struct suite_rule rule;
    suite_rule_draw(t, strategy, type, &in, &layout, &rule);
    if (form == SKV_FIXED) {
        rule.select.kept = 0;
        rule.select.kept_per_head = rule.kept;
    }
    suite_shape(t, "%s %s %s head_dim %u heads %u tokens %u", form == SKV_RAGGED ? "ragged" : "fixed",
                suite_strategy_name(strategy), suite_type_name(type), d, n_heads, n_tokens);
    skv_prune_params prune = {.struct_size = sizeof prune,
                              .dtype = type,
                              .head_dim = d,
                              .n_kv_heads = n_heads,
                              .n_tokens = n_tokens,
                              .in = in.rows,
                              .out = pruned.rows,
                              .select = rule.select};
    skv_compress_params compress = {
        .struct_size = sizeof compress, .n_tokens = n_tokens, .in = in.rows, .pool = pool.pool, .select = rule.select};
    skv_decompress_params decompress = {
        .struct_size = sizeof decompress, .n_tokens = n_tokens, .pool = pool.pool, .out = out.rows};
    suite_try(t, "skv_prune", skv_prune(t->queue, &prune));
    suite_try(t, "skv_compress", skv_compress(t->queue, &compress));
    suite_try(t, "skv_decompress", skv_decompress(t->queue, &decompress));
    uint16_t *image = suite_host(t, pruned.array.n_bytes);
    suite_read(t, pruned.array, image);
    for (unsigned j = 0; j < n_tokens; j++)
        for (unsigned h = 0; h < n_heads; h++)
            memcpy(suite_rows_at(&out, j, h), image + (suite_rows_at(&pruned, j, h) - pruned.image), 2 * d);
    suite_rows_check(t, "rows after a round trip, against skv_prune's", &out);

    /* Compressing a pruned row again with the same k changes nothing. */
    if (strategy == SKV_TOKEN_MAGNITUDE) {
        compress.in = out.rows;
        suite_try(t, "skv_compress of expanded rows", skv_compress(t->queue, &compress));
        decompress.out = pruned.rows;
        suite_try(t, "skv_decompress", skv_decompress(t->queue, &decompress));
        memcpy(pruned.image, image, (size_t)pruned.array.n_bytes);
        suite_rows_check(t, "rows after a second round trip", &pruned);
    }
    suite_reset(t);
}

SUITE_CASE(decompress_round_trip, "decompress/round_trip")
{
    unsigned n = t->quick ? 10 : 80;
    for (unsigned i = 0; i < n; i++) {
        unsigned strategy = i % SUITE_N_STRATEGIES, d = suite_head_dims[suite_below(t, suite_n_head_dims)];
        bool fixed = strategy == SKV_TOKEN_MAGNITUDE || strategy == SKV_TOKEN_WEIGHTED || strategy == SKV_CHANNELS;
        unsigned form = fixed && suite_below(t, 2) ? SKV_FIXED : SKV_RAGGED;
        if (d <= t->limits.head_dim_max && t->limits.forms >> form & 1 && t->limits.strategies >> strategy & 1)
            round_trip(t, form, strategy, d);
    }
}

/* Fixed records whose bitmaps have more ones than survivors, or ones beyond head_dim: what comes out is not said, but
 * only rows of `out` are written, and rows with sound bitmaps are right. */
SUITE_CASE(decompress_damaged, "decompress/damaged_bitmaps")
{
    suite_need(t, 0, 1u << SKV_FIXED, 0, 0);
    for (unsigned i = 0; i < (t->quick ? 4 : 3 * suite_n_head_dims); i++) {
        unsigned d = suite_head_dims[i % suite_n_head_dims];
        if (d > t->limits.head_dim_max)
            continue;
        struct suite_layout layout;
        suite_layout_draw(t, suite_draw_type(t), SKV_FIXED, d, 1, &layout);
        unsigned n_tokens = layout.ref.page_tokens;
        struct suite_pool pool = suite_pool_make(t, &layout, 1);
        fill_pool(t, &pool, n_tokens);
        /* Odd slots, the last one among them, claim all that a bitmap can. */
        for (unsigned j = 1; j < n_tokens; j += 2)
            memset(pool.image + j * ref_row_stride(&layout.ref, 0), 0xff, 8 * ref_words(d));
        suite_pool_upload(t, &pool);
        struct suite_rows out = suite_rows_output(t, n_tokens, 1, d);
        suite_shape(t, "fixed %s head_dim %u page %u kept %u", suite_type_name(layout.ref.type), d, n_tokens,
                    layout.kept[0]);
        skv_decompress_params params = {
            .struct_size = sizeof params, .n_tokens = n_tokens, .pool = pool.pool, .out = out.rows};
        suite_try(t, "skv_decompress", skv_decompress(t->queue, &params));
        uint16_t *got = suite_host(t, out.array.n_bytes);
        suite_read(t, out.array, got);
        for (unsigned j = 0; j < n_tokens; j++) {
            uint16_t *row = suite_rows_at(&out, j, 0);
            if (j % 2)
                memcpy(row, got + (row - out.image), 2 * d);
            else
                ref_read(&layout.ref, pool.image, j, 0, row, NULL);
        }
        suite_rows_check(t, "sound rows among damaged ones", &out);
        suite_reset(t);
    }
}

SUITE_CASE(decompress_empty, "decompress/empty")
{
    struct suite_layout layout;
    suite_layout_draw(t, SKV_F16, SKV_FIXED, 64, 1, &layout);
    struct suite_pool pool = suite_pool_make(t, &layout, 1);
    struct suite_rows out = suite_rows_output(t, 2, 1, 64);
    skv_decompress_params params = {.struct_size = sizeof params, .pool = pool.pool, .out = out.rows};
    suite_try(t, "skv_decompress of no tokens", skv_decompress(t->queue, &params));
    params.n_tokens = 2;
    params.flags = SKV_OP_CHECK;
    suite_try(t, "skv_decompress with SKV_OP_CHECK", skv_decompress(t->queue, &params));
    suite_rows_check(t, "rows that must be untouched", &out);
}
