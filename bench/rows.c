/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of the result file, of cases measured and cases not.
 */
#include "bench.h"

#include <string.h>

cJSON *bench_identity(const struct bench *bench, const char *op, const struct bench_setting *setting)
{
    const struct bench_shape *shape = setting->shape;
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "op", op);
    cJSON_AddStringToObject(row, "device", bench->on->info.id);
    cJSON_AddStringToObject(row, "variant", bench->on->info.variant);
    cJSON_AddNumberToObject(row, "threads", setting->n_threads);
    if (shape) {
        cJSON_AddStringToObject(row, "shape", shape->name);
        cJSON_AddNumberToObject(row, "n_seqs", shape->n_seqs);
        cJSON_AddNumberToObject(row, "n_q_heads", shape->n_q_heads);
        cJSON_AddNumberToObject(row, "n_kv_heads", shape->n_kv_heads);
        cJSON_AddNumberToObject(row, "head_dim", shape->head_dim);
        cJSON_AddNumberToObject(row, "n_tokens", (double)shape->n_tokens);
        cJSON_AddNumberToObject(row, "kept", setting->kept);
        cJSON_AddStringToObject(row, "dtype", setting->dtype == SKV_F16 ? "f16" : "bf16");
    }
    return row;
}

void bench_add_skipped(struct bench *bench, const char *op, const struct bench_setting *setting)
{
    cJSON *row = bench_identity(bench, op, setting);
    char what[256];
    if (setting->shape)
        snprintf(what, sizeof what, "%s %s, %s, %u of %u kept", op, setting->shape->name,
                 setting->dtype == SKV_F16 ? "f16" : "bf16", setting->kept, setting->shape->head_dim);
    else
        snprintf(what, sizeof what, "%s", op);
    cJSON_AddStringToObject(row, "what", what);
    cJSON_AddStringToObject(row, "outcome", bench->outcome);
    cJSON_AddStringToObject(row, "why", bench->why);
    cJSON_AddItemToArray(bench->skipped, row);
    /* A reason is told once where it repeats. */
    if (strcmp(bench->why, bench->told) != 0) {
        bench_print_head(bench, op, setting);
        printf("%s: %s\n", bench->outcome, bench->why);
        strcpy(bench->told, bench->why);
    }
}

cJSON *bench_result(struct bench *bench, const char *op, const struct bench_setting *setting)
{
    cJSON *result = bench_identity(bench, op, setting);
    cJSON_AddStringToObject(result, "kernel", skv_queue_last_kernel(bench->on->queue));
    cJSON_AddItemToArray(bench->results, result);
    return result;
}

void bench_add_samples(cJSON *result, const char *name, const struct bench_series *series, int i)
{
    double nanoseconds[BENCH_ROUNDS_MAX];
    for (size_t n = 0; n < series->n; n++)
        nanoseconds[n] = series->seconds[i][n] * 1e9;
    cJSON *entry = cJSON_AddObjectToObject(result, name);
    cJSON_AddNumberToObject(entry, "median_ns", bench_median(nanoseconds, series->n));
    cJSON_AddItemToObject(entry, "samples_ns", cJSON_CreateDoubleArray(nanoseconds, (int)series->n));
    cJSON_AddNumberToObject(entry, "launches_per_sample", series->launches[i]);
    cJSON_AddStringToObject(entry, "clock", series->host_clock ? "host" : "device");
}

void bench_add_ratio(cJSON *result, const char *name, struct bench_ratio ratio)
{
    cJSON *entry = cJSON_AddObjectToObject(result, name);
    cJSON_AddNumberToObject(entry, "median", ratio.middle);
    cJSON_AddNumberToObject(entry, "lower_quartile", ratio.low);
    cJSON_AddNumberToObject(entry, "upper_quartile", ratio.high);
}

void bench_print_head(const struct bench *bench, const char *op, const struct bench_setting *setting)
{
    tool_progress(NULL);
    printf("%-10s ", op);
    if (setting->shape)
        printf("%-20s %-4s k=%-3u ", setting->shape->name, setting->dtype == SKV_F16 ? "f16" : "bf16", setting->kept);
    /* The variant names the threads, too. */
    printf("%.*s", (int)strcspn(bench->on->info.variant, ","), bench->on->info.variant);
    if (setting->n_threads)
        printf(" %u thr", setting->n_threads);
    printf("  ");
}
