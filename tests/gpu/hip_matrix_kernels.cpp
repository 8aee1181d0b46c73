/* SPDX-License-Identifier: Apache-2.0
 *
 * The HIP backend's kernels for matrix units and dot products, for the emulator: once for each family of them.
 */
/* First, so that the kernels' own includes of these names find them already there. */
/* clang-format off */
#include "tests/gpu/emulated/matrix.h"

#include <skv/skv.h>

#include "backends/hip/params.h"
#include "core/format.h"
#include "backends/gpu/kernels/common.h"
#define ATTEND 0
#include "backends/gpu/kernels/attend_rows.h"
#include "backends/hip/kernels/attend_matrix.h"
#include "backends/hip/kernels/attend_copy.h"
#include "backends/hip/kernels/attend_softmax.h"
#include "backends/hip/kernels/attend_dot.h"
#include "backends/hip/kernels/attend_group.h"
/* clang-format on */

#define EMULATED_VARIANT(name, head_dim, is_bf16)             \
    MATRIX_KERNEL(name, 64, cdna, head_dim, is_bf16)          \
    MATRIX_KERNEL(name, 32, rdna3, head_dim, is_bf16)         \
    MATRIX_KERNEL(name##_rdna4, 32, rdna4, head_dim, is_bf16) \
    SKV_EMULATED_KERNEL(skv_kernel_attend_w64_##name);        \
    SKV_EMULATED_KERNEL(skv_kernel_attend_w32_##name);        \
    SKV_EMULATED_KERNEL(skv_kernel_attend_w32_##name##_rdna4);
SKV_HIP_MATRIX_VARIANTS(EMULATED_VARIANT)

#define EMULATED_DOTS(name, head_dim, rows, is_bf16)       \
    DOT_KERNEL(name, 64, head_dim, rows, is_bf16)          \
    DOT_KERNEL(name, 32, head_dim, rows, is_bf16)          \
    SKV_EMULATED_KERNEL(skv_kernel_attend_dot_w64_##name); \
    SKV_EMULATED_KERNEL(skv_kernel_attend_dot_w32_##name);
SKV_HIP_DOT_VARIANTS(EMULATED_DOTS)
