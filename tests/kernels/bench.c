/* SPDX-License-Identifier: Apache-2.0
 *
 * Nanoseconds per row of every entry at every level. The levels take turns within each repetition and the median is
 * printed, so that what else the machine does meets all of them alike; compare within a line only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/cpu/ladder.h"
#include "tests/kernels/kernels_test.h"
#include "tests/kernels/oracle.h"

#define LEVELS_MAX 8
#define REPETITIONS 11
/* Dense rows, which with the records stay in a second-level cache of 1 MiB; and more than a third level's 32 MiB hold.
 */
#define SMALL_BYTES (256u << 10)
#define LARGE_BYTES (128u << 20)
/* A measurement lasts at least this long, in passes over all rows. */
#define SHORTEST_NS 500000

enum operation { QK, PV, SOFTMAX, COMPRESS_TOPK, SELECT_TOPK, SELECT_SCORES, PACK, UNPACK };

struct job {
    enum operation operation;
    const char *name;
    int math, source, log_m;
};

struct data {
    uint32_t d, k, n_rows;
    uint8_t *dense, *records, *copies;
    uint64_t *bitmap;
    const uint8_t **dense_row, **record_row;
    uint8_t **copy_row;
    uint32_t *score;
    float *q, *qp, *s, *o, corr[SKV_CPU_M_MAX], mx[SKV_CPU_M_MAX], sum[SKV_CPU_M_MAX];
};

static void *get(size_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!memory) {
        perror("bench");
        exit(2);
    }
    memset(memory, 0, (bytes + 63) / 64 * 64);
    return memory;
}

static struct data make_data(uint32_t d, size_t bytes)
{
    struct kt_rng rng = {kt_options.seed};
    struct data data = {.d = d, .k = d / 2};
    size_t stride = (SKV_RECORD_BYTES(d, data.k) + 7) / 8 * 8, row_bytes = 2 * (size_t)d;
    data.n_rows = (uint32_t)(bytes / row_bytes / KT_ROWS * KT_ROWS);
    data.dense = get(data.n_rows * row_bytes);
    data.records = get(data.n_rows * stride + SKV_READ_SLACK);
    data.copies = get(data.n_rows * row_bytes);
    data.bitmap = get(data.n_rows * SKV_BITMAP_BYTES(d));
    data.dense_row = get(data.n_rows * sizeof *data.dense_row);
    data.record_row = get(data.n_rows * sizeof *data.record_row);
    data.copy_row = get(data.n_rows * sizeof *data.copy_row);
    data.score = get(data.n_rows * 4 * (size_t)d);
    data.q = get(SKV_CPU_M_MAX * (size_t)d * sizeof(float));
    data.qp = get(SKV_CPU_M_MAX * (size_t)SKV_CPU_D_PAD(d) * sizeof(float));
    data.o = get(SKV_CPU_M_MAX * (size_t)SKV_CPU_D_PAD(d) * sizeof(float));
    data.s = get(SKV_CPU_M_MAX * SKV_CPU_TILE * sizeof(float));
    for (uint32_t t = 0; t < data.n_rows; t++) {
        uint16_t row[SKV_HEAD_DIM_MAX];
        uint64_t *bitmap = data.bitmap + t * SKV_BITMAP_WORDS(d);
        kt_row(&rng, KT_NORMAL, 0, d, row);
        kt_oracle_topk(row, d, data.k, bitmap);
        data.dense_row[t] = memcpy(data.dense + t * row_bytes, row, row_bytes);
        data.record_row[t] = data.records + t * stride;
        data.copy_row[t] = data.copies + t * stride;
        kt_oracle_pack(row, bitmap, d, data.records + t * stride);
        for (uint32_t c = 0; c < d; c++)
            data.score[t * d + c] = (uint32_t)kt_random(&rng);
    }
    for (uint32_t i = 0; i < SKV_CPU_M_MAX * d; i++)
        data.q[i] = (float)(kt_below(&rng, 256) / 128.0 - 1);
    return data;
}

static void free_data(struct data *data)
{
    void *all[] = {data->dense,    data->records, data->copies, data->bitmap, data->dense_row, data->record_row,
                   data->copy_row, data->score,   data->q,      data->qp,     data->o,         data->s};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

static uint64_t now(void)
{
    struct timespec time;
    timespec_get(&time, TIME_UTC);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* Nanoseconds of one pass over all rows. */
static uint64_t run(const struct job *job, const struct skv_cpu_kernels *table, struct data *data)
{
    const struct skv_cpu_attend *attend = &table->attend[job->math][job->source][job->log_m];
    const uint8_t *const *list = job->source == SKV_CPU_DENSE ? data->dense_row : data->record_row;
    uint32_t m = 1u << job->log_m, d = data->d, n_words = SKV_BITMAP_WORDS(d);
    size_t stride = (size_t)(data->copy_row[1] - data->copy_row[0]);
    for (uint32_t i = 0; i < SKV_CPU_M_MAX; i++) {
        data->corr[i] = 0.5f;
        data->mx[i] = data->sum[i] = 0;
    }
    for (uint32_t i = 0; i < SKV_CPU_M_MAX * SKV_CPU_TILE; i++)
        data->s[i] = 1.0f / (float)(1 + i % 61);
    memset(data->o, 0, m * SKV_CPU_D_PAD(d) * sizeof *data->o);
    if (job->operation == QK)
        attend->prepare(data->q, d, data->qp);
    int entered = (job->operation == QK || job->operation == PV) && attend->enter;
    if (entered)
        attend->enter();
    uint64_t start = now();
    for (uint32_t t = 0; t < data->n_rows; t += KT_ROWS) {
        const struct skv_cpu_rows rows = {NULL, list[t], (size_t)(list[1] - list[0])};
        const uint16_t *const *dense = (const uint16_t *const *)(const void *)(data->dense_row + t);
        if (job->operation == QK)
            attend->qk(&rows, KT_ROWS, data->qp, d, data->s, &kt_nothing_ahead);
        else if (job->operation == PV)
            attend->pv(&rows, KT_ROWS, data->s, data->corr, d, data->o, &kt_nothing_ahead);
        else if (job->operation == SOFTMAX)
            table->softmax(data->s, KT_ROWS, m, 0.1f, data->mx, data->sum, data->corr);
        else if (job->operation == COMPRESS_TOPK)
            table->compress_topk(dense, KT_ROWS, 0, d, data->k, data->copy_row + t, false);
        else if (job->operation == SELECT_TOPK)
            table->select_topk(dense, KT_ROWS, d, data->k, data->bitmap + t * n_words);
        for (uint32_t i = t; i < t + KT_ROWS; i++)
            if (job->operation == SELECT_SCORES)
                table->select_scores(data->score + i * (size_t)d, d, data->k, data->bitmap + i * n_words);
            else if (job->operation == PACK)
                table->pack((const uint16_t *)(const void *)data->dense_row[i], data->bitmap + i * n_words, d,
                            data->copies + i * stride);
            else if (job->operation == UNPACK)
                table->unpack(data->record_row[i], d, (uint16_t *)(void *)(data->copies + i * 2 * (size_t)d));
    }
    uint64_t time = now() - start;
    if (entered)
        attend->leave();
    return time;
}

/* Nanoseconds per row. */
static double measure(const struct job *job, const struct skv_cpu_kernels *table, struct data *data)
{
    uint64_t time = 0, n_passes = 0;
    for (; time < SHORTEST_NS; n_passes++)
        time += run(job, table, data);
    return (double)time / (double)n_passes / data->n_rows;
}

/* Whether the job at this level runs other code than at the level below. */
static int differs(const struct job *job, const struct skv_cpu_kernels *table, const struct skv_cpu_kernels *below)
{
    const struct skv_cpu_attend *here = &table->attend[job->math][job->source][job->log_m];
    const struct skv_cpu_attend *there = &below->attend[job->math][job->source][job->log_m];
    switch (job->operation) {
    case QK:
        return here->qk != there->qk;
    case PV:
        return here->pv != there->pv;
    case SOFTMAX:
        return table->softmax != below->softmax;
    case COMPRESS_TOPK:
        return table->compress_topk != below->compress_topk;
    case SELECT_TOPK:
        return table->select_topk != below->select_topk;
    case SELECT_SCORES:
        return table->select_scores != below->select_scores;
    case PACK:
        return table->pack != below->pack;
    default:
        return table->unpack != below->unpack;
    }
}

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static struct skv_cpu_kernels tables[LEVELS_MAX];
static int chosen[LEVELS_MAX];

/* What a level has for a job: its own kernel, the one of the level below, or none. */
static char presence(const struct job *job, unsigned level)
{
    int attends = job->operation == QK || job->operation == PV;
    if (!chosen[level] || (attends && !tables[level].attend[job->math][job->source][job->log_m].qk))
        return '-';
    return level == 0 || kt_options.level || differs(job, &tables[level], &tables[level - 1]) ? '+' : '=';
}

static void print_job(const struct job *job, struct data *data)
{
    double time[LEVELS_MAX][REPETITIONS], lowest = 0;
    unsigned n_levels = skv_cpu_ladder_count();
    struct job first = *job;
    /* The lowest level has no dot instruction: its bf16 kernels are what the others are compared with. */
    first.math = job->math == SKV_CPU_BF16_DOT ? SKV_CPU_BF16 : job->math;
    for (unsigned i = 0; i < REPETITIONS; i++)
        for (unsigned level = 0; level < n_levels; level++)
            if (level == 0 || presence(job, level) == '+')
                time[level][i] = measure(level ? job : &first, &tables[level], data);
    printf("%-28s %4u", job->name, data->d);
    for (unsigned level = 0; level < n_levels; level++) {
        if (level > 0 && presence(job, level) != '+') {
            printf(" %9c %7s", presence(job, level), "");
            continue;
        }
        qsort(time[level], REPETITIONS, sizeof time[level][0], ascending);
        double median = time[level][REPETITIONS / 2];
        lowest = level ? lowest : median;
        printf(" %9.2f %6.2fx", median, lowest / median);
    }
    printf("\n");
    fflush(stdout);
}

static void print_all(struct data *data)
{
    static const struct job others[] = {{COMPRESS_TOPK, "compress.compress_topk", 0, 0, 0},
                                        {SELECT_TOPK, "compress.select_topk", 0, 0, 0},
                                        {SELECT_SCORES, "compress.select_scores", 0, 0, 0},
                                        {PACK, "compress.pack", 0, 0, 0},
                                        {UNPACK, "compress.unpack", 0, 0, 0},
                                        {SOFTMAX, "softmax.m1", 0, 0, 0},
                                        {SOFTMAX, "softmax.m4", 0, 0, 2},
                                        {SOFTMAX, "softmax.m8", 0, 0, 3}};
    for (int math = 0; math < SKV_CPU_MATH_COUNT; math++)
        for (int source = 0; source < SKV_CPU_SOURCE_COUNT; source++)
            for (int log_m = 0; log_m < SKV_CPU_M_COUNT; log_m++)
                for (enum operation operation = QK; operation <= PV; operation++) {
                    char name[64];
                    snprintf(name, sizeof name, "attend.%s.%s.m%d.%s", kt_math_name[math], kt_source_name[source],
                             1 << log_m, operation == QK ? "qk" : "pv");
                    struct job job = {operation, name, math, source, log_m};
                    if (kt_take("", name, 1))
                        print_job(&job, data);
                }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (kt_take("", others[i].name, 1))
            print_job(&others[i], data);
}

int kt_bench(int dram)
{
    unsigned n_levels = skv_cpu_ladder_count();
    printf("ns per row, and how many times as fast as the first number; k = d/2; %s\n"
           "= the level below's kernel; - none; the first number of bf16dot is of bf16\n",
           dram ? "rows from memory" : "rows in the second-level cache");
    printf("%-28s %4s", "", "d");
    for (unsigned level = 0; level < n_levels; level++) {
        chosen[level] = skv_cpu_ladder_usable(level) && skv_cpu_ladder_admit(level) &&
                        (level == 0 || !kt_options.level || !strcmp(kt_options.level, skv_cpu_ladder_name(level)));
        if (chosen[level])
            skv_cpu_ladder_fill(level, &tables[level]);
        printf(" %17s", skv_cpu_ladder_name(level));
    }
    printf("\n");
    for (uint32_t d = 64; d <= 128; d *= 2) {
        struct data data = make_data(d, dram ? LARGE_BYTES : SMALL_BYTES);
        print_all(&data);
        free_data(&data);
    }
    return 0;
}
