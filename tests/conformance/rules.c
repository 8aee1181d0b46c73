/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "tests/conformance/shapes.h"

/* FORMAT.md section 4.2 defines a score for every weight, so here come all sorts. */
static float draw_weight(struct suite_context *t)
{
    static const float special[] = {0,         -0.0f,    1,    0x1p-60f,  0x1.8p-61f, 0x1p60f, 0x1.000002p60f,
                                    0x1p-149f, 0x1p127f, -2.5, 0x1p-126f, INFINITY,   NAN};
    if (suite_below(t, 8) == 0)
        return special[suite_below(t, sizeof special / sizeof special[0])];
    if (suite_below(t, 8) == 0)
        return (float)ldexp(suite_uniform(t), (int)suite_below(t, 160) - 80);
    return (float)fabs(suite_normal(t));
}

static const float *draw_weights(struct suite_context *t, uint64_t n)
{
    float *weights = suite_host(t, n * sizeof *weights);
    bool ties = suite_below(t, 4) == 0;
    for (uint64_t i = 0; i < n; i++)
        weights[i] = ties ? 0.5f * (float)suite_below(t, 3) : draw_weight(t);
    return weights;
}

/* Zero, beyond everything, subnormal, a value of the rows, or a hair above one, which must round up. */
static float draw_threshold(struct suite_context *t, unsigned type, const struct suite_rows *rows)
{
    float value = 0;
    if (rows->n_tokens)
        value = (float)fabs(ref_value(type, suite_rows_at(rows, 0, 0)[suite_below(t, rows->d)]));
    if (!isfinite(value))
        value = 1;
    const float values[] = {0, -0.0f, 1e30f, 1e-7f, 0x1p-149f, 0.7f, value, nextafterf(value, INFINITY), 65504, 65505};
    float threshold = values[suite_below(t, sizeof values / sizeof values[0])];
    return isfinite(threshold) ? threshold : 1;
}

static void draw_budgets(struct suite_context *t, const struct suite_rows *rows, const struct suite_layout *layout,
                         struct suite_rule *rule)
{
    bool by_channel = rule->ref.strategy == SKV_CHANNEL_MAGNITUDE || rule->ref.strategy == SKV_CHANNEL_WEIGHTED;
    unsigned limit = by_channel ? rule->ref.group_tokens : rows->d, kept = suite_draw_kept(t, limit);
    if (kept == 0)
        kept = 1;
    bool fixed = layout && layout->ref.form == SKV_FIXED, per_head = suite_below(t, 2) != 0;
    for (unsigned h = 0; h < rows->n_heads; h++) {
        rule->kept[h] = per_head ? 1 + suite_below(t, limit) : kept;
        if (fixed)
            rule->kept[h] = layout->kept[h];
    }
    rule->ref.kept = rule->kept;
    if (per_head)
        rule->select.kept_per_head = rule->kept;
    else if (!fixed)
        rule->select.kept = kept;
    /* else 0: the layout's */
}

void suite_rule_draw(struct suite_context *t, unsigned strategy, unsigned type, const struct suite_rows *rows,
                     const struct suite_layout *layout, struct suite_rule *rule)
{
    static const unsigned groups[] = {32, 1, 64, 7, 13, 31};
    *rule = (struct suite_rule){.select.strategy = strategy, .ref.strategy = strategy};
    uint64_t n_weights = 0;
    switch (strategy) {
    case SKV_CHANNEL_MAGNITUDE:
    case SKV_CHANNEL_WEIGHTED:
        rule->ref.group_tokens = groups[suite_below(t, 6)];
        rule->select.group_tokens =
            rule->ref.group_tokens == 32 && suite_below(t, 2) ? 0 : rule->ref.group_tokens; /* 0 means 32 */
        n_weights = strategy == SKV_CHANNEL_WEIGHTED ? rows->n_heads * rows->n_tokens : 0;
        break;
    case SKV_TOKEN_WEIGHTED:
    case SKV_CHANNELS:
        n_weights = (uint64_t)rows->n_heads * rows->d;
        break;
    case SKV_THRESHOLD:
        rule->ref.threshold = rule->select.threshold = draw_threshold(t, type, rows);
        break;
    case SKV_MASK: {
        uint64_t n_words = rows->n_tokens * rows->n_heads * ref_words(rows->d);
        uint64_t *mask = suite_host(t, n_words * sizeof *mask);
        for (uint64_t i = 0; i < n_words; i++)
            mask[i] = suite_below(t, 8) ? suite_random(t) & suite_random(t) : (uint64_t)0 - suite_below(t, 2);
        rule->ref.mask = mask;
        rule->select.mask = suite_input(t, mask, n_words * sizeof *mask, 8).span;
        break;
    }
    default:
        break;
    }
    if (n_weights || strategy == SKV_CHANNEL_WEIGHTED) {
        rule->ref.weights = draw_weights(t, n_weights);
        rule->select.weights = suite_input(t, rule->ref.weights, n_weights * 4, 4).span;
    }
    if (strategy != SKV_THRESHOLD && strategy != SKV_MASK)
        draw_budgets(t, rows, layout, rule);
    if ((!layout || layout->ref.form == SKV_RAGGED) && suite_below(t, 3) == 0)
        rule->ref.protect_tokens = rule->select.protect_tokens = 1 + suite_below(t, 40);
    if (layout && layout->ref.form == SKV_RAGGED)
        rule->ref.caps = layout->ref.kept;
}

uint8_t *suite_rule_apply(struct suite_context *t, const struct suite_rule *rule, unsigned type,
                          const struct suite_rows *rows)
{
    uint8_t *keep = suite_host(t, rows->n_tokens * rows->n_heads * rows->d);
    struct ref_select select = rule->ref;
    /* Rules are passed around by value. */
    if (select.kept)
        select.kept = rule->kept;
    ref_select(type, rows->d, rows->n_heads, rows->n_tokens, &rows->ref, &select, keep);
    return keep;
}
