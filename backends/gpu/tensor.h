/* SPDX-License-Identifier: Apache-2.0
 *
 * How a call is laid out for the tensor-core attention kernels (backends/cuda/kernels/attend_tensor.h) and for
 * compression in one pass (compress_rows.h there), whichever driver launches them.
 */
#ifndef SKV_GPU_TENSOR_H
#define SKV_GPU_TENSOR_H

#include "backends/gpu/gpu.h"

/* A compiled kernel, as SKV_CUDA_TENSOR_VARIANTS (backends/cuda/params.h) lists them. */
struct skv_tensor_variant {
    const char *name;
    uint32_t head_dim, rows, dtype, stride, apart, chunk_tokens, warps;
};

/* The kernels that a backend has. */
struct skv_tensor_kernels {
    const struct skv_tensor_variant *variants;
    uint32_t n_variants;
    uint32_t rows_max;                        /* the most query rows that there are variants for */
    bool (*is_aligned)(struct skv_span span); /* to 16 bytes */
};

/* What a device has for their groups. */
struct skv_tensor_limits {
    uint32_t n_multiprocessors;
    uint32_t groups_max; /* resident on one */
    uint32_t warps_min;  /* of a group */
    /* Group memory: scratch of a group at most, what a group takes besides, all of a multiprocessor. */
    uint64_t scratch_bytes, own_bytes, all_bytes;
};

struct skv_tensor_cut {
    uint32_t n_warps, n_groups, n_stages, stage_bytes, scratch_bytes;
    uint32_t n_row_tiles, groups_of_unit, end_chunks; /* as in struct skv_cuda_attend */
    uint64_t time;                                    /* an estimate, to compare with others */
};

/* ---- tensor.c */

/* The variant for a call and how it is cut, or -1. */
int skv_tensor_find(const struct skv_tensor_kernels *kernels, const struct skv_tensor_limits *limits,
                    const struct skv_attend_params *params, struct skv_tensor_cut *cut);
/* Groups that leave sums for each other, at most; the bytes of these sums, and of their scales. */
uint32_t skv_tensor_parts_max(const struct skv_tensor_limits *limits, const struct skv_tensor_variant *variant);
uint64_t skv_tensor_sums_bytes(const struct skv_tensor_limits *limits, const struct skv_tensor_variant *variant);
uint64_t skv_tensor_scales_bytes(const struct skv_tensor_limits *limits, const struct skv_tensor_variant *variant);
/* Of all variants for these shapes the most bytes of sums and scales. */
uint64_t skv_tensor_workspace(const struct skv_tensor_kernels *kernels, const struct skv_tensor_limits *limits,
                              const struct skv_attend_params *params);

/* ---- compress_rows.c */

/* Whether the kernel can do the call. */
bool skv_compress_rows_fit(const struct skv_compress_params *params, bool (*is_aligned)(struct skv_span span));
/* Records one after the other in group memory: the distance, padding included; all group memory of a warp. */
#define SKV_COMPRESS_ROWS_PADDING 16
uint32_t skv_compress_rows_step(const struct skv_layout *layout);
uint32_t skv_compress_rows_warp_bytes(const struct skv_layout *layout);

/* ---- tensor_cut.c */

/* The cut that should take least; false where the variant cannot do the call. */
bool skv_tensor_cut(const struct skv_tensor_limits *limits, const struct skv_attend_params *params,
                    const struct skv_tensor_variant *variant, struct skv_tensor_cut *cut);

#endif
