/* SPDX-License-Identifier: Apache-2.0
 *
 * The binary32 functions of the shared kernels, on the hardware's own 2^x, log2 and 1/x (1 ulp, subnormals taken and
 * given as 0). Relative errors are at most 2^-21; tests/amdgcn measures them.
 */
#ifndef SKV_HIP_FLOATS_H
#define SKV_HIP_FLOATS_H

#ifndef INFINITY
#define INFINITY __builtin_inff()
#endif

DEVICE float fabs(float x)
{
    return __builtin_fabsf(x);
}
DEVICE float fma(float a, float b, float c)
{
    return __builtin_fmaf(a, b, c);
}
/* NaN only where both are. */
DEVICE float fmax(float a, float b)
{
    return __builtin_fmaxf(a, b);
}
DEVICE bool isnan(float x)
{
    return x != x;
}
DEVICE float sqrt(float x)
{
    return __builtin_sqrtf(x);
}
DEVICE float dot4(float4 a, float4 b)
{
    return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, a.x * b.x)));
}

/* x log2(e) = n + f with |f| <= 1/2. log2(e) is taken in two parts, so that f is good to 2^-24 for the largest n, too.
 */
DEVICE float exp(float x)
{
    const float log2e = 0x1.715476p+0f, log2e_rest = 0x1.4ae0cp-26f;
    /* Results are infinite or 0 from here on. NaN stays. */
    x = x > 89.0f ? 89.0f : x < -104.0f ? -104.0f : x;
    float product = x * log2e, n = __builtin_rintf(product);
    float rest = fma(x, log2e_rest, fma(x, log2e, -product));
    /* The bounds keep a NaN out of the conversion to an integer. */
    int exponent = (int)__builtin_fmaxf(__builtin_fminf(n, 160.0f), -160.0f);
    return __builtin_amdgcn_ldexpf(__builtin_amdgcn_exp2f(product - n + rest), exponent);
}

DEVICE float log(float x)
{
    const float ln2 = 0x1.62e430p-1f, ln2_rest = -0x1.05c610p-29f;
    bool is_tiny = x < 0x1p-126f;
    float y = __builtin_amdgcn_logf(is_tiny ? x * 0x1p+32f : x);
    float product = y * ln2, rest = fma(y, ln2_rest, fma(y, ln2, -product));
    /* Infinities have no rest. */
    product = fabs(y) < INFINITY ? product + rest : y;
    return is_tiny ? product - 0x1.62e430p+4f : product;
}

/* Near 0 an odd polynomial (least squares, of equal relative errors), else 1 - 2 / (exp(2x) + 1). */
DEVICE float tanh(float x)
{
    float size = fabs(x), square = x * x;
    if (size < 0.625f) {
        float sum = fma(square, -0.00559096f, 0.02053876f);
        sum = fma(square, sum, -0.05370964f);
        sum = fma(square, sum, 0.13331091f);
        sum = fma(square, sum, -0.3333327f);
        return fma(x * square, sum, x);
    }
    return __builtin_copysignf(1.0f - 2.0f * __builtin_amdgcn_rcpf(exp(2.0f * size) + 1.0f), x);
}

#endif
