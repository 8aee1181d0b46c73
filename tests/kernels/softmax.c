/* SPDX-License-Identifier: Apache-2.0
 *
 * One step of the online softmax. Ordinary rows within a bound; -inf by its rules; of NaN and +inf only that they do
 * not get lost and do not touch the other rows.
 */
#include <math.h>
#include <string.h>

#include "tests/kernels/kernels_test.h"

#define UNIT 0x1p-24

enum kind {
    SMALL,     /* scores around 0, scale of the usual size */
    EXACT,     /* scale a power of two, so that x is exact and the bound is tightest */
    WIDE,      /* scores so far apart that most weights underflow */
    NEGATIVE,  /* scale below 0 */
    EQUAL,     /* all weights 1 */
    SOME_MASK, /* some scores -inf */
    ALL_MASK,  /* all scores -inf */
    SOME_NAN,
    SOME_INF,
    KIND_COUNT
};

static struct kt_pen s_pen, state_pen[3];

static float draw_score(struct kt_rng *rng, enum kind kind)
{
    if (kind == EQUAL)
        return 3.25f;
    if (kind == ALL_MASK || (kind == SOME_MASK && kt_below(rng, 3) == 0))
        return -INFINITY;
    return (float)(kt_normal(rng) * (kind == WIDE ? 300 : 8));
}

static int is_close(double got, double want, double bound)
{
    return fabs(got - want) <= bound;
}

/* Row i: s before and after; mx and sum before; mx, sum and corr after. */
static int check_row(uint32_t i, uint32_t n, enum kind kind, float scale, const float *before, const float *after,
                     const float state[3], float mx, float sum, float corr)
{
    for (uint32_t t = n; t < SKV_CPU_TILE; t++)
        if (memcmp(&after[t], &before[t], sizeof *after) && after[t] != 0)
            return kt_fail("s[%u][%u] is past n and became %g", i, t, (double)after[t]);
    if (kind == SOME_NAN || kind == SOME_INF) {
        int lost = !isnan(sum);
        for (uint32_t t = 0; t < n && lost; t++)
            lost = !isnan(after[t]);
        return !lost || kt_fail("row %u had a NaN or +inf score; its sum is %g and no weight is NaN", i, (double)sum);
    }
    float most = state[0];
    for (uint32_t t = 0; t < n; t++)
        most = before[t] * scale > most ? before[t] * scale : most;
    if (mx != most)
        return kt_fail("mx[%u] is %.9g, should be %.9g", i, (double)mx, (double)most);
    double total = 0, total_bound = 0;
    for (uint32_t t = 0; t < n; t++) {
        double x = (double)before[t] * (double)scale, far = x - (double)most;
        double want = isinf(x) ? 0 : exp(far);
        /* 2 ulp of the exponential, at most 2^-22, twice; the subtraction rounds its result and, unless scale is a
         * power of two, the product is rounded before. mx is a binary32 number and exact here. */
        double relative = 4 * 0x1p-23 + UNIT * fabs(far) + (kind == EXACT ? 0 : UNIT * fabs(x));
        double bound = isinf(x) ? 0 : want * relative + 1e-37;
        if (!is_close((double)after[t], want, bound))
            return kt_fail("s[%u][%u] is %.9g, should be %.9g within %.3g", i, t, (double)after[t], want, bound);
        total += want;
        total_bound += bound;
    }
    double gone = (double)state[0] - (double)most;
    double want = most == -INFINITY ? 1 : isinf(gone) ? 0 : exp(gone);
    double bound = most == -INFINITY || isinf(gone) ? 0 : want * (4 * 0x1p-23 + UNIT * fabs(gone)) + 1e-37;
    if (!is_close((double)corr, want, bound))
        return kt_fail("corr[%u] is %.9g, should be %.9g within %.3g", i, (double)corr, want, bound);
    total += (double)state[1] * want;
    total_bound += (double)state[1] * bound + (n + 4) * UNIT * total;
    if (!is_close((double)sum, total, total_bound))
        return kt_fail("sum[%u] is %.9g, should be %.9g within %.3g", i, (double)sum, total, total_bound);
    return 1;
}

static int test_softmax(const struct skv_cpu_kernels *table, struct kt_rng *rng, uint32_t n, uint32_t m,
                        uint32_t variant)
{
    static const float scales[4] = {0.088388346f, 0.125f, 0.7f, -0.3f};
    float before[SKV_CPU_M_MAX * SKV_CPU_TILE], state[SKV_CPU_M_MAX][3], *now[3];
    enum kind kind[SKV_CPU_M_MAX];
    size_t bytes = m * SKV_CPU_TILE * sizeof(float);
    float *s = (float *)(void *)kt_pen_place(s_pen, bytes, 64, 0, 0, KT_CANARY);
    float scale = variant < 4 ? scales[variant] : 0.1f;
    memset(before, KT_POISON, bytes);
    for (uint32_t part = 0; part < 3; part++)
        now[part] = (float *)(void *)kt_pen_place(state_pen[part], m * sizeof(float), sizeof(float), 0, 0, KT_CANARY);
    for (uint32_t i = 0; i < m; i++) {
        kind[i] = variant < 4 ? (enum kind)variant : (enum kind)(EQUAL + (variant + i) % (KIND_COUNT - EQUAL));
        for (uint32_t t = 0; t < n; t++)
            before[i * SKV_CPU_TILE + t] = draw_score(rng, kind[i]);
        if (kind[i] == SOME_NAN || kind[i] == SOME_INF)
            before[i * SKV_CPU_TILE + kt_below(rng, n)] = kind[i] == SOME_NAN ? NAN : INFINITY;
        int first = kt_below(rng, 3) == 0;
        state[i][0] = first ? -INFINITY : (float)kt_normal(rng);
        state[i][1] = first ? 0 : (float)(1 + kt_below(rng, 1000)) / 7;
        state[i][2] = NAN;
        for (uint32_t part = 0; part < 3; part++)
            now[part][i] = state[i][part];
    }
    memcpy(s, before, bytes);
    table->softmax(s, n, m, scale, now[0], now[1], now[2]);
    for (uint32_t i = 0; i < m; i++)
        if (!check_row(i, n, kind[i], scale, before + i * SKV_CPU_TILE, s + i * SKV_CPU_TILE, state[i], now[0][i],
                       now[1][i], now[2][i]))
            return 0;
    return kt_pen_intact(s_pen, (const uint8_t *)s, bytes, KT_CANARY, "s") &&
           kt_pen_intact(state_pen[0], (const uint8_t *)now[0], m * sizeof(float), KT_CANARY, "mx") &&
           kt_pen_intact(state_pen[1], (const uint8_t *)now[1], m * sizeof(float), KT_CANARY, "sum") &&
           kt_pen_intact(state_pen[2], (const uint8_t *)now[2], m * sizeof(float), KT_CANARY, "corr");
}

unsigned kt_test_softmax(const char *level, const struct skv_cpu_kernels *table, const struct skv_cpu_kernels *below)
{
    if (!kt_take(level, "softmax", !below || table->softmax != below->softmax))
        return 0;
    if (!s_pen.begin) {
        s_pen = kt_pen_open(SKV_CPU_M_MAX * SKV_CPU_TILE * sizeof(float));
        for (uint32_t part = 0; part < 3; part++)
            state_pen[part] = kt_pen_open(SKV_CPU_M_MAX * sizeof(float));
    }
    for (uint32_t n = 1; n <= SKV_CPU_TILE; n++)
        for (uint32_t m = 1; m <= SKV_CPU_M_MAX; m++)
            for (uint32_t variant = 0; variant < 16; variant++) {
                struct kt_rng rng = kt_begin(level, "softmax", 0, 0, n, m, variant);
                if (!test_softmax(table, &rng, n, m, variant))
                    return 1;
            }
    return 0;
}
