/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tensor-core attention kernels can do: decoding of one token, records at strides that are multiples of 16
 * bytes.
 */
#include "backends/gpu/tensor.h"

#include "backends/cuda/params.h"

/* Tokens of a lane far apart or next to each other: what starts rows of this stride in different banks. */
static uint32_t apart_of(uint32_t stride)
{
    return stride / 4 % 16 == 8 ? 4 : 1;
}

static bool is_cache_fit(const struct skv_tensor_kernels *kernels, const struct skv_attend_params *params)
{
    const struct skv_layout *k = params->k_pool.layout, *v = params->v_pool.layout;
    return k->form == SKV_FIXED && v->form == SKV_FIXED && k->uniform && v->uniform &&
           k->head[0].row_stride % 16 == 0 && v->head[0].row_stride % 16 == 0 &&
           kernels->is_aligned(params->k_pool.pages) && kernels->is_aligned(params->v_pool.pages);
}

/* Query rows of a kernel: those of a group, in as few passes over the cache as can be. */
static uint32_t rows_of(const struct skv_tensor_kernels *kernels, const struct skv_attend_params *params)
{
    uint32_t group = params->n_q_heads / params->n_kv_heads, rows = 0;
    for (uint32_t i = 0; i < kernels->n_variants; i++) {
        uint32_t own = kernels->variants[i].rows;
        if (kernels->variants[i].head_dim == params->head_dim &&
            (rows < group ? own > rows : own >= group && own < rows))
            rows = own;
    }
    return rows;
}

static bool is_call_fit(const struct skv_tensor_kernels *kernels, const struct skv_attend_params *params)
{
    return skv_gpu_is_plain_decode(params, kernels->is_aligned) && !params->split_tokens &&
           (!params->max_cache_tokens || is_cache_fit(kernels, params));
}

int skv_tensor_find(const struct skv_tensor_kernels *kernels, const struct skv_tensor_limits *limits,
                    const struct skv_attend_params *params, struct skv_tensor_cut *cut)
{
    bool has_cache = params->max_cache_tokens != 0;
    int found = -1;
    if (!is_call_fit(kernels, params))
        return -1;
    uint32_t k_stride = has_cache ? params->k_pool.layout->head[0].row_stride : SKV_CUDA_DENSE_STRIDE(params->head_dim);
    uint32_t v_stride = has_cache ? params->v_pool.layout->head[0].row_stride : k_stride;
    for (uint32_t i = 0; i < kernels->n_variants; i++) {
        const struct skv_tensor_variant *variant = &kernels->variants[i];
        struct skv_tensor_cut own;
        bool stride_fits = variant->stride ? has_cache && k_stride == variant->stride && v_stride == variant->stride
                                           : variant->apart == apart_of(k_stride);
        if (variant->head_dim == params->head_dim && variant->dtype == params->dtype && stride_fits &&
            variant->rows == rows_of(kernels, params) && skv_tensor_cut(limits, params, variant, &own) &&
            (found < 0 || own.time < cut->time)) {
            found = (int)i;
            *cut = own;
        }
    }
    return found;
}

uint32_t skv_tensor_parts_max(const struct skv_tensor_limits *limits, const struct skv_tensor_variant *variant)
{
    uint32_t groups = variant->warps / limits->warps_min;
    return (groups < limits->groups_max ? groups : limits->groups_max) * limits->n_multiprocessors;
}

/* Two slots of each group: of its first unit and of its last. */
uint64_t skv_tensor_sums_bytes(const struct skv_tensor_limits *limits, const struct skv_tensor_variant *variant)
{
    return (uint64_t)2 * skv_tensor_parts_max(limits, variant) * variant->rows * variant->head_dim * 4;
}

uint64_t skv_tensor_scales_bytes(const struct skv_tensor_limits *limits, const struct skv_tensor_variant *variant)
{
    return (uint64_t)2 * skv_tensor_parts_max(limits, variant) * variant->rows * 2 * 4;
}

uint64_t skv_tensor_workspace(const struct skv_tensor_kernels *kernels, const struct skv_tensor_limits *limits,
                              const struct skv_attend_params *params)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < kernels->n_variants && params->n_new == 1; i++) {
        const struct skv_tensor_variant *variant = &kernels->variants[i];
        uint64_t n_bytes = skv_tensor_sums_bytes(limits, variant) + skv_tensor_scales_bytes(limits, variant);
        if (variant->head_dim == params->head_dim && n_bytes > most)
            most = n_bytes;
    }
    return most;
}
