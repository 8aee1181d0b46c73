/* SPDX-License-Identifier: Apache-2.0
 *
 * Selection by bit planes, eight rows at a time. A plane holds one bit of each value of a row, a 64-bit word of it per
 * 64 channels, and the same word of eight rows makes one vector. Finding the k largest is then a walk down the planes
 * with AND and population count in vector lanes: no compare writes a mask register that a general register must read,
 * which is what bounds a search by vpcmp (kmovq r,k: 2 cycles on Zen 4). The planes come from an 8x8 bit transpose by
 * vgf2p8affineqb.
 *
 * Besides VBMI2 this file uses VBMI, VPOPCNTDQ and GFNI.
 */
#define ROWS 8

#include "backends/cpu/kernels/compress_planes.h"

/* Byte indices into two registers of 32 values: the high bytes of 8 values, last one first. */
#define HIGH8(q) \
    16 * (q) + 15, 16 * (q) + 13, 16 * (q) + 11, 16 * (q) + 9, 16 * (q) + 7, 16 * (q) + 5, 16 * (q) + 3, 16 * (q) + 1
#define LOW8(q) \
    16 * (q) + 14, 16 * (q) + 12, 16 * (q) + 10, 16 * (q) + 8, 16 * (q) + 6, 16 * (q) + 4, 16 * (q) + 2, 16 * (q)
/* Byte b of each of the eight quadwords of a register. */
#define COLUMN(b) (b), (b) + 8, (b) + 16, (b) + 24, (b) + 32, (b) + 40, (b) + 48, (b) + 56

static const _Alignas(64) uint8_t high_index[64] = {HIGH8(0), HIGH8(1), HIGH8(2), HIGH8(3),
                                                    HIGH8(4), HIGH8(5), HIGH8(6), HIGH8(7)};
static const _Alignas(64) uint8_t low_index[64] = {LOW8(0), LOW8(1), LOW8(2), LOW8(3),
                                                   LOW8(4), LOW8(5), LOW8(6), LOW8(7)};
/* From two registers of 16 scores: byte b of each, then byte b + 1, eight by eight, last one first. */
#define SCORE8(q, b)                                                                                         \
    32 * (q) + 28 + (b), 32 * (q) + 24 + (b), 32 * (q) + 20 + (b), 32 * (q) + 16 + (b), 32 * (q) + 12 + (b), \
        32 * (q) + 8 + (b), 32 * (q) + 4 + (b), 32 * (q) + (b)
#define SCORE32(b) SCORE8(0, b), SCORE8(1, b), SCORE8(2, b), SCORE8(3, b)
static const _Alignas(64) uint8_t score_low_index[64] = {SCORE32(0), SCORE32(1)};
static const _Alignas(64) uint8_t score_high_index[64] = {SCORE32(2), SCORE32(3)};
static const _Alignas(64) uint8_t columns_index[64] = {COLUMN(0), COLUMN(1), COLUMN(2), COLUMN(3),
                                                       COLUMN(4), COLUMN(5), COLUMN(6), COLUMN(7)};
/* From two rows: planes 0, 2, 4, 6 (odd: 1, 3, 5, 7) as [plane / 4][row][plane / 2 % 2], a quadword each. */
static const _Alignas(64) uint8_t even_index[64] = {COLUMN(0), COLUMN(2), COLUMN(64), COLUMN(66),
                                                    COLUMN(4), COLUMN(6), COLUMN(68), COLUMN(70)};
static const _Alignas(64) uint8_t odd_index[64] = {COLUMN(1), COLUMN(3), COLUMN(65), COLUMN(67),
                                                   COLUMN(5), COLUMN(7), COLUMN(69), COLUMN(71)};

/* vpcompressw and vpexpandw with zeroing wait for their old destination on Zen 4 (5 cycles instead of 1.5); in place
 * there is nothing to wait for, and intrinsics cannot ask for that. */
INLINE __m512i compress32(__mmask32 keep, __m512i v)
{
    __asm__("vpcompressw %0, %0%{%1%}%{z%}" : "+v"(v) : "Yk"(keep));
    return v;
}

INLINE __m512i expand32(__mmask32 keep, __m512i v)
{
    __asm__("vpexpandw %0, %0%{%1%}%{z%}" : "+v"(v) : "Yk"(keep));
    return v;
}

/* Eight bit planes of 64 bytes of each of four rows, from plane `first` on. plane: [plane][words][ROWS]. */
INLINE void store_planes(const __m512i byte[4], uint64_t *plane, uint32_t words, uint32_t first)
{
    /* Quadword i of an operand, as a matrix, times this: byte b holds bit b of the bytes 7, 6, ... 0. */
    const __m512i one = _mm512_set1_epi64((long long)0x8040201008040201);
    const __m512i even = _mm512_load_si512(even_index), odd = _mm512_load_si512(odd_index);
    __m512i bit[4], pair[2][2];
    UNROLL
    for (int r = 0; r < 4; r++)
        bit[r] = _mm512_gf2p8affine_epi64_epi8(one, byte[r], 0);
    UNROLL
    for (int r = 0; r < 2; r++) {
        pair[0][r] = _mm512_permutex2var_epi8(bit[r], even, bit[r + 2]);
        pair[1][r] = _mm512_permutex2var_epi8(bit[r], odd, bit[r + 2]);
    }
    UNROLL
    for (uint32_t i = 0; i < 4; i++) {
        __m512i v = i < 2 ? _mm512_unpacklo_epi64(pair[i % 2][0], pair[i % 2][1])
                          : _mm512_unpackhi_epi64(pair[i % 2][0], pair[i % 2][1]);
        _mm256_storeu_si256((__m256i *)(plane + (first + i) * words * ROWS), _mm512_castsi512_si256(v));
        if (first + i + 4 < PLANES)
            _mm256_storeu_si256((__m256i *)(plane + (first + i + 4) * words * ROWS), _mm512_extracti64x4_epi64(v, 1));
    }
}

/* plane: [PLANES][words][ROWS]; rows at and past n repeat the last one. */
INLINE void make_planes(const uint16_t *const *row, uint32_t n, uint32_t d, uint64_t *plane)
{
    const uint32_t words = SKV_BITMAP_WORDS(d);
    const __m512i high_of = _mm512_load_si512(high_index), low_of = _mm512_load_si512(low_index);
    for (uint32_t w = 0; w < words; w++) {
        uint32_t left = d - 64 * w;
        UNROLL
        for (uint32_t half = 0; half < 2; half++) {
            __m512i high[4], low[4];
            UNROLL
            for (uint32_t i = 0; i < 4; i++) {
                uint32_t r = half * 4 + i;
                const uint16_t *p = row[r < n ? r : n - 1] + 64 * w;
                __m512i a, b;
                if (left >= 64) {
                    a = _mm512_loadu_si512(p);
                    b = _mm512_loadu_si512(p + 32);
                } else {
                    a = _mm512_maskz_loadu_epi16(_bzhi_u32(~0u, left), p);
                    b = _mm512_maskz_loadu_epi16(left > 32 ? _bzhi_u32(~0u, left - 32) : 0, p + 32);
                }
                high[i] = _mm512_permutex2var_epi8(a, high_of, b);
                low[i] = _mm512_permutex2var_epi8(a, low_of, b);
            }
            store_planes(high, plane + w * ROWS + half * 4, words, 8);
            store_planes(low, plane + w * ROWS + half * 4, words, 0);
        }
    }
}

/* plane: [groups][PLANES][words][ROWS]; word: [groups][words][ROWS], the bitmaps of n rows. groups and words must be
 * constants: the state is to stay in registers. Each step waits for the last, so two groups go together where they fit.
 */
INLINE void search(enum finish finish, const uint64_t *plane, uint32_t n, uint32_t groups, uint32_t words, uint32_t d,
                   uint32_t k, uint64_t *word, const struct found *found)
{
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
            above[g][w] = _mm512_setzero_si512();
            tie[g][w] = _mm512_set1_epi64((long long)_bzhi_u64(~UINT64_C(0), left < 64 ? left : 64));
        }
    }
    for (uint32_t b = PLANES; b-- > 0;) {
        UNROLL
        for (uint32_t g = 0; g < groups; g++) {
            __m512i ones[SKV_WORDS_MAX], sum = debt[g];
            UNROLL
            for (uint32_t w = 0; w < words; w++) {
                ones[w] = _mm512_and_si512(tie[g][w], _mm512_load_si512(plane + ((g * PLANES + b) * words + w) * ROWS));
                sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(ones[w]));
            }
            /* All bits set where the ones are too few: they are above, and the zeros go on. Else the ones go on. */
            __m512i few = _mm512_srai_epi64(sum, 63);
            UNROLL
            for (uint32_t w = 0; w < words; w++) {
                above[g][w] = _mm512_ternarylogic_epi64(above[g][w], few, ones[w], 0xf8); /* above | few & ones */
                tie[g][w] = _mm512_ternarylogic_epi64(ones[w], few, tie[g][w], 0x78);     /* ones ^ few & tie */
            }
            debt[g] = _mm512_max_epu64(debt[g], sum);
        }
        finish_row(finish, found, PLANES - 1 - b, words, d, k);
    }
    finish_row(finish, found, PLANES, words, d, k);
    UNROLL
    for (uint32_t g = 0; g < groups; g++) {
        __m512i sum = debt[g];
        UNROLL
        for (uint32_t w = 0; w < words; w++) {
            sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(tie[g][w]));
            _mm512_store_si512(word + (g * words + w) * ROWS, _mm512_or_si512(above[g][w], tie[g][w]));
        }
        uint32_t excess = _bzhi_u32(_mm512_test_epi64_mask(sum, sum), n - g * ROWS);
        if (excess) {
            uint64_t t[SKV_WORDS_MAX * ROWS], need[ROWS];
            UNROLL
            for (uint32_t w = 0; w < words; w++)
                _mm512_storeu_si512(t + w * ROWS, tie[g][w]);
            _mm512_storeu_si512(need, _mm512_sub_epi64(_mm512_setzero_si512(), debt[g]));
            break_ties(excess, words, t, need, word + g * words * ROWS);
        }
    }
}

/* bitmap[w * stride] is word w; how many survive is not needed here. */
INLINE void pack_row(int loose, const uint16_t *row, const uint64_t *bitmap, uint32_t stride, uint32_t d, uint32_t kept,
                     uint8_t *record)
{
    (void)kept;
    const uint32_t words = SKV_BITMAP_WORDS(d);
    uint8_t *out = record + words * SKV_WORD_BYTES;
    for (uint32_t w = 0; w < words; w++) {
        uint64_t word = bitmap[w * stride];
        memcpy(record + w * SKV_WORD_BYTES, &word, SKV_WORD_BYTES);
        UNROLL
        for (uint32_t c = 0; c < 2; c++) {
            uint32_t keep = (uint32_t)(word >> 32 * c), left = d - 64 * w;
            uint32_t count = (uint32_t)__builtin_popcount(keep);
            const uint16_t *p = row + 64 * w + 32 * c;
            __m512i v = left >= 64 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi16(keep, p);
            v = compress32(keep, v);
            if (loose)
                _mm512_storeu_si512(out, v);
            else
                _mm512_mask_storeu_epi16(out, _bzhi_u32(~0u, count), v);
            out += 2 * count;
        }
    }
}

#include "backends/cpu/kernels/compress_select.h"

/* One row of scores: the same walk in general registers. */
INLINE void select_scores_row(const uint32_t *score, uint32_t d, uint32_t k, uint64_t *bitmap)
{
    const uint32_t words = SKV_BITMAP_WORDS(d);
    const __m512i one = _mm512_set1_epi64((long long)0x8040201008040201);
    const __m512i columns = _mm512_load_si512(columns_index);
    const __m512i low = _mm512_load_si512(score_low_index), high = _mm512_load_si512(score_high_index);
    _Alignas(64) uint64_t plane[SKV_WORDS_MAX][32];
    uint64_t above[SKV_WORDS_MAX], tie[SKV_WORDS_MAX];
    uint32_t need = k;
    for (uint32_t w = 0; w < words; w++) {
        uint64_t valid = _bzhi_u64(~UINT64_C(0), d - 64 * w < 64 ? d - 64 * w : 64);
        __m512i v[4], byte[4];
        UNROLL
        for (uint32_t i = 0; i < 4; i++)
            v[i] = _mm512_maskz_loadu_epi32((__mmask16)(valid >> 16 * i), score + 64 * w + 16 * i);
        for (uint32_t i = 0; i < 2; i++) {
            __m512i a = _mm512_permutex2var_epi8(v[0], i ? high : low, v[1]);
            __m512i b = _mm512_permutex2var_epi8(v[2], i ? high : low, v[3]);
            byte[2 * i] = _mm512_inserti64x4(a, _mm512_castsi512_si256(b), 1);
            byte[2 * i + 1] = _mm512_shuffle_i64x2(a, b, 0xee);
        }
        UNROLL
        for (uint32_t i = 0; i < 4; i++) {
            __m512i bit = _mm512_gf2p8affine_epi64_epi8(one, byte[i], 0);
            _mm512_store_si512(plane[w] + 8 * i, _mm512_permutexvar_epi8(columns, bit));
        }
        above[w] = 0;
        tie[w] = valid;
    }
    for (uint32_t b = 32; b-- > 0;) {
        uint32_t count = 0;
        for (uint32_t w = 0; w < words; w++)
            count += (uint32_t)__builtin_popcountll(tie[w] & plane[w][b]);
        uint64_t few = count < need ? ~UINT64_C(0) : 0;
        need -= count & (uint32_t)few;
        for (uint32_t w = 0; w < words; w++) {
            uint64_t ones = tie[w] & plane[w][b];
            above[w] |= ones & few;
            tie[w] = ones ^ (tie[w] & few);
        }
    }
    for (uint32_t w = 0; w < words; w++)
        bitmap[w] = above[w] | lowest(tie[w], &need);
}

static void select_scores(const uint32_t *score, uint32_t d, uint32_t k, uint64_t *bitmap)
{
    if (d == 128)
        select_scores_row(score, 128, k, bitmap);
    else
        select_scores_row(score, d, k, bitmap);
}

static void pack(const uint16_t *row, const uint64_t *bitmap, uint32_t d, uint8_t *record)
{
    if (d == 128)
        pack_row(0, row, bitmap, 1, 128, 0, record);
    else
        pack_row(0, row, bitmap, 1, d, 0, record);
}

static void unpack(const uint8_t *record, uint32_t d, uint16_t *row)
{
    const uint8_t *value = record + SKV_BITMAP_BYTES(d);
    for (uint32_t c = 0; c < d; c += 32) {
        uint32_t keep, left = d - c;
        memcpy(&keep, record + c / 8, sizeof(keep));
        __m512i v = expand32(keep, _mm512_loadu_si512(value));
        if (left >= 32)
            _mm512_storeu_si512(row + c, v);
        else
            _mm512_mask_storeu_epi16(row + c, _bzhi_u32(~0u, left), v);
        value += 2 * __builtin_popcount(keep);
    }
}

void skv_cpu_compress_avx512vbmi2(struct skv_cpu_kernels *table)
{
    table->isa = "avx512vbmi2";
    table->compress_topk = compress_topk;
    table->select_topk = select_topk;
    table->select_scores = select_scores;
    table->pack = pack;
    table->unpack = unpack;
}
