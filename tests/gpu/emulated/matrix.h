/* SPDX-License-Identifier: Apache-2.0
 *
 * What AMD's matrix attention kernels use beyond the shared language, on the CPU: the functions of
 * backends/hip/kernels/matrix.h, where they are explained, and a unit for each of its families.
 */
#ifndef SKV_MATRIX_H
#define SKV_MATRIX_H

#include <string.h>

#include "language.h"
#include "tests/gpu/matrices.h"

#define KERNEL_RESIDENT(name, lanes, waves) KERNEL(name, lanes)
#define SCRATCH_ADDRESS(address) const uint address = emulator::WINDOW_BASE

/* As a last parameter: where the kernel calls. */
#define SKV_PLACE emulator::place at_line = emulator::place::here()

/* ---- waves */

DEVICE uint uniform(uint x)
{
    return x;
}
DEVICE uint anew(uint x)
{
    return x;
}
DEVICE void wave_barrier(SKV_PLACE)
{
    emulator::meet_warp("wave_barrier", nullptr, at_line);
}
DEVICE float from_neighbour(float x, SKV_PLACE)
{
    return as_float(emulator::shuffle(as_uint(x), emulator::own_lane() ^ 1, at_line));
}
DEVICE float from_lane(float x, uint lane, SKV_PLACE)
{
    return as_float(emulator::shuffle(as_uint(x), lane, at_line));
}
DEVICE uint sum_before(uint x, SKV_PLACE)
{
    return emulator::sum_before(x, 16, at_line);
}

/* ---- arithmetic */

DEVICE float exp2_fast(float x)
{
    /* Subnormal operands and results are 0. */
    float y = exp2f(fabsf(x) < 0x1p-126f ? 0 : x);
    return y < 0x1p-126f ? 0 : y;
}
DEVICE uint permute(uint low, uint high, uint selector, SKV_PLACE)
{
    ulong bytes = (ulong)high << 32 | low;
    uint x = 0;
    for (uint i = 0; i < 4; i++) {
        uint from = selector >> 8 * i & 0xff;
        if (from > 7 && from != 0x0c)
            emulator::die(at_line, "permute: selector %#x", selector);
        x |= from > 7 ? 0 : (uint)(bytes >> 8 * from & 0xff) << 8 * i;
    }
    return x;
}
DEVICE uint pack_half(float x, float y)
{
    return half_bits(x) | half_bits(y) << 16;
}
DEVICE uint pack_bf16(float x, float y)
{
    return (as_uint(x) + 0x8000u) >> 16 | ((as_uint(y) + 0x8000u) & 0xffff0000u);
}

/* ---- group memory by address */

DEVICE uint load_group1(uint at, SKV_PLACE)
{
    return *emulator::scratch_at(at, 1, at_line);
}
DEVICE uint load_group2(uint at, SKV_PLACE)
{
    return *(const ushort *)emulator::scratch_at(at, 2, at_line);
}
DEVICE uint load_group4(uint at, SKV_PLACE)
{
    return *(const uint *)emulator::scratch_at(at, 4, at_line);
}
DEVICE uint2 load_group8(uint at, SKV_PLACE)
{
    return *(const uint2 *)emulator::scratch_at(at, 8, at_line);
}
DEVICE uint2 load_group8_any(uint at, SKV_PLACE)
{
    ushort x[4];
    for (uint i = 0; i < 4; i++)
        x[i] = *(const ushort *)emulator::scratch_at(at + 2 * i, 2, at_line);
    return uint2{x[0] | (uint)x[1] << 16, x[2] | (uint)x[3] << 16};
}
DEVICE uint4 load_group16(uint at, SKV_PLACE)
{
    uint2 low = load_group8(at, at_line), high = load_group8(at + 8, at_line);
    return uint4{low.x, low.y, high.x, high.y};
}
DEVICE void store_group4(uint at, uint x, SKV_PLACE)
{
    *(uint *)emulator::scratch_to_write(at, 4, at_line) = x;
}
DEVICE void store_group8(uint at, uint2 x, SKV_PLACE)
{
    *(uint2 *)emulator::scratch_to_write(at, 8, at_line) = x;
}
DEVICE void store_group16(uint at, uint4 x, SKV_PLACE)
{
    *(uint2 *)emulator::scratch_to_write(at, 8, at_line) = uint2{x.x, x.y};
    *(uint2 *)emulator::scratch_to_write(at + 8, 8, at_line) = uint2{x.z, x.w};
}
DEVICE int load_uniform(const int *at)
{
    return *at;
}
DEVICE uint4 load_piece(const uchar *at)
{
    uint4 x;
    memcpy(&x, at, sizeof x);
    return x;
}

/* ---- dot products: exact, with one rounding */

template <bool BF16> DEVICE float dot2(uint a, uint b, float c)
{
    auto value = [](uint bits) { return BF16 ? as_float(bits << 16) : half_value(bits & 0xffff); };
    double sum = (double)value(a & 0xffff) * value(b & 0xffff) + (double)value(a >> 16) * value(b >> 16) + c;
    return (float)sum;
}
DEVICE bool any_lane(bool x, SKV_PLACE)
{
    return emulator::ballot(x, at_line) != 0;
}

/* ---- families */

struct cdna {
    static constexpr uint LANES = 64, GROUPS = 4, DEPTH = 4, ROWS = 16, RESULTS = 4;
    struct operand {
        uint words[2];
    };
    typedef operand right;
    DEVICE uint row(uint group, uint i) { return 4 * group + i; }
    DEVICE operand complete(const uint (&words)[2]) { return {{words[0], words[1]}}; }
    DEVICE operand load(uint, uint) { return {}; }
    template <bool BF16> DEVICE void multiply(float (&c)[4], operand a, operand b, SKV_PLACE)
    {
        emulator::multiply_tile(c, a.words, b.words, emulator::CDNA, BF16, at_line);
    }
    DEVICE bool any(bool x, SKV_PLACE) { return emulator::ballot(x, at_line) != 0; }
};

struct rdna4 {
    static constexpr uint LANES = 32, GROUPS = 2, DEPTH = 8, ROWS = 16, RESULTS = 8;
    struct operand {
        uint words[4];
    };
    typedef operand right;
    DEVICE uint row(uint group, uint i) { return 8 * group + i; }
    DEVICE operand complete(const uint (&words)[4]) { return {{words[0], words[1], words[2], words[3]}}; }
    DEVICE operand load(uint at, uint apart, SKV_PLACE)
    {
        uint4 x = load_group16(at + local_id() / 16 % 2 * apart, at_line);
        return {{x.x, x.y, x.z, x.w}};
    }
    template <bool BF16> DEVICE void multiply(float (&c)[8], operand a, operand b, SKV_PLACE)
    {
        emulator::multiply_tile(c, a.words, b.words, emulator::RDNA4, BF16, at_line);
    }
    DEVICE bool any(bool x, SKV_PLACE) { return emulator::ballot(x, at_line) != 0; }
};

struct rdna3 {
    static constexpr uint LANES = 32, GROUPS = 2, DEPTH = 8, ROWS = 16, RESULTS = 8;
    struct operand {
        uint words[8];
    };
    typedef operand right;
    DEVICE uint row(uint group, uint i) { return 2 * i + group; }
    DEVICE operand complete(const uint (&words)[4], SKV_PLACE)
    {
        bool is_upper = local_id() & 16;
        operand all;
        for (uint i = 0; i < 4; i++) {
            uint other = emulator::shuffle(words[i], emulator::own_lane() ^ 16, at_line);
            all.words[i] = is_upper ? other : words[i];
            all.words[4 + i] = is_upper ? words[i] : other;
        }
        return all;
    }
    DEVICE operand load(uint at, uint apart, SKV_PLACE)
    {
        uint4 x = load_group16(at, at_line), y = load_group16(at + apart, at_line);
        return {{x.x, x.y, x.z, x.w, y.x, y.y, y.z, y.w}};
    }
    template <bool BF16> DEVICE void multiply(float (&c)[8], operand a, operand b, SKV_PLACE)
    {
        emulator::multiply_tile(c, a.words, b.words, emulator::RDNA3, BF16, at_line);
    }
    DEVICE bool any(bool x, SKV_PLACE) { return emulator::ballot(x, at_line) != 0; }
};

#endif
