/* SPDX-License-Identifier: Apache-2.0
 *
 * The benchmark harness behind `skv bench`. What is compared runs in turns in one process; medians and quartiles are
 * reported, ratios first. Denominators are measured beside what they judge: the library's own dense attention on the
 * same device, a pass over the same compressed bytes, a copy that moves as many bytes. Each turn takes the next of
 * several sets of buffers, which together are larger than the caches.
 *
 * A case that cannot be measured is a row with its reason. Functions of a case return false with bench->why set.
 */
#ifndef SKV_BENCH_H
#define SKV_BENCH_H

#include <cjson/cJSON.h>
#include <stdint.h>

#include "bench/shapes.h"
#include "tools/skv/tool.h"

#define BENCH_ROUNDS_MAX 101

struct bench_setting {
    const struct bench_shape *shape; /* NULL for streams */
    uint32_t kept, n_threads;
    skv_dtype dtype;
    double seconds; /* per measurement */
};

/* Dense K and V rows of normal deviates, head-major [n_seqs * n_kv_heads][n_tokens][head_dim], and both compressed:
 * n_sets of them, one after the other in the same buffers. Bytes and blocks are those of one set. The operations of a
 * setting share it, and those of other budgets its rows. */
struct bench_cache {
    struct bench_setting made_for;
    skv_layout *layout;
    skv_buffer *rows[2], *pages[2], *table;
    uint32_t n_sets, page_tokens;
    uint64_t n_blocks, seq_blocks;
    /* Of K or of V: dense rows, records, the blocks that hold them, and a pool of one set with its slack. */
    uint64_t rows_bytes, record_bytes, set_bytes, pool_bytes;
};

/* Passes over memory that are ceilings. */
enum bench_pass { BENCH_READ, BENCH_COPY, BENCH_PACK, BENCH_N_PASSES };

/* A device, and where its rows go. */
struct bench {
    struct tool_device *on;
    struct bench_cache cache;
    double fastest[BENCH_N_PASSES]; /* bytes per second, of the passes on this device so far */
    double deadline;                /* tool_now() when the time budget ends; INFINITY: never */
    double time_budget;             /* seconds, for messages */
    cJSON *results, *skipped;
    const char *outcome;      /* of the latest case without a result: "skipped", "unsupported" or "failed" */
    char why[512], told[512]; /* told: the one that was printed last */
    uint32_t n_failed;
};

/* Each measures one case and adds its result. */
typedef bool bench_case(struct bench *bench, const struct bench_setting *setting);
bench_case bench_read, bench_copy; /* streams */
bench_case bench_attend, bench_amortized;
bench_case bench_compress, bench_append, bench_decompress;

/* Sets outcome and why; returns false. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
bool bench_fail(struct bench *bench, const char *outcome, const char *format, ...);
/* Does the same for a call of the library that failed. */
bool bench_ok(struct bench *bench, skv_status status, const char *call);
#define BENCH_TRY(bench, call)                 \
    do {                                       \
        if (!bench_ok((bench), (call), #call)) \
            return false;                      \
    } while (0)

/* Ctrl-C ends the measuring, not the program: what is left becomes skipped. */
void bench_catch_interrupt(void);
/* False where nothing more may be started: out of time, or interrupted. */
bool bench_may_go_on(struct bench *bench);

/* Samples of things that were measured in turns. */
struct bench_series {
    size_t n;
    bool host_clock;      /* the device gives no times */
    uint32_t launches[3]; /* per sample: a sample is their mean */
    double seconds[3][BENCH_ROUNDS_MAX];
};
typedef bool bench_function(void *context);

/* Runs up to three functions in turns until the time is up, each at least 5 times after a warm-up (3 when the time
 * budget ends). NULL ends the list. The functions enqueue; on an asynchronous device as many launches make a sample as
 * it takes for the device never to wait for the host, and its own clock measures them. */
bool bench_in_turns(struct bench *bench, struct bench_series *series, double seconds, bench_function *const run[3],
                    void *context);

double bench_median(const double *values, size_t n);

/* A result or a skipped row with all that identifies it. */
cJSON *bench_identity(const struct bench *bench, const char *op, const struct bench_setting *setting);
void bench_add_skipped(struct bench *bench, const char *op, const struct bench_setting *setting);
/* Starts a result: identity and the latest kernel. */
cJSON *bench_result(struct bench *bench, const char *op, const struct bench_setting *setting);
/* Adds function i's samples, in nanoseconds, and how they were taken. */
void bench_add_samples(cJSON *result, const char *name, const struct bench_series *series, int i);

struct bench_ratio {
    double middle, low, high;
};
/* Middle and quartiles of a ratio that was taken round by round; n values, which are sorted in place. */
struct bench_ratio bench_ratio_of(double *ratios, size_t n);
/* Time of b over that of a. */
struct bench_ratio bench_ratio(const struct bench_series *series, int a, int b);
/* What part of a ceiling a reaches. The ceiling is the rate of the fastest pass of its kind on this device so far, for
 * whatever slows a pass down is no limit of the memory; `ceiling` are the passes that ran in turns with a. */
struct bench_ratio bench_of_ceiling(struct bench *bench, const struct bench_series *series, int a, int ceiling,
                                    enum bench_pass pass, double n_bytes);
/* Takes the passes of a series into account. */
void bench_note_passes(struct bench *bench, const struct bench_series *series, int i, enum bench_pass pass,
                       double n_bytes);
void bench_add_ratio(cJSON *result, const char *name, struct bench_ratio ratio);
/* Prints what a line of output begins with. */
void bench_print_head(const struct bench *bench, const char *op, const struct bench_setting *setting);

/* The threads of the process's CPU devices and of its plain passes, to be opened with and to pass on: threads that wait
 * for work spin, so two sets of them would take each other's cores. NULL: one thread, or no library of threads. Valid
 * until the next call with another number. */
const skv_executor *bench_threads(uint32_t n_threads);
/* Memory that host threads read or copy, n_threads of them, each its own part. bench_stream_pack reads from_bytes and
 * writes to_bytes row by row, as a compressor must that keeps the front of each row of 256 bytes. */
bool bench_stream_read(const void *from, uint64_t n_bytes, uint32_t n_threads);
bool bench_stream_copy(void *to, const void *from, uint64_t n_bytes, uint32_t n_threads);
bool bench_stream_pack(void *to, const void *from, uint64_t to_bytes, uint64_t from_bytes, uint32_t n_threads);

/* Makes bench->cache what the setting needs. */
bool bench_make_cache(struct bench *bench, const struct bench_setting *setting);
/* To be called before the device is closed. */
void bench_free_cache(struct bench *bench);
/* Bytes that may still be allocated on the device, as far as it is known. */
uint64_t bench_memory(const struct bench *bench);
bool bench_buffer(struct bench *bench, uint64_t n_bytes, const void *from, skv_buffer **buffer);
/* Parameters that compress all rows of K (i = 0) or V of a set, as one sequence. */
skv_compress_params bench_compress_params(const struct bench *bench, int i, uint64_t i_set);

/* How far, relative to its length, the library's output for the last query head of the last sequence lies from
 * attention in double precision over the same kept values. `attend` must read the first set. */
bool bench_error(struct bench *bench, const struct bench_setting *setting, const skv_attend_params *attend,
                 double *error);

#endif
