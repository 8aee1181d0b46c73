/* SPDX-License-Identifier: Apache-2.0
 *
 * The attention variants: prepare, qk, two rounds of pv, finish, against sums in double. Each value has a bound of its
 * own, from the number of roundings and the sum of magnitudes that they act on; NaN and infinities must be where the
 * double sums have them.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/kernels/kernels_test.h"
#include "tests/kernels/oracle.h"

#define UNIT 0x1p-24

enum recipe {
    PLAIN,
    MIXED,       /* ties, zeros, subnormals; weights that are subnormal */
    FINITE_BITS, /* any finite values */
    SPECIAL,     /* NaN and infinities in some rows */
    Q_LARGE,
    Q_SMALL,
    ONE_NAN, /* NaN in one query row and among its weights */
    RECIPE_COUNT
};

struct subject {
    const char *level, *entry;
    const struct skv_cpu_attend *kernel;
    int bf16, dot, records, damaged;
    uint32_t m;
};

struct sum {
    double value, magnitude, flushed;
};

static struct kt_rows rows;
static struct kt_pen q_pen, qp_pen, s_pen, o_pen, out_pen, corr_pen;
static double number[KT_ROWS][SKV_HEAD_DIM_MAX];
static uint8_t kept[KT_ROWS][SKV_HEAD_DIM_MAX];
static float query[SKV_CPU_M_MAX][SKV_HEAD_DIM_MAX];
static struct sum state[SKV_CPU_M_MAX][SKV_HEAD_DIM_MAX];

static void enter(const struct skv_cpu_attend *kernel)
{
    if (kernel->enter)
        kernel->enter();
}

static void leave(const struct skv_cpu_attend *kernel)
{
    if (kernel->leave)
        kernel->leave();
}

static void open_once(void)
{
    if (q_pen.begin)
        return;
    size_t bytes = SKV_CPU_M_MAX * SKV_HEAD_DIM_MAX * sizeof(float);
    kt_rows_open(&rows);
    q_pen = kt_pen_open(bytes);
    qp_pen = kt_pen_open(bytes);
    o_pen = kt_pen_open(bytes);
    out_pen = kt_pen_open(bytes);
    s_pen = kt_pen_open(SKV_CPU_M_MAX * SKV_CPU_TILE * sizeof(float));
    corr_pen = kt_pen_open(SKV_CPU_M_MAX * sizeof(float));
}

static float *place_floats(struct kt_pen pen, size_t count, size_t align, uint8_t fill)
{
    return (float *)(void *)kt_pen_place(pen, count * sizeof(float), align, 0, 0, fill);
}

static int floats_intact(struct kt_pen pen, const float *at, size_t count, uint8_t fill, const char *name)
{
    return kt_pen_intact(pen, (const uint8_t *)at, count * sizeof(float), fill, name);
}

/* The dot instruction takes subnormal operands for 0. */
static int is_flushed(double operand)
{
    return operand != 0 && fabs(operand) < 0x1p-126;
}

static void add(struct sum *sum, double left, double right)
{
    double product = left * right;
    sum->value += product;
    sum->magnitude += fabs(product);
    if (is_flushed(left) || is_flushed(right))
        sum->flushed += fabs(product);
}

/* got against the oracle: n_rounded is how many roundings a term can go through, weights whether one factor was rounded
 * to bf16 before. */
static int is_right(const struct subject *subject, float got, const struct sum *want, uint32_t n_rounded, int weights,
                    double *bound)
{
    *bound = n_rounded * UNIT * want->magnitude + n_rounded * 0x1p-149;
    if (subject->dot)
        *bound += want->flushed + n_rounded * 0x1p-126 + (weights ? 0x1p-8 * want->magnitude : 0);
    if (isnan(want->value))
        return isnan(got);
    if (isinf(want->value))
        return (double)got == want->value;
    return fabs((double)got - want->value) <= *bound;
}

static enum kt_kind draw_kind(struct kt_rng *rng, enum recipe recipe, int last)
{
    static const enum kt_kind mixed[5] = {KT_NORMAL, KT_TIED, KT_EQUAL, KT_ZEROS, KT_SUBNORMAL};
    if (recipe == MIXED)
        return mixed[kt_below(rng, 5)];
    if (recipe == FINITE_BITS)
        return KT_FINITE;
    /* Most often the last row, which kernels that take rows in groups treat apart. */
    return recipe == SPECIAL && kt_below(rng, last ? 2 : 16) == 0 ? KT_SPECIAL : KT_NORMAL;
}

/* n rows of values, as dense rows or as records; what the kernels should see of them goes to number and kept. Damaged
 * bitmaps have bits for channels past d, which claim values behind the record: NaN. */
static void draw_rows(const struct subject *subject, struct kt_rng *rng, uint32_t d, uint32_t k, uint32_t n,
                      enum recipe recipe)
{
    const double *decoded = kt_decoded(subject->bf16);
    int ragged = kt_below(rng, 4) == 0;
    size_t bytes = subject->records ? SKV_RECORD_BYTES(d, k) : 2 * (size_t)d;
    size_t slack = subject->records ? SKV_READ_SLACK + (subject->damaged ? 2 * SKV_WORD_CHANNELS : 0) : 0;
    kt_rows_place(&rows, rng, (enum kt_place)kt_below(rng, KT_PLACE_COUNT), n, bytes, subject->records ? 8 : 2, slack,
                  KT_POISON);
    for (uint32_t t = 0; t < n; t++) {
        uint16_t row[SKV_HEAD_DIM_MAX];
        uint64_t bitmap[SKV_WORDS_MAX] = {0};
        uint8_t record[KT_ROW_BYTES];
        uint32_t left = ragged ? kt_below(rng, k + 1) : k;
        kt_row(rng, draw_kind(rng, recipe, t + 1 == n), subject->bf16, d, row);
        for (uint32_t c = 0; c < d; c++) {
            kept[t][c] = !subject->records || kt_below(rng, d - c) < left;
            left -= kept[t][c];
            bitmap[c / 64] |= (uint64_t)kept[t][c] << c % 64;
            number[t][c] = kept[t][c] ? decoded[row[c]] : 0;
        }
        if (!subject->records) {
            memcpy(rows.at[t], row, bytes);
            continue;
        }
        size_t used = kt_oracle_pack(row, bitmap, d, record);
        if (subject->damaged && kt_below(rng, 2)) {
            bitmap[d / 64] |= kt_random(rng) << d % 64;
            memcpy(record, bitmap, SKV_BITMAP_BYTES(d));
        }
        memcpy(rows.at[t], record, used);
    }
}

static void draw_query(const struct subject *subject, struct kt_rng *rng, uint32_t d, enum recipe recipe,
                       uint32_t nan_row)
{
    /* FINITE_BITS in bf16 reach 2^128 each: the sums must not. */
    double scale = recipe == Q_LARGE                        ? 0x1p20
                   : recipe == Q_SMALL                      ? 0x1p-100
                   : recipe == FINITE_BITS && subject->bf16 ? 0x1p-20
                                                            : 1;
    for (uint32_t i = 0; i < subject->m; i++)
        for (uint32_t c = 0; c < d; c++) {
            uint32_t bits;
            query[i][c] = recipe == MIXED && kt_below(rng, 8) == 0 ? 0 : (float)(kt_normal(rng) * scale);
            memcpy(&bits, &query[i][c], sizeof bits);
            bits &= subject->dot ? 0xffff0000u : 0xffffffffu;
            memcpy(&query[i][c], &bits, sizeof bits);
        }
    if (recipe == ONE_NAN)
        query[nan_row][kt_below(rng, d)] = NAN;
}

static int test_qk(const struct subject *subject, struct kt_rng *rng, uint32_t d, uint32_t n, enum recipe recipe)
{
    uint32_t m = subject->m, pad = SKV_CPU_D_PAD(d), nan_row = kt_below(rng, m);
    draw_query(subject, rng, d, recipe, nan_row);
    float *q = place_floats(q_pen, (size_t)m * d, sizeof(float), KT_POISON);
    float *qp = place_floats(qp_pen, (size_t)m * pad, 64, KT_CANARY);
    float *s = place_floats(s_pen, (size_t)m * SKV_CPU_TILE, 64, KT_CANARY);
    for (uint32_t i = 0; i < m; i++)
        memcpy(q + i * d, query[i], d * sizeof *q);
    memset(qp, KT_POISON, (size_t)m * pad * sizeof *qp);
    memset(s, KT_POISON, (size_t)m * SKV_CPU_TILE * sizeof *s);
    subject->kernel->prepare(q, d, qp);
    const struct skv_cpu_rows all = kt_rows_any(&rows);
    enter(subject->kernel);
    subject->kernel->qk(&all, n, qp, d, s, &kt_nothing_ahead);
    leave(subject->kernel);
    for (uint32_t i = 0; i < m; i++)
        for (uint32_t t = 0; t < n; t++) {
            struct sum want = {0, 0, 0};
            /* A NaN of the query that meets a dropped channel may show or not. */
            int either = 0;
            for (uint32_t c = 0; c < d; c++)
                if (kept[t][c])
                    add(&want, (double)query[i][c], number[t][c]);
                else
                    either |= isnan(query[i][c]);
            double bound;
            float got = s[i * SKV_CPU_TILE + t];
            /* So may a value that a damaged bitmap claims: it meets a zero of the padding. */
            either |= subject->damaged && isnan(got);
            if (!either && !is_right(subject, got, &want, d + 4, 0, &bound))
                return kt_fail("qk: s[%u][%u] is %.9g, should be %.9g within %.3g", i, t, (double)got, want.value,
                               bound);
        }
    if (!floats_intact(qp_pen, qp, (size_t)m * pad, KT_CANARY, "qp") ||
        !floats_intact(s_pen, s, (size_t)m * SKV_CPU_TILE, KT_CANARY, "s"))
        return 0;
    /* The order of the sums depends on nothing but d: a row alone gives the same bits. */
    const uint32_t pick[3] = {0, n / 2, n - 1};
    for (uint32_t j = 0; j < 3; j++) {
        float alone[SKV_CPU_M_MAX * SKV_CPU_TILE + 16];
        float *aligned = alone + (64 - (uintptr_t)alone % 64) % 64 / sizeof *alone;
        const uint8_t *row = rows.at[pick[j]];
        const struct skv_cpu_rows one = {&row, NULL, 0};
        enter(subject->kernel);
        subject->kernel->qk(&one, 1, qp, d, aligned, &kt_nothing_ahead);
        leave(subject->kernel);
        for (uint32_t i = 0; i < m; i++) {
            float got = s[i * SKV_CPU_TILE + pick[j]], want = aligned[i * SKV_CPU_TILE];
            if (memcmp(&got, &want, sizeof got) && !(isnan(got) && isnan(want)))
                return kt_fail("qk: s[%u][%u] is %.9g among %u rows and %.9g alone", i, pick[j], (double)got, n,
                               (double)want);
        }
    }
    return 1;
}

static float draw_weight(struct kt_rng *rng, enum recipe recipe, int bf16)
{
    uint32_t dice = kt_below(rng, 8);
    if (dice < 2)
        return dice ? (recipe == FINITE_BITS && bf16 ? 0x1p-10f : 1.0f) : 0.0f;
    if (dice == 2 && recipe == MIXED)
        return 1e-40f;
    double fraction = 0.5 + kt_below(rng, 1u << 24) * 0x1p-25;
    int exponent = (int)kt_below(rng, 20) + (recipe == FINITE_BITS && bf16 ? 10 : 0);
    return (float)ldexp(fraction, -exponent);
}

/* One tile: brings o and state forward and compares what finish gives. round counts from 0. */
static int test_pv(const struct subject *subject, struct kt_rng *rng, uint32_t d, uint32_t n, enum recipe recipe,
                   uint32_t nan_row, uint32_t round, float *o)
{
    uint32_t m = subject->m, pad = SKV_CPU_D_PAD(d), nan_token = kt_below(rng, n);
    float *s = place_floats(s_pen, (size_t)m * SKV_CPU_TILE, 64, KT_POISON);
    float *corr = place_floats(corr_pen, m, sizeof(float), KT_POISON);
    float *out = place_floats(out_pen, (size_t)m * d, sizeof(float), KT_CANARY);
    for (uint32_t i = 0; i < m; i++) {
        for (uint32_t t = 0; t < n; t++)
            s[i * SKV_CPU_TILE + t] = draw_weight(rng, recipe, subject->bf16);
        corr[i] = kt_below(rng, 3) ? (float)kt_below(rng, 1000) / 999 : (float)kt_below(rng, 2);
    }
    if (recipe == ONE_NAN)
        s[nan_row * SKV_CPU_TILE + nan_token] = NAN;
    for (uint32_t i = 0; i < m; i++)
        for (uint32_t c = 0; c < d; c++) {
            struct sum *sum = &state[i][c];
            double factor = (double)corr[i];
            *sum = (struct sum){sum->value * factor, sum->magnitude * factor, sum->flushed * factor};
            for (uint32_t t = 0; t < n; t++)
                if (kept[t][c])
                    add(sum, (double)s[i * SKV_CPU_TILE + t], number[t][c]);
        }
    const struct skv_cpu_rows all = kt_rows_any(&rows);
    enter(subject->kernel);
    subject->kernel->pv(&all, n, s, corr, d, o, &kt_nothing_ahead);
    leave(subject->kernel);
    subject->kernel->finish(o, d, out);
    for (uint32_t i = 0; i < m; i++)
        for (uint32_t c = 0; c < d; c++) {
            double bound;
            const struct sum *want = &state[i][c];
            /* A NaN weight that meets a dropped channel may show or not. */
            int either = recipe == ONE_NAN && i == nan_row && !isnan(want->value);
            if (!either && !is_right(subject, out[i * d + c], want, (round + 1) * (n + 4), 1, &bound))
                return kt_fail("pv %u: out[%u][%u] is %.9g, should be %.9g within %.3g", round, i, c,
                               (double)out[i * d + c], want->value, bound);
        }
    return floats_intact(o_pen, o, (size_t)m * pad, KT_CANARY, "o") &&
           floats_intact(out_pen, out, (size_t)m * d, KT_CANARY, "out") &&
           floats_intact(s_pen, s, (size_t)m * SKV_CPU_TILE, KT_POISON, "s");
}

static int test_case(const struct subject *subject, uint32_t d, uint32_t k, uint32_t n, enum recipe recipe)
{
    struct kt_rng rng = kt_begin(subject->level, subject->entry, d, k, n, subject->m, (uint32_t)recipe);
    size_t count = (size_t)subject->m * SKV_CPU_D_PAD(d);
    draw_rows(subject, &rng, d, k, n, recipe);
    if (!test_qk(subject, &rng, d, n, recipe))
        return 0;
    uint32_t nan_row = kt_below(&rng, subject->m);
    float *o = place_floats(o_pen, count, 64, KT_CANARY);
    memset(o, 0, count * sizeof *o);
    memset(state, 0, sizeof state);
    return test_pv(subject, &rng, d, n, recipe, nan_row, 0, o) && test_pv(subject, &rng, d, n, recipe, nan_row, 1, o) &&
           kt_rows_intact(&rows, "input row");
}

/* All d and n; for records all k with one recipe each, for dense rows all recipes. */
static int sweep(const struct subject *subject)
{
    uint32_t n_cases = 0;
    for (uint32_t i_d = 0; i_d < KT_D_COUNT; i_d++) {
        if (subject->damaged && kt_d[i_d] % 64 == 0)
            continue;
        uint32_t d = kt_d[i_d], keep[6], n_kept = kt_kept(d, keep),
                 n_variants = subject->records ? n_kept : RECIPE_COUNT;
        for (uint32_t i_n = 0; i_n < KT_N_COUNT; i_n++)
            for (uint32_t i = 0; i < n_variants; i++, n_cases++)
                if (!test_case(subject, d, subject->records ? keep[i] : d, kt_n[i_n],
                               subject->damaged ? PLAIN : (enum recipe)(n_cases % RECIPE_COUNT)))
                    return 0;
    }
    return 1;
}

static int changed(const struct skv_cpu_attend *now, const struct skv_cpu_attend *before)
{
    return now->prepare != before->prepare || now->qk != before->qk || now->pv != before->pv ||
           now->finish != before->finish;
}

/* The variants of one source; damaged is for records. */
static unsigned test_source(const char *level, const struct skv_cpu_kernels *table, const struct skv_cpu_kernels *below,
                            int math, int source, int damaged)
{
    unsigned n_failed = 0;
    for (int log_m = 0; log_m < SKV_CPU_M_COUNT; log_m++) {
        const struct skv_cpu_attend *kernel = &table->attend[math][source][log_m];
        char entry[64];
        snprintf(entry, sizeof entry, "attend.%s.%s.m%d%s", kt_math_name[math], kt_source_name[source], 1 << log_m,
                 damaged ? ".damaged" : "");
        if (!kernel->qk || !kt_take(level, entry, !below || changed(kernel, &below->attend[math][source][log_m])))
            continue;
        struct subject subject = {.level = level,
                                  .entry = entry,
                                  .kernel = kernel,
                                  .bf16 = math != SKV_CPU_F16,
                                  .dot = math == SKV_CPU_BF16_DOT,
                                  .records = source == SKV_CPU_RECORDS,
                                  .damaged = damaged,
                                  .m = 1u << log_m};
        n_failed += !sweep(&subject);
    }
    return n_failed;
}

unsigned kt_test_attend(const char *level, const struct skv_cpu_kernels *table, const struct skv_cpu_kernels *below)
{
    unsigned n_failed = 0;
    open_once();
    for (int math = 0; math < SKV_CPU_MATH_COUNT; math++)
        for (int source = 0; source < SKV_CPU_SOURCE_COUNT; source++)
            n_failed += test_source(level, table, below, math, source, 0);
    for (int math = 0; math < SKV_CPU_MATH_COUNT; math++)
        n_failed += test_source(level, table, below, math, SKV_CPU_RECORDS, 1);
    return n_failed;
}
