/* SPDX-License-Identifier: Apache-2.0
 *
 * bf16 rows and bf16 queries by tile products, for up to 8 query rows at the price of one: what is left per row is its
 * expansion to a tile in the first-level cache. (To expand a group of rows ahead of the products was slower, though
 * they then need not wait for the stores.)
 *
 * q.k: 16 tokens x 32 channels times 32 channels x m queries. p.v: m weights x 32 tokens times 32 tokens x 16 channels,
 * where B wants pairs of tokens, so that two rows are interleaved as they are stored.
 */
#include "backends/cpu/kernels/amx.h"
#include "backends/cpu/kernels/attend_bf16dot.h"

#define CHUNKS_MAX (SKV_HEAD_DIM_MAX / 32)
#define STEP 32 /* tokens of a product of p.v */
#define STEPS (SKV_CPU_TILE / STEP)

/* Columns are query rows, rows pairs of channels. */
INLINE void prepare_amx(int dense, uint32_t m, const float *q, uint32_t d, uint16_t *qp)
{
    (void)dense;
    uint32_t bits;
    memset(qp, 0, (size_t)m * SKV_CPU_D_PAD(d) * sizeof *qp);
    for (uint32_t g = 0; g < m; g++)
        for (uint32_t c = 0; c < d; c++) {
            memcpy(&bits, &q[(size_t)g * d + c], sizeof bits);
            qp[(c / 2 * m + g) * 2 + c % 2] = (uint16_t)(bits >> 16);
        }
}

/* 16 rows from row `first` on as tiles of 32 channels; the last row stands in for those past n. */
INLINE void expand_k(int dense, const struct skv_cpu_rows *row, uint32_t n, uint32_t first, uint32_t d,
                     const struct skv_cpu_ahead *ahead, uint8_t *tile)
{
    for (uint32_t t = 0; t < SKV_AMX_ROWS; t++) {
        struct cursor at = seek(kind_of(dense), skv_cpu_row(row, first + t < n ? first + t : n - 1), d, 0);
        skv_cpu_prefetch(ahead, first + t);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < (d + 31) / 32; i++)
            _mm512_store_si512(tile + i * SKV_AMX_TILE_BYTES + t * SKV_AMX_ROW_BYTES, load_words(dense, &at, d, i));
    }
}

/* [16 tokens][m] -> s[g * SKV_CPU_TILE + t]. Each round takes the lowest bit of the query row from the number of the
 * lane to the number of the vector, and the lowest bit that is left of the token the other way. */
INLINE void scatter_scores(uint32_t m, const float *scores, float *s)
{
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    __m512 v[8], w[8];
#pragma GCC unroll 8
    for (uint32_t i = 0; i < m; i++)
        v[i] = _mm512_load_ps(scores + 16 * i);
#pragma GCC unroll 3
    for (uint32_t bit = 1; bit < m; bit *= 2) {
#pragma GCC unroll 8
        for (uint32_t i = 0; i < m; i += 2 * bit)
#pragma GCC unroll 4
            for (uint32_t j = 0; j < bit; j++) {
                w[i + j] = _mm512_permutex2var_ps(v[i + j], even, v[i + bit + j]);
                w[i + bit + j] = _mm512_permutex2var_ps(v[i + j], odd, v[i + bit + j]);
            }
#pragma GCC unroll 8
        for (uint32_t i = 0; i < m; i++)
            v[i] = w[i];
    }
#pragma GCC unroll 8
    for (uint32_t g = 0; g < m; g++)
        _mm512_store_ps(s + g * SKV_CPU_TILE, v[g]);
}

/* Scores of 16 rows: chunk i of row t at rows + i * chunk_stride + t * stride. */
INLINE void multiply_k(uint32_t m, const uint8_t *rows, size_t chunk_stride, size_t stride, const uint16_t *q,
                       uint32_t n_chunks, float *s)
{
    _Alignas(64) float scores[SKV_AMX_ROWS * SKV_CPU_M_MAX];
    SKV_AMX_ZERO(0);
#pragma GCC unroll 4
    for (uint32_t i = 0; i < n_chunks; i++) {
        SKV_AMX_LOAD(1, q + (size_t)i * 32 * m, 4 * m);
        SKV_AMX_LOAD(2, rows + i * chunk_stride, stride);
        SKV_AMX_DOT(0, 2, 1);
    }
    SKV_AMX_STORE(0, scores, 4 * m);
    scatter_scores(m, scores, s);
}

INLINE void qk_amx(int dense, uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const uint16_t *q, uint32_t d,
                   float *s, const struct skv_cpu_ahead *ahead)
{
    _Alignas(64) uint8_t tile[CHUNKS_MAX * SKV_AMX_TILE_BYTES];
    uint32_t n_chunks = (d + 31) / 32;
    for (uint32_t first = 0; first < n; first += SKV_AMX_ROWS) {
        if (dense && d % 32 == 0 && !row->list && first + SKV_AMX_ROWS <= n) {
            for (uint32_t t = 0; t < SKV_AMX_ROWS; t++)
                skv_cpu_prefetch(ahead, first + t);
            multiply_k(m, row->first + first * row->stride, 64, row->stride, q, n_chunks, s + first);
            continue;
        }
        expand_k(dense, row, n, first, d, ahead, tile);
        multiply_k(m, tile, SKV_AMX_TILE_BYTES, SKV_AMX_ROW_BYTES, q, n_chunks, s + first);
    }
}

/* Up to 32 rows from row `first` on as tiles of 16 channels, pairs of tokens beside each other; zeros past n. */
INLINE void expand_v(int dense, const struct skv_cpu_rows *row, uint32_t n, uint32_t first, uint32_t d,
                     const struct skv_cpu_ahead *ahead, uint8_t *tile)
{
    const __m512i zero = _mm512_setzero_si512();
    for (uint32_t r = 0; r < SKV_AMX_ROWS; r++, tile += SKV_AMX_ROW_BYTES) {
        uint32_t t = first + 2 * r;
        if (t >= n) {
            for (uint32_t i = 0; i < 2 * ((d + 31) / 32); i++)
                _mm512_store_si512(tile + i * SKV_AMX_TILE_BYTES, zero);
            continue;
        }
        int partner = t + 1 < n;
        struct cursor at0 = seek(kind_of(dense), skv_cpu_row(row, t), d, 0);
        struct cursor at1 = seek(kind_of(dense), skv_cpu_row(row, partner ? t + 1 : t), d, 0);
        skv_cpu_prefetch(ahead, t);
        skv_cpu_prefetch(ahead, t + 1);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < (d + 31) / 32; i++) {
            __m512i x = load_words(dense, &at0, d, i), y = load_words(dense, &at1, d, i);
            y = partner ? y : zero;
            _mm512_store_si512(tile + (2 * i) * SKV_AMX_TILE_BYTES, _mm512_unpacklo_epi16(x, y));
            _mm512_store_si512(tile + (2 * i + 1) * SKV_AMX_TILE_BYTES, _mm512_unpackhi_epi16(x, y));
        }
    }
}

INLINE void pv_amx(int dense, uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const float *s, const float *corr,
                   uint32_t d, float *o, const struct skv_cpu_ahead *ahead)
{
    _Alignas(64) uint16_t pairs[SKV_CPU_M_MAX * SKV_CPU_TILE];
    _Alignas(64) uint8_t tile[STEPS][2 * CHUNKS_MAX * SKV_AMX_TILE_BYTES];
    uint32_t pad = SKV_CPU_D_PAD(d);
    round_weights(m, n, s, pairs);
    for (uint32_t g = 0; g < m; g++)
        if (corr[g] != 1)
            for (uint32_t c = 0; c < pad; c += 16)
                _mm512_store_ps(o + g * pad + c,
                                _mm512_mul_ps(_mm512_load_ps(o + g * pad + c), _mm512_set1_ps(corr[g])));
    for (uint32_t first = 0; first < n; first += STEP)
        expand_v(dense, row, n, first, d, ahead, tile[first / STEP]);
    SKV_AMX_LOAD(5, pairs, 2 * SKV_CPU_TILE);
    if (n > STEP)
        SKV_AMX_LOAD(6, pairs + STEP, 2 * SKV_CPU_TILE);
#pragma GCC unroll 8
    for (uint32_t i = 0; i < 2 * ((d + 31) / 32); i++) {
        SKV_AMX_LOAD(3, o + 16 * i, 4 * pad);
        SKV_AMX_LOAD(7, tile[0] + i * SKV_AMX_TILE_BYTES, SKV_AMX_ROW_BYTES);
        SKV_AMX_DOT(3, 5, 7);
        if (n > STEP) {
            SKV_AMX_LOAD(7, tile[1] + i * SKV_AMX_TILE_BYTES, SKV_AMX_ROW_BYTES);
            SKV_AMX_DOT(3, 6, 7);
        }
        SKV_AMX_STORE(3, o + 16 * i, 4 * pad);
    }
}

INLINE void finish_amx(int dense, uint32_t m, const float *o, uint32_t d, float *out)
{
    finish_dot(dense, m, o, d, out);
}

/* Tiles: 0 scores, 1 queries, 2 rows of K; 3 results, 5 and 6 weights, 7 rows of V. */
#define DEFINE_ENTER(M)                                                                   \
    static void enter_m##M(void)                                                          \
    {                                                                                     \
        static const _Alignas(64) struct skv_amx_config config = {                        \
            .palette = 1,                                                                 \
            .row_bytes = {4 * (M), 4 * (M), 64, 64, 64, 64, 64, 64},                      \
            .rows = {SKV_AMX_ROWS, SKV_AMX_ROWS, SKV_AMX_ROWS, M, M, M, M, SKV_AMX_ROWS}, \
        };                                                                                \
        skv_amx_configure(&config);                                                       \
    }

static void leave(void)
{
    skv_amx_release();
}

/* The row kind is 1 for dense rows. */
#define DEFINE(M)                      \
    DEFINE_ENTER(M)                    \
    DEFINE_VARIANT(records, 0, amx, M) \
    DEFINE_VARIANT(dense, 1, amx, M)
DEFINE(2)
DEFINE(4)
DEFINE(8)

#define FILL(ENTRY, TYPE_SOURCE, NAME, M)                                              \
    do {                                                                               \
        (ENTRY) = (struct skv_cpu_attend)VARIANT(TYPE_SOURCE ".m" #M ".amx", NAME, M); \
        (ENTRY).enter = enter_m##M;                                                    \
        (ENTRY).leave = leave;                                                         \
    } while (0)

/* One query row is faster without. */
void skv_cpu_attend_amx(struct skv_cpu_kernels *table)
{
    struct skv_cpu_attend(*entry)[SKV_CPU_M_COUNT] = table->attend[SKV_CPU_BF16_DOT];
    table->isa = "amx";
    FILL(entry[SKV_CPU_RECORDS][1], "bf16dot.records", records, 2);
    FILL(entry[SKV_CPU_RECORDS][2], "bf16dot.records", records, 4);
    FILL(entry[SKV_CPU_RECORDS][3], "bf16dot.records", records, 8);
    FILL(entry[SKV_CPU_DENSE][1], "bf16dot.dense", dense, 2);
    FILL(entry[SKV_CPU_DENSE][2], "bf16dot.dense", dense, 4);
    FILL(entry[SKV_CPU_DENSE][3], "bf16dot.dense", dense, 8);
}
