/* SPDX-License-Identifier: Apache-2.0
 *
 * The CUDA backend's kernels as OpenCL programs for NVIDIA's driver: what is compiled. There a group has 48 KiB of
 * group memory at most, of a size that is fixed when compiled, and no more than four such groups are resident on a
 * multiprocessor.
 */
#ifndef SKV_NVIDIA_PARAMS_H
#define SKV_NVIDIA_PARAMS_H

#include "backends/cuda/params.h"

/* Attention: those of CUDA's variants that have room. Four groups of three warps have as many bytes under way as
 * CUDA's, where their chunks are as long. */
#define SKV_NVIDIA_VARIANTS(X) SKV_CUDA_SMALL_VARIANTS(X)

#define SKV_NVIDIA_GROUPS 4
#define SKV_NVIDIA_WARPS_MIN 2

#define SKV_NVIDIA_ONE_KERNEL(...) +1
#define SKV_NVIDIA_ATTEND_KERNELS (0 SKV_NVIDIA_VARIANTS(SKV_NVIDIA_ONE_KERNEL))
#define SKV_NVIDIA_DECOMPRESS_KERNELS (0 SKV_CUDA_DECOMPRESS_VARIANTS(SKV_NVIDIA_ONE_KERNEL))
/* Kernels have numbers: attention in the order of the variants, then decompression, then compression. */
#define SKV_NVIDIA_DECOMPRESS SKV_NVIDIA_ATTEND_KERNELS
#define SKV_NVIDIA_COMPRESS (SKV_NVIDIA_DECOMPRESS + SKV_NVIDIA_DECOMPRESS_KERNELS)
#define SKV_NVIDIA_KERNELS (SKV_NVIDIA_COMPRESS + 1)

/* Warps of a group at most. With eight, decompression has as many on a multiprocessor as in CUDA. */
#define SKV_NVIDIA_COMPRESS_WARPS 3
#define SKV_NVIDIA_DECOMPRESS_WARPS 8

/* Bytes of every kernel's scratch: 48 KiB without the kernels' own words. */
#define SKV_NVIDIA_SCRATCH_BYTES (48 * 1024 - 64)

#endif
