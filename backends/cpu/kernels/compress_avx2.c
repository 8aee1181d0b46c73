/* SPDX-License-Identifier: Apache-2.0
 *
 * Selection by bit planes, four rows at a time. A plane holds one bit of each value of a row, a 64-bit word of it per
 * 64 channels, and the same word of four rows makes one vector. Finding the k largest is then a walk down the planes
 * with AND and population count in vector lanes. The planes come from vpmovmskb, and none of them waits for the walk: a
 * search by compare and vpmovmskb has the latency of both, and of the way back into a vector, in every step.
 */
#define ROWS 4
#define PLANES_BY_MOVEMASK

#include "backends/cpu/kernels/compress_planes.h"
#include "backends/cpu/kernels/compress_shuffle.h"

/* Population counts of the bytes of v, no more than 8 each. */
INLINE __m256i count_bytes(__m256i v)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i count = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, /**/ //
                                           0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    __m256i low = _mm256_shuffle_epi8(count, _mm256_and_si256(v, nibble));
    __m256i high = _mm256_shuffle_epi8(count, _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble));
    return _mm256_add_epi8(low, high);
}

/* plane: [groups][PLANES][words][ROWS]; word: [groups][words][ROWS], the bitmaps of n rows. groups and words must be
 * constants: the state is to stay in registers. Each step waits for the last, so two groups go together where they fit.
 */
INLINE void search(enum finish finish, const uint64_t *plane, uint32_t n, uint32_t groups, uint32_t words, uint32_t d,
                   uint32_t k, uint64_t *word, const struct found *found)
{
    const __m256i zero = _mm256_setzero_si256();
    /* tie: channels that match the k-th largest in all planes so far; above: those already known larger. */
    __m256i above[2][SKV_WORDS_MAX], tie[2][SKV_WORDS_MAX];
    /* Minus what the ties must still give, which is >= 1 throughout: so as unsigned it is larger than any count. */
    __m256i debt[2];
    UNROLL
    for (uint32_t g = 0; g < groups; g++) {
        debt[g] = _mm256_set1_epi64x(-(long long)k);
        UNROLL
        for (uint32_t w = 0; w < words; w++) {
            uint32_t left = d - 64 * w;
            above[g][w] = zero;
            tie[g][w] = _mm256_set1_epi64x((long long)_bzhi_u64(~UINT64_C(0), left < 64 ? left : 64));
        }
    }
    for (uint32_t b = PLANES; b-- > 0;) {
        UNROLL
        for (uint32_t g = 0; g < groups; g++) {
            __m256i ones[SKV_WORDS_MAX], count = zero;
            UNROLL
            for (uint32_t w = 0; w < words; w++) {
                const uint64_t *p = plane + ((g * PLANES + b) * words + w) * ROWS;
                ones[w] = _mm256_and_si256(tie[g][w], _mm256_load_si256((const __m256i *)p));
                count = w ? _mm256_add_epi8(count, count_bytes(ones[w])) : count_bytes(ones[w]);
            }
            __m256i sum = _mm256_add_epi64(debt[g], _mm256_sad_epu8(count, zero));
            /* All bits set where the ones are too few: they are above, and the zeros go on. Else the ones go on. */
            __m256i few = _mm256_cmpgt_epi64(zero, sum);
            UNROLL
            for (uint32_t w = 0; w < words; w++) {
                above[g][w] = _mm256_or_si256(above[g][w], _mm256_and_si256(few, ones[w]));
                tie[g][w] = _mm256_xor_si256(ones[w], _mm256_and_si256(few, tie[g][w]));
            }
            /* The larger as unsigned 64-bit numbers: both halves of the larger are larger here. */
            debt[g] = _mm256_max_epu32(debt[g], sum);
        }
        finish_row(finish, found, PLANES - 1 - b, words, d, k);
    }
    finish_row(finish, found, PLANES, words, d, k);
    UNROLL
    for (uint32_t g = 0; g < groups; g++) {
        _Alignas(32) uint64_t t[SKV_WORDS_MAX * ROWS], need[ROWS];
        __m256i count = zero;
        UNROLL
        for (uint32_t w = 0; w < words; w++) {
            count = _mm256_add_epi8(count, count_bytes(tie[g][w]));
            _mm256_store_si256((__m256i *)(word + (g * words + w) * ROWS), _mm256_or_si256(above[g][w], tie[g][w]));
        }
        __m256i exact = _mm256_cmpeq_epi64(_mm256_sad_epu8(count, zero), _mm256_sub_epi64(zero, debt[g]));
        uint32_t excess = _bzhi_u32(~(uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(exact)), n - g * ROWS) & 15;
        if (excess) {
            UNROLL
            for (uint32_t w = 0; w < words; w++)
                _mm256_store_si256((__m256i *)(t + w * ROWS), tie[g][w]);
            _mm256_store_si256((__m256i *)need, _mm256_sub_epi64(zero, debt[g]));
            break_ties(excess, words, t, need, word + g * words * ROWS);
        }
    }
}

/* bitmap[w * stride] is word w, and kept counts its bits. From the last channels to the first, each group of eight
 * ending where the one before begins, so what a store writes too much lies before and is overwritten; the bitmap comes
 * last. */
INLINE void pack_row(int loose, const uint16_t *row, const uint64_t *bitmap, uint32_t stride, uint32_t d, uint32_t kept,
                     uint8_t *record)
{
    (void)loose;
    const uint32_t words = SKV_BITMAP_WORDS(d);
    uint32_t end = words * SKV_WORD_BYTES + 2 * kept;
    for (uint32_t w = words; w-- > 0;) {
        uint64_t word = bitmap[w * stride];
        for (uint32_t c = d - 64 * w < 64 ? (d - 64 * w) / 8 : 8; c-- > 0;) {
            uint32_t byte = word >> 8 * c & 255;
            __m128i v = _mm_loadu_si128((const __m128i *)(row + 64 * w + 8 * c));
            v = _mm_shuffle_epi8(v, _mm_load_si128((const __m128i *)pack_shuffle[byte]));
            if (words > 1) {
                _mm_storeu_si128((__m128i *)(record + end - 16), v);
            } else {
                /* Here the bitmap is too short to take the excess: a low half that would begin before the record holds
                 * no value, or begins at it. */
                uint64_t low = (uint64_t)_mm_cvtsi128_si64(v), high = (uint64_t)_mm_extract_epi64(v, 1);
                memcpy(record + (end > 16 ? end - 16 : 0), &low, 8);
                memcpy(record + end - 8, &high, 8);
            }
            end -= 2 * (uint32_t)__builtin_popcount(byte);
        }
    }
    for (uint32_t w = 0; w < words; w++)
        memcpy(record + w * SKV_WORD_BYTES, bitmap + w * stride, SKV_WORD_BYTES);
}

#include "backends/cpu/kernels/compress_select.h"

/* One row of scores: the same walk in general registers. */
static void select_scores(const uint32_t *score, uint32_t d, uint32_t k, uint64_t *bitmap)
{
    const uint32_t words = SKV_BITMAP_WORDS(d);
    const __m256i by_byte = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, /**/ //
                                             0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    uint64_t plane[32][SKV_WORDS_MAX], tie[SKV_WORDS_MAX];
    for (uint32_t c = 0; c < 2 * words; c++) {
        const uint32_t *p = score + 32 * c;
        uint32_t padded[32];
        if (32 * (c + 1) > d) {
            uint32_t left = 32 * c < d ? d - 32 * c : 0;
            memset(padded, 0, sizeof(padded));
            memcpy(padded, p - (left ? 0 : 32), 4 * left);
            p = padded;
        }
        __m256i v[4], pair[4];
        UNROLL
        for (uint32_t i = 0; i < 4; i++) {
            v[i] = _mm256_loadu2_m128i((const __m128i *)(p + 16 + 4 * i), (const __m128i *)(p + 4 * i));
            v[i] = _mm256_shuffle_epi8(v[i], by_byte);
        }
        UNROLL
        for (uint32_t i = 0; i < 2; i++) {
            pair[i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
            pair[2 + i] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
        }
        UNROLL
        for (uint32_t i = 0; i < 4; i++) {
            __m256i byte = i % 2 ? _mm256_unpackhi_epi64(pair[i / 2 * 2], pair[i / 2 * 2 + 1])
                                 : _mm256_unpacklo_epi64(pair[i / 2 * 2], pair[i / 2 * 2 + 1]);
            UNROLL
            for (uint32_t b = 0; b < 8; b++) {
                int mask = _mm256_movemask_epi8(byte);
                memcpy((uint8_t *)(plane[8 * i + 7 - b] + c / 2) + c % 2 * 4, &mask, 4);
                byte = _mm256_add_epi8(byte, byte);
            }
        }
    }
    for (uint32_t w = 0; w < words; w++) {
        tie[w] = _bzhi_u64(~UINT64_C(0), d - 64 * w < 64 ? d - 64 * w : 64);
        bitmap[w] = 0;
    }
    uint32_t need = k;
    for (uint32_t b = 32; b-- > 0;) {
        uint32_t count = 0;
        for (uint32_t w = 0; w < words; w++)
            count += (uint32_t)__builtin_popcountll(tie[w] & plane[b][w]);
        uint64_t few = count < need ? ~UINT64_C(0) : 0;
        need -= count & (uint32_t)few;
        for (uint32_t w = 0; w < words; w++) {
            uint64_t ones = tie[w] & plane[b][w];
            bitmap[w] |= ones & few;
            tie[w] = ones ^ (tie[w] & few);
        }
    }
    for (uint32_t w = 0; w < words; w++)
        bitmap[w] |= lowest(tie[w], &need);
}

static void pack(const uint16_t *row, const uint64_t *bitmap, uint32_t d, uint8_t *record)
{
    uint32_t kept = 0;
    for (uint32_t w = 0; w < SKV_BITMAP_WORDS(d); w++)
        kept += (uint32_t)__builtin_popcountll(bitmap[w]);
    if (d == 128)
        pack_row(0, row, bitmap, 1, 128, kept, record);
    else
        pack_row(0, row, bitmap, 1, d, kept, record);
}

static void unpack(const uint8_t *record, uint32_t d, uint16_t *row)
{
    const uint8_t *value = record + SKV_BITMAP_BYTES(d);
    for (uint32_t c = 0; c < d; c += 8) {
        __m128i v = _mm_loadu_si128((const __m128i *)value);
        v = _mm_shuffle_epi8(v, _mm_load_si128((const __m128i *)unpack_shuffle[record[c / 8]]));
        _mm_storeu_si128((__m128i *)(row + c), v);
        value += 2 * __builtin_popcount(record[c / 8]);
    }
}

void skv_cpu_compress_avx2(struct skv_cpu_kernels *table)
{
    table->isa = "avx2";
    table->compress_topk = compress_topk;
    table->select_topk = select_topk;
    table->select_scores = select_scores;
    table->pack = pack;
    table->unpack = unpack;
}
