/* SPDX-License-Identifier: Apache-2.0
 *
 * The HIP backend's kernels, for the emulator.
 */
/* First, so that the kernels' own include of this name finds it already there. */
/* clang-format off */
#include "tests/gpu/emulated/language.h"
#include "backends/gpu/kernels/portable.h"
/* clang-format on */

#include "tests/gpu/shared_kernels.h"
