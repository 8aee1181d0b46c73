/* SPDX-License-Identifier: Apache-2.0
 *
 * Layout arithmetic against numbers worked out by hand.
 */
#include "fake.h"

static skv_layout *make(skv_layout_params params)
{
    skv_layout *layout;
    params.struct_size = sizeof params;
    assert_int_equal(skv_layout_create(&params, &layout), SKV_OK);
    return layout;
}

static void per_head(void **state)
{
    (void)state;
    static const uint32_t kept[3] = {40, 64, 41};
    skv_layout *layout = make((skv_layout_params){.head_dim = 128, .n_kv_heads = 3, .kept_per_head = kept});
    static const struct {
        uint32_t record, stride;
        uint64_t page, offset;
    } want[3] = {{96, 96, 6144, 0}, {144, 144, 9216, 6144}, {98, 104, 6656, 15360}};
    for (uint32_t h = 0; h < 3; h++) {
        skv_layout_head head = {.struct_size = sizeof head};
        assert_int_equal(skv_layout_get_head(layout, h, &head), SKV_OK);
        assert_int_equal(head.kept, kept[h]);
        assert_int_equal(head.record_bytes, want[h].record);
        assert_int_equal(head.row_stride, want[h].stride);
        assert_int_equal(head.page_bytes, want[h].page);
        assert_int_equal(head.page_offset, want[h].offset);
    }
    skv_layout_info info = {.struct_size = sizeof info};
    assert_int_equal(skv_layout_get_info(layout, &info), SKV_OK);
    assert_int_equal(info.block_bytes, 6144 + 9216 + 6656);
    assert_int_equal(info.format_version, 1);
    assert_int_equal(info.bitmap_bytes, 16);
    assert_int_equal(info.slack_bytes, 64 + 128 * 2);
    assert_int_equal(info.dense_row_bytes, 256);
    uint64_t n;
    assert_int_equal(skv_layout_pool_bytes(layout, 10, &n), SKV_OK);
    assert_int_equal(n, 10 * info.block_bytes + info.slack_bytes);
    assert_int_equal(skv_layout_pool_bytes(layout, UINT64_MAX / 1000, &n), SKV_ERROR_OVERFLOW);
    static const uint64_t tokens[][2] = {{0, 0}, {1, 1}, {63, 1}, {64, 1}, {65, 2}, {UINT64_MAX, UINT64_MAX / 64 + 1}};
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        assert_int_equal(skv_layout_blocks(layout, tokens[i][0], &n), SKV_OK);
        assert_int_equal(n, tokens[i][1]);
    }
    skv_layout_destroy(layout);
}

static void ragged(void **state)
{
    (void)state;
    skv_layout_head head = {.struct_size = sizeof head};
    skv_layout *layout =
        make((skv_layout_params){.form = SKV_RAGGED, .head_dim = 72, .n_kv_heads = 1, .page_tokens = 32, .kept = 5});
    assert_int_equal(skv_layout_get_head(layout, 0, &head), SKV_OK);
    /* 32 directory entries, and rows of 16 + 10 bytes rounded up to 32 */
    assert_int_equal(head.page_bytes, 32 * 4 + 32 * 32);
    assert_int_equal(head.row_stride, 0);
    skv_layout_destroy(layout);
    uint32_t bytes;
    /* 64 rows: 256 of directory, 1024 of bitmaps, 2 * 640 of values, 6 * 64 of padding */
    assert_int_equal(skv_ragged_page_bytes(128, 64, 640, &bytes), SKV_OK);
    assert_int_equal(bytes, 256 + 1024 + 1280 + 384);
    /* more survivors than channels: the dense page, which needs no padding */
    assert_int_equal(skv_ragged_page_bytes(128, 64, UINT64_MAX, &bytes), SKV_OK);
    assert_int_equal(bytes, 256 + 1024 + 64 * 256);
}

static void kept_for_sparsity(void **state)
{
    (void)state;
    static const struct {
        uint32_t head_dim;
        double sparsity;
        uint32_t multiple, kept;
    } cases[] = {{128, 0.5, 0, 64}, {128, 0.7, 0, 39}, {128, 0.7, 8, 40},  {128, 0.9, 1, 13}, {64, 0.7, 1, 20},
                 {80, 0.9, 0, 8},   {128, 0, 0, 128},  {128, 0.999, 0, 1}, {72, 0.5, 50, 50}, {8, 0.99, 8, 8}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t kept;
        assert_int_equal(skv_kept_for_sparsity(cases[i].head_dim, cases[i].sparsity, cases[i].multiple, &kept), SKV_OK);
        assert_int_equal(kept, cases[i].kept);
    }
}

static void row_stride_for_banks(void **state)
{
    (void)state;
    static const uint32_t cases[][3] = {{128, 40, 96}, {128, 64, 144}, {128, 24, 80}, {128, 56, 144}, {64, 32, 80}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t stride;
        assert_int_equal(skv_row_stride_for_banks(cases[i][0], cases[i][1], &stride), SKV_OK);
        assert_int_equal(stride, cases[i][2]);
    }
}

const struct CMUnitTest layout_tests[] = {
    cmocka_unit_test(per_head),
    cmocka_unit_test(ragged),
    cmocka_unit_test(kept_for_sparsity),
    cmocka_unit_test(row_stride_for_banks),
};
const size_t n_layout_tests = sizeof layout_tests / sizeof layout_tests[0];
