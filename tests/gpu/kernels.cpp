/* SPDX-License-Identifier: Apache-2.0
 *
 * The CUDA backend's kernels, for the emulator. Every kernel is listed: a macro in front of its parameters cannot know
 * their types.
 */
/* First, so that the kernels' own includes of these names find them already there. */
/* clang-format off */
#include "tests/gpu/emulated/primitives.h"
#include "backends/cuda/kernels/kernels.cu"
/* clang-format on */

#include "tests/gpu/shared_kernels.h"

#define EMULATED_VARIANT(name, ...) SKV_EMULATED_KERNEL(skv_kernel_attend_##name);
SKV_CUDA_TENSOR_VARIANTS(EMULATED_VARIANT)
SKV_EMULATED_KERNEL(skv_kernel_compress_rows);
#define EMULATED_DECOMPRESSION(head_dim) SKV_EMULATED_KERNEL(skv_kernel_decompress_rows_##head_dim);
SKV_CUDA_DECOMPRESS_VARIANTS(EMULATED_DECOMPRESSION)
