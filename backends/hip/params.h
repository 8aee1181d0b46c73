/* SPDX-License-Identifier: Apache-2.0
 *
 * What the host hands to the kernels that HIP alone has.
 */
#ifndef SKV_HIP_PARAMS_H
#define SKV_HIP_PARAMS_H

#include "backends/gpu/params.h"

/* Waves of a group of the matrix attention kernels; tokens of a chunk and query rows, which are the sides of the matrix
 * unit's tile. */
#define SKV_HIP_WAVES 4
#define SKV_HIP_TILE 16
/* Waves whose registers a SIMD has room for. */
#define SKV_HIP_RESIDENT(lanes, head_dim) ((lanes) == 64 ? (head_dim) == 256 ? 2 : 3 : (head_dim) == 256 ? 5 : 6)
/* Bytes that a lane copies at once; of a record, at most. */
#define SKV_HIP_PIECE 16
#define SKV_HIP_PIECES_MAX(head_dim) ((head_dim) == 64 ? 8 : (head_dim) / 128 * 12)
/* Group memory of a wave: for K and V, or for one after the other, with 256 channels and for dot products. */
#define SKV_HIP_AREAS(head_dim) ((head_dim) == 256 ? 1 : 2)
#define SKV_HIP_DOT_AREAS 1
/* From row to row in group memory: an odd multiple of 8, so that 16 rows start in different banks. */
#define SKV_HIP_ROW_STRIDE(pieces) (SKV_HIP_PIECE * (pieces) + 8)
/* A dense row there is a record that keeps all channels. */
#define SKV_HIP_DENSE_STRIDE(head_dim) (((head_dim) / 8 + 2 * (head_dim)) | 8)
#define SKV_HIP_DENSE_ROWS_MAX 8
/* `rows` of those, and an empty bitmap for all others. */
#define SKV_HIP_DENSE_BYTES(head_dim, rows) (SKV_HIP_DENSE_STRIDE(head_dim) * (rows) + (head_dim) / 8 + 8)

/* The compiled variants: X(name, head_dim, is bf16). */
#define SKV_HIP_MATRIX_VARIANTS(X) \
    X(d64_f16, 64, 0)              \
    X(d64_bf16, 64, 1)             \
    X(d128_f16, 128, 0)            \
    X(d128_bf16, 128, 1)           \
    X(d256_f16, 256, 0)            \
    X(d256_bf16, 256, 1)

/* The same of dot products: X(name, head_dim, query rows, is bf16). A SIMD of a target with waves of 64 has registers
 * for one wave of four rows. */
#define SKV_HIP_DOT_RESIDENT(lanes, rows) ((rows) == 1 ? (lanes) == 64 ? 2 : 5 : (lanes) == 64 ? 1 : 4)
#define SKV_HIP_DOT_VARIANTS(X) \
    X(d64_m1_f16, 64, 1, 0)     \
    X(d64_m4_f16, 64, 4, 0)     \
    X(d128_m1_f16, 128, 1, 0)   \
    X(d128_m4_f16, 128, 4, 0)   \
    X(d128_m1_bf16, 128, 1, 1)  \
    X(d128_m4_bf16, 128, 4, 1)

/* Group memory of the matrix attention kernels: the table of selectors, with waves of 32 lanes the queries, for each
 * wave its areas, and what reads past the last row may reach. The sums of the waves, when all rows are done, take the
 * areas' place. */
#define SKV_HIP_TABLE_BYTES 128
#define SKV_HIP_QUERY_STRIDE(head_dim) (2 * (head_dim) + 16)
#define SKV_HIP_QUERY_BYTES(head_dim, lanes) ((lanes) == 32 ? SKV_HIP_TILE * SKV_HIP_QUERY_STRIDE(head_dim) : 0)
#define SKV_HIP_SCALES_BYTES (SKV_HIP_WAVES * SKV_HIP_TILE * 8)
#define SKV_HIP_SUM_WORDS(head_dim) ((head_dim) + 1) /* of a row: rows start in different banks */
#define SKV_HIP_SUMS_BYTES(head_dim) (SKV_HIP_SCALES_BYTES + SKV_HIP_TILE * SKV_HIP_SUM_WORDS(head_dim) * 4)
#define SKV_HIP_SLACK_BYTES(head_dim) (2 * (head_dim) + 32)

struct skv_hip_attend {
    struct skv_gpu_attend shared;
    skv_u32 area_bytes; /* a multiple of 16 */
    skv_u32 dense_rows; /* of a chunk of the tail: 4 or 8 */
};

#endif
