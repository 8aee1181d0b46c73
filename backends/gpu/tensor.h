/* SPDX-License-Identifier: Apache-2.0
 *
 * How a call is laid out for the tensor-core attention kernels (backends/cuda/kernels/attend_tensor.h) and for rows in
 * one pass (compress_rows.h and decompress_rows.h there), whichever driver launches them.
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

/* ---- compress_rows.c, decompress_rows.c: rows in one pass. What a backend has for such a kernel: */

struct skv_rows_kernel {
    enum skv_status (*enqueue)(const struct skv_gpu_launch *launch, void *kernel);
    void *kernel;
    uint32_t warps, groups; /* of a group at most; resident on a multiprocessor */
    bool scratch_is_fixed;  /* else its bytes are asked for */
};

/* Whether a kernel can do the call. */
bool skv_compress_rows_fit(const struct skv_compress_params *params, bool (*is_aligned)(struct skv_span span));
bool skv_decompress_rows_fit(const struct skv_decompress_params *params, bool (*is_aligned)(struct skv_span span));
/* Warps of a group, of `most`, that so much scratch has room for; 0: none, and the kernel cannot do the call. */
uint32_t skv_compress_rows_warps(const struct skv_layout *layout, uint32_t most, uint64_t scratch_bytes);
uint32_t skv_decompress_rows_warps(const struct skv_layout *layout, uint32_t most, uint64_t scratch_bytes);
enum skv_status skv_compress_rows(struct skv_queue *queue, const struct skv_compress_params *params,
                                  const struct skv_rows_kernel *kernel);
enum skv_status skv_decompress_rows(struct skv_queue *queue, const struct skv_decompress_params *params,
                                    const struct skv_rows_kernel *kernel);

/* ---- tensor_cut.c */

/* The cut that should take least; false where the variant cannot do the call. */
bool skv_tensor_cut(const struct skv_tensor_limits *limits, const struct skv_attend_params *params,
                    const struct skv_tensor_variant *variant, struct skv_tensor_cut *cut);

#endif
