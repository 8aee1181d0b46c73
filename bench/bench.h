/* SPDX-License-Identifier: Apache-2.0
 *
 * The benchmark harness behind `skv bench`. What is compared runs in turns in one process; medians and quartiles are
 * reported, ratios first. Denominators are measured beside what they judge: the library's own dense attention on the
 * same device, a read-only pass over the same compressed bytes, a copy that reads the dense rows and writes the
 * compressed bytes.
 */
#ifndef SKV_BENCH_H
#define SKV_BENCH_H

#include <cjson/cJSON.h>
#include <stdint.h>

#include "tools/skv/tool.h"

#define BENCH_ROUNDS_MAX 101

/* B sequences of T tokens. */
struct bench_shape {
    const char *name;
    uint32_t n_seqs, n_q_heads, n_kv_heads, head_dim;
    uint64_t n_tokens;
};

/* The built-in shapes; NULL when there is no such name. */
const struct bench_shape *bench_find_shape(const char *name);
const struct bench_shape *bench_shapes(size_t *n);

struct bench_setting {
    const struct bench_shape *shape;
    uint32_t kept, n_threads;
    skv_dtype dtype;
    double seconds; /* per measurement */
};

/* Samples of things that were measured in turns. */
struct bench_series {
    size_t n;
    double seconds[3][BENCH_ROUNDS_MAX];
};

/* Runs up to three functions in turns until the time is up, each at least 5 times after one warm-up. NULL ends the
 * list. The functions enqueue; where that is not all, the device's own clock measures them. */
void bench_in_turns(struct tool_device *on, struct bench_series *series, double seconds,
                    void (*const run[3])(void *context), void *context);

/* Memory that host threads read or copy; n_threads of them, each its own part. */
double bench_read(const void *from, uint64_t n_bytes, uint32_t n_threads);
void bench_copy(void *to, const void *from, uint64_t to_bytes, uint64_t from_bytes, uint32_t n_threads);

/* One measurement: prints a line and adds an object to results. */
void bench_attend(struct tool_device *on, const struct bench_setting *setting, cJSON *results);
void bench_compress(struct tool_device *on, const struct bench_setting *setting, cJSON *results);
void bench_append(struct tool_device *on, const struct bench_setting *setting, cJSON *results);
void bench_decompress(struct tool_device *on, const struct bench_setting *setting, cJSON *results);

/* Starts the object of a measurement with all that identifies it. */
cJSON *bench_result(cJSON *results, const char *op, struct tool_device *on, const struct bench_setting *setting);
/* Adds the samples of one of the compared things, in nanoseconds. */
void bench_add_samples(cJSON *result, const char *name, const double *seconds, size_t n);

/* Ratio b / a round by round: median, and quartiles through the pointers. */
double bench_ratio(const struct bench_series *series, int a, int b, double *low, double *high);
double bench_median(const double *values, size_t n);

/* Dense K and V rows of normal deviates, head-major [n_seqs * n_kv_heads][n_tokens][head_dim], and both compressed. */
struct bench_cache {
    skv_layout *layout;
    skv_buffer *rows[2], *pages[2], *table;
    uint64_t n_blocks, pool_bytes, rows_bytes, record_bytes; /* record_bytes: all records of one pool */
};
void bench_make_cache(struct tool_device *on, const struct bench_setting *setting, struct bench_cache *cache);
void bench_free_cache(struct bench_cache *cache);
/* Parameters that compress rows[i] of all sequences into pages[i]. */
skv_compress_params bench_compress_params(const struct bench_setting *setting, const struct bench_cache *cache, int i);

#endif
