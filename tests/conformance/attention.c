/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

unsigned attention_value_bytes(unsigned type)
{
    return type == SKV_F32 ? 4 : 2;
}

void attention_draw(struct suite_context *t, unsigned d, struct attention *a)
{
    static const unsigned page_tokens[] = {32, 64, 96, 256};
    memset(a, 0, sizeof *a);
    a->type = a->q_type = a->out_type = suite_draw_type(t);
    a->d = d;
    a->n_heads = 1 + suite_below(t, 2);
    a->group = 1 + suite_below(t, 4);
    a->n_seqs = 1 + suite_below(t, 3);
    a->n_new = 1;
    a->k_layout.page_tokens = a->v_layout.page_tokens = page_tokens[suite_below(t, 4)];
    a->k_layout.kept = suite_draw_kept(t, d);
    a->v_layout.kept = suite_draw_kept(t, d);
    a->max_cache = 1 + suite_below(t, 150);
    a->max_tail = 1 + suite_below(t, 40);
    a->want_lse = true;
    a->q_kind = a->k_kind = a->v_kind = SUITE_FINITE;
}

/* ---- building */

/* Strides of [n0][n1][n2][inner], in elements; 0 where the default serves. Returns the elements that they span. */
static uint64_t draw_strides(struct suite_context *t, bool gaps, const uint64_t dims[3], uint64_t inner,
                             uint64_t strides[3], uint64_t used[3])
{
    static const unsigned orders[][3] = {{2, 1, 0}, {1, 2, 0}, {2, 0, 1}, {0, 2, 1}, {1, 0, 2}, {0, 1, 2}};
    const unsigned *order = orders[gaps ? suite_below(t, 6) : 0];
    uint64_t extent = inner, reach = inner;
    for (unsigned i = 0; i < 3; i++) {
        unsigned dim = order[i];
        used[dim] = extent + (gaps ? 2 * suite_below(t, 3) + 1 : 0);
        strides[dim] = gaps ? used[dim] : 0;
        extent = used[dim] * (dims[dim] ? dims[dim] : 1);
        reach += dims[dim] ? used[dim] * (dims[dim] - 1) : 0;
    }
    return dims[0] && dims[1] && dims[2] ? reach : 0;
}

static void draw_lengths(struct suite_context *t, const struct attention *a, unsigned most, int32_t *lengths)
{
    bool drawn = a->draw_lengths;
    unsigned n_seqs = a->n_seqs;
    if (a->short_lengths)
        most /= 16;
    for (unsigned s = 0; s < n_seqs; s++) {
        lengths[s] = (int32_t)most;
        if (drawn && s > 0)
            lengths[s] = suite_below(t, 4) ? (int32_t)suite_below(t, most + 1) : 0;
    }
    if (drawn)
        suite_shuffle(t, lengths, n_seqs);
}

static double *token_at(const struct attention *a, double *values, unsigned s, unsigned position, unsigned h)
{
    return values + (((uint64_t)s * (a->max_cache + a->max_tail) + position) * a->n_heads + h) * a->d;
}

static void to_doubles(unsigned type, const uint16_t *row, unsigned d, double *values)
{
    for (unsigned c = 0; c < d; c++)
        values[c] = ref_value(type, row[c]);
}

/* One cached row, with any survivors that its layout allows. */
static void write_cached_row(struct suite_context *t, const struct attention *a, unsigned which, uint64_t slot,
                             unsigned h, double *values)
{
    const struct ref_layout *ref = &a->layouts[which].ref;
    uint16_t row[REF_HEAD_DIM_MAX];
    uint8_t keep[REF_HEAD_DIM_MAX];
    unsigned left = ref->kept[h];
    if (ref->form == SKV_RAGGED && suite_below(t, 4))
        left = suite_below(t, left + 1);
    suite_row(t, a->type, which ? a->v_kind : a->k_kind, row, a->d);
    for (unsigned c = 0; c < a->d; c++) {
        keep[c] = suite_below(t, a->d - c) < left;
        left -= keep[c];
    }
    if (!ref_write(ref, a->pools[which].image, slot, h, row, keep))
        suite_fail(t, "the suite's own rows do not fit");
    for (unsigned c = 0; c < a->d; c++)
        values[c] = keep[c] ? ref_value(a->type, row[c]) : 0;
}

static unsigned pages(unsigned n_tokens, unsigned page_tokens)
{
    return (n_tokens + page_tokens - 1) / page_tokens;
}

/* A shuffled table over a pool with blocks to spare. Entries that no token needs hold junk. */
static int32_t *make_table(struct suite_context *t, const struct attention *a, unsigned page_tokens, unsigned stride,
                           unsigned n_blocks)
{
    int32_t *table = suite_host(t, (uint64_t)a->n_seqs * stride * sizeof *table);
    int32_t *free_blocks = suite_host(t, n_blocks * sizeof *free_blocks);
    suite_poison(t, table, (uint64_t)a->n_seqs * stride * sizeof *table);
    for (unsigned i = 0; i < n_blocks; i++)
        free_blocks[i] = (int32_t)i;
    suite_shuffle(t, free_blocks, n_blocks);
    unsigned n = 0;
    for (unsigned s = 0; s < a->n_seqs; s++)
        for (unsigned i = 0; i < pages((unsigned)a->cache_lens[s], page_tokens); i++)
            table[s * stride + i] = free_blocks[n++];
    return table;
}

static void build_cache(struct suite_context *t, struct attention *a)
{
    const skv_layout_params *asked[] = {&a->k_layout, &a->v_layout};
    unsigned k_page = a->k_layout.page_tokens, v_page = a->v_layout.page_tokens;
    unsigned stride = pages(a->max_cache, k_page < v_page ? k_page : v_page);
    if (k_page != v_page || a->gaps) {
        stride += suite_below(t, 3);
        a->params.block_stride = stride;
    }
    int32_t *tables[2] = {NULL, NULL};
    for (unsigned which = 0; which < 2; which++) {
        skv_layout_params params = *asked[which];
        params.dtype = a->type;
        params.head_dim = a->d;
        params.n_kv_heads = a->n_heads;
        suite_layout_make(t, params, a->kept_per_head, &a->layouts[which]);
        unsigned page_tokens = a->layouts[which].ref.page_tokens, n_blocks = 2;
        for (unsigned s = 0; s < a->n_seqs; s++)
            n_blocks += pages((unsigned)a->cache_lens[s], page_tokens);
        a->pools[which] = suite_pool_make(t, &a->layouts[which], n_blocks);
        tables[which] = which && !a->separate_tables ? tables[0] : make_table(t, a, page_tokens, stride, n_blocks);
        for (unsigned s = 0; s < a->n_seqs; s++)
            for (unsigned j = 0; j < (unsigned)a->cache_lens[s]; j++)
                for (unsigned h = 0; h < a->n_heads; h++) {
                    uint64_t slot =
                        (uint64_t)tables[which][s * stride + j / page_tokens] * page_tokens + j % page_tokens;
                    write_cached_row(t, a, which, slot, h, token_at(a, which ? a->v : a->k, s, j, h));
                }
        suite_pool_upload(t, &a->pools[which]);
    }
    uint64_t table_bytes = (uint64_t)a->n_seqs * stride * 4;
    a->params.k_pool = a->pools[0].pool;
    a->params.v_pool = a->pools[1].pool;
    a->params.k_blocks = suite_input(t, tables[0], table_bytes, 4).span;
    if (a->separate_tables)
        a->params.v_blocks = suite_input(t, tables[1], table_bytes, 4).span;
    if (a->draw_lengths)
        a->params.cache_lens = suite_input(t, a->cache_lens, a->n_seqs * 4, 4).span;
}

static void build_tail(struct suite_context *t, struct attention *a)
{
    const uint64_t dims[3] = {a->n_seqs, a->max_tail, a->n_heads};
    uint64_t strides[3], used[3], n_bytes = 2 * draw_strides(t, a->gaps, dims, a->d, strides, used);
    skv_span *spans[] = {&a->params.k_tail, &a->params.v_tail};
    for (unsigned which = 0; which < 2; which++) {
        uint16_t *image = suite_host(t, n_bytes);
        suite_poison(t, image, n_bytes);
        for (unsigned s = 0; s < a->n_seqs; s++)
            for (unsigned j = 0; j < (unsigned)a->tail_lens[s]; j++)
                for (unsigned h = 0; h < a->n_heads; h++) {
                    uint16_t *row = image + s * used[0] + j * used[1] + h * used[2];
                    suite_row(t, a->type, which ? a->v_kind : a->k_kind, row, a->d);
                    to_doubles(a->type, row, a->d,
                               token_at(a, which ? a->v : a->k, s, (unsigned)a->cache_lens[s] + j, h));
                }
        *spans[which] = suite_input(t, image, n_bytes, a->aligned ? 16 : 2).span;
    }
    a->params.tail_seq_stride = strides[0];
    a->params.tail_token_stride = strides[1];
    a->params.tail_head_stride = strides[2];
    if (a->draw_lengths)
        a->params.tail_lens = suite_input(t, a->tail_lens, a->n_seqs * 4, 4).span;
}

static void build_queries(struct suite_context *t, struct attention *a)
{
    unsigned n_q_heads = a->n_heads * a->group, value_bytes = attention_value_bytes(a->q_type);
    const uint64_t dims[3] = {a->n_seqs, a->n_new, n_q_heads};
    uint64_t strides[3], used[3], n_bytes = value_bytes * draw_strides(t, a->gaps, dims, a->d, strides, used);
    unsigned char *image = suite_host(t, n_bytes);
    double *q = a->q;
    suite_poison(t, image, n_bytes);
    for (unsigned s = 0; s < a->n_seqs; s++)
        for (unsigned i = 0; i < a->n_new; i++)
            for (unsigned h = 0; h < n_q_heads; h++, q += a->d) {
                unsigned char *row = image + value_bytes * (s * used[0] + i * used[1] + h * used[2]);
                if (a->q_type == SKV_F32) {
                    for (unsigned c = 0; c < a->d; c++) {
                        float value = (float)suite_normal(t);
                        memcpy(row + 4 * c, &value, 4);
                        q[c] = value;
                    }
                } else {
                    uint16_t values[REF_HEAD_DIM_MAX];
                    suite_row(t, a->q_type, a->q_kind, values, a->d);
                    memcpy(row, values, 2 * a->d);
                    to_doubles(a->q_type, values, a->d, q);
                }
            }
    a->params.q = suite_input(t, image, n_bytes, value_bytes).span;
    a->params.q_seq_stride = strides[0];
    a->params.q_token_stride = strides[1];
    a->params.q_head_stride = strides[2];
}

void attention_outputs(struct suite_context *t, struct attention *a)
{
    unsigned n_q_heads = a->n_heads * a->group, value_bytes = attention_value_bytes(a->out_type);
    const uint64_t dims[3] = {a->n_seqs, a->n_new, n_q_heads};
    uint64_t strides[3], n_bytes = value_bytes * draw_strides(t, a->gaps, dims, a->d, strides, a->out_strides);
    a->out = suite_output(t, n_bytes, value_bytes);
    a->params.out = a->out.span;
    a->params.out_seq_stride = strides[0];
    a->params.out_token_stride = strides[1];
    a->params.out_head_stride = strides[2];
    a->params.lse = (skv_span){0};
    if (a->want_lse) {
        a->lse = suite_output(t, 4ull * a->n_seqs * a->n_new * n_q_heads, 4);
        a->params.lse = a->lse.span;
    }
    uint64_t workspace_bytes = 0;
    suite_try(t, "skv_attend_workspace", skv_attend_workspace(t->device, &a->params, &workspace_bytes));
    a->params.workspace = (skv_span){0};
    if (workspace_bytes) {
        void *junk = suite_host(t, workspace_bytes);
        suite_poison(t, junk, workspace_bytes);
        a->workspace = suite_inout(t, junk, workspace_bytes, 64);
        a->params.workspace = a->workspace.span;
    }
}

static void describe(struct suite_context *t, const struct attention *a)
{
    suite_shape(
        t,
        "seqs %u new %u heads %u group %u head_dim %u %s q %s out %s; cache %u K %s k %u page %u V %s k %u page "
        "%u; tail %u%s%s; window %llu sinks %llu%s scale %g softcap %g split %u",
        a->n_seqs, a->n_new, a->n_heads, a->group, a->d, suite_type_name(a->type), suite_type_name(a->q_type),
        suite_type_name(a->out_type), a->max_cache, a->k_layout.form == SKV_RAGGED ? "ragged" : "fixed",
        a->k_layout.kept, a->k_layout.page_tokens, a->v_layout.form == SKV_RAGGED ? "ragged" : "fixed",
        a->v_layout.kept, a->v_layout.page_tokens, a->max_tail, a->draw_lengths ? " lengths" : "",
        a->gaps ? " gaps" : "", (unsigned long long)a->window, (unsigned long long)a->sink_tokens,
        a->want_sinks ? " sink logits" : "", (double)a->scale, (double)a->softcap, a->split_tokens);
}

void attention_build(struct suite_context *t, struct attention *a)
{
    describe(t, a);
    unsigned n_q_heads = a->n_heads * a->group;
    uint64_t n_values = (uint64_t)a->n_seqs * (a->max_cache + a->max_tail) * a->n_heads * a->d;
    a->k = suite_host(t, n_values * sizeof *a->k);
    a->v = suite_host(t, n_values * sizeof *a->v);
    a->q = suite_host(t, (uint64_t)a->n_seqs * a->n_new * n_q_heads * a->d * sizeof *a->q);
    a->params = (skv_attend_params){
        .struct_size = sizeof a->params,
        .n_seqs = a->n_seqs,
        .n_new = a->n_new,
        .n_q_heads = n_q_heads,
        .n_kv_heads = a->n_heads,
        .head_dim = a->d,
        .dtype = a->type,
        .q_dtype = a->q_type,
        .out_dtype = a->out_type,
        .max_cache_tokens = a->max_cache,
        .max_tail_tokens = a->max_tail,
        .scale = a->scale,
        .softcap = a->softcap,
        .window = a->window,
        .sink_tokens = a->sink_tokens,
        .split_tokens = a->split_tokens,
    };
    draw_lengths(t, a, a->max_cache, a->cache_lens);
    draw_lengths(t, a, a->max_tail, a->tail_lens);
    build_queries(t, a);
    if (a->max_cache)
        build_cache(t, a);
    if (a->max_tail)
        build_tail(t, a);
    a->sinks = NULL;
    if (a->want_sinks) {
        a->sinks = suite_host(t, n_q_heads * sizeof *a->sinks);
        for (unsigned h = 0; h < n_q_heads; h++)
            a->sinks[h] = suite_below(t, 5) ? (float)(3 * suite_normal(t)) : -INFINITY;
        a->params.sink_logits = suite_input(t, a->sinks, n_q_heads * 4, 4).span;
    }
    attention_outputs(t, a);
}

/* ---- running and checking */

void attention_run(struct suite_context *t, struct attention *a)
{
    suite_try(t, "skv_attend", skv_attend(t->queue, &a->params));
    suite_try(t, "skv_queue_finish", skv_queue_finish(t->queue));
    a->out_bytes = suite_host(t, a->out.n_bytes);
    suite_read(t, a->out, a->out_bytes);
    a->lse_values = NULL;
    if (a->want_lse) {
        a->lse_values = suite_host(t, a->lse.n_bytes);
        suite_read(t, a->lse, a->lse_values);
    }
}

void attention_query(const struct attention *a, unsigned i_seq, unsigned i_new, unsigned i_q_head,
                     struct ref_query *query)
{
    unsigned n_q_heads = a->n_heads * a->group, i_head = i_q_head / a->group;
    uint64_t n_tokens = (uint64_t)a->cache_lens[i_seq] + (uint64_t)a->tail_lens[i_seq];
    *query = (struct ref_query){
        .d = a->d,
        .type = a->type,
        .out_type = a->out_type,
        .q = a->q + (((uint64_t)i_seq * a->n_new + i_new) * n_q_heads + i_q_head) * a->d,
        .scale = a->scale != 0 ? (double)a->scale : 1 / sqrt(a->d),
        .softcap = (double)a->softcap,
        .sink = a->sinks ? a->sinks + i_q_head : NULL,
        .n_tokens = n_tokens,
        .position = (int64_t)n_tokens - (int64_t)a->n_new + (int64_t)i_new,
        .window = a->window,
        .sink_tokens = a->sink_tokens,
        .k = token_at(a, a->k, i_seq, 0, i_head),
        .v = token_at(a, a->v, i_seq, 0, i_head),
        .stride = (uint64_t)a->n_heads * a->d,
    };
}

static uint64_t out_element(const struct attention *a, unsigned i_seq, unsigned i_new, unsigned i_q_head)
{
    return i_seq * a->out_strides[0] + i_new * a->out_strides[1] + i_q_head * a->out_strides[2];
}

double attention_result(const struct attention *a, unsigned i_seq, unsigned i_new, unsigned i_q_head, unsigned c)
{
    unsigned value_bytes = attention_value_bytes(a->out_type);
    const unsigned char *at = a->out_bytes + value_bytes * (out_element(a, i_seq, i_new, i_q_head) + c);
    if (value_bytes == 4) {
        float value;
        memcpy(&value, at, 4);
        return (double)value;
    }
    uint16_t bits;
    memcpy(&bits, at, 2);
    return ref_value(a->out_type, bits);
}

void attention_check(struct suite_context *t, const struct attention *a)
{
    unsigned n_q_heads = a->n_heads * a->group, value_bytes = attention_value_bytes(a->out_type);
    unsigned char *gaps = suite_host(t, a->out.n_bytes);
    struct ref_result *result = suite_host(t, sizeof *result);
    suite_output_poison(gaps, a->out.n_bytes);
    for (unsigned s = 0; s < a->n_seqs; s++)
        for (unsigned i = 0; i < a->n_new; i++)
            for (unsigned h = 0; h < n_q_heads; h++) {
                struct ref_query query;
                uint64_t row = ((uint64_t)s * a->n_new + i) * n_q_heads + h;
                uint64_t at = value_bytes * out_element(a, s, i, h);
                attention_query(a, s, i, h, &query);
                ref_attend(&query, result);
                if (result->e >= 0.25)
                    suite_fail(t, "the suite asks for scores beyond the error bound's meaning (E = %g)", result->e);
                for (unsigned c = 0; c < a->d; c++)
                    suite_near(t, "attention output (element = row * head_dim + channel)", row * a->d + c,
                               attention_result(a, s, i, h, c), result->out[c], result->out_bound[c]);
                if (a->want_lse)
                    suite_near(t, "lse (element = row)", row, (double)a->lse_values[row], result->lse,
                               result->lse_bound);
                memcpy(gaps + at, a->out_bytes + at, (size_t)value_bytes * a->d);
            }
    suite_equal(t, "gaps in the attention output", a->out_bytes, gaps, a->out.n_bytes, value_bytes);
}

void attention_test(struct suite_context *t, struct attention *a)
{
    attention_build(t, a);
    attention_run(t, a);
    attention_check(t, a);
    suite_reset(t);
}
