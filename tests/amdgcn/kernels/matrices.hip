/* SPDX-License-Identifier: Apache-2.0
 *
 * Instructions across lanes and on matrices, which faster kernels want: D = A B^T of 16x16x16 binary16 or bf16.
 */
#include "backends/hip/kernels/language.h"

typedef _Float16 half2 __attribute__((ext_vector_type(2)));
typedef _Float16 half4 __attribute__((ext_vector_type(4)));
typedef _Float16 half8 __attribute__((ext_vector_type(8)));
typedef _Float16 half16 __attribute__((ext_vector_type(16)));
typedef short short4 __attribute__((ext_vector_type(4)));
typedef short short8 __attribute__((ext_vector_type(8)));
typedef short short16 __attribute__((ext_vector_type(16)));
typedef float float8 __attribute__((ext_vector_type(8)));

/* Rows of a and of b lie in memory one after the other. */
#if defined(__gfx90a__) || defined(__gfx942__) || defined(__gfx950__)
#define MATRIX(name, type, multiply)                                 \
    KERNEL(name, 64)(const type##4 * a, const type##4 * b, float *d) \
    {                                                                \
        uint lane = local_id(), at = lane % 16 * 4 + lane / 16;      \
        float4 sum = {0, 0, 0, 0};                                   \
        sum = multiply(a[at], b[at], sum, 0, 0, 0);                  \
        for (uint i = 0; i < 4; i++)                                 \
            d[(lane / 16 * 4 + i) * 16 + lane % 16] = sum[i];        \
    }
MATRIX(test_matrix_f16, half, __builtin_amdgcn_mfma_f32_16x16x16f16)
MATRIX(test_matrix_bf16, short, __builtin_amdgcn_mfma_f32_16x16x16bf16_1k)
#elif defined(__gfx1100__)
#define MATRIX(name, type, multiply)                                   \
    KERNEL(name, 32)(const type##16 * a, const type##16 * b, float *d) \
    {                                                                  \
        uint lane = local_id();                                        \
        float8 sum = {0, 0, 0, 0, 0, 0, 0, 0};                         \
        sum = multiply(a[lane % 16], b[lane % 16], sum);               \
        for (uint i = 0; i < 8; i++)                                   \
            d[(2 * i + lane / 16) * 16 + lane % 16] = sum[i];          \
    }
MATRIX(test_matrix_f16, half, __builtin_amdgcn_wmma_f32_16x16x16_f16_w32)
MATRIX(test_matrix_bf16, short, __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32)
#elif defined(__gfx1201__)
#define MATRIX(name, type, multiply)                                 \
    KERNEL(name, 32)(const type##8 * a, const type##8 * b, float *d) \
    {                                                                \
        uint lane = local_id(), at = lane % 16 * 2 + lane / 16;      \
        float8 sum = {0, 0, 0, 0, 0, 0, 0, 0};                       \
        sum = multiply(a[at], b[at], sum);                           \
        for (uint i = 0; i < 8; i++)                                 \
            d[(lane / 16 * 8 + i) * 16 + lane % 16] = sum[i];        \
    }
MATRIX(test_matrix_f16, half, __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12)
MATRIX(test_matrix_bf16, short, __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12)
#endif

DEVICE uint move_row(uint x)
{
    return __builtin_amdgcn_update_dpp(0, x, 0x111, 15, 15, false); /* row_shr:1 */
}

/* Per lane: a quad's neighbour, a row's, any lane's, and dot products. */
KERNEL(test_lanes, 64)(const uint *in, const uint *other, uint *out)
{
    uint lane = local_id(), x = in[lane], y = other[lane];
    out[5 * lane] = __builtin_amdgcn_mov_dpp(x, 0xb1, 15, 15, true); /* quad_perm:[1,0,3,2] */
    out[5 * lane + 1] = move_row(x);
    out[5 * lane + 2] = __builtin_amdgcn_ds_bpermute((int)((lane * 7 + 3) % 32) << 2, x);
    half2 a = __builtin_bit_cast(half2, x), b = __builtin_bit_cast(half2, y);
    out[5 * lane + 3] = __builtin_bit_cast(uint, a * b + a);
    out[5 * lane + 4] = __builtin_bit_cast(uint, fma((float)a.x, (float)b.y, (float)a.y));
}
