/* SPDX-License-Identifier: Apache-2.0
 *
 * One function per measured operation.
 */
#include <stdio.h>
#include <string.h>

#include "bench.h"

cJSON *bench_result(cJSON *results, const char *op, struct tool_device *on, const struct bench_setting *setting)
{
    const struct bench_shape *shape = setting->shape;
    cJSON *result = cJSON_CreateObject();
    cJSON_AddItemToArray(results, result);
    cJSON_AddStringToObject(result, "op", op);
    cJSON_AddStringToObject(result, "device", on->info.id);
    cJSON_AddStringToObject(result, "variant", on->info.variant);
    cJSON_AddStringToObject(result, "kernel", skv_queue_last_kernel(on->queue));
    cJSON_AddStringToObject(result, "shape", shape->name);
    cJSON_AddNumberToObject(result, "n_seqs", shape->n_seqs);
    cJSON_AddNumberToObject(result, "n_q_heads", shape->n_q_heads);
    cJSON_AddNumberToObject(result, "n_kv_heads", shape->n_kv_heads);
    cJSON_AddNumberToObject(result, "head_dim", shape->head_dim);
    cJSON_AddNumberToObject(result, "n_tokens", (double)shape->n_tokens);
    cJSON_AddNumberToObject(result, "kept", setting->kept);
    cJSON_AddStringToObject(result, "dtype", setting->dtype == SKV_F16 ? "f16" : "bf16");
    cJSON_AddNumberToObject(result, "threads", setting->n_threads);
    return result;
}

void bench_add_samples(cJSON *result, const char *name, const double *seconds, size_t n)
{
    double nanoseconds[BENCH_ROUNDS_MAX];
    for (size_t i = 0; i < n; i++)
        nanoseconds[i] = seconds[i] * 1e9;
    cJSON *entry = cJSON_AddObjectToObject(result, name);
    cJSON_AddNumberToObject(entry, "median_ns", bench_median(nanoseconds, n));
    cJSON_AddItemToObject(entry, "samples_ns", cJSON_CreateDoubleArray(nanoseconds, (int)n));
}

static void add_ratio(cJSON *result, const char *name, double middle, double low, double high)
{
    cJSON *entry = cJSON_AddObjectToObject(result, name);
    cJSON_AddNumberToObject(entry, "median", middle);
    cJSON_AddNumberToObject(entry, "lower_quartile", low);
    cJSON_AddNumberToObject(entry, "upper_quartile", high);
}

static void print_head(const char *op, struct tool_device *on, const struct bench_setting *setting)
{
    tool_progress(NULL);
    printf("%-10s %-16s %-4s k=%-3u %-11.11s %2u thr  ", op, setting->shape->name,
           setting->dtype == SKV_F16 ? "f16" : "bf16", setting->kept, on->info.variant, setting->n_threads);
}

struct attend_context {
    struct tool_device *on;
    skv_attend_params sparse, dense;
    const struct bench_cache *cache;
    skv_buffer *scratch; /* where a device copies to */
    uint32_t n_threads;
    volatile double sum;
};

static void run_sparse(void *context)
{
    struct attend_context *attend = context;
    TOOL_TRY(skv_attend(attend->on->queue, &attend->sparse));
}

static void run_dense(void *context)
{
    struct attend_context *attend = context;
    TOOL_TRY(skv_attend(attend->on->queue, &attend->dense));
}

/* What reading the records alone would take: on a device, a copy of half as many bytes, which moves as many. */
static void run_read(void *context)
{
    struct attend_context *attend = context;
    const struct bench_cache *cache = attend->cache;
    if (!attend->on->limits.host_memory) {
        TOOL_TRY(skv_buffer_copy(attend->on->queue, (skv_span){attend->scratch, 0}, (skv_span){cache->pages[0], 0},
                                 cache->record_bytes));
        return;
    }
    for (int i = 0; i < 2; i++)
        attend->sum =
            bench_read(skv_buffer_host(attend->cache->pages[i]), attend->cache->record_bytes, attend->n_threads);
}

void bench_attend(struct tool_device *on, const struct bench_setting *setting, cJSON *results)
{
    const struct bench_shape *shape = setting->shape;
    struct bench_cache cache;
    bench_make_cache(on, setting, &cache);
    uint64_t out_bytes = (uint64_t)shape->n_seqs * shape->n_q_heads * shape->head_dim * 4, workspace_bytes;
    struct attend_context attend = {.on = on, .cache = &cache, .n_threads = setting->n_threads};
    skv_attend_params *dense = &attend.dense, *sparse = &attend.sparse;
    /* Rows serve as queries: random numbers of the right type. */
    *dense = (skv_attend_params){.struct_size = sizeof *dense,
                                 .n_seqs = shape->n_seqs,
                                 .n_new = 1,
                                 .n_q_heads = shape->n_q_heads,
                                 .n_kv_heads = shape->n_kv_heads,
                                 .head_dim = shape->head_dim,
                                 .dtype = setting->dtype,
                                 .q = {cache.rows[0], 0},
                                 .out = {tool_buffer(on, out_bytes, NULL), 0}};
    *sparse = *dense;
    dense->k_tail.buffer = cache.rows[0];
    dense->v_tail.buffer = cache.rows[1];
    dense->tail_token_stride = shape->head_dim;
    dense->tail_head_stride = shape->n_tokens * shape->head_dim;
    dense->tail_seq_stride = dense->tail_head_stride * shape->n_kv_heads;
    dense->max_tail_tokens = shape->n_tokens;
    sparse->k_pool = (skv_pool){cache.layout, {cache.pages[0], 0}, cache.n_blocks};
    sparse->v_pool = (skv_pool){cache.layout, {cache.pages[1], 0}, cache.n_blocks};
    sparse->k_blocks.buffer = cache.table;
    sparse->max_cache_tokens = shape->n_tokens;
    TOOL_TRY(skv_attend_workspace(on->device, sparse, &workspace_bytes));
    sparse->workspace.buffer = dense->workspace.buffer = tool_buffer(on, workspace_bytes, NULL);

    struct bench_series series;
    attend.scratch = on->limits.host_memory ? NULL : tool_buffer(on, cache.record_bytes, NULL);
    void (*const run[3])(void *) = {run_sparse, run_dense, run_read};
    bench_in_turns(on, &series, setting->seconds, run, &attend);
    run_sparse(&attend);
    double n_rows = (double)(shape->n_tokens * shape->n_seqs * shape->n_kv_heads), low, high;
    double gain = bench_ratio(&series, 0, 1, &low, &high), low_read, high_read;
    double of_read = bench_ratio(&series, 0, 2, &low_read, &high_read);
    double sparse_time = bench_median(series.seconds[0], series.n),
           dense_time = bench_median(series.seconds[1], series.n);
    cJSON *result = bench_result(results, "attend", on, setting);
    cJSON_AddNumberToObject(result, "compressed_bytes", 2 * (double)cache.record_bytes);
    cJSON_AddNumberToObject(result, "dense_bytes", 2 * (double)cache.rows_bytes);
    add_ratio(result, "speed_over_dense", gain, low, high);
    add_ratio(result, "fraction_of_read", of_read, low_read, high_read);
    bench_add_samples(result, "sparse", series.seconds[0], series.n);
    bench_add_samples(result, "dense", series.seconds[1], series.n);
    bench_add_samples(result, "read", series.seconds[2], series.n);
    print_head("attend", on, setting);
    printf("%5.2fx dense (%.2f - %.2f)  %3.0f %% of read  bytes %2.0f %%  %6.2f ns/row pair  dense %6.2f\n", gain, low,
           high, 100 * of_read, 100.0 * (double)cache.record_bytes / (double)cache.rows_bytes,
           1e9 * sparse_time / n_rows, 1e9 * dense_time / n_rows);
    skv_buffer_destroy(attend.scratch);
    skv_buffer_destroy(sparse->workspace.buffer);
    skv_buffer_destroy(dense->out.buffer);
    bench_free_cache(&cache);
}

struct rows_context {
    struct tool_device *on;
    skv_compress_params compress;
    skv_decompress_params decompress;
    const struct bench_cache *cache;
    uint32_t n_threads;
};

static void run_compress(void *context)
{
    struct rows_context *rows = context;
    TOOL_TRY(skv_compress(rows->on->queue, &rows->compress));
}

static void run_decompress(void *context)
{
    struct rows_context *rows = context;
    TOOL_TRY(skv_decompress(rows->on->queue, &rows->decompress));
}

static void run_copy(void *context)
{
    struct rows_context *rows = context;
    const struct bench_cache *cache = rows->cache;
    if (!rows->on->limits.host_memory) {
        /* Half of what is read and written; the other dense rows have room for it. */
        TOOL_TRY(skv_buffer_copy(rows->on->queue, (skv_span){cache->rows[1], 0}, (skv_span){cache->rows[0], 0},
                                 (cache->rows_bytes + cache->record_bytes) / 2));
        return;
    }
    bench_copy(skv_buffer_host(rows->cache->pages[0]), skv_buffer_host(rows->cache->rows[0]), rows->cache->record_bytes,
               rows->cache->rows_bytes, rows->n_threads);
}

/* Measures run[0] against run[1]; rows of one token of one head are the unit. */
static void measure_rows(struct tool_device *on, const struct bench_setting *setting, const char *op,
                         const char *against, void (*const run[3])(void *), struct rows_context *rows, double n_rows,
                         cJSON *results)
{
    struct bench_series series;
    bench_in_turns(on, &series, setting->seconds, run, rows);
    run[0](rows);
    double low = 0, high = 0, ratio = run[1] ? bench_ratio(&series, 0, 1, &low, &high) : 0;
    cJSON *result = bench_result(results, op, on, setting);
    bench_add_samples(result, op, series.seconds[0], series.n);
    print_head(op, on, setting);
    if (run[1]) {
        add_ratio(result, against, ratio, low, high);
        bench_add_samples(result, "copy", series.seconds[1], series.n);
        printf("%4.0f %% of %s (%.0f - %.0f)  ", 100 * ratio, against, 100 * low, 100 * high);
    }
    printf("%6.1f ns/row\n", 1e9 * bench_median(series.seconds[0], series.n) / n_rows);
}

/* The whole of the first sequence. */
void bench_compress(struct tool_device *on, const struct bench_setting *setting, cJSON *results)
{
    struct bench_cache cache;
    struct bench_shape one = *setting->shape;
    struct bench_setting single = *setting;
    one.n_seqs = 1;
    single.shape = &one;
    bench_make_cache(on, &single, &cache);
    struct rows_context rows = {.on = on, .cache = &cache, .n_threads = setting->n_threads};
    rows.compress = bench_compress_params(&single, &cache, 0);
    void (*const run[3])(void *) = {run_compress, run_copy, NULL};
    measure_rows(on, &single, "compress", "copy_speed", run, &rows, (double)one.n_tokens * one.n_kv_heads, results);
    bench_free_cache(&cache);
}

/* One new token: what a decode step adds. */
void bench_append(struct tool_device *on, const struct bench_setting *setting, cJSON *results)
{
    struct bench_cache cache;
    struct bench_shape one = *setting->shape;
    struct bench_setting single = *setting;
    one.n_seqs = 1;
    single.shape = &one;
    bench_make_cache(on, &single, &cache);
    struct rows_context rows = {.on = on, .cache = &cache, .n_threads = setting->n_threads};
    rows.compress = bench_compress_params(&single, &cache, 0);
    rows.compress.n_tokens = 1;
    rows.compress.first_slot = one.n_tokens - 1;
    void (*const run[3])(void *) = {run_compress, NULL, NULL};
    measure_rows(on, &single, "append", "", run, &rows, one.n_kv_heads, results);
    bench_free_cache(&cache);
}

void bench_decompress(struct tool_device *on, const struct bench_setting *setting, cJSON *results)
{
    struct bench_cache cache;
    struct bench_shape one = *setting->shape;
    struct bench_setting single = *setting;
    one.n_seqs = 1;
    single.shape = &one;
    bench_make_cache(on, &single, &cache);
    struct rows_context rows = {.on = on, .cache = &cache, .n_threads = setting->n_threads};
    rows.decompress = (skv_decompress_params){.struct_size = sizeof rows.decompress,
                                              .n_tokens = one.n_tokens,
                                              .pool = {cache.layout, {cache.pages[1], 0}, cache.n_blocks},
                                              .out = {{cache.rows[1], 0}, one.head_dim, one.n_tokens * one.head_dim}};
    void (*const run[3])(void *) = {run_decompress, NULL, NULL};
    measure_rows(on, &single, "decompress", "", run, &rows, (double)one.n_tokens * one.n_kv_heads, results);
    bench_free_cache(&cache);
}
