/* SPDX-License-Identifier: Apache-2.0
 *
 * Any rows, layout and rule: decompress(compress(x)) must equal prune(x), twice over, and nothing outside may change.
 */
#include <stdio.h>
#include <stdlib.h>

#include <skv/skv.h>

#include "fuzz.h"

#define CHECK(condition)                                                                             \
    do {                                                                                             \
        if (!(condition)) {                                                                          \
            fprintf(stderr, "%s:%d: %s\n%s\n", __FILE__, __LINE__, #condition, skv_error_message()); \
            abort();                                                                                 \
        }                                                                                            \
    } while (0)

#define CANARY 64

static skv_device *device;
static skv_queue *queue;

static skv_buffer *make(uint64_t n_bytes)
{
    skv_buffer_params params = {.struct_size = sizeof params, .bytes = n_bytes};
    skv_buffer *buffer;
    CHECK(skv_buffer_create(device, &params, &buffer) == SKV_OK);
    return buffer;
}

static void check_canary(const skv_buffer *buffer, uint64_t from)
{
    const uint8_t *bytes = skv_buffer_host(buffer);
    for (uint64_t i = from; i < skv_buffer_bytes(buffer); i++)
        CHECK(bytes[i] == 0xa5);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct source source = {data, size};
    if (!device) {
        CHECK(skv_device_open(NULL, &device) == SKV_OK);
        CHECK(skv_queue_create(device, NULL, &queue) == SKV_OK);
    }
    uint32_t d = 8 * (1 + below(&source, 64)), n_heads = 1 + below(&source, 4), n_tokens = 1 + below(&source, 100);
    uint32_t strategy = below(&source, 7), kept = 1 + below(&source, d), group = 1 + below(&source, 64);
    int ragged = strategy == SKV_CHANNEL_MAGNITUDE || strategy == SKV_CHANNEL_WEIGHTED || strategy >= SKV_THRESHOLD ||
                 below(&source, 2);
    skv_layout_params layout_params = {.struct_size = sizeof layout_params,
                                       .dtype = below(&source, 2) ? SKV_BF16 : SKV_F16,
                                       .form = ragged ? SKV_RAGGED : SKV_FIXED,
                                       .head_dim = d,
                                       .n_kv_heads = n_heads,
                                       .page_tokens = 32 * (1 + below(&source, 3)),
                                       .kept = ragged ? 0 : kept};
    skv_layout *layout;
    uint64_t n_blocks, pool_bytes, rows_bytes = (uint64_t)n_tokens * n_heads * d * 2;
    CHECK(skv_layout_create(&layout_params, &layout) == SKV_OK);
    CHECK(skv_layout_blocks(layout, n_tokens, &n_blocks) == SKV_OK);
    CHECK(skv_layout_pool_bytes(layout, n_blocks, &pool_bytes) == SKV_OK);
    skv_buffer *in = make(rows_bytes), *pruned = make(rows_bytes + CANARY), *out = make(rows_bytes + CANARY);
    skv_buffer *pages = make(pool_bytes + CANARY), *again = make(pool_bytes + CANARY);
    uint64_t words = (d + 63) / 64, mask_bytes = (uint64_t)n_tokens * n_heads * words * 8;
    uint64_t weights_bytes = 4ull * n_heads * (d > n_tokens ? d : n_tokens);
    skv_buffer *mask = make(mask_bytes), *weights = make(weights_bytes);
    fill(&source, skv_buffer_host(in), rows_bytes);
    fill(&source, skv_buffer_host(mask), mask_bytes);
    fill(&source, skv_buffer_host(weights), weights_bytes);
    memset(skv_buffer_host(pages), 0xa5, pool_bytes + CANARY);
    memset(skv_buffer_host(again), 0xa5, pool_bytes + CANARY);
    memset(skv_buffer_host(pruned), 0xa5, rows_bytes + CANARY);
    memset(skv_buffer_host(out), 0xa5, rows_bytes + CANARY);

    skv_select select = {.strategy = strategy, .weights = {weights, 0}, .mask = {mask, 0}};
    if (strategy == SKV_CHANNEL_MAGNITUDE || strategy == SKV_CHANNEL_WEIGHTED) {
        select.group_tokens = group;
        select.kept = 1 + kept % group;
    } else if (strategy == SKV_THRESHOLD) {
        select.threshold = (float)below(&source, 1000) / 100;
    } else if (strategy != SKV_MASK) {
        select.kept = kept;
    }
    if (ragged)
        select.protect_tokens = below(&source, 8);
    skv_prune_params prune = {.struct_size = sizeof prune,
                              .dtype = layout_params.dtype,
                              .head_dim = d,
                              .n_kv_heads = n_heads,
                              .n_tokens = n_tokens,
                              .in = {{in, 0}, 0, 0},
                              .out = {{pruned, 0}, 0, 0},
                              .select = select};
    skv_compress_params compress = {.struct_size = sizeof compress,
                                    .n_tokens = n_tokens,
                                    .in = {{in, 0}, 0, 0},
                                    .pool = {layout, {pages, 0}, n_blocks},
                                    .select = select};
    skv_decompress_params decompress = {
        .struct_size = sizeof decompress, .n_tokens = n_tokens, .pool = compress.pool, .out = {{out, 0}, 0, 0}};
    CHECK(skv_prune(queue, &prune) == SKV_OK);
    CHECK(skv_compress(queue, &compress) == SKV_OK);
    CHECK(skv_decompress(queue, &decompress) == SKV_OK);
    CHECK(memcmp(skv_buffer_host(pruned), skv_buffer_host(out), rows_bytes) == 0);
    compress.pool.pages.buffer = again;
    CHECK(skv_compress(queue, &compress) == SKV_OK);
    CHECK(memcmp(skv_buffer_host(pages), skv_buffer_host(again), pool_bytes) == 0);
    check_canary(pruned, rows_bytes);
    check_canary(out, rows_bytes);
    check_canary(pages, pool_bytes);

    skv_buffer *const buffers[] = {in, pruned, out, pages, again, mask, weights};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        skv_buffer_destroy(buffers[i]);
    skv_layout_destroy(layout);
    return 0;
}
