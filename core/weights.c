/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "core/check.h"

skv_status skv_channel_weights(skv_queue *queue, const skv_channel_weights_params *user_params)
{
    SKV_REQUIRE_NOT_NULL(queue, "queue");
    const struct skv_device *device = queue->device;
    struct skv_channel_weights_params params;
    SKV_TRY(skv_check_params("params", user_params, &params, sizeof params));
    SKV_TRY(skv_check_flags("params->flags", params.flags, SKV_OP_CHECK));
    SKV_REQUIRE(device->ops->channel_weights, SKV_ERROR_UNSUPPORTED, "device \"%s\" cannot make channel weights",
                device->info.id);
    SKV_REQUIRE(params.kind <= SKV_WEIGHTS_NORM, SKV_ERROR_INVALID_ARGUMENT,
                "kind is %" PRIu32 "; it must be an skv_weights_kind", params.kind);
    SKV_TRY(skv_check_dtype("dtype", &params.dtype, SKV_F16, 1u << SKV_F16 | 1u << SKV_BF16, device->limits.dtypes));
    SKV_TRY(skv_check_head_dim_on(device, params.head_dim));
    SKV_TRY(skv_check_kv_heads(params.n_kv_heads));
    SKV_REQUIRE(params.reserved == 0, SKV_ERROR_INVALID_ARGUMENT, "reserved is %" PRIu32 "; it must be 0",
                params.reserved);

    bool needs_rows = params.kind == SKV_WEIGHTS_NORM, has_queries = params.queries.data.buffer != NULL;
    SKV_REQUIRE(has_queries || needs_rows, SKV_ERROR_INVALID_ARGUMENT,
                "queries.data.buffer is NULL; SKV_WEIGHTS_QUERY_ABS needs queries");
    if (has_queries) {
        SKV_REQUIRE(params.n_q_heads >= params.n_kv_heads && params.n_q_heads % params.n_kv_heads == 0,
                    SKV_ERROR_INVALID_ARGUMENT,
                    "n_q_heads is %" PRIu32 "; it must be a multiple of n_kv_heads (%" PRIu32 ")", params.n_q_heads,
                    params.n_kv_heads);
        SKV_REQUIRE(params.n_queries >= 1, SKV_ERROR_INVALID_ARGUMENT, "n_queries is 0; it must be at least 1");
        SKV_TRY(skv_check_rows(device, "queries", &params.queries, params.n_queries, params.n_q_heads, params.head_dim,
                               2, false));
    }
    if (needs_rows) {
        SKV_REQUIRE(params.n_tokens >= 1, SKV_ERROR_INVALID_ARGUMENT, "n_tokens is 0; it must be at least 1");
        SKV_TRY(skv_check_rows(device, "rows", &params.rows, params.n_tokens, params.n_kv_heads, params.head_dim, 2,
                               false));
    }
    SKV_TRY(skv_check_span(device, "weights", params.weights, 4, (uint64_t)params.n_kv_heads * params.head_dim * 4));
    if (params.flags & SKV_OP_CHECK)
        return SKV_OK;
    return device->ops->channel_weights(queue, &params);
}
