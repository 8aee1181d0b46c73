/* SPDX-License-Identifier: Apache-2.0
 *
 * All kernels of the CUDA backend: the shared ones, and those for NVIDIA alone.
 */
#include "language.h"

#include "backends/gpu/kernels/portable.h"

/* Bulk copies came with sm_90. */
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#include "primitives.h"

#include "backends/cuda/params.h"

#include "attend_line.h"
#include "attend_places.h"
#include "attend_tensor.h"

#include "attend_group.h"
#include "attend_merge.h"

#include "attend_kernel.h"
#include "compress_rows.h"
#include "decompress_rows.h"
#endif
