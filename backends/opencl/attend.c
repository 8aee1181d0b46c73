/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention and merging.
 */
#include <inttypes.h>
#include <stdio.h>

#include "backends/opencl/opencl.h"

#define MERGE_LANES 64
/* Work-groups for each compute unit that splitting aims at, and the fewest tokens that pay for a split. */
#define GROUPS_PER_UNIT 12
#define SPLIT_TOKENS_MIN 128

/* Tokens of a tile, whose records take up to 17 KiB of local memory, and work-items of a group. */
static uint32_t tile_tokens(uint32_t head_dim)
{
    return head_dim <= 128 ? 32 : head_dim <= 256 ? 16 : 8;
}

static uint32_t lanes_of(uint32_t head_dim)
{
    return head_dim <= 64 ? 64 : 128;
}

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

/* Local memory of an attention group, as the kernel declares it, with room for alignment. */
static uint64_t local_bytes(uint32_t head_dim, uint32_t m, uint32_t pieces)
{
    uint32_t tile = tile_tokens(head_dim), n_words = (head_dim + 31) / 32;
    return 2 * tile * (8 + 8 * n_words + (2 * pieces | 1) * 4) + 4 * m * (head_dim + n_words * tile + tile + 2) +
           4 * tile + 256;
}

/* Query rows of a group: the smallest variant that holds them all, else the largest that fits the device. */
static uint32_t rows_of_kernel(const struct skv_cl_device *device, const struct skv_attend_params *params,
                               uint32_t pieces)
{
    uint32_t n_rows = params->n_new * (params->n_q_heads / params->n_kv_heads), m = n_rows <= 1   ? 1
                                                                                    : n_rows <= 4 ? 4
                                                                                                  : 8;
    while (m > 1 && local_bytes(params->head_dim, m, pieces) > device->local_bytes)
        m = m == 8 ? 4 : 1;
    return m;
}

static enum skv_status find_kernel(struct skv_queue *queue, uint32_t head_dim, uint32_t m, uint32_t dtype,
                                   cl_kernel *kernel)
{
    struct skv_cl_queue *own = (struct skv_cl_queue *)queue;
    struct skv_cl_device *device = skv_cl_device_of(queue);
    for (const struct skv_cl_attend_kernel *known = own->attend; known; known = known->next)
        if (known->head_dim == head_dim && known->m == m && known->dtype == dtype) {
            *kernel = known->kernel;
            return SKV_OK;
        }
    char options[128];
    cl_program program = NULL;
    cl_int code = CL_SUCCESS;
    snprintf(options, sizeof options,
             "-DSKV_ATTEND -DHEAD_DIM=%" PRIu32 " -DTILE=%" PRIu32 " -DLANES=%" PRIu32 " -DM=%" PRIu32 " -DBF16=%d",
             head_dim, tile_tokens(head_dim), lanes_of(head_dim), m, dtype == SKV_BF16);
    SKV_TRY(skv_cl_program(device, options, &program));
    struct skv_cl_attend_kernel *made = skv_alloc(sizeof *made);
    if (!made)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a kernel object");
    *made = (struct skv_cl_attend_kernel){.next = own->attend, .head_dim = head_dim, .m = m, .dtype = dtype};
    made->kernel = device->cl->clCreateKernel(program, "skv_attend", &code);
    if (code != CL_SUCCESS) {
        skv_free(made);
        return skv_cl_fail("clCreateKernel", code);
    }
    own->attend = made;
    *kernel = made->kernel;
    return SKV_OK;
}

uint32_t skv_cl_attend_split(const struct skv_device *device, const struct skv_attend_params *params)
{
    uint64_t n_tokens = params->max_cache_tokens + params->max_tail_tokens;
    /* Only shapes count here, so the records are taken to be as large as they can be. */
    uint32_t n_rows = params->n_new * (params->n_q_heads / params->n_kv_heads);
    uint32_t m = rows_of_kernel((const struct skv_cl_device *)device, params, params->head_dim / 4);
    uint64_t n_groups = (uint64_t)params->n_seqs * params->n_kv_heads * ((n_rows + m - 1) / m);
    uint64_t wanted = (uint64_t)device->info.compute_units * GROUPS_PER_UNIT / (n_groups ? n_groups : 1) + 1;
    uint64_t split = skv_round_up((n_tokens + wanted - 1) / wanted, 32);
    if (split < SPLIT_TOKENS_MIN)
        split = SPLIT_TOKENS_MIN;
    return split > UINT32_MAX / 2 ? UINT32_MAX / 2 / 32 * 32 : (uint32_t)split;
}

static void merge_args(struct skv_cl_launch *launch, const struct skv_cl_merge *args, struct skv_span part_out,
                       struct skv_span part_lse, struct skv_span sinks, struct skv_span out, struct skv_span lse)
{
    skv_cl_arg_value(launch, args, sizeof *args);
    skv_cl_arg_buffer(launch, part_out);
    skv_cl_arg_buffer(launch, part_lse);
    skv_cl_arg_buffer(launch, sinks);
    skv_cl_arg_buffer(launch, out);
    skv_cl_arg_buffer(launch, lse);
}

/* A group a row; the second dimension takes what the first should not. */
static enum skv_status launch_merge(struct skv_cl_launch *launch, uint64_t n_rows)
{
    uint64_t n_x = n_rows < 1u << 20 ? n_rows : 1u << 20;
    return skv_cl_launch(launch, MERGE_LANES, (size_t)n_x, (size_t)((n_rows + n_x - 1) / n_x), 1);
}

enum skv_status skv_cl_merge(struct skv_queue *queue, const struct skv_merge_params *params)
{
    struct skv_cl_merge args = {.part_out = skv_cl_offset(params->part_out, 4),
                                .part_lse = skv_cl_offset(params->part_lse, 4),
                                .out = skv_cl_offset(params->out, skv_dtype_bytes((skv_dtype)params->out_dtype)),
                                .out_seq_stride = params->head_dim,
                                .lse = skv_cl_offset(params->lse, 4),
                                .n_parts = params->n_parts,
                                .n_rows = params->n_rows,
                                .has_lse = params->lse.buffer != NULL,
                                .out_dtype = params->out_dtype,
                                .head_dim = params->head_dim,
                                .n_new = 1,
                                .n_q_heads = 1};
    struct skv_cl_launch launch = skv_cl_launch_begin(queue, SKV_CL_MERGE);
    merge_args(&launch, &args, params->part_out, params->part_lse, (struct skv_span){0}, params->out, params->lse);
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "merge opencl portable");
    return launch_merge(&launch, params->n_rows);
}

static struct skv_cl_attend args_of(const struct skv_attend_params *params, const struct skv_attend_plan *plan)
{
    uint32_t q_bytes = skv_dtype_bytes((skv_dtype)params->q_dtype);
    uint32_t out_bytes = skv_dtype_bytes((skv_dtype)params->out_dtype);
    struct skv_cl_attend args = {
        .k_blocks = skv_cl_offset(params->k_blocks, 4),
        .v_blocks = skv_cl_offset(params->v_blocks, 4),
        .block_stride = params->block_stride,
        .cache_lens = skv_cl_offset(params->cache_lens, 4),
        .tail_lens = skv_cl_offset(params->tail_lens, 4),
        .max_cache = params->max_cache_tokens,
        .max_tail = params->max_tail_tokens,
        .q = skv_cl_offset(params->q, q_bytes),
        .q_seq_stride = params->q_seq_stride,
        .q_token_stride = params->q_token_stride,
        .q_head_stride = params->q_head_stride,
        .k_tail = skv_cl_offset(params->k_tail, 2),
        .v_tail = skv_cl_offset(params->v_tail, 2),
        .tail_seq_stride = params->tail_seq_stride,
        .tail_token_stride = params->tail_token_stride,
        .tail_head_stride = params->tail_head_stride,
        .window = params->window,
        .sink_tokens = params->sink_tokens,
        .split_tokens = plan->split_tokens,
        .n_splits = plan->n_splits,
        .n_seqs = params->n_seqs,
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
        .merge = {.out = skv_cl_offset(params->out, out_bytes),
                  .out_seq_stride = params->out_seq_stride,
                  .out_token_stride = params->out_token_stride,
                  .out_head_stride = params->out_head_stride,
                  .lse = skv_cl_offset(params->lse, 4),
                  .sinks = skv_cl_offset(params->sink_logits, 4),
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
        args.k_pool = skv_cl_pool_of(&params->k_pool);
        args.v_pool = skv_cl_pool_of(&params->v_pool);
    }
    if (plan->n_splits > 1) {
        args.part_out = args.merge.part_out = (params->workspace.offset + plan->part_out_offset) / 4;
        args.part_lse = args.merge.part_lse = (params->workspace.offset + plan->part_lse_offset) / 4;
    }
    return args;
}

/* The heads of one launch, in both layouts. Returns how many it serves. */
static uint32_t take_heads(const struct skv_attend_params *params, uint32_t first, struct skv_cl_attend *args)
{
    const struct skv_layout *k = NULL, *v = NULL;
    if (params->max_cache_tokens) {
        k = params->k_pool.layout;
        v = params->v_pool.layout;
    }
    uint32_t n_k = skv_cl_heads_of(k, NULL, params->n_kv_heads, first, &args->k_heads);
    uint32_t n_v = skv_cl_heads_of(v, NULL, params->n_kv_heads, first, &args->v_heads);
    /* One layout may know all its heads at once where the other does not; `first` is then that of the other. */
    uint32_t n = n_k < n_v ? n_k : n_v;
    args->k_heads.first = first;
    return n < params->n_kv_heads - first ? n : params->n_kv_heads - first;
}

enum skv_status skv_cl_attend(struct skv_queue *queue, const struct skv_attend_params *params,
                              const struct skv_attend_plan *plan)
{
    struct skv_cl_attend args = args_of(params, plan);
    uint32_t n_rows = params->n_new * args.group;
    uint32_t m = rows_of_kernel(skv_cl_device_of(queue), params, args.pieces);
    cl_kernel kernel = NULL;
    SKV_TRY(find_kernel(queue, params->head_dim, m, params->dtype, &kernel));
    struct skv_span workspace = plan->n_splits > 1 ? params->workspace : (struct skv_span){0};
    for (uint32_t first = 0, n; first < params->n_kv_heads; first += n) {
        struct skv_cl_launch launch = {.queue = (struct skv_cl_queue *)queue, .kernel = kernel};
        n = take_heads(params, first, &args);
        skv_cl_arg_value(&launch, &args, sizeof args);
        skv_cl_arg_buffer(&launch, params->q);
        skv_cl_arg_buffer(&launch, params->k_pool.pages);
        skv_cl_arg_buffer(&launch, params->v_pool.pages);
        skv_cl_arg_buffer(&launch, params->k_blocks);
        skv_cl_arg_buffer(&launch, params->v_blocks);
        skv_cl_arg_buffer(&launch, params->cache_lens);
        skv_cl_arg_buffer(&launch, params->tail_lens);
        skv_cl_arg_buffer(&launch, params->k_tail);
        skv_cl_arg_buffer(&launch, params->v_tail);
        skv_cl_arg_buffer(&launch, params->sink_logits);
        skv_cl_arg_buffer(&launch, workspace);
        skv_cl_arg_buffer(&launch, workspace);
        skv_cl_arg_buffer(&launch, params->out);
        skv_cl_arg_buffer(&launch, params->lse);
        skv_cl_arg_faults(&launch);
        skv_cl_arg_local(&launch, (size_t)2 * tile_tokens(params->head_dim) * (2 * args.pieces | 1) * 4);
        SKV_TRY(skv_cl_launch(&launch, lanes_of(params->head_dim), plan->n_splits, (size_t)n * ((n_rows + m - 1) / m),
                              params->n_seqs));
    }
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "attend opencl portable.d%" PRIu32 ".m%" PRIu32 "%s",
             params->head_dim, m, plan->n_splits > 1 ? " + merge" : "");
    if (plan->n_splits == 1)
        return SKV_OK;
    struct skv_cl_launch launch = skv_cl_launch_begin(queue, SKV_CL_MERGE);
    merge_args(&launch, &args.merge, workspace, workspace, params->sink_logits, params->out, params->lse);
    return launch_merge(&launch, args.merge.n_rows);
}
