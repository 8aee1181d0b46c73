/* SPDX-License-Identifier: Apache-2.0
 *
 * 16-bit floating-point values as bits, for compilers that have no such type in C++. Results are to the nearest, ties
 * to even.
 */
#ifndef SKV_TESTS_VALUES_H
#define SKV_TESTS_VALUES_H

#include <cstdint>
#include <cstring>

namespace emulator
{

inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

inline float half_to_float(uint32_t half)
{
    uint32_t magnitude = (half & 0x7fff) << 13, sign = (half & 0x8000) << 16;
    if (magnitude >= 0x1fu << 23)
        return float_of(sign | magnitude | 0xffu << 23);
    /* The exponents' biases differ by 112; the product is exact and turns subnormal numbers into normal ones. */
    return float_of(sign | bits_of(float_of(magnitude) * 0x1p112f));
}

inline uint32_t float_to_half(float x)
{
    uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return 0x7fff; /* the NaN that the hardware makes of all */
    if (magnitude >= 0x47800000)
        return sign | 0x7c00;
    /* Subnormal: the sum's last bit is worth 2^-24, so the addition rounds; it must not be done in advance. */
    if (magnitude < 0x38800000)
        return sign | (bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f));
    return sign | (magnitude + 0xfff + (magnitude >> 13 & 1) - (112u << 23)) >> 13;
}

inline float bf16_to_float(uint32_t bits)
{
    return float_of(bits << 16);
}

inline uint32_t float_to_bf16(float x)
{
    uint32_t bits = bits_of(x);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return 0x7fff;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

} // namespace emulator

#endif
