/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention bodies for AVX-512 in f32 math, included by one file per level. The bodies are inlined with constant row
 * kind, number of query rows and, for common sizes, head_dim, so that each entry becomes straight-line code.
 *
 * Channels go in chunks of 32. A chunk is two vectors of 16 floats: channels 0-15 and 16-31 ("natural"), or the even
 * and the odd ones ("split"), whichever expands cheaper; queries and accumulators are kept in the same order.
 */
#ifndef SKV_CPU_ATTEND_AVX512_H
#define SKV_CPU_ATTEND_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "backends/cpu/kernels/attend_variants.h"

#define INLINE static inline __attribute__((always_inline))

enum row_kind {
    DENSE_F16,           /* natural */
    DENSE_BF16,          /* split */
    EXPAND32_F16,        /* natural: values converted first, then expanded as 32-bit lanes (no VBMI2) */
    EXPAND32_BF16,       /* natural */
    EXPAND16_F16,        /* natural: values expanded as 16-bit lanes */
    EXPAND16_F16_HALVES, /* the same, 16 at a time */
    EXPAND16_BF16        /* split */
};

INLINE int is_dense(enum row_kind kind)
{
    return kind == DENSE_F16 || kind == DENSE_BF16;
}

INLINE int is_split(enum row_kind kind)
{
    return kind == DENSE_BF16 || kind == EXPAND16_BF16;
}

/* A position in a row: the next chunk's mask and values. */
struct cursor {
    const uint8_t *mask, *value;
};

INLINE uint32_t load_u32(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE uint64_t load_u64(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

/* The cursor of chunk `first` of a row. */
INLINE struct cursor seek(enum row_kind kind, const uint8_t *row, uint32_t d, uint32_t first)
{
    struct cursor at = {row, row};
    if (is_dense(kind)) {
        at.value = row + 64 * (size_t)first;
        return at;
    }
    at.value = row + SKV_BITMAP_BYTES(d);
    uint32_t before = 0;
    for (uint32_t w = 0; w < first / 2; w++)
        before += (uint32_t)__builtin_popcountll(load_u64(row + 8 * w));
    if (first % 2)
        before += (uint32_t)__builtin_popcount(load_u32(row + 4 * (first - 1)));
    at.value += 2 * before;
    at.mask = row + 4 * first;
    return at;
}

/* Zen 4: a zero-masked vpexpand depends on its old destination, 5 cycles instead of 1.5. Expanding in place, on a
 * register that was just loaded, breaks the chain; compilers do not choose that form by themselves. */
#if defined(__AVX512VBMI2__)
INLINE __m512i expand16(__mmask32 mask, __m512i x)
{
    __asm__("vpexpandw %0, %0%{%1%}%{z%}" : "+v"(x) : "Yk"(mask));
    return x;
}

INLINE __m256i expand16_half(__mmask16 mask, __m256i x)
{
    __asm__("vpexpandw %0, %0%{%1%}%{z%}" : "+v"(x) : "Yk"(mask));
    return x;
}
#endif

INLINE __m512 expand32(__mmask16 mask, __m512 x)
{
    __asm__("vexpandps %0, %0%{%1%}%{z%}" : "+v"(x) : "Yk"(mask));
    return x;
}

INLINE __m512 f32_from_bf16(__m256i x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

INLINE void split_bf16(__m512i x, __m512 *even, __m512 *odd)
{
    *even = _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
    *odd = _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32((int)0xffff0000u)));
}

/* Whether chunk i has 32 channels; only the last may have fewer. */
INLINE int is_whole(uint32_t d, uint32_t i)
{
    return d % 32 == 0 || 32 * i + 32 <= d;
}

/* Bits as a mask straight from memory, which costs Zen 4 half of what it does from a general register. */
INLINE __mmask16 mask16_from(const uint8_t *at)
{
    __mmask16 mask;
    __asm__("kmovw %1, %0" : "=k"(mask) : "m"(*(const uint8_t(*)[2])at));
    return mask;
}

/* The bits of chunk i; those of channels past d, which a damaged bitmap may have, are dropped. */
INLINE uint32_t load_mask(struct cursor *at, uint32_t d, uint32_t i)
{
    uint32_t mask = load_u32(at->mask);
    at->mask += 4;
    return is_whole(d, i) ? mask : mask & ((1u << d % 32) - 1);
}

/* Chunk i of a row whose cursor stands there; moves the cursor to the next. */
INLINE void load_chunk(enum row_kind kind, struct cursor *at, uint32_t d, uint32_t i, __m512 *a, __m512 *b)
{
    /* A conversion from memory needs no shuffle of lanes. */
    if (kind == DENSE_F16 && is_whole(d, i)) {
        *a = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)at->value));
        *b = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(at->value + 32)));
        at->value += 64;
        return;
    }
    if (is_dense(kind)) {
        __m512i x;
        if (is_whole(d, i))
            x = _mm512_loadu_si512(at->value);
        else
            x = _mm512_maskz_loadu_epi16((__mmask32)((1u << d % 32) - 1), at->value);
        at->value += 64;
        if (kind == DENSE_BF16) {
            split_bf16(x, a, b);
        } else {
            *a = _mm512_cvtph_ps(_mm512_castsi512_si256(x));
            *b = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(x, 1));
        }
        return;
    }
    const uint8_t *bits = at->mask;
    uint32_t mask = load_mask(at, d, i);
#if defined(__AVX512VBMI2__)
    if (kind == EXPAND16_BF16) {
        split_bf16(expand16((__mmask32)mask, _mm512_loadu_si512(at->value)), a, b);
        at->value += 2 * __builtin_popcount(mask);
        return;
    }
    if (kind == EXPAND16_F16) {
        __m512i x = expand16((__mmask32)mask, _mm512_loadu_si512(at->value));
        at->value += 2 * __builtin_popcount(mask);
        *a = _mm512_cvtph_ps(_mm512_castsi512_si256(x));
        *b = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(x, 1));
        return;
    }
#endif
    __mmask16 lower = is_whole(d, i) ? mask16_from(bits) : (__mmask16)mask;
    __mmask16 upper = is_whole(d, i) ? mask16_from(bits + 2) : (__mmask16)(mask >> 16);
    __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)at->value);
    __m256i y = _mm256_loadu_si256((const __m256i *)(const void *)(at->value + 2 * __builtin_popcount(mask & 0xffff)));
    at->value += 2 * __builtin_popcount(mask);
#if defined(__AVX512VBMI2__)
    if (kind == EXPAND16_F16_HALVES) {
        *a = _mm512_cvtph_ps(expand16_half(lower, x));
        *b = _mm512_cvtph_ps(expand16_half(upper, y));
        return;
    }
#endif
    *a = expand32(lower, kind == EXPAND32_F16 ? _mm512_cvtph_ps(x) : f32_from_bf16(x));
    *b = expand32(upper, kind == EXPAND32_F16 ? _mm512_cvtph_ps(y) : f32_from_bf16(y));
}

/* Lane i of the result is the sum of the lanes of acc[i]. */
INLINE __m512 reduce16(const __m512 acc[16])
{
    __m512 two[8], four[4];
    for (int i = 0; i < 8; i++)
        two[i] = _mm512_add_ps(_mm512_unpacklo_ps(acc[2 * i], acc[2 * i + 1]),
                               _mm512_unpackhi_ps(acc[2 * i], acc[2 * i + 1]));
    for (int i = 0; i < 4; i++) {
        __m512d x = _mm512_castps_pd(two[2 * i]), y = _mm512_castps_pd(two[2 * i + 1]);
        four[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
    }
    __m512 lo =
        _mm512_add_ps(_mm512_shuffle_f32x4(four[0], four[1], 0x44), _mm512_shuffle_f32x4(four[0], four[1], 0xee));
    __m512 hi =
        _mm512_add_ps(_mm512_shuffle_f32x4(four[2], four[3], 0x44), _mm512_shuffle_f32x4(four[2], four[3], 0xee));
    return _mm512_add_ps(_mm512_shuffle_f32x4(lo, hi, 0x88), _mm512_shuffle_f32x4(lo, hi, 0xdd));
}

/* Lane g * (16 / m) + t of x is the score of query row g and token `first` + t. Tokens past n get scores too, which is
 * allowed: s has room for a whole tile. */
INLINE void store_scores(__m512 x, uint32_t m, uint32_t first, float *s)
{
    _Alignas(64) float lane[16];
    switch (m) {
    case 1:
        _mm512_storeu_ps(s + first, x);
        break;
    case 2:
        _mm256_storeu_ps(s + first, _mm512_castps512_ps256(x));
        _mm256_storeu_ps(s + SKV_CPU_TILE + first, _mm512_extractf32x8_ps(x, 1));
        break;
    case 4:
        _mm_storeu_ps(s + first, _mm512_castps512_ps128(x));
        _mm_storeu_ps(s + SKV_CPU_TILE + first, _mm512_extractf32x4_ps(x, 1));
        _mm_storeu_ps(s + 2 * SKV_CPU_TILE + first, _mm512_extractf32x4_ps(x, 2));
        _mm_storeu_ps(s + 3 * SKV_CPU_TILE + first, _mm512_extractf32x4_ps(x, 3));
        break;
    default:
        _mm512_store_ps(lane, x);
        for (uint32_t g = 0; g < 8; g++)
            memcpy(s + g * SKV_CPU_TILE + first, lane + 2 * g, 2 * sizeof *s);
        break;
    }
}

/* Kernels of several query rows come to a row more than once, for which a list in the first-level cache is faster. */
INLINE struct skv_cpu_rows listed(uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const uint8_t **list)
{
    if (m == 1 || row->list)
        return *row;
    const uint8_t *at = row->first;
    for (uint32_t t = 0; t < n; t++, at += row->stride)
        list[t] = at;
    return (struct skv_cpu_rows){list, NULL, 0};
}

INLINE const uint8_t *row_at(uint32_t m, const struct skv_cpu_rows *row, uint32_t t)
{
    return m == 1 ? skv_cpu_row(row, t) : row->list[t];
}

/* The cursors of `count` rows from row `first` on; the last row stands in for those past n. */
INLINE void seek_rows(enum row_kind kind, const struct skv_cpu_rows *row, uint32_t n, uint32_t first, uint32_t count,
                      uint32_t d, struct cursor *at)
{
    for (uint32_t t = 0; t < count; t++)
        at[t] = seek(kind, row->list[first + t < n ? first + t : n - 1], d, 0);
}

/* The usual case: rows at equal distances, whole groups of 16, nothing to ask for. It is worth loops of its own for one
 * query row, whose arithmetic does not hide the questions. */
INLINE int is_plain(uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const struct skv_cpu_ahead *ahead)
{
    return m == 1 && !row->list && n % 16 == 0 && ahead->n == 0;
}

INLINE void qk_one(enum row_kind kind, int plain, const struct skv_cpu_rows *row, uint32_t n, const float *q,
                   uint32_t d, float *s, const struct skv_cpu_ahead *ahead)
{
    uint32_t n_chunks = (d + 31) / 32;
    for (uint32_t first = 0; first < n; first += 16) {
        __m512 acc[16];
#pragma GCC unroll 16
        for (uint32_t t = 0; t < 16; t++) {
            struct cursor at = seek(kind,
                                    plain ? row->first + (first + t) * row->stride
                                          : skv_cpu_row(row, first + t < n ? first + t : n - 1),
                                    d, 0);
            __m512 sum = _mm512_setzero_ps(), a, b;
            if (!plain)
                skv_cpu_prefetch(ahead, first + t);
#pragma GCC unroll 4
            for (uint32_t i = 0; i < n_chunks; i++) {
                load_chunk(kind, &at, d, i, &a, &b);
                sum = _mm512_fmadd_ps(a, _mm512_load_ps(q + 32 * i), sum);
                sum = _mm512_fmadd_ps(b, _mm512_load_ps(q + 32 * i + 16), sum);
            }
            acc[t] = sum;
        }
        store_scores(reduce16(acc), 1, first, s);
    }
}

INLINE void qk_many(enum row_kind kind, uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const float *q,
                    uint32_t d, float *s, const struct skv_cpu_ahead *ahead)
{
    uint32_t n_chunks = (d + 31) / 32, pad = SKV_CPU_D_PAD(d), count = 16 / m;
    const uint8_t *list[SKV_CPU_TILE];
    const struct skv_cpu_rows rows = listed(m, row, n, list);
    for (uint32_t first = 0; first < n; first += count) {
        __m512 acc[16];
        struct cursor at[8];
        seek_rows(kind, &rows, n, first, count, d, at);
        for (uint32_t t = 0; t < count; t++)
            skv_cpu_prefetch(ahead, first + t);
#pragma GCC unroll 16
        for (uint32_t i = 0; i < 16; i++)
            acc[i] = _mm512_setzero_ps();
        for (uint32_t i = 0; i < n_chunks; i++) {
            if (m == 2) {
                __m512 q0[2], q1[2];
                for (uint32_t g = 0; g < 2; g++) {
                    q0[g] = _mm512_load_ps(q + g * pad + 32 * i);
                    q1[g] = _mm512_load_ps(q + g * pad + 32 * i + 16);
                }
#pragma GCC unroll 8
                for (uint32_t t = 0; t < 8; t++) {
                    __m512 a, b;
                    load_chunk(kind, &at[t], d, i, &a, &b);
#pragma GCC unroll 2
                    for (uint32_t g = 0; g < 2; g++)
                        acc[g * 8 + t] = _mm512_fmadd_ps(b, q1[g], _mm512_fmadd_ps(a, q0[g], acc[g * 8 + t]));
                }
                continue;
            }
            __m512 a[4], b[4];
#pragma GCC unroll 4
            for (uint32_t t = 0; t < count; t++)
                load_chunk(kind, &at[t], d, i, &a[t], &b[t]);
#pragma GCC unroll 8
            for (uint32_t g = 0; g < m; g++) {
                __m512 q0 = _mm512_load_ps(q + g * pad + 32 * i), q1 = _mm512_load_ps(q + g * pad + 32 * i + 16);
#pragma GCC unroll 4
                for (uint32_t t = 0; t < count; t++)
                    acc[g * count + t] = _mm512_fmadd_ps(b[t], q1, _mm512_fmadd_ps(a[t], q0, acc[g * count + t]));
            }
        }
        store_scores(reduce16(acc), m, first, s);
    }
}

/* Channels are taken in passes whose accumulators, m x 2 x chunks vectors, stay in registers: 16 of them. */
INLINE void pv_pass(enum row_kind kind, int plain, uint32_t m, uint32_t chunks, uint32_t first_chunk,
                    const struct skv_cpu_rows *row, uint32_t n, const float *s, const float *corr, uint32_t d, float *o,
                    const struct skv_cpu_ahead *ahead)
{
    uint32_t pad = SKV_CPU_D_PAD(d);
    __m512 acc[8][16];
#pragma GCC unroll 8
    for (uint32_t g = 0; g < m; g++)
#pragma GCC unroll 16
        for (uint32_t i = 0; i < 2 * chunks; i++)
            acc[g][i] = _mm512_mul_ps(_mm512_load_ps(o + g * pad + 32 * first_chunk + 16 * i), _mm512_set1_ps(corr[g]));
    for (uint32_t t = 0; t < n; t++) {
        struct cursor at = seek(kind, plain ? row->first + t * row->stride : row_at(m, row, t), d, first_chunk);
        __m512 v[16];
        if (first_chunk == 0 && !plain)
            skv_cpu_prefetch(ahead, t);
#pragma GCC unroll 8
        for (uint32_t i = 0; i < chunks; i++)
            load_chunk(kind, &at, d, first_chunk + i, &v[2 * i], &v[2 * i + 1]);
#pragma GCC unroll 8
        for (uint32_t g = 0; g < m; g++) {
            __m512 weight = _mm512_set1_ps(s[g * SKV_CPU_TILE + t]);
#pragma GCC unroll 16
            for (uint32_t i = 0; i < 2 * chunks; i++)
                acc[g][i] = _mm512_fmadd_ps(v[i], weight, acc[g][i]);
        }
    }
#pragma GCC unroll 8
    for (uint32_t g = 0; g < m; g++)
#pragma GCC unroll 16
        for (uint32_t i = 0; i < 2 * chunks; i++)
            _mm512_store_ps(o + g * pad + 32 * first_chunk + 16 * i, acc[g][i]);
}

/* PASS(chunks, first chunk) for all chunks of d channels, in as few passes as registers allow: each goes through the
 * rows again. The number of chunks is a constant in each. */
#define IN_PASSES(M, D, PASS)                                 \
    do {                                                      \
        const uint32_t all = ((D) + 31) / 32, most = 8 / (M); \
        uint32_t done = 0;                                    \
        for (; done + most <= all; done += most)              \
            PASS(most, done);                                 \
        switch (all - done) {                                 \
            LAST_PASS(7, PASS);                               \
            LAST_PASS(6, PASS);                               \
            LAST_PASS(5, PASS);                               \
            LAST_PASS(4, PASS);                               \
            LAST_PASS(3, PASS);                               \
            LAST_PASS(2, PASS);                               \
            LAST_PASS(1, PASS);                               \
        }                                                     \
    } while (0)
#define LAST_PASS(CHUNKS, PASS) \
    case CHUNKS:                \
        if (CHUNKS < most)      \
            PASS(CHUNKS, done); \
        break

INLINE void pv_passes(enum row_kind kind, int plain, uint32_t m, const struct skv_cpu_rows *row, uint32_t n,
                      const float *s, const float *corr, uint32_t d, float *o, const struct skv_cpu_ahead *ahead)
{
#define PASS(CHUNKS, FIRST) pv_pass(kind, plain, m, CHUNKS, FIRST, row, n, s, corr, d, o, ahead)
    IN_PASSES(m, d, PASS);
#undef PASS
}

INLINE void pv_any(enum row_kind kind, uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const float *s,
                   const float *corr, uint32_t d, float *o, const struct skv_cpu_ahead *ahead)
{
    const uint8_t *list[SKV_CPU_TILE];
    const struct skv_cpu_rows rows = listed(m, row, n, list);
    if (is_plain(m, row, n, ahead))
        pv_passes(kind, 1, m, &rows, n, s, corr, d, o, ahead);
    else
        pv_passes(kind, 0, m, &rows, n, s, corr, d, o, ahead);
}

INLINE void qk_any(enum row_kind kind, uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const float *q,
                   uint32_t d, float *s, const struct skv_cpu_ahead *ahead)
{
    if (is_plain(m, row, n, ahead))
        qk_one(kind, 1, row, n, q, d, s, ahead);
    else if (m == 1)
        qk_one(kind, 0, row, n, q, d, s, ahead);
    else
        qk_many(kind, m, row, n, q, d, s, ahead);
}

/* Natural order to the kind's own, padded with zeros. */
/* Where channel c of a row is kept; of two neighbours, the second of a split chunk is 16 places further. */
INLINE uint32_t place_of(enum row_kind kind, uint32_t c)
{
    return is_split(kind) ? c / 32 * 32 + c % 32 / 2 : c;
}

INLINE void prepare_any(enum row_kind kind, uint32_t m, const float *q, uint32_t d, float *qp)
{
    uint32_t pad = SKV_CPU_D_PAD(d), second = is_split(kind) ? 16 : 1;
    memset(qp, 0, (size_t)m * pad * sizeof *qp);
    for (uint32_t g = 0; g < m; g++)
        for (uint32_t c = 0; c < d; c += 2) {
            qp[(size_t)g * pad + place_of(kind, c)] = q[(size_t)g * d + c];
            qp[(size_t)g * pad + place_of(kind, c) + second] = q[(size_t)g * d + c + 1];
        }
}

INLINE void finish_any(enum row_kind kind, uint32_t m, const float *o, uint32_t d, float *out)
{
    uint32_t pad = SKV_CPU_D_PAD(d), second = is_split(kind) ? 16 : 1;
    for (uint32_t g = 0; g < m; g++)
        for (uint32_t c = 0; c < d; c += 2) {
            out[(size_t)g * d + c] = o[(size_t)g * pad + place_of(kind, c)];
            out[(size_t)g * d + c + 1] = o[(size_t)g * pad + place_of(kind, c) + second];
        }
}

#endif
