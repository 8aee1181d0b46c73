/* SPDX-License-Identifier: Apache-2.0
 *
 * What kernels that multiply bf16 pairs share: rows as bf16 words, and accumulators in the order in which two rows
 * interleave. Interleaving works within 128-bit lanes, so of a chunk of 32 channels the first vector holds 0-3, 8-11,
 * 16-19, 24-27 and the second the others.
 */
#ifndef SKV_CPU_ATTEND_BF16DOT_H
#define SKV_CPU_ATTEND_BF16DOT_H

#include "backends/cpu/kernels/attend_avx512.h"

/* seek() wants a kind only to tell dense rows from records. */
INLINE enum row_kind kind_of(int dense)
{
    return dense ? DENSE_BF16 : EXPAND16_BF16;
}

/* Chunk i (32 channels) of a row. */
INLINE __m512i load_words(int dense, struct cursor *at, uint32_t d, uint32_t i)
{
    if (dense) {
        const uint8_t *from = at->value;
        at->value += 64;
        return is_whole(d, i) ? _mm512_loadu_si512(from)
                              : _mm512_maskz_loadu_epi16((__mmask32)((1u << d % 32) - 1), from);
    }
    uint32_t mask = load_mask(at, d, i);
    __m512i x = expand16((__mmask32)mask, _mm512_loadu_si512(at->value));
    at->value += 2 * __builtin_popcount(mask);
    return x;
}

/* Each query row's weights as bf16, [m][SKV_CPU_TILE], zero from n on up to the next multiple of 32. */
INLINE void round_weights(uint32_t m, uint32_t n, const float *s, uint16_t *pairs)
{
    for (uint32_t g = 0; g < m; g++)
        for (uint32_t t = 0; t < (n + 31) / 32 * 32; t += 16) {
            __mmask16 lanes = n >= t + 16 ? 0xffff : n > t ? (__mmask16)((1u << (n - t)) - 1) : 0;
            __m512 weights = _mm512_maskz_load_ps(lanes, s + g * SKV_CPU_TILE + t);
            _mm256_store_si256((__m256i *)(void *)(pairs + g * SKV_CPU_TILE + t), (__m256i)_mm512_cvtneps_pbh(weights));
        }
}

INLINE void finish_dot(int dense, uint32_t m, const float *o, uint32_t d, float *out)
{
    (void)dense;
    uint32_t pad = SKV_CPU_D_PAD(d);
    for (uint32_t g = 0; g < m; g++)
        for (uint32_t c = 0; c < d; c += 4) {
            uint32_t from = c / 32 * 32 + c % 8 / 4 * 16 + c % 32 / 8 * 4;
            memcpy(out + (size_t)g * d + c, o + (size_t)g * pad + from, 4 * sizeof *out);
        }
}

#endif
