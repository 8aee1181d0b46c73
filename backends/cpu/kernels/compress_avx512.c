/* SPDX-License-Identifier: Apache-2.0
 *
 * Selection by bit planes, eight rows at a time, as compress_avx2.c has it for four. The planes come from vpmovmskb
 * here too: vpmovb2m needs a kmovq on top and is no faster. Packing goes through 32-bit lanes.
 */
#define ROWS 8
#define PLANES_BY_MOVEMASK

#include "backends/cpu/kernels/compress_planes.h"

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
INLINE void search(enum finish finish, const uint64_t *plane, uint32_t n, uint32_t groups, uint32_t words, uint32_t d,
                   uint32_t k, uint64_t *word, const struct found *found)
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
        finish_row(finish, found, PLANES - 1 - b, words, d, k);
    }
    finish_row(finish, found, PLANES, words, d, k);
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

/* bitmap[w * stride] is word w; how many survive is not needed here. */
INLINE void pack_row(int loose, const uint16_t *row, const uint64_t *bitmap, uint32_t stride, uint32_t d, uint32_t kept,
                     uint8_t *record)
{
    (void)loose;
    (void)kept;
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

#include "backends/cpu/kernels/compress_select.h"

static void pack(const uint16_t *row, const uint64_t *bitmap, uint32_t d, uint8_t *record)
{
    if (d == 128)
        pack_row(0, row, bitmap, 1, 128, 0, record);
    else
        pack_row(0, row, bitmap, 1, d, 0, record);
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
