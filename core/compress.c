/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "core/check.h"

skv_status skv_compress(skv_queue *queue, const skv_compress_params *user_params)
{
    SKV_REQUIRE_NOT_NULL(queue, "queue");
    const struct skv_device *device = queue->device;
    struct skv_compress_params params;
    SKV_TRY(skv_check_params("params", user_params, &params, sizeof params));
    SKV_TRY(skv_check_flags("params->flags", params.flags, SKV_OP_CHECK | SKV_COMPRESS_MEASURE));
    SKV_REQUIRE(device->ops->compress, SKV_ERROR_UNSUPPORTED, "device \"%s\" cannot compress", device->info.id);
    SKV_TRY(skv_check_pool(device, "pool", &params.pool));
    const struct skv_layout *layout = params.pool.layout;
    SKV_TRY(skv_check_rows(device, "in", &params.in, params.n_tokens, layout->n_kv_heads, layout->head_dim, 2, false));
    SKV_TRY(skv_check_slots(device, &params.pool, params.slot_mapping, params.first_slot, params.n_tokens, true));
    SKV_TRY(skv_check_select(device, &params.select, layout, layout->head_dim, layout->n_kv_heads, params.n_tokens));
    SKV_REQUIRE(!(params.flags & SKV_COMPRESS_MEASURE) || params.row_bytes.buffer, SKV_ERROR_INVALID_ARGUMENT,
                "row_bytes.buffer is NULL; SKV_COMPRESS_MEASURE needs it");
    if (params.row_bytes.buffer) {
        uint64_t n_bytes;
        SKV_REQUIRE(skv_mul(params.n_tokens, (uint64_t)layout->n_kv_heads * 4, &n_bytes), SKV_ERROR_OVERFLOW,
                    "n_tokens is %" PRIu64 "; row_bytes does not fit 64 bits of bytes", params.n_tokens);
        SKV_TRY(skv_check_span(device, "row_bytes", params.row_bytes, 4, n_bytes));
    }
    if (params.n_tokens == 0 || (params.flags & SKV_OP_CHECK))
        return SKV_OK;
    return device->ops->compress(queue, &params);
}
