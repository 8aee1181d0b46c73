/* SPDX-License-Identifier: Apache-2.0
 *
 * AMX's tile registers, 0 to 7: up to 16 rows of up to 64 bytes, as a configuration says. A product takes A, rows of
 * bf16 pairs, and B, whose row r holds pair r of each column, and adds to binary32 C [rows of A][columns of B];
 * subnormal operands and results count as zero.
 *
 * Compilers' own intrinsics do not say that a tile is loaded from memory, so a store before them may be moved behind
 * them; these are assembly that says so. With SKV_CPU_AMX_EMULATED the same is computed in C, for tests on machines
 * without it.
 */
#ifndef SKV_CPU_AMX_H
#define SKV_CPU_AMX_H

#include <stddef.h>
#include <stdint.h>

#define SKV_AMX_ROWS 16
#define SKV_AMX_ROW_BYTES 64
#define SKV_AMX_TILE_BYTES (SKV_AMX_ROWS * SKV_AMX_ROW_BYTES)

/* What ldtilecfg reads. */
struct skv_amx_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

#if !defined(SKV_CPU_AMX_EMULATED)

static inline void skv_amx_configure(const struct skv_amx_config *config)
{
    __asm__ volatile("ldtilecfg %0" ::"m"(*config));
}

static inline void skv_amx_release(void)
{
    __asm__ volatile("tilerelease");
}

#define SKV_AMX_ZERO(T) __asm__ volatile("tilezero %%tmm" #T ::)
#define SKV_AMX_LOAD(T, FROM, STRIDE) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #T ::"r"((const void *)(FROM)), "r"((size_t)(STRIDE)) : "memory")
#define SKV_AMX_STORE(T, TO, STRIDE) \
    __asm__ volatile("tilestored %%tmm" #T ", (%0,%1,1)" ::"r"((void *)(TO)), "r"((size_t)(STRIDE)) : "memory")
#define SKV_AMX_DOT(C, A, B) __asm__ volatile("tdpbf16ps %%tmm" #B ", %%tmm" #A ", %%tmm" #C ::)

#else

#include <string.h>

static _Thread_local struct {
    struct skv_amx_config config;
    uint8_t tile[8][SKV_AMX_TILE_BYTES];
} skv_amx;

static inline void skv_amx_configure(const struct skv_amx_config *config)
{
    skv_amx.config = *config;
    memset(skv_amx.tile, 0, sizeof skv_amx.tile);
}

/* Whoever computes without a configuration meets NaN. */
static inline void skv_amx_release(void)
{
    memset(&skv_amx.config, 0, sizeof skv_amx.config);
    memset(skv_amx.tile, 0xff, sizeof skv_amx.tile);
}

static inline void skv_amx_load(int t, const void *from, size_t stride)
{
    memset(skv_amx.tile[t], 0, SKV_AMX_TILE_BYTES);
    for (uint32_t r = 0; r < skv_amx.config.rows[t]; r++)
        memcpy(skv_amx.tile[t] + SKV_AMX_ROW_BYTES * r, (const uint8_t *)from + r * stride,
               skv_amx.config.row_bytes[t]);
}

static inline void skv_amx_store(int t, void *to, size_t stride)
{
    for (uint32_t r = 0; r < skv_amx.config.rows[t]; r++)
        memcpy((uint8_t *)to + r * stride, skv_amx.tile[t] + SKV_AMX_ROW_BYTES * r, skv_amx.config.row_bytes[t]);
}

static inline float skv_amx_flush(float x)
{
    return x < 0x1p-126f && x > -0x1p-126f ? 0 : x;
}

static inline float skv_amx_bf16(const uint8_t *at)
{
    uint16_t half;
    memcpy(&half, at, sizeof half);
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return skv_amx_flush(value);
}

/* It touches nothing but the tiles, and would take most of a sanitizer's time. */
__attribute__((no_sanitize("address", "undefined"))) static inline void skv_amx_dot(int c, int a, int b)
{
    for (uint32_t m = 0; m < skv_amx.config.rows[c]; m++)
        for (uint32_t n = 0; n < skv_amx.config.row_bytes[c] / 4u; n++) {
            float sum[2] = {0, 0}, total;
            for (uint32_t k = 0; k < skv_amx.config.rows[b]; k++)
                for (uint32_t i = 0; i < 2; i++) {
                    float x = skv_amx_bf16(skv_amx.tile[a] + SKV_AMX_ROW_BYTES * m + 4 * k + 2 * i);
                    float y = skv_amx_bf16(skv_amx.tile[b] + SKV_AMX_ROW_BYTES * k + 4 * n + 2 * i);
                    sum[i] = skv_amx_flush(__builtin_fmaf(x, y, sum[i]));
                }
            uint8_t *at = skv_amx.tile[c] + SKV_AMX_ROW_BYTES * m + 4 * n;
            memcpy(&total, at, sizeof total);
            total = skv_amx_flush(total + skv_amx_flush(sum[0] + sum[1]));
            memcpy(at, &total, sizeof total);
        }
}

#define SKV_AMX_ZERO(T) memset(skv_amx.tile[T], 0, SKV_AMX_TILE_BYTES)
#define SKV_AMX_LOAD(T, FROM, STRIDE) skv_amx_load(T, FROM, STRIDE)
#define SKV_AMX_STORE(T, TO, STRIDE) skv_amx_store(T, TO, STRIDE)
#define SKV_AMX_DOT(C, A, B) skv_amx_dot(C, A, B)

#endif

#endif
