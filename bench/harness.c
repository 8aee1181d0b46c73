/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LAUNCHES_MAX 128

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    interrupted = 1;
    signal(number, SIG_DFL); /* a second one ends the program */
}

void bench_catch_interrupt(void)
{
    signal(SIGINT, on_interrupt);
}

bool bench_fail(struct bench *bench, const char *outcome, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(bench->why, sizeof bench->why, format, args);
    va_end(args);
    bench->outcome = outcome;
    return false;
}

bool bench_ok(struct bench *bench, skv_status status, const char *call)
{
    if (status == SKV_OK)
        return true;
    bool cannot = status == SKV_ERROR_UNSUPPORTED || status == SKV_ERROR_OVERFLOW || status == SKV_ERROR_OUT_OF_MEMORY;
    return bench_fail(bench, cannot ? "unsupported" : "failed", "%s (%s from %.*s)", skv_error_message(),
                      skv_status_name(status), (int)strcspn(call, "("), call);
}

static bool out_of_time(const struct bench *bench)
{
    return interrupted || tool_now() >= bench->deadline;
}

bool bench_may_go_on(struct bench *bench)
{
    if (interrupted)
        return bench_fail(bench, "skipped", "interrupted");
    if (out_of_time(bench))
        return bench_fail(bench, "skipped", "the time budget of %g s is spent", bench->time_budget);
    return true;
}

/* What time_one needs. */
struct watch {
    struct bench *bench;
    skv_timer *timer;
    bool host_clock;
};

/* The mean of `launches` launches. On a device another one goes before them, during which they are enqueued. */
static bool time_one(struct watch *watch, uint32_t launches, bench_function *run, void *context, double *seconds)
{
    struct bench *bench = watch->bench;
    skv_queue *queue = bench->on->queue;
    bool device_clock = !watch->host_clock && !bench->on->limits.synchronous;
    uint64_t nanoseconds = 0;
    if (device_clock && !run(context))
        return false;
    if (device_clock)
        BENCH_TRY(bench, skv_timer_start(watch->timer, queue));
    double start = tool_now();
    for (uint32_t i = 0; i < launches; i++)
        if (!run(context))
            return false;
    if (device_clock) {
        BENCH_TRY(bench, skv_timer_stop(watch->timer, queue));
        skv_status status = skv_timer_read(watch->timer, &nanoseconds);
        watch->host_clock = status == SKV_ERROR_UNSUPPORTED;
        if (!watch->host_clock)
            BENCH_TRY(bench, status);
    } else if (!bench->on->limits.synchronous) {
        BENCH_TRY(bench, skv_queue_finish(queue));
    }
    *seconds = (watch->host_clock || !device_clock ? tool_now() - start : (double)nanoseconds * 1e-9) / launches;
    return true;
}

/* A sample lasts long enough for the clock, and on a device for the host to stay ahead. */
static uint32_t launches_for(const struct bench *bench, double seconds)
{
    double least = bench->on->limits.synchronous ? 1e-4 : 2e-3;
    return seconds >= least ? 1 : seconds * LAUNCHES_MAX <= least ? LAUNCHES_MAX : (uint32_t)ceil(least / seconds);
}

static bool measure(struct watch *watch, struct bench_series *series, double seconds, bench_function *const run[3],
                    void *context)
{
    struct bench *bench = watch->bench;
    double once;
    for (int i = 0; i < 3 && run[i]; i++) {
        if (!run[i](context))
            return false;
        BENCH_TRY(bench, skv_queue_finish(bench->on->queue));
        if (!time_one(watch, 1, run[i], context, &once))
            return false;
        series->launches[i] = launches_for(bench, once);
    }
    double end = tool_now() + seconds;
    for (; series->n < BENCH_ROUNDS_MAX && (series->n < 5 || tool_now() < end); series->n++) {
        if (out_of_time(bench))
            return series->n >= 3 || bench_may_go_on(bench);
        for (int i = 0; i < 3 && run[i]; i++)
            if (!time_one(watch, series->launches[i], run[i], context, &series->seconds[i][series->n]))
                return false;
    }
    return true;
}

bool bench_in_turns(struct bench *bench, struct bench_series *series, double seconds, bench_function *const run[3],
                    void *context)
{
    struct watch watch = {.bench = bench};
    series->n = 0;
    BENCH_TRY(bench, skv_timer_create(bench->on->device, &watch.timer));
    bool done = measure(&watch, series, seconds, run, context);
    /* What was enqueued uses the caller's buffers; an earlier reason stays. */
    skv_status status = skv_queue_finish(bench->on->queue);
    series->host_clock = watch.host_clock || bench->on->limits.synchronous;
    skv_timer_destroy(watch.timer);
    return done && bench_ok(bench, status, "skv_queue_finish");
}

double bench_median(const double *values, size_t n)
{
    double sorted[BENCH_ROUNDS_MAX];
    memcpy(sorted, values, n * sizeof *values);
    return tool_median(sorted, n);
}

struct bench_ratio bench_ratio_of(double *ratios, size_t n)
{
    double middle = tool_median(ratios, n);
    return (struct bench_ratio){middle, ratios[n / 4], ratios[n - 1 - n / 4]};
}

struct bench_ratio bench_ratio(const struct bench_series *series, int a, int b)
{
    double ratios[BENCH_ROUNDS_MAX];
    for (size_t i = 0; i < series->n; i++)
        ratios[i] = series->seconds[b][i] / series->seconds[a][i];
    return bench_ratio_of(ratios, series->n);
}

void bench_note_passes(struct bench *bench, const struct bench_series *series, int i, enum bench_pass pass,
                       double n_bytes)
{
    for (size_t n = 0; n < series->n; n++)
        if (series->seconds[i][n] > 0)
            bench->fastest[pass] = fmax(bench->fastest[pass], n_bytes / series->seconds[i][n]);
}

struct bench_ratio bench_of_ceiling(struct bench *bench, const struct bench_series *series, int a, int ceiling,
                                    enum bench_pass pass, double n_bytes)
{
    double ratios[BENCH_ROUNDS_MAX];
    bench_note_passes(bench, series, ceiling, pass, n_bytes);
    for (size_t i = 0; i < series->n; i++)
        ratios[i] = bench->fastest[pass] > 0 ? n_bytes / bench->fastest[pass] / series->seconds[a][i] : 0;
    return bench_ratio_of(ratios, series->n);
}
