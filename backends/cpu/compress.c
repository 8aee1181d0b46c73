/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backends/cpu/pages.h"
#include "backends/cpu/select.h"

/* Rows that one task of the fused path handles: some tens of microseconds of work. */
#define FUSED_TASK_ROWS 1024

struct compress_job {
    struct skv_cpu_select select;
    const struct skv_compress_params *params;
    const int64_t *slots; /* NULL: first_slot + i */
    uint32_t *row_bytes;  /* NULL: not wanted */
    uint32_t *caps;
    bool measure;
    _Atomic uint64_t overflow_token; /* lowest token that did not fit, or UINT64_MAX */
};

static inline int64_t slot_of(const struct compress_job *job, uint64_t i_token)
{
    return job->slots ? job->slots[i_token] : (int64_t)(job->params->first_slot + i_token);
}

static inline void report_bytes(const struct compress_job *job, uint64_t i_token, uint32_t i_head, uint32_t n_bytes)
{
    if (job->row_bytes)
        job->row_bytes[i_token * job->select.n_kv_heads + i_head] = n_bytes;
}

/* The rows of a dense tensor in memory order, so that the input is read as one stream whichever of its two dimensions
 * is the inner one. */
struct row_walk {
    uint64_t i_token, n_tokens;
    uint32_t i_head, n_heads;
    bool heads_inner;
};

static void walk_to(struct row_walk *walk, uint64_t i_row)
{
    uint64_t n_inner = walk->heads_inner ? walk->n_heads : walk->n_tokens;
    uint64_t outer = i_row / n_inner, inner = i_row % n_inner;
    walk->i_token = walk->heads_inner ? outer : inner;
    walk->i_head = (uint32_t)(walk->heads_inner ? inner : outer);
}

static inline void walk_on(struct row_walk *walk)
{
    if (walk->heads_inner) {
        if (++walk->i_head == walk->n_heads) {
            walk->i_head = 0;
            walk->i_token++;
        }
    } else if (++walk->i_token == walk->n_tokens) {
        walk->i_token = 0;
        walk->i_head++;
    }
}

static void fused_task(void *context, size_t i_task)
{
    const struct compress_job *job = context;
    const struct skv_cpu_select *select = &job->select;
    const struct skv_pool *pool = &job->params->pool;
    uint32_t kept = pool->layout->head[0].kept, record_bytes = pool->layout->head[0].record_bytes;
    uint64_t n_rows = select->n_tokens * select->n_kv_heads, first = (uint64_t)i_task * FUSED_TASK_ROWS;
    uint64_t end = n_rows - first < FUSED_TASK_ROWS ? n_rows : first + FUSED_TASK_ROWS;
    struct row_walk walk = {.n_tokens = select->n_tokens,
                            .n_heads = select->n_kv_heads,
                            .heads_inner = select->rows->token_stride >= select->rows->head_stride};
    walk_to(&walk, first);

    const uint16_t *row[SKV_CPU_ROWS_MAX];
    uint8_t *record[SKV_CPU_ROWS_MAX];
    uint32_t n = 0;
    for (uint64_t i = first; i < end; i++, walk_on(&walk)) {
        int64_t slot = slot_of(job, walk.i_token);
        report_bytes(job, walk.i_token, walk.i_head, slot < 0 ? 0 : record_bytes);
        if (slot >= 0 && !job->measure) {
            row[n] = skv_cpu_select_row(select, walk.i_token, walk.i_head);
            record[n++] = (uint8_t *)skv_cpu_record(pool, (uint64_t)slot, walk.i_head);
        }
        if (n == SKV_CPU_ROWS_MAX || (n > 0 && i + 1 == end)) {
            select->kernels->compress_topk(row, n, select->head_dim, kept, record);
            n = 0;
        }
    }
}

static void fixed_task(void *context, size_t i_task)
{
    const struct compress_job *job = context;
    const struct skv_cpu_select *select = &job->select;
    const struct skv_pool *pool = &job->params->pool;
    uint64_t i_chunk = i_task / select->n_kv_heads, first = i_chunk * select->chunk_tokens;
    uint32_t i_head = (uint32_t)(i_task % select->n_kv_heads), n = skv_cpu_select_chunk_size(select, i_chunk);
    uint64_t bitmap[SKV_CPU_ROWS_MAX * SKV_WORDS_MAX];
    if (!job->measure)
        skv_cpu_select_chunk(select, i_chunk, i_head, bitmap);
    for (uint32_t t = 0; t < n; t++) {
        int64_t slot = slot_of(job, first + t);
        report_bytes(job, first + t, i_head, slot < 0 ? 0 : pool->layout->head[i_head].record_bytes);
        if (slot >= 0 && !job->measure)
            select->kernels->pack(skv_cpu_select_row(select, first + t, i_head), bitmap + t * select->n_words,
                                  select->head_dim, (uint8_t *)skv_cpu_record(pool, (uint64_t)slot, i_head));
    }
}

static uint32_t popcount(const uint64_t *bitmap, uint32_t n_words)
{
    uint32_t n = 0;
    for (uint32_t w = 0; w < n_words; w++)
        n += (uint32_t)__builtin_popcountll(bitmap[w]);
    return n;
}

static void report_overflow(struct compress_job *job, uint64_t i_token)
{
    uint64_t lowest = atomic_load(&job->overflow_token);
    while (i_token < lowest && !atomic_compare_exchange_weak(&job->overflow_token, &lowest, i_token))
        ;
}

/* Bitmaps of one token after the other; a chunk is selected when the first of its tokens is asked for. */
struct bitmap_reader {
    const struct skv_cpu_select *select;
    uint64_t i_chunk; /* held, or UINT64_MAX */
    uint32_t i_head;
    uint64_t bitmap[SKV_CPU_ROWS_MAX * SKV_WORDS_MAX];
};

static const uint64_t *read_bitmap(struct bitmap_reader *reader, uint64_t i_token)
{
    const struct skv_cpu_select *select = reader->select;
    uint64_t i_chunk = i_token / select->chunk_tokens;
    if (i_chunk != reader->i_chunk) {
        skv_cpu_select_chunk(select, i_chunk, reader->i_head, reader->bitmap);
        reader->i_chunk = i_chunk;
    }
    return reader->bitmap + (i_token % select->chunk_tokens) * select->n_words;
}

/* True when token i is the first of the call, or of a run of tokens, that goes to its page. */
static bool starts_run(const struct compress_job *job, uint64_t i_token)
{
    uint32_t page_tokens = job->params->pool.layout->page_tokens;
    int64_t slot = slot_of(job, i_token), before = i_token ? slot_of(job, i_token - 1) : -1;
    return slot >= 0 && (before < 0 || before / page_tokens != slot / page_tokens);
}

/* Writes a run of tokens to its page, front to back. Returns the token after it. */
static uint64_t write_run(struct compress_job *job, struct bitmap_reader *reader, uint64_t i_token)
{
    const struct skv_cpu_select *select = &job->select;
    const struct skv_layout *layout = job->params->pool.layout;
    uint32_t i_head = reader->i_head, page_tokens = layout->page_tokens;
    uint32_t i_slot = (uint32_t)((uint64_t)slot_of(job, i_token) % page_tokens);
    uint8_t *page = skv_cpu_page(&job->params->pool, (uint64_t)slot_of(job, i_token) / page_tokens, i_head);
    uint64_t page_bytes = layout->head[i_head].page_bytes, start = 0;
    bool fits = true;
    if (!job->measure) {
        start = skv_cpu_ragged_start(page, i_slot, page_tokens);
        fits = start % 8 == 0 && start >= 4ull * page_tokens && start <= page_bytes;
    }
    do {
        const uint64_t *bitmap = read_bitmap(reader, i_token);
        uint32_t record_bytes = SKV_RECORD_BYTES(select->head_dim, popcount(bitmap, select->n_words));
        uint32_t area_bytes = (record_bytes + 7) & ~7u;
        report_bytes(job, i_token, i_head, record_bytes);
        if (fits && !job->measure && start + area_bytes > page_bytes)
            fits = false;
        if (!fits)
            report_overflow(job, i_token);
        if (fits && !job->measure) {
            select->kernels->pack(skv_cpu_select_row(select, i_token, i_head), bitmap, select->head_dim, page + start);
            start += area_bytes;
            uint32_t end = (uint32_t)start;
            memcpy(page + 4 * (size_t)i_slot, &end, sizeof end);
        }
        i_slot++;
        i_token++;
    } while (i_token < select->n_tokens && slot_of(job, i_token) >= 0 && !starts_run(job, i_token));
    return i_token;
}

/* Task (chunk, head) writes the runs that start in its chunk, to their ends. */
static void ragged_task(void *context, size_t i_task)
{
    struct compress_job *job = context;
    const struct skv_cpu_select *select = &job->select;
    uint64_t i_chunk = i_task / select->n_kv_heads, first = i_chunk * select->chunk_tokens;
    uint64_t end = first + skv_cpu_select_chunk_size(select, i_chunk);
    struct bitmap_reader reader;
    reader.select = select;
    reader.i_chunk = UINT64_MAX;
    reader.i_head = (uint32_t)(i_task % select->n_kv_heads);
    for (uint64_t t = first; t < end;) {
        if (slot_of(job, t) < 0)
            report_bytes(job, t, reader.i_head, 0);
        if (starts_run(job, t))
            t = write_run(job, &reader, t);
        else
            t++;
    }
}

enum skv_status skv_cpu_compress(struct skv_queue *queue, const struct skv_compress_params *params)
{
    struct skv_cpu_device *cpu = skv_cpu_device_of(queue);
    const struct skv_layout *layout = params->pool.layout;
    struct compress_job job = {
        .params = params,
        .slots = skv_host(params->slot_mapping),
        .row_bytes = skv_host(params->row_bytes),
        .measure = (params->flags & SKV_COMPRESS_MEASURE) != 0,
        .overflow_token = UINT64_MAX,
    };
    bool ragged = layout->form == SKV_RAGGED;
    skv_cpu_select_init(&job.select, &cpu->kernels, &params->select, &params->in, layout->dtype, layout->head_dim,
                        layout->n_kv_heads, params->n_tokens, ragged ? layout->kept : NULL);
    uint64_t n_tasks = skv_cpu_select_chunks(&job.select) * layout->n_kv_heads;
    if (ragged) {
        skv_cpu_pool_run(cpu->pool, ragged_task, &job, n_tasks);
    } else if (layout->uniform && params->select.strategy == SKV_TOKEN_MAGNITUDE) {
        uint64_t n_rows = params->n_tokens * layout->n_kv_heads;
        skv_cpu_pool_run(cpu->pool, fused_task, &job, (n_rows + FUSED_TASK_ROWS - 1) / FUSED_TASK_ROWS);
    } else {
        skv_cpu_pool_run(cpu->pool, fixed_task, &job, n_tasks);
    }
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "compress %s", cpu->kernels.isa);
    uint64_t overflow = atomic_load(&job.overflow_token);
    if (overflow == UINT64_MAX)
        return SKV_OK;
    return skv_fail(SKV_ERROR_CAPACITY,
                    "token %" PRIu64 " does not fit its ragged page (slot %" PRId64 "); pages of this layout are too "
                    "small for these rows, or the slots below were not written",
                    overflow, slot_of(&job, overflow));
}
