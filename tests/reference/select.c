/* SPDX-License-Identifier: Apache-2.0
 *
 * FORMAT.md section 4: selection, by sorting.
 */
#include "tests/reference/reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct candidate {
    uint32_t score;
    unsigned index;
};

/* Larger scores first, ties to the lower index. */
static int by_rank(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* chosen[i * stride] becomes 1 for the k best of n candidates and 0 for the others. */
static void choose(struct candidate *candidates, unsigned n, unsigned k, uint8_t *chosen, uint64_t stride)
{
    for (unsigned i = 0; i < n; i++)
        candidates[i].index = i;
    qsort(candidates, n, sizeof *candidates, by_rank);
    for (unsigned i = 0; i < n; i++)
        chosen[candidates[i].index * stride] = i < k;
}

/* ---- section 4.1 */

static uint32_t magnitude(uint16_t bits)
{
    return bits & 0x7fff;
}

/* ---- section 4.2 */

static uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float held(uint32_t bits)
{
    float value;
    if (bits < 0x21800000)
        bits = 0;
    if (bits > 0x5d800000)
        bits = 0x5d800000;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint32_t ref_weighted_score(unsigned type, uint16_t bits, float weight)
{
    if (magnitude(bits) > ref_infinity(type))
        return 0xffffffff;
    if (magnitude(bits) == ref_infinity(type))
        return 0xfffffffe;
    float a = held(float_bits((float)fabs(ref_value(type, bits)))), b = held(float_bits(weight) & 0x7fffffff);
    /* The product of two binary32 is exact in binary64, so that this rounds once, to nearest even. */
    return float_bits((float)((double)a * b));
}

/* ---- section 4.3 */

struct call {
    unsigned type, d, n_heads;
    uint64_t n_tokens;
    const struct ref_rows *rows;
    const struct ref_select *select;
    uint8_t *keep;
};

static uint16_t value_at(const struct call *call, uint64_t i_token, unsigned i_head, unsigned i_channel)
{
    return call->rows->values[i_token * call->rows->token_stride + i_head * call->rows->head_stride + i_channel];
}

static uint8_t *keep_at(const struct call *call, uint64_t i_token, unsigned i_head)
{
    return call->keep + (i_token * call->n_heads + i_head) * call->d;
}

static void select_token(const struct call *call, uint64_t t, unsigned h)
{
    struct candidate candidates[REF_HEAD_DIM_MAX];
    const struct ref_select *select = call->select;
    for (unsigned c = 0; c < call->d; c++) {
        uint16_t bits = value_at(call, t, h, c);
        if (select->strategy == SKV_TOKEN_WEIGHTED)
            candidates[c].score = ref_weighted_score(call->type, bits, select->weights[(uint64_t)h * call->d + c]);
        else
            candidates[c].score = magnitude(bits);
    }
    choose(candidates, call->d, select->kept[h], keep_at(call, t, h), 1);
}

static void select_group(const struct call *call, uint64_t first, unsigned h, unsigned c)
{
    struct candidate candidates[64];
    const struct ref_select *select = call->select;
    uint64_t left = call->n_tokens - first;
    unsigned g = select->group_tokens, m = left < g ? (unsigned)left : g;
    for (unsigned i = 0; i < m; i++) {
        uint16_t bits = value_at(call, first + i, h, c);
        if (select->strategy == SKV_CHANNEL_WEIGHTED)
            candidates[i].score = ref_weighted_score(call->type, bits, select->weights[h * call->n_tokens + first + i]);
        else
            candidates[i].score = magnitude(bits);
    }
    choose(candidates, m, (select->kept[h] * m + g - 1) / g, keep_at(call, first, h) + c,
           (uint64_t)call->n_heads * call->d);
}

static void select_channels(const struct call *call, uint64_t t, unsigned h)
{
    struct candidate candidates[REF_HEAD_DIM_MAX];
    for (unsigned c = 0; c < call->d; c++)
        candidates[c].score = float_bits(call->select->weights[(uint64_t)h * call->d + c]) & 0x7fffffff;
    choose(candidates, call->d, call->select->kept[h], keep_at(call, t, h), 1);
}

static void select_threshold(const struct call *call, uint64_t t, unsigned h)
{
    uint32_t least = magnitude(ref_round_up(call->type, call->select->threshold));
    for (unsigned c = 0; c < call->d; c++)
        keep_at(call, t, h)[c] = magnitude(value_at(call, t, h, c)) >= least;
}

static void select_mask(const struct call *call, uint64_t t, unsigned h)
{
    const uint64_t *mask = call->select->mask + (t * call->n_heads + h) * ref_words(call->d);
    for (unsigned c = 0; c < call->d; c++)
        keep_at(call, t, h)[c] = mask[c / 64] >> c % 64 & 1;
}

/* Of the survivors, the largest by 4.1 up to the cap. */
static void apply_cap(const struct call *call, uint64_t t, unsigned h, unsigned cap)
{
    struct candidate candidates[REF_HEAD_DIM_MAX];
    uint8_t *keep = keep_at(call, t, h), chosen[REF_HEAD_DIM_MAX];
    unsigned channel[REF_HEAD_DIM_MAX], n = 0;
    for (unsigned c = 0; c < call->d; c++) {
        if (!keep[c])
            continue;
        channel[n] = c;
        candidates[n++].score = magnitude(value_at(call, t, h, c));
    }
    choose(candidates, n, cap, chosen, 1);
    for (unsigned i = 0; i < n; i++)
        keep[channel[i]] = chosen[i];
}

void ref_select(unsigned type, unsigned d, unsigned n_heads, uint64_t n_tokens, const struct ref_rows *rows,
                const struct ref_select *select, uint8_t *keep)
{
    struct call call = {type, d, n_heads, n_tokens, rows, select, keep};
    for (uint64_t t = 0; t < n_tokens; t++) {
        for (unsigned h = 0; h < n_heads; h++) {
            switch (select->strategy) {
            case SKV_TOKEN_MAGNITUDE:
            case SKV_TOKEN_WEIGHTED:
                select_token(&call, t, h);
                break;
            case SKV_CHANNEL_MAGNITUDE:
            case SKV_CHANNEL_WEIGHTED:
                for (unsigned c = 0; c < d && t % select->group_tokens == 0; c++)
                    select_group(&call, t, h, c);
                break;
            case SKV_CHANNELS:
                select_channels(&call, t, h);
                break;
            case SKV_THRESHOLD:
                select_threshold(&call, t, h);
                break;
            case SKV_MASK:
                select_mask(&call, t, h);
                break;
            }
        }
    }
    for (uint64_t t = 0; t < n_tokens; t++) {
        for (unsigned h = 0; h < n_heads; h++) {
            if (t < select->protect_tokens)
                memset(keep_at(&call, t, h), 1, d);
            if (select->caps)
                apply_cap(&call, t, h, select->caps[h]);
        }
    }
}
