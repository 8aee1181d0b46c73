/* SPDX-License-Identifier: Apache-2.0
 *
 * All kernels of the HIP backend: the shared ones, and those for matrix units where there are any.
 */
#include "language.h"

#include "backends/gpu/kernels/portable.h"

#include "matrix.h"
#ifdef SKV_MATRIX_LANES
#include "backends/hip/params.h"

#include "attend_matrix.h"

#include "attend_copy.h"

#include "attend_group.h"

#define FOR_THIS_UNIT(name, head_dim, is_bf16) FOR_TYPE_##is_bf16(name, head_dim)
#define FOR_TYPE_1(name, head_dim) MATRIX_KERNEL(name, SKV_MATRIX_LANES, matrix_unit, head_dim, true)
#ifdef SKV_MATRIX_F16
#define FOR_TYPE_0(name, head_dim) MATRIX_KERNEL(name, SKV_MATRIX_LANES, matrix_unit, head_dim, false)
#else
#define FOR_TYPE_0(name, head_dim)
#endif
SKV_HIP_MATRIX_VARIANTS(FOR_THIS_UNIT)
#endif
