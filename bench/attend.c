/* SPDX-License-Identifier: Apache-2.0
 *
 * Decode attention: by itself, and with what keeps its cache compressed.
 */
#include "bench.h"

#include <stdlib.h>

/* Beyond this a result is wrong, and no speed of it counts. Rounding of bf16 outputs takes 0.002. */
#define ERROR_MAX 0.02
/* Decode steps after a prefill, in an amortized row. */
#define RUN_TOKENS 256

enum { SPARSE, DENSE, THIRD, N_TURNS };

struct attending {
    struct bench *bench;
    const struct bench_setting *setting;
    skv_attend_params sparse, dense;
    skv_compress_params append[2];
    skv_buffer *out, *workspace, *scratch, *slots;
    uint64_t turn[N_TURNS]; /* each function goes through the sets by itself */
};

static uint64_t next_set(struct attending *attending, int function)
{
    return attending->turn[function]++ % attending->bench->cache.n_sets;
}

static bool attend_sparse(struct attending *attending, uint64_t i_set)
{
    attending->sparse.k_blocks.offset = i_set * attending->bench->cache.n_blocks * sizeof(int32_t);
    BENCH_TRY(attending->bench, skv_attend(attending->bench->on->queue, &attending->sparse));
    return true;
}

static bool run_sparse(void *context)
{
    struct attending *attending = context;
    return attend_sparse(attending, next_set(attending, SPARSE));
}

static bool run_dense(void *context)
{
    struct attending *attending = context;
    uint64_t at = next_set(attending, DENSE) * attending->bench->cache.rows_bytes;
    attending->dense.k_tail.offset = attending->dense.v_tail.offset = at;
    BENCH_TRY(attending->bench, skv_attend(attending->bench->on->queue, &attending->dense));
    return true;
}

/* What reading the records alone would take: on a device, a copy of half as many bytes, which moves as many. */
static bool run_read(void *context)
{
    struct attending *attending = context;
    struct bench *bench = attending->bench;
    const struct bench_cache *cache = &attending->bench->cache;
    uint64_t at = next_set(attending, THIRD) * cache->set_bytes;
    if (!bench->on->limits.host_memory) {
        BENCH_TRY(bench, skv_buffer_copy(bench->on->queue, (skv_span){attending->scratch, 0},
                                         (skv_span){cache->pages[0], at}, cache->record_bytes));
        return true;
    }
    bool all = true;
    for (int i = 0; i < 2; i++)
        all = bench_stream_read((const uint8_t *)skv_buffer_host(cache->pages[i]) + at, cache->record_bytes,
                                attending->setting->n_threads) &&
              all;
    return all || bench_fail(bench, "failed", "the system gives no more threads");
}

/* One decode step: the new token of each sequence is compressed, then all attend. */
static bool run_step(void *context)
{
    struct attending *attending = context;
    struct bench *bench = attending->bench;
    uint64_t i_set = next_set(attending, SPARSE);
    for (int i = 0; i < 2; i++) {
        attending->append[i].slot_mapping.offset = i_set * attending->setting->shape->n_seqs * sizeof(int64_t);
        BENCH_TRY(bench, skv_compress(bench->on->queue, &attending->append[i]));
    }
    return attend_sparse(attending, i_set);
}

static bool run_prefill(void *context)
{
    struct attending *attending = context;
    uint64_t i_set = next_set(attending, THIRD);
    for (int i = 0; i < 2; i++) {
        skv_compress_params compress = bench_compress_params(attending->bench, i, i_set);
        BENCH_TRY(attending->bench, skv_compress(attending->bench->on->queue, &compress));
    }
    return true;
}

static bool prepare(struct attending *attending)
{
    struct bench *bench = attending->bench;
    const struct bench_setting *setting = attending->setting;
    const struct bench_shape *shape = setting->shape;
    const struct bench_cache *cache = &bench->cache;
    if (!bench_make_cache(bench, setting) ||
        !bench_buffer(bench, (uint64_t)shape->n_seqs * shape->n_q_heads * shape->head_dim * 4, NULL, &attending->out))
        return false;
    skv_attend_params *dense = &attending->dense, *sparse = &attending->sparse;
    /* Rows serve as queries: random numbers of the right type. */
    *dense = (skv_attend_params){.struct_size = sizeof *dense,
                                 .n_seqs = shape->n_seqs,
                                 .n_new = 1,
                                 .n_q_heads = shape->n_q_heads,
                                 .n_kv_heads = shape->n_kv_heads,
                                 .head_dim = shape->head_dim,
                                 .dtype = setting->dtype,
                                 .q = {cache->rows[0], 0},
                                 .out = {attending->out, 0}};
    *sparse = *dense;
    dense->k_tail.buffer = cache->rows[0];
    dense->v_tail.buffer = cache->rows[1];
    dense->tail_token_stride = shape->head_dim;
    dense->tail_head_stride = shape->n_tokens * shape->head_dim;
    dense->tail_seq_stride = dense->tail_head_stride * shape->n_kv_heads;
    dense->max_tail_tokens = shape->n_tokens;
    sparse->k_pool = (skv_pool){cache->layout, {cache->pages[0], 0}, cache->n_blocks * cache->n_sets};
    sparse->v_pool = (skv_pool){cache->layout, {cache->pages[1], 0}, cache->n_blocks * cache->n_sets};
    sparse->k_blocks.buffer = cache->table;
    sparse->max_cache_tokens = shape->n_tokens;
    uint64_t sparse_bytes, dense_bytes;
    BENCH_TRY(bench, skv_attend_workspace(bench->on->device, sparse, &sparse_bytes));
    BENCH_TRY(bench, skv_attend_workspace(bench->on->device, dense, &dense_bytes));
    if (!bench_buffer(bench, sparse_bytes > dense_bytes ? sparse_bytes : dense_bytes, NULL, &attending->workspace))
        return false;
    sparse->workspace.buffer = dense->workspace.buffer = attending->workspace;
    return true;
}

static void release(struct attending *attending)
{
    skv_buffer_destroy(attending->slots);
    skv_buffer_destroy(attending->scratch);
    skv_buffer_destroy(attending->workspace);
    skv_buffer_destroy(attending->out);
}

/* What sparse and dense attention are compared by. */
static void add_sizes(cJSON *result, const struct bench_cache *cache)
{
    cJSON_AddNumberToObject(result, "compressed_bytes", 2 * (double)cache->record_bytes);
    cJSON_AddNumberToObject(result, "dense_bytes", 2 * (double)cache->rows_bytes);
    cJSON_AddNumberToObject(result, "allocated_bytes", 2 * (double)cache->pool_bytes);
    cJSON_AddNumberToObject(result, "byte_limit", (double)cache->rows_bytes / (double)cache->record_bytes);
    cJSON_AddNumberToObject(result, "buffer_sets", cache->n_sets);
}

static bool measure_attend(struct attending *attending)
{
    struct bench *bench = attending->bench;
    const struct bench_cache *cache = &attending->bench->cache;
    bool reads = bench->on->limits.host_memory != 0;
    struct bench_series series;
    double error;
    if (!prepare(attending) || (!reads && !bench_buffer(bench, cache->record_bytes, NULL, &attending->scratch)))
        return false;
    bench_function *const run[3] = {run_sparse, run_dense, run_read};
    if (!bench_in_turns(bench, &series, attending->setting->seconds, run, attending) || !attend_sparse(attending, 0))
        return false;
    cJSON *result = bench_result(bench, "attend", attending->setting);
    /* The row is only kept when its result is right. */
    cJSON_DetachItemViaPointer(bench->results, result);
    bool checked = bench_error(bench, attending->setting, &attending->sparse, &error);
    if (!checked || !(error <= ERROR_MAX)) {
        cJSON_Delete(result);
        return checked ? bench_fail(bench, "failed", "its result is wrong: relative error %.3g", error) : false;
    }
    cJSON_AddItemToArray(bench->results, result);
    struct bench_ratio gain = bench_ratio(&series, SPARSE, DENSE),
                       of_read = bench_of_ceiling(bench, &series, SPARSE, THIRD, reads ? BENCH_READ : BENCH_COPY,
                                                  2 * (double)cache->record_bytes);
    add_sizes(result, cache);
    cJSON_AddNumberToObject(result, "error", error);
    bench_add_ratio(result, "speed_over_dense", gain);
    bench_add_ratio(result, reads ? "fraction_of_read" : "fraction_of_copy", of_read);
    bench_add_samples(result, "sparse", &series, SPARSE);
    bench_add_samples(result, "dense", &series, DENSE);
    bench_add_samples(result, reads ? "read" : "copy", &series, THIRD);
    bench_print_head(bench, "attend", attending->setting);
    printf("%5.2fx dense (%.2f - %.2f), limit %.2fx  %3.0f %% of %s\n", gain.middle, gain.low, gain.high,
           (double)cache->rows_bytes / (double)cache->record_bytes, 100 * of_read.middle, reads ? "read" : "copy");
    return true;
}

bool bench_attend(struct bench *bench, const struct bench_setting *setting)
{
    struct attending attending = {.bench = bench, .setting = setting};
    bool done = measure_attend(&attending);
    release(&attending);
    return done;
}

/* The newest slot of each sequence in each set. */
static bool prepare_append(struct attending *attending)
{
    struct bench *bench = attending->bench;
    const struct bench_shape *shape = attending->setting->shape;
    const struct bench_cache *cache = &attending->bench->cache;
    uint64_t n_slots = (uint64_t)cache->n_sets * shape->n_seqs;
    int64_t *slots = tool_alloc(n_slots * sizeof *slots);
    for (uint64_t i = 0; i < n_slots; i++)
        slots[i] = (int64_t)(i * cache->seq_blocks * cache->page_tokens + shape->n_tokens - 1);
    bool done = bench_buffer(bench, n_slots * sizeof *slots, slots, &attending->slots);
    free(slots);
    for (int i = 0; i < 2; i++) {
        attending->append[i] = bench_compress_params(attending->bench, i, 0);
        attending->append[i].n_tokens = shape->n_seqs;
        attending->append[i].in.head_stride = (uint64_t)shape->n_seqs * shape->head_dim;
        attending->append[i].slot_mapping.buffer = attending->slots;
    }
    return done;
}

static struct bench_ratio ratio_of_run(const struct bench_series *series)
{
    double ratios[BENCH_ROUNDS_MAX];
    for (size_t i = 0; i < series->n; i++)
        ratios[i] = RUN_TOKENS * series->seconds[DENSE][i] /
                    (series->seconds[THIRD][i] + RUN_TOKENS * series->seconds[SPARSE][i]);
    return bench_ratio_of(ratios, series->n);
}

static bool measure_amortized(struct attending *attending)
{
    struct bench *bench = attending->bench;
    struct bench_series series;
    if (!prepare(attending) || !prepare_append(attending))
        return false;
    bench_function *const run[3] = {run_step, run_dense, run_prefill};
    if (!bench_in_turns(bench, &series, attending->setting->seconds, run, attending) || !run_step(attending))
        return false;
    struct bench_ratio step = bench_ratio(&series, SPARSE, DENSE), whole = ratio_of_run(&series);
    double saved = bench_median(series.seconds[DENSE], series.n) - bench_median(series.seconds[SPARSE], series.n);
    double break_even = bench_median(series.seconds[THIRD], series.n) / saved;
    cJSON *result = bench_result(bench, "amortized", attending->setting);
    add_sizes(result, &attending->bench->cache);
    bench_add_ratio(result, "speed_over_dense", step);
    bench_add_ratio(result, "run_of_256_over_dense", whole);
    if (saved > 0 && break_even < 1e15)
        cJSON_AddNumberToObject(result, "break_even_tokens", break_even);
    bench_add_samples(result, "amortized", &series, SPARSE);
    bench_add_samples(result, "dense", &series, DENSE);
    bench_add_samples(result, "prefill", &series, THIRD);
    bench_print_head(bench, "amortized", attending->setting);
    printf("%5.2fx dense (%.2f - %.2f) with its append, %.2fx over %d tokens with the prefill's compression",
           step.middle, step.low, step.high, whole.middle, RUN_TOKENS);
    if (saved > 0)
        printf(", even after %.0f\n", break_even);
    else
        printf(", never even\n");
    return true;
}

bool bench_amortized(struct bench *bench, const struct bench_setting *setting)
{
    struct attending attending = {.bench = bench, .setting = setting};
    bool done = measure_amortized(&attending);
    release(&attending);
    return done;
}
