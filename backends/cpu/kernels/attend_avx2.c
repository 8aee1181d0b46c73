/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention for AVX2 in f32 math. Channels go in chunks of 8: one byte of the bitmap, one vector of floats. The bodies
 * are inlined with constant row kind, number of query rows and, for common sizes, head_dim.
 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "backends/cpu/kernels/attend_variants.h"
#include "backends/cpu/kernels/compress_shuffle.h"

#define INLINE static inline __attribute__((always_inline))
/* Arrays of vectors live in registers only if the loops over them are unrolled whole; gcc does not at -O2 by itself. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

enum row_kind { DENSE_F16, DENSE_BF16, RECORD_F16, RECORD_BF16 };

INLINE int is_dense(enum row_kind kind)
{
    return kind == DENSE_F16 || kind == DENSE_BF16;
}

/* The values of a row's first chunk. */
INLINE const uint8_t *values(enum row_kind kind, const uint8_t *row, uint32_t d)
{
    return is_dense(kind) ? row : row + SKV_BITMAP_BYTES(d);
}

/* Chunk i of a row whose values begin at *value, which moves to those of the next chunk. */
INLINE __m256 load_chunk(enum row_kind kind, const uint8_t *row, uint32_t i, const uint8_t **value)
{
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)*value);
    if (is_dense(kind)) {
        *value += 16;
    } else {
        x = _mm_shuffle_epi8(x, _mm_load_si128((const __m128i *)unpack_shuffle[row[i]]));
        *value += 2 * (uint64_t)__builtin_popcount(row[i]);
    }
    if (kind == DENSE_F16 || kind == RECORD_F16)
        return _mm256_cvtph_ps(x);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}

/* Lane i of the result is the sum of the lanes of acc[i]. */
INLINE __m256 reduce8(const __m256 acc[8])
{
    __m256 two[4], four[2];
    UNROLL
    for (int i = 0; i < 4; i++)
        two[i] = _mm256_hadd_ps(acc[2 * i], acc[2 * i + 1]);
    UNROLL
    for (int i = 0; i < 2; i++)
        four[i] = _mm256_hadd_ps(two[2 * i], two[2 * i + 1]);
    return _mm256_add_ps(_mm256_permute2f128_ps(four[0], four[1], 0x20),
                         _mm256_permute2f128_ps(four[0], four[1], 0x31));
}

/* x has m rows of 8 / m scores: those of tokens `first` .. Tokens past n get scores too, which is allowed: s has room
 * for a whole tile. */
INLINE void store_scores(__m256 x, uint32_t m, uint32_t first, float *s)
{
    float lane[8];
    uint32_t count = 8 / m;
    _mm256_storeu_ps(m == 1 ? s + first : lane, x);
    if (m == 1)
        return;
    UNROLL
    for (uint32_t g = 0; g < m; g++)
        memcpy(s + g * SKV_CPU_TILE + first, lane + g * count, count * sizeof *s);
}

INLINE void qk_one(enum row_kind kind, const struct skv_cpu_rows *row, uint32_t n, const float *q, uint32_t d, float *s,
                   const struct skv_cpu_ahead *ahead)
{
    uint32_t n_chunks = d / 8;
    for (uint32_t first = 0; first < n; first += 8) {
        __m256 acc[8];
        UNROLL
        for (uint32_t t = 0; t < 8; t++) {
            const uint8_t *r = skv_cpu_row(row, first + t < n ? first + t : n - 1), *at = values(kind, r, d);
            /* Two sums: one would wait for its own latency in every chunk. */
            __m256 even = _mm256_setzero_ps(), odd = _mm256_setzero_ps();
            uint32_t i = 0;
            skv_cpu_prefetch(ahead, first + t);
            for (; i + 2 <= n_chunks; i += 2) {
                even = _mm256_fmadd_ps(load_chunk(kind, r, i, &at), _mm256_load_ps(q + 8 * i), even);
                odd = _mm256_fmadd_ps(load_chunk(kind, r, i + 1, &at), _mm256_load_ps(q + 8 * i + 8), odd);
            }
            if (i < n_chunks)
                even = _mm256_fmadd_ps(load_chunk(kind, r, i, &at), _mm256_load_ps(q + 8 * i), even);
            acc[t] = _mm256_add_ps(even, odd);
        }
        store_scores(reduce8(acc), 1, first, s);
    }
}

/* As many rows at once as fill 8 accumulators; the last row stands in for those past n. */
INLINE void qk_many(enum row_kind kind, uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const float *q,
                    uint32_t d, float *s, const struct skv_cpu_ahead *ahead)
{
    uint32_t n_chunks = d / 8, pad = SKV_CPU_D_PAD(d), count = 8 / m;
    for (uint32_t first = 0; first < n; first += count) {
        const uint8_t *r[4], *at[4];
        __m256 acc[8];
        UNROLL
        for (uint32_t t = 0; t < count; t++) {
            r[t] = skv_cpu_row(row, first + t < n ? first + t : n - 1);
            at[t] = values(kind, r[t], d);
            skv_cpu_prefetch(ahead, first + t);
        }
        UNROLL
        for (uint32_t i = 0; i < 8; i++)
            acc[i] = _mm256_setzero_ps();
        for (uint32_t i = 0; i < n_chunks; i++) {
            __m256 x[4];
            UNROLL
            for (uint32_t t = 0; t < count; t++)
                x[t] = load_chunk(kind, r[t], i, &at[t]);
            UNROLL
            for (uint32_t g = 0; g < m; g++) {
                __m256 y = _mm256_load_ps(q + g * pad + 8 * i);
                UNROLL
                for (uint32_t t = 0; t < count; t++)
                    acc[g * count + t] = _mm256_fmadd_ps(x[t], y, acc[g * count + t]);
            }
        }
        store_scores(reduce8(acc), m, first, s);
    }
}

INLINE void qk_any(enum row_kind kind, uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const float *q,
                   uint32_t d, float *s, const struct skv_cpu_ahead *ahead)
{
    if (m == 1)
        qk_one(kind, row, n, q, d, s, ahead);
    else
        qk_many(kind, m, row, n, q, d, s, ahead);
}

/* Channels are taken in passes whose accumulators, m x chunks vectors, stay in registers. at[t] is where row t's values
 * go on, and moves. */
INLINE void pv_pass(enum row_kind kind, uint32_t m, uint32_t chunks, uint32_t first, const struct skv_cpu_rows *row,
                    const uint8_t **at, uint32_t n, const float *s, const float *corr, uint32_t d, float *o,
                    const struct skv_cpu_ahead *ahead)
{
    uint32_t pad = SKV_CPU_D_PAD(d);
    __m256 acc[8];
    o += 8 * first;
    UNROLL
    for (uint32_t i = 0; i < m * chunks; i++)
        acc[i] = _mm256_mul_ps(_mm256_load_ps(o + i / chunks * pad + i % chunks * 8), _mm256_set1_ps(corr[i / chunks]));
    for (uint32_t t = 0; t < n; t++) {
        const uint8_t *r = skv_cpu_row(row, t), *value = is_dense(kind) ? r + 16 * (size_t)first : at[t];
        __m256 v[8];
        if (first == 0)
            skv_cpu_prefetch(ahead, t);
        UNROLL
        for (uint32_t i = 0; i < chunks; i++)
            v[i] = load_chunk(kind, r, first + i, &value);
        if (!is_dense(kind))
            at[t] = value;
        UNROLL
        for (uint32_t i = 0; i < m * chunks; i++)
            acc[i] = _mm256_fmadd_ps(v[i % chunks], _mm256_set1_ps(s[i / chunks * SKV_CPU_TILE + t]), acc[i]);
    }
    UNROLL
    for (uint32_t i = 0; i < m * chunks; i++)
        _mm256_store_ps(o + i / chunks * pad + i % chunks * 8, acc[i]);
}

INLINE void pv_any(enum row_kind kind, uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const float *s,
                   const float *corr, uint32_t d, float *o, const struct skv_cpu_ahead *ahead)
{
    const uint8_t *at[SKV_CPU_TILE];
    uint32_t n_chunks = d / 8, chunks = 8 / m, i = 0;
    if (!is_dense(kind))
        for (uint32_t t = 0; t < n; t++)
            at[t] = values(kind, skv_cpu_row(row, t), d);
    for (; i + chunks <= n_chunks; i += chunks)
        pv_pass(kind, m, chunks, i, row, at, n, s, corr, d, o, ahead);
    uint32_t left = n_chunks - i;
    if (m == 1 && left & 4) {
        pv_pass(kind, m, 4, i, row, at, n, s, corr, d, o, ahead);
        i += 4;
    }
    if (m <= 2 && left & 2) {
        pv_pass(kind, m, 2, i, row, at, n, s, corr, d, o, ahead);
        i += 2;
    }
    if (m <= 4 && left & 1)
        pv_pass(kind, m, 1, i, row, at, n, s, corr, d, o, ahead);
}

INLINE void prepare_any(enum row_kind kind, uint32_t m, const float *q, uint32_t d, float *qp)
{
    (void)kind;
    for (uint32_t g = 0; g < m; g++)
        memcpy(qp + g * SKV_CPU_D_PAD(d), q + (size_t)g * d, d * sizeof *qp);
}

INLINE void finish_any(enum row_kind kind, uint32_t m, const float *o, uint32_t d, float *out)
{
    (void)kind;
    for (uint32_t g = 0; g < m; g++)
        memcpy(out + (size_t)g * d, o + g * SKV_CPU_D_PAD(d), d * sizeof *out);
}

DEFINE_VARIANTS(f16_records, RECORD_F16, any)
DEFINE_VARIANTS(f16_dense, DENSE_F16, any)
DEFINE_VARIANTS(bf16_records, RECORD_BF16, any)
DEFINE_VARIANTS(bf16_dense, DENSE_BF16, any)

/* exp(x) for x <= 0, to about 1 ulp: x = i ln 2 + r with ln 2 in two parts, then a polynomial of degree 7 on |r| <= ln
 * 2 / 2 (coefficients of the Cephes library's expf). NaN passes: max returns its second operand then. */
INLINE __m256 exp8(__m256 x)
{
    x = _mm256_max_ps(_mm256_set1_ps(-110.0f), x);
    __m256 i = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(i, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(i, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 p = _mm256_set1_ps(1.9875691500e-4f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
    p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), _mm256_add_ps(r, _mm256_set1_ps(1.0f)));
    /* Times 2^i in two steps, for i goes down to -159 and no exponent below -126 is normal. */
    __m256i e = _mm256_cvtps_epi32(i), half = _mm256_srai_epi32(e, 1), bias = _mm256_set1_epi32(127);
    __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(e, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
}

INLINE float reduce_max(__m256 x)
{
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

INLINE float reduce_add(__m256 x)
{
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}

static void softmax(float *s, uint32_t n, uint32_t m, float scale, float *mx, float *sum, float *corr)
{
    const __m256 factor = _mm256_set1_ps(scale), lowest = _mm256_set1_ps(-INFINITY);
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (uint32_t g = 0; g < m; g++, s += SKV_CPU_TILE) {
        __m256 most = _mm256_set1_ps(mx[g]), total = _mm256_setzero_ps();
        for (uint32_t i = 0; i < n; i += 8) {
            /* Lanes past n may hold anything: they become -inf, whose weight is 0. */
            __m256i inside = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n - i)), lane);
            __m256 x = _mm256_mul_ps(_mm256_maskload_ps(s + i, inside), factor);
            x = _mm256_blendv_ps(lowest, x, _mm256_castsi256_ps(inside));
            most = _mm256_max_ps(x, most);
            _mm256_store_ps(s + i, x);
        }
        float new_most = reduce_max(most);
        int empty = new_most == -INFINITY;
        /* With only -inf so far, subtracting 0 keeps -inf at weight 0 and NaN visible. */
        __m256 shift = _mm256_set1_ps(empty ? 0 : new_most);
        for (uint32_t i = 0; i < n; i += 8) {
            __m256 x = exp8(_mm256_sub_ps(_mm256_load_ps(s + i), shift));
            total = _mm256_add_ps(total, x);
            _mm256_store_ps(s + i, x);
        }
        corr[g] = empty ? 1 : _mm256_cvtss_f32(exp8(_mm256_set1_ps(mx[g] - new_most)));
        sum[g] = sum[g] * corr[g] + reduce_add(total);
        mx[g] = new_most;
    }
}

void skv_cpu_attend_avx2(struct skv_cpu_kernels *table)
{
    table->isa = "avx2";
    table->softmax = softmax;
    FILL_VARIANTS(table->attend[SKV_CPU_F16][SKV_CPU_RECORDS], "f16.records", f16_records, "avx2");
    FILL_VARIANTS(table->attend[SKV_CPU_F16][SKV_CPU_DENSE], "f16.dense", f16_dense, "avx2");
    FILL_VARIANTS(table->attend[SKV_CPU_BF16][SKV_CPU_RECORDS], "bf16.records", bf16_records, "avx2");
    FILL_VARIANTS(table->attend[SKV_CPU_BF16][SKV_CPU_DENSE], "bf16.dense", bf16_dense, "avx2");
}
