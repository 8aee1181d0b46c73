/* SPDX-License-Identifier: Apache-2.0
 *
 * What CUDA's and HIP's own attention kernels ask of a call.
 */
#include "backends/gpu/driver.h"

bool skv_driver_is_aligned(struct skv_span span)
{
    return skv_driver_address(span) % 16 == 0;
}

static bool is_tail_fit(const struct skv_attend_params *params)
{
    return skv_driver_is_aligned(params->k_tail) && skv_driver_is_aligned(params->v_tail) &&
           params->tail_seq_stride % 8 == 0 && params->tail_token_stride % 8 == 0 && params->tail_head_stride % 8 == 0;
}

bool skv_driver_is_plain_decode(const struct skv_attend_params *params)
{
    return params->n_new == 1 && !params->window && !(params->softcap > 0) && params->q_dtype == params->dtype &&
           params->scale > 0 && (!params->max_tail_tokens || is_tail_fit(params));
}
