/* SPDX-License-Identifier: Apache-2.0
 *
 * Pruning: rows and masks are those of the reference, bit for bit.
 */
#include <string.h>

#include "tests/conformance/shapes.h"

static const unsigned token_counts[] = {1, 2, 31, 32, 33, 63, 64, 65, 67, 97, 131};
#define N_TOKEN_COUNTS (sizeof token_counts / sizeof token_counts[0])

enum outputs { OUT_ONLY, MASK_ONLY, OUT_AND_MASK, IN_PLACE, N_OUTPUTS };

/* What pruning makes of the rows, into the image of `out`. */
static void expect_rows(const struct suite_rows *in, const uint8_t *keep, const struct suite_rows *out)
{
    for (uint64_t i = 0; i < in->n_tokens; i++)
        for (unsigned h = 0; h < in->n_heads; h++)
            for (unsigned c = 0; c < in->d; c++)
                suite_rows_at(out, i, h)[c] = keep[(i * in->n_heads + h) * in->d + c] ? suite_rows_at(in, i, h)[c] : 0;
}

static uint64_t *expect_mask(struct suite_context *t, const struct suite_rows *in, const uint8_t *keep)
{
    unsigned n_words = ref_words(in->d);
    uint64_t *mask = suite_host(t, in->n_tokens * in->n_heads * n_words * 8);
    for (uint64_t r = 0; r < in->n_tokens * in->n_heads; r++)
        for (unsigned c = 0; c < in->d; c++)
            mask[r * n_words + c / 64] |= (uint64_t)keep[r * in->d + c] << c % 64;
    return mask;
}

static void prune_once(struct suite_context *t, unsigned strategy, unsigned type, enum suite_kind kind, unsigned d,
                       unsigned n_heads, uint64_t n_tokens, enum outputs outputs)
{
    struct suite_rows in = suite_rows_input(t, type, kind, n_tokens, n_heads, d), out = {0};
    struct suite_rule rule;
    suite_rule_draw(t, strategy, type, &in, NULL, &rule);
    uint8_t *keep = suite_rule_apply(t, &rule, type, &in);
    suite_shape(t, "%s %s head_dim %u heads %u tokens %llu kept %u group %u outputs %d strides %llu %llu",
                suite_strategy_name(strategy), suite_type_name(type), d, n_heads, (unsigned long long)n_tokens,
                rule.kept[0], rule.ref.group_tokens, outputs, (unsigned long long)in.ref.token_stride,
                (unsigned long long)in.ref.head_stride);

    skv_prune_params params = {.struct_size = sizeof params,
                               .dtype = type,
                               .head_dim = d,
                               .n_kv_heads = n_heads,
                               .n_tokens = n_tokens,
                               .in = in.rows,
                               .select = rule.select};
    struct suite_array mask = {0};
    uint64_t mask_bytes = n_tokens * n_heads * ref_words(d) * 8;
    if (outputs == IN_PLACE) {
        out = in;
        out.array = suite_inout(t, in.image, in.array.n_bytes, 2);
        out.rows.data = out.array.span;
        params.in = params.out = out.rows;
    } else if (outputs != MASK_ONLY) {
        out = suite_rows_output(t, n_tokens, n_heads, d);
        params.out = out.rows;
    }
    if (outputs == MASK_ONLY || outputs == OUT_AND_MASK) {
        mask = suite_output(t, mask_bytes, 8);
        params.mask = mask.span;
    }
    suite_try(t, "skv_prune", skv_prune(t->queue, &params));
    suite_try(t, "skv_queue_finish", skv_queue_finish(t->queue));

    if (params.mask.buffer) {
        uint64_t *got = suite_host(t, mask_bytes);
        suite_read(t, mask, got);
        suite_equal(t, "mask word", got, expect_mask(t, &in, keep), mask_bytes, 8);
    }
    if (outputs == IN_PLACE) {
        out.image = suite_host(t, in.array.n_bytes);
        memcpy(out.image, in.image, (size_t)in.array.n_bytes);
    }
    if (outputs != MASK_ONLY) {
        expect_rows(&in, keep, &out);
        suite_rows_check(t, "pruned rows", &out);
    }
    suite_reset(t);
}

static void prune_strategy(struct suite_context *t, unsigned strategy)
{
    suite_need(t, 0, 0, 1u << strategy, 0);
    unsigned n = t->quick ? 6 : 12 * suite_n_head_dims;
    for (unsigned i = 0; i < n; i++) {
        unsigned d = suite_head_dims[i % suite_n_head_dims], type = suite_draw_type(t);
        if (d > t->limits.head_dim_max)
            continue;
        unsigned n_tokens = token_counts[suite_below(t, N_TOKEN_COUNTS)], n_heads = 1 + suite_below(t, 5);
        /* A sort for each row or group: keep the largest cases few. */
        if (d * n_heads * n_tokens > 40000)
            n_heads = 1;
        prune_once(t, strategy, type, SUITE_ANY, d, n_heads, n_tokens, (enum outputs)suite_below(t, N_OUTPUTS));
    }
}

SUITE_CASE(prune_token_magnitude, "prune/token_magnitude")
{
    prune_strategy(t, SKV_TOKEN_MAGNITUDE);
}

SUITE_CASE(prune_token_weighted, "prune/token_weighted")
{
    prune_strategy(t, SKV_TOKEN_WEIGHTED);
}

SUITE_CASE(prune_channel_magnitude, "prune/channel_magnitude")
{
    prune_strategy(t, SKV_CHANNEL_MAGNITUDE);
}

SUITE_CASE(prune_channel_weighted, "prune/channel_weighted")
{
    prune_strategy(t, SKV_CHANNEL_WEIGHTED);
}

SUITE_CASE(prune_channels, "prune/channels")
{
    prune_strategy(t, SKV_CHANNELS);
}

SUITE_CASE(prune_threshold, "prune/threshold")
{
    prune_strategy(t, SKV_THRESHOLD);
}

SUITE_CASE(prune_mask, "prune/mask")
{
    prune_strategy(t, SKV_MASK);
}

/* Every 16-bit pattern there is goes through selection, with the patterns next to it as rivals. */
SUITE_CASE(prune_every_value, "prune/every_value")
{
    unsigned d = t->limits.head_dim_max < 128 ? t->limits.head_dim_max : 128, n_tokens = (65536 + d - 1) / d;
    for (unsigned type = SKV_F16; type <= SKV_BF16; type++) {
        if (!(t->limits.dtypes >> type & 1))
            continue;
        uint16_t *values = suite_host(t, 2 * (uint64_t)n_tokens * d);
        for (unsigned i = 0; i < n_tokens * d; i++)
            values[i] = (uint16_t)i;
        struct suite_rows in = {.n_tokens = n_tokens, .n_heads = 1, .d = d, .image = values};
        in.ref = (struct ref_rows){values, d, d};
        in.array = suite_input(t, values, 2 * (uint64_t)n_tokens * d, 2);
        for (unsigned step = 0; step < 4; step++) {
            const unsigned kept[] = {1, d / 3, d / 2, d - 1};
            struct suite_rule rule = {.kept = {kept[step]}, .ref.kept = rule.kept};
            struct suite_rows out = suite_rows_output(t, n_tokens, 1, d);
            suite_shape(t, "%s head_dim %u kept %u", suite_type_name(type), d, kept[step]);
            skv_prune_params params = {.struct_size = sizeof params,
                                       .dtype = type,
                                       .head_dim = d,
                                       .n_kv_heads = 1,
                                       .n_tokens = n_tokens,
                                       .in.data = in.array.span,
                                       .out = out.rows,
                                       .select.kept = kept[step]};
            suite_try(t, "skv_prune", skv_prune(t->queue, &params));
            expect_rows(&in, suite_rule_apply(t, &rule, type, &in), &out);
            suite_rows_check(t, "pruned rows", &out);
        }
        suite_reset(t);
    }
}

/* Nothing to do, and nothing done. */
SUITE_CASE(prune_empty, "prune/empty")
{
    struct suite_rows in = suite_rows_input(t, SKV_F16, SUITE_NORMAL, 3, 2, 64);
    struct suite_rows out = suite_rows_output(t, 3, 2, 64);
    skv_prune_params params = {.struct_size = sizeof params,
                               .head_dim = 64,
                               .n_kv_heads = 2,
                               .in = in.rows,
                               .out = out.rows,
                               .select.kept = 5};
    suite_try(t, "skv_prune of no tokens", skv_prune(t->queue, &params));
    params.n_tokens = 3;
    params.flags = SKV_OP_CHECK;
    suite_try(t, "skv_prune with SKV_OP_CHECK", skv_prune(t->queue, &params));
    suite_rows_check(t, "rows that must be untouched", &out);
}
