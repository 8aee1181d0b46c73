/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 256

static const struct bench_shape shapes[] = {
    {"g1-64k", 1, 8, 8, 128, 65536},          {"g4-64k", 1, 32, 8, 128, 65536},
    {"g8-64k", 1, 64, 8, 128, 65536},         {"g1-cache", 1, 8, 8, 128, 256},
    {"llama-2-7b-4k", 1, 32, 32, 128, 4096},  {"llama-3-8b-8k", 4, 32, 8, 128, 8192},
    {"llama-3-8b-32k", 1, 32, 8, 128, 32768}, {"qwen2.5-7b-16k", 1, 28, 4, 128, 16384},
    {"smollm2-135m-8k", 16, 9, 3, 64, 8192},
};

const struct bench_shape *bench_shapes(size_t *n)
{
    *n = sizeof shapes / sizeof shapes[0];
    return shapes;
}

const struct bench_shape *bench_find_shape(const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (strcmp(shapes[i].name, name) == 0)
            return &shapes[i];
    return NULL;
}

static double time_one(struct tool_device *on, skv_timer *timer, void (*run)(void *context), void *context)
{
    if (on->limits.synchronous) {
        double start = tool_now();
        run(context);
        return tool_now() - start;
    }
    uint64_t nanoseconds = 0;
    TOOL_TRY(skv_timer_start(timer, on->queue));
    run(context);
    TOOL_TRY(skv_timer_stop(timer, on->queue));
    TOOL_TRY(skv_timer_read(timer, &nanoseconds));
    return (double)nanoseconds * 1e-9;
}

void bench_in_turns(struct tool_device *on, struct bench_series *series, double seconds,
                    void (*const run[3])(void *context), void *context)
{
    skv_timer *timer = NULL;
    TOOL_TRY(skv_timer_create(on->device, &timer));
    for (int i = 0; i < 3 && run[i]; i++)
        run[i](context);
    TOOL_TRY(skv_queue_finish(on->queue));
    double end = tool_now() + seconds;
    for (series->n = 0; series->n < BENCH_ROUNDS_MAX && (series->n < 5 || tool_now() < end); series->n++)
        for (int i = 0; i < 3 && run[i]; i++)
            series->seconds[i][series->n] = time_one(on, timer, run[i], context);
    TOOL_TRY(skv_queue_finish(on->queue));
    skv_timer_destroy(timer);
}

double bench_median(const double *values, size_t n)
{
    double sorted[BENCH_ROUNDS_MAX];
    memcpy(sorted, values, n * sizeof *values);
    return tool_median(sorted, n);
}

double bench_ratio(const struct bench_series *series, int a, int b, double *low, double *high)
{
    double ratio[BENCH_ROUNDS_MAX];
    for (size_t i = 0; i < series->n; i++)
        ratio[i] = series->seconds[b][i] / series->seconds[a][i];
    double middle = tool_median(ratio, series->n);
    *low = ratio[series->n / 4];
    *high = ratio[series->n - 1 - series->n / 4];
    return middle;
}

struct part {
    uint8_t *to;
    const uint8_t *from;
    uint64_t to_bytes, from_bytes;
    uint64_t sum;
};

/* Eight sums, so that the loop is bound by loads and not by the latency of an addition. */
static uint64_t read_part(const uint8_t *from, uint64_t n_bytes)
{
    uint64_t sum[8] = {0};
    for (uint64_t i = 0; i + sizeof sum <= n_bytes; i += sizeof sum) {
        uint64_t line[8];
        memcpy(line, from + i, sizeof line);
        for (int j = 0; j < 8; j++)
            sum[j] += line[j];
    }
    return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

static void *read_task(void *context)
{
    struct part *part = context;
    part->sum = read_part(part->from, part->from_bytes);
    return NULL;
}

/* Reads all of `from` and writes to_bytes: row by row, as a compressor must that keeps the front of each row. */
static void *copy_task(void *context)
{
    struct part *part = context;
    const uint64_t row = 256;
    uint64_t n_rows = part->from_bytes / row, kept = n_rows ? part->to_bytes / n_rows : 0;
    kept = kept < row ? kept : row;
    for (uint64_t i = 0; i < n_rows; i++) {
        part->sum += read_part(part->from + i * row + kept / 64 * 64, row - kept / 64 * 64);
        memcpy(part->to + i * kept, part->from + i * row, kept);
    }
    return NULL;
}

static uint64_t run_parts(void *(*task)(void *), uint8_t *to, const uint8_t *from, uint64_t to_bytes,
                          uint64_t from_bytes, uint32_t n_threads)
{
    struct part part[THREADS_MAX];
    pthread_t thread[THREADS_MAX];
    uint64_t sum = 0;
    n_threads = n_threads < 1 ? 1 : n_threads < THREADS_MAX ? n_threads : THREADS_MAX;
    uint64_t from_step = from_bytes / n_threads / 4096 * 4096, to_step = to_bytes / n_threads / 64 * 64;
    for (uint32_t i = 0; i < n_threads; i++) {
        bool last = i + 1 == n_threads;
        part[i] =
            (struct part){to ? to + i * to_step : NULL, from + i * from_step, last ? to_bytes - i * to_step : to_step,
                          last ? from_bytes - i * from_step : from_step, 0};
        if (i > 0 && pthread_create(&thread[i], NULL, task, &part[i]) != 0)
            tool_die(TOOL_FAILED, "cannot start a thread");
    }
    task(&part[0]);
    for (uint32_t i = 0; i < n_threads; i++) {
        if (i > 0)
            pthread_join(thread[i], NULL);
        sum += part[i].sum;
    }
    return sum;
}

double bench_read(const void *from, uint64_t n_bytes, uint32_t n_threads)
{
    return (double)run_parts(read_task, NULL, from, 0, n_bytes, n_threads);
}

/* Keeps the sums of copies alive. */
static volatile uint64_t sink;

void bench_copy(void *to, const void *from, uint64_t to_bytes, uint64_t from_bytes, uint32_t n_threads)
{
    sink = run_parts(copy_task, to, from, to_bytes, from_bytes, n_threads);
}

static uint16_t encode(float value, skv_dtype dtype)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (dtype == SKV_BF16)
        return (uint16_t)(bits >> 16);
    /* Truncation of a normal binary16: good enough for random data. */
    uint32_t exponent = bits >> 23 & 255;
    if (exponent < 113)
        return (uint16_t)(bits >> 16 & 0x8000);
    return (uint16_t)((bits >> 16 & 0x8000) | (exponent - 112) << 10 | (bits >> 13 & 0x3ff));
}

/* Roughly normal deviates: a sum of four bytes. */
static skv_buffer *random_rows(struct tool_device *on, uint64_t n_values, skv_dtype dtype, uint64_t seed)
{
    uint16_t *values = tool_alloc(n_values * 2);
    uint64_t state = seed;
    for (uint64_t i = 0; i < n_values; i += 2) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        for (uint64_t j = 0; j < 2 && i + j < n_values; j++) {
            uint32_t part = (uint32_t)(state >> 32 * j);
            float sum = (float)((part & 255) + (part >> 8 & 255) + (part >> 16 & 255) + (part >> 24)) - 510.0f;
            values[i + j] = encode(sum / 147.8f, dtype);
        }
    }
    skv_buffer *buffer = tool_buffer(on, n_values * 2, values);
    free(values);
    return buffer;
}

skv_compress_params bench_compress_params(const struct bench_setting *setting, const struct bench_cache *cache, int i)
{
    const struct bench_shape *shape = setting->shape;
    return (skv_compress_params){.struct_size = sizeof(skv_compress_params),
                                 .n_tokens = shape->n_tokens,
                                 .in = {{cache->rows[i], 0}, shape->head_dim, shape->n_tokens * shape->head_dim},
                                 .pool = {cache->layout, {cache->pages[i], 0}, cache->n_blocks}};
}

void bench_make_cache(struct tool_device *on, const struct bench_setting *setting, struct bench_cache *cache)
{
    const struct bench_shape *shape = setting->shape;
    skv_layout_params params = {.struct_size = sizeof params,
                                .dtype = setting->dtype,
                                .head_dim = shape->head_dim,
                                .n_kv_heads = shape->n_kv_heads,
                                .kept = setting->kept};
    skv_layout_head head = {.struct_size = sizeof head};
    uint64_t per_seq;
    TOOL_TRY(skv_layout_create(&params, &cache->layout));
    TOOL_TRY(skv_layout_get_head(cache->layout, 0, &head));
    TOOL_TRY(skv_layout_blocks(cache->layout, shape->n_tokens, &per_seq));
    cache->n_blocks = per_seq * shape->n_seqs;
    TOOL_TRY(skv_layout_pool_bytes(cache->layout, cache->n_blocks, &cache->pool_bytes));
    uint64_t n_rows = shape->n_tokens * shape->n_seqs * shape->n_kv_heads;
    cache->rows_bytes = n_rows * shape->head_dim * 2;
    cache->record_bytes = n_rows * head.row_stride;
    int32_t *table = tool_alloc(cache->n_blocks * sizeof *table);
    for (uint64_t i = 0; i < cache->n_blocks; i++)
        table[i] = (int32_t)i;
    cache->table = tool_buffer(on, cache->n_blocks * sizeof *table, table);
    free(table);
    for (int i = 0; i < 2; i++) {
        cache->rows[i] = random_rows(on, cache->rows_bytes / 2, setting->dtype, 88172645463325252ull + (uint64_t)i);
        cache->pages[i] = tool_buffer(on, cache->pool_bytes, NULL);
        skv_compress_params compress = bench_compress_params(setting, cache, i);
        for (uint32_t s = 0; s < shape->n_seqs; s++) {
            compress.in.data.offset = s * (cache->rows_bytes / shape->n_seqs);
            compress.first_slot = s * per_seq * 64;
            TOOL_TRY(skv_compress(on->queue, &compress));
        }
    }
}

void bench_free_cache(struct bench_cache *cache)
{
    for (int i = 0; i < 2; i++) {
        skv_buffer_destroy(cache->rows[i]);
        skv_buffer_destroy(cache->pages[i]);
    }
    skv_buffer_destroy(cache->table);
    skv_layout_destroy(cache->layout);
}
