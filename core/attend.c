/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>

#include "core/check.h"

/* Splits that a sequence is cut into at most, and tokens that a split has at least, when the caller leaves the choice.
 * A split's partial result costs one output row per query row, so 256 tokens keep that below 2 % of the bytes read; 32
 * splits of the longest sequence keep some tens of cores busy with a single KV head. */
#define SPLITS_MAX 32
#define SPLIT_TOKENS_MIN 256

#define WORKSPACE_ALIGNMENT 64

/* Shapes only: what skv_attend_workspace may look at too. Fills defaults of dtypes, group and scale. */
static enum skv_status check_shapes(const struct skv_device *device, struct skv_attend_params *params)
{
    uint32_t kv_types = 1u << SKV_F16 | 1u << SKV_BF16;
    SKV_TRY(skv_check_flags("params->flags", params->flags, SKV_OP_CHECK));
    SKV_REQUIRE(device->ops->attend, SKV_ERROR_UNSUPPORTED, "device \"%s\" cannot attend", device->info.id);
    SKV_TRY(skv_check_head_dim_on(device, params->head_dim));
    SKV_TRY(skv_check_kv_heads(params->n_kv_heads));
    SKV_REQUIRE(params->n_q_heads >= 1 && params->n_q_heads % params->n_kv_heads == 0, SKV_ERROR_INVALID_ARGUMENT,
                "n_q_heads is %" PRIu32 "; it must be a multiple of n_kv_heads (%" PRIu32 ")", params->n_q_heads,
                params->n_kv_heads);
    SKV_REQUIRE(params->n_q_heads / params->n_kv_heads <= device->limits.group_max, SKV_ERROR_UNSUPPORTED,
                "n_q_heads / n_kv_heads is %" PRIu32 "; device \"%s\" supports groups up to %" PRIu32,
                params->n_q_heads / params->n_kv_heads, device->info.id, device->limits.group_max);
    SKV_REQUIRE(params->n_new >= 1, SKV_ERROR_INVALID_ARGUMENT, "n_new is 0; it must be at least 1");
    SKV_REQUIRE(params->n_new <= device->limits.new_tokens_max, SKV_ERROR_UNSUPPORTED,
                "n_new is %" PRIu32 "; device \"%s\" supports up to %" PRIu32, params->n_new, device->info.id,
                device->limits.new_tokens_max);
    SKV_TRY(skv_check_dtype("dtype", &params->dtype, SKV_F16, kv_types, device->limits.dtypes));
    SKV_TRY(skv_check_dtype("q_dtype", &params->q_dtype, params->dtype, 1u << params->dtype | 1u << SKV_F32,
                            device->limits.query_dtypes));
    SKV_TRY(skv_check_dtype("out_dtype", &params->out_dtype, params->dtype, 1u << params->dtype | 1u << SKV_F32,
                            device->limits.query_dtypes));
    SKV_REQUIRE(params->max_cache_tokens <= INT32_MAX, SKV_ERROR_OVERFLOW,
                "max_cache_tokens is %" PRIu64 "; lengths are 32-bit, it must be at most %d", params->max_cache_tokens,
                INT32_MAX);
    SKV_REQUIRE(params->max_tail_tokens <= INT32_MAX, SKV_ERROR_OVERFLOW,
                "max_tail_tokens is %" PRIu64 "; lengths are 32-bit, it must be at most %d", params->max_tail_tokens,
                INT32_MAX);
    SKV_REQUIRE(params->split_tokens % 32 == 0, SKV_ERROR_INVALID_ARGUMENT,
                "split_tokens is %" PRIu32 "; it must be a multiple of 32", params->split_tokens);
    return SKV_OK;
}

static enum skv_status make_plan(const struct skv_device *device, const struct skv_attend_params *params,
                                 struct skv_attend_plan *plan)
{
    uint64_t n_tokens = params->max_cache_tokens + params->max_tail_tokens;
    memset(plan, 0, sizeof *plan);
    plan->split_tokens = params->split_tokens;
    if (plan->split_tokens == 0 && device->ops->attend_split)
        plan->split_tokens = device->ops->attend_split(device, params);
    if (plan->split_tokens == 0) {
        uint64_t even = skv_round_up((n_tokens + SPLITS_MAX - 1) / SPLITS_MAX, 32);
        plan->split_tokens = even > SPLIT_TOKENS_MIN ? (uint32_t)even : SPLIT_TOKENS_MIN;
    }
    plan->n_splits = (uint32_t)((n_tokens + plan->split_tokens - 1) / plan->split_tokens);
    if (device->ops->attend_workspace)
        plan->workspace_bytes = device->ops->attend_workspace(device, params);
    if (plan->n_splits <= 1) {
        plan->n_splits = 1;
        return SKV_OK;
    }
    uint64_t n_rows = (uint64_t)params->n_seqs * params->n_new, n_parts, out_bytes, lse_bytes, n_bytes;
    SKV_REQUIRE(skv_mul(n_rows, params->n_q_heads, &n_rows) && skv_mul(n_rows, plan->n_splits, &n_parts) &&
                    skv_mul(n_parts, 4 * (uint64_t)params->head_dim, &out_bytes) && skv_mul(n_parts, 4, &lse_bytes) &&
                    skv_add(out_bytes, WORKSPACE_ALIGNMENT, &out_bytes) && skv_add(out_bytes, lse_bytes, &n_bytes),
                SKV_ERROR_OVERFLOW,
                "n_seqs is %" PRIu32 ", n_new %" PRIu32 ", n_q_heads %" PRIu32 " and the sequence is cut into %" PRIu32
                " splits; the workspace does not fit 64 bits of bytes",
                params->n_seqs, params->n_new, params->n_q_heads, plan->n_splits);
    plan->part_lse_offset = skv_round_up(n_parts * 4 * params->head_dim, WORKSPACE_ALIGNMENT);
    n_bytes = plan->part_lse_offset + lse_bytes;
    if (plan->workspace_bytes < n_bytes)
        plan->workspace_bytes = n_bytes;
    return SKV_OK;
}

/* Entry i of a table of lengths, which must lie in [0, limit]. */
static enum skv_status check_lengths(const struct skv_device *device, const char *name, struct skv_span span,
                                     uint32_t n_seqs, uint64_t limit)
{
    if (!span.buffer)
        return SKV_OK;
    SKV_TRY(skv_check_span(device, name, span, 4, (uint64_t)n_seqs * 4));
    if (!skv_contents_visible(device))
        return SKV_OK;
    const int32_t *lengths = skv_host(span);
    for (uint32_t s = 0; s < n_seqs; s++)
        SKV_REQUIRE(lengths[s] >= 0 && (uint64_t)lengths[s] <= limit, SKV_ERROR_OUT_OF_BOUNDS,
                    "%s[%" PRIu32 "] is %" PRId32 "; it must be from 0 to %" PRIu64, name, s, lengths[s], limit);
    return SKV_OK;
}

static enum skv_status check_blocks(const struct skv_device *device, const struct skv_attend_params *params,
                                    const char *name, struct skv_span blocks, const struct skv_pool *pool)
{
    uint32_t page_tokens = pool->layout->page_tokens;
    uint64_t needed = (params->max_cache_tokens + page_tokens - 1) / page_tokens;
    SKV_REQUIRE(params->block_stride >= needed, SKV_ERROR_INVALID_ARGUMENT,
                "block_stride is %" PRIu64 "; %" PRIu64 " tokens need %" PRIu64 " blocks of %s", params->block_stride,
                params->max_cache_tokens, needed, name);
    uint64_t n_entries;
    SKV_REQUIRE(skv_mul(params->n_seqs - 1, params->block_stride, &n_entries) &&
                    skv_add(n_entries, needed, &n_entries) && n_entries <= UINT64_MAX / 4,
                SKV_ERROR_OVERFLOW, "block_stride is %" PRIu64 "; the table does not fit 64 bits of bytes",
                params->block_stride);
    SKV_TRY(skv_check_span(device, name, blocks, 4, n_entries * 4));
    if (!skv_contents_visible(device))
        return SKV_OK;
    const int32_t *lengths = skv_host(params->cache_lens), *table = skv_host(blocks);
    for (uint32_t s = 0; s < params->n_seqs; s++) {
        uint64_t length = lengths ? (uint64_t)lengths[s] : params->max_cache_tokens;
        uint64_t n_blocks = (length + page_tokens - 1) / page_tokens;
        for (uint64_t i = 0; i < n_blocks; i++) {
            int32_t block = table[s * params->block_stride + i];
            SKV_REQUIRE(block >= 0 && (uint64_t)block < pool->n_blocks, SKV_ERROR_OUT_OF_BOUNDS,
                        "%s[%" PRIu32 "][%" PRIu64 "] is %" PRId32 "; the pool has %" PRIu64 " blocks", name, s, i,
                        block, pool->n_blocks);
        }
    }
    return SKV_OK;
}

static enum skv_status check_cache_pool(const struct skv_device *device, const struct skv_attend_params *params,
                                        const char *name, const struct skv_pool *pool)
{
    SKV_TRY(skv_check_pool(device, name, pool));
    const struct skv_layout *layout = pool->layout;
    SKV_REQUIRE(layout->head_dim == params->head_dim, SKV_ERROR_INVALID_ARGUMENT,
                "%s.layout has head_dim %" PRIu32 "; it must be head_dim (%" PRIu32 ")", name, layout->head_dim,
                params->head_dim);
    SKV_REQUIRE(layout->n_kv_heads == params->n_kv_heads, SKV_ERROR_INVALID_ARGUMENT,
                "%s.layout has n_kv_heads %" PRIu32 "; it must be n_kv_heads (%" PRIu32 ")", name, layout->n_kv_heads,
                params->n_kv_heads);
    SKV_REQUIRE(layout->dtype == params->dtype, SKV_ERROR_INVALID_ARGUMENT,
                "%s.layout has dtype %" PRIu32 "; it must be dtype (%" PRIu32 ")", name, layout->dtype, params->dtype);
    return SKV_OK;
}

static enum skv_status check_cache(const struct skv_device *device, struct skv_attend_params *params)
{
    if (params->max_cache_tokens == 0) {
        params->cache_lens = (struct skv_span){NULL, 0};
        return SKV_OK;
    }
    SKV_TRY(check_cache_pool(device, params, "k_pool", &params->k_pool));
    SKV_TRY(check_cache_pool(device, params, "v_pool", &params->v_pool));
    SKV_TRY(check_lengths(device, "cache_lens", params->cache_lens, params->n_seqs, params->max_cache_tokens));
    uint32_t k_page = params->k_pool.layout->page_tokens, v_page = params->v_pool.layout->page_tokens;
    if (!params->v_blocks.buffer) {
        SKV_REQUIRE(k_page == v_page, SKV_ERROR_INVALID_ARGUMENT,
                    "v_blocks is absent; without it the pages of k_pool (%" PRIu32 " tokens) and v_pool (%" PRIu32
                    ") must be equal",
                    k_page, v_page);
        params->v_blocks = params->k_blocks;
    }
    if (params->block_stride == 0) {
        uint32_t page = k_page < v_page ? k_page : v_page;
        params->block_stride = (params->max_cache_tokens + page - 1) / page;
    }
    SKV_TRY(check_blocks(device, params, "k_blocks", params->k_blocks, &params->k_pool));
    return check_blocks(device, params, "v_blocks", params->v_blocks, &params->v_pool);
}

static enum skv_status check_tail(const struct skv_device *device, struct skv_attend_params *params)
{
    if (params->max_tail_tokens == 0) {
        params->tail_lens = (struct skv_span){NULL, 0};
        return SKV_OK;
    }
    struct skv_tensor tensor = {
        .name = "k_tail",
        .span = params->k_tail,
        .value_bytes = 2,
        .n_dims = 3,
        .dims = {params->n_seqs, params->max_tail_tokens, params->n_kv_heads},
        .strides = {&params->tail_seq_stride, &params->tail_token_stride, &params->tail_head_stride},
        .inner = params->head_dim};
    SKV_TRY(skv_check_tensor(device, &tensor));
    tensor.name = "v_tail";
    tensor.span = params->v_tail;
    SKV_TRY(skv_check_tensor(device, &tensor));
    return check_lengths(device, "tail_lens", params->tail_lens, params->n_seqs, params->max_tail_tokens);
}

static enum skv_status check_rows_of_queries(const struct skv_device *device, struct skv_attend_params *params)
{
    struct skv_tensor tensor = {.name = "q",
                                .span = params->q,
                                .value_bytes = skv_dtype_bytes((skv_dtype)params->q_dtype),
                                .n_dims = 3,
                                .dims = {params->n_seqs, params->n_new, params->n_q_heads},
                                .strides = {&params->q_seq_stride, &params->q_token_stride, &params->q_head_stride},
                                .inner = params->head_dim};
    SKV_TRY(skv_check_tensor(device, &tensor));
    tensor.name = "out";
    tensor.span = params->out;
    tensor.value_bytes = skv_dtype_bytes((skv_dtype)params->out_dtype);
    tensor.strides[0] = &params->out_seq_stride;
    tensor.strides[1] = &params->out_token_stride;
    tensor.strides[2] = &params->out_head_stride;
    tensor.written = true;
    SKV_TRY(skv_check_tensor(device, &tensor));
    /* Fits: out has at least as many elements. */
    uint64_t n_rows = (uint64_t)params->n_seqs * params->n_new * params->n_q_heads;
    if (params->lse.buffer)
        SKV_TRY(skv_check_span(device, "lse", params->lse, 4, n_rows * 4));
    if (params->sink_logits.buffer)
        SKV_TRY(skv_check_span(device, "sink_logits", params->sink_logits, 4, (uint64_t)params->n_q_heads * 4));
    return SKV_OK;
}

static enum skv_status check_scores(struct skv_attend_params *params)
{
    SKV_REQUIRE(isfinite(params->scale), SKV_ERROR_INVALID_ARGUMENT, "scale is %g; it must be finite",
                (double)params->scale);
    SKV_REQUIRE(isfinite(params->softcap) && params->softcap >= 0, SKV_ERROR_INVALID_ARGUMENT,
                "softcap is %g; it must be finite and at least 0", (double)params->softcap);
    SKV_REQUIRE(params->sink_tokens == 0 || params->window != 0, SKV_ERROR_INVALID_ARGUMENT,
                "sink_tokens is %" PRIu64 "; it needs a window", params->sink_tokens);
    SKV_REQUIRE(params->reserved == 0, SKV_ERROR_INVALID_ARGUMENT, "reserved is %" PRIu32 "; it must be 0",
                params->reserved);
    if (params->scale == 0)
        params->scale = (float)(1 / sqrt((double)params->head_dim));
    return SKV_OK;
}

skv_status skv_attend_workspace(const skv_device *device, const skv_attend_params *user_params, uint64_t *n_bytes)
{
    SKV_REQUIRE_NOT_NULL(device, "device");
    SKV_REQUIRE_NOT_NULL(n_bytes, "n_bytes");
    struct skv_attend_params params;
    struct skv_attend_plan plan;
    SKV_TRY(skv_check_params("params", user_params, &params, sizeof params));
    SKV_TRY(check_shapes(device, &params));
    SKV_TRY(make_plan(device, &params, &plan));
    *n_bytes = plan.workspace_bytes;
    return SKV_OK;
}

skv_status skv_attend(skv_queue *queue, const skv_attend_params *user_params)
{
    SKV_REQUIRE_NOT_NULL(queue, "queue");
    struct skv_device *device = queue->device;
    struct skv_attend_params params;
    struct skv_attend_plan plan;
    SKV_TRY(skv_check_params("params", user_params, &params, sizeof params));
    SKV_TRY(check_shapes(device, &params));
    SKV_TRY(check_scores(&params));
    if (params.n_seqs == 0)
        return SKV_OK;
    SKV_TRY(check_rows_of_queries(device, &params));
    SKV_TRY(check_cache(device, &params));
    SKV_TRY(check_tail(device, &params));
    SKV_TRY(make_plan(device, &params, &plan));
    if (plan.workspace_bytes)
        SKV_TRY(skv_check_span(device, "workspace", params.workspace, WORKSPACE_ALIGNMENT, plan.workspace_bytes));
    if (device->ops->attend_check)
        SKV_TRY(device->ops->attend_check(device, &params));
    if (params.flags & SKV_OP_CHECK)
        return SKV_OK;
    return device->ops->attend(queue, &params, &plan);
}
