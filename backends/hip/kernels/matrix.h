/* SPDX-License-Identifier: Apache-2.0
 *
 * What the matrix attention kernels use beyond the shared language: waves, group memory by address, and the matrix
 * units of AMD's families behind one form. tests/gpu/emulated/matrix.h is the same for the CPU.
 *
 * A family multiplies 16 x 16 by 16 x 16. Lane l has row (or column) l % 16 of each source; the depth is divided among
 * GROUPS groups of 16 lanes, DEPTH places each. Of the result, lane l has column l % 16 and DEPTH rows, which row()
 * tells: evenly spaced ones. The depth's order is the caller's, as long as both sources have the same. complete() makes
 * an operand of the lane's own part of the depth; load() reads one from group memory, where the parts of the two groups
 * of a wave of 32 are `apart` bytes apart.
 */
#ifndef SKV_MATRIX_H
#define SKV_MATRIX_H

/* ---- waves */

/* The same in all lanes, which the compiler does not know. */
DEVICE uint uniform(uint x)
{
    return (uint)__builtin_amdgcn_readfirstlane((int)x);
}
/* The same, which the compiler does not know: it cannot keep in registers what is made of it. */
DEVICE uint anew(uint x)
{
    asm volatile("" : "+v"(x));
    return x;
}
/* Group memory is written and read by a wave in its own order: this holds the compiler to it. */
DEVICE void wave_barrier()
{
    __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "wavefront");
    __builtin_amdgcn_wave_barrier();
}
/* Those of lanes 0 and 1 are exchanged, of 2 and 3, and so on. */
DEVICE float from_neighbour(float x)
{
    return as_float((uint)__builtin_amdgcn_update_dpp(0, (int)as_uint(x), 0xb1, 15, 15, true));
}
DEVICE float from_lane(float x, uint lane)
{
    return as_float((uint)__builtin_amdgcn_ds_bpermute((int)(lane << 2), (int)as_uint(x)));
}

template <int SHIFT> DEVICE uint row_shift(uint x)
{
    return (uint)__builtin_amdgcn_update_dpp(0, (int)x, 0x110 + SHIFT, 15, 15, true);
}
/* The sum over those of the lane's 16 that come before it. */
DEVICE uint sum_before(uint x)
{
    uint sum = row_shift<1>(x);
    sum += row_shift<1>(sum);
    sum += row_shift<2>(sum);
    sum += row_shift<4>(sum);
    return sum + row_shift<8>(sum);
}

/* ---- arithmetic */

DEVICE float exp2_fast(float x)
{
    return __builtin_amdgcn_exp2f(x);
}
/* Bytes of high:low by the bytes of the selector: 0 to 7, or 0x0c for 0. */
DEVICE uint permute(uint low, uint high, uint selector)
{
    return __builtin_amdgcn_perm(high, low, selector);
}
DEVICE uint pack_half(float x, float y)
{
    return half_bits(x) | half_bits(y) << 16;
}
/* To the nearest, ties away from 0. A NaN may become a number. */
DEVICE uint pack_bf16(float x, float y)
{
    return permute(as_uint(x) + 0x8000u, as_uint(y) + 0x8000u, 0x07060302);
}

/* ---- group memory by address; 16 bytes at a multiple of 8, and 8 bytes also at a multiple of 2 */

#define IN_GROUP(type, at) ((__attribute__((address_space(3))) type *)(at))
/* Kernels that use it have no group memory but what the host asks for, which then starts at 0. */
#define SCRATCH_ADDRESS(address) constexpr uint address = 0
/* Registers for so many waves of a SIMD: of RDNA 3's smaller register files (1024 for a SIMD's lane), for four. */
#if defined(__GFX11__) && !defined(__gfx1100__) && !defined(__gfx1101__) && !defined(__gfx1151__)
#define RESIDENT(waves) ((waves) < 4 ? (waves) : 4)
#else
#define RESIDENT(waves) (waves)
#endif
#define KERNEL_RESIDENT(name, lanes, waves) \
    extern "C" __attribute__((global)) void \
        __attribute__((amdgpu_flat_work_group_size(lanes, lanes), amdgpu_waves_per_eu(RESIDENT(waves)))) name

/* Vectors that need not be aligned to their size. */
typedef uint2 uint2_at2 __attribute__((aligned(2)));
typedef uint4 uint4_at8 __attribute__((aligned(8)));
typedef uint4 uint4_at4 __attribute__((aligned(4)));

DEVICE uint load_group1(uint at)
{
    return *IN_GROUP(uchar, at);
}
DEVICE uint load_group2(uint at)
{
    return *IN_GROUP(ushort, at);
}
DEVICE uint load_group4(uint at)
{
    return *IN_GROUP(uint, at);
}
DEVICE uint2 load_group8(uint at)
{
    return *IN_GROUP(uint2, at);
}
DEVICE uint2 load_group8_any(uint at)
{
    return *IN_GROUP(uint2_at2, at);
}
DEVICE uint4 load_group16(uint at)
{
    return *IN_GROUP(uint4_at8, at);
}
DEVICE void store_group4(uint at, uint x)
{
    *IN_GROUP(uint, at) = x;
}
DEVICE void store_group8(uint at, uint2 x)
{
    *IN_GROUP(uint2, at) = x;
}
DEVICE void store_group16(uint at, uint4 x)
{
    *IN_GROUP(uint4_at8, at) = x;
}
/* What nothing writes while the kernel runs, at an address that is the same in all lanes. */
DEVICE int load_uniform(const int *at)
{
    return *(const __attribute__((address_space(4))) int *)at;
}
/* Global memory at a multiple of 4. */
DEVICE uint4 load_piece(const uchar *at)
{
    return *(const uint4_at4 *)at;
}

/* ---- families */

typedef short short4 __attribute__((ext_vector_type(4)));
typedef short short8 __attribute__((ext_vector_type(8)));
typedef short short16 __attribute__((ext_vector_type(16)));
typedef _Float16 half4 __attribute__((ext_vector_type(4)));
typedef _Float16 half8 __attribute__((ext_vector_type(8)));
typedef _Float16 half16 __attribute__((ext_vector_type(16)));
typedef float float8 __attribute__((ext_vector_type(8)));
typedef uint uint8 __attribute__((ext_vector_type(8)));

#if defined(__gfx90a__) || defined(__gfx942__) || defined(__gfx950__)
#define SKV_MATRIX_LANES 64
/* CDNA 2 takes subnormal numbers as 0. The bound of attention allows for those of bf16, not for those of fp16. */
#if !defined(__gfx90a__)
#define SKV_MATRIX_F16
#endif
/* CDNA from 2 on. */
struct matrix_unit {
    static constexpr uint LANES = 64, GROUPS = 4, DEPTH = 4, ROWS = 16, RESULTS = 4;
    struct operand {
        uint2 words;
    };
    typedef operand right;
    DEVICE uint row(uint group, uint i) { return 4 * group + i; }
    DEVICE operand complete(const uint (&words)[2]) { return {{words[0], words[1]}}; }
    template <bool BF16> DEVICE void multiply(float (&c)[4], operand a, operand b)
    {
        float4 sum = {c[0], c[1], c[2], c[3]};
        if constexpr (BF16)
            sum = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(__builtin_bit_cast(short4, a.words),
                                                            __builtin_bit_cast(short4, b.words), sum, 0, 0, 0);
        else
            sum = __builtin_amdgcn_mfma_f32_16x16x16f16(__builtin_bit_cast(half4, a.words),
                                                        __builtin_bit_cast(half4, b.words), sum, 0, 0, 0);
        for (int i = 0; i < 4; i++)
            c[i] = sum[i];
    }
    DEVICE bool any(bool x) { return __builtin_amdgcn_ballot_w64(x) != 0; }
};
#elif defined(__GFX12__)
#define SKV_MATRIX_LANES 32
#define SKV_MATRIX_F16
struct matrix_unit {
    static constexpr uint LANES = 32, GROUPS = 2, DEPTH = 8, ROWS = 16, RESULTS = 8;
    struct operand {
        uint4 words;
    };
    typedef operand right;
    DEVICE uint row(uint group, uint i) { return 8 * group + i; }
    DEVICE operand load(uint at, uint apart) { return {load_group16(at + local_id() / 16 % 2 * apart)}; }
    DEVICE operand complete(const uint (&words)[4]) { return {{words[0], words[1], words[2], words[3]}}; }
    template <bool BF16> DEVICE void multiply(float (&c)[8], operand a, operand b)
    {
        float8 sum = {c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]};
        if constexpr (BF16)
            sum = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(__builtin_bit_cast(short8, a.words),
                                                                    __builtin_bit_cast(short8, b.words), sum);
        else
            sum = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(__builtin_bit_cast(half8, a.words),
                                                                   __builtin_bit_cast(half8, b.words), sum);
        for (int i = 0; i < 8; i++)
            c[i] = sum[i];
    }
    DEVICE bool any(bool x) { return __builtin_amdgcn_ballot_w32(x) != 0; }
};
#elif defined(__GFX11__)
#define SKV_MATRIX_LANES 32
#define SKV_MATRIX_F16
/* RDNA 3 wants each source twice: in the lanes' lower half and in the upper. */
struct matrix_unit {
    static constexpr uint LANES = 32, GROUPS = 2, DEPTH = 8, ROWS = 16, RESULTS = 8;
    struct operand {
        uint8 words;
    };
    typedef operand right;
    DEVICE uint row(uint group, uint i) { return 2 * i + group; }
    DEVICE operand load(uint at, uint apart)
    {
        uint4 lower = load_group16(at), upper = load_group16(at + apart);
        return {uint8{lower.x, lower.y, lower.z, lower.w, upper.x, upper.y, upper.z, upper.w}};
    }
    DEVICE operand complete(const uint (&words)[4])
    {
        bool is_upper = local_id() & 16;
        operand all;
        for (int i = 0; i < 4; i++) {
            uint other = __builtin_amdgcn_permlanex16(words[i], words[i], 0x76543210, 0xfedcba98, true, false);
            all.words[i] = is_upper ? other : words[i];
            all.words[4 + i] = is_upper ? words[i] : other;
        }
        return all;
    }
    template <bool BF16> DEVICE void multiply(float (&c)[8], operand a, operand b)
    {
        float8 sum = {c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]};
        if constexpr (BF16)
            sum = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(__builtin_bit_cast(short16, a.words),
                                                              __builtin_bit_cast(short16, b.words), sum);
        else
            sum = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(__builtin_bit_cast(half16, a.words),
                                                             __builtin_bit_cast(half16, b.words), sum);
        for (int i = 0; i < 8; i++)
            c[i] = sum[i];
    }
    DEVICE bool any(bool x) { return __builtin_amdgcn_ballot_w32(x) != 0; }
};
#endif

/* ---- dot products of two channels, for few query rows, where matrix units are missing or slow */

#if defined(__gfx906__) || defined(__gfx908__)
#define SKV_DOT_LANES 64
#elif defined(__gfx1030__) || defined(__gfx1031__) || defined(__gfx1032__) || defined(__gfx1033__) || \
    defined(__gfx1034__) || defined(__gfx1035__) || defined(__gfx1036__) || defined(__gfx10_3_generic__)
#define SKV_DOT_LANES 32
#elif defined(__GFX11__)
#define SKV_DOT_LANES 32
#define SKV_DOT_BF16
#endif
#ifdef SKV_DOT_LANES
typedef _Float16 half2 __attribute__((ext_vector_type(2)));
typedef __bf16 bfloat2 __attribute__((ext_vector_type(2)));

template <bool BF16> DEVICE float dot2(uint a, uint b, float c)
{
#ifdef SKV_DOT_BF16
    if constexpr (BF16)
        return __builtin_amdgcn_fdot2_f32_bf16(__builtin_bit_cast(bfloat2, a), __builtin_bit_cast(bfloat2, b), c,
                                               false);
#endif
    return __builtin_amdgcn_fdot2(__builtin_bit_cast(half2, a), __builtin_bit_cast(half2, b), c, false);
}
DEVICE bool any_lane(bool x)
{
    return SKV_DOT_LANES == 64 ? __builtin_amdgcn_ballot_w64(x) != 0 : __builtin_amdgcn_ballot_w32(x) != 0;
}
#endif

#endif
