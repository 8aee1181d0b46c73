/* SPDX-License-Identifier: Apache-2.0
 *
 * Selection for CPUs (FORMAT.md section 4): what backends/gpu/kernels/select.h does with a group, by a single work-item
 * in vectors of 8 channels. Scores are made once and stay in its own memory; the thresholds of a row, or of 8 channels
 * of a group of tokens, are searched there.
 */
#if defined(SKV_ROWS) && defined(SKV_SERIAL)

/* A bit for each lane that is not 0. */
inline uint lanes_set(int8 x)
{
    x &= (int8)(1, 2, 4, 8, 16, 32, 64, 128);
    int4 four = x.lo | x.hi;
    int2 two = four.lo | four.hi;
    return (uint)(two.x | two.y);
}

inline uint8 magnitudes_at(const __global ushort *at)
{
    return convert_uint8(vload8(0, at)) & SKV_MAGNITUDE_BITS;
}

inline uint8 clamp_scores(uint8 bits)
{
    bits = min(bits, (uint8)SKV_SCORE_MAX_BITS);
    return select(bits, (uint8)0, bits < (uint8)SKV_SCORE_MIN_BITS);
}

/* As weighted_score. */
inline uint8 weighted_scores(uint8 magnitude, uint dtype, float8 weight)
{
    uint infinity = dtype == SKV_F16 ? SKV_F16_INF_BITS : SKV_BF16_INF_BITS;
    uint8 bits = magnitude << 16;
    if (dtype == SKV_F16) {
        uint8 shift = clz(magnitude) - 21, normal = (magnitude >> 10) + 112;
        int8 is_small = magnitude < 0x400;
        shift = select((uint8)0, shift & 31, is_small);
        bits = select(normal, 113 - shift, is_small) << 23 | (magnitude << shift & 0x3ff) << 13;
        bits = select(bits, (uint8)0, magnitude == 0);
    }
    uint8 a = clamp_scores(bits), b = clamp_scores(as_uint8(weight) & 0x7fffffffu);
    uint8 score = select(as_uint8(as_float8(a) * as_float8(b)), (uint8)0, (a == 0) | (b == 0));
    score = select(score, (uint8)SKV_SCORE_INF, magnitude == infinity);
    return select(score, (uint8)SKV_SCORE_NAN, magnitude > infinity);
}

/* The `kept` largest of 8 n scores. */
inline void select_scores(const uint8 *scores, uint n, uint kept, uint top_bit, __local uint *bits)
{
    uint threshold = 0, above = 0;
    for (uint bit = top_bit; bit != 0; bit >>= 1) {
        uint candidate = threshold | bit;
        int8 minus = 0;
        for (uint i = 0; i < n; i++)
            minus += scores[i] >= candidate;
        int4 four = minus.lo + minus.hi;
        int2 two = four.lo + four.hi;
        uint reached = (uint)-(two.x + two.y);
        if (reached >= kept)
            threshold = candidate;
        else
            above = reached;
    }
    uint ties = kept - above;
    for (uint w = 0; w < (n + 3) / 4; w++) {
        uint larger = 0, equal = 0;
        for (uint i = 4 * w; i < min(n, 4 * w + 4); i++) {
            larger |= lanes_set(scores[i] > threshold) << i % 4 * 8;
            equal |= lanes_set(scores[i] == threshold) << i % 4 * 8;
        }
        uint n_equal = popcount(equal);
        if (n_equal <= ties) {
            ties -= n_equal;
        } else {
            uint lowest = 0;
            for (; ties != 0; ties--) {
                lowest |= equal & -equal;
                equal &= equal - 1;
            }
            equal = lowest;
        }
        bits[w] = larger | equal;
    }
}

/* 8 channels of a group of tokens, of `weights` one for each token. */
inline void select_in_channels(const struct skv_gpu_select *p, const __global ushort *values,
                               const __global float *weights, uint m, uint kept, uint channel, uint row_words,
                               __local uint *bits)
{
    bool weighted = p->strategy == SKV_CHANNEL_WEIGHTED;
    uint8 scores[SKV_GROUP_TOKENS_MAX], threshold = 0, above = 0;
    for (uint t = 0; t < m; t++) {
        scores[t] = magnitudes_at(values + t * p->in.token_stride + channel);
        if (weighted)
            scores[t] = weighted_scores(scores[t], p->dtype, (float8)weights[t]);
    }
    for (uint bit = weighted ? 0x80000000u : 0x4000u; bit != 0; bit >>= 1) {
        uint8 candidate = threshold | bit, reached;
        /* Added as they are: a vector of comparisons made positive is wrong in Oclgrind 21.10. */
        int8 minus = 0;
        for (uint t = 0; t < m; t++)
            minus += scores[t] >= candidate;
        reached = as_uint8(-minus);
        int8 enough = reached >= (uint8)kept;
        threshold = select(threshold, candidate, enough);
        above = select(reached, above, enough);
    }
    uint8 ties = kept - above;
    for (uint t = 0; t < m; t++) {
        int8 tied = (scores[t] == threshold) & (ties != 0);
        ties += as_uint8(tied);
        bits[t * row_words + channel / 32] |= lanes_set((scores[t] > threshold) | tied) << channel % 32;
    }
}

inline void select_row_serial(const struct skv_gpu_select *p, const __global ushort *row,
                              const __global float *weights, uint kept, __local uint *bits)
{
    uint8 scores[SKV_HEAD_DIM_MAX / 8];
    uint n = p->head_dim / 8;
    bool weighted = p->strategy == SKV_TOKEN_WEIGHTED;
    for (uint i = 0; i < n; i++) {
        scores[i] = magnitudes_at(row + 8 * i);
        if (weighted)
            scores[i] = weighted_scores(scores[i], p->dtype, vload8(i, weights));
    }
    select_scores(scores, n, kept, weighted ? 0x80000000u : 0x4000u, bits);
}

/* The largest of a row's candidates. */
inline void cap_row(const struct skv_gpu_select *p, const __global ushort *row, uint kept, __local uint *bits)
{
    uint8 scores[SKV_HEAD_DIM_MAX / 8];
    uint n = p->head_dim / 8;
    for (uint i = 0; i < n; i++) {
        uint8 candidate = (uint8)(bits[i / 4] >> i % 4 * 8) >> (uint8)(0, 1, 2, 3, 4, 5, 6, 7) & 1;
        scores[i] = (magnitudes_at(row + 8 * i) + 1) * candidate;
    }
    select_scores(scores, n, kept, 0x8000u, bits);
}

void select_chunk(const struct skv_gpu_select *p, const struct skv_gpu_head *head, uint i_head, ulong first,
                  const __global ushort *in, const __global float *weights, const __global ulong *mask,
                  __local uint *unused, __local uint *bits)
{
    uint d = p->head_dim, row_words = 2 * SKV_BITMAP_WORDS(d), n_words = (d + 31) / 32;
    uint n = (uint)min((ulong)p->chunk_tokens, p->n_tokens - first), group = p->group_tokens;
    const __global ushort *rows = in + p->in.offset + first * p->in.token_stride + i_head * p->in.head_stride;
    const __global uint *given = (const __global uint *)(mask + p->mask);

    for (uint i = 0; i < n * row_words; i++)
        bits[i] = 0;
    if (p->strategy == SKV_CHANNELS)
        select_channels(weights + p->weights + (ulong)i_head * d, d, head->selected, bits);
    if (p->strategy == SKV_CHANNEL_MAGNITUDE || p->strategy == SKV_CHANNEL_WEIGHTED)
        for (uint t = 0; t < n; t += group)
            for (uint c = 0, m = min(group, n - t); c < d; c += 8)
                select_in_channels(p, rows + t * p->in.token_stride,
                                   weights + p->weights + (ulong)i_head * p->n_tokens + first + t, m,
                                   (head->selected * m + group - 1) / group, c, row_words, bits + t * row_words);
    /* The first row last: the others' whole channels are copied from it. */
    for (uint t = n; t-- != 0;) {
        const __global ushort *row = rows + t * p->in.token_stride;
        __local uint *own = bits + t * row_words;
        uint count = 0;
        if (p->strategy == SKV_TOKEN_MAGNITUDE || p->strategy == SKV_TOKEN_WEIGHTED)
            select_row_serial(p, row, weights + p->weights + (ulong)i_head * d, head->selected, own);
        for (uint w = 0; w < n_words; w++) {
            if (p->strategy == SKV_CHANNELS)
                own[w] = bits[w];
            else if (p->strategy == SKV_MASK)
                own[w] = word_bits(given[((first + t) * p->n_heads + i_head) * row_words + w], d, w);
            if (first + t < p->protect_tokens)
                own[w] = word_bits(0xffffffffu, d, w);
        }
        for (uint c = 0; c < (p->strategy == SKV_THRESHOLD ? d : 0); c += 8)
            own[c / 32] |= lanes_set(magnitudes_at(row + c) >= p->threshold_bits) << c % 32;
        for (uint w = 0; w < n_words; w++)
            count += popcount(own[w]);
        if (p->capped && count > head->kept)
            cap_row(p, row, head->kept, own);
    }
}

#endif
