/* SPDX-License-Identifier: Apache-2.0
 *
 * The ceilings: plain passes over memory.
 */
#include "bench.h"

#include <pthread.h>
#include <string.h>

#define THREADS_MAX 256
#define STREAM_BYTES (256ull << 20)

struct part {
    uint8_t *to;
    const uint8_t *from;
    uint64_t to_bytes, from_bytes;
    uint64_t sum;
};

/* Keeps sums alive, so that no read is left out. */
static volatile uint64_t sink;

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

static void *copy_task(void *context)
{
    struct part *part = context;
    memcpy(part->to, part->from, part->from_bytes);
    return NULL;
}

static void *pack_task(void *context)
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

/* False when the system gives no thread. */
static bool run_parts(void *(*task)(void *), uint8_t *to, const uint8_t *from, uint64_t to_bytes, uint64_t from_bytes,
                      uint32_t n_threads)
{
    struct part part[THREADS_MAX];
    pthread_t thread[THREADS_MAX];
    bool started[THREADS_MAX] = {false};
    uint64_t sum = 0;
    n_threads = n_threads < 1 ? 1 : n_threads < THREADS_MAX ? n_threads : THREADS_MAX;
    uint64_t from_step = from_bytes / n_threads / 4096 * 4096;
    uint64_t to_step = to_bytes == from_bytes ? from_step : to_bytes / n_threads / 64 * 64;
    for (uint32_t i = 0; i < n_threads; i++) {
        bool last = i + 1 == n_threads;
        part[i] =
            (struct part){to ? to + i * to_step : NULL, from + i * from_step, last ? to_bytes - i * to_step : to_step,
                          last ? from_bytes - i * from_step : from_step, 0};
        if (i > 0)
            started[i] = pthread_create(&thread[i], NULL, task, &part[i]) == 0;
    }
    task(&part[0]);
    bool all = true;
    for (uint32_t i = 0; i < n_threads; i++) {
        if (started[i])
            pthread_join(thread[i], NULL);
        all = all && (i == 0 || started[i]);
        sum += part[i].sum;
    }
    sink = sum;
    return all;
}

bool bench_stream_read(const void *from, uint64_t n_bytes, uint32_t n_threads)
{
    return run_parts(read_task, NULL, from, 0, n_bytes, n_threads);
}

bool bench_stream_copy(void *to, const void *from, uint64_t n_bytes, uint32_t n_threads)
{
    return run_parts(copy_task, to, from, n_bytes, n_bytes, n_threads);
}

bool bench_stream_pack(void *to, const void *from, uint64_t to_bytes, uint64_t from_bytes, uint32_t n_threads)
{
    return run_parts(pack_task, to, from, to_bytes, from_bytes, n_threads);
}

struct stream {
    struct bench *bench;
    skv_buffer *buffers[2];
    uint32_t n_threads, turn;
};

static bool started(struct bench *bench, bool all)
{
    return all || bench_fail(bench, "failed", "the system gives no more threads");
}

/* Each of the two in its turn. */
static bool run_read(void *context)
{
    struct stream *stream = context;
    const void *from = skv_buffer_host(stream->buffers[stream->turn++ % 2]);
    return started(stream->bench, bench_stream_read(from, STREAM_BYTES, stream->n_threads));
}

static bool run_copy(void *context)
{
    struct stream *stream = context;
    uint32_t turn = stream->turn++ % 2;
    skv_buffer *from = stream->buffers[turn], *to = stream->buffers[1 - turn];
    if (!stream->bench->on->limits.host_memory) {
        BENCH_TRY(stream->bench,
                  skv_buffer_copy(stream->bench->on->queue, (skv_span){to, 0}, (skv_span){from, 0}, STREAM_BYTES));
        return true;
    }
    return started(stream->bench,
                   bench_stream_copy(skv_buffer_host(to), skv_buffer_host(from), STREAM_BYTES, stream->n_threads));
}

static bool measure(struct stream *stream, const struct bench_setting *setting, const char *op, bench_function *run,
                    double bytes)
{
    struct bench *bench = stream->bench;
    struct bench_series series;
    bench_function *const runs[3] = {run, NULL, NULL};
    for (int i = 0; i < 2; i++) {
        if (!bench_buffer(bench, STREAM_BYTES, NULL, &stream->buffers[i]))
            return false;
        BENCH_TRY(bench,
                  skv_buffer_fill(bench->on->queue, (skv_span){stream->buffers[i], 0}, (uint8_t)i, STREAM_BYTES));
    }
    if (!bench_in_turns(bench, &series, setting->seconds, runs, stream))
        return false;
    bench_note_passes(bench, &series, 0, run == run_read ? BENCH_READ : BENCH_COPY, bytes);
    cJSON *result = bench_result(bench, op, setting);
    cJSON_ReplaceItemInObject(result, "kernel",
                              cJSON_CreateString(bench->on->limits.host_memory ? "the harness" : "skv_buffer_copy"));
    cJSON_AddNumberToObject(result, "bytes", bytes);
    bench_add_samples(result, op, &series, 0);
    bench_print_head(bench, op, setting);
    printf("%.1f GB/s\n", bytes * 1e-9 / bench_median(series.seconds[0], series.n));
    return true;
}

static bool measure_stream(struct bench *bench, const struct bench_setting *setting, const char *op,
                           bench_function *run, double bytes)
{
    struct stream stream = {.bench = bench, .n_threads = setting->n_threads};
    if (2 * STREAM_BYTES > bench_memory(bench))
        return bench_fail(bench, "skipped", "needs %llu MiB", 2 * STREAM_BYTES >> 20);
    bool done = measure(&stream, setting, op, run, bytes);
    skv_buffer_destroy(stream.buffers[0]);
    skv_buffer_destroy(stream.buffers[1]);
    return done;
}

bool bench_read(struct bench *bench, const struct bench_setting *setting)
{
    if (!bench->on->limits.host_memory)
        return bench_fail(bench, "unsupported",
                          "this backend reads buffers only to copy them: its ceiling is the copy, and so is each "
                          "attention row's");
    return measure_stream(bench, setting, "read", run_read, (double)STREAM_BYTES);
}

/* What is read and what is written both count. */
bool bench_copy(struct bench *bench, const struct bench_setting *setting)
{
    return measure_stream(bench, setting, "copy", run_copy, 2.0 * (double)STREAM_BYTES);
}
