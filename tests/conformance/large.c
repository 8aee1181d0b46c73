/* SPDX-License-Identifier: Apache-2.0
 *
 * Offsets beyond 2^31 elements and 2^32 bytes. The buffers are mostly untouched, so they need address space and little
 * memory on a CPU, and 14 GB on a device. And more records in one call than a backend would keep in a cache.
 */
#include <string.h>

#include "tests/conformance/shapes.h"

static void destroy_buffer(void *buffer)
{
    skv_buffer_destroy(buffer);
}

static skv_buffer *large_buffer(struct suite_context *t, uint64_t n_bytes)
{
    skv_buffer_params params = {.struct_size = sizeof params, .bytes = n_bytes};
    skv_buffer *buffer = NULL;
    skv_status status =
        n_bytes > t->limits.buffer_bytes_max ? SKV_ERROR_OVERFLOW : skv_buffer_create(t->device, &params, &buffer);
    if (status == SKV_ERROR_OVERFLOW || status == SKV_ERROR_OUT_OF_MEMORY)
        suite_skip(t, "the device has no buffer of %llu bytes", (unsigned long long)n_bytes);
    suite_try(t, "skv_buffer_create", status);
    suite_own(t, buffer, destroy_buffer);
    return buffer;
}

SUITE_CASE(large_offsets, "large/offsets")
{
    enum { D = 64, KEPT = 32, PAGE = 64, N_TOKENS = 3 };
    const uint64_t far = ((uint64_t)1 << 31) + 64, stride = far / (N_TOKENS - 1) / 8 * 8;
    suite_need(t, 0, 1u << SKV_FIXED, 1u << SKV_TOKEN_MAGNITUDE, D);
    struct suite_layout layout;
    suite_layout_make(
        t, (skv_layout_params){.form = SKV_FIXED, .head_dim = D, .n_kv_heads = 1, .page_tokens = PAGE, .kept = KEPT},
        false, &layout);
    uint64_t block_bytes = ref_block_bytes(&layout.ref), n_blocks = 2 * far / block_bytes + 2;
    skv_pool pool = {.layout = layout.layout, .n_blocks = n_blocks};
    pool.pages.buffer = large_buffer(t, ref_pool_bytes(&layout.ref, n_blocks));
    skv_rows rows = {.data = {large_buffer(t, 2 * (far + D)), 0}, .token_stride = stride, .head_stride = D};

    /* Dense rows far apart, packed at the pool's end. */
    uint16_t image[N_TOKENS][D], expected[N_TOKENS][D] = {{0}}, got[D];
    struct ref_rows ref = {.values = image[0], .token_stride = D, .head_stride = D};
    uint32_t kept = KEPT;
    uint8_t keep[N_TOKENS * D];
    for (unsigned i = 0; i < N_TOKENS; i++) {
        suite_row(t, SKV_F16, SUITE_NORMAL, image[i], D);
        suite_try(t, "skv_buffer_write",
                  skv_buffer_write(t->queue, (skv_span){rows.data.buffer, 2 * i * stride}, image[i], sizeof image[i]));
    }
    ref_select(SKV_F16, D, 1, N_TOKENS, &ref, &(struct ref_select){.kept = &kept}, keep);
    for (unsigned i = 0; i < N_TOKENS * D; i++)
        expected[i / D][i % D] = keep[i] ? image[i / D][i % D] : 0;
    uint64_t first_slot = n_blocks * PAGE - N_TOKENS;
    skv_compress_params packing = {
        .struct_size = sizeof packing, .n_tokens = N_TOKENS, .in = rows, .pool = pool, .first_slot = first_slot};
    suite_try(t, "skv_compress", skv_compress(t->queue, &packing));

    /* Back over the dense rows, with their contents gone. */
    for (unsigned i = 0; i < N_TOKENS; i++)
        suite_try(t, "skv_buffer_fill",
                  skv_buffer_fill(t->queue, (skv_span){rows.data.buffer, 2 * i * stride}, 0xff, 2 * D));
    skv_decompress_params unpacking = {
        .struct_size = sizeof unpacking, .n_tokens = N_TOKENS, .pool = pool, .first_slot = first_slot, .out = rows};
    suite_try(t, "skv_decompress", skv_decompress(t->queue, &unpacking));
    suite_try(t, "skv_queue_finish", skv_queue_finish(t->queue));
    for (unsigned i = 0; i < N_TOKENS; i++) {
        suite_try(t, "skv_buffer_read",
                  skv_buffer_read(t->queue, got, (skv_span){rows.data.buffer, 2 * i * stride}, sizeof got));
        suite_equal(t, "a row beyond 2^31 elements", got, expected[i], sizeof got, 2);
    }

    /* Attention over the last block, of which the tokens before the first are packed too. */
    int32_t block = (int32_t)(n_blocks - 1);
    packing.first_slot = (n_blocks - 1) * PAGE;
    suite_try(t, "skv_compress", skv_compress(t->queue, &packing));
    float *out = suite_host(t, 4 * D);
    uint16_t q[D];
    for (unsigned c = 0; c < D; c++)
        q[c] = ref_round(SKV_F16, suite_normal(t));
    struct suite_array result = suite_output(t, 4 * D, 4);
    skv_attend_params attending = {.struct_size = sizeof attending,
                                   .n_seqs = 1,
                                   .n_new = 1,
                                   .n_q_heads = 1,
                                   .n_kv_heads = 1,
                                   .head_dim = D,
                                   .q_dtype = SKV_F16,
                                   .out_dtype = SKV_F32,
                                   .q = suite_input(t, q, sizeof q, 2).span,
                                   .out = result.span,
                                   .k_pool = pool,
                                   .v_pool = pool,
                                   .k_blocks = suite_input(t, &block, 4, 4).span,
                                   .max_cache_tokens = N_TOKENS};
    uint64_t workspace_bytes = 0;
    suite_try(t, "skv_attend_workspace", skv_attend_workspace(t->device, &attending, &workspace_bytes));
    if (workspace_bytes)
        attending.workspace = suite_output(t, workspace_bytes, 64).span;
    suite_try(t, "skv_attend", skv_attend(t->queue, &attending));
    suite_read(t, result, out);
    double kv[N_TOKENS * D], exact_q[D];
    for (unsigned i = 0; i < N_TOKENS * D; i++)
        kv[i] = ref_value(SKV_F16, expected[i / D][i % D]);
    for (unsigned c = 0; c < D; c++)
        exact_q[c] = ref_value(SKV_F16, q[c]);
    struct ref_query query = {.d = D,
                              .type = SKV_F16,
                              .out_type = SKV_F32,
                              .q = exact_q,
                              .scale = 0.125,
                              .n_tokens = N_TOKENS,
                              .position = N_TOKENS - 1,
                              .k = kv,
                              .v = kv,
                              .stride = D};
    struct ref_result *exact = suite_host(t, sizeof *exact);
    ref_attend(&query, exact);
    for (unsigned c = 0; c < D; c++)
        suite_near(t, "attention over the last block", c, (double)out[c], exact->out[c], exact->out_bound[c]);
}

static void compress_part(struct suite_context *t, skv_compress_params params, skv_span slots, uint64_t first,
                          uint64_t n_tokens)
{
    params.n_tokens = n_tokens;
    params.in.data.offset += 2 * first * params.in.token_stride;
    if (slots.buffer)
        params.slot_mapping = (skv_span){slots.buffer, slots.offset + 8 * first};
    else
        params.first_slot += first;
    suite_try(t, "skv_compress", skv_compress(t->queue, &params));
}

/* Many rows in one call become the same bytes as in many calls. */
SUITE_CASE(large_compress, "large/compress")
{
    enum { D = 512, KEPT = 508, HEADS = 3, PAGE = 64, N_TOKENS = 2700, PART = 131, BLOCKS = 46, FIRST = 5 };
    suite_need(t, 0, 1u << SKV_FIXED, 1u << SKV_TOKEN_MAGNITUDE, D);
    struct suite_layout layout;
    suite_layout_make(
        t,
        (skv_layout_params){.form = SKV_FIXED, .head_dim = D, .n_kv_heads = HEADS, .page_tokens = PAGE, .kept = KEPT},
        false, &layout);
    const uint64_t rows_bytes = (uint64_t)N_TOKENS * HEADS * D * 2;
    uint64_t pool_bytes = ref_pool_bytes(&layout.ref, BLOCKS);
    uint16_t *values = suite_host(t, rows_bytes);
    for (unsigned i = 0; i < N_TOKENS * HEADS; i++)
        suite_row(t, SKV_F16, SUITE_NORMAL, values + (size_t)i * D, D);
    skv_span rows = suite_input(t, values, rows_bytes, 2).span;
    /* Runs of slots of all lengths, with gaps, tokens without a slot, and some backwards. */
    int64_t *slots = suite_host(t, N_TOKENS * sizeof *slots), slot = FIRST;
    for (unsigned i = 0, run = 0; i < N_TOKENS; i++, run--) {
        if (run == 0) {
            run = 1 + suite_below(t, 100);
            slot += suite_below(t, 4);
        }
        slots[i] = suite_below(t, 50) ? slot++ : -1;
    }
    for (unsigned i = 0; i < 20; i++) {
        int64_t other = slots[1000 + i];
        slots[1000 + i] = slots[1039 - i];
        slots[1039 - i] = other;
    }
    skv_span mapping = suite_input(t, slots, N_TOKENS * sizeof *slots, 8).span;
    uint8_t *image[2] = {suite_host(t, pool_bytes), suite_host(t, pool_bytes)};
    for (unsigned heads_inner = 0; heads_inner < 2; heads_inner++)
        for (unsigned mapped = 0; mapped < 2; mapped++) {
            suite_shape(t, "head_dim %d kept %d heads %d tokens %d, heads %s, %s", D, KEPT, HEADS, N_TOKENS,
                        heads_inner ? "inner" : "outer", mapped ? "slot mapping" : "first slot");
            for (unsigned in_parts = 0; in_parts < 2; in_parts++) {
                struct suite_array pages = suite_output(t, pool_bytes, 64);
                suite_try(t, "skv_buffer_fill", skv_buffer_fill(t->queue, pages.span, 0x5a, pool_bytes));
                skv_compress_params params = {
                    .struct_size = sizeof params,
                    .in = {rows, heads_inner ? HEADS * D : D, heads_inner ? D : (uint64_t)N_TOKENS * D},
                    .pool = {layout.layout, pages.span, BLOCKS},
                    .first_slot = mapped ? 0 : FIRST};
                unsigned part = in_parts ? PART : N_TOKENS;
                for (unsigned first = 0; first < N_TOKENS; first += part)
                    compress_part(t, params, mapped ? mapping : (skv_span){0}, first,
                                  N_TOKENS - first < part ? N_TOKENS - first : part);
                suite_read(t, pages, image[in_parts]);
            }
            suite_equal(t, "byte of the pool", image[0], image[1], pool_bytes, 1);
        }
}
