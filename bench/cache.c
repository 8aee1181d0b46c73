/* SPDX-License-Identifier: Apache-2.0
 *
 * The caches that cases are measured on.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SETS_MAX 64
/* Random rows are made once and repeated: 16 MiB, more than a core's own caches. */
#define TILE_VALUES (8u << 20)

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
static void make_tile(uint16_t *values, uint64_t n_values, skv_dtype dtype, uint64_t state)
{
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
}

bool bench_buffer(struct bench *bench, uint64_t n_bytes, const void *from, skv_buffer **buffer)
{
    skv_buffer_params params = {.struct_size = sizeof params, .bytes = n_bytes ? n_bytes : 1};
    BENCH_TRY(bench, skv_buffer_create(bench->on->device, &params, buffer));
    if (from)
        BENCH_TRY(bench, skv_buffer_write(bench->on->queue, (skv_span){*buffer, 0}, from, n_bytes));
    return true;
}

static bool random_rows(struct bench *bench, uint64_t n_bytes, skv_dtype dtype, uint64_t seed, skv_buffer **buffer)
{
    uint64_t tile_bytes = n_bytes < TILE_VALUES * 2ull ? n_bytes : TILE_VALUES * 2ull;
    if (!bench_buffer(bench, n_bytes, NULL, buffer))
        return false;
    uint16_t *tile = tool_alloc(tile_bytes);
    make_tile(tile, tile_bytes / 2, dtype, seed);
    skv_status status = SKV_OK;
    for (uint64_t at = 0; at < n_bytes && status == SKV_OK; at += tile_bytes)
        status = skv_buffer_write(bench->on->queue, (skv_span){*buffer, at}, tile,
                                  n_bytes - at < tile_bytes ? n_bytes - at : tile_bytes);
    free(tile);
    return bench_ok(bench, status, "skv_buffer_write");
}

/* What Linux would give without swapping; 0: unknown. */
static uint64_t host_memory(void)
{
    FILE *file = fopen("/proc/meminfo", "r");
    char line[128];
    unsigned long long kilobytes = 0;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1)
            break;
    if (file)
        fclose(file);
    return kilobytes * 1024;
}

uint64_t bench_memory(const struct bench *bench)
{
    uint64_t device = bench->on->info.memory_bytes, host = host_memory();
    uint64_t bytes = bench->on->info.kind != SKV_DEVICE_GPU && host && host < device ? host : device;
    return bytes ? bytes / 10 * 8 : UINT64_MAX;
}

/* More than the last-level cache. A GPU's cannot be asked for; the largest known are 256 MiB. */
static uint64_t more_than_caches(const struct bench *bench)
{
    long last_level = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
    last_level = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
    if (bench->on->info.kind == SKV_DEVICE_CPU)
        return last_level > 0 ? (uint64_t)last_level / 4 * 5 : 64ull << 20;
    return 320ull << 20;
}

/* As many sets as it takes for caches a quarter of the dense one's size to outgrow the processor's, and as memory
 * allows. The same for all budgets, which share rows. */
static bool choose_sets(struct bench *bench, struct bench_cache *cache)
{
    uint64_t one = 4 * cache->rows_bytes, most = bench_memory(bench);
    uint64_t in_buffer = bench->on->limits.buffer_bytes_max / (2 * cache->rows_bytes);
    if (one > most)
        return bench_fail(bench, "skipped", "needs %.1f GiB, and %.1f GiB may be used", (double)one / (1 << 30),
                          (double)most / (1 << 30));
    uint64_t wanted = more_than_caches(bench) / (cache->rows_bytes / 2 + 1) + 1, n = wanted < 2 ? 2 : wanted;
    n = n < SETS_MAX ? n : SETS_MAX;
    n = n < most / one ? n : most / one;
    n = n < in_buffer ? n : in_buffer;
    cache->n_sets = n ? (uint32_t)n : 1;
    return true;
}

static bool make_layout(struct bench *bench, const struct bench_setting *setting, struct bench_cache *cache)
{
    const struct bench_shape *shape = setting->shape;
    skv_layout_params params = {.struct_size = sizeof params,
                                .dtype = setting->dtype,
                                .head_dim = shape->head_dim,
                                .n_kv_heads = shape->n_kv_heads,
                                .kept = setting->kept};
    skv_layout_head head = {.struct_size = sizeof head};
    skv_layout_info info = {.struct_size = sizeof info};
    /* What an engine for a GPU would take: no two records in the same banks of shared memory. */
    if (bench->on->info.kind == SKV_DEVICE_GPU)
        BENCH_TRY(bench, skv_row_stride_for_banks(shape->head_dim, setting->kept, &params.row_stride));
    BENCH_TRY(bench, skv_layout_create(&params, &cache->layout));
    BENCH_TRY(bench, skv_layout_get_head(cache->layout, 0, &head));
    BENCH_TRY(bench, skv_layout_get_info(cache->layout, &info));
    BENCH_TRY(bench, skv_layout_blocks(cache->layout, shape->n_tokens, &cache->seq_blocks));
    cache->n_blocks = cache->seq_blocks * shape->n_seqs;
    BENCH_TRY(bench, skv_layout_pool_bytes(cache->layout, cache->n_blocks, &cache->pool_bytes));
    cache->page_tokens = info.page_tokens;
    cache->set_bytes = cache->n_blocks * info.block_bytes;
    cache->record_bytes = shape->n_tokens * shape->n_seqs * shape->n_kv_heads * head.row_stride;
    return true;
}

skv_compress_params bench_compress_params(const struct bench *bench, int i, uint64_t i_set)
{
    const struct bench_cache *cache = &bench->cache;
    const struct bench_shape *shape = cache->made_for.shape;
    uint64_t n_tokens = shape->n_tokens * shape->n_seqs;
    return (skv_compress_params){
        .struct_size = sizeof(skv_compress_params),
        .n_tokens = n_tokens,
        .in = {{cache->rows[i], i_set * cache->rows_bytes}, shape->head_dim, n_tokens * shape->head_dim},
        .pool = {cache->layout, {cache->pages[i], 0}, cache->n_blocks * cache->n_sets},
        .first_slot = i_set * cache->n_blocks * cache->page_tokens};
}

static bool compress_all(struct bench *bench, int i)
{
    const struct bench_cache *cache = &bench->cache;
    const struct bench_shape *shape = cache->made_for.shape;
    for (uint64_t i_set = 0; i_set < cache->n_sets; i_set++)
        for (uint32_t s = 0; s < shape->n_seqs; s++) {
            skv_compress_params compress = bench_compress_params(bench, i, i_set);
            compress.n_tokens = shape->n_tokens;
            compress.in.head_stride = shape->n_tokens * shape->head_dim;
            compress.in.data.offset += s * (cache->rows_bytes / shape->n_seqs);
            compress.first_slot += s * cache->seq_blocks * cache->page_tokens;
            BENCH_TRY(bench, skv_compress(bench->on->queue, &compress));
            if (s == 0 && !bench_may_go_on(bench))
                return false;
        }
    return true;
}

static void free_pages(struct bench_cache *cache)
{
    for (int i = 0; i < 2; i++) {
        skv_buffer_destroy(cache->pages[i]);
        cache->pages[i] = NULL;
    }
    skv_buffer_destroy(cache->table);
    skv_layout_destroy(cache->layout);
    cache->table = NULL;
    cache->layout = NULL;
    cache->made_for.kept = 0;
}

void bench_free_cache(struct bench *bench)
{
    free_pages(&bench->cache);
    skv_buffer_destroy(bench->cache.rows[0]);
    skv_buffer_destroy(bench->cache.rows[1]);
    bench->cache = (struct bench_cache){0};
}

static bool make_rows(struct bench *bench, const struct bench_setting *setting)
{
    struct bench_cache *cache = &bench->cache;
    const struct bench_shape *shape = setting->shape;
    bench_free_cache(bench);
    cache->rows_bytes = shape->n_tokens * shape->n_seqs * shape->n_kv_heads * shape->head_dim * 2;
    if (!choose_sets(bench, cache))
        return false;
    for (int i = 0; i < 2; i++)
        if (!random_rows(bench, cache->rows_bytes * cache->n_sets, setting->dtype, 88172645463325252ull + (uint64_t)i,
                         &cache->rows[i]))
            return false;
    cache->made_for = *setting;
    cache->made_for.kept = 0;
    return true;
}

static bool make_pages(struct bench *bench, const struct bench_setting *setting)
{
    struct bench_cache *cache = &bench->cache;
    free_pages(cache);
    if (!make_layout(bench, setting, cache))
        return false;
    uint64_t n_blocks = cache->n_blocks * cache->n_sets, pool_bytes = 0;
    BENCH_TRY(bench, skv_layout_pool_bytes(cache->layout, n_blocks, &pool_bytes));
    int32_t *table = tool_alloc(n_blocks * sizeof *table);
    for (uint64_t i = 0; i < n_blocks; i++)
        table[i] = (int32_t)i;
    bool done = bench_buffer(bench, n_blocks * sizeof *table, table, &cache->table);
    free(table);
    for (int i = 0; i < 2 && done; i++)
        done = bench_buffer(bench, pool_bytes, NULL, &cache->pages[i]) && compress_all(bench, i);
    if (!done || !bench_ok(bench, skv_queue_finish(bench->on->queue), "skv_queue_finish"))
        return false;
    cache->made_for.kept = setting->kept;
    return true;
}

bool bench_make_cache(struct bench *bench, const struct bench_setting *setting)
{
    const struct bench_setting *made_for = &bench->cache.made_for;
    if (made_for->shape != setting->shape || made_for->dtype != setting->dtype)
        if (!make_rows(bench, setting)) {
            bench_free_cache(bench);
            return false;
        }
    return made_for->kept == setting->kept || make_pages(bench, setting);
}
