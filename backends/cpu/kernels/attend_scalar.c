/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention in portable C. Rows are expanded to binary32 in a small buffer first: the loops over channels that follow
 * are then of a fixed shape, which compilers vectorize for whatever the target has.
 */
#include <math.h>
#include <string.h>

#include "backends/cpu/kernels/kernels.h"
#include "core/numbers.h"

#define LANES 8

static inline void load_dense(const uint8_t *row, uint32_t d, int bf16, float *x)
{
    uint16_t values[SKV_HEAD_DIM_MAX];
    memcpy(values, row, d * sizeof *values);
    if (bf16)
        for (uint32_t c = 0; c < d; c++)
            x[c] = skv_f32_from_bf16(values[c]);
    else
        for (uint32_t c = 0; c < d; c++)
            x[c] = skv_f32_from_f16(values[c]);
}

static inline void load_record(const uint8_t *row, uint32_t d, int bf16, float *x)
{
    const uint8_t *value = row + SKV_BITMAP_BYTES(d);
    memset(x, 0, d * sizeof *x);
    for (uint32_t w = 0; 64 * w < d; w++) {
        uint64_t bits;
        memcpy(&bits, row + SKV_WORD_BYTES * w, sizeof bits);
        /* A damaged bitmap may have bits for channels that do not exist. */
        if (d - 64 * w < 64)
            bits &= (1ull << (d - 64 * w)) - 1;
        for (; bits; bits &= bits - 1, value += sizeof(uint16_t)) {
            uint16_t kept;
            memcpy(&kept, value, sizeof kept);
            x[64 * w + (uint32_t)__builtin_ctzll(bits)] = bf16 ? skv_f32_from_bf16(kept) : skv_f32_from_f16(kept);
        }
    }
}

static void prepare(const float *q, uint32_t d, void *qp, uint32_t m)
{
    memcpy(qp, q, (size_t)m * d * sizeof *q);
}

static inline void qk(const struct skv_cpu_rows *row, uint32_t n, const float *q, uint32_t d, float *s, uint32_t m,
                      void (*load)(const uint8_t *, uint32_t, int, float *), int bf16)
{
    float x[SKV_HEAD_DIM_MAX];
    for (uint32_t t = 0; t < n; t++) {
        load(skv_cpu_row(row, t), d, bf16, x);
        for (uint32_t i = 0; i < m; i++) {
            float lane[LANES] = {0}, sum = 0;
            for (uint32_t c = 0; c < d; c += LANES)
                for (uint32_t l = 0; l < LANES; l++)
                    lane[l] += x[c + l] * q[(size_t)i * d + c + l];
            for (uint32_t l = 0; l < LANES; l++)
                sum += lane[l];
            s[i * SKV_CPU_TILE + t] = sum;
        }
    }
}

static inline void pv(const struct skv_cpu_rows *row, uint32_t n, const float *s, const float *corr, uint32_t d,
                      float *o, uint32_t m, void (*load)(const uint8_t *, uint32_t, int, float *), int bf16)
{
    float x[SKV_HEAD_DIM_MAX];
    for (uint32_t i = 0; i < m; i++)
        for (uint32_t c = 0; c < d; c++)
            o[(size_t)i * d + c] *= corr[i];
    for (uint32_t t = 0; t < n; t++) {
        load(skv_cpu_row(row, t), d, bf16, x);
        for (uint32_t i = 0; i < m; i++) {
            float weight = s[i * SKV_CPU_TILE + t];
            for (uint32_t c = 0; c < d; c++)
                o[(size_t)i * d + c] += weight * x[c];
        }
    }
}

/* One entry point per number of query rows, and per type, source and number the two loops. */
#define DEFINE_ENDS(M)                                              \
    static void prepare_m##M(const float *q, uint32_t d, void *qp)  \
    {                                                               \
        prepare(q, d, qp, M);                                       \
    }                                                               \
    static void finish_m##M(const float *o, uint32_t d, float *out) \
    {                                                               \
        prepare(o, d, out, M);                                      \
    }
#define DEFINE(TYPE, BF16, SOURCE, LOAD, M)                                                                         \
    static void qk_##TYPE##_##SOURCE##_m##M(const struct skv_cpu_rows *row, uint32_t n, const void *qp, uint32_t d, \
                                            float *s, const struct skv_cpu_ahead *ahead)                            \
    {                                                                                                               \
        (void)ahead;                                                                                                \
        qk(row, n, qp, d, s, M, LOAD, BF16);                                                                        \
    }                                                                                                               \
    static void pv_##TYPE##_##SOURCE##_m##M(const struct skv_cpu_rows *row, uint32_t n, const float *s,             \
                                            const float *corr, uint32_t d, float *o,                                \
                                            const struct skv_cpu_ahead *ahead)                                      \
    {                                                                                                               \
        (void)ahead;                                                                                                \
        pv(row, n, s, corr, d, o, M, LOAD, BF16);                                                                   \
    }
#define DEFINE_ALL(M)                        \
    DEFINE_ENDS(M)                           \
    DEFINE(f16, 0, records, load_record, M)  \
    DEFINE(f16, 0, dense, load_dense, M)     \
    DEFINE(bf16, 1, records, load_record, M) \
    DEFINE(bf16, 1, dense, load_dense, M)
DEFINE_ALL(1)
DEFINE_ALL(2)
DEFINE_ALL(4)
DEFINE_ALL(8)

#define ENTRY(TYPE, SOURCE, M)                                                                                   \
    {                                                                                                            \
        .name = #TYPE "." #SOURCE ".m" #M ".scalar", .prepare = prepare_m##M, .qk = qk_##TYPE##_##SOURCE##_m##M, \
        .pv = pv_##TYPE##_##SOURCE##_m##M, .finish = finish_m##M                                                 \
    }
#define ENTRIES(TYPE, SOURCE)                                                                          \
    {                                                                                                  \
        ENTRY(TYPE, SOURCE, 1), ENTRY(TYPE, SOURCE, 2), ENTRY(TYPE, SOURCE, 4), ENTRY(TYPE, SOURCE, 8) \
    }

static const struct skv_cpu_attend entries[2][SKV_CPU_SOURCE_COUNT][SKV_CPU_M_COUNT] = {
    [SKV_CPU_F16] = {[SKV_CPU_RECORDS] = ENTRIES(f16, records), [SKV_CPU_DENSE] = ENTRIES(f16, dense)},
    [SKV_CPU_BF16] = {[SKV_CPU_RECORDS] = ENTRIES(bf16, records), [SKV_CPU_DENSE] = ENTRIES(bf16, dense)},
};

static void softmax(float *s, uint32_t n, uint32_t m, float scale, float *mx, float *sum, float *corr)
{
    for (uint32_t i = 0; i < m; i++) {
        float *row = s + (size_t)i * SKV_CPU_TILE, most = mx[i], total = 0;
        for (uint32_t t = 0; t < n; t++) {
            row[t] *= scale;
            most = row[t] > most || isnan(row[t]) ? row[t] : most;
        }
        if (most == -INFINITY) {
            memset(row, 0, n * sizeof *row);
            corr[i] = 1;
            continue;
        }
        for (uint32_t t = 0; t < n; t++) {
            row[t] = expf(row[t] - most);
            total += row[t];
        }
        corr[i] = expf(mx[i] - most);
        sum[i] = sum[i] * corr[i] + total;
        mx[i] = most;
    }
}

void skv_cpu_attend_scalar(struct skv_cpu_kernels *table)
{
    table->isa = "scalar";
    table->softmax = softmax;
    memcpy(table->attend, entries, sizeof entries);
}
