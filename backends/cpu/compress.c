/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "backends/cpu/pages.h"
#include "backends/cpu/select.h"

/* Rows a kernel is given at once: so many records of a multiple of 8 bytes are whole lines. */
#define BATCH_ROWS 32
#define TASK_STRETCHES_MIN 32
#define TASK_STRETCHES_MAX 512
#define TASKS_PER_THREAD 8
/* Records of more than this are written past the caches: they would not stay there until they are read, and a line that
 * is written whole need not be read before. */
#define STREAM_BYTES (8ull << 20)
#define STREAM_ROWS_MIN 8

struct compress_job {
    struct skv_cpu_select select;
    const struct skv_compress_params *params;
    const int64_t *slots; /* NULL: first_slot + i */
    uint32_t *row_bytes;  /* NULL: not wanted */
    bool measure, stream;
    uint64_t task_stretches;
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

/* The rows of a dense tensor go in stretches: some tokens of one head, whose records mostly follow each other. */
struct stretch {
    uint64_t i_token;
    uint32_t i_head, n_tokens;
};

static uint64_t parts_of_head(const struct skv_cpu_select *select)
{
    return (select->n_tokens + BATCH_ROWS - 1) / BATCH_ROWS;
}

/* In about the order of memory, so that the input is read as one stream whichever of its two dimensions is the inner
 * one. */
static struct stretch find_stretch(const struct skv_cpu_select *select, uint64_t i_stretch)
{
    bool heads_inner = select->rows->token_stride >= select->rows->head_stride;
    uint64_t n_inner = heads_inner ? select->n_kv_heads : parts_of_head(select);
    uint64_t outer = i_stretch / n_inner, inner = i_stretch % n_inner;
    uint64_t i_token = (heads_inner ? outer : inner) * BATCH_ROWS, left = select->n_tokens - i_token;
    return (struct stretch){i_token, (uint32_t)(heads_inner ? inner : outer),
                            left < BATCH_ROWS ? (uint32_t)left : BATCH_ROWS};
}

/* Rows that wait for their turn: as many as a kernel looks ahead, and some batches more. */
#define QUEUE_ROWS (2 * SKV_CPU_ROWS_AHEAD)

struct row_queue {
    const uint16_t *row[QUEUE_ROWS];
    uint8_t *record[QUEUE_ROWS];
    uint32_t n;
};

static void add_stretch(const struct compress_job *job, const struct stretch *stretch, struct row_queue *queue)
{
    const struct skv_cpu_select *select = &job->select;
    const struct skv_pool *pool = &job->params->pool;
    const struct skv_layout_slot *head = &pool->layout->head[stretch->i_head];
    uint32_t page_tokens = pool->layout->page_tokens, n = queue->n;
    uint64_t end = stretch->i_token + stretch->n_tokens;
    for (uint64_t t = stretch->i_token; t < end;) {
        int64_t slot = slot_of(job, t);
        if (slot < 0 || job->measure) {
            report_bytes(job, t++, stretch->i_head, slot < 0 ? 0 : head->record_bytes);
            continue;
        }
        /* On through the page while slots follow each other. */
        uint32_t left = page_tokens - (uint32_t)((uint64_t)slot % page_tokens);
        uint8_t *record = (uint8_t *)skv_cpu_record(pool, (uint64_t)slot, stretch->i_head);
        do {
            report_bytes(job, t, stretch->i_head, head->record_bytes);
            queue->row[n] = skv_cpu_select_row(select, t, stretch->i_head);
            queue->record[n++] = record;
            record += head->row_stride;
        } while (++t < end && --left && slot_of(job, t) == ++slot);
    }
    queue->n = n;
}

/* How many of n records follow each other without gaps. */
static uint32_t count_contiguous(uint8_t *const *record, uint32_t n, uint32_t record_bytes)
{
    uint32_t i = 1;
    while (i < n && record[i] == record[i - 1] + record_bytes)
        i++;
    return i;
}

/* Compresses a batch of at most n of the queue's rows from `first` on. Returns how many. */
static uint32_t compress_batch(const struct compress_job *job, const struct row_queue *queue, uint32_t first,
                               uint32_t n)
{
    const struct skv_cpu_select *select = &job->select;
    uint32_t kept = job->params->pool.layout->head[0].kept, record_bytes = SKV_RECORD_BYTES(select->head_dim, kept);
    const uint16_t *const *row = queue->row + first;
    uint8_t *const *record = queue->record + first;
    uint32_t n_contiguous = job->stream ? count_contiguous(record, n, record_bytes) : 0;
    bool stream = n_contiguous >= STREAM_ROWS_MIN;
    if (stream)
        n = n_contiguous;
    else /* What is to be written arrives while the rows are searched. */
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t byte = 0; byte < record_bytes; byte += SKV_CPU_LINE_BYTES)
                __builtin_prefetch(record[i] + byte, 1, 3);
    select->kernels->compress_topk(row, n, queue->n - first - n, select->head_dim, kept, record, stream);
    return n;
}

/* Compresses rows from the queue's front until `left` stay. */
static void compress_until(const struct compress_job *job, struct row_queue *queue, uint32_t left)
{
    uint32_t first = 0;
    while (queue->n - first > left) {
        uint32_t n = queue->n - first - left;
        first += compress_batch(job, queue, first, n < BATCH_ROWS ? n : BATCH_ROWS);
    }
    queue->n -= first;
    memmove(queue->row, queue->row + first, queue->n * sizeof queue->row[0]);
    memmove(queue->record, queue->record + first, queue->n * sizeof queue->record[0]);
}

static void fused_task(void *context, size_t i_task)
{
    const struct compress_job *job = context;
    const struct skv_cpu_select *select = &job->select;
    uint64_t n_stretches = parts_of_head(select) * select->n_kv_heads, first = (uint64_t)i_task * job->task_stretches;
    uint64_t end = n_stretches - first < job->task_stretches ? n_stretches : first + job->task_stretches;
    struct row_queue queue;
    queue.n = 0;
    for (uint64_t i = first; i < end; i++) {
        struct stretch stretch = find_stretch(select, i);
        if (queue.n + stretch.n_tokens > QUEUE_ROWS)
            compress_until(job, &queue, SKV_CPU_ROWS_AHEAD);
        add_stretch(job, &stretch, &queue);
    }
    compress_until(job, &queue, 0);
#if defined(__SSE2__)
    if (job->stream)
        _mm_sfence();
#endif
}

/* The tasks of the fused path, by shapes: some tens of microseconds of work each at least, and more where that leaves
 * the threads enough of them, since a task's first rows were not asked for. */
static uint64_t plan_tasks(struct compress_job *job, uint32_t n_threads)
{
    uint64_t n_stretches = parts_of_head(&job->select) * job->select.n_kv_heads;
    uint64_t share = n_stretches / (TASKS_PER_THREAD * n_threads);
    job->task_stretches = share < TASK_STRETCHES_MIN   ? TASK_STRETCHES_MIN
                          : share < TASK_STRETCHES_MAX ? share
                                                       : TASK_STRETCHES_MAX;
    return (n_stretches + job->task_stretches - 1) / job->task_stretches;
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
        uint64_t record_bytes = params->n_tokens * layout->n_kv_heads * layout->head[0].record_bytes;
        job.stream = record_bytes > STREAM_BYTES;
        uint64_t n = plan_tasks(&job, skv_cpu_pool_threads(cpu->pool));
        skv_cpu_pool_run(cpu->pool, fused_task, &job, n);
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
