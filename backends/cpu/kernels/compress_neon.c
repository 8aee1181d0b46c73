/* SPDX-License-Identifier: Apache-2.0
 *
 * Selection by counting bytes: eight steps on the high bits of each value, then seven on the low bits of those that
 * match.
 */
#include <arm_neon.h>
#include <string.h>

#include "backends/cpu/kernels/compress_shuffle.h"
#include "backends/cpu/kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline))
#define PARTS_MAX (SKV_HEAD_DIM_MAX / 16)

/* Each byte counts at most PARTS_MAX. */
INLINE uint32_t count_at_least(const uint8x16_t *v, uint32_t parts, uint32_t bound)
{
    const uint8x16_t b = vdupq_n_u8((uint8_t)bound);
    uint8x16_t n = vdupq_n_u8(0);
    for (uint32_t i = 0; i < parts; i++)
        n = vsubq_u8(n, vcgeq_u8(v[i], b));
    return vaddlvq_u8(n);
}

/* The low bit of each of 64 bytes that are 0 or all ones. */
INLINE uint64_t gather_bits(const uint8x16_t v[4])
{
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    uint8x16_t low = vpaddq_u8(vandq_u8(v[0], bit), vandq_u8(v[1], bit));
    uint8x16_t high = vpaddq_u8(vandq_u8(v[2], bit), vandq_u8(v[3], bit));
    low = vpaddq_u8(low, high);
    low = vpaddq_u8(low, low);
    return vgetq_lane_u64(vreinterpretq_u64_u8(low), 0);
}

/* The lowest *left channels of a tie word; *left becomes what later words must give. */
static uint64_t lowest(uint64_t tie, uint32_t *left)
{
    uint64_t rest = tie;
    for (; *left && rest; --*left)
        rest &= rest - 1;
    return tie ^ rest;
}

INLINE void select_row(const uint16_t *row, uint32_t d, uint32_t k, uint64_t *bitmap)
{
    const uint32_t words = SKV_BITMAP_WORDS(d), parts = 4 * words;
    uint8x16_t high[PARTS_MAX], low[PARTS_MAX];
    for (uint32_t i = 0; i < parts; i++) {
        uint32_t left = 16 * i < d ? d - 16 * i : 0;
        uint16x8_t a = left > 0 ? vld1q_u16(row + 16 * i) : vdupq_n_u16(0);
        uint16x8_t b = left > 8 ? vld1q_u16(row + 16 * i + 8) : vdupq_n_u16(0);
        a = vandq_u16(a, vdupq_n_u16(SKV_MAGNITUDE_BITS));
        b = vandq_u16(b, vdupq_n_u16(SKV_MAGNITUDE_BITS));
        high[i] = vshrn_high_n_u16(vshrn_n_u16(a, 7), b, 7);
        low[i] = vorrq_u8(vmovn_high_u16(vmovn_u16(a), b), vdupq_n_u8(0x80));
    }
    /* The largest bound that at least k values reach, bit by bit. Bounds tried are above 0, so padding does not count.
     */
    uint32_t bound = 0;
    for (uint32_t bit = 0x80; bit; bit >>= 1)
        bound = count_at_least(high, parts, bound | bit) >= k ? bound | bit : bound;
    uint32_t need = k - (bound < 0xff ? count_at_least(high, parts, bound + 1) : 0);
    /* Then among those that match it: all others become 0, and bit 7 tells these from 0. */
    for (uint32_t i = 0; i < parts; i++)
        low[i] = vandq_u8(low[i], vceqq_u8(high[i], vdupq_n_u8((uint8_t)bound)));
    uint32_t low_bound = 0x80;
    for (uint32_t bit = 0x40; bit; bit >>= 1)
        low_bound = count_at_least(low, parts, low_bound | bit) >= need ? low_bound | bit : low_bound;
    need -= low_bound < 0xff ? count_at_least(low, parts, low_bound + 1) : 0;
    for (uint32_t w = 0; w < words; w++) {
        uint8x16_t above[4], tie[4];
        for (uint32_t i = 0; i < 4; i++) {
            above[i] = vorrq_u8(vcgtq_u8(high[4 * w + i], vdupq_n_u8((uint8_t)bound)),
                                vcgtq_u8(low[4 * w + i], vdupq_n_u8((uint8_t)low_bound)));
            tie[i] = vceqq_u8(low[4 * w + i], vdupq_n_u8((uint8_t)low_bound));
        }
        uint64_t ties = gather_bits(tie);
        if (d - 64 * w < 64)
            ties &= (UINT64_C(1) << (d - 64 * w)) - 1;
        bitmap[w] = gather_bits(above) | lowest(ties, &need);
    }
}

/* kept counts the bitmap's bits. From the last channels to the first, each group of eight ending where the one before
 * begins, so what a store writes too much lies before and is overwritten; the bitmap comes last. */
INLINE void pack_row(const uint16_t *row, const uint64_t *bitmap, uint32_t d, uint32_t kept, uint8_t *record)
{
    const uint32_t words = SKV_BITMAP_WORDS(d);
    uint32_t end = words * SKV_WORD_BYTES + 2 * kept;
    for (uint32_t w = words; w-- > 0;) {
        uint64_t word = bitmap[w], counts = vget_lane_u64(vreinterpret_u64_u8(vcnt_u8(vcreate_u8(word))), 0);
        for (uint32_t c = d - 64 * w < 64 ? (d - 64 * w) / 8 : 8; c-- > 0;) {
            uint8x16_t v = vreinterpretq_u8_u16(vld1q_u16(row + 64 * w + 8 * c));
            v = vqtbl1q_u8(v, vreinterpretq_u8_u64(vld1q_u64(pack_shuffle[word >> 8 * c & 255])));
            if (words > 1) {
                vst1q_u8(record + end - 16, v);
            } else {
                /* Here the bitmap is too short to take the excess: a low half that would begin before the record holds
                 * no value, or begins at it. */
                vst1_u8(record + (end > 16 ? end - 16 : 0), vget_low_u8(v));
                vst1_u8(record + end - 8, vget_high_u8(v));
            }
            end -= 2 * (uint32_t)(counts >> 8 * c & 255);
        }
    }
    memcpy(record, bitmap, words * SKV_WORD_BYTES);
}

static void compress_topk(const uint16_t *const *row, uint32_t n, uint32_t n_ahead, uint32_t d, uint32_t k,
                          uint8_t *const *record, bool stream)
{
    (void)n_ahead;
    (void)stream;
    uint64_t bitmap[SKV_WORDS_MAX];
    for (uint32_t r = 0; r < n; r++) {
        if (d == 128) {
            select_row(row[r], 128, k, bitmap);
            pack_row(row[r], bitmap, 128, k, record[r]);
        } else if (d == 64) {
            select_row(row[r], 64, k, bitmap);
            pack_row(row[r], bitmap, 64, k, record[r]);
        } else {
            select_row(row[r], d, k, bitmap);
            pack_row(row[r], bitmap, d, k, record[r]);
        }
    }
}

static void select_topk(const uint16_t *const *row, uint32_t n, uint32_t d, uint32_t k, uint64_t *bitmap)
{
    for (uint32_t r = 0; r < n; r++, bitmap += SKV_BITMAP_WORDS(d)) {
        if (d == 128)
            select_row(row[r], 128, k, bitmap);
        else
            select_row(row[r], d, k, bitmap);
    }
}

static void pack(const uint16_t *row, const uint64_t *bitmap, uint32_t d, uint8_t *record)
{
    uint32_t kept = 0;
    for (uint32_t w = 0; w < SKV_BITMAP_WORDS(d); w++)
        kept += (uint32_t)__builtin_popcountll(bitmap[w]);
    pack_row(row, bitmap, d, kept, record);
}

static void unpack(const uint8_t *record, uint32_t d, uint16_t *row)
{
    const uint8_t *value = record + SKV_BITMAP_BYTES(d);
    for (uint32_t c = 0; c < d; c += 64) {
        uint64_t word;
        memcpy(&word, record + c / 8, sizeof(word));
        uint64_t counts = vget_lane_u64(vreinterpret_u64_u8(vcnt_u8(vcreate_u8(word))), 0);
        for (uint32_t i = c; i < d && i < c + 64; i += 8) {
            uint8x16_t v = vqtbl1q_u8(vld1q_u8(value), vreinterpretq_u8_u64(vld1q_u64(unpack_shuffle[word & 255])));
            vst1q_u16(row + i, vreinterpretq_u16_u8(v));
            value += 2 * (counts & 255);
            word >>= 8;
            counts >>= 8;
        }
    }
}

/* The scalar select_scores stays: AArch64 compilers turn its loops into the same NEON. */
void skv_cpu_compress_neon(struct skv_cpu_kernels *table)
{
    table->isa = "neon";
    table->compress_topk = compress_topk;
    table->select_topk = select_topk;
    table->pack = pack;
    table->unpack = unpack;
}
