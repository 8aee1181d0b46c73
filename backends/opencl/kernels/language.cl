/* SPDX-License-Identifier: Apache-2.0
 *
 * The words of the shared kernels (backends/gpu/kernels), in OpenCL C 1.2. backends/cuda/kernels/language.h explains
 * them.
 */
#pragma OPENCL FP_CONTRACT OFF

typedef long slong;

#define GLOBAL __global
#define LOCAL __local
#define SHARED __local
#define DEVICE inline
#define KERNEL(name, lanes) __kernel __attribute__((reqd_work_group_size(lanes, 1, 1))) void name
#define SCRATCH , __local uint *scratch_
#define SCRATCH_OF(words) __local uint *words = scratch_

#define local_id() ((uint)get_local_id(0))
#define local_size() ((uint)get_local_size(0))
#define group_x() ((uint)get_group_id(0))
#define group_y() ((uint)get_group_id(1))
#define group_z() ((uint)get_group_id(2))
#define groups_x() ((uint)get_num_groups(0))
#define group_barrier() barrier(CLK_LOCAL_MEM_FENCE)
#define group_barrier_global() barrier(CLK_GLOBAL_MEM_FENCE)

#define leading_zeros(x) clz(x)
#define global_half(at) vload_half(0, (const __global half *)(at))
#define local_half(at) vload_half(0, (const __local half *)(at))
#define store_half(at, x) vstore_half_rte(x, 0, (__global half *)(at))
#define make_four(x, y, z, w) ((float4)(x, y, z, w))
#define dot4(a, b) dot(a, b)

inline void atomic_min_global(volatile __global uint *at, uint x)
{
    atomic_min(at, x);
}

inline void atomic_or_local(volatile __local uint *at, uint x)
{
    atomic_or(at, x);
}
