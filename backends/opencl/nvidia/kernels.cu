/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernels of the CUDA backend that the OpenCL backend hands to NVIDIA's driver as PTX (tools/opencl_ptx.py), compiled
 * for that driver's limits.
 */
#include "backends/cuda/kernels/language.h"

#include <skv/skv.h>

#include "backends/cuda/kernels/primitives.h"
#include "backends/opencl/nvidia/params.h"
#include "core/format.h"

/* The shared kernels' functions without the kernels: a template that nothing names is not compiled. */
#undef KERNEL
#define KERNEL(name, lanes) template <int> DEVICE void name
#define SKV_ROWS
#define ATTEND 0
/* Each builds on those before it. */
/* clang-format off */
#include "backends/gpu/kernels/common.h"
#include "backends/gpu/kernels/select.h"
#include "backends/gpu/kernels/rows.h"
#include "backends/gpu/kernels/attend_rows.h"
/* clang-format on */

/* Group memory of a fixed size; the CPU's emulator (tests/gpu) has its own. */
#ifdef __CUDACC__
#undef SCRATCH_ADDRESS
#define SCRATCH_ADDRESS(address)                                             \
    __shared__ __align__(1024) uchar raw_scratch_[SKV_NVIDIA_SCRATCH_BYTES]; \
    const uint address = (uint)__cvta_generic_to_shared(raw_scratch_)
#endif

#include "backends/cuda/kernels/attend_line.h"
#include "backends/cuda/kernels/attend_places.h"
#include "backends/cuda/kernels/attend_tensor.h"

#include "backends/cuda/kernels/attend_group.h"
#include "backends/cuda/kernels/attend_merge.h"

#undef SKV_CUDA_TENSOR_VARIANTS
#define SKV_CUDA_TENSOR_VARIANTS(X)
#include "backends/cuda/kernels/attend_kernel.h"

/* With the chunks that 48 KiB have room for. */
#define SMALL_KERNEL(name, head_dim, rows, bf16, stride, apart, chunk, warps, small_chunk) \
    TENSOR_KERNEL(name, head_dim, rows, bf16, stride, apart, small_chunk, warps)
SKV_NVIDIA_VARIANTS(SMALL_KERNEL)

#include "backends/cuda/kernels/compress_rows.h"

#undef SKV_CUDA_DECOMPRESS_LANES
#undef SKV_CUDA_DECOMPRESS_GROUPS
#define SKV_CUDA_DECOMPRESS_LANES (32 * SKV_NVIDIA_DECOMPRESS_WARPS)
#define SKV_CUDA_DECOMPRESS_GROUPS SKV_NVIDIA_GROUPS
#include "backends/cuda/kernels/decompress_rows.h"
