/* SPDX-License-Identifier: Apache-2.0
 *
 * Conversions between storage types and binary32, by integer arithmetic so that they are exact on every CPU and need no
 * instruction set; written without branches where the compiler can then vectorize them.
 */
#ifndef SKV_CORE_NUMBERS_H
#define SKV_CORE_NUMBERS_H

#include <stdint.h>
#include <string.h>

#include <skv/base.h>

#include "core/format.h"

static inline float skv_f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t skv_bits_from_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The binary32 exponent field is 112 higher; the product with 2^112 restores it and normalizes subnormals, exactly. */
static inline float skv_f32_from_f16(uint16_t half)
{
    uint32_t magnitude = half & 0x7fffu, sign = (uint32_t)(half & 0x8000u) << 16;
    float scaled = skv_f32_from_bits(magnitude << 13) * 0x1p112f;
    uint32_t special = magnitude >= 0x7c00u ? 0x7f800000u : 0u;
    return skv_f32_from_bits(skv_bits_from_f32(scaled) | special | sign);
}

static inline float skv_f32_from_bf16(uint16_t bits)
{
    return skv_f32_from_bits((uint32_t)bits << 16);
}

/* Round to nearest even; NaN stays NaN (quiet). */
static inline uint16_t skv_bf16_from_f32(float value)
{
    uint32_t bits = skv_bits_from_f32(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline uint16_t skv_f16_from_f32(float value)
{
    uint32_t bits = skv_bits_from_f32(value), magnitude = bits & 0x7fffffffu;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x477ff000u) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) {
        /* Below 2^-14: adding 0.5 puts the subnormal's unit, 2^-24, at the last place, so the addition rounds. */
        float shifted = skv_f32_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (skv_bits_from_f32(shifted) - 0x3f000000u));
    }
    uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
}

/* n values of a storage type -> binary32. */
static inline void skv_load_row(const void *row, uint32_t dtype, uint32_t n, float *out)
{
    if (dtype == SKV_F32) {
        memcpy(out, row, n * sizeof *out);
        return;
    }
    const uint16_t *values = row;
    if (dtype == SKV_F16)
        for (uint32_t i = 0; i < n; i++)
            out[i] = skv_f32_from_f16(values[i]);
    else
        for (uint32_t i = 0; i < n; i++)
            out[i] = skv_f32_from_bf16(values[i]);
}

static inline void skv_store_row(const float *row, uint32_t dtype, uint32_t n, void *out)
{
    if (dtype == SKV_F32) {
        memcpy(out, row, n * sizeof *row);
        return;
    }
    uint16_t *values = out;
    if (dtype == SKV_F16)
        for (uint32_t i = 0; i < n; i++)
            values[i] = skv_f16_from_f32(row[i]);
    else
        for (uint32_t i = 0; i < n; i++)
            values[i] = skv_bf16_from_f32(row[i]);
}

/* FORMAT.md section 4.3: the smallest value of the type that is not below the threshold, as magnitude bits. */
static inline uint16_t skv_threshold_bits(float threshold, uint32_t dtype)
{
    /* -0 is a threshold of 0. */
    if (dtype == SKV_BF16)
        return (uint16_t)(((skv_bits_from_f32(threshold) & 0x7fffffffu) + 0xffffu) >> 16);
    uint32_t below = 0, bits = SKV_F16_INF_BITS;
    while (below < bits) {
        uint32_t middle = (below + bits) / 2;
        if (skv_f32_from_f16((uint16_t)middle) >= threshold)
            bits = middle;
        else
            below = middle + 1;
    }
    return (uint16_t)bits;
}

#endif
