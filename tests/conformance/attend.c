/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention, one feature at a time and then all together.
 */
#include "tests/conformance/attention.h"

/* Runs n problems over the head dims; `adjust` switches on what the case is about. */
static void sweep(struct suite_context *t, unsigned n_quick, unsigned n_full,
                  void (*adjust)(struct suite_context *t, struct attention *a, unsigned i))
{
    unsigned n = t->quick ? n_quick : n_full;
    for (unsigned i = 0; i < n; i++) {
        unsigned d = suite_head_dims[(t->quick ? suite_below(t, suite_n_head_dims) : i) % suite_n_head_dims];
        struct attention a;
        attention_draw(t, d, &a);
        adjust(t, &a, i);
        if (d <= t->limits.head_dim_max && t->limits.forms >> a.k_layout.form & 1 &&
            t->limits.forms >> a.v_layout.form & 1)
            attention_test(t, &a);
    }
}

static void adjust_fixed(struct suite_context *t, struct attention *a, unsigned i)
{
    const unsigned kept[] = {1, (a->d + 2) / 3, a->d / 2, a->d};
    a->k_layout.kept = kept[i / suite_n_head_dims % 4];
    a->v_layout.kept = kept[(i / suite_n_head_dims + suite_below(t, 4)) % 4];
    a->type = a->q_type = a->out_type = t->limits.dtypes >> SKV_BF16 & i & 1 ? SKV_BF16 : SKV_F16;
    if (suite_below(t, 3) == 0)
        a->k_layout.row_stride = (uint32_t)(ref_record_bytes(a->d, a->k_layout.kept) + 7) / 8 * 8 + 8;
}

SUITE_CASE(attend_fixed, "attend/fixed")
{
    sweep(t, 8, 8 * suite_n_head_dims, adjust_fixed);
}

/* One new token over what backends have kernels of their own for: 64, 128 or 256 channels, at strides that are
 * multiples of 16 bytes, an odd number of them or twice one, and groups of query heads of any size. */
static void adjust_decode(struct suite_context *t, struct attention *a, unsigned i)
{
    static const unsigned group_max[] = {4, 8, 16}, lengths[] = {7, 16, 33, 100, 300, 1000};
    skv_layout_params *of[] = {&a->k_layout, &a->v_layout};
    a->type = a->q_type = a->out_type = t->limits.dtypes >> SKV_BF16 & i & 1 ? SKV_BF16 : SKV_F16;
    a->group = group_max[i / 24] - suite_below(t, i / 24 ? group_max[i / 24] / 2 : 4);
    unsigned style = i / 6 % 4;
    for (unsigned x = 0; x < 2; x++) {
        unsigned kept = style == 0 ? a->d * 40 / 128 : style == 1 ? a->d / 2 : 1 + suite_below(t, a->d);
        uint32_t stride = (uint32_t)(ref_record_bytes(a->d, kept) + 15) / 16 * 16;
        if (style == 2 && stride % 32 == 0)
            stride += 16;
        while (style == 3 && stride % 64 != 32)
            stride += 16;
        of[x]->kept = kept;
        of[x]->row_stride = stride;
    }
    a->aligned = suite_below(t, 8) != 0;
    a->scale = 0.1f;
    a->max_cache = lengths[suite_below(t, a->d < 256 ? 6 : 5)];
    a->max_tail = suite_below(t, 3) == 0 ? 0 : 1 + suite_below(t, 40);
    a->draw_lengths = suite_below(t, 2) != 0;
    a->short_lengths = a->draw_lengths && suite_below(t, 3) == 0;
    a->want_sinks = suite_below(t, 2) != 0;
    a->n_seqs = 1 + suite_below(t, 4);
}

SUITE_CASE(attend_decode, "attend/decode")
{
    static const unsigned dims[] = {64, 128, 256};
    for (unsigned i = t->quick ? suite_below(t, 12) : 0; i < 72; i += t->quick ? 12 + suite_below(t, 2) : 1) {
        struct attention a;
        attention_draw(t, dims[i % 3], &a);
        adjust_decode(t, &a, i);
        if (a.d <= t->limits.head_dim_max && t->limits.forms >> SKV_FIXED & 1)
            attention_test(t, &a);
    }
}

static void adjust_ragged(struct suite_context *t, struct attention *a, unsigned i)
{
    (void)i;
    a->k_layout.form = a->v_layout.form = SKV_RAGGED;
    a->kept_per_head = suite_below(t, 2) != 0;
}

SUITE_CASE(attend_ragged, "attend/ragged")
{
    sweep(t, 4, 5 * suite_n_head_dims, adjust_ragged);
}

/* K and V in layouts of their own: form, page size, budgets, tables. */
static void adjust_mixed(struct suite_context *t, struct attention *a, unsigned i)
{
    a->k_layout.form = i % 2 ? SKV_RAGGED : SKV_FIXED;
    a->v_layout.form = i / 2 % 2 ? SKV_RAGGED : SKV_FIXED;
    a->k_layout.page_tokens = 32 * (1 + suite_below(t, 4));
    a->v_layout.page_tokens = 32 * (1 + suite_below(t, 4));
    a->separate_tables = true;
    a->kept_per_head = suite_below(t, 2) != 0;
    a->n_heads = 3;
    a->draw_lengths = true;
}

SUITE_CASE(attend_mixed_layouts, "attend/mixed_layouts")
{
    sweep(t, 4, 4 * suite_n_head_dims, adjust_mixed);
}

static void adjust_tail_only(struct suite_context *t, struct attention *a, unsigned i)
{
    a->max_cache = 0;
    a->max_tail = 1 + suite_below(t, i % 4 ? 70 : 300);
    a->draw_lengths = suite_below(t, 2) != 0;
    a->gaps = suite_below(t, 2) != 0;
}

SUITE_CASE(attend_tail_only, "attend/tail_only")
{
    sweep(t, 3, 4 * suite_n_head_dims, adjust_tail_only);
}

static void adjust_cache_only(struct suite_context *t, struct attention *a, unsigned i)
{
    a->max_tail = 0;
    a->max_cache = 1 + suite_below(t, i % 4 ? 70 : 300);
    a->draw_lengths = suite_below(t, 2) != 0;
}

SUITE_CASE(attend_cache_only, "attend/cache_only")
{
    sweep(t, 3, 4 * suite_n_head_dims, adjust_cache_only);
}

/* Neither part: nothing is visible, whatever the rest says. */
static void adjust_nothing(struct suite_context *t, struct attention *a, unsigned i)
{
    (void)t;
    a->max_cache = a->max_tail = 0;
    a->want_sinks = i % 2 != 0;
    a->n_new = 1 + i % 3;
}

SUITE_CASE(attend_no_tokens, "attend/no_tokens")
{
    sweep(t, 2, 6, adjust_nothing);
}

static void adjust_lengths(struct suite_context *t, struct attention *a, unsigned i)
{
    static const unsigned edges[] = {31, 32, 33, 63, 64, 65, 95, 96, 97, 127, 128, 129};
    (void)t;
    a->n_seqs = 4;
    a->draw_lengths = true;
    a->max_cache = edges[i % 12];
    a->max_tail = i % 3 ? edges[(i + 5) % 12] : 1;
    a->n_heads = 1;
}

SUITE_CASE(attend_lengths, "attend/lengths")
{
    sweep(t, 4, 36, adjust_lengths);
}

/* Causality among the new tokens, in the tail, in the cache, and with more of them than the sequence has. */
static void adjust_new_tokens(struct suite_context *t, struct attention *a, unsigned i)
{
    a->n_new = 2 + i % 4;
    a->draw_lengths = suite_below(t, 2) != 0;
    a->n_heads = 1;
    switch (suite_below(t, 4)) {
    case 0:
        a->max_tail = 0;
        break;
    case 1:
        a->max_cache = suite_below(t, 3);
        a->max_tail = 1 + suite_below(t, 3);
        break;
    case 2:
        a->max_tail = 1 + suite_below(t, 2);
        break;
    default:
        break;
    }
    if (i % 2)
        a->k_layout.form = SKV_RAGGED;
}

SUITE_CASE(attend_new_tokens, "attend/new_tokens")
{
    sweep(t, 5, 5 * suite_n_head_dims, adjust_new_tokens);
}

static void adjust_window(struct suite_context *t, struct attention *a, unsigned i)
{
    static const unsigned windows[] = {1, 2, 31, 32, 33, 63, 64, 65, 100, 1000};
    a->window = windows[i % 10];
    if (suite_below(t, 2))
        a->sink_tokens = windows[suite_below(t, 10)];
    a->n_new = 1 + suite_below(t, 3);
    a->draw_lengths = suite_below(t, 2) != 0;
    a->max_cache = 1 + suite_below(t, 300);
    a->n_heads = 1;
    a->want_sinks = suite_below(t, 4) == 0;
    if (suite_below(t, 2))
        a->split_tokens = 32;
}

SUITE_CASE(attend_window, "attend/window")
{
    sweep(t, 6, 60, adjust_window);
}

static void adjust_sinks(struct suite_context *t, struct attention *a, unsigned i)
{
    a->want_sinks = true;
    a->draw_lengths = i % 2 != 0;
    a->n_new = 1 + suite_below(t, 2);
    a->split_tokens = i % 3 ? 0 : 32;
}

SUITE_CASE(attend_sink_logits, "attend/sink_logits")
{
    sweep(t, 3, 24, adjust_sinks);
}

static void adjust_softcap(struct suite_context *t, struct attention *a, unsigned i)
{
    static const float caps[] = {0.5f, 5, 30, 50, 1000, 0x1p-20f};
    a->softcap = caps[i % 6];
    a->want_sinks = suite_below(t, 4) == 0;
    a->scale = suite_below(t, 2) ? 0.3f : 0;
}

SUITE_CASE(attend_softcap, "attend/softcap")
{
    sweep(t, 4, 30, adjust_softcap);
}

static void adjust_scale(struct suite_context *t, struct attention *a, unsigned i)
{
    static const float scales[] = {1, -1, 0.05f, -0.125f, 0x1p-30f, 3};
    (void)t;
    a->scale = scales[i % 6];
    a->softcap = i % 4 ? 0 : 20;
}

SUITE_CASE(attend_scale, "attend/scale")
{
    sweep(t, 3, 24, adjust_scale);
}

static void adjust_splits(struct suite_context *t, struct attention *a, unsigned i)
{
    static const unsigned splits[] = {32, 64, 96, 128, 1u << 31, 0};
    a->split_tokens = splits[i % 6];
    a->max_cache = 1 + suite_below(t, 400);
    a->max_tail = suite_below(t, 100);
    a->n_heads = 1;
    a->n_new = 1 + suite_below(t, 2);
    a->draw_lengths = suite_below(t, 2) != 0;
}

SUITE_CASE(attend_splits, "attend/splits")
{
    sweep(t, 6, 48, adjust_splits);
}

/* From one query head for each KV head to one KV head for all. */
static void adjust_groups(struct suite_context *t, struct attention *a, unsigned i)
{
    static const unsigned groups[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 32, 71};
    a->group = groups[i % 14];
    a->n_heads = a->group > 8 ? 1 : 1 + suite_below(t, 3);
    a->n_seqs = 1;
    a->n_new = 1 + suite_below(t, 2);
}

SUITE_CASE(attend_groups, "attend/groups")
{
    if (t->limits.group_max < 71)
        suite_skip(t, "groups of 71 are more than the device's %u", t->limits.group_max);
    sweep(t, 14, 56, adjust_groups);
    /* Sequences and heads enough for work to be cut by sequences alone, query rows for more than one pass of a head. */
    struct attention a;
    attention_draw(t, t->limits.head_dim_max < 512 ? t->limits.head_dim_max : 512, &a);
    a.group = 17;
    a.n_heads = 2;
    a.n_seqs = ATTENTION_SEQS_MAX;
    a.n_new = 1;
    a.max_cache = 150;
    if (t->limits.forms >> a.k_layout.form & 1 && t->limits.forms >> a.v_layout.form & 1)
        attention_test(t, &a);
}

static void adjust_types(struct suite_context *t, struct attention *a, unsigned i)
{
    a->type = t->limits.dtypes >> SKV_BF16 & i & 1 ? SKV_BF16 : SKV_F16;
    a->q_type = i / 2 % 2 ? SKV_F32 : a->type;
    a->out_type = i / 4 % 2 ? SKV_F32 : a->type;
    a->gaps = i / 8 % 2 != 0;
}

SUITE_CASE(attend_types, "attend/types")
{
    suite_need(t, 1u << SKV_F32, 0, 0, 0);
    sweep(t, 8, 48, adjust_types);
}

static void adjust_strides(struct suite_context *t, struct attention *a, unsigned i)
{
    a->gaps = true;
    a->draw_lengths = true;
    a->n_new = 1 + i % 3;
    a->n_seqs = 3;
    a->out_type = suite_below(t, 2) ? SKV_F32 : a->type;
}

SUITE_CASE(attend_strides, "attend/strides")
{
    sweep(t, 3, 36, adjust_strides);
}

static void adjust_long(struct suite_context *t, struct attention *a, unsigned i)
{
    a->max_cache = 1500 + suite_below(t, t->quick ? 1 : 3000);
    a->max_tail = 128;
    a->n_seqs = 1;
    a->n_heads = 1;
    a->group = 1 + suite_below(t, 2);
    a->k_layout.form = a->v_layout.form = i % 2 ? SKV_RAGGED : SKV_FIXED;
    a->out_type = SKV_F32;
}

SUITE_CASE(attend_long, "attend/long")
{
    suite_need(t, 1u << SKV_F32, 0, 0, 0);
    sweep(t, 1, 9, adjust_long);
}

static void adjust_anything(struct suite_context *t, struct attention *a, unsigned i)
{
    (void)i;
    adjust_mixed(t, a, suite_below(t, 4));
    a->n_heads = 1 + suite_below(t, 3);
    a->group = 1 + suite_below(t, 9);
    a->n_new = 1 + suite_below(t, 5);
    if (suite_below(t, 4) == 0)
        a->max_cache = 0;
    else if (suite_below(t, 4) == 0)
        a->max_tail = 0;
    a->draw_lengths = suite_below(t, 4) != 0;
    a->gaps = suite_below(t, 2) != 0;
    a->want_sinks = suite_below(t, 3) == 0;
    a->want_lse = suite_below(t, 3) != 0;
    a->window = suite_below(t, 3) ? 0 : 1 + suite_below(t, 100);
    a->sink_tokens = a->window ? suite_below(t, 10) : 0;
    a->softcap = suite_below(t, 4) ? 0 : (float)(1 + 30 * suite_uniform(t));
    a->scale = suite_below(t, 3) ? 0 : (float)(0.4 * suite_uniform(t));
    a->split_tokens = suite_below(t, 2) ? 0 : 32 * (1 + suite_below(t, 5));
    if (t->limits.query_dtypes >> SKV_F32 & 1) {
        a->q_type = suite_below(t, 2) ? SKV_F32 : a->type;
        a->out_type = suite_below(t, 2) ? SKV_F32 : a->type;
    }
}

SUITE_CASE(attend_anything, "attend/anything")
{
    sweep(t, 10, 120, adjust_anything);
}
