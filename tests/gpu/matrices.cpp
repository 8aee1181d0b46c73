/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/gpu/matrices.h"

#include <cstring>

#include "tests/gpu/values.h"

namespace emulator
{

/* Of lane 4g + j: row g of a, column g of b; c and d have columns 2j and 2j + 1 of rows g and g + 8. */

static void multiply_whole(warp_data &w, unsigned)
{
    for (unsigned r = 0; r < 16; r++) {
        float sum[8];
        for (unsigned n = 0; n < 8; n++)
            sum[n] = w.c[r % 8 * 4 + n / 2][r / 8 * 2 + n % 2];
        for (unsigned k = 0; k < 16; k++)
            for (unsigned n = 0; n < 8; n++)
                sum[n] += w.a[r][k] * w.b[k][n];
        for (unsigned n = 0; n < 8; n++)
            w.d[r % 8 * 4 + n / 2][r / 8 * 2 + n % 2] = sum[n];
    }
}

void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bool is_bf16, place at)
{
    warp_data &w = own_warp();
    unsigned own = own_lane(), g = own / 4, j = own % 4;
    auto value = [is_bf16](uint32_t bits) { return is_bf16 ? bf16_to_float(bits) : half_to_float(bits); };
    for (unsigned i = 0; i < 4; i++)
        for (unsigned half = 0; half < 2; half++)
            w.a[g + i % 2 * 8][i / 2 * 8 + 2 * j + half] = value(a[i] >> 16 * half & 0xffff);
    for (unsigned i = 0; i < 2; i++)
        for (unsigned half = 0; half < 2; half++)
            w.b[i * 8 + 2 * j + half][g] = value(b[i] >> 16 * half & 0xffff);
    memcpy(w.c[own], c, sizeof c);
    meet_warp(is_bf16 ? "mma_bf16" : "mma_f16", multiply_whole, at);
    memcpy(c, w.d[own], sizeof c);
}

#if defined(__x86_64__)
#define POPCNT __attribute__((target("popcnt")))
#else
#define POPCNT
#endif

template <unsigned N_WORDS> static inline __attribute__((always_inline)) void count_rows(warp_data &w)
{
    for (unsigned r = 0; r < 16; r++)
        for (unsigned n = 0; n < 8; n++) {
            int sum = 0;
            for (unsigned k = 0; k < N_WORDS; k++)
                sum += __builtin_popcountll(w.a_bits[r][k] & w.b_bits[n][k]);
            w.count[r % 8 * 4 + n / 2][r / 8 * 2 + n % 2] = (uint32_t)sum;
        }
}

template <unsigned N_WORDS> POPCNT static void count_fast(warp_data &w, unsigned)
{
    count_rows<N_WORDS>(w);
}

template <unsigned N_WORDS> static void count_plain(warp_data &w, unsigned)
{
    count_rows<N_WORDS>(w);
}

static bool has_popcnt()
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("popcnt");
#else
    return false;
#endif
}

static void put_word(uint64_t *bits, unsigned i_word, uint32_t word)
{
    unsigned shift = 32 * (i_word % 2);
    bits[i_word / 2] = (bits[i_word / 2] & ~((uint64_t)0xffffffff << shift)) | (uint64_t)word << shift;
}

void count_bits(uint32_t (&d)[4], const uint32_t *a, const uint32_t *b, unsigned n_halves, const uint32_t (&c)[4],
                place at)
{
    static const bool is_fast = has_popcnt();
    warp_data &w = own_warp();
    unsigned own = own_lane(), g = own / 4, j = own % 4;
    for (unsigned i = 0; i < 2 * n_halves; i++)
        put_word(w.a_bits[g + i % 2 * 8], i / 2 * 4 + j, a[i]);
    for (unsigned i = 0; i < n_halves; i++)
        put_word(w.b_bits[g], i * 4 + j, b[i]);
    if (n_halves == 2)
        meet_warp("count_bits256", is_fast ? count_fast<4> : count_plain<4>, at);
    else
        meet_warp("count_bits128", is_fast ? count_fast<2> : count_plain<2>, at);
    for (unsigned i = 0; i < 4; i++)
        d[i] = w.count[own][i] + c[i];
}

/* Of lane l: row l % 16 of a, column l % 16 of b, c and d. */
static void multiply_sources(warp_data &w, const float (&rows)[16][16], const float (&columns)[16][16],
                             unsigned n_lanes, unsigned n_results, unsigned step, unsigned apart)
{
    for (unsigned l = 0; l < n_lanes; l++)
        for (unsigned i = 0; i < n_results; i++) {
            const float *row = rows[l / 16 * apart + i * step], *column = columns[l % 16];
            float sum = 0;
            for (unsigned k = 0; k < 16; k++)
                sum += row[k] * column[k];
            w.tile[l][i] += sum;
        }
}

static void multiply_cdna(warp_data &w, unsigned n_lanes)
{
    multiply_sources(w, w.rows[0], w.columns[0], n_lanes, 4, 1, 4);
}

static void multiply_rdna3(warp_data &w, unsigned n_lanes)
{
    if (memcmp(w.rows[0], w.rows[1], sizeof w.rows[0]) || memcmp(w.columns[0], w.columns[1], sizeof w.columns[0]))
        die(place::here(), "WMMA of RDNA 3: the halves of the wave have different sources");
    multiply_sources(w, w.rows[0], w.columns[0], n_lanes, 8, 2, 1);
}

static void multiply_rdna4(warp_data &w, unsigned n_lanes)
{
    multiply_sources(w, w.rows[0], w.columns[0], n_lanes, 8, 1, 8);
}

void multiply_tile(float *c, const uint32_t *a, const uint32_t *b, matrix_family family, bool is_bf16, place at)
{
    static const struct {
        const char *name;
        void (*complete)(warp_data &, unsigned);
        unsigned n_words, n_results;
    } families[] = {{"mfma", multiply_cdna, 2, 4}, {"wmma", multiply_rdna3, 8, 8}, {"wmma", multiply_rdna4, 4, 8}};
    const auto &f = families[family];
    warp_data &w = own_warp();
    unsigned own = own_lane(), half = family == RDNA3 ? own / 16 : 0,
             first = family == RDNA3 ? 0 : own / 16 * f.n_words * 2;
    auto value = [is_bf16](uint32_t bits) { return is_bf16 ? bf16_to_float(bits) : half_to_float(bits); };
    for (unsigned i = 0; i < 2 * f.n_words; i++) {
        w.rows[half][own % 16][first + i] = value(a[i / 2] >> 16 * (i % 2) & 0xffff);
        w.columns[half][own % 16][first + i] = value(b[i / 2] >> 16 * (i % 2) & 0xffff);
    }
    memcpy(w.tile[own], c, f.n_results * sizeof *c);
    meet_warp(f.name, f.complete, at);
    memcpy(c, w.tile[own], f.n_results * sizeof *c);
}

} // namespace emulator
