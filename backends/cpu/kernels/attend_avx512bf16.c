/* SPDX-License-Identifier: Apache-2.0
 *
 * bf16 rows and bf16 queries by vdpbf16ps, which multiplies pairs of neighbouring bf16 lanes and adds both products to
 * a binary32 lane: half the work per element of f32 math. It reads subnormal inputs as zero (FORMAT.md section 9 allows
 * for that).
 *
 * In q.k the pairs are neighbouring channels, as stored. In p.v they are neighbouring tokens: two rows are interleaved,
 * and the softmax weights rounded to bf16 pairs.
 */
#include "backends/cpu/kernels/attend_bf16dot.h"

INLINE __m512 dot(__m512 acc, __m512i a, __m512i b)
{
    return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
}

INLINE void qk_rows_dot(int dense, int plain, uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const uint16_t *q,
                        uint32_t d, float *s, const struct skv_cpu_ahead *ahead)
{
    uint32_t n_chunks = (d + 31) / 32, pad = SKV_CPU_D_PAD(d), count = 16 / m;
    const uint8_t *list[SKV_CPU_TILE];
    const struct skv_cpu_rows rows = listed(m, row, n, list);
    for (uint32_t first = 0; first < n; first += count) {
        __m512 acc[16];
        if (m == 1) {
#pragma GCC unroll 16
            for (uint32_t t = 0; t < 16; t++) {
                struct cursor at = seek(kind_of(dense),
                                        plain ? row->first + (first + t) * row->stride
                                              : skv_cpu_row(row, first + t < n ? first + t : n - 1),
                                        d, 0);
                acc[t] = _mm512_setzero_ps();
                if (!plain)
                    skv_cpu_prefetch(ahead, first + t);
#pragma GCC unroll 4
                for (uint32_t i = 0; i < n_chunks; i++)
                    acc[t] = dot(acc[t], load_words(dense, &at, d, i), _mm512_load_si512(q + 32 * i));
            }
            store_scores(reduce16(acc), 1, first, s);
            continue;
        }
        struct cursor at[8];
        seek_rows(kind_of(dense), &rows, n, first, count, d, at);
        for (uint32_t t = 0; t < count; t++)
            skv_cpu_prefetch(ahead, first + t);
#pragma GCC unroll 16
        for (uint32_t i = 0; i < 16; i++)
            acc[i] = _mm512_setzero_ps();
        for (uint32_t i = 0; i < n_chunks; i++) {
            __m512i k[8];
#pragma GCC unroll 8
            for (uint32_t t = 0; t < count; t++)
                k[t] = load_words(dense, &at[t], d, i);
#pragma GCC unroll 8
            for (uint32_t g = 0; g < m; g++) {
                __m512i query = _mm512_load_si512(q + g * pad + 32 * i);
#pragma GCC unroll 8
                for (uint32_t t = 0; t < count; t++)
                    acc[g * count + t] = dot(acc[g * count + t], k[t], query);
            }
        }
        store_scores(reduce16(acc), m, first, s);
    }
}

/* `pairs` holds each query row's weights as bf16, [m][SKV_CPU_TILE], zero from n on. */
INLINE void pv_pass_dot(int dense, int plain, uint32_t m, uint32_t chunks, uint32_t first_chunk,
                        const struct skv_cpu_rows *row, uint32_t n, const uint16_t *pairs, const float *corr,
                        uint32_t d, float *o, const struct skv_cpu_ahead *ahead)
{
    uint32_t pad = SKV_CPU_D_PAD(d);
    __m512 acc[8][16];
#pragma GCC unroll 8
    for (uint32_t g = 0; g < m; g++)
#pragma GCC unroll 16
        for (uint32_t i = 0; i < 2 * chunks; i++)
            acc[g][i] = _mm512_mul_ps(_mm512_load_ps(o + g * pad + 32 * first_chunk + 16 * i), _mm512_set1_ps(corr[g]));
    for (uint32_t t = 0; t < n; t += 2) {
        /* A last row without a partner meets zeros, not a row that does not exist. */
        int partner = plain || t + 1 < n;
        const uint8_t *row0 = plain ? row->first + t * row->stride : row_at(m, row, t);
        const uint8_t *row1 = plain ? row0 + row->stride : row_at(m, row, partner ? t + 1 : t);
        struct cursor at0 = seek(kind_of(dense), row0, d, first_chunk),
                      at1 = seek(kind_of(dense), row1, d, first_chunk);
        __m512i v[16];
        if (first_chunk == 0 && !plain) {
            skv_cpu_prefetch(ahead, t);
            skv_cpu_prefetch(ahead, t + 1);
        }
#pragma GCC unroll 8
        for (uint32_t i = 0; i < chunks; i++) {
            __m512i x = load_words(dense, &at0, d, first_chunk + i), y = load_words(dense, &at1, d, first_chunk + i);
            y = partner ? y : _mm512_setzero_si512();
            v[2 * i] = _mm512_unpacklo_epi16(x, y);
            v[2 * i + 1] = _mm512_unpackhi_epi16(x, y);
        }
#pragma GCC unroll 8
        for (uint32_t g = 0; g < m; g++) {
            uint32_t pair;
            memcpy(&pair, pairs + g * SKV_CPU_TILE + t, sizeof pair);
            __m512i weight = _mm512_set1_epi32((int)pair);
#pragma GCC unroll 16
            for (uint32_t i = 0; i < 2 * chunks; i++)
                acc[g][i] = dot(acc[g][i], v[i], weight);
        }
    }
#pragma GCC unroll 8
    for (uint32_t g = 0; g < m; g++)
#pragma GCC unroll 16
        for (uint32_t i = 0; i < 2 * chunks; i++)
            _mm512_store_ps(o + g * pad + 32 * first_chunk + 16 * i, acc[g][i]);
}

INLINE void pv_rows_dot(int dense, int plain, uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const float *s,
                        const float *corr, uint32_t d, float *o, const struct skv_cpu_ahead *ahead)
{
    _Alignas(64) uint16_t pairs[SKV_CPU_M_MAX * SKV_CPU_TILE];
    round_weights(m, n, s, pairs);
    const uint8_t *list[SKV_CPU_TILE];
    const struct skv_cpu_rows rows = listed(m, row, n, list);
#define PASS(CHUNKS, FIRST) pv_pass_dot(dense, plain, m, CHUNKS, FIRST, &rows, n, pairs, corr, d, o, ahead)
    IN_PASSES(m, d, PASS);
#undef PASS
}

INLINE void qk_dot(int dense, uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const uint16_t *q, uint32_t d,
                   float *s, const struct skv_cpu_ahead *ahead)
{
    if (is_plain(m, row, n, ahead))
        qk_rows_dot(dense, 1, m, row, n, q, d, s, ahead);
    else
        qk_rows_dot(dense, 0, m, row, n, q, d, s, ahead);
}

INLINE void pv_dot(int dense, uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const float *s, const float *corr,
                   uint32_t d, float *o, const struct skv_cpu_ahead *ahead)
{
    if (is_plain(m, row, n, ahead))
        pv_rows_dot(dense, 1, m, row, n, s, corr, d, o, ahead);
    else
        pv_rows_dot(dense, 0, m, row, n, s, corr, d, o, ahead);
}

/* The queries are bf16-exact, so their upper halves are all of them. */
INLINE void prepare_dot(int dense, uint32_t m, const float *q, uint32_t d, uint16_t *qp)
{
    (void)dense;
    uint32_t pad = SKV_CPU_D_PAD(d), bits;
    memset(qp, 0, (size_t)m * pad * sizeof *qp);
    for (uint32_t g = 0; g < m; g++)
        for (uint32_t c = 0; c < d; c++) {
            memcpy(&bits, &q[(size_t)g * d + c], sizeof bits);
            qp[(size_t)g * pad + c] = (uint16_t)(bits >> 16);
        }
}

/* The row kind is 1 for dense rows. */
DEFINE_VARIANTS(records, 0, dot)
DEFINE_VARIANTS(dense, 1, dot)

void skv_cpu_attend_avx512bf16(struct skv_cpu_kernels *table)
{
    table->isa = "avx512bf16";
    FILL_VARIANTS(table->attend[SKV_CPU_BF16_DOT][SKV_CPU_RECORDS], "bf16dot.records", records, "avx512bf16");
    FILL_VARIANTS(table->attend[SKV_CPU_BF16_DOT][SKV_CPU_DENSE], "bf16dot.dense", dense, "avx512bf16");
}
