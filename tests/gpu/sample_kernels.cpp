/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernels that the fake driver's own test launches.
 */
#include "tests/gpu/samples.h"

SKV_EMULATED_KERNEL(sample_add);
SKV_EMULATED_KERNEL(sample_reduce);
SKV_EMULATED_KERNEL(sample_bulk);
