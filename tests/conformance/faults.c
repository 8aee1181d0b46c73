/* SPDX-License-Identifier: Apache-2.0
 *
 * What only the data can break: tables, lengths and mappings. Where their memory is the host's the call refuses and
 * writes nothing; elsewhere skv_queue_finish reports the fault, and nothing outside of the pools was touched.
 */
#include <string.h>

#include "tests/conformance/attention.h"

static void expect_fault(struct suite_context *t, const char *what, skv_status status, const char *word)
{
    if (!t->limits.synchronous) {
        suite_try(t, what, status);
        status = skv_queue_finish(t->queue);
    }
    suite_refuse(t, what, status, SKV_ERROR_OUT_OF_BOUNDS, word);
    suite_try(t, "skv_queue_finish after the fault was reported", skv_queue_finish(t->queue));
}

/* Runs the problem with one entry of an i32 array replaced, and checks that a refusal left `out` alone. */
static void attend_with(struct suite_context *t, struct attention *a, skv_span array, unsigned i, int32_t entry,
                        const char *word)
{
    int32_t before;
    skv_span at = {array.buffer, array.offset + 4 * i};
    suite_shape(t, "%s[%u] = %d", word, i, (int)entry);
    suite_try(t, "skv_buffer_read", skv_buffer_read(t->queue, &before, at, 4));
    suite_try(t, "skv_buffer_write", skv_buffer_write(t->queue, at, &entry, 4));
    attention_outputs(t, a);
    expect_fault(t, "skv_attend", skv_attend(t->queue, &a->params), word);
    if (t->limits.synchronous) {
        unsigned char *got = suite_host(t, a->out.n_bytes), *poison = suite_host(t, a->out.n_bytes);
        suite_read(t, a->out, got);
        suite_output_poison(poison, a->out.n_bytes);
        suite_equal(t, "output of a refused call", got, poison, a->out.n_bytes, 1);
    }
    suite_try(t, "skv_buffer_write", skv_buffer_write(t->queue, at, &before, 4));
}

SUITE_CASE(faults_attend, "faults/attend")
{
    for (unsigned form = SKV_FIXED; form <= SKV_RAGGED; form++) {
        if (!(t->limits.forms >> form & 1))
            continue;
        struct attention a;
        attention_draw(t, 64, &a);
        a.n_seqs = 2;
        a.draw_lengths = true;
        a.max_cache = 100;
        a.max_tail = 10;
        a.k_layout.form = a.v_layout.form = form;
        a.k_layout.page_tokens = a.v_layout.page_tokens = 64;
        a.separate_tables = true;
        attention_build(t, &a);
        unsigned longest = a.cache_lens[0] == 100 ? 0 : 1;
        const int32_t wrong[] = {-1, INT32_MIN, INT32_MAX, (int32_t)a.params.k_pool.n_blocks};
        for (unsigned i = 0; i < 4; i++) {
            attend_with(t, &a, a.params.k_blocks, 2 * longest + i % 2, wrong[i], "k_blocks");
            attend_with(t, &a, a.params.v_blocks, 2 * longest + i % 2, wrong[i], "v_blocks");
        }
        const int32_t lengths[] = {-1, 101, INT32_MAX, INT32_MIN};
        for (unsigned i = 0; i < 4; i++) {
            attend_with(t, &a, a.params.cache_lens, i % 2, lengths[i], "cache_lens");
            attend_with(t, &a, a.params.tail_lens, i % 2, lengths[i], "tail_lens");
        }
        /* Everything restored, the same problem runs. */
        attention_outputs(t, &a);
        attention_run(t, &a);
        attention_check(t, &a);
        suite_reset(t);
    }
}

/* Slots outside of the pool, in compress and decompress. */
SUITE_CASE(faults_slots, "faults/slots")
{
    suite_need(t, 0, 0, 1u << SKV_TOKEN_MAGNITUDE, 64);
    for (unsigned form = SKV_FIXED; form <= SKV_RAGGED; form++) {
        if (!(t->limits.forms >> form & 1))
            continue;
        struct suite_layout layout;
        suite_layout_make(
            t, (skv_layout_params){.form = form, .head_dim = 64, .n_kv_heads = 1, .page_tokens = 32, .kept = 20}, false,
            &layout);
        struct suite_pool pool = suite_pool_make(t, &layout, 3);
        struct suite_rows in = suite_rows_input(t, SKV_F16, SUITE_FINITE, 4, 1, 64);
        struct suite_rows out = suite_rows_output(t, 4, 1, 64);
        const int64_t wrong[] = {96, INT64_MAX, (int64_t)1 << 40};
        for (unsigned i = 0; i < 3; i++) {
            int64_t slots[4] = {32, 33, -1, wrong[i]};
            skv_span mapping = suite_input(t, slots, sizeof slots, 8).span;
            suite_shape(t, "form %u slot %lld of 96", form, (long long)wrong[i]);
            skv_compress_params params = {.struct_size = sizeof params,
                                          .n_tokens = 4,
                                          .in = in.rows,
                                          .pool = pool.pool,
                                          .slot_mapping = mapping,
                                          .select.kept = 20};
            expect_fault(t, "skv_compress", skv_compress(t->queue, &params), "slot_mapping");
            skv_decompress_params reading = {.struct_size = sizeof reading,
                                             .n_tokens = 4,
                                             .pool = pool.pool,
                                             .slot_mapping = mapping,
                                             .out = out.rows};
            expect_fault(t, "skv_decompress", skv_decompress(t->queue, &reading), "slot_mapping");
        }
        /* Nothing outside of the two good slots may have changed, and where the call refused, not even those. */
        uint8_t *got = suite_host(t, pool.array.n_bytes);
        uint64_t block = ref_block_bytes(&layout.ref);
        suite_read(t, pool.array, got);
        if (!t->limits.synchronous)
            memcpy(pool.image + block, got + block, (size_t)block);
        suite_pool_check(t, "pool after faults", &pool);
        suite_reset(t);
    }
}

/* The order that ragged pages demand. Where the mapping can be read, breaking it is refused; elsewhere the page's rows
 * are undefined, and nothing else is touched. */
SUITE_CASE(faults_ragged_order, "faults/ragged_order")
{
    suite_need(t, 0, 1u << SKV_RAGGED, 1u << SKV_TOKEN_MAGNITUDE, 64);
    bool visible = t->limits.synchronous && t->limits.host_memory;
    struct suite_layout layout;
    suite_layout_make(
        t, (skv_layout_params){.form = SKV_RAGGED, .head_dim = 64, .n_kv_heads = 1, .page_tokens = 32, .kept = 20},
        false, &layout);
    struct suite_pool pool = suite_pool_make(t, &layout, 3);
    struct suite_rows in = suite_rows_input(t, SKV_F16, SUITE_FINITE, 3, 1, 64);
    static const int64_t wrong[][3] = {{1, 0, 32}, {0, 0, 32}, {0, 2, 32}, {40, 39, 0}};
    for (unsigned i = 0; i < 4; i++) {
        skv_compress_params params = {.struct_size = sizeof params,
                                      .n_tokens = 3,
                                      .in = in.rows,
                                      .pool = pool.pool,
                                      .slot_mapping = suite_input(t, wrong[i], sizeof wrong[i], 8).span,
                                      .select.kept = 20};
        skv_status status = skv_compress(t->queue, &params);
        if (visible) {
            suite_refuse(t, "skv_compress out of order", status, SKV_ERROR_INVALID_ARGUMENT, "slot_mapping[1]");
            continue;
        }
        suite_try(t, "skv_compress out of order", status);
        status = skv_queue_finish(t->queue);
        if (status != SKV_OK)
            suite_refuse(t, "skv_queue_finish", status, SKV_ERROR_CAPACITY, "token");
    }
    if (!visible) {
        uint8_t *got = suite_host(t, pool.array.n_bytes);
        suite_read(t, pool.array, got);
        memcpy(pool.image, got, (size_t)(2 * ref_block_bytes(&layout.ref)));
    }
    suite_pool_check(t, "pool after wrong orders", &pool);
}
