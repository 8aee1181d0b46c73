/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention for NEON in f32 math, AArch64 base. Channels go in chunks of 8: one byte of the bitmap, two vectors of
 * floats. The bodies are inlined with constant row kind, number of query rows and, for common sizes, head_dim.
 */
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "backends/cpu/kernels/attend_variants.h"
#include "backends/cpu/kernels/compress_shuffle.h"

#define INLINE static inline __attribute__((always_inline))
/* Arrays of vectors live in registers only if the loops over them are unrolled whole; gcc does not at -O2 by itself. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define CHUNKS_MAX (SKV_HEAD_DIM_MAX / 8)

enum row_kind { DENSE_F16, DENSE_BF16, RECORD_F16, RECORD_BF16 };

INLINE int is_dense(enum row_kind kind)
{
    return kind == DENSE_F16 || kind == DENSE_BF16;
}

/* Where the values of each chunk of a record begin. A table costs less than a running sum: general registers have no
 * population count here, and one multiplication sums those of eight bytes. */
INLINE void find_values(enum row_kind kind, const uint8_t *row, uint32_t d, uint16_t *offset)
{
    if (is_dense(kind))
        return;
    uint32_t base = SKV_BITMAP_BYTES(d);
    for (uint32_t c = 0; c < d / 8; c += 8) {
        uint64_t counts = vget_lane_u64(vreinterpret_u64_u8(vcnt_u8(vld1_u8(row + c))), 0);
        /* Byte i: the sum of bytes 0 .. i, at most 64. */
        uint64_t sums = counts * UINT64_C(0x0101010101010101);
        uint16x8_t before = vshll_n_u8(vcreate_u8(sums << 8), 1);
        vst1q_u16(offset + c, vaddq_u16(before, vdupq_n_u16((uint16_t)base)));
        base += 2 * (uint32_t)(sums >> 56);
    }
}

/* Chunk i of a row. */
INLINE void load_chunk(enum row_kind kind, const uint8_t *row, const uint16_t *offset, uint32_t i, float32x4_t v[2])
{
    uint8x16_t x = vld1q_u8(row + (is_dense(kind) ? 16 * i : offset[i]));
    if (!is_dense(kind))
        x = vqtbl1q_u8(x, vreinterpretq_u8_u64(vld1q_u64(unpack_shuffle[row[i]])));
    if (kind == DENSE_F16 || kind == RECORD_F16) {
        float16x8_t y = vreinterpretq_f16_u8(x);
        v[0] = vcvt_f32_f16(vget_low_f16(y));
        v[1] = vcvt_high_f32_f16(y);
    } else {
        uint16x8_t y = vreinterpretq_u16_u8(x);
        v[0] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(y), 16));
        v[1] = vreinterpretq_f32_u32(vshll_high_n_u16(y, 16));
    }
}

/* Lane i of the result is the sum of the lanes of acc[i]. */
INLINE float32x4_t reduce4(const float32x4_t acc[4])
{
    return vpaddq_f32(vpaddq_f32(acc[0], acc[1]), vpaddq_f32(acc[2], acc[3]));
}

/* Rows are taken `count` at once, with up to 16 accumulators; the last row stands in for those past n. Tokens past n
 * get scores too, which is allowed: s has room for a whole tile. */
INLINE void qk_any(enum row_kind kind, uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const float *q,
                   uint32_t d, float *s, const struct skv_cpu_ahead *ahead)
{
    /* With few query rows, both halves of a chunk have their own sums: else each would wait for the other. */
    const uint32_t n_chunks = d / 8, pad = SKV_CPU_D_PAD(d), count = m == 8 ? 2 : 4, parts = m <= 2 ? 2 : 1;
    const uint32_t used = m * count * parts;
    uint16_t offset[4][CHUNKS_MAX];
    for (uint32_t first = 0; first < n; first += count) {
        const uint8_t *r[4];
        float32x4_t acc[16];
        UNROLL
        for (uint32_t t = 0; t < count; t++)
            r[t] = skv_cpu_row(row, first + t < n ? first + t : n - 1);
        for (uint32_t t = 0; t < count; t++) {
            find_values(kind, r[t], d, offset[t]);
            skv_cpu_prefetch(ahead, first + t);
        }
        UNROLL
        for (uint32_t i = 0; i < used; i++)
            acc[i] = vdupq_n_f32(0);
        for (uint32_t i = 0; i < n_chunks; i++) {
            float32x4_t x[4][2];
            UNROLL
            for (uint32_t t = 0; t < count; t++)
                load_chunk(kind, r[t], offset[t], i, x[t]);
            UNROLL
            for (uint32_t g = 0; g < m; g++) {
                float32x4_t q0 = vld1q_f32(q + g * pad + 8 * i), q1 = vld1q_f32(q + g * pad + 8 * i + 4);
                UNROLL
                for (uint32_t t = 0; t < count; t++) {
                    float32x4_t *a = acc + (g * count + t) * parts;
                    a[0] = vfmaq_f32(a[0], x[t][0], q0);
                    a[parts - 1] = vfmaq_f32(a[parts - 1], x[t][1], q1);
                }
            }
        }
        if (parts == 2) {
            UNROLL
            for (uint32_t i = 0; i < used / 2; i++)
                acc[i] = vaddq_f32(acc[2 * i], acc[2 * i + 1]);
        }
        UNROLL
        for (uint32_t i = 0; i < used / parts; i += 4) {
            float32x4_t x = reduce4(acc + i);
            float *to = s + i / count * SKV_CPU_TILE + first;
            if (count == 4) {
                vst1q_f32(to, x);
            } else {
                vst1_f32(to, vget_low_f32(x));
                vst1_f32(to + SKV_CPU_TILE, vget_high_f32(x));
            }
        }
    }
}

/* Channels are taken in passes whose accumulators, m x chunks pairs of vectors, stay in registers. */
INLINE void pv_pass(enum row_kind kind, uint32_t m, uint32_t chunks, uint32_t first, const struct skv_cpu_rows *row,
                    uint16_t (*offset)[CHUNKS_MAX], uint32_t n, const float *s, const float *corr, uint32_t d, float *o,
                    const struct skv_cpu_ahead *ahead)
{
    const uint32_t pad = SKV_CPU_D_PAD(d), vectors = 2 * chunks;
    float32x4_t acc[16];
    o += 8 * first;
    UNROLL
    for (uint32_t i = 0; i < m * vectors; i++)
        acc[i] = vmulq_n_f32(vld1q_f32(o + i / vectors * pad + i % vectors * 4), corr[i / vectors]);
    for (uint32_t t = 0; t < n; t++) {
        float32x4_t v[16];
        if (first == 0)
            skv_cpu_prefetch(ahead, t);
        UNROLL
        for (uint32_t i = 0; i < chunks; i++)
            load_chunk(kind, skv_cpu_row(row, t), offset[t], first + i, v + 2 * i);
        UNROLL
        for (uint32_t i = 0; i < m * vectors; i++)
            acc[i] = vfmaq_n_f32(acc[i], v[i % vectors], s[i / vectors * SKV_CPU_TILE + t]);
    }
    UNROLL
    for (uint32_t i = 0; i < m * vectors; i++)
        vst1q_f32(o + i / vectors * pad + i % vectors * 4, acc[i]);
}

INLINE void pv_any(enum row_kind kind, uint32_t m, const struct skv_cpu_rows *row, uint32_t n, const float *s,
                   const float *corr, uint32_t d, float *o, const struct skv_cpu_ahead *ahead)
{
    uint16_t offset[SKV_CPU_TILE][CHUNKS_MAX];
    uint32_t n_chunks = d / 8, chunks = 8 / m, i = 0;
    for (uint32_t t = 0; t < n; t++)
        find_values(kind, skv_cpu_row(row, t), d, offset[t]);
    for (; i + chunks <= n_chunks; i += chunks)
        pv_pass(kind, m, chunks, i, row, offset, n, s, corr, d, o, ahead);
    uint32_t left = n_chunks - i;
    if (m == 1 && left & 4) {
        pv_pass(kind, m, 4, i, row, offset, n, s, corr, d, o, ahead);
        i += 4;
    }
    if (m <= 2 && left & 2) {
        pv_pass(kind, m, 2, i, row, offset, n, s, corr, d, o, ahead);
        i += 2;
    }
    if (m <= 4 && left & 1)
        pv_pass(kind, m, 1, i, row, offset, n, s, corr, d, o, ahead);
}

INLINE void prepare_any(enum row_kind kind, uint32_t m, const float *q, uint32_t d, float *qp)
{
    (void)kind;
    for (uint32_t g = 0; g < m; g++)
        memcpy(qp + g * SKV_CPU_D_PAD(d), q + (size_t)g * d, d * sizeof *qp);
}

INLINE void finish_any(enum row_kind kind, uint32_t m, const float *o, uint32_t d, float *out)
{
    (void)kind;
    for (uint32_t g = 0; g < m; g++)
        memcpy(out + (size_t)g * d, o + g * SKV_CPU_D_PAD(d), d * sizeof *out);
}

DEFINE_VARIANTS(f16_records, RECORD_F16, any)
DEFINE_VARIANTS(f16_dense, DENSE_F16, any)
DEFINE_VARIANTS(bf16_records, RECORD_BF16, any)
DEFINE_VARIANTS(bf16_dense, DENSE_BF16, any)

/* exp(x) for x <= 0, to about 1 ulp: x = i ln 2 + r with ln 2 in two parts, then a polynomial of degree 7 on |r| <= ln
 * 2 / 2 (coefficients of the Cephes library's expf). NaN passes: vmaxq_f32 keeps it. */
INLINE float32x4_t exp4(float32x4_t x)
{
    x = vmaxq_f32(x, vdupq_n_f32(-110.0f));
    float32x4_t i = vrndnq_f32(vmulq_n_f32(x, 1.44269504088896341f));
    float32x4_t r = vfmsq_n_f32(x, i, 0.693359375f);
    r = vfmsq_n_f32(r, i, -2.12194440e-4f);
    float32x4_t p = vdupq_n_f32(1.9875691500e-4f);
    p = vfmaq_f32(vdupq_n_f32(1.3981999507e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(8.3334519073e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(4.1665795894e-2f), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.6666665459e-1f), p, r);
    p = vfmaq_f32(vdupq_n_f32(5.0000001201e-1f), p, r);
    p = vfmaq_f32(vaddq_f32(r, vdupq_n_f32(1.0f)), p, vmulq_f32(r, r));
    /* Times 2^i in two steps, for i goes down to -159 and no exponent below -126 is normal. */
    int32x4_t e = vcvtq_s32_f32(i), half = vshrq_n_s32(e, 1), bias = vdupq_n_s32(127);
    float32x4_t a = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23));
    float32x4_t b = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vsubq_s32(e, half), bias), 23));
    return vmulq_f32(vmulq_f32(p, a), b);
}

static void softmax(float *s, uint32_t n, uint32_t m, float scale, float *mx, float *sum, float *corr)
{
    static const uint32_t lanes[4] = {0, 1, 2, 3};
    const float32x4_t lowest = vdupq_n_f32(-INFINITY);
    for (uint32_t g = 0; g < m; g++, s += SKV_CPU_TILE) {
        float32x4_t most = vdupq_n_f32(mx[g]), total = vdupq_n_f32(0);
        for (uint32_t i = 0; i < n; i += 4) {
            /* Lanes past n may hold anything: they become -inf, whose weight is 0. */
            uint32x4_t inside = vcltq_u32(vld1q_u32(lanes), vdupq_n_u32(n - i));
            float32x4_t x = vbslq_f32(inside, vmulq_n_f32(vld1q_f32(s + i), scale), lowest);
            /* The number where the other is NaN. */
            most = vmaxnmq_f32(most, x);
            vst1q_f32(s + i, x);
        }
        float new_most = vmaxnmvq_f32(most);
        int empty = new_most == -INFINITY;
        /* With only -inf so far, subtracting 0 keeps -inf at weight 0 and NaN visible. */
        float32x4_t shift = vdupq_n_f32(empty ? 0 : new_most);
        for (uint32_t i = 0; i < n; i += 4) {
            float32x4_t x = exp4(vsubq_f32(vld1q_f32(s + i), shift));
            total = vaddq_f32(total, x);
            vst1q_f32(s + i, x);
        }
        corr[g] = empty ? 1 : vgetq_lane_f32(exp4(vdupq_n_f32(mx[g] - new_most)), 0);
        sum[g] = sum[g] * corr[g] + vaddvq_f32(total);
        mx[g] = new_most;
    }
}

void skv_cpu_attend_neon(struct skv_cpu_kernels *table)
{
    table->isa = "neon";
    table->softmax = softmax;
    FILL_VARIANTS(table->attend[SKV_CPU_F16][SKV_CPU_RECORDS], "f16.records", f16_records, "neon");
    FILL_VARIANTS(table->attend[SKV_CPU_F16][SKV_CPU_DENSE], "f16.dense", f16_dense, "neon");
    FILL_VARIANTS(table->attend[SKV_CPU_BF16][SKV_CPU_RECORDS], "bf16.records", bf16_records, "neon");
    FILL_VARIANTS(table->attend[SKV_CPU_BF16][SKV_CPU_DENSE], "bf16.dense", bf16_dense, "neon");
}
