/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files that select by bit planes share before their own vectors come in. Each defines ROWS, the rows that it
 * takes at once, PLANES_BY_MOVEMASK unless it makes planes in its own way, and includes this; then, once it has
 * make_planes, search and pack_row, compress_select.h.
 */
#ifndef SKV_CPU_COMPRESS_PLANES_H
#define SKV_CPU_COMPRESS_PLANES_H

#include <immintrin.h>
#include <string.h>

#include "backends/cpu/kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))
/* Arrays of vectors live in registers only if the loops over them are unrolled whole; gcc does not at -O2 by itself. */
#if defined(__clang__)
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

#define PLANES 15

/* Rows whose bitmaps are found. They are finished one by one, in order, beside the search among the next ones, which
 * leaves room for it: its steps wait for each other. */
struct found {
    uint32_t n, n_ahead;
    const uint16_t *const *row, *const *ahead; /* [n]; [n_ahead], to be asked for */
    uint8_t *const *record;                    /* [n], where they are to be packed */
    uint64_t *bitmap;                          /* [n][words], where only these are wanted */
    const uint64_t *word;                      /* [n / ROWS][words][ROWS] */
};

/* bitmap[w * stride] is word w, which has kept bits in all. loose: a line behind the record may be written, too. */
INLINE void pack_row(int loose, const uint16_t *row, const uint64_t *bitmap, uint32_t stride, uint32_t d, uint32_t kept,
                     uint8_t *record);

/* What becomes of found rows. */
enum finish { BITMAPS, RECORDS, LOOSE_RECORDS };

INLINE void finish_row(enum finish finish, const struct found *found, uint32_t r, uint32_t words, uint32_t d,
                       uint32_t k)
{
    /* The search leaves memory idle and the next rows are far from the last: the hardware does not keep up. Into the
     * second level, since a line of the first one's few misses is taken until its data are there, and not all at once
     * for the same reason. */
    if (r < found->n_ahead)
        for (uint32_t i = 0; i < d; i += 32)
            _mm_prefetch((const char *)(found->ahead[r] + i), _MM_HINT_T1);
    if (r >= found->n)
        return;
    const uint64_t *word = found->word + r / ROWS * words * ROWS + r % ROWS;
    if (finish != BITMAPS)
        pack_row(finish == LOOSE_RECORDS, found->row[r], word, ROWS, d, k, found->record[r]);
    else
        for (uint32_t w = 0; w < words; w++)
            found->bitmap[r * words + w] = word[w * ROWS];
}

#if defined(PLANES_BY_MOVEMASK)
/* plane: [PLANES][words][ROWS]; rows at and past n become zeros. */
INLINE void make_planes(const uint16_t *const *row, uint32_t n, uint32_t d, uint64_t *plane)
{
    const uint32_t words = SKV_BITMAP_WORDS(d), step = words * ROWS * SKV_WORD_BYTES;
    const __m256i low7 = _mm256_set1_epi16(0x7f);
    if (n < ROWS)
        memset(plane, 0, PLANES * step);
    for (uint32_t r = 0; r < n && r < ROWS; r++) {
        for (uint32_t c = 0; c < 2 * words; c++) {
            const uint16_t *p = row[r] + 32 * c;
            uint16_t padded[32];
            if (32 * (c + 1) > d) {
                uint32_t left = 32 * c < d ? d - 32 * c : 0;
                memset(padded, 0, sizeof(padded));
                memcpy(padded, p - (left ? 0 : 32), 2 * left);
                p = padded;
            }
            /* vpackuswb works in 128-bit lanes: these halves come out of it in order. */
            __m256i a = _mm256_loadu2_m128i((const __m128i *)(p + 16), (const __m128i *)p);
            __m256i b = _mm256_loadu2_m128i((const __m128i *)(p + 24), (const __m128i *)(p + 8));
            __m256i high = _mm256_packus_epi16(_mm256_srli_epi16(_mm256_add_epi16(a, a), 8),
                                               _mm256_srli_epi16(_mm256_add_epi16(b, b), 8));
            __m256i low = _mm256_packus_epi16(_mm256_and_si256(a, low7), _mm256_and_si256(b, low7));
            uint8_t *out = (uint8_t *)(plane + c / 2 * ROWS + r) + c % 2 * 4;
            UNROLL
            for (uint32_t i = 0; i < 8; i++) {
                int mask = _mm256_movemask_epi8(high);
                memcpy(out + (14 - i) * step, &mask, 4);
                high = _mm256_add_epi8(high, high);
            }
            UNROLL
            for (uint32_t i = 0; i < 7; i++) {
                low = _mm256_add_epi8(low, low);
                int mask = _mm256_movemask_epi8(low);
                memcpy(out + (6 - i) * step, &mask, 4);
            }
        }
    }
}
#endif

/* The lowest *left channels of a tie word; *left becomes what later words must give. pdep is fast on all processors
 * that have AVX-512, and microcode on some that have AVX2 alone. */
INLINE uint64_t lowest(uint64_t tie, uint32_t *left)
{
    uint32_t count = (uint32_t)__builtin_popcountll(tie), take = count < *left ? count : *left;
    *left -= take;
#if defined(__AVX512F__)
    return _pdep_u64(_bzhi_u64(~UINT64_C(0), take), tie);
#else
    if (take == count)
        return tie;
    uint64_t rest = tie;
    for (; take; take--)
        rest &= rest - 1;
    return tie ^ rest;
#endif
}

/* Cuts the ties of the rows that have too many. word: [words][ROWS], above | tie before and after. */
static void break_ties(uint32_t rows, uint32_t words, const uint64_t *tie, const uint64_t *need, uint64_t *word)
{
    for (; rows; rows &= rows - 1) {
        uint32_t r = (uint32_t)__builtin_ctz(rows), left = (uint32_t)need[r];
        for (uint32_t w = 0; w < words; w++)
            word[w * ROWS + r] &= ~tie[w * ROWS + r] | lowest(tie[w * ROWS + r], &left);
    }
}

#endif
