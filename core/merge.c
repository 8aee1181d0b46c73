/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "core/check.h"

skv_status skv_merge(skv_queue *queue, const skv_merge_params *user_params)
{
    SKV_REQUIRE_NOT_NULL(queue, "queue");
    const struct skv_device *device = queue->device;
    struct skv_merge_params params;
    SKV_TRY(skv_check_params("params", user_params, &params, sizeof params));
    SKV_TRY(skv_check_flags("params->flags", params.flags, SKV_OP_CHECK));
    SKV_REQUIRE(device->ops->merge, SKV_ERROR_UNSUPPORTED, "device \"%s\" cannot merge", device->info.id);
    SKV_TRY(skv_check_head_dim_on(device, params.head_dim));
    SKV_TRY(skv_check_dtype("out_dtype", &params.out_dtype, SKV_F32, 1u << SKV_F16 | 1u << SKV_BF16 | 1u << SKV_F32,
                            device->limits.query_dtypes));
    SKV_REQUIRE(params.n_parts >= 1, SKV_ERROR_INVALID_ARGUMENT, "n_parts is 0; it must be at least 1");
    uint64_t part_rows, part_bytes, out_bytes;
    SKV_REQUIRE(skv_mul(params.n_parts, params.n_rows, &part_rows) &&
                    skv_mul(part_rows, 4 * (uint64_t)params.head_dim, &part_bytes),
                SKV_ERROR_OVERFLOW, "n_parts is %" PRIu64 " and n_rows %" PRIu64 "; part_out does not fit 64 bits",
                params.n_parts, params.n_rows);
    SKV_TRY(skv_check_span(device, "part_out", params.part_out, 4, part_bytes));
    SKV_TRY(skv_check_span(device, "part_lse", params.part_lse, 4, part_rows * 4));
    uint32_t out_value_bytes = skv_dtype_bytes((skv_dtype)params.out_dtype);
    /* Fits, since part_bytes does and n_parts is at least 1. */
    out_bytes = params.n_rows * params.head_dim * out_value_bytes;
    SKV_TRY(skv_check_span(device, "out", params.out, out_value_bytes, out_bytes));
    if (params.lse.buffer)
        SKV_TRY(skv_check_span(device, "lse", params.lse, 4, params.n_rows * 4));
    if (params.n_rows == 0 || (params.flags & SKV_OP_CHECK))
        return SKV_OK;
    return device->ops->merge(queue, &params);
}
