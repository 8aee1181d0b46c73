/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention that gives the same bits again, whatever else is in the batch, and what non-finite values may spoil.
 */
#include <math.h>
#include <string.h>

#include "tests/conformance/attention.h"

struct bits {
    unsigned char *out;
    float *lse;
};

static struct bits run_again(struct suite_context *t, struct attention *a)
{
    attention_outputs(t, a);
    attention_run(t, a);
    return (struct bits){a->out_bytes, a->lse_values};
}

static void draw(struct suite_context *t, struct attention *a, unsigned d)
{
    attention_draw(t, d, a);
    a->k_layout.form = a->v_layout.form = t->limits.forms >> SKV_RAGGED & suite_below(t, 2) ? SKV_RAGGED : SKV_FIXED;
    a->max_cache = 1 + suite_below(t, 700);
    a->n_new = 1 + suite_below(t, 3);
}

SUITE_CASE(repeat_bits, "repeat/same_bits")
{
    unsigned n = t->quick ? 4 : 24;
    for (unsigned i = 0; i < n; i++) {
        struct attention a;
        unsigned d = suite_head_dims[suite_below(t, suite_n_head_dims)];
        if (d > t->limits.head_dim_max)
            continue;
        draw(t, &a, d);
        attention_build(t, &a);
        struct bits first = run_again(t, &a);
        for (unsigned j = 0; j < 3; j++) {
            struct bits again = run_again(t, &a);
            suite_equal(t, "output of the same call again", again.out, first.out, a.out.n_bytes,
                        attention_value_bytes(a.out_type));
            suite_equal(t, "lse of the same call again", again.lse, first.lse, a.lse.n_bytes, 4);
        }
        suite_reset(t);
    }
}

/* With a fixed split a sequence gets the same bits alone as among others. */
SUITE_CASE(repeat_batch, "repeat/batch_invariant")
{
    unsigned n = t->quick ? 4 : 24;
    for (unsigned i = 0; i < n; i++) {
        struct attention a;
        unsigned d = suite_head_dims[suite_below(t, suite_n_head_dims)];
        if (d > t->limits.head_dim_max)
            continue;
        draw(t, &a, d);
        a.n_seqs = 4;
        a.draw_lengths = true;
        a.split_tokens = 32 * (1 + suite_below(t, 5));
        attention_build(t, &a);
        struct bits all = run_again(t, &a);
        unsigned n_rows = a.n_new * a.n_heads * a.group, value_bytes = attention_value_bytes(a.out_type);
        uint64_t row_bytes = (uint64_t)d * value_bytes, seq_bytes = n_rows * row_bytes;
        skv_attend_params whole = a.params;
        for (unsigned s = 0; s < 4; s++) {
            uint64_t stride = whole.block_stride ? whole.block_stride
                                                 : (a.max_cache + a.k_layout.page_tokens - 1) / a.k_layout.page_tokens;
            a.params = whole;
            a.params.n_seqs = a.n_seqs = 1;
            a.params.q.offset += s * n_rows * (uint64_t)d * attention_value_bytes(a.q_type);
            a.params.k_blocks.offset += s * stride * 4;
            a.params.cache_lens.offset += 4 * s;
            a.params.tail_lens.offset += 4 * s;
            a.params.k_tail.offset += 2ull * s * a.max_tail * a.n_heads * d;
            a.params.v_tail.offset += 2ull * s * a.max_tail * a.n_heads * d;
            struct bits alone = run_again(t, &a);
            suite_equal(t, "output of a sequence alone", alone.out, all.out + s * seq_bytes, seq_bytes, value_bytes);
            suite_equal(t, "lse of a sequence alone", alone.lse, all.lse + s * n_rows, n_rows * 4, 4);
        }
        suite_reset(t);
    }
}

/* NaN in a value spoils its channel, NaN or an infinite score in a key the whole row, and nothing reaches the rows of
 * other heads, sequences or queries that do not see it. */
static void check_spoiled(struct suite_context *t, struct attention *a, unsigned seq, unsigned head, bool in_key,
                          unsigned channel)
{
    unsigned n_q_heads = a->n_heads * a->group;
    for (unsigned s = 0; s < a->n_seqs; s++)
        for (unsigned i = 0; i < a->n_new; i++)
            for (unsigned h = 0; h < n_q_heads; h++)
                for (unsigned c = 0; c < a->d; c++) {
                    /* The spoiled token is the newest: only the last query sees it. */
                    bool spoiled = s == seq && h / a->group == head && i + 1 == a->n_new && (in_key || c == channel);
                    double got = attention_result(a, s, i, h, c);
                    if (spoiled ? !isnan(got) : !isfinite(got))
                        suite_fail(t,
                                   "sequence %u query %u head %u channel %u is %g; NaN is in %s of sequence %u head "
                                   "%u channel %u",
                                   s, i, h, c, got, in_key ? "K" : "V", seq, head, channel);
                }
}

SUITE_CASE(repeat_nan, "attend/nan")
{
    unsigned n = t->quick ? 6 : 36;
    for (unsigned i = 0; i < n; i++) {
        struct attention a;
        unsigned d = suite_head_dims[suite_below(t, suite_n_head_dims)];
        if (d > t->limits.head_dim_max)
            continue;
        attention_draw(t, d, &a);
        a.n_seqs = 2;
        a.n_heads = 2;
        a.n_new = 1 + suite_below(t, 3);
        a.max_cache = suite_below(t, 200);
        a.max_tail = 3 + suite_below(t, 40);
        a.want_lse = false;
        a.q_kind = a.k_kind = a.v_kind = SUITE_NORMAL;
        attention_build(t, &a);
        unsigned seq = suite_below(t, 2), head = suite_below(t, 2), channel = suite_below(t, d);
        bool in_key = i % 2 != 0;
        uint16_t nan = (uint16_t)(ref_infinity(a.type) + 1 + suite_below(t, 30));
        skv_span at = in_key ? a.params.k_tail : a.params.v_tail;
        at.offset += 2 * (((uint64_t)seq * a.max_tail + a.max_tail - 1) * a.n_heads * d + head * d + channel);
        /* The arrays are inputs: what is written here is undone before they are checked. */
        uint16_t before;
        suite_try(t, "skv_buffer_read", skv_buffer_read(t->queue, &before, at, 2));
        suite_try(t, "skv_buffer_write", skv_buffer_write(t->queue, at, &nan, 2));
        attention_run(t, &a);
        suite_try(t, "skv_buffer_write", skv_buffer_write(t->queue, at, &before, 2));
        check_spoiled(t, &a, seq, head, in_key, channel);
        suite_reset(t);
    }
}
