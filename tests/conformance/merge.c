/* SPDX-License-Identifier: Apache-2.0
 *
 * Merging partial results, and the weights of channels: what ops.h defines by a formula.
 */
#include <math.h>
#include <string.h>

#include "tests/conformance/attention.h"

/* log-sum-exps as splits give them: near each other, far apart, empty. */
static float draw_lse(struct suite_context *t)
{
    switch (suite_below(t, 6)) {
    case 0:
        return -INFINITY;
    case 1:
        return (float)(200 * suite_normal(t));
    default:
        return (float)(3 * suite_normal(t));
    }
}

static double merged_value(unsigned type, const unsigned char *at)
{
    if (type == SKV_F32) {
        float value;
        memcpy(&value, at, 4);
        return (double)value;
    }
    uint16_t bits;
    memcpy(&bits, at, 2);
    return ref_value(type, bits);
}

static void merge_some(struct suite_context *t, unsigned d, unsigned n_parts, unsigned n_rows, unsigned out_type)
{
    uint64_t n_values = (uint64_t)n_parts * n_rows * d, value_bytes = attention_value_bytes(out_type);
    float *part_out = suite_host(t, n_values * 4), *part_lse = suite_host(t, 4ull * n_parts * n_rows);
    suite_shape(t, "head_dim %u parts %u rows %u out %s", d, n_parts, n_rows, suite_type_name(out_type));
    for (uint64_t i = 0; i < (uint64_t)n_parts * n_rows; i++) {
        part_lse[i] = draw_lse(t);
        for (unsigned c = 0; c < d; c++)
            part_out[i * d + c] = (float)suite_normal(t);
        /* What an empty part holds must not matter. */
        if (part_lse[i] == -INFINITY)
            suite_poison(t, part_out + i * d, 4 * d);
    }
    struct suite_array out = suite_output(t, n_rows * d * value_bytes, (unsigned)value_bytes);
    struct suite_array lse = suite_output(t, 4 * n_rows, 4);
    bool want_lse = suite_below(t, 4) != 0;
    skv_merge_params params = {.struct_size = sizeof params,
                               .head_dim = d,
                               .out_dtype = out_type == SKV_F32 && suite_below(t, 2) ? 0 : out_type,
                               .n_parts = n_parts,
                               .n_rows = n_rows,
                               .part_out = suite_input(t, part_out, n_values * 4, 4).span,
                               .part_lse = suite_input(t, part_lse, 4ull * n_parts * n_rows, 4).span,
                               .out = out.span,
                               .lse = want_lse ? lse.span : (skv_span){0}};
    suite_try(t, "skv_merge", skv_merge(t->queue, &params));
    suite_try(t, "skv_queue_finish", skv_queue_finish(t->queue));
    unsigned char *got = suite_host(t, out.n_bytes);
    float *got_lse = suite_host(t, lse.n_bytes);
    suite_read(t, out, got);
    suite_read(t, lse, got_lse);
    struct ref_result *result = suite_host(t, sizeof *result);
    for (unsigned r = 0; r < n_rows; r++) {
        ref_merge(d, out_type, n_parts, part_out + (uint64_t)r * d, (uint64_t)n_rows * d, part_lse + r, n_rows, result);
        for (unsigned c = 0; c < d; c++)
            suite_near(t, "merged output (element = row * head_dim + channel)", (uint64_t)r * d + c,
                       merged_value(out_type, got + ((uint64_t)r * d + c) * value_bytes), result->out[c],
                       result->out_bound[c]);
        if (want_lse)
            suite_near(t, "merged lse", r, (double)got_lse[r], result->lse, result->lse_bound);
    }
    if (!want_lse) {
        float *untouched = suite_host(t, lse.n_bytes);
        suite_output_poison(untouched, lse.n_bytes);
        suite_equal(t, "lse, which was not asked for", got_lse, untouched, lse.n_bytes, 4);
    }
    suite_reset(t);
}

SUITE_CASE(merge_parts, "merge/parts")
{
    static const unsigned types[] = {SKV_F32, SKV_F16, SKV_BF16};
    suite_need(t, 1u << SKV_F32, 0, 0, 0);
    unsigned n = t->quick ? 6 : 4 * suite_n_head_dims;
    for (unsigned i = 0; i < n; i++) {
        unsigned d = suite_head_dims[i % suite_n_head_dims], out_type = types[i % 3];
        if (d <= t->limits.head_dim_max && t->limits.query_dtypes >> out_type & 1)
            merge_some(t, d, 1 + suite_below(t, i % 5 ? 9 : 70), 1 + suite_below(t, 40), out_type);
    }
}

/* Nothing but empty parts, and no rows at all. */
SUITE_CASE(merge_empty, "merge/empty")
{
    suite_need(t, 1u << SKV_F32, 0, 0, 64);
    float lse[3] = {-INFINITY, -INFINITY, -INFINITY}, *parts = suite_host(t, 3 * 64 * 4);
    suite_poison(t, parts, 3 * 64 * 4);
    struct suite_array out = suite_output(t, 64 * 4, 4), out_lse = suite_output(t, 4, 4);
    skv_merge_params params = {.struct_size = sizeof params,
                               .head_dim = 64,
                               .n_parts = 3,
                               .n_rows = 1,
                               .part_out = suite_input(t, parts, 3 * 64 * 4, 4).span,
                               .part_lse = suite_input(t, lse, sizeof lse, 4).span,
                               .out = out.span,
                               .lse = out_lse.span};
    suite_try(t, "skv_merge of empty parts", skv_merge(t->queue, &params));
    float got[64], zeros[64] = {0};
    suite_read(t, out, got);
    suite_equal(t, "output of empty parts", got, zeros, sizeof got, 4);
    suite_read(t, out_lse, got);
    suite_near(t, "lse of empty parts", 0, (double)got[0], -INFINITY, 0);
    suite_reset(t);

    out = suite_output(t, 256, 4);
    params.part_out = params.out = params.lse = params.part_lse = out.span;
    params.n_rows = 0;
    suite_try(t, "skv_merge of no rows", skv_merge(t->queue, &params));
}

static void weigh(struct suite_context *t, unsigned i)
{
    unsigned d = suite_head_dims[i % suite_n_head_dims], type = suite_draw_type(t);
    unsigned n_heads = 1 + suite_below(t, 3), group = 1 + suite_below(t, 5), kind = i / 2 % 2;
    unsigned n_queries = 1 + suite_below(t, 40), n_tokens = 1 + suite_below(t, 90);
    bool with_queries = kind == SKV_WEIGHTS_QUERY_ABS || suite_below(t, 3) != 0;
    if (d > t->limits.head_dim_max)
        return;
    suite_shape(t, "kind %u %s head_dim %u heads %u group %u queries %u tokens %u", kind, suite_type_name(type), d,
                n_heads, group, with_queries ? n_queries : 0, n_tokens);
    struct suite_rows queries = suite_rows_input(t, type, SUITE_FINITE, n_queries, n_heads * group, d);
    struct suite_rows rows = suite_rows_input(t, type, SUITE_FINITE, n_tokens, n_heads, d);
    struct suite_array weights = suite_output(t, 4ull * n_heads * d, 4);
    skv_channel_weights_params params = {.struct_size = sizeof params,
                                         .kind = kind,
                                         .dtype = type,
                                         .head_dim = d,
                                         .n_kv_heads = n_heads,
                                         .n_q_heads = n_heads * group,
                                         .n_queries = n_queries,
                                         .n_tokens = n_tokens,
                                         .weights = weights.span};
    if (with_queries)
        params.queries = queries.rows;
    if (kind == SKV_WEIGHTS_NORM)
        params.rows = rows.rows;
    suite_try(t, "skv_channel_weights", skv_channel_weights(t->queue, &params));
    suite_try(t, "skv_queue_finish", skv_queue_finish(t->queue));
    float *got = suite_host(t, weights.n_bytes);
    double *exact = suite_host(t, 8ull * n_heads * d);
    suite_read(t, weights, got);
    const struct ref_rows none = {0};
    uint64_t n_terms =
        ref_channel_weights(kind, type, d, n_heads, n_heads * group, n_queries, with_queries ? &queries.ref : &none,
                            n_tokens, kind == SKV_WEIGHTS_NORM ? &rows.ref : &none, exact);
    for (unsigned j = 0; j < n_heads * d; j++)
        suite_near(t, "channel weight", j, (double)got[j], exact[j],
                   ((double)n_terms + 4) * 0x1p-24 * exact[j] + 0x1p-140);
    suite_reset(t);
}

SUITE_CASE(channel_weights, "weights/channels")
{
    unsigned n = t->quick ? 8 : 6 * suite_n_head_dims;
    for (unsigned i = 0; i < n; i++)
        weigh(t, i);
}
