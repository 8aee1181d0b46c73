/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernels that the OpenCL backend hands to NVIDIA's driver, for the emulator.
 */
/* First, so that the kernels' own includes of these names find them already there. */
/* clang-format off */
#include "tests/gpu/emulated/primitives.h"
#include "backends/opencl/nvidia/kernels.cu"
/* clang-format on */

#define EMULATED_VARIANT(name, ...) SKV_EMULATED_KERNEL(skv_kernel_attend_##name);
SKV_NVIDIA_VARIANTS(EMULATED_VARIANT)
SKV_EMULATED_KERNEL(skv_kernel_compress_rows);
#define EMULATED_DECOMPRESSION(head_dim) SKV_EMULATED_KERNEL(skv_kernel_decompress_rows_##head_dim);
SKV_CUDA_DECOMPRESS_VARIANTS(EMULATED_DECOMPRESSION)
