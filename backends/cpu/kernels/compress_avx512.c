/* SPDX-License-Identifier: Apache-2.0
 *
 * Selection by bit planes, eight rows at a time, as compress_avx2.c has it for four. The planes come from vpmovmskb
 * here too: vpmovb2m needs a kmovq on top and is no faster. Packing goes through 32-bit lanes.
 */
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

#define ROWS 8
#define PLANES 15

/* vpcompressd and vpexpandd with zeroing wait for their old destination on Zen 4 (5 cycles instead of 1.5); in place
 * there is nothing to wait for, and intrinsics cannot ask for that. */
INLINE __m512i compress16(__mmask16 keep, __m512i v)
{
    __asm__("vpcompressd %0, %0%{%1%}%{z%}" : "+v"(v) : "Yk"(keep));
    return v;
}

INLINE __m512i expand16(__mmask16 keep, __m512i v)
{
    __asm__("vpexpandd %0, %0%{%1%}%{z%}" : "+v"(v) : "Yk"(keep));
    return v;
}

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

/* Cuts each row's tie set down to its lowest `need` channels. word: [words][ROWS], above | tie before and after. */
static void break_ties(uint32_t rows, uint32_t words, const uint64_t *tie, const uint64_t *need, uint64_t *word)
{
    for (; rows; rows &= rows - 1) {
        uint32_t r = (uint32_t)__builtin_ctz(rows), left = (uint32_t)need[r];
        for (uint32_t w = 0; w < words; w++) {
            uint64_t t = tie[w * ROWS + r];
            uint32_t count = (uint32_t)__builtin_popcountll(t);
            if (count > left) {
                word[w * ROWS + r] &= ~t | _pdep_u64(_bzhi_u64(~UINT64_C(0), left), t);
                count = left;
            }
            left -= count;
        }
    }
}

/* Population counts of the bytes of v, no more than 8 each. */
INLINE __m512i count_bytes(__m512i v)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    const __m512i count = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    __m512i low = _mm512_shuffle_epi8(count, _mm512_and_si512(v, nibble));
    __m512i high = _mm512_shuffle_epi8(count, _mm512_and_si512(_mm512_srli_epi16(v, 4), nibble));
    return _mm512_add_epi8(low, high);
}

/* plane: [groups][PLANES][words][ROWS]; word: [groups][words][ROWS], the bitmaps of n rows. groups and words must be
 * constants: the state is to stay in registers. Each step waits for the last, so two groups go together where they fit.
 */
INLINE void search(const uint64_t *plane, uint32_t n, uint32_t groups, uint32_t words, uint32_t d, uint32_t k,
                   uint64_t *word)
{
    const __m512i zero = _mm512_setzero_si512();
    /* tie: channels that match the k-th largest in all planes so far; above: those already known larger. */
    __m512i above[2][SKV_WORDS_MAX], tie[2][SKV_WORDS_MAX];
    /* Minus what the ties must still give, which is >= 1 throughout: so as unsigned it is larger than any count. */
    __m512i debt[2];
    UNROLL
    for (uint32_t g = 0; g < groups; g++) {
        debt[g] = _mm512_set1_epi64(-(long long)k);
        UNROLL
        for (uint32_t w = 0; w < words; w++) {
            uint32_t left = d - 64 * w;
            above[g][w] = zero;
            tie[g][w] = _mm512_set1_epi64((long long)_bzhi_u64(~UINT64_C(0), left < 64 ? left : 64));
        }
    }
    for (uint32_t b = PLANES; b-- > 0;) {
        UNROLL
        for (uint32_t g = 0; g < groups; g++) {
            __m512i ones[SKV_WORDS_MAX], count = zero;
            UNROLL
            for (uint32_t w = 0; w < words; w++) {
                ones[w] = _mm512_and_si512(tie[g][w], _mm512_load_si512(plane + ((g * PLANES + b) * words + w) * ROWS));
                count = w ? _mm512_add_epi8(count, count_bytes(ones[w])) : count_bytes(ones[w]);
            }
            __m512i sum = _mm512_add_epi64(debt[g], _mm512_sad_epu8(count, zero));
            /* All bits set where the ones are too few: they are above, and the zeros go on. Else the ones go on. */
            __m512i few = _mm512_srai_epi64(sum, 63);
            UNROLL
            for (uint32_t w = 0; w < words; w++) {
                above[g][w] = _mm512_ternarylogic_epi64(above[g][w], few, ones[w], 0xf8); /* above | few & ones */
                tie[g][w] = _mm512_ternarylogic_epi64(ones[w], few, tie[g][w], 0x78);     /* ones ^ few & tie */
            }
            debt[g] = _mm512_max_epu64(debt[g], sum);
        }
    }
    UNROLL
    for (uint32_t g = 0; g < groups; g++) {
        __m512i count = zero;
        UNROLL
        for (uint32_t w = 0; w < words; w++) {
            count = _mm512_add_epi8(count, count_bytes(tie[g][w]));
            _mm512_store_si512(word + (g * words + w) * ROWS, _mm512_or_si512(above[g][w], tie[g][w]));
        }
        __m512i sum = _mm512_add_epi64(debt[g], _mm512_sad_epu8(count, zero));
        uint32_t excess = _bzhi_u32(_mm512_test_epi64_mask(sum, sum), n - g * ROWS);
        if (excess) {
            uint64_t t[SKV_WORDS_MAX * ROWS], need[ROWS];
            UNROLL
            for (uint32_t w = 0; w < words; w++)
                _mm512_storeu_si512(t + w * ROWS, tie[g][w]);
            _mm512_storeu_si512(need, _mm512_sub_epi64(zero, debt[g]));
            break_ties(excess, words, t, need, word + g * words * ROWS);
        }
    }
}

static void search_wide(const uint64_t *plane, uint32_t n, uint32_t d, uint32_t k, uint64_t *word)
{
    switch (SKV_BITMAP_WORDS(d)) {
    case 3:
        search(plane, n, 1, 3, d, k, word);
        break;
    case 4:
        search(plane, n, 1, 4, d, k, word);
        break;
    case 5:
        search(plane, n, 1, 5, d, k, word);
        break;
    case 6:
        search(plane, n, 1, 6, d, k, word);
        break;
    case 7:
        search(plane, n, 1, 7, d, k, word);
        break;
    default:
        search(plane, n, 1, 8, d, k, word);
        break;
    }
}

/* bitmap[w * stride] is word w. */
INLINE void pack_row(const uint16_t *row, const uint64_t *bitmap, uint32_t stride, uint32_t d, uint8_t *record)
{
    uint8_t *out = record + SKV_BITMAP_BYTES(d);
    for (uint32_t w = 0; w < SKV_BITMAP_WORDS(d); w++) {
        uint64_t word = bitmap[w * stride];
        uint32_t channels = d - 64 * w < 64 ? d - 64 * w : 64;
        memcpy(record + w * SKV_WORD_BYTES, &word, SKV_WORD_BYTES);
        for (uint32_t c = 0; c < channels; c += 16) {
            uint32_t keep = (uint32_t)(word >> c) & 0xffff, count = (uint32_t)__builtin_popcount(keep);
            const uint16_t *p = row + 64 * w + c;
            __m256i v = channels - c >= 16 ? _mm256_loadu_si256((const __m256i *)p)
                                           : _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p));
            v = _mm512_cvtepi32_epi16(compress16((__mmask16)keep, _mm512_cvtepu16_epi32(v)));
            _mm256_mask_storeu_epi16(out, (__mmask16)_bzhi_u32(~0u, count), v);
            out += 2 * count;
        }
    }
}

/* Records if record is not NULL, else bitmaps. */
INLINE void select_rows(const uint16_t *const *row, uint32_t n, uint32_t d, uint32_t k, uint8_t *const *record,
                        uint64_t *bitmap)
{
    const uint32_t words = SKV_BITMAP_WORDS(d), at_once = words > 2 ? ROWS : 2 * ROWS;
    _Alignas(64) uint64_t plane[PLANES * SKV_WORDS_MAX * ROWS];
    _Alignas(64) uint64_t word[SKV_WORDS_MAX * ROWS];
    for (uint32_t first = 0; first < n; first += at_once) {
        uint32_t left = n - first, rows = left < at_once ? left : at_once;
        make_planes(row + first, rows, d, plane);
        if (rows > ROWS)
            make_planes(row + first + ROWS, rows - ROWS, d, plane + PLANES * words * ROWS);
        if (words > 2)
            search_wide(plane, rows, d, k, word);
        else if (words == 2 && rows > ROWS)
            search(plane, rows, 2, 2, d, k, word);
        else if (words == 2)
            search(plane, rows, 1, 2, d, k, word);
        else if (rows > ROWS)
            search(plane, rows, 2, 1, d, k, word);
        else
            search(plane, rows, 1, 1, d, k, word);
        for (uint32_t r = 0; r < rows; r++) {
            const uint64_t *found = word + r / ROWS * words * ROWS + r % ROWS;
            if (record)
                pack_row(row[first + r], found, ROWS, d, record[first + r]);
            else
                for (uint32_t w = 0; w < words; w++)
                    bitmap[(first + r) * words + w] = found[w * ROWS];
        }
    }
}

static void compress_topk(const uint16_t *const *row, uint32_t n, uint32_t d, uint32_t k, uint8_t *const *record)
{
    if (d == 128)
        select_rows(row, n, 128, k, record, NULL);
    else if (d == 64)
        select_rows(row, n, 64, k, record, NULL);
    else
        select_rows(row, n, d, k, record, NULL);
}

static void select_topk(const uint16_t *const *row, uint32_t n, uint32_t d, uint32_t k, uint64_t *bitmap)
{
    if (d == 128)
        select_rows(row, n, 128, k, NULL, bitmap);
    else if (d == 64)
        select_rows(row, n, 64, k, NULL, bitmap);
    else
        select_rows(row, n, d, k, NULL, bitmap);
}

static void pack(const uint16_t *row, const uint64_t *bitmap, uint32_t d, uint8_t *record)
{
    if (d == 128)
        pack_row(row, bitmap, 1, 128, record);
    else
        pack_row(row, bitmap, 1, d, record);
}

INLINE void unpack_row(const uint8_t *record, uint32_t d, uint16_t *row)
{
    const uint8_t *value = record + SKV_BITMAP_BYTES(d);
    for (uint32_t c = 0; c < d; c += 16) {
        uint16_t keep;
        memcpy(&keep, record + c / 8, sizeof(keep));
        __m512i v = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)value));
        __m256i out = _mm512_cvtepi32_epi16(expand16(keep, v));
        if (d - c >= 16)
            _mm256_storeu_si256((__m256i *)(row + c), out);
        else
            _mm_storeu_si128((__m128i *)(row + c), _mm256_castsi256_si128(out));
        value += 2 * __builtin_popcount(keep);
    }
}

static void unpack(const uint8_t *record, uint32_t d, uint16_t *row)
{
    if (d == 128)
        unpack_row(record, 128, row);
    else
        unpack_row(record, d, row);
}

void skv_cpu_compress_avx512(struct skv_cpu_kernels *table)
{
    table->isa = "avx512";
    table->compress_topk = compress_topk;
    table->select_topk = select_topk;
    table->pack = pack;
    table->unpack = unpack;
}
