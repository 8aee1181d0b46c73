/* SPDX-License-Identifier: Apache-2.0
 *
 * What the exported functions of the fake CUDA driver share. It has declarations of its own: no toolkit is needed.
 */
#ifndef SKV_TESTS_FAKE_CUDA_H
#define SKV_TESTS_FAKE_CUDA_H

#include "tests/gpu/fake_driver.h"

/* Sized and numbered as in cuda.h. */
typedef int CUresult, CUdevice;
typedef unsigned long long CUdeviceptr;

#endif
