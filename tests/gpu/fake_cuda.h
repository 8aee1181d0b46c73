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

#define EXPORT extern "C" __attribute__((visibility("default"))) CUresult
/* A call that needs nothing before it, cuInit, or a current context. */
#define BEGIN(check)                  \
    fake::call in_call;               \
    if (in_call.must_fail)            \
        return fake::UNKNOWN;         \
    if (fake::code refused = (check)) \
    return refused
/* A call that gives something back. */
#define GIVE_BACK(check, action) \
    fake::call in_call;          \
    fake::code result = (check); \
    if (!result)                 \
        result = (action);       \
    return in_call.must_fail ? fake::UNKNOWN : result

/* The two default streams, by their fixed handles, are one. */
inline fake::stream *stream_of(void *handle)
{
    return (uintptr_t)handle <= 2 ? nullptr : (fake::stream *)handle;
}

#endif
