/* SPDX-License-Identifier: Apache-2.0
 *
 * Compression of many rows and of one, and expansion.
 */
#include "bench.h"

struct packing {
    struct bench *bench;
    const struct bench_setting *setting;
    uint64_t n_tokens; /* per call */
    uint64_t turn[2];
};

static bool run_compress(void *context)
{
    struct packing *packing = context;
    skv_compress_params compress =
        bench_compress_params(packing->bench, 0, packing->turn[0]++ % packing->bench->cache.n_sets);
    compress.n_tokens = packing->n_tokens;
    BENCH_TRY(packing->bench, skv_compress(packing->bench->on->queue, &compress));
    return true;
}

static bool run_decompress(void *context)
{
    struct packing *packing = context;
    /* Its places are those of compression, the other way. */
    skv_compress_params compress =
        bench_compress_params(packing->bench, 1, packing->turn[0]++ % packing->bench->cache.n_sets);
    skv_decompress_params expand = {.struct_size = sizeof expand,
                                    .n_tokens = compress.n_tokens,
                                    .pool = compress.pool,
                                    .first_slot = compress.first_slot,
                                    .out = compress.in};
    BENCH_TRY(packing->bench, skv_decompress(packing->bench->on->queue, &expand));
    return true;
}

/* Of a set's records, or as much as its rows have: records that keep all channels are longer, and behind the rows'
 * buffer is nothing to copy. */
static uint64_t packed_bytes(const struct bench_cache *cache)
{
    return cache->record_bytes < cache->rows_bytes ? cache->record_bytes : cache->rows_bytes;
}

/* A copy that moves as many bytes; on the host, one that reads whole rows and writes their fronts. */
static bool run_copy(void *context)
{
    struct packing *packing = context;
    struct bench *bench = packing->bench;
    const struct bench_cache *cache = &packing->bench->cache;
    uint64_t i_set = packing->turn[1]++ % cache->n_sets, at = i_set * cache->rows_bytes;
    if (!bench->on->limits.host_memory) {
        BENCH_TRY(bench,
                  skv_buffer_copy(bench->on->queue, (skv_span){cache->rows[1], at}, (skv_span){cache->rows[0], at},
                                  (cache->rows_bytes + packed_bytes(cache)) / 2));
        return true;
    }
    return bench_stream_pack((uint8_t *)skv_buffer_host(cache->pages[0]) + i_set * cache->set_bytes,
                             (const uint8_t *)skv_buffer_host(cache->rows[0]) + at, packed_bytes(cache),
                             cache->rows_bytes, packing->setting->n_threads) ||
           bench_fail(bench, "failed", "the system gives no more threads");
}

/* As many bytes as expansion reads and writes, without the expansion. */
static bool run_plain_copy(void *context)
{
    struct packing *packing = context;
    const struct bench_cache *cache = &packing->bench->cache;
    if (!packing->bench->on->limits.host_memory)
        return run_copy(context);
    uint64_t at = packing->turn[1]++ % cache->n_sets * cache->rows_bytes;
    return bench_stream_copy((uint8_t *)skv_buffer_host(cache->rows[1]) + at,
                             (const uint8_t *)skv_buffer_host(cache->rows[0]) + at,
                             (cache->rows_bytes + packed_bytes(cache)) / 2, packing->setting->n_threads) ||
           bench_fail(packing->bench, "failed", "the system gives no more threads");
}

static bool measure(struct packing *packing, const char *op, bench_function *run_op, bench_function *copy)
{
    struct bench *bench = packing->bench;
    const struct bench_setting *setting = packing->setting;
    struct bench_series series;
    bench_function *const run[3] = {run_op, copy, NULL};
    if (!bench_make_cache(bench, setting))
        return false;
    uint64_t n_all = setting->shape->n_tokens * setting->shape->n_seqs;
    packing->n_tokens = packing->n_tokens ? packing->n_tokens : n_all;
    if (!bench_in_turns(bench, &series, setting->seconds, run, packing) || !run_op(packing))
        return false;
    double n_rows = (double)packing->n_tokens * setting->shape->n_kv_heads;
    cJSON *result = bench_result(bench, op, setting);
    cJSON_AddNumberToObject(result, "n_rows", n_rows);
    cJSON_AddNumberToObject(result, "buffer_sets", packing->bench->cache.n_sets);
    bench_add_samples(result, op, &series, 0);
    struct bench_ratio of_copy = {0};
    if (copy) {
        enum bench_pass pass = copy == run_copy && bench->on->limits.host_memory ? BENCH_PACK : BENCH_COPY;
        of_copy =
            bench_of_ceiling(bench, &series, 0, 1, pass, (double)(bench->cache.rows_bytes + bench->cache.record_bytes));
        bench_add_ratio(result, "copy_speed", of_copy);
        bench_add_samples(result, "copy", &series, 1);
    }
    bench_print_head(bench, op, setting);
    if (copy)
        printf("%4.0f %% of a copy  ", 100 * of_copy.middle);
    printf("%6.1f ns/row\n", 1e9 * bench_median(series.seconds[0], series.n) / n_rows);
    return true;
}

static bool measure_packing(struct bench *bench, const struct bench_setting *setting, uint64_t n_tokens, const char *op,
                            bench_function *run_op, bench_function *copy)
{
    struct packing packing = {.bench = bench, .setting = setting, .n_tokens = n_tokens};
    return measure(&packing, op, run_op, copy);
}

bool bench_compress(struct bench *bench, const struct bench_setting *setting)
{
    return measure_packing(bench, setting, 0, "compress", run_compress, run_copy);
}

/* One new token of each sequence: what a decode step adds to K or to V. */
bool bench_append(struct bench *bench, const struct bench_setting *setting)
{
    return measure_packing(bench, setting, setting->shape->n_seqs, "append", run_compress, NULL);
}

bool bench_decompress(struct bench *bench, const struct bench_setting *setting)
{
    return measure_packing(bench, setting, 0, "decompress", run_decompress, run_plain_copy);
}
