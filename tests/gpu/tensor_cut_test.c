/* SPDX-License-Identifier: Apache-2.0
 *
 * How tensor-core attention is cut into groups, on the figures of an H200: what every cut must keep to, and that few
 * units are shared while many are not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backends/cuda/params.h"
#include "backends/gpu/tensor.h"

enum {
    MULTIPROCESSORS = 132,
    GROUP_BYTES = 232448,
    RESERVED_BYTES = 1024,
    STATIC_BYTES = 1024,
    HEADS = 8,
    LANE_WARPS = 32
};

static struct skv_layout_slot slots[HEADS];
static struct skv_layout layout = {.form = SKV_FIXED, .n_kv_heads = HEADS, .head = slots};
static const struct skv_tensor_variant narrow = {"", 128, 4, SKV_F16, 96, 4, 32, 12};
static const struct skv_tensor_variant short_chunks = {"", 128, 4, SKV_F16, 0, 4, 16, 12};
static const struct skv_tensor_variant many_rows = {"", 128, 16, SKV_F16, 0, 4, 32, 8};
static const struct skv_tensor_variant many_warps = {"", 64, 4, SKV_F16, 48, 1, 32, 16};

static struct skv_tensor_cut cut_of(const struct skv_tensor_variant *variant, uint32_t n_seqs, uint64_t n_tokens,
                                    bool is_known)
{
    const struct skv_tensor_limits limits = {.n_multiprocessors = MULTIPROCESSORS,
                                             .groups_max = UINT32_MAX,
                                             .warps_min = SKV_CUDA_WARPS_MIN,
                                             .scratch_bytes = GROUP_BYTES - STATIC_BYTES,
                                             .own_bytes = STATIC_BYTES + RESERVED_BYTES,
                                             .all_bytes = GROUP_BYTES + RESERVED_BYTES};
    struct skv_tensor_cut cut;
    slots[0].row_stride = variant->stride ? variant->stride : 96;
    struct skv_attend_params params = {.n_seqs = n_seqs,
                                       .n_new = 1,
                                       .n_q_heads = HEADS,
                                       .n_kv_heads = HEADS,
                                       .head_dim = variant->head_dim,
                                       .k_pool.layout = &layout,
                                       .v_pool.layout = &layout,
                                       .max_cache_tokens = n_tokens,
                                       .cache_lens.buffer = is_known ? NULL : (struct skv_buffer *)slots};
    assert_true(skv_tensor_cut(&limits, &params, variant, &cut));
    return cut;
}

static void test_bounds(void **state)
{
    (void)state;
    const struct skv_tensor_variant *variants[] = {&narrow, &short_chunks, &many_rows, &many_warps};
    const uint32_t n_seqs[] = {1, 2, 7, 16, 33, 250, 4096};
    const uint64_t n_tokens[] = {0, 1, 31, 64, 500, 4096, 100000, 1 << 19};
    for (size_t v = 0; v < 4; v++)
        for (size_t s = 0; s < sizeof n_seqs / sizeof n_seqs[0]; s++)
            for (size_t t = 0; t < 2 * sizeof n_tokens / sizeof n_tokens[0]; t++) {
                uint64_t tokens = n_tokens[t / 2],
                         of_unit = (tokens + variants[v]->chunk_tokens - 1) / variants[v]->chunk_tokens;
                struct skv_tensor_cut cut = cut_of(variants[v], n_seqs[s], tokens, t % 2);
                uint32_t groups = variants[v]->warps / cut.n_warps, n_units = n_seqs[s] * HEADS;
                assert_int_equal(groups * cut.n_warps, variants[v]->warps);
                assert_in_range(cut.n_warps, SKV_CUDA_WARPS_MIN, LANE_WARPS);
                assert_in_range(cut.n_stages, 2, 32);
                assert_true(cut.scratch_bytes + STATIC_BYTES <= GROUP_BYTES);
                assert_true(cut.n_groups > 0);
                if (cut.groups_of_unit != 1)
                    assert_true(cut.n_groups <= groups * MULTIPROCESSORS);
                if (cut.groups_of_unit) {
                    assert_int_equal(cut.n_groups, n_units * cut.groups_of_unit);
                    bool are_alike = t % 2 || n_seqs[s] == 1;
                    assert_true(cut.groups_of_unit == 1 || (are_alike && cut.groups_of_unit <= of_unit));
                } else {
                    assert_true(cut.end_chunks > 0 && cut.end_chunks % cut.n_warps == 0);
                }
                assert_true(groups * (cut.scratch_bytes + STATIC_BYTES + RESERVED_BYTES) <=
                            GROUP_BYTES + RESERVED_BYTES);
            }
}

static void test_choices(void **state)
{
    (void)state;
    /* 8 units: shared by all multiprocessors, or by as many groups as have a chunk for each warp. */
    struct skv_tensor_cut cut = cut_of(&narrow, 1, 8192, true);
    assert_int_equal(cut.n_warps * cut.n_groups, 12 * 128);
    cut = cut_of(&short_chunks, 1, 512, true);
    assert_int_equal(cut.n_warps * cut.groups_of_unit, 32);
    /* 256 units: one for each of the groups of 6 warps, of which 264 are resident. */
    cut = cut_of(&narrow, 32, 8192, true);
    assert_int_equal(cut.groups_of_unit, 1);
    assert_int_equal(cut.n_warps, 6);
    /* Units that no number of groups divides well: the line. */
    cut = cut_of(&narrow, 9, 16384, true);
    assert_int_equal(cut.groups_of_unit, 0);
    /* Long chunks for long sequences, short ones for short. */
    assert_true(cut_of(&narrow, 8, 16384, true).time < cut_of(&short_chunks, 8, 16384, true).time);
    assert_true(cut_of(&narrow, 1, 512, true).time > cut_of(&short_chunks, 1, 512, true).time);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bounds), cmocka_unit_test(test_choices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
