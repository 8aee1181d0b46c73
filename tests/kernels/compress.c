/* SPDX-License-Identifier: Apache-2.0
 *
 * Selection, packing and unpacking: the results are bytes, and must be the oracle's.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/kernels_test.h"
#include "tests/kernels/oracle.h"

static struct kt_rows in, out;
static struct kt_pen bitmap_pen, score_pen;
static uint16_t value[KT_ROWS][SKV_HEAD_DIM_MAX];

static void open_once(void)
{
    if (in.pool.begin)
        return;
    kt_rows_open(&in);
    kt_rows_open(&out);
    bitmap_pen = kt_pen_open(KT_ROWS * SKV_WORDS_MAX * sizeof(uint64_t));
    score_pen = kt_pen_open(SKV_HEAD_DIM_MAX * sizeof(uint32_t));
}

static int same(const void *got, const void *want, size_t bytes, const char *name, uint32_t row)
{
    const uint8_t *a = got, *b = want;
    for (size_t i = 0; i < bytes; i++)
        if (a[i] != b[i])
            return kt_fail("%s %u, byte %zu of %zu: 0x%02x, should be 0x%02x", name, row, i, bytes, a[i], b[i]);
    return 1;
}

static uint64_t *place_bitmaps(uint32_t n, uint32_t d, uint8_t fill)
{
    return (uint64_t *)(void *)kt_pen_place(bitmap_pen, n * SKV_BITMAP_BYTES(d), sizeof(uint64_t), 0, 0, fill);
}

static int bitmaps_intact(const uint64_t *bitmap, uint32_t n, uint32_t d, uint8_t fill)
{
    return kt_pen_intact(bitmap_pen, (const uint8_t *)bitmap, n * SKV_BITMAP_BYTES(d), fill, "bitmap");
}

/* n dense rows of kinds that follow one another from first on. */
static void place_dense(struct kt_rng *rng, uint32_t n, uint32_t d, uint32_t first)
{
    kt_rows_place(&in, rng, (enum kt_place)kt_below(rng, KT_PLACE_COUNT), n, 2 * (size_t)d, 2, 0, KT_POISON);
    for (uint32_t i = 0; i < n; i++) {
        kt_row(rng, (enum kt_kind)((first + i) % KT_KIND_COUNT), (int)kt_below(rng, 2), d, value[i]);
        memcpy(in.at[i], value[i], 2 * (size_t)d);
    }
}

static int dense_unchanged(uint32_t n, uint32_t d)
{
    for (uint32_t i = 0; i < n; i++)
        if (!same(in.at[i], value[i], 2 * (size_t)d, "input row", i))
            return 0;
    return kt_rows_intact(&in, "input row");
}

static int test_select_topk(const struct skv_cpu_kernels *table, struct kt_rng *rng, uint32_t d, uint32_t k, uint32_t n,
                            uint32_t first)
{
    uint64_t want[SKV_WORDS_MAX], *bitmap = place_bitmaps(n, d, KT_CANARY);
    place_dense(rng, n, d, first);
    table->select_topk(kt_rows_list16(&in), n, d, k, bitmap);
    for (uint32_t i = 0; i < n; i++) {
        kt_oracle_topk(value[i], d, k, want);
        if (!same(bitmap + i * SKV_BITMAP_WORDS(d), want, SKV_BITMAP_BYTES(d), "bitmap", i))
            return 0;
    }
    return bitmaps_intact(bitmap, n, d, KT_CANARY) && dense_unchanged(n, d);
}

static int test_compress_topk(const struct skv_cpu_kernels *table, struct kt_rng *rng, uint32_t d, uint32_t k,
                              uint32_t n, uint32_t first)
{
    uint8_t want[KT_ROW_BYTES];
    uint64_t bitmap[SKV_WORDS_MAX];
    size_t bytes = SKV_RECORD_BYTES(d, k);
    /* Some of the rows are only to be asked for. */
    uint32_t n_ahead = kt_below(rng, n);
    place_dense(rng, n, d, first);
    n -= n_ahead;
    kt_rows_place(&out, rng, (enum kt_place)kt_below(rng, KT_PLACE_COUNT), n, bytes, 8, 0, KT_CANARY);
    bool contiguous = true;
    for (uint32_t i = 1; i < n; i++)
        contiguous &= out.at[i] == out.at[i - 1] + bytes;
    table->compress_topk(kt_rows_list16(&in), n, n_ahead, d, k, kt_rows_list(&out), contiguous && kt_below(rng, 2));
    for (uint32_t i = 0; i < n; i++) {
        kt_oracle_topk(value[i], d, k, bitmap);
        kt_oracle_pack(value[i], bitmap, d, want);
        if (!same(out.at[i], want, bytes, "record", i))
            return 0;
    }
    return kt_rows_intact(&out, "record") && dense_unchanged(n + n_ahead, d);
}

static int test_select_scores(const struct skv_cpu_kernels *table, struct kt_rng *rng, uint32_t d, uint32_t k,
                              uint32_t n, uint32_t first)
{
    static const uint32_t edge[8] = {0,           1,          0x7fffffff,    0x80000000,
                                     0x80000001u, 0xfffffffd, SKV_SCORE_INF, SKV_SCORE_NAN};
    (void)n;
    uint64_t want[SKV_WORDS_MAX], *bitmap = place_bitmaps(1, d, KT_CANARY);
    uint32_t *score =
        (uint32_t *)(void *)kt_pen_place(score_pen, d * sizeof *score, 4, 4 * kt_below(rng, 3), 0, KT_POISON);
    uint32_t base = edge[kt_below(rng, 8)];
    for (uint32_t c = 0; c < d; c++) {
        const uint32_t kinds[] = {(uint32_t)kt_random(rng), 0x21800000u + kt_below(rng, 0x3c000000u),
                                  edge[kt_below(rng, 8)], base, base - 1 + kt_below(rng, 3)};
        score[c] = kinds[first % 5];
    }
    kt_oracle_select(score, d, k, want);
    table->select_scores(score, d, k, bitmap);
    return same(bitmap, want, SKV_BITMAP_BYTES(d), "bitmap", 0) && bitmaps_intact(bitmap, 1, d, KT_CANARY);
}

/* k random channels; or no, all or random channels of each word. Returns the number. */
static uint32_t draw_bitmap(struct kt_rng *rng, uint32_t d, uint32_t k, int by_words, uint64_t *bitmap)
{
    uint32_t count = 0, word_kind = 0;
    memset(bitmap, 0, SKV_BITMAP_BYTES(d));
    for (uint32_t c = 0; c < d; c++) {
        if (c % 64 == 0)
            word_kind = kt_below(rng, 3);
        int kept = by_words ? word_kind == 1 || (word_kind == 2 && kt_below(rng, 2)) : kt_below(rng, d - c) < k - count;
        bitmap[c / 64] |= (uint64_t)kept << c % 64;
        count += (uint32_t)kept;
    }
    return count;
}

static int test_pack(const struct skv_cpu_kernels *table, struct kt_rng *rng, uint32_t d, uint32_t k, uint32_t n,
                     uint32_t first)
{
    (void)n;
    uint8_t want[KT_ROW_BYTES];
    uint64_t kept[SKV_WORDS_MAX], *bitmap = place_bitmaps(1, d, KT_POISON);
    size_t bytes = SKV_RECORD_BYTES(d, draw_bitmap(rng, d, k, (int)kt_below(rng, 2), kept));
    memcpy(bitmap, kept, SKV_BITMAP_BYTES(d));
    place_dense(rng, 1, d, first);
    kt_rows_place(&out, rng, (enum kt_place)kt_below(rng, KT_PLACE_COUNT), 1, bytes, 8, 0, KT_CANARY);
    table->pack(kt_rows_list16(&in)[0], bitmap, d, out.at[0]);
    kt_oracle_pack(value[0], kept, d, want);
    return same(out.at[0], want, bytes, "record", 0) && kt_rows_intact(&out, "record") && dense_unchanged(1, d) &&
           same(bitmap, kept, SKV_BITMAP_BYTES(d), "bitmap", 0);
}

static int unpack_case(const struct skv_cpu_kernels *table, struct kt_rng *rng, uint32_t d, uint32_t k, int damaged,
                       uint32_t first)
{
    uint8_t record[KT_ROW_BYTES];
    uint16_t row[SKV_HEAD_DIM_MAX];
    uint64_t kept[SKV_WORDS_MAX];
    size_t bytes = SKV_RECORD_BYTES(d, draw_bitmap(rng, d, k, (int)kt_below(rng, 2), kept)), slack = SKV_READ_SLACK;
    kt_row(rng, (enum kt_kind)(first % KT_KIND_COUNT), (int)kt_below(rng, 2), d, row);
    kt_oracle_pack(row, kept, d, record);
    for (uint32_t c = 0; c < d; c++)
        row[c] = kept[c / 64] >> c % 64 & 1 ? row[c] : 0;
    if (damaged && d % 64) {
        /* A damaged bitmap claims channels past d. Their values may be read; none may reach the row or what is behind.
         */
        uint64_t last = kept[d / 64] | kt_random(rng) << d % 64;
        memcpy(record + d / 64 * sizeof last, &last, sizeof last);
        slack += 2 * SKV_WORD_CHANNELS;
    }
    kt_rows_place(&in, rng, (enum kt_place)kt_below(rng, KT_PLACE_COUNT), 1, bytes, 8, slack, KT_POISON);
    memcpy(in.at[0], record, bytes);
    kt_rows_place(&out, rng, (enum kt_place)kt_below(rng, KT_PLACE_COUNT), 1, 2 * (size_t)d, 2, 0, KT_CANARY);
    table->unpack(in.at[0], d, (uint16_t *)(void *)out.at[0]);
    return same(out.at[0], row, 2 * (size_t)d, "row", 0) && kt_rows_intact(&out, "row") &&
           same(in.at[0], record, bytes, "record", 0) && kt_rows_intact(&in, "record");
}

static int test_unpack(const struct skv_cpu_kernels *table, struct kt_rng *rng, uint32_t d, uint32_t k, uint32_t n,
                       uint32_t first)
{
    (void)n;
    return unpack_case(table, rng, d, k, 0, first);
}

static int test_unpack_damaged(const struct skv_cpu_kernels *table, struct kt_rng *rng, uint32_t d, uint32_t k,
                               uint32_t n, uint32_t first)
{
    (void)n;
    return unpack_case(table, rng, d, k, 1, first);
}

/* One entry over all shapes. Each shape meets every kind of row: the kinds follow one another over rows and variants.
 */
static int sweep(const struct skv_cpu_kernels *table, const char *level, const char *entry, int many,
                 int (*test)(const struct skv_cpu_kernels *, struct kt_rng *, uint32_t, uint32_t, uint32_t, uint32_t))
{
    for (uint32_t i_d = 0; i_d < KT_D_COUNT; i_d++) {
        uint32_t d = kt_d[i_d], kept[6], n_kept = kt_kept(d, kept);
        for (uint32_t i_k = 0; i_k < n_kept; i_k++)
            for (uint32_t i_n = 0; i_n < (many ? KT_N_COUNT : 1); i_n++) {
                uint32_t n = kt_n[i_n], n_variants = many ? 1 + KT_KIND_COUNT / n : 5 * KT_KIND_COUNT;
                for (uint32_t variant = 0; variant < n_variants; variant++) {
                    struct kt_rng rng = kt_begin(level, entry, d, kept[i_k], n, 0, variant);
                    if (!test(table, &rng, d, kept[i_k], n, variant * n))
                        return 0;
                }
            }
    }
    return 1;
}

unsigned kt_test_compress(const char *level, const struct skv_cpu_kernels *table, const struct skv_cpu_kernels *below)
{
    unsigned n_failed = 0;
    open_once();
    if (kt_take(level, "compress.select_topk", !below || table->select_topk != below->select_topk))
        n_failed += !sweep(table, level, "compress.select_topk", 1, test_select_topk);
    if (kt_take(level, "compress.compress_topk", !below || table->compress_topk != below->compress_topk))
        n_failed += !sweep(table, level, "compress.compress_topk", 1, test_compress_topk);
    if (kt_take(level, "compress.select_scores", !below || table->select_scores != below->select_scores))
        n_failed += !sweep(table, level, "compress.select_scores", 0, test_select_scores);
    if (kt_take(level, "compress.pack", !below || table->pack != below->pack))
        n_failed += !sweep(table, level, "compress.pack", 0, test_pack);
    if (kt_take(level, "compress.unpack", !below || table->unpack != below->unpack))
        n_failed += !sweep(table, level, "compress.unpack", 0, test_unpack);
    if (kt_take(level, "compress.unpack.damaged", !below || table->unpack != below->unpack))
        n_failed += !sweep(table, level, "compress.unpack.damaged", 0, test_unpack_damaged);
    return n_failed;
}
