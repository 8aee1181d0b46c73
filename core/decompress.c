/* SPDX-License-Identifier: Apache-2.0 */
#include "core/check.h"

skv_status skv_decompress(skv_queue *queue, const skv_decompress_params *user_params)
{
    SKV_REQUIRE_NOT_NULL(queue, "queue");
    const struct skv_device *device = queue->device;
    struct skv_decompress_params params;
    SKV_TRY(skv_check_params("params", user_params, &params, sizeof params));
    SKV_TRY(skv_check_flags("params->flags", params.flags, SKV_OP_CHECK));
    SKV_REQUIRE(device->ops->decompress, SKV_ERROR_UNSUPPORTED, "device \"%s\" cannot decompress", device->info.id);
    SKV_TRY(skv_check_pool(device, "pool", &params.pool));
    const struct skv_layout *layout = params.pool.layout;
    SKV_TRY(skv_check_slots(device, &params.pool, params.slot_mapping, params.first_slot, params.n_tokens, false));
    SKV_TRY(skv_check_rows(device, "out", &params.out, params.n_tokens, layout->n_kv_heads, layout->head_dim, 2, true));
    if (params.n_tokens == 0 || (params.flags & SKV_OP_CHECK))
        return SKV_OK;
    return device->ops->decompress(queue, &params);
}
