/* SPDX-License-Identifier: Apache-2.0
 *
 * The CUDA backend's kernels as OpenCL programs for NVIDIA's driver: what is compiled. There a group has 48 KiB of
 * group memory at most, of a size that is fixed when compiled, and no more than four such groups are resident on a
 * multiprocessor.
 */
#ifndef SKV_NVIDIA_PARAMS_H
#define SKV_NVIDIA_PARAMS_H

#include "backends/cuda/params.h"

/* As SKV_CUDA_TENSOR_VARIANTS, which it takes the place of. Four groups of three warps have as many bytes under way as
 * CUDA's, where their chunks are as long. */
#undef SKV_CUDA_TENSOR_VARIANTS
#define SKV_NVIDIA_VARIANTS(X)                         \
    X(d128_m4_f16_s96_a4, 128, 4, 0, 96, 4, 32, 12)    \
    X(d128_m4_f16_s144_a1, 128, 4, 0, 144, 1, 16, 12)  \
    X(d128_m4_f16_x_a4, 128, 4, 0, 0, 4, 16, 12)       \
    X(d128_m4_f16_x_a1, 128, 4, 0, 0, 1, 16, 12)       \
    X(d128_m4_bf16_s96_a4, 128, 4, 1, 96, 4, 32, 12)   \
    X(d128_m4_bf16_s144_a1, 128, 4, 1, 144, 1, 16, 12) \
    X(d128_m4_bf16_x_a4, 128, 4, 1, 0, 4, 16, 12)      \
    X(d128_m4_bf16_x_a1, 128, 4, 1, 0, 1, 16, 12)      \
    X(d128_m8_f16_s96_a4, 128, 8, 0, 96, 4, 16, 12)    \
    X(d128_m8_f16_s144_a1, 128, 8, 0, 144, 1, 32, 8)   \
    X(d128_m8_f16_x_a4, 128, 8, 0, 0, 4, 16, 12)       \
    X(d128_m8_f16_x_a1, 128, 8, 0, 0, 1, 16, 8)        \
    X(d128_m8_bf16_s96_a4, 128, 8, 1, 96, 4, 16, 12)   \
    X(d128_m8_bf16_s144_a1, 128, 8, 1, 144, 1, 32, 8)  \
    X(d128_m8_bf16_x_a4, 128, 8, 1, 0, 4, 16, 12)      \
    X(d128_m8_bf16_x_a1, 128, 8, 1, 0, 1, 16, 8)

#define SKV_NVIDIA_GROUPS 4
#define SKV_NVIDIA_WARPS_MIN 2

#define SKV_NVIDIA_ONE_KERNEL(...) +1
#define SKV_NVIDIA_ATTEND_KERNELS (0 SKV_NVIDIA_VARIANTS(SKV_NVIDIA_ONE_KERNEL))
/* Kernels have numbers: attention in the order of the variants, then compression. */
#define SKV_NVIDIA_COMPRESS SKV_NVIDIA_ATTEND_KERNELS
#define SKV_NVIDIA_KERNELS (SKV_NVIDIA_COMPRESS + 1)

/* Of the compression kernel: warps of a group at most. */
#define SKV_NVIDIA_COMPRESS_WARPS 3

/* Bytes of every kernel's scratch: 48 KiB without the kernels' own words. */
#define SKV_NVIDIA_SCRATCH_BYTES (48 * 1024 - 64)

#endif
