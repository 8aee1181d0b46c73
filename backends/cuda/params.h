/* SPDX-License-Identifier: Apache-2.0
 *
 * What the host hands to the kernels that CUDA alone has.
 */
#ifndef SKV_CUDA_PARAMS_H
#define SKV_CUDA_PARAMS_H

#include "backends/gpu/params.h"

/* Tokens of a step of the tensor-core attention kernel's matrix products, which dense chunks have. */
#define SKV_CUDA_STEP_ROWS 8
/* Warps of a group, at least. */
#define SKV_CUDA_WARPS_MIN 4
/* Parts of a line, at most. */
#define SKV_CUDA_PARTS_MAX 1024
/* Bytes from dense row to dense row in group memory: 16 more than a row has, so that rows start in different banks. */
#define SKV_CUDA_DENSE_STRIDE(head_dim) (2 * (head_dim) + 16)
/* Query rows of one tile of the matrix unit. */
#define SKV_CUDA_TILE_ROWS 4

/* The decompression kernels: X(head_dim). */
#define SKV_CUDA_DECOMPRESS_VARIANTS(X) X(64) X(128) X(256)
/* Lanes of their groups, which are the rows of each, and groups of a multiprocessor. */
#define SKV_CUDA_DECOMPRESS_LANES 128
#define SKV_CUDA_DECOMPRESS_GROUPS 8

/* The compiled variants: X(name, head_dim, query rows, is bf16, row stride (0: any multiple of 16), distance of a
 * lane's two tokens, tokens of a chunk (a divisor of 32, as pages are multiples of it), warps that a
 * multiprocessor has registers for: a group has 4 of them, half, or all; tokens of a chunk where a group has no more
 * than 48 KiB of group memory). */
#define SKV_CUDA_SMALL_VARIANTS(X)                        \
    X(d64_m4_f16_s48_a1, 64, 4, 0, 48, 1, 32, 16, 32)     \
    X(d64_m4_f16_s80_a1, 64, 4, 0, 80, 1, 16, 16, 16)     \
    X(d64_m4_f16_x_a4, 64, 4, 0, 0, 4, 32, 16, 16)        \
    X(d64_m4_f16_x_a1, 64, 4, 0, 0, 1, 32, 16, 16)        \
    X(d64_m4_bf16_x_a4, 64, 4, 1, 0, 4, 32, 16, 16)       \
    X(d64_m4_bf16_x_a1, 64, 4, 1, 0, 1, 32, 16, 16)       \
    X(d64_m8_f16_x_a4, 64, 8, 0, 0, 4, 32, 12, 16)        \
    X(d64_m8_f16_x_a1, 64, 8, 0, 0, 1, 32, 12, 32)        \
    X(d64_m8_bf16_x_a4, 64, 8, 1, 0, 4, 32, 12, 16)       \
    X(d64_m8_bf16_x_a1, 64, 8, 1, 0, 1, 32, 12, 32)       \
    X(d64_m16_f16_x_a4, 64, 16, 0, 0, 4, 16, 12, 16)      \
    X(d64_m16_f16_x_a1, 64, 16, 0, 0, 1, 16, 12, 16)      \
    X(d64_m16_bf16_x_a4, 64, 16, 1, 0, 4, 16, 12, 16)     \
    X(d64_m16_bf16_x_a1, 64, 16, 1, 0, 1, 16, 12, 16)     \
    X(d128_m4_f16_s96_a4, 128, 4, 0, 96, 4, 32, 12, 32)   \
    X(d128_m4_f16_s144_a1, 128, 4, 0, 144, 1, 32, 8, 16)  \
    X(d128_m4_f16_x_a4, 128, 4, 0, 0, 4, 16, 12, 16)      \
    X(d128_m4_f16_x_a1, 128, 4, 0, 0, 1, 16, 12, 16)      \
    X(d128_m4_bf16_s96_a4, 128, 4, 1, 96, 4, 32, 12, 32)  \
    X(d128_m4_bf16_s144_a1, 128, 4, 1, 144, 1, 32, 8, 16) \
    X(d128_m4_bf16_x_a4, 128, 4, 1, 0, 4, 16, 12, 16)     \
    X(d128_m4_bf16_x_a1, 128, 4, 1, 0, 1, 16, 12, 16)     \
    X(d128_m8_f16_s96_a4, 128, 8, 0, 96, 4, 32, 12, 16)   \
    X(d128_m8_f16_s144_a1, 128, 8, 0, 144, 1, 32, 8, 32)  \
    X(d128_m8_f16_x_a4, 128, 8, 0, 0, 4, 32, 12, 16)      \
    X(d128_m8_f16_x_a1, 128, 8, 0, 0, 1, 32, 8, 16)       \
    X(d128_m8_bf16_x_a4, 128, 8, 1, 0, 4, 32, 12, 16)     \
    X(d128_m8_bf16_x_a1, 128, 8, 1, 0, 1, 32, 8, 16)      \
    X(d128_m16_f16_x_a4, 128, 16, 0, 0, 4, 32, 8, 16)     \
    X(d128_m16_f16_x_a1, 128, 16, 0, 0, 1, 32, 8, 16)     \
    X(d128_m16_bf16_x_a4, 128, 16, 1, 0, 4, 32, 8, 16)    \
    X(d128_m16_bf16_x_a1, 128, 16, 1, 0, 1, 32, 8, 16)    \
    X(d256_m4_f16_x_a4, 256, 4, 0, 0, 4, 16, 8, 16)       \
    X(d256_m4_f16_x_a1, 256, 4, 0, 0, 1, 16, 8, 16)       \
    X(d256_m4_bf16_x_a4, 256, 4, 1, 0, 4, 16, 8, 16)      \
    X(d256_m4_bf16_x_a1, 256, 4, 1, 0, 1, 16, 8, 16)
/* Those for which 48 KiB do not suffice. */
#define SKV_CUDA_LARGE_VARIANTS(X)                  \
    X(d256_m8_f16_x_a4, 256, 8, 0, 0, 4, 16, 8, 0)  \
    X(d256_m8_f16_x_a1, 256, 8, 0, 0, 1, 16, 8, 0)  \
    X(d256_m8_bf16_x_a4, 256, 8, 1, 0, 4, 16, 8, 0) \
    X(d256_m8_bf16_x_a1, 256, 8, 1, 0, 1, 16, 8, 0)
#define SKV_CUDA_TENSOR_VARIANTS(X) SKV_CUDA_SMALL_VARIANTS(X) SKV_CUDA_LARGE_VARIANTS(X)

/* Group memory of the tensor-core attention kernel: for each warp a ring of stages and, behind it, the plan of its next
 * copies, which loads past a last record may read; then each warp's sums, then the barriers of its stages. */
struct skv_cuda_attend {
    struct skv_gpu_attend shared;
    skv_u32 n_seqs, n_stages, stage_bytes;
    skv_u32 n_row_tiles;    /* groups of query rows of a KV head, each of which reads the cache for itself */
    skv_u32 groups_of_unit; /* that share a unit; 0: a group has a part of the line */
    skv_u32 end_chunks;     /* what the end of a unit costs, as chunks of a group */
};

/* Of each warp. */
#define SKV_CUDA_MERGE_BYTES(head_dim, rows) ((rows) * ((head_dim)*4 + 8))
#define SKV_CUDA_BARRIER_BYTES 8
/* Chunks of a warp that will be copied, one for each lane: addresses, then words of information. */
#define SKV_CUDA_COPIES 32
#define SKV_CUDA_COPY_BYTES 32
#define SKV_CUDA_PLAN_BYTES (SKV_CUDA_COPIES * SKV_CUDA_COPY_BYTES)

#endif
