/* SPDX-License-Identifier: Apache-2.0
 *
 * The operations on rows: prune, compress, decompress, channel weights.
 */
#include <stdio.h>

#include "backends/gpu/gpu.h"
#include "core/numbers.h"

/* Work-items of a group, and rows of a chunk: as many rows as work-items while they fit half of the local memory that
 * any device has. */
#define LANES SKV_GPU_ROW_LANES
#define TILE_BYTES_MAX (LOCAL_BYTES / 2)
#define LOCAL_BYTES 32768

static struct skv_gpu_rows rows_of(const struct skv_rows *rows)
{
    return (struct skv_gpu_rows){
        .offset = skv_gpu_offset(rows->data, 2), .token_stride = rows->token_stride, .head_stride = rows->head_stride};
}

static bool is_by_channel(uint32_t strategy)
{
    return strategy == SKV_CHANNEL_MAGNITUDE || strategy == SKV_CHANNEL_WEIGHTED;
}

/* Whether a lane selects alone, with the scores of its rows in memory of its own. */
static bool is_serial(const struct skv_queue *queue)
{
    return ((const struct skv_gpu_device *)queue->device)->is_serial;
}

static uint32_t select_lanes(const struct skv_queue *queue)
{
    return is_serial(queue) ? 1 : LANES;
}

static const char *variant_of(const struct skv_queue *queue)
{
    return is_serial(queue) ? "serial" : "portable";
}

static size_t tile_bytes(const struct skv_gpu_select *select, uint32_t n_rows)
{
    return select->staged ? (size_t)n_rows * (select->head_dim + 2) * 2 : 4;
}

static void fill_select(const struct skv_queue *queue, struct skv_gpu_select *select, const struct skv_select *rule,
                        const struct skv_rows *in, uint64_t n_tokens, uint32_t dtype, uint32_t head_dim,
                        uint32_t n_heads, bool capped)
{
    *select = (struct skv_gpu_select){
        .in = rows_of(in),
        .n_tokens = n_tokens,
        .weights = skv_gpu_offset(rule->weights, 4),
        .mask = skv_gpu_offset(rule->mask, 8),
        .strategy = rule->strategy,
        .dtype = dtype,
        .head_dim = head_dim,
        .n_heads = n_heads,
        .group_tokens = rule->group_tokens,
        .protect_tokens = rule->protect_tokens,
        .chunk_tokens = LANES,
        .staged = !is_serial(queue) && (rule->strategy == SKV_TOKEN_MAGNITUDE || rule->strategy == SKV_TOKEN_WEIGHTED ||
                                        rule->strategy == SKV_THRESHOLD),
        .capped = capped,
    };
    if (rule->strategy == SKV_THRESHOLD)
        select->threshold_bits = skv_threshold_bits(rule->threshold, dtype);
    if (is_by_channel(rule->strategy))
        select->chunk_tokens = LANES / rule->group_tokens * rule->group_tokens;
    while (tile_bytes(select, select->chunk_tokens) > TILE_BYTES_MAX)
        select->chunk_tokens /= 2;
    select->tile_words = (uint32_t)(tile_bytes(select, select->chunk_tokens) / 4);
}

static void select_args(struct skv_gpu_launch *launch, const struct skv_select *rule, struct skv_span in)
{
    skv_gpu_arg_buffer(launch, in);
    skv_gpu_arg_buffer(launch, rule->weights);
    skv_gpu_arg_buffer(launch, rule->mask);
}

static size_t scratch_bytes(const struct skv_gpu_select *select)
{
    return (size_t)4 * select->tile_words + (size_t)select->chunk_tokens * SKV_BITMAP_BYTES(select->head_dim);
}

static uint64_t n_chunks(const struct skv_gpu_select *select)
{
    return (select->n_tokens + select->chunk_tokens - 1) / select->chunk_tokens;
}

enum skv_status skv_gpu_prune(struct skv_queue *queue, const struct skv_prune_params *params)
{
    struct skv_gpu_prune args = {.out = rows_of(&params->out),
                                 .out_mask = skv_gpu_offset(params->mask, 8),
                                 .has_out = params->out.data.buffer != NULL,
                                 .has_mask = params->mask.buffer != NULL};
    fill_select(queue, &args.select, &params->select, &params->in, params->n_tokens, params->dtype, params->head_dim,
                params->n_kv_heads, false);
    for (uint32_t first = 0, n; first < params->n_kv_heads; first += n) {
        n = skv_gpu_heads_of(NULL, &params->select, params->n_kv_heads, first, &args.select.heads);
        struct skv_gpu_launch launch = skv_gpu_launch_begin(queue, SKV_GPU_PRUNE);
        skv_gpu_arg_value(&launch, &args, sizeof args);
        select_args(&launch, &params->select, params->in.data);
        skv_gpu_arg_buffer(&launch, params->out.data);
        skv_gpu_arg_buffer(&launch, params->mask);
        launch.scratch_bytes = scratch_bytes(&args.select);
        SKV_TRY(skv_gpu_enqueue(&launch, select_lanes(queue), n_chunks(&args.select), n, 1));
    }
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "prune %s %s", queue->device->backend->name,
             variant_of(queue));
    return SKV_OK;
}

struct skv_gpu_compress skv_gpu_compress_args(const struct skv_queue *queue, const struct skv_compress_params *params)
{
    const struct skv_layout *layout = params->pool.layout;
    struct skv_gpu_compress args = {.pool = skv_gpu_pool_of(&params->pool),
                                    .slots = skv_gpu_offset(params->slot_mapping, 8),
                                    .row_bytes = skv_gpu_offset(params->row_bytes, 4),
                                    .first_slot = params->first_slot,
                                    .has_slots = params->slot_mapping.buffer != NULL,
                                    .has_row_bytes = params->row_bytes.buffer != NULL,
                                    .measure = (params->flags & SKV_COMPRESS_MEASURE) != 0};
    fill_select(queue, &args.select, &params->select, &params->in, params->n_tokens, layout->dtype, layout->head_dim,
                layout->n_kv_heads, layout->form == SKV_RAGGED);
    return args;
}

void skv_gpu_compress_spans(struct skv_gpu_launch *launch, const struct skv_compress_params *params,
                            const struct skv_gpu_compress *args)
{
    launch->queue->n_slots = params->pool.n_blocks * params->pool.layout->page_tokens;
    skv_gpu_arg_value(launch, args, sizeof *args);
    select_args(launch, &params->select, params->in.data);
    skv_gpu_arg_buffer(launch, params->slot_mapping);
    skv_gpu_arg_buffer(launch, params->pool.pages);
    skv_gpu_arg_buffer(launch, params->row_bytes);
    skv_gpu_arg_faults(launch);
}

enum skv_status skv_gpu_compress(struct skv_queue *queue, const struct skv_compress_params *params)
{
    const struct skv_layout *layout = params->pool.layout;
    bool ragged = layout->form == SKV_RAGGED;
    struct skv_gpu_compress args = skv_gpu_compress_args(queue, params);
    for (uint32_t first = 0, n; first < layout->n_kv_heads; first += n) {
        n = skv_gpu_heads_of(layout, &params->select, layout->n_kv_heads, first, &args.select.heads);
        struct skv_gpu_launch launch =
            skv_gpu_launch_begin(queue, ragged ? SKV_GPU_COMPRESS_RAGGED : SKV_GPU_COMPRESS_FIXED);
        skv_gpu_compress_spans(&launch, params, &args);
        launch.scratch_bytes = scratch_bytes(&args.select);
        SKV_TRY(skv_gpu_enqueue(&launch, select_lanes(queue), n_chunks(&args.select), n, 1));
    }
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "compress %s %s%s", queue->device->backend->name,
             variant_of(queue), ragged ? " ragged" : "");
    return SKV_OK;
}

struct skv_gpu_decompress skv_gpu_decompress_args(const struct skv_decompress_params *params)
{
    const struct skv_layout *layout = params->pool.layout;
    return (struct skv_gpu_decompress){.out = rows_of(&params->out),
                                       .pool = skv_gpu_pool_of(&params->pool),
                                       .n_tokens = params->n_tokens,
                                       .slots = skv_gpu_offset(params->slot_mapping, 8),
                                       .first_slot = params->first_slot,
                                       .has_slots = params->slot_mapping.buffer != NULL,
                                       .head_dim = layout->head_dim,
                                       .n_heads = layout->n_kv_heads};
}

void skv_gpu_decompress_spans(struct skv_gpu_launch *launch, const struct skv_decompress_params *params,
                              const struct skv_gpu_decompress *args)
{
    launch->queue->n_slots = params->pool.n_blocks * params->pool.layout->page_tokens;
    skv_gpu_arg_value(launch, args, sizeof *args);
    skv_gpu_arg_buffer(launch, params->pool.pages);
    skv_gpu_arg_buffer(launch, params->slot_mapping);
    skv_gpu_arg_buffer(launch, params->out.data);
    skv_gpu_arg_faults(launch);
}

enum skv_status skv_gpu_decompress(struct skv_queue *queue, const struct skv_decompress_params *params)
{
    const struct skv_layout *layout = params->pool.layout;
    struct skv_gpu_decompress args = skv_gpu_decompress_args(params);
    uint64_t n_items = params->n_tokens * ((layout->head_dim + 31) / 32);
    for (uint32_t first = 0, n; first < layout->n_kv_heads; first += n) {
        n = skv_gpu_heads_of(layout, NULL, layout->n_kv_heads, first, &args.heads);
        struct skv_gpu_launch launch = skv_gpu_launch_begin(queue, SKV_GPU_DECOMPRESS);
        skv_gpu_decompress_spans(&launch, params, &args);
        SKV_TRY(skv_gpu_enqueue(&launch, LANES, ((n_items + LANES - 1) / LANES), n, 1));
    }
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "decompress %s portable", queue->device->backend->name);
    return SKV_OK;
}

enum skv_status skv_gpu_channel_weights(struct skv_queue *queue, const struct skv_channel_weights_params *params)
{
    struct skv_gpu_weights args = {.queries = rows_of(&params->queries),
                                   .rows = rows_of(&params->rows),
                                   .n_queries = params->n_queries,
                                   .n_tokens = params->n_tokens,
                                   .weights = skv_gpu_offset(params->weights, 4),
                                   .has_queries = params->queries.data.buffer != NULL,
                                   .has_rows = params->kind == SKV_WEIGHTS_NORM,
                                   .norm = params->kind == SKV_WEIGHTS_NORM,
                                   .dtype = params->dtype,
                                   .head_dim = params->head_dim,
                                   .group = params->n_q_heads / params->n_kv_heads};
    struct skv_gpu_launch launch = skv_gpu_launch_begin(queue, SKV_GPU_WEIGHTS);
    skv_gpu_arg_value(&launch, &args, sizeof args);
    skv_gpu_arg_buffer(&launch, params->queries.data);
    skv_gpu_arg_buffer(&launch, params->rows.data);
    skv_gpu_arg_buffer(&launch, params->weights);
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "channel_weights %s portable",
             queue->device->backend->name);
    return skv_gpu_enqueue(&launch, LANES, (params->head_dim + LANES - 1) / LANES, params->n_kv_heads, 1);
}
