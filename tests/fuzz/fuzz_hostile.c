/* SPDX-License-Identifier: Apache-2.0
 *
 * Pools, tables, lengths and parameters full of arbitrary bytes: every call must return a status or a result, and touch
 * nothing outside (run under AddressSanitizer).
 */
#include <stdlib.h>

#include <skv/skv.h>

#include "fuzz.h"

static skv_device *device;
static skv_queue *queue;

static skv_buffer *make(struct source *source, uint64_t n_bytes)
{
    skv_buffer_params params = {.struct_size = sizeof params, .bytes = n_bytes};
    skv_buffer *buffer;
    if (skv_buffer_create(device, &params, &buffer) != SKV_OK)
        abort();
    fill(source, skv_buffer_host(buffer), n_bytes);
    return buffer;
}

/* Now and then a field gets an arbitrary value; what the call makes of it is its affair. */
static uint32_t spoil32(struct source *source, uint32_t value)
{
    return below(source, 24) == 0 ? (uint32_t)take(source, 4) : value;
}

static uint64_t spoil64(struct source *source, uint64_t value)
{
    return below(source, 24) == 0 ? take(source, 8) : value;
}

static void attend(struct source *source, const skv_layout *layout, const skv_layout_params *shape, skv_buffer *pool,
                   uint64_t n_blocks)
{
    uint32_t group = 1 + below(source, 9), n_seqs = 1 + below(source, 3), n_new = 1 + below(source, 3);
    uint64_t n_q = (uint64_t)n_seqs * n_new * shape->n_kv_heads * group * shape->head_dim;
    uint64_t cache = n_blocks * shape->page_tokens, tail = below(source, 40);
    skv_buffer *q = make(source, n_q * 4), *out = make(source, n_q * 4), *workspace = make(source, 1 << 20);
    skv_buffer *table = make(source, n_seqs * n_blocks * 4), *lengths = make(source, n_seqs * 4);
    skv_buffer *rows = make(source, n_seqs * (tail + 1) * shape->n_kv_heads * shape->head_dim * 2);
    int32_t *entries = skv_buffer_host(table), *length = skv_buffer_host(lengths);
    /* Mostly tables in range, or hardly any call would get past the checks. */
    if (below(source, 8)) {
        for (uint64_t i = 0; i < n_seqs * n_blocks; i++)
            entries[i] = (int32_t)((uint32_t)entries[i] % n_blocks);
        for (uint32_t s = 0; s < n_seqs; s++)
            length[s] = (int32_t)((uint32_t)length[s] % (cache + 1));
    }
    skv_attend_params params = {.struct_size = spoil32(source, sizeof params),
                                .n_seqs = spoil32(source, n_seqs),
                                .n_new = spoil32(source, n_new),
                                .n_q_heads = spoil32(source, shape->n_kv_heads * group),
                                .n_kv_heads = spoil32(source, shape->n_kv_heads),
                                .head_dim = spoil32(source, shape->head_dim),
                                .dtype = shape->dtype,
                                .q = {q, spoil64(source, 0)},
                                .out = {out, spoil64(source, 0)},
                                .k_pool = {layout, {pool, 0}, spoil64(source, n_blocks)},
                                .v_pool = {layout, {pool, spoil64(source, 0)}, n_blocks},
                                .k_blocks = {table, 0},
                                .cache_lens = {lengths, 0},
                                .max_cache_tokens = spoil64(source, cache),
                                .k_tail = {rows, 0},
                                .v_tail = {rows, 0},
                                .max_tail_tokens = spoil64(source, tail),
                                .window = below(source, 2) ? spoil64(source, below(source, 200)) : 0,
                                .softcap = below(source, 4) ? 0 : 30,
                                .split_tokens = spoil32(source, 32 * below(source, 4)),
                                .workspace = {workspace, 0}};
    params.sink_tokens = params.window ? below(source, 40) : 0;
    params.q_head_stride = spoil64(source, 0);
    params.tail_token_stride = spoil64(source, 0);
    /* A struct_size above the struct would make the library read behind it, which is the caller's lie. */
    if (params.struct_size > sizeof params)
        params.struct_size = sizeof params;
    (void)skv_attend(queue, &params);
    skv_buffer *const buffers[] = {q, out, workspace, table, lengths, rows};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        skv_buffer_destroy(buffers[i]);
}

static void rows_ops(struct source *source, const skv_layout *layout, const skv_layout_params *shape, skv_buffer *pool,
                     uint64_t n_blocks)
{
    uint32_t n_tokens = 1 + below(source, 80);
    skv_buffer *rows = make(source, (uint64_t)n_tokens * shape->n_kv_heads * shape->head_dim * 2);
    skv_buffer *mapping = make(source, n_tokens * 8ull);
    int64_t *slots = skv_buffer_host(mapping);
    if (below(source, 4))
        for (uint32_t i = 0; i < n_tokens; i++)
            slots[i] = (int64_t)((uint64_t)slots[i] % (n_blocks * shape->page_tokens)) - (slots[i] & 1);
    skv_decompress_params decompress = {.struct_size = sizeof decompress,
                                        .n_tokens = spoil64(source, n_tokens),
                                        .pool = {layout, {pool, spoil64(source, 0)}, spoil64(source, n_blocks)},
                                        .slot_mapping = {mapping, 0},
                                        .out = {{rows, 0}, spoil64(source, 0), spoil64(source, 0)}};
    (void)skv_decompress(queue, &decompress);
    skv_compress_params compress = {.struct_size = sizeof compress,
                                    .n_tokens = spoil64(source, n_tokens),
                                    .in = {{rows, spoil64(source, 0)}, 0, 0},
                                    .pool = {layout, {pool, 0}, n_blocks},
                                    .select = {.strategy = spoil32(source, 0),
                                               .kept = spoil32(source, shape->form == SKV_RAGGED ? 3 : 0),
                                               .group_tokens = spoil32(source, 0)}};
    if (below(source, 2))
        compress.slot_mapping = (skv_span){mapping, 0};
    else
        compress.first_slot = take(source, 1);
    (void)skv_compress(queue, &compress);
    skv_buffer_destroy(rows);
    skv_buffer_destroy(mapping);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct source source = {data, size};
    if (!device && (skv_device_open(NULL, &device) != SKV_OK || skv_queue_create(device, NULL, &queue) != SKV_OK))
        abort();
    skv_layout_params shape = {.struct_size = sizeof shape,
                               .dtype = 1 + below(&source, 2),
                               .form = below(&source, 2),
                               .head_dim = 8 * (1 + below(&source, 64)),
                               .n_kv_heads = 1 + below(&source, 3),
                               .page_tokens = 32 * (1 + below(&source, 2))};
    shape.kept = 1 + below(&source, shape.head_dim);
    skv_layout_params spoiled = shape;
    spoiled.head_dim = spoil32(&source, shape.head_dim);
    spoiled.kept = spoil32(&source, shape.kept);
    spoiled.row_stride = spoil32(&source, 0);
    spoiled.page_bytes = spoil32(&source, 0);
    skv_layout *layout = NULL;
    if (skv_layout_create(&spoiled, &layout) == SKV_OK)
        skv_layout_destroy(layout);
    uint64_t n_blocks = 1 + below(&source, 3), pool_bytes;
    if (skv_layout_create(&shape, &layout) != SKV_OK || skv_layout_pool_bytes(layout, n_blocks, &pool_bytes) != SKV_OK)
        abort();
    skv_buffer *pool = make(&source, pool_bytes);
    attend(&source, layout, &shape, pool, n_blocks);
    rows_ops(&source, layout, &shape, pool, n_blocks);
    skv_buffer_destroy(pool);
    skv_layout_destroy(layout);
    return 0;
}
