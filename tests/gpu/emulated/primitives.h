/* SPDX-License-Identifier: Apache-2.0
 *
 * What NVIDIA's kernels use beyond the shared language, on the CPU: the functions of
 * backends/cuda/kernels/primitives.h, where they are explained. tests/gpu/group_memory.h says when copies happen.
 */
#ifndef SKV_PRIMITIVES_H
#define SKV_PRIMITIVES_H

#include <string.h>

#include "language.h"
#include "tests/gpu/matrices.h"

#define WARP_LANES 32
/* Unlike shared kernels, which OpenCL compiles for one size of group, it may run with fewer lanes. */
#define KERNEL_RESIDENT(name, lanes, groups) KERNEL_(name, lanes, true)
#define SCRATCH_ADDRESS(address) const uint address = emulator::WINDOW_BASE

/* As a last parameter: where the kernel calls. */
#define SKV_PLACE emulator::place at_line = emulator::place::here()

/* ---- warps */

DEVICE void warp_barrier(SKV_PLACE)
{
    emulator::meet_warp("warp_barrier", nullptr, at_line);
}
DEVICE uint shuffle(uint x, uint lane, SKV_PLACE)
{
    return emulator::shuffle(x, lane, at_line);
}
DEVICE float shuffle(float x, uint lane, SKV_PLACE)
{
    return as_float(emulator::shuffle(as_uint(x), lane, at_line));
}
DEVICE uint same_in_all(uint x, SKV_PLACE)
{
    uint first = emulator::shuffle(x, 0, at_line);
    if (x != first)
        emulator::die(at_line, "same_in_all: lane %u has %u, lane 0 %u", emulator::own_lane(), x, first);
    return first;
}
/* Hardware may elect any. */
DEVICE bool elected(SKV_PLACE)
{
    warp_barrier(at_line);
    return emulator::own_lane() == WARP_LANES - 1;
}
DEVICE uint shuffle_xor(uint x, uint mask, SKV_PLACE)
{
    return emulator::shuffle(x, emulator::own_lane() ^ mask, at_line);
}
DEVICE float shuffle_xor(float x, uint mask, SKV_PLACE)
{
    return as_float(emulator::shuffle(as_uint(x), emulator::own_lane() ^ mask, at_line));
}
DEVICE uint lane_ballot(bool x, SKV_PLACE)
{
    return (uint)emulator::ballot(x, at_line);
}
DEVICE bool any_lane(bool x, SKV_PLACE)
{
    return emulator::ballot(x, at_line) != 0;
}
DEVICE bool all_lanes(bool x, SKV_PLACE)
{
    return emulator::ballot(!x, at_line) == 0;
}

/* ---- arithmetic */

DEVICE float exp2_fast(float x)
{
    /* Subnormal operands and results are 0. */
    float y = exp2f(fabsf(x) < 0x1p-126f ? 0 : x);
    return y < 0x1p-126f ? 0 : y;
}
DEVICE uint add_product(uint a, uint b, uint c)
{
    return a * b + c;
}
DEVICE uint funnel_right(uint low, uint high, uint n)
{
    return (uint)(((ulong)high << 32 | low) >> (n & 31));
}
DEVICE uint funnel_left(uint low, uint high, uint n)
{
    return (uint)((((ulong)high << 32 | low) << (n & 31)) >> 32);
}
DEVICE uint permute(uint low, uint high, uint selector)
{
    ulong bytes = (ulong)high << 32 | low;
    uint x = 0;
    for (uint i = 0; i < 4; i++) {
        /* The selector's top bits mean nothing to __byte_perm. */
        x |= ((uint)(bytes >> 8 * (selector >> 4 * i & 7)) & 0xff) << 8 * i;
    }
    return x;
}
DEVICE uint twice_upper_half(uint x)
{
    return (x & 0xffff0000) | x >> 16;
}
DEVICE uint pack_half(float x, float y)
{
    return half_bits(x) | half_bits(y) << 16;
}
DEVICE uint pack_bf16(float x, float y)
{
    return emulator::float_to_bf16(x) | emulator::float_to_bf16(y) << 16;
}

/* ---- group memory by address */

template <int OFFSET = 0> DEVICE uint load_shared(uint at, SKV_PLACE)
{
    return *(const uint *)emulator::scratch_at(at + OFFSET, 4, at_line);
}
template <int OFFSET = 0> DEVICE uint2 load_shared2(uint at, SKV_PLACE)
{
    return *(const uint2 *)emulator::scratch_at(at + OFFSET, 8, at_line);
}
template <int OFFSET = 0> DEVICE uint4 load_shared4(uint at, SKV_PLACE)
{
    return *(const uint4 *)emulator::scratch_at(at + OFFSET, 16, at_line);
}
template <int OFFSET = 0> DEVICE uint load_shared16(uint at, SKV_PLACE)
{
    return *(const ushort *)emulator::scratch_at(at + OFFSET, 2, at_line);
}
DEVICE void store_shared(uint at, uint x, SKV_PLACE)
{
    *(uint *)emulator::scratch_to_write(at, 4, at_line) = x;
}
DEVICE void store_shared2(uint at, uint2 x, SKV_PLACE)
{
    *(uint2 *)emulator::scratch_to_write(at, 8, at_line) = x;
}
DEVICE void store_shared4(uint at, uint4 x, SKV_PLACE)
{
    *(uint4 *)emulator::scratch_to_write(at, 16, at_line) = x;
}
DEVICE void load_shared_pair(ulong (&x)[2], uint at, SKV_PLACE)
{
    const ulong *pair = (const ulong *)emulator::scratch_at(at, 16, at_line);
    x[0] = pair[0];
    x[1] = pair[1];
}
DEVICE void load_turned(uint (&x)[2], uint at, SKV_PLACE)
{
    uint i = emulator::own_lane() / 4, j = emulator::own_lane() % 4;
    for (uint m = 0; m < 2; m++) {
        uint first = emulator::shuffle(at, 8 * m + 2 * j, at_line);
        uint second = emulator::shuffle(at, 8 * m + 2 * j + 1, at_line);
        emulator::scratch_at(first, 16, at_line);
        emulator::scratch_at(second, 16, at_line);
        x[m] = load_shared16(first + 2 * i, at_line) | load_shared16(second + 2 * i, at_line) << 16;
    }
}
template <uint MASK> DEVICE uint take_shared16_if(uint *at, uint bits, SKV_PLACE)
{
    uint x = bits & MASK ? load_shared16(*at, at_line) : 0;
    *at += bits & MASK ? 2 : 0;
    return x;
}
template <uint MASK> DEVICE void append_shared16_if(uint *at, uint bits, uint x, SKV_PLACE)
{
    if (bits & MASK) {
        *(ushort *)emulator::scratch_to_write(*at, 2, at_line) = (ushort)x;
        *at += 2;
    }
}
template <int N> DEVICE void pin(uint (&x)[N], uint at, SKV_PLACE)
{
    for (uint n = 0; n < N; n++) {
        uint own = at + (n * WARP_LANES + emulator::own_lane()) * 4;
        store_shared(own, x[n], at_line);
        x[n] = load_shared(own, at_line);
    }
}

/* ---- copies of 16 bytes by each lane */

DEVICE void copy_async16(uint to, const void *from, SKV_PLACE)
{
    emulator::copy_start(to, from, at_line);
}
DEVICE void copy_async_commit()
{
    emulator::copy_commit();
}
template <int N> DEVICE void copy_async_wait()
{
    emulator::copy_wait(N);
}

/* ---- bulk copies */

DEVICE void bulk_barrier_init(uint at, SKV_PLACE)
{
    emulator::barrier_init(at, at_line);
}
DEVICE void bulk_barriers_ready()
{
    emulator::barriers_ready();
}
DEVICE void bulk_expect(uint barrier, uint n_bytes, SKV_PLACE)
{
    emulator::barrier_expect(barrier, n_bytes, at_line);
}
DEVICE void bulk_load(uint to, const void *from, uint n_bytes, uint barrier, SKV_PLACE)
{
    emulator::load_start(to, from, n_bytes, barrier, at_line);
}
DEVICE void bulk_wait(uint barrier, uint parity, SKV_PLACE)
{
    emulator::barrier_wait(barrier, parity, at_line);
}
DEVICE void bulk_after_stores()
{
    emulator::stores_ready();
}

/* ---- between groups, which run one after another */

DEVICE uint arrive(uint *at)
{
    return (*at)++;
}
DEVICE float load_fresh(const float *at)
{
    return *at;
}
DEVICE float4 load_fresh4(const float4 *at)
{
    return *at;
}
/* Launches do not overlap here. */
DEVICE void release_next_kernel() {}
DEVICE void await_kernels() {}

/* ---- matrices */

DEVICE void mma_f16(float (&c)[4], uint a0, uint a1, uint a2, uint a3, uint b0, uint b1, SKV_PLACE)
{
    emulator::multiply(c, {a0, a1, a2, a3}, {b0, b1}, false, at_line);
}
DEVICE void mma_bf16(float (&c)[4], uint a0, uint a1, uint a2, uint a3, uint b0, uint b1, SKV_PLACE)
{
    emulator::multiply(c, {a0, a1, a2, a3}, {b0, b1}, true, at_line);
}
DEVICE void count_bits256(uint (&d)[4], uint a0, uint a1, uint a2, uint a3, uint b0, uint b1, const uint (&c)[4],
                          SKV_PLACE)
{
    const uint a[] = {a0, a1, a2, a3}, b[] = {b0, b1};
    emulator::count_bits(d, a, b, 2, c, at_line);
}
DEVICE void count_bits128(uint (&d)[4], uint a0, uint a1, uint b0, const uint (&c)[4], SKV_PLACE)
{
    const uint a[] = {a0, a1};
    emulator::count_bits(d, a, &b0, 1, c, at_line);
}

/* ---- pairs of 16-bit numbers */

DEVICE uint add_reaches_one(uint a, uint b)
{
    uint x = 0;
    for (uint shift = 0; shift < 32; shift += 16)
        if ((short)((a >> shift) + (b >> shift)) > 0)
            x |= 1u << shift;
    return x;
}
DEVICE uint add_largest(uint a, uint b, uint c)
{
    uint x = 0;
    for (uint shift = 0; shift < 32; shift += 16) {
        uint sum = ((a >> shift) + (b >> shift)) & 0xffff, other = c >> shift & 0xffff;
        x |= (sum > other ? sum : other) << shift;
    }
    return x;
}

#endif
