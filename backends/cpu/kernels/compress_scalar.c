/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "backends/cpu/kernels/kernels.h"

/* Words and values are copied as they lie in memory, and the format is little-endian. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the CPU kernels need a little-endian host");

#define INLINE static inline __attribute__((always_inline))

/* The loops over channels below have no branch and one narrow accumulator, so that a compiler turns them into whatever
 * vectors the target has. Orders are kept as signed numbers: baseline x86 compares no others. */
INLINE uint32_t count_at_least(const int16_t *order, uint32_t d, int16_t bound)
{
    uint16_t n = 0;
    for (uint32_t i = 0; i < d; i++)
        n = (uint16_t)(n + (order[i] >= bound));
    return n;
}

INLINE uint32_t count_scores_at_least(const int32_t *order, uint32_t d, int32_t bound)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < d; i++)
        n += order[i] >= bound;
    return n;
}

/* above[i] and equal[i] are 0 or 1. Keeps all that are above, and of the equal ones the first few that make up k. */
INLINE void write_bitmap(const uint8_t *above, const uint8_t *equal, uint32_t d, uint32_t k, uint64_t *bitmap)
{
    uint32_t n_above = 0;
    for (uint32_t i = 0; i < d; i++)
        n_above += above[i];
    uint32_t need = k - n_above;
    for (uint32_t w = 0; w * 64 < d; w++) {
        uint32_t n = d - w * 64 < 64 ? d - w * 64 : 64;
        uint64_t word = 0;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t tie = equal[w * 64 + i] & (need > 0);
            word |= (uint64_t)(above[w * 64 + i] | tie) << i;
            need -= tie;
        }
        bitmap[w] = word;
    }
}

INLINE void select_row(const uint16_t *row, uint32_t d, uint32_t k, uint64_t *bitmap)
{
    int16_t order[SKV_HEAD_DIM_MAX];
    uint8_t above[SKV_HEAD_DIM_MAX], equal[SKV_HEAD_DIM_MAX];
    for (uint32_t i = 0; i < d; i++)
        order[i] = (int16_t)(row[i] & SKV_MAGNITUDE_BITS);
    /* The largest bound that at least k values reach, bit by bit. */
    int16_t bound = 0;
    for (int bit = 14; bit >= 0; bit--) {
        int16_t next = (int16_t)(bound | 1 << bit);
        bound = count_at_least(order, d, next) >= k ? next : bound;
    }
    for (uint32_t i = 0; i < d; i++) {
        above[i] = order[i] > bound;
        equal[i] = order[i] == bound;
    }
    write_bitmap(above, equal, d, k, bitmap);
}

INLINE void pack_row(const uint16_t *row, const uint64_t *bitmap, uint32_t d, uint8_t *record)
{
    /* Every value is written where the next kept one belongs, so one more than d may be touched. */
    uint16_t kept[SKV_HEAD_DIM_MAX + 1];
    uint32_t n = 0;
    for (uint32_t i = 0; i < d; i++) {
        kept[n] = row[i];
        n += bitmap[i / 64] >> i % 64 & 1;
    }
    memcpy(record, bitmap, SKV_BITMAP_BYTES(d));
    memcpy(record + SKV_BITMAP_BYTES(d), kept, 2 * n);
}

static void select_topk(const uint16_t *const *row, uint32_t n, uint32_t d, uint32_t k, uint64_t *bitmap)
{
    for (uint32_t r = 0; r < n; r++) {
        uint64_t *out = bitmap + r * SKV_BITMAP_WORDS(d);
        if (d == 128)
            select_row(row[r], 128, k, out);
        else
            select_row(row[r], d, k, out);
    }
}

static void pack(const uint16_t *row, const uint64_t *bitmap, uint32_t d, uint8_t *record)
{
    if (d == 128)
        pack_row(row, bitmap, 128, record);
    else
        pack_row(row, bitmap, d, record);
}

static void compress_topk(const uint16_t *const *row, uint32_t n, uint32_t n_ahead, uint32_t d, uint32_t k,
                          uint8_t *const *record, bool stream)
{
    (void)n_ahead;
    (void)stream;
    uint64_t bitmap[SKV_WORDS_MAX];
    for (uint32_t r = 0; r < n; r++) {
        select_topk(row + r, 1, d, k, bitmap);
        pack(row[r], bitmap, d, record[r]);
    }
}

static void select_scores(const uint32_t *score, uint32_t d, uint32_t k, uint64_t *bitmap)
{
    int32_t order[SKV_HEAD_DIM_MAX];
    uint8_t above[SKV_HEAD_DIM_MAX], equal[SKV_HEAD_DIM_MAX];
    for (uint32_t i = 0; i < d; i++)
        order[i] = (int32_t)((int64_t)score[i] - 0x80000000);
    int32_t bound = INT32_MIN;
    for (int bit = 31; bit >= 0; bit--) {
        int32_t next = (int32_t)(bound + (INT64_C(1) << bit));
        bound = count_scores_at_least(order, d, next) >= k ? next : bound;
    }
    for (uint32_t i = 0; i < d; i++) {
        above[i] = order[i] > bound;
        equal[i] = order[i] == bound;
    }
    write_bitmap(above, equal, d, k, bitmap);
}

static void unpack(const uint8_t *record, uint32_t d, uint16_t *row)
{
    const uint8_t *value = record + SKV_BITMAP_BYTES(d);
    memset(row, 0, 2 * d);
    for (uint32_t w = 0; w * 64 < d; w++) {
        uint64_t word;
        memcpy(&word, record + w * SKV_WORD_BYTES, sizeof(word));
        /* A damaged bitmap may have bits for channels that do not exist. */
        if (d - w * 64 < 64)
            word &= (1ull << (d - w * 64)) - 1;
        for (; word; word &= word - 1) {
            memcpy(row + w * 64 + __builtin_ctzll(word), value, 2);
            value += 2;
        }
    }
}

void skv_cpu_compress_scalar(struct skv_cpu_kernels *table)
{
    table->isa = "scalar";
    table->compress_topk = compress_topk;
    table->select_topk = select_topk;
    table->select_scores = select_scores;
    table->pack = pack;
    table->unpack = unpack;
}
