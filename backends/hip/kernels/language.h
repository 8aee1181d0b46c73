/* SPDX-License-Identifier: Apache-2.0
 *
 * The words of the shared kernels (backends/gpu/kernels), in HIP C++ as clang alone compiles it: no header of ROCm and
 * no device library. backends/cuda/kernels/language.h explains them.
 */
#ifndef SKV_LANGUAGE_H
#define SKV_LANGUAGE_H

#include <sys/types.h> /* ushort, uint, ulong */

/* Results must not depend on which compiler fuses a multiply with an add. */
#pragma clang fp contract(off)

typedef unsigned char uchar;
typedef long slong;
typedef uint uint2 __attribute__((ext_vector_type(2)));
typedef uint uint4 __attribute__((ext_vector_type(4)));
typedef float float4 __attribute__((ext_vector_type(4)));

#define GLOBAL
#define LOCAL
#define SHARED __attribute__((shared))
#define DEVICE static inline __attribute__((device, always_inline))
#define KERNEL(name, lanes) \
    extern "C" __attribute__((global)) void __attribute__((amdgpu_flat_work_group_size(lanes, lanes))) name
#define SCRATCH
#define SCRATCH_OF(words)                                                        \
    extern __attribute__((shared)) __attribute__((aligned(16))) uint scratch_[]; \
    uint *words = scratch_

DEVICE uint local_id()
{
    return __builtin_amdgcn_workitem_id_x();
}
DEVICE uint local_size()
{
    return __builtin_amdgcn_workgroup_size_x();
}
DEVICE uint group_x()
{
    return __builtin_amdgcn_workgroup_id_x();
}
DEVICE uint group_y()
{
    return __builtin_amdgcn_workgroup_id_y();
}
DEVICE uint group_z()
{
    return __builtin_amdgcn_workgroup_id_z();
}
DEVICE uint groups_x()
{
    return __builtin_amdgcn_grid_size_x() / __builtin_amdgcn_workgroup_size_x();
}
DEVICE void group_barrier()
{
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
DEVICE void group_barrier_global()
{
    group_barrier();
}

DEVICE uint popcount(uint x)
{
    return __builtin_popcount(x);
}
DEVICE uint leading_zeros(uint x)
{
    return x ? __builtin_clz(x) : 32;
}
DEVICE float as_float(uint x)
{
    return __builtin_bit_cast(float, x);
}
DEVICE uint as_uint(float x)
{
    return __builtin_bit_cast(uint, x);
}
/* fp16 bits and values; to the nearest, ties to even */
DEVICE float half_value(uint bits)
{
    return (float)__builtin_bit_cast(_Float16, (ushort)bits);
}
DEVICE uint half_bits(float x)
{
    return __builtin_bit_cast(ushort, (_Float16)x);
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
    return float4{x, y, z, w};
}

DEVICE uint min(uint a, uint b)
{
    return a < b ? a : b;
}
DEVICE ulong min(ulong a, ulong b)
{
    return a < b ? a : b;
}
DEVICE uint max(uint a, uint b)
{
    return a > b ? a : b;
}
DEVICE ulong max(ulong a, ulong b)
{
    return a > b ? a : b;
}

DEVICE void atomic_min_global(volatile uint *at, uint x)
{
    __hip_atomic_fetch_min((uint *)at, x, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
DEVICE void atomic_or_local(volatile uint *at, uint x)
{
    __hip_atomic_fetch_or((uint *)at, x, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
}

#include "floats.h"

#endif
