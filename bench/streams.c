/* SPDX-License-Identifier: Apache-2.0
 *
 * The ceilings: plain passes over memory.
 */
#include "bench.h"

#include <string.h>

#if defined(SKV_WITH_PTHREADPOOL)
#include <pthreadpool.h>
#endif

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

static uint64_t read_word(const uint8_t *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

/* Four lines at a time into sums of their own, so that the loop is bound by loads and not by additions. */
static void read_all(struct part *part)
{
    uint64_t sum[32] = {0}, i = 0;
    for (; i + sizeof sum <= part->from_bytes; i += sizeof sum)
        for (int j = 0; j < 32; j++)
            sum[j] += read_word(part->from + i + 8 * j);
    for (; i + 8 <= part->from_bytes; i += 8)
        sum[0] += read_word(part->from + i);
    for (int j = 0; j < 32; j++)
        part->sum += sum[j];
}

/* One word of each line brings the whole line, with fewer loads that wait at a time. */
static void read_lines(struct part *part)
{
    uint64_t sum[4] = {0}, i = 0;
    for (; i + 256 <= part->from_bytes; i += 256)
        for (int j = 0; j < 4; j++)
            sum[j] += read_word(part->from + i + 64 * j);
    for (; i + 8 <= part->from_bytes; i += 64)
        sum[0] += read_word(part->from + i);
    part->sum = sum[0] + sum[1] + sum[2] + sum[3];
}

static void copy_task(struct part *part)
{
    memcpy(part->to, part->from, part->from_bytes);
}

static void pack_task(struct part *part)
{
    const uint64_t row = 256;
    uint64_t n_rows = part->from_bytes / row, kept = n_rows ? part->to_bytes / n_rows : 0;
    kept = kept < row ? kept : row;
    for (uint64_t i = 0; i < n_rows; i++) {
        for (uint64_t at = kept; at < row; at += 64)
            part->sum += read_word(part->from + i * row + at / 64 * 64);
        memcpy(part->to + i * kept, part->from + i * row, kept);
    }
}

#if defined(SKV_WITH_PTHREADPOOL)
static void run_tasks(void *user, void (*task)(void *context, size_t i_task), void *context, size_t n_tasks)
{
    pthreadpool_parallelize_1d(user, task, context, n_tasks, 0);
}

const skv_executor *bench_threads(uint32_t n_threads)
{
    static skv_executor threads = {.run = run_tasks};
    if (n_threads < 2)
        return NULL;
    if (threads.n_threads != n_threads) {
        pthreadpool_destroy(threads.user);
        threads.user = pthreadpool_create(n_threads);
        threads.n_threads = threads.user ? n_threads : 0;
    }
    return threads.user ? &threads : NULL;
}
#else
const skv_executor *bench_threads(uint32_t n_threads)
{
    (void)n_threads;
    return NULL;
}
#endif

struct job {
    void (*task)(struct part *part);
    struct part part[THREADS_MAX];
};

static void run_part(void *context, size_t i_part)
{
    struct job *job = context;
    job->task(&job->part[i_part]);
}

/* False when the system gives no threads. */
static bool run_parts(void (*task)(struct part *part), uint8_t *to, const uint8_t *from, uint64_t to_bytes,
                      uint64_t from_bytes, uint32_t n_threads)
{
    struct job job = {.task = task};
    n_threads = n_threads < 1 ? 1 : n_threads < THREADS_MAX ? n_threads : THREADS_MAX;
    uint64_t from_step = from_bytes / n_threads / 4096 * 4096;
    uint64_t to_step = to_bytes == from_bytes ? from_step : to_bytes / n_threads / 64 * 64;
    for (uint32_t i = 0; i < n_threads; i++) {
        bool last = i + 1 == n_threads;
        job.part[i] =
            (struct part){to ? to + i * to_step : NULL, from + i * from_step, last ? to_bytes - i * to_step : to_step,
                          last ? from_bytes - i * from_step : from_step, 0};
    }
    const skv_executor *threads = bench_threads(n_threads);
    if (n_threads > 1 && !threads)
        return false;
    if (threads)
        threads->run(threads->user, run_part, &job, n_threads);
    else
        run_part(&job, 0);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n_threads; i++)
        sum += job.part[i].sum;
    sink = sum;
    return true;
}

bool bench_stream_read(const void *from, uint64_t n_bytes, uint32_t n_threads)
{
    /* In turns, two passes each, since a cache is keys and values: which is faster depends on the processor, and a
     * ceiling is the fastest pass. */
    static unsigned n_reads;
    return run_parts(n_reads++ / 2 % 2 ? read_lines : read_all, NULL, from, 0, n_bytes, n_threads);
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
