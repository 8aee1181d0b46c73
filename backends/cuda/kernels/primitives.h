/* SPDX-License-Identifier: Apache-2.0
 *
 * What NVIDIA's kernels use beyond the shared language: warps, asynchronous copies and tensor cores, in PTX. Addresses
 * of group memory are 32-bit numbers here. tests/gpu has the same functions for the CPU.
 */
#ifndef SKV_PRIMITIVES_H
#define SKV_PRIMITIVES_H

#include "language.h"

#define WARP_LANES 32
/* Bytes of group memory, 1024-byte aligned, whose size the host chooses; its address. */
#define SCRATCH_ADDRESS(address)                            \
    extern __shared__ __align__(1024) uchar raw_scratch_[]; \
    const uint address = (uint)__cvta_generic_to_shared(raw_scratch_)

/* A kernel of which so many groups are to be resident on a multiprocessor. */
#define KERNEL_RESIDENT(name, lanes, groups) extern "C" __global__ void __launch_bounds__(lanes, groups) name

/* ---- warps: all 32 lanes take part */

DEVICE void warp_barrier()
{
    __syncwarp();
}
DEVICE uint shuffle(uint x, uint lane)
{
    return __shfl_sync(~0u, x, lane);
}
DEVICE float shuffle(float x, uint lane)
{
    return __shfl_sync(~0u, x, lane);
}
DEVICE uint shuffle_xor(uint x, uint mask)
{
    return __shfl_xor_sync(~0u, x, mask);
}
DEVICE float shuffle_xor(float x, uint mask)
{
    return __shfl_xor_sync(~0u, x, mask);
}
/* Of values that all lanes have alike: one of which the compiler knows that, too. */
DEVICE uint same_in_all(uint x)
{
    return __shfl_sync(~0u, x, 0);
}
/* True in one lane, which may then start bulk copies without a loop over all. */
DEVICE bool elected()
{
    uint x;
    asm volatile("{.reg .pred p; elect.sync _|p, 0xffffffff; selp.u32 %0, 1, 0, p;}" : "=r"(x));
    return x;
}
DEVICE uint lane_ballot(bool x)
{
    return __ballot_sync(~0u, x);
}
DEVICE bool any_lane(bool x)
{
    return __any_sync(~0u, x);
}
DEVICE bool all_lanes(bool x)
{
    return __all_sync(~0u, x);
}

/* ---- arithmetic */

DEVICE float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
/* a * b + c, which the compiler does not take apart. */
DEVICE uint add_product(uint a, uint b, uint c)
{
    uint x;
    asm("mad.lo.u32 %0, %1, %2, %3;" : "=r"(x) : "r"(a), "r"(b), "r"(c));
    return x;
}
DEVICE uint funnel_right(uint low, uint high, uint n)
{
    return __funnelshift_r(low, high, n);
}
DEVICE uint funnel_left(uint low, uint high, uint n)
{
    return __funnelshift_l(low, high, n);
}
/* Byte i of the result is byte selector[4i+3:4i] of high:low. */
DEVICE uint permute(uint low, uint high, uint selector)
{
    uint x;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(x) : "r"(low), "r"(high), "r"(selector));
    return x;
}
/* x >> 16, twice, of halves that are normal fp16 numbers: what multiplies those has more room than what shifts words.
 */
DEVICE uint twice_upper_half(uint x)
{
    asm("{.reg .b16 l, h; .reg .b32 t; mov.b32 {l, h}, %1; mov.b32 t, {h, h}; mul.rn.f16x2 %0, t, %2;}"
        : "=r"(x)
        : "r"(x), "r"(0x3c003c00));
    return x;
}
/* Two values as a word, the first in the low half, to the nearest even. */
DEVICE uint pack_half(float x, float y)
{
    __half2 pair = __floats2half2_rn(x, y);
    return *(uint *)&pair;
}
DEVICE uint pack_bf16(float x, float y)
{
    uint pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(y), "f"(x));
    return pair;
}

/* ---- group memory by address */

template <int OFFSET = 0> DEVICE uint load_shared(uint at)
{
    uint x;
    asm volatile("ld.shared.u32 %0, [%1+%2];" : "=r"(x) : "r"(at), "n"(OFFSET));
    return x;
}
template <int OFFSET = 0> DEVICE uint2 load_shared2(uint at)
{
    uint2 x;
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2+%3];" : "=r"(x.x), "=r"(x.y) : "r"(at), "n"(OFFSET));
    return x;
}
template <int OFFSET = 0> DEVICE uint4 load_shared4(uint at)
{
    uint4 x;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4+%5];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "r"(at), "n"(OFFSET));
    return x;
}
template <int OFFSET = 0> DEVICE uint load_shared16(uint at)
{
    uint x;
    asm volatile("ld.shared.u16 %0, [%1+%2];" : "=r"(x) : "r"(at), "n"(OFFSET));
    return x;
}
DEVICE void store_shared(uint at, uint x)
{
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(at), "r"(x) : "memory");
}
DEVICE void store_shared2(uint at, uint2 x)
{
    asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(at), "r"(x.x), "r"(x.y) : "memory");
}
DEVICE void store_shared4(uint at, uint4 x)
{
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w)
                 : "memory");
}
/* Two words of 64 bits, at a multiple of 16. */
DEVICE void load_shared_pair(ulong (&x)[2], uint at)
{
    asm volatile("ld.shared.v2.u64 {%0, %1}, [%2];" : "=l"(x[0]), "=l"(x[1]) : "r"(at));
}
/* Two matrices of 8 rows of 8 16-bit elements, turned: x[m] of lane (i, j) holds column i of rows 2j and 2j + 1. Lane
 * 8m + r names row r of matrix m, at a multiple of 16. */
DEVICE void load_turned(uint (&x)[2], uint at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(x[0]), "=r"(x[1]) : "r"(at));
}
/* Where bits & MASK is not 0, the 16 bits at *at, which moves on by 2; else 0. */
template <uint MASK> DEVICE uint take_shared16_if(uint *at, uint bits)
{
    uint x;
    asm volatile("{.reg .pred p; .reg .b32 t; and.b32 t, %2, %3; setp.ne.u32 p, t, 0; mov.b32 %0, 0;"
                 "@p ld.shared.u16 %0, [%1]; @p add.u32 %1, %1, 2;}"
                 : "=&r"(x), "+r"(*at)
                 : "r"(bits), "n"(MASK));
    return x;
}
/* Where bits & MASK is not 0, stores the low 16 bits of x at *at and moves *at on by 2. */
template <uint MASK> DEVICE void append_shared16_if(uint *at, uint bits, uint x)
{
    asm volatile("{.reg .pred p; .reg .b32 t; .reg .b16 h, g; and.b32 t, %1, %3; setp.ne.u32 p, t, 0;"
                 "mov.b32 {h, g}, %2; @p st.shared.u16 [%0], h; @p add.u32 %0, %0, 2;}"
                 : "+r"(*at)
                 : "r"(bits), "r"(x), "n"(MASK)
                 : "memory");
}
/* Keeps values in registers: by way of group memory, a word of each lane for each value, so that the compiler cannot
 * compute them anew. `at` is the first word of the lane's warp. */
template <int N> DEVICE void pin(uint (&x)[N], uint at)
{
    at += threadIdx.x % WARP_LANES * 4;
    for (int n = 0; n < N; n++)
        asm volatile("st.volatile.shared.u32 [%0], %1;" ::"r"(at + n * 4 * WARP_LANES), "r"(x[n]) : "memory");
    for (int n = 0; n < N; n++)
        asm volatile("ld.volatile.shared.u32 %0, [%1];" : "=r"(x[n]) : "r"(at + n * 4 * WARP_LANES) : "memory");
}

/* ---- copies of 16 bytes by each lane */

DEVICE void copy_async16(uint to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
DEVICE void copy_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
/* Waits until at most N of the lane's groups are under way. */
template <int N> DEVICE void copy_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* ---- bulk copies (sm_90): n_bytes and addresses are multiples of 16 */

DEVICE void bulk_barrier_init(uint at)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(at) : "memory");
}
DEVICE void bulk_barriers_ready()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
DEVICE void bulk_expect(uint barrier, uint n_bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(n_bytes) : "memory");
}
DEVICE void bulk_load(uint to, const void *from, uint n_bytes, uint barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(n_bytes), "r"(barrier)
                 : "memory");
}
/* Waits for the end of the barrier's phase of this parity. */
DEVICE void bulk_wait(uint barrier, uint parity)
{
    asm volatile("{\n.reg .pred done;\nwait_%=:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@!done bra wait_%=;\n}" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
}
/* What the lane stored in group memory comes before bulk copies to there. */
DEVICE void bulk_after_stores()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* ---- between groups */

/* Adds 1 and returns what was there. What the lane's group wrote before its last barrier is seen by lanes that pass a
 * barrier of their group after one of them has found here that this group arrived. */
DEVICE uint arrive(uint *at)
{
    uint before;
    asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;" : "=r"(before) : "l"(at) : "memory");
    return before;
}
/* Reads memory that another group has written during this launch. */
DEVICE float load_fresh(const float *at)
{
    return __ldcg(at);
}
DEVICE float4 load_fresh4(const float4 *at)
{
    return __ldcg(at);
}

/* Lets the next kernel of the stream start where it was launched to overlap, as far as its own await_kernels(), which
 * returns when all kernels before have ended and what they wrote can be read. */
DEVICE void release_next_kernel()
{
    asm volatile("griddepcontrol.launch_dependents;");
}
DEVICE void await_kernels()
{
    asm volatile("griddepcontrol.wait;" ::: "memory");
}

/* ---- matrices, in the fragment layouts of PTX ISA 9.7.14 */

/* c (16x8, f32) += a (16x16) * b (16x8) */
DEVICE void mma_f16(float (&c)[4], uint a0, uint a1, uint a2, uint a3, uint b0, uint b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
DEVICE void mma_bf16(float (&c)[4], uint a0, uint a1, uint a2, uint a3, uint b0, uint b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
/* d (16x8, s32) = popcount(a (16x256 bits) & b (256x8 bits)) + c */
DEVICE void count_bits256(uint (&d)[4], uint a0, uint a1, uint a2, uint a3, uint b0, uint b1, const uint (&c)[4])
{
    asm volatile("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%10,%11,%12,%13};"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}
/* The same with 128 bits. */
DEVICE void count_bits128(uint (&d)[4], uint a0, uint a1, uint b0, const uint (&c)[4])
{
    asm volatile("mma.sync.aligned.m16n8k128.row.col.s32.b1.b1.s32.and.popc {%0,%1,%2,%3}, {%4,%5}, {%6}, "
                 "{%7,%8,%9,%10};"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(a0), "r"(a1), "r"(b0), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}

/* ---- pairs of 16-bit numbers */

/* In each half 1 where min(a + b, 1) > 0 as signed numbers, else 0 (one instruction on sm_90). */
DEVICE uint add_reaches_one(uint a, uint b)
{
    return __viaddmin_s16x2_relu(a, b, 0x00010001u);
}
/* In each half max(a + b, c) of unsigned numbers. */
DEVICE uint add_largest(uint a, uint b, uint c)
{
    return __viaddmax_u16x2(a, b, c);
}

#endif
