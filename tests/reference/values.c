/* SPDX-License-Identifier: Apache-2.0
 *
 * FORMAT.md section 1: fp16 has 5 exponent and 10 fraction bits, bf16 has 8 and 7.
 */
#include "tests/reference/reference.h"

#include <math.h>

static int fraction_bits(unsigned type)
{
    return type == SKV_F16 ? 10 : 7;
}

static int exponent_bias(unsigned type)
{
    return type == SKV_F16 ? 15 : 127;
}

uint16_t ref_infinity(unsigned type)
{
    return type == SKV_F16 ? 0x7c00 : 0x7f80;
}

double ref_value(unsigned type, uint16_t bits)
{
    int n_fraction = fraction_bits(type), magnitude = bits & 0x7fff;
    int exponent = magnitude >> n_fraction, fraction = magnitude & ((1 << n_fraction) - 1);
    double value;
    if (magnitude > ref_infinity(type))
        value = NAN;
    else if (magnitude == ref_infinity(type))
        value = INFINITY;
    else if (exponent == 0)
        value = ldexp(fraction, 1 - exponent_bias(type) - n_fraction);
    else
        value = ldexp((1 << n_fraction) + fraction, exponent - exponent_bias(type) - n_fraction);
    return bits & 0x8000 ? -value : value;
}

/* The bits of a magnitude >= 0, with `integer` as the rule for what is left of a unit in the last place. */
static uint16_t round_magnitude(unsigned type, double magnitude, double (*integer)(double))
{
    int n_fraction = fraction_bits(type), exponent;
    if (isinf(magnitude))
        return ref_infinity(type);
    frexp(magnitude, &exponent);
    exponent -= 1; /* magnitude = 1.x * 2^exponent */
    if (magnitude == 0 || exponent < 1 - exponent_bias(type))
        exponent = 1 - exponent_bias(type);
    double units = integer(ldexp(magnitude, n_fraction - exponent));
    /* The bits count units from 0 up, across subnormals and binades, so a carry into the next binade is right. */
    double bits = ldexp(exponent + exponent_bias(type) - 1, n_fraction) + units;
    return bits >= ref_infinity(type) ? ref_infinity(type) : (uint16_t)bits;
}

uint16_t ref_round(unsigned type, double value)
{
    if (isnan(value))
        return (uint16_t)(ref_infinity(type) | 1 << (fraction_bits(type) - 1));
    /* rint: to nearest even, in the default rounding mode. */
    uint16_t bits = round_magnitude(type, fabs(value), rint);
    return (uint16_t)(signbit(value) ? bits | 0x8000 : bits);
}

uint16_t ref_round_up(unsigned type, double value)
{
    if (isnan(value))
        return ref_round(type, value);
    if (signbit(value))
        return (uint16_t)(round_magnitude(type, -value, floor) | 0x8000);
    return round_magnitude(type, value, ceil);
}
