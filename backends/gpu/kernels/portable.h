/* SPDX-License-Identifier: Apache-2.0
 *
 * All shared kernels, as languages that compile ahead of time take them; language.h comes before. The portable
 * attention kernel is there for head_dims up to each of four, and of either data type (backends/gpu/driver_device.c).
 */
#include <skv/skv.h>

#include "backends/gpu/params.h"
#include "core/format.h"

#define SKV_ROWS
/* Each builds on those before it. */
/* clang-format off */
#include "backends/gpu/kernels/common.h"
#include "backends/gpu/kernels/select.h"
#include "backends/gpu/kernels/rows.h"
#include "backends/gpu/kernels/merge.h"
/* clang-format on */

#define HEAD_DIM p->merge.head_dim
#define BF16 (p->dtype == SKV_BF16)
#define TILE SKV_GPU_TILE(HEAD_DIM_MAX)
#define LANES SKV_GPU_ATTEND_LANES(HEAD_DIM_MAX)

#define ATTEND 0
#include "backends/gpu/kernels/attend_rows.h"
#undef ATTEND

#define HEAD_DIM_MAX 64
#define M 1
#define ATTEND skv_kernel_attend_d64_m1
#include "backends/gpu/kernels/attend.h"
#undef ATTEND
#undef M
#define M 4
#define ATTEND skv_kernel_attend_d64_m4
#include "backends/gpu/kernels/attend.h"
#undef ATTEND
#undef M
#define M 8
#define ATTEND skv_kernel_attend_d64_m8
#include "backends/gpu/kernels/attend.h"
#undef ATTEND
#undef M
#undef HEAD_DIM_MAX

#define HEAD_DIM_MAX 128
#define M 1
#define ATTEND skv_kernel_attend_d128_m1
#include "backends/gpu/kernels/attend.h"
#undef ATTEND
#undef M
#define M 4
#define ATTEND skv_kernel_attend_d128_m4
#include "backends/gpu/kernels/attend.h"
#undef ATTEND
#undef M
#define M 8
#define ATTEND skv_kernel_attend_d128_m8
#include "backends/gpu/kernels/attend.h"
#undef ATTEND
#undef M
#undef HEAD_DIM_MAX

#define HEAD_DIM_MAX 256
#define M 1
#define ATTEND skv_kernel_attend_d256_m1
#include "backends/gpu/kernels/attend.h"
#undef ATTEND
#undef M
#define M 4
#define ATTEND skv_kernel_attend_d256_m4
#include "backends/gpu/kernels/attend.h"
#undef ATTEND
#undef M
#define M 8
#define ATTEND skv_kernel_attend_d256_m8
#include "backends/gpu/kernels/attend.h"
#undef ATTEND
#undef M
#undef HEAD_DIM_MAX

#define HEAD_DIM_MAX 512
#define M 1
#define ATTEND skv_kernel_attend_d512_m1
#include "backends/gpu/kernels/attend.h"
#undef ATTEND
#undef M
#define M 4
#define ATTEND skv_kernel_attend_d512_m4
#include "backends/gpu/kernels/attend.h"
#undef ATTEND
#undef M
#define M 8
#define ATTEND skv_kernel_attend_d512_m8
#include "backends/gpu/kernels/attend.h"
#undef ATTEND
#undef M
#undef HEAD_DIM_MAX

#undef HEAD_DIM
#undef BF16
#undef TILE
#undef LANES
