/* SPDX-License-Identifier: Apache-2.0
 *
 * Compression: every byte of the pool is that of the reference, those that must not be written included.
 */
#include <string.h>

#include "tests/conformance/shapes.h"

/* The reference's side of one call: slots[i] < 0 skips token i. */
static void expect_call(struct suite_context *t, struct suite_pool *pool, const struct suite_rows *in,
                        const uint8_t *keep, const int64_t *slots, uint32_t *row_bytes, bool write)
{
    for (uint64_t i = 0; i < in->n_tokens; i++)
        for (unsigned h = 0; h < in->n_heads; h++) {
            const uint8_t *row_keep = keep + (i * in->n_heads + h) * in->d;
            unsigned n = 0;
            for (unsigned c = 0; c < in->d; c++)
                n += row_keep[c];
            row_bytes[i * in->n_heads + h] = slots[i] < 0 ? 0 : (uint32_t)ref_record_bytes(in->d, n);
            if (write && slots[i] >= 0 &&
                !ref_write(&pool->layout->ref, pool->image, (uint64_t)slots[i], h, suite_rows_at(in, i, h), row_keep))
                suite_fail(t, "the suite asks for a row that does not fit its page");
        }
}

/* One skv_compress of n_tokens to the slots; mapped: through a slot mapping, else slots are consecutive. */
static void compress_call(struct suite_context *t, struct suite_pool *pool, unsigned strategy, enum suite_kind kind,
                          uint64_t n_tokens, const int64_t *slots, bool mapped, bool measure)
{
    const struct ref_layout *ref = &pool->layout->ref;
    struct suite_rows in = suite_rows_input(t, ref->type, kind, n_tokens, ref->n_heads, ref->d);
    struct suite_rule rule;
    suite_rule_draw(t, strategy, ref->type, &in, pool->layout, &rule);
    uint64_t bytes_bytes = n_tokens * ref->n_heads * 4;
    uint32_t *expected = suite_host(t, bytes_bytes), *got = suite_host(t, bytes_bytes);
    expect_call(t, pool, &in, suite_rule_apply(t, &rule, ref->type, &in), slots, expected, !measure);

    skv_compress_params params = {.struct_size = sizeof params,
                                  .flags = measure ? SKV_COMPRESS_MEASURE : 0,
                                  .n_tokens = n_tokens,
                                  .in = in.rows,
                                  .pool = pool->pool,
                                  .select = rule.select};
    if (mapped)
        params.slot_mapping = suite_input(t, slots, n_tokens * 8, 8).span;
    else
        params.first_slot = (uint64_t)slots[0];
    struct suite_array row_bytes = {0};
    if (measure || suite_below(t, 2)) {
        row_bytes = suite_output(t, bytes_bytes, 4);
        params.row_bytes = row_bytes.span;
    }
    suite_try(t, "skv_compress", skv_compress(t->queue, &params));
    suite_try(t, "skv_queue_finish", skv_queue_finish(t->queue));
    if (params.row_bytes.buffer) {
        suite_read(t, row_bytes, got);
        suite_equal(t, "row_bytes", got, expected, bytes_bytes, 4);
    }
    suite_pool_check(t, "byte of the pool", pool);
}

static void describe(struct suite_context *t, const struct ref_layout *ref, unsigned strategy, uint64_t n_tokens,
                     const char *how)
{
    suite_shape(t, "%s %s %s head_dim %u heads %u page %u kept %u stride %llu tokens %llu, %s",
                suite_strategy_name(strategy), ref->form == SKV_RAGGED ? "ragged" : "fixed", suite_type_name(ref->type),
                ref->d, ref->n_heads, ref->page_tokens, ref->kept[0], (unsigned long long)ref->row_stride,
                (unsigned long long)n_tokens, how);
}

/* ---- slots */

/* Distinct slots anywhere in the pool, in any order, one in eight skipped. */
static void scatter(struct suite_context *t, int64_t *slots, uint64_t n_tokens, uint64_t n_slots)
{
    int32_t *order = suite_host(t, n_slots * sizeof *order);
    for (uint64_t i = 0; i < n_slots; i++)
        order[i] = (int32_t)i;
    suite_shuffle(t, order, (unsigned)n_slots);
    for (uint64_t i = 0; i < n_tokens; i++)
        slots[i] = suite_below(t, 8) ? order[i] : -1 - (int64_t)suite_below(t, 3);
}

/* Where sequences that share a pool stand. */
struct sequences {
    unsigned n, n_blocks; /* blocks of each */
    int32_t *blocks;      /* [n][n_blocks] */
    uint64_t lengths[4];
};

static struct sequences make_sequences(struct suite_context *t, unsigned n, unsigned n_blocks)
{
    struct sequences sequences = {.n = n, .n_blocks = n_blocks};
    sequences.blocks = suite_host(t, (uint64_t)n * n_blocks * sizeof *sequences.blocks);
    for (unsigned i = 0; i < n * n_blocks; i++)
        sequences.blocks[i] = (int32_t)i;
    suite_shuffle(t, sequences.blocks, n * n_blocks);
    return sequences;
}

/* The next `each` tokens of some of the sequences, one sequence after the other, with skipped tokens between them.
 * Returns the number of tokens. */
static uint64_t extend(struct suite_context *t, struct sequences *sequences, unsigned page_tokens, unsigned each,
                       int64_t *slots)
{
    uint64_t n = 0;
    for (unsigned s = 0; s < sequences->n; s++) {
        if (suite_below(t, 4) == 0)
            slots[n++] = -1;
        for (unsigned i = 0; i < each; i++) {
            uint64_t position = sequences->lengths[s];
            if (position == (uint64_t)sequences->n_blocks * page_tokens)
                break;
            int32_t block = sequences->blocks[s * sequences->n_blocks + position / page_tokens];
            slots[n++] = (int64_t)block * page_tokens + (int64_t)(position % page_tokens);
            sequences->lengths[s]++;
        }
    }
    return n;
}

/* ---- cases */

static unsigned draw_heads(struct suite_context *t, unsigned d)
{
    return d > 192 ? 1 + suite_below(t, 2) : 1 + suite_below(t, 4);
}

/* Fixed slots: a prefill from a slot near a page's edge, then tokens scattered over the pool. */
static void compress_fixed(struct suite_context *t, unsigned strategy)
{
    suite_need(t, 0, 1u << SKV_FIXED, 1u << strategy, 0);
    unsigned n = t->quick ? 5 : 5 * suite_n_head_dims;
    for (unsigned i = 0; i < n; i++) {
        unsigned d = suite_head_dims[i % suite_n_head_dims];
        if (d > t->limits.head_dim_max)
            continue;
        struct suite_layout layout;
        suite_layout_draw(t, suite_draw_type(t), SKV_FIXED, d, draw_heads(t, d), &layout);
        unsigned page = layout.ref.page_tokens, n_slots = 3 * page;
        struct suite_pool pool = suite_pool_make(t, &layout, 3);
        int64_t *slots = suite_host(t, n_slots * sizeof *slots);
        unsigned first = page - 1 + suite_below(t, 3), n_tokens = 1 + suite_below(t, page + 1);
        for (unsigned j = 0; j < n_tokens; j++)
            slots[j] = first + j;
        describe(t, &layout.ref, strategy, n_tokens, "a prefill");
        compress_call(t, &pool, strategy, SUITE_ANY, n_tokens, slots, false, false);

        n_tokens = 1 + suite_below(t, page);
        scatter(t, slots, n_tokens, n_slots);
        describe(t, &layout.ref, strategy, n_tokens, "scattered slots");
        compress_call(t, &pool, strategy, SUITE_ANY, n_tokens, slots, true, false);
        describe(t, &layout.ref, strategy, n_tokens, "measured");
        compress_call(t, &pool, strategy, SUITE_ANY, n_tokens, slots, true, true);
        suite_reset(t);
    }
}

/* Ragged pages: sequences that grow by turns, in steps that end anywhere in a page. */
static void compress_ragged(struct suite_context *t, unsigned strategy)
{
    suite_need(t, 0, 1u << SKV_RAGGED, 1u << strategy, 0);
    unsigned n = t->quick ? 4 : 3 * suite_n_head_dims;
    for (unsigned i = 0; i < n; i++) {
        unsigned d = suite_head_dims[i % suite_n_head_dims];
        if (d > t->limits.head_dim_max)
            continue;
        struct suite_layout layout;
        suite_layout_draw(t, suite_draw_type(t), SKV_RAGGED, d, draw_heads(t, d), &layout);
        unsigned page = layout.ref.page_tokens;
        struct sequences sequences = make_sequences(t, 1 + suite_below(t, 3), page > 64 ? 1 : 2);
        struct suite_pool pool = suite_pool_make(t, &layout, (uint64_t)sequences.n * sequences.n_blocks);
        int64_t *slots = suite_host(t, (uint64_t)(sequences.n + 1) * (page + 2) * sizeof *slots);
        const unsigned steps[] = {page - 1 - suite_below(t, 3), 1, 2, 1 + suite_below(t, page / 2)};
        for (unsigned j = 0; j < 4; j++) {
            uint64_t n_tokens = extend(t, &sequences, page, steps[j], slots);
            if (n_tokens == 0)
                continue;
            describe(t, &layout.ref, strategy, n_tokens, "growing sequences");
            compress_call(t, &pool, strategy, SUITE_ANY, n_tokens, slots, true, false);
        }
        /* Slot 0 starts a page anew. */
        for (unsigned j = 0; j < page / 2; j++)
            slots[j] = (int64_t)page * sequences.blocks[0] + j;
        describe(t, &layout.ref, strategy, page / 2, "a page anew");
        compress_call(t, &pool, strategy, SUITE_ANY, page / 2, slots, false, false);
        compress_call(t, &pool, strategy, SUITE_ANY, page / 2, slots, false, true);
        suite_reset(t);
    }
}

#define FIXED_CASE(id) SUITE_CASE(compress_fixed_##id, "compress/fixed_" #id)
#define RAGGED_CASE(id) SUITE_CASE(compress_ragged_##id, "compress/ragged_" #id)

FIXED_CASE(token_magnitude)
{
    compress_fixed(t, SKV_TOKEN_MAGNITUDE);
}

FIXED_CASE(token_weighted)
{
    compress_fixed(t, SKV_TOKEN_WEIGHTED);
}

FIXED_CASE(channels)
{
    compress_fixed(t, SKV_CHANNELS);
}

RAGGED_CASE(token_magnitude)
{
    compress_ragged(t, SKV_TOKEN_MAGNITUDE);
}

RAGGED_CASE(token_weighted)
{
    compress_ragged(t, SKV_TOKEN_WEIGHTED);
}

RAGGED_CASE(channel_magnitude)
{
    compress_ragged(t, SKV_CHANNEL_MAGNITUDE);
}

RAGGED_CASE(channel_weighted)
{
    compress_ragged(t, SKV_CHANNEL_WEIGHTED);
}

RAGGED_CASE(channels)
{
    compress_ragged(t, SKV_CHANNELS);
}

RAGGED_CASE(threshold)
{
    compress_ragged(t, SKV_THRESHOLD);
}

RAGGED_CASE(mask)
{
    compress_ragged(t, SKV_MASK);
}

/* A cache that grows token by token holds the same bytes as one that was filled at once. */
SUITE_CASE(compress_append, "compress/append")
{
    for (unsigned form = SKV_FIXED; form <= SKV_RAGGED; form++) {
        if (!(t->limits.forms >> form & 1))
            continue;
        unsigned n_tokens = t->quick ? 35 : 97;
        struct suite_layout layout;
        suite_layout_make(
            t, (skv_layout_params){.form = form, .head_dim = 64, .n_kv_heads = 2, .kept = 20, .page_tokens = 32}, false,
            &layout);
        struct suite_rows in = suite_rows_input(t, SKV_F16, SUITE_ANY, n_tokens, 2, 64);
        struct suite_rule rule = {.kept = {20, 20}, .ref.kept = rule.kept};
        struct suite_pool grown = suite_pool_make(t, &layout, 4), filled = suite_pool_make(t, &layout, 4);
        uint8_t *keep = suite_rule_apply(t, &rule, SKV_F16, &in);
        describe(t, &layout.ref, SKV_TOKEN_MAGNITUDE, n_tokens, "one by one and at once");
        skv_compress_params params = {
            .struct_size = sizeof params, .n_tokens = n_tokens, .in = in.rows, .select.kept = 20};
        params.pool = filled.pool;
        suite_try(t, "skv_compress", skv_compress(t->queue, &params));
        params.pool = grown.pool;
        params.n_tokens = 1;
        /* One token has no neighbour to take its default stride from. */
        params.in.token_stride = in.ref.token_stride;
        params.in.head_stride = in.ref.head_stride;
        for (unsigned i = 0; i < n_tokens; i++) {
            params.first_slot = i;
            params.in.data.offset = in.array.span.offset + 2 * i * in.ref.token_stride;
            suite_try(t, "skv_compress of one token", skv_compress(t->queue, &params));
            for (unsigned h = 0; h < 2; h++) {
                ref_write(&layout.ref, grown.image, i, h, suite_rows_at(&in, i, h), keep + (2 * i + h) * 64);
                ref_write(&layout.ref, filled.image, i, h, suite_rows_at(&in, i, h), keep + (2 * i + h) * 64);
            }
        }
        suite_pool_check(t, "byte of the pool filled at once", &filled);
        suite_pool_check(t, "byte of the pool grown token by token", &grown);
        suite_reset(t);
    }
}

SUITE_CASE(compress_empty, "compress/empty")
{
    struct suite_layout layout;
    suite_layout_draw(t, SKV_F16, SKV_FIXED, 64, 2, &layout);
    struct suite_pool pool = suite_pool_make(t, &layout, 2);
    struct suite_rows in = suite_rows_input(t, SKV_F16, SUITE_NORMAL, 1, 2, 64);
    skv_compress_params params = {.struct_size = sizeof params, .in = in.rows, .pool = pool.pool};
    suite_try(t, "skv_compress of no tokens", skv_compress(t->queue, &params));
    params.first_slot = 2ull * layout.ref.page_tokens;
    suite_try(t, "skv_compress of no tokens at the pool's end", skv_compress(t->queue, &params));
    params.first_slot = 0;
    params.n_tokens = 1;
    params.flags = SKV_OP_CHECK;
    suite_try(t, "skv_compress with SKV_OP_CHECK", skv_compress(t->queue, &params));
    suite_pool_check(t, "byte of a pool that must be untouched", &pool);
}
