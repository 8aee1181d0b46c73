/* SPDX-License-Identifier: Apache-2.0
 *
 * All kernels of the HIP backend: the shared ones.
 */
#include "language.h"

#include "backends/gpu/kernels/portable.h"
