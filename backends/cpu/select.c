/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu/select.h"

#include <string.h>

#include "core/numbers.h"

void skv_cpu_select_init(struct skv_cpu_select *select, const struct skv_cpu_kernels *kernels,
                         const struct skv_select *rule, const struct skv_rows *rows, uint32_t dtype, uint32_t head_dim,
                         uint32_t n_kv_heads, uint64_t n_tokens, const uint32_t *caps)
{
    *select = (struct skv_cpu_select){
        .kernels = kernels,
        .rule = rule,
        .rows = rows,
        .values = skv_host(rows->data),
        .caps = caps,
        .dtype = dtype,
        .head_dim = head_dim,
        .n_words = SKV_BITMAP_WORDS(head_dim),
        .n_kv_heads = n_kv_heads,
        .chunk_tokens = SKV_CPU_ROWS_MAX,
        .n_tokens = n_tokens,
    };
    if (rule->strategy == SKV_CHANNEL_MAGNITUDE || rule->strategy == SKV_CHANNEL_WEIGHTED)
        select->chunk_tokens = SKV_CPU_ROWS_MAX / rule->group_tokens * rule->group_tokens;
    if (rule->strategy == SKV_THRESHOLD)
        select->threshold_bits = skv_threshold_bits(rule->threshold, dtype);
}

/* FORMAT.md section 4.2, step 3: binary32 bits without sign, held in [2^-60, 2^60] or 0. */
static inline uint32_t clamp_score_bits(uint32_t bits)
{
    bits = bits > SKV_SCORE_MAX_BITS ? SKV_SCORE_MAX_BITS : bits;
    return bits < SKV_SCORE_MIN_BITS ? 0 : bits;
}

static inline uint32_t weight_bits(float weight)
{
    return clamp_score_bits(skv_bits_from_f32(weight) & 0x7fffffffu);
}

static inline uint32_t weighted_score(uint16_t value, uint32_t dtype, uint32_t weight)
{
    uint32_t magnitude = value & SKV_MAGNITUDE_BITS;
    uint32_t infinity = dtype == SKV_F16 ? SKV_F16_INF_BITS : SKV_BF16_INF_BITS;
    if (magnitude >= infinity)
        return magnitude > infinity ? SKV_SCORE_NAN : SKV_SCORE_INF;
    float x = dtype == SKV_F16 ? skv_f32_from_f16((uint16_t)magnitude) : skv_f32_from_bf16((uint16_t)magnitude);
    float clamped = skv_f32_from_bits(clamp_score_bits(skv_bits_from_f32(x)));
    return skv_bits_from_f32(clamped * skv_f32_from_bits(weight));
}

static void select_weighted_row(const struct skv_cpu_select *select, const uint16_t *row, const float *weights,
                                uint32_t kept, uint64_t *bitmap)
{
    uint32_t score[SKV_HEAD_DIM_MAX];
    for (uint32_t c = 0; c < select->head_dim; c++)
        score[c] = weighted_score(row[c], select->dtype, weight_bits(weights[c]));
    select->kernels->select_scores(score, select->head_dim, kept, bitmap);
}

/* One group of m tokens of one head: in each channel the `kept` tokens of largest score. */
static void select_group(const struct skv_cpu_select *select, uint64_t first, uint32_t m, uint32_t i_head,
                         uint64_t *bitmap)
{
    uint32_t group = select->rule->group_tokens;
    uint32_t kept = (skv_select_kept(select->rule, i_head) * m + group - 1) / group;
    bool weighted = select->rule->strategy == SKV_CHANNEL_WEIGHTED;
    const float *weights = weighted ? (const float *)skv_host(select->rule->weights) + i_head * select->n_tokens : NULL;
    memset(bitmap, 0, (size_t)m * select->n_words * sizeof *bitmap);
    for (uint32_t c = 0; c < select->head_dim; c++) {
        /* The kernel takes multiples of 8: the zeros behind the group lose every tie and so are never taken. */
        uint32_t score[SKV_GROUP_TOKENS_MAX] = {0};
        for (uint32_t t = 0; t < m; t++) {
            uint16_t value = skv_cpu_select_row(select, first + t, i_head)[c];
            score[t] = weighted ? weighted_score(value, select->dtype, weight_bits(weights[first + t]))
                                : value & (uint32_t)SKV_MAGNITUDE_BITS;
        }
        uint64_t tokens;
        select->kernels->select_scores(score, (m + 7) & ~7u, kept, &tokens);
        for (; tokens; tokens &= tokens - 1)
            bitmap[(uint32_t)__builtin_ctzll(tokens) * select->n_words + c / 64] |= 1ull << c % 64;
    }
}

static void select_channels(const struct skv_cpu_select *select, uint32_t i_head, uint32_t n, uint64_t *bitmap)
{
    const float *weights = (const float *)skv_host(select->rule->weights) + (size_t)i_head * select->head_dim;
    uint32_t score[SKV_HEAD_DIM_MAX];
    for (uint32_t c = 0; c < select->head_dim; c++)
        score[c] = skv_bits_from_f32(weights[c]) & 0x7fffffffu;
    select->kernels->select_scores(score, select->head_dim, skv_select_kept(select->rule, i_head), bitmap);
    for (uint32_t t = 1; t < n; t++)
        memcpy(bitmap + (size_t)t * select->n_words, bitmap, select->n_words * sizeof *bitmap);
}

static void select_threshold_row(const struct skv_cpu_select *select, const uint16_t *row, uint64_t *bitmap)
{
    memset(bitmap, 0, select->n_words * sizeof *bitmap);
    for (uint32_t c = 0; c < select->head_dim; c++)
        bitmap[c / 64] |= (uint64_t)((row[c] & SKV_MAGNITUDE_BITS) >= select->threshold_bits) << c % 64;
}

static void all_channels(uint32_t head_dim, uint64_t *bitmap)
{
    for (uint32_t w = 0; w < SKV_BITMAP_WORDS(head_dim); w++)
        bitmap[w] = head_dim - 64 * w >= 64 ? ~0ull : (1ull << (head_dim - 64 * w)) - 1;
}

static void select_mask_row(const struct skv_cpu_select *select, uint64_t i_token, uint32_t i_head, uint64_t *bitmap)
{
    const uint64_t *mask = skv_host(select->rule->mask);
    all_channels(select->head_dim, bitmap);
    for (uint32_t w = 0; w < select->n_words; w++)
        bitmap[w] &= mask[(i_token * select->n_kv_heads + i_head) * select->n_words + w];
}

/* A row with more survivors than its cap keeps, of those, the largest. */
static void apply_cap(const struct skv_cpu_select *select, const uint16_t *row, uint32_t cap, uint64_t *bitmap)
{
    uint32_t n = 0;
    for (uint32_t w = 0; w < select->n_words; w++)
        n += (uint32_t)__builtin_popcountll(bitmap[w]);
    if (n <= cap)
        return;
    uint32_t score[SKV_HEAD_DIM_MAX];
    for (uint32_t c = 0; c < select->head_dim; c++)
        score[c] = bitmap[c / 64] >> c % 64 & 1 ? (row[c] & (uint32_t)SKV_MAGNITUDE_BITS) + 1 : 0;
    select->kernels->select_scores(score, select->head_dim, cap, bitmap);
}

void skv_cpu_select_chunk(const struct skv_cpu_select *select, uint64_t i_chunk, uint32_t i_head, uint64_t *bitmap)
{
    const struct skv_select *rule = select->rule;
    uint64_t first = i_chunk * select->chunk_tokens;
    uint32_t n = skv_cpu_select_chunk_size(select, i_chunk), n_words = select->n_words;
    const uint16_t *row[SKV_CPU_ROWS_MAX];
    for (uint32_t t = 0; t < n; t++)
        row[t] = skv_cpu_select_row(select, first + t, i_head);

    switch (rule->strategy) {
    case SKV_TOKEN_MAGNITUDE:
        select->kernels->select_topk(row, n, select->head_dim, skv_select_kept(rule, i_head), bitmap);
        break;
    case SKV_TOKEN_WEIGHTED:
        for (uint32_t t = 0; t < n; t++)
            select_weighted_row(select, row[t],
                                (const float *)skv_host(rule->weights) + (size_t)i_head * select->head_dim,
                                skv_select_kept(rule, i_head), bitmap + t * n_words);
        break;
    case SKV_CHANNEL_MAGNITUDE:
    case SKV_CHANNEL_WEIGHTED:
        for (uint32_t t = 0; t < n; t += rule->group_tokens)
            select_group(select, first + t, n - t < rule->group_tokens ? n - t : rule->group_tokens, i_head,
                         bitmap + t * n_words);
        break;
    case SKV_CHANNELS:
        select_channels(select, i_head, n, bitmap);
        break;
    case SKV_THRESHOLD:
        for (uint32_t t = 0; t < n; t++)
            select_threshold_row(select, row[t], bitmap + t * n_words);
        break;
    default:
        for (uint32_t t = 0; t < n; t++)
            select_mask_row(select, first + t, i_head, bitmap + t * n_words);
        break;
    }

    for (uint32_t t = 0; t < n && first + t < rule->protect_tokens; t++)
        all_channels(select->head_dim, bitmap + t * n_words);
    if (select->caps)
        for (uint32_t t = 0; t < n; t++)
            apply_cap(select, row[t], select->caps[i_head], bitmap + t * n_words);
}
