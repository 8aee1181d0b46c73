/* SPDX-License-Identifier: Apache-2.0
 *
 * All kernels of the CUDA backend: the shared ones, and those for NVIDIA alone.
 */
#include "language.h"

#include "backends/gpu/kernels/portable.h"
