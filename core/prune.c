/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "core/check.h"

/* The mask: u64 [n_tokens][n_kv_heads][words]. */
static enum skv_status check_mask(const struct skv_device *device, const struct skv_prune_params *params)
{
    uint64_t n_bytes;
    SKV_REQUIRE(skv_mul(params->n_tokens, params->n_kv_heads, &n_bytes) &&
                    skv_mul(n_bytes, SKV_BITMAP_BYTES(params->head_dim), &n_bytes),
                SKV_ERROR_OVERFLOW, "n_tokens is %" PRIu64 "; the mask does not fit 64 bits of bytes",
                params->n_tokens);
    return skv_check_span(device, "mask", params->mask, 8, n_bytes);
}

skv_status skv_prune(skv_queue *queue, const skv_prune_params *user_params)
{
    SKV_REQUIRE_NOT_NULL(queue, "queue");
    const struct skv_device *device = queue->device;
    struct skv_prune_params params;
    SKV_TRY(skv_check_params("params", user_params, &params, sizeof params));
    SKV_TRY(skv_check_flags("params->flags", params.flags, SKV_OP_CHECK));
    SKV_REQUIRE(device->ops->prune, SKV_ERROR_UNSUPPORTED, "device \"%s\" cannot prune", device->info.id);
    SKV_TRY(skv_check_dtype("dtype", &params.dtype, SKV_F16, 1u << SKV_F16 | 1u << SKV_BF16, device->limits.dtypes));
    SKV_TRY(skv_check_head_dim_on(device, params.head_dim));
    SKV_TRY(skv_check_kv_heads(params.n_kv_heads));
    SKV_REQUIRE(params.reserved == 0, SKV_ERROR_INVALID_ARGUMENT, "reserved is %" PRIu32 "; it must be 0",
                params.reserved);
    SKV_TRY(skv_check_rows(device, "in", &params.in, params.n_tokens, params.n_kv_heads, params.head_dim, 2, false));
    SKV_REQUIRE(params.out.data.buffer || params.mask.buffer, SKV_ERROR_INVALID_ARGUMENT,
                "out.data.buffer and mask.buffer are both NULL; one of them must be there");
    if (params.out.data.buffer)
        SKV_TRY(
            skv_check_rows(device, "out", &params.out, params.n_tokens, params.n_kv_heads, params.head_dim, 2, true));
    if (params.mask.buffer)
        SKV_TRY(check_mask(device, &params));
    SKV_TRY(skv_check_select(device, &params.select, NULL, params.head_dim, params.n_kv_heads, params.n_tokens));
    if (params.n_tokens == 0 || (params.flags & SKV_OP_CHECK))
        return SKV_OK;
    return device->ops->prune(queue, &params);
}
