/* SPDX-License-Identifier: Apache-2.0
 *
 * Softmax, dense rows, and records on processors without VBMI2.
 */
#include "backends/cpu/kernels/attend_avx512.h"

#include <math.h>

DEFINE_VARIANTS(f16_records, EXPAND32_F16, any)
DEFINE_VARIANTS(f16_dense, DENSE_F16, any)
DEFINE_VARIANTS(bf16_records, EXPAND32_BF16, any)
DEFINE_VARIANTS(bf16_dense, DENSE_BF16, any)

/* exp(x) for x <= 0, to about 1 ulp: x = i ln 2 + r with ln 2 in two parts, then a polynomial of degree 7 on |r| <= ln
 * 2 / 2 (coefficients of the Cephes library's expf). NaN passes: max returns its second operand then. */
INLINE __m512 exp16(__m512 x)
{
    x = _mm512_max_ps(_mm512_set1_ps(-110.0f), x);
    __m512 i = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(i, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(i, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
    return _mm512_scalef_ps(p, i);
}

static void softmax(float *s, uint32_t n, uint32_t m, float scale, float *mx, float *sum, float *corr)
{
    __m512 factor = _mm512_set1_ps(scale), lowest = _mm512_set1_ps(-INFINITY);
    for (uint32_t g = 0; g < m; g++, s += SKV_CPU_TILE) {
        __m512 x[4], most = _mm512_set1_ps(mx[g]), total = _mm512_setzero_ps();
        for (uint32_t i = 0; 16 * i < n; i++) {
            /* Lanes past n may hold anything: they become -inf, whose weight is 0. */
            __mmask16 lanes = n - 16 * i >= 16 ? 0xffff : (__mmask16)((1u << (n - 16 * i)) - 1);
            x[i] = _mm512_mask_mul_ps(lowest, lanes, _mm512_maskz_load_ps(lanes, s + 16 * i), factor);
            most = _mm512_max_ps(x[i], most);
        }
        float new_most = _mm512_reduce_max_ps(most);
        int empty = new_most == -INFINITY;
        /* With only -inf so far, subtracting 0 keeps -inf at weight 0 and NaN visible. */
        __m512 shift = _mm512_set1_ps(empty ? 0 : new_most);
        for (uint32_t i = 0; 16 * i < n; i++) {
            x[i] = exp16(_mm512_sub_ps(x[i], shift));
            total = _mm512_add_ps(total, x[i]);
            _mm512_store_ps(s + 16 * i, x[i]);
        }
        corr[g] = empty ? 1 : _mm512_cvtss_f32(exp16(_mm512_set1_ps(mx[g] - new_most)));
        sum[g] = sum[g] * corr[g] + _mm512_reduce_add_ps(total);
        mx[g] = new_most;
    }
}

void skv_cpu_attend_avx512(struct skv_cpu_kernels *table)
{
    table->isa = "avx512";
    table->softmax = softmax;
    FILL_VARIANTS(table->attend[SKV_CPU_F16][SKV_CPU_RECORDS], "f16.records", f16_records, "avx512");
    FILL_VARIANTS(table->attend[SKV_CPU_F16][SKV_CPU_DENSE], "f16.dense", f16_dense, "avx512");
    FILL_VARIANTS(table->attend[SKV_CPU_BF16][SKV_CPU_RECORDS], "bf16.records", bf16_records, "avx512");
    FILL_VARIANTS(table->attend[SKV_CPU_BF16][SKV_CPU_DENSE], "bf16.dense", bf16_dense, "avx512");
}
