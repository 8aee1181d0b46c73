/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention and merging.
 */
#include <inttypes.h>
#include <stdio.h>

#include "backends/gpu/gpu.h"

/* Groups for each compute unit that splitting aims at, and the fewest tokens that pay for a split. */
#define GROUPS_PER_UNIT 12
#define SPLIT_TOKENS_MIN 128

/* Pieces of 8 bytes that the values of a record take at most; at least one. */
static uint32_t pieces_of(const struct skv_attend_params *params)
{
    uint32_t most = 1;
    if (params->max_cache_tokens)
        for (uint32_t h = 0; h < params->n_kv_heads; h++) {
            uint32_t k = params->k_pool.layout->head[h].kept, v = params->v_pool.layout->head[h].kept;
            most = k > most ? k : most;
            most = v > most ? v : most;
        }
    return (most + 3) / 4;
}

/* Group memory of a variant, as the kernel declares it, with room for alignment. */
static uint64_t group_bytes(const struct skv_gpu_variant *variant, uint32_t pieces)
{
    uint32_t tile = variant->tile, m = variant->m, n_words = (variant->head_dim + 31) / 32;
    return 2 * tile * (8 + 8 * n_words + (2 * pieces | 1) * 4) +
           4 * m * (variant->head_dim + n_words * tile + tile + 2) + 4 * tile + 256;
}

/* For all query rows of a KV head if a group has the memory for that, else for as many as fit. */
static struct skv_gpu_variant variant_of(const struct skv_gpu_device *device, const struct skv_attend_params *params,
                                         uint32_t pieces)
{
    uint32_t n_rows = params->n_new * (params->n_q_heads / params->n_kv_heads), d = params->head_dim;
    for (int i = 0; i < SKV_GPU_CAPACITIES && device->capacities[0]; i++)
        if (params->head_dim <= device->capacities[i]) {
            d = device->capacities[i];
            break;
        }
    struct skv_gpu_variant variant = {.head_dim = d,
                                      .m = n_rows <= 1   ? 1
                                           : n_rows <= 4 ? 4
                                                         : 8,
                                      .dtype = params->dtype,
                                      .tile = SKV_GPU_TILE(d),
                                      .lanes = SKV_GPU_ATTEND_LANES(d)};
    while (variant.m > 1 && group_bytes(&variant, pieces) > device->group_bytes)
        variant.m = variant.m == 8 ? 4 : 1;
    return variant;
}

uint32_t skv_gpu_attend_split(const struct skv_device *device, const struct skv_attend_params *params)
{
    uint64_t n_tokens = params->max_cache_tokens + params->max_tail_tokens;
    /* Only shapes count here, so the records are taken to be as large as they can be. */
    uint32_t n_rows = params->n_new * (params->n_q_heads / params->n_kv_heads);
    uint32_t m = variant_of((const struct skv_gpu_device *)device, params, params->head_dim / 4).m;
    uint64_t n_groups = (uint64_t)params->n_seqs * params->n_kv_heads * ((n_rows + m - 1) / m);
    uint64_t wanted = (uint64_t)device->info.compute_units * GROUPS_PER_UNIT / (n_groups ? n_groups : 1) + 1;
    uint64_t split = skv_round_up((n_tokens + wanted - 1) / wanted, 32);
    if (split < SPLIT_TOKENS_MIN)
        split = SPLIT_TOKENS_MIN;
    return split > UINT32_MAX / 2 ? UINT32_MAX / 2 / 32 * 32 : (uint32_t)split;
}

static void merge_args(struct skv_gpu_launch *launch, const struct skv_gpu_merge *args, struct skv_span part_out,
                       struct skv_span part_lse, struct skv_span sinks, struct skv_span out, struct skv_span lse)
{
    skv_gpu_arg_value(launch, args, sizeof *args);
    skv_gpu_arg_buffer(launch, part_out);
    skv_gpu_arg_buffer(launch, part_lse);
    skv_gpu_arg_buffer(launch, sinks);
    skv_gpu_arg_buffer(launch, out);
    skv_gpu_arg_buffer(launch, lse);
}

/* A group a row; the second dimension takes what the first should not. */
static enum skv_status launch_merge(struct skv_gpu_launch *launch, uint64_t n_rows)
{
    uint64_t n_x = n_rows < 1u << 20 ? n_rows : 1u << 20;
    return skv_gpu_enqueue(launch, SKV_GPU_ROW_LANES, n_x, (n_rows + n_x - 1) / n_x, 1);
}

enum skv_status skv_gpu_merge(struct skv_queue *queue, const struct skv_merge_params *params)
{
    struct skv_gpu_merge args = {.part_out = skv_gpu_offset(params->part_out, 4),
                                 .part_lse = skv_gpu_offset(params->part_lse, 4),
                                 .out = skv_gpu_offset(params->out, skv_dtype_bytes((skv_dtype)params->out_dtype)),
                                 .out_seq_stride = params->head_dim,
                                 .lse = skv_gpu_offset(params->lse, 4),
                                 .n_parts = params->n_parts,
                                 .n_rows = params->n_rows,
                                 .has_lse = params->lse.buffer != NULL,
                                 .out_dtype = params->out_dtype,
                                 .head_dim = params->head_dim,
                                 .n_new = 1,
                                 .n_q_heads = 1};
    struct skv_gpu_launch launch = skv_gpu_launch_begin(queue, SKV_GPU_MERGE);
    merge_args(&launch, &args, params->part_out, params->part_lse, (struct skv_span){0}, params->out, params->lse);
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "merge %s portable", queue->device->backend->name);
    return launch_merge(&launch, params->n_rows);
}

struct skv_gpu_attend skv_gpu_attend_args(const struct skv_attend_params *params, const struct skv_attend_plan *plan)
{
    uint32_t q_bytes = skv_dtype_bytes((skv_dtype)params->q_dtype);
    uint32_t out_bytes = skv_dtype_bytes((skv_dtype)params->out_dtype);
    struct skv_gpu_attend args = {
        .k_blocks = skv_gpu_offset(params->k_blocks, 4),
        .v_blocks = skv_gpu_offset(params->v_blocks, 4),
        .block_stride = params->block_stride,
        .cache_lens = skv_gpu_offset(params->cache_lens, 4),
        .tail_lens = skv_gpu_offset(params->tail_lens, 4),
        .max_cache = params->max_cache_tokens,
        .max_tail = params->max_tail_tokens,
        .q = skv_gpu_offset(params->q, q_bytes),
        .q_seq_stride = params->q_seq_stride,
        .q_token_stride = params->q_token_stride,
        .q_head_stride = params->q_head_stride,
        .k_tail = skv_gpu_offset(params->k_tail, 2),
        .v_tail = skv_gpu_offset(params->v_tail, 2),
        .tail_seq_stride = params->tail_seq_stride,
        .tail_token_stride = params->tail_token_stride,
        .tail_head_stride = params->tail_head_stride,
        .window = params->window,
        .sink_tokens = params->sink_tokens,
        .split_tokens = plan->split_tokens,
        .n_splits = plan->n_splits,
        .n_new = params->n_new,
        .n_q_heads = params->n_q_heads,
        .group = params->n_q_heads / params->n_kv_heads,
        .dtype = params->dtype,
        .q_dtype = params->q_dtype,
        .has_cache_lens = params->cache_lens.buffer != NULL,
        .has_tail_lens = params->tail_lens.buffer != NULL,
        .has_softcap = params->softcap > 0,
        .pieces = pieces_of(params),
        .scale = params->scale,
        .softcap = params->softcap,
        .merge = {.out = skv_gpu_offset(params->out, out_bytes),
                  .out_seq_stride = params->out_seq_stride,
                  .out_token_stride = params->out_token_stride,
                  .out_head_stride = params->out_head_stride,
                  .lse = skv_gpu_offset(params->lse, 4),
                  .sinks = skv_gpu_offset(params->sink_logits, 4),
                  .n_parts = plan->n_splits,
                  .n_rows = (uint64_t)params->n_seqs * params->n_new * params->n_q_heads,
                  .has_lse = params->lse.buffer != NULL,
                  .has_sinks = params->sink_logits.buffer != NULL,
                  .out_dtype = params->out_dtype,
                  .head_dim = params->head_dim,
                  .n_new = params->n_new,
                  .n_q_heads = params->n_q_heads},
    };
    if (params->max_cache_tokens) {
        args.k_pool = skv_gpu_pool_of(&params->k_pool);
        args.v_pool = skv_gpu_pool_of(&params->v_pool);
    }
    if (plan->n_splits > 1) {
        args.merge.part_out = (params->workspace.offset + plan->part_out_offset) / 4;
        args.merge.part_lse = (params->workspace.offset + plan->part_lse_offset) / 4;
    }
    return args;
}

uint32_t skv_gpu_attend_heads(const struct skv_attend_params *params, uint32_t first, struct skv_gpu_attend *args)
{
    const struct skv_layout *k = NULL, *v = NULL;
    if (params->max_cache_tokens) {
        k = params->k_pool.layout;
        v = params->v_pool.layout;
    }
    uint32_t n_k = skv_gpu_heads_of(k, NULL, params->n_kv_heads, first, &args->k_heads);
    uint32_t n_v = skv_gpu_heads_of(v, NULL, params->n_kv_heads, first, &args->v_heads);
    /* One layout may know all its heads at once where the other does not; `first` is then that of the other. */
    uint32_t n = n_k < n_v ? n_k : n_v;
    args->k_heads.first = first;
    return n < params->n_kv_heads - first ? n : params->n_kv_heads - first;
}

void skv_gpu_attend_spans(struct skv_gpu_launch *launch, const struct skv_attend_params *params,
                          const struct skv_attend_plan *plan)
{
    struct skv_span workspace = plan->n_splits > 1 ? params->workspace : (struct skv_span){0};
    skv_gpu_arg_buffer(launch, params->q);
    skv_gpu_arg_buffer(launch, params->k_pool.pages);
    skv_gpu_arg_buffer(launch, params->v_pool.pages);
    skv_gpu_arg_buffer(launch, params->k_blocks);
    skv_gpu_arg_buffer(launch, params->v_blocks);
    skv_gpu_arg_buffer(launch, params->cache_lens);
    skv_gpu_arg_buffer(launch, params->tail_lens);
    skv_gpu_arg_buffer(launch, params->k_tail);
    skv_gpu_arg_buffer(launch, params->v_tail);
    skv_gpu_arg_buffer(launch, params->sink_logits);
    skv_gpu_arg_buffer(launch, workspace);
    skv_gpu_arg_buffer(launch, workspace);
    skv_gpu_arg_buffer(launch, params->out);
    skv_gpu_arg_buffer(launch, params->lse);
    skv_gpu_arg_faults(launch);
}

enum skv_status skv_gpu_merge_splits(struct skv_queue *queue, const struct skv_attend_params *params,
                                     const struct skv_gpu_attend *args)
{
    struct skv_gpu_launch launch = skv_gpu_launch_begin(queue, SKV_GPU_MERGE);
    merge_args(&launch, &args->merge, params->workspace, params->workspace, params->sink_logits, params->out,
               params->lse);
    return launch_merge(&launch, args->merge.n_rows);
}

enum skv_status skv_gpu_attend(struct skv_queue *queue, const struct skv_attend_params *params,
                               const struct skv_attend_plan *plan)
{
    struct skv_gpu_attend args = skv_gpu_attend_args(params, plan);
    struct skv_gpu_variant variant = variant_of((const struct skv_gpu_device *)queue->device, params, args.pieces);
    uint32_t n_chunks = (params->n_new * args.group + variant.m - 1) / variant.m;
    for (uint32_t first = 0, n; first < params->n_kv_heads; first += n) {
        struct skv_gpu_launch launch = skv_gpu_launch_begin(queue, SKV_GPU_ATTEND);
        n = skv_gpu_attend_heads(params, first, &args);
        launch.variant = variant;
        skv_gpu_arg_value(&launch, &args, sizeof args);
        skv_gpu_attend_spans(&launch, params, plan);
        launch.scratch_bytes = (size_t)2 * variant.tile * (2 * args.pieces | 1) * 4;
        SKV_TRY(skv_gpu_enqueue(&launch, variant.lanes, (uint64_t)n * n_chunks, plan->n_splits, params->n_seqs));
    }
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "attend %s portable.d%" PRIu32 ".m%" PRIu32 "%s",
             queue->device->backend->name, variant.head_dim, variant.m, plan->n_splits > 1 ? " + merge" : "");
    return plan->n_splits > 1 ? skv_gpu_merge_splits(queue, params, &args) : SKV_OK;
}

bool skv_gpu_is_plain_decode(const struct skv_attend_params *params, bool (*is_aligned)(struct skv_span span))
{
    bool is_tail_fit = !params->max_tail_tokens ||
                       (is_aligned(params->k_tail) && is_aligned(params->v_tail) && params->tail_seq_stride % 8 == 0 &&
                        params->tail_token_stride % 8 == 0 && params->tail_head_stride % 8 == 0);
    return params->n_new == 1 && !params->window && !(params->softcap > 0) && params->q_dtype == params->dtype &&
           params->scale > 0 && is_tail_fit;
}
