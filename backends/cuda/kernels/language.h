/* SPDX-License-Identifier: Apache-2.0
 *
 * The words of the shared kernels (backends/gpu/kernels), in CUDA C++.
 *
 * A shared kernel is C that OpenCL C and C++ both accept, and these words: GLOBAL and LOCAL in pointer types, SHARED in
 * front of a group's arrays, DEVICE in front of functions, KERNEL(name, lanes) in front of a kernel's parameters,
 * SCRATCH as its last one and SCRATCH_OF for the group memory whose size the host chooses.
 */
#ifndef SKV_LANGUAGE_H
#define SKV_LANGUAGE_H

#include <cuda_fp16.h>
#include <sys/types.h> /* ushort, uint, ulong */

typedef unsigned char uchar;
typedef long slong;

#define GLOBAL
#define LOCAL
#define SHARED __shared__
#define DEVICE __device__ __forceinline__
#define KERNEL(name, lanes) extern "C" __global__ void __launch_bounds__(lanes) name
#define SCRATCH
#define SCRATCH_OF(words)                            \
    extern __shared__ __align__(16) uint scratch_[]; \
    uint *words = scratch_

DEVICE uint local_id()
{
    return threadIdx.x;
}
DEVICE uint local_size()
{
    return blockDim.x;
}
DEVICE uint group_x()
{
    return blockIdx.x;
}
DEVICE uint group_y()
{
    return blockIdx.y;
}
DEVICE uint group_z()
{
    return blockIdx.z;
}
DEVICE uint groups_x()
{
    return gridDim.x;
}
DEVICE void group_barrier()
{
    __syncthreads();
}
DEVICE void group_barrier_global()
{
    __syncthreads();
}

DEVICE uint popcount(uint x)
{
    return __popc(x);
}
DEVICE uint leading_zeros(uint x)
{
    return __clz(x);
}
DEVICE float as_float(uint x)
{
    return __uint_as_float(x);
}
DEVICE uint as_uint(float x)
{
    return __float_as_uint(x);
}
/* fp16 bits and values; to the nearest, ties to even */
DEVICE float half_value(uint bits)
{
    return __half2float(__ushort_as_half((ushort)bits));
}
DEVICE uint half_bits(float x)
{
    return __half_as_ushort(__float2half_rn(x));
}
DEVICE float global_half(const ushort *at)
{
    return half_value(*at);
}
DEVICE float local_half(const ushort *at)
{
    return half_value(*at);
}
DEVICE void store_half(ushort *at, float x)
{
    *at = (ushort)half_bits(x);
}
DEVICE float4 make_four(float x, float y, float z, float w)
{
    return make_float4(x, y, z, w);
}
DEVICE float dot4(float4 a, float4 b)
{
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, a.x * b.x)));
}

DEVICE void atomic_min_global(volatile uint *at, uint x)
{
    atomicMin((uint *)at, x);
}
DEVICE void atomic_or_local(volatile uint *at, uint x)
{
    atomicOr((uint *)at, x);
}

#endif
