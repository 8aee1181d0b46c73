/* SPDX-License-Identifier: Apache-2.0
 *
 * All kernels of the HIP backend: the shared ones, and those for matrix units where there are any.
 */
#include "language.h"

#include "backends/gpu/kernels/portable.h"

#include "matrix.h"
#if defined(SKV_MATRIX_LANES) || defined(SKV_DOT_LANES)
#include "backends/hip/params.h"

/* Each builds on those before it. */
/* clang-format off */
#include "attend_matrix.h"
#include "attend_copy.h"
#include "attend_softmax.h"
#ifdef SKV_DOT_LANES
#include "attend_dot.h"
#endif
#include "attend_group.h"
/* clang-format on */
#endif

#ifdef SKV_MATRIX_LANES
#define FOR_THIS_UNIT(name, head_dim, is_bf16) FOR_TYPE_##is_bf16(name, head_dim)
#define FOR_TYPE_1(name, head_dim) MATRIX_KERNEL(name, SKV_MATRIX_LANES, matrix_unit, head_dim, true)
#ifdef SKV_MATRIX_F16
#define FOR_TYPE_0(name, head_dim) MATRIX_KERNEL(name, SKV_MATRIX_LANES, matrix_unit, head_dim, false)
#else
#define FOR_TYPE_0(name, head_dim)
#endif
SKV_HIP_MATRIX_VARIANTS(FOR_THIS_UNIT)
#endif

#ifdef SKV_DOT_LANES
/* Where there are matrix units, 64 channels are left to them. */
#define FOR_DOTS(name, head_dim, rows, is_bf16) FOR_DOTS_##head_dim##_##is_bf16(name, rows)
#define FOR_DOTS_128_0(name, rows) DOT_KERNEL(name, SKV_DOT_LANES, 128, rows, false)
#ifdef SKV_DOT_BF16
#define FOR_DOTS_128_1(name, rows) DOT_KERNEL(name, SKV_DOT_LANES, 128, rows, true)
#else
#define FOR_DOTS_128_1(name, rows)
#endif
#ifdef SKV_MATRIX_LANES
#define FOR_DOTS_64_0(name, rows)
#else
#define FOR_DOTS_64_0(name, rows) DOT_KERNEL(name, SKV_DOT_LANES, 64, rows, false)
#endif
SKV_HIP_DOT_VARIANTS(FOR_DOTS)
#endif
