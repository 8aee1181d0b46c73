/* SPDX-License-Identifier: Apache-2.0
 *
 * What the host hands to the kernels that CUDA alone has.
 */
#ifndef SKV_CUDA_PARAMS_H
#define SKV_CUDA_PARAMS_H

#include "backends/gpu/params.h"

/* Warps of a group of the tensor-core attention kernel; tokens of a step of its matrix products, which dense chunks
 * have. */
#define SKV_CUDA_WARPS 4
#define SKV_CUDA_STEP_ROWS 8
/* Parts of a line, at most. */
#define SKV_CUDA_PARTS_MAX 1024
/* Bytes from dense row to dense row in group memory: 16 more than a row has, so that rows start in different banks. */
#define SKV_CUDA_DENSE_STRIDE 272
/* Query rows of one tile of the matrix unit. */
#define SKV_CUDA_TILE_ROWS 4

/* Group memory of the tensor-core attention kernel: for each warp a ring of stages, then each warp's sums, then the
 * plan of each warp's next copies, then the barriers of its stages. */
struct skv_cuda_attend {
    struct skv_gpu_attend shared;
    skv_u32 n_seqs, n_stages, stage_bytes;
    skv_u32 n_row_tiles; /* groups of query rows of a KV head, each of which reads the cache for itself */
    skv_u32 by_unit;     /* 1: a group of the launch for each unit, 0: for each part of the line */
    skv_u32 reserved;
};

#define SKV_CUDA_MERGE_BYTES(tiles) (SKV_CUDA_WARPS * SKV_CUDA_TILE_ROWS * (tiles) * (128 * 4 + 8))
#define SKV_CUDA_BARRIER_BYTES 8
/* 32 chunks of a warp that will be copied: addresses, then words of information. */
#define SKV_CUDA_COPY_BYTES 32
#define SKV_CUDA_PLAN_BYTES (32 * SKV_CUDA_COPY_BYTES)

#endif
