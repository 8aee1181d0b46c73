/* SPDX-License-Identifier: Apache-2.0
 *
 * The attention driver. A task is one split of one sequence and some KV heads. It walks its tokens in tiles and feeds
 * each tile to all query rows of the head's group, so that every KV row is read, and expanded, once per pass.
 *
 * Query rows are cut into chunks that belong to one query token, since those see the same positions: a tile then holds,
 * for each chunk, only rows that it sees, and what it must not see cannot reach it, NaN included. With a single chunk
 * the records go straight to the kernel; with more, each tile is first expanded to dense rows in the cache, once for
 * all.
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "backends/cpu/cpu.h"
#include "backends/cpu/pass.h"
#include "core/numbers.h"

/* Query rows of one pass over the tokens, at the largest head_dim; more take several passes. */
#define PASS_ROWS 16
#define PASS_CHUNKS 64
/* What the states of a pass take for one kind of tile, in floats. */
#define STATE_FLOATS (PASS_ROWS * (2 * (size_t)SKV_HEAD_DIM_MAX + 2 * SKV_CPU_M_MAX))
/* Enough that the threads end at about the same time. */
#define TASKS_PER_THREAD 8

struct attend_job {
    struct skv_cpu_pass pass;
    const struct skv_attend_plan *plan;
    uint32_t group, task_heads;
    float *part_out, *part_lse;
};

/* What one task works on. */
struct task {
    const struct attend_job *job;
    struct skv_cpu_walk walk;
    uint32_t i_split;
    uint64_t n_tokens;
};

/* The kernel for n rows: the smallest m that holds them, else the largest. */
static const struct skv_cpu_attend *find_kernel(const struct attend_job *job, enum skv_cpu_source source, uint32_t n,
                                                uint32_t *m)
{
    uint32_t i = 0;
    while (i + 1 < SKV_CPU_M_COUNT && 1u << i < n)
        i++;
    *m = 1u << i;
    return &job->pass.kernels->attend[job->pass.math][source][i];
}

static void start_chunk(const struct task *task, struct skv_cpu_chunk *chunk)
{
    const struct skv_attend_params *params = task->job->pass.params;
    uint32_t d = params->head_dim, q_bytes = skv_dtype_bytes((skv_dtype)params->q_dtype);
    float q[SKV_CPU_M_MAX * SKV_HEAD_DIM_MAX];
    const char *queries = skv_host(params->q);
    for (uint32_t r = 0; r < chunk->m; r++) {
        uint64_t element = task->walk.i_seq * params->q_seq_stride + chunk->i_new * params->q_token_stride +
                           (chunk->i_q_head + r) * params->q_head_stride;
        if (r < chunk->n_rows)
            skv_load_row(queries + element * q_bytes, params->q_dtype, d, q + (size_t)r * d);
        else
            memset(q + (size_t)r * d, 0, d * sizeof *q);
    }
    chunk->exists = task->n_tokens + chunk->i_new >= params->n_new;
    chunk->position = chunk->exists ? task->n_tokens + chunk->i_new - params->n_new : 0;
    for (int source = 0; source < SKV_CPU_SOURCE_COUNT; source++) {
        struct skv_cpu_state *state = &chunk->state[source];
        if (!state->kernel)
            continue;
        state->kernel->prepare(q, d, state->qp);
        memset(state->o, 0, (size_t)chunk->m * SKV_CPU_D_PAD(d) * sizeof *state->o);
        for (uint32_t r = 0; r < chunk->m; r++) {
            state->mx[r] = -INFINITY;
            state->sum[r] = 0;
        }
    }
}

/* Normalized results of the chunk's states, as parts to merge: out [source][m][head_dim], lse [source][m]. */
static uint32_t finish_states(const struct skv_cpu_chunk *chunk, uint32_t d, float *out, float *lse)
{
    uint32_t n_parts = 0;
    for (int source = 0; source < SKV_CPU_SOURCE_COUNT; source++) {
        const struct skv_cpu_state *state = &chunk->state[source];
        if (!state->kernel)
            continue;
        float *part = out + (size_t)n_parts * SKV_CPU_M_MAX * d;
        state->kernel->finish(state->o, d, part);
        for (uint32_t r = 0; r < chunk->n_rows; r++) {
            float sum = state->sum[r], scale = sum != 0 ? 1 / sum : 0;
            for (uint32_t c = 0; c < d; c++)
                part[(size_t)r * d + c] *= scale;
            lse[n_parts * SKV_CPU_M_MAX + r] = sum != 0 ? state->mx[r] + logf(sum) : -INFINITY;
        }
        n_parts++;
    }
    return n_parts;
}

static inline uint64_t row_index(const struct skv_attend_params *params, uint32_t i_seq, uint64_t i_new,
                                 uint64_t i_q_head)
{
    return ((uint64_t)i_seq * params->n_new + i_new) * params->n_q_heads + i_q_head;
}

/* Merges parts of one query row into the output. */
static void write_row(const struct attend_job *job, uint32_t i_seq, uint64_t i_new, uint64_t i_q_head,
                      const float *part_out, size_t out_stride, const float *part_lse, size_t lse_stride,
                      uint64_t n_parts)
{
    const struct skv_attend_params *params = job->pass.params;
    const float *sinks = skv_host(params->sink_logits);
    float *lse = skv_host(params->lse);
    uint64_t element =
        i_seq * params->out_seq_stride + i_new * params->out_token_stride + i_q_head * params->out_head_stride;
    skv_cpu_merge_row(part_out, out_stride, part_lse, lse_stride, n_parts, sinks ? sinks + i_q_head : NULL,
                      params->head_dim, params->out_dtype,
                      (char *)skv_host(params->out) + element * skv_dtype_bytes((skv_dtype)params->out_dtype),
                      lse ? lse + row_index(params, i_seq, i_new, i_q_head) : NULL);
}

/* Each row's result goes to its split's place in the workspace, or with one split to the output. */
static void finish_chunk(const struct task *task, const struct skv_cpu_chunk *chunk)
{
    const struct attend_job *job = task->job;
    const struct skv_attend_params *params = job->pass.params;
    uint32_t d = params->head_dim;
    float out[SKV_CPU_SOURCE_COUNT * SKV_CPU_M_MAX * SKV_HEAD_DIM_MAX], lse[SKV_CPU_SOURCE_COUNT * SKV_CPU_M_MAX];
    uint32_t n_parts = finish_states(chunk, d, out, lse);
    size_t out_stride = (size_t)SKV_CPU_M_MAX * d;
    for (uint32_t r = 0; r < chunk->n_rows; r++) {
        const float *row = out + (size_t)r * d;
        if (job->plan->n_splits == 1) {
            write_row(job, task->walk.i_seq, chunk->i_new, chunk->i_q_head + r, row, out_stride, lse + r, SKV_CPU_M_MAX,
                      n_parts);
            continue;
        }
        uint64_t i_part = task->i_split * row_index(params, params->n_seqs, 0, 0) +
                          row_index(params, task->walk.i_seq, chunk->i_new, chunk->i_q_head + r);
        skv_cpu_merge_row(row, out_stride, lse + r, SKV_CPU_M_MAX, n_parts, NULL, d, SKV_F32,
                          job->part_out + i_part * d, job->part_lse + i_part);
    }
}

/* Cuts the query rows of one head from *i_row on (i_new * group + g) into chunks, as many as there is room for; `used`
 * floats of the memory are taken. Returns how many floats are then. */
static size_t cut_head(const struct task *task, uint32_t i_head, uint32_t *i_row, float *memory, size_t used,
                       struct skv_cpu_chunk *chunks, uint32_t *n_chunks)
{
    const struct attend_job *job = task->job;
    const struct skv_attend_params *params = job->pass.params;
    uint32_t n_rows = params->n_new * job->group;
    size_t pad = SKV_CPU_D_PAD(params->head_dim);
    bool records = job->pass.single && task->walk.first < task->walk.cache_tokens;
    bool dense = !job->pass.single || task->walk.end > task->walk.cache_tokens;
    while (*i_row < n_rows && *n_chunks < PASS_CHUNKS) {
        struct skv_cpu_chunk *chunk = &chunks[*n_chunks];
        uint32_t g = *i_row % job->group, left = job->group - g;
        memset(chunk, 0, sizeof *chunk);
        for (int source = 0; source < SKV_CPU_SOURCE_COUNT; source++) {
            const struct skv_cpu_attend *kernel = find_kernel(job, (enum skv_cpu_source)source, left, &chunk->m);
            chunk->state[source].kernel = (source == SKV_CPU_DENSE ? dense : records) ? kernel : NULL;
        }
        size_t state_floats = 2 * chunk->m * pad + 2 * SKV_CPU_M_MAX;
        if (used + state_floats > STATE_FLOATS)
            break;
        chunk->n_rows = left < chunk->m ? left : chunk->m;
        chunk->i_new = *i_row / job->group;
        chunk->i_head = i_head;
        chunk->i_q_head = (uint64_t)i_head * job->group + g;
        for (int source = 0; source < SKV_CPU_SOURCE_COUNT; source++) {
            struct skv_cpu_state *state = &chunk->state[source];
            if (!state->kernel)
                continue;
            state->mx = memory + source * STATE_FLOATS + used;
            state->sum = state->mx + SKV_CPU_M_MAX;
            state->qp = state->mx + 2 * SKV_CPU_M_MAX;
            state->o = state->qp + chunk->m * pad;
        }
        used += state_floats;
        *i_row += chunk->n_rows;
        ++*n_chunks;
    }
    return used;
}

/* Cuts chunks for one pass, from row *i_row of head *i_head on, which then stand at the next pass: whole heads, as many
 * as there is room for up to `end`, or a part of one. Returns their number. */
static uint32_t cut_chunks(const struct task *task, uint32_t *i_head, uint32_t *i_row, uint32_t end, float *memory,
                           struct skv_cpu_chunk *chunks)
{
    uint32_t n_rows = task->job->pass.params->n_new * task->job->group, n_chunks = 0;
    bool whole = *i_row == 0;
    size_t used = 0;
    do {
        uint32_t before = n_chunks;
        used = cut_head(task, *i_head, i_row, memory, used, chunks, &n_chunks);
        if (*i_row < n_rows) {
            if (before == 0)
                return n_chunks;
            *i_row = 0;
            return before;
        }
        *i_row = 0;
        ++*i_head;
    } while (whole && *i_head < end);
    return n_chunks;
}

static void attend_task(void *context, size_t i_task)
{
    const struct attend_job *job = context;
    const struct skv_attend_params *params = job->pass.params;
    const int32_t *cache_lens = skv_host(params->cache_lens), *tail_lens = skv_host(params->tail_lens);
    struct task task = {.job = job, .walk.params = params};
    struct skv_cpu_walk *walk = &task.walk;
    uint32_t n_parts = (params->n_kv_heads + job->task_heads - 1) / job->task_heads;
    /* Splits of one head follow each other, so that neighbouring tasks read neighbouring memory. */
    task.i_split = (uint32_t)(i_task % job->plan->n_splits);
    uint32_t i_head = (uint32_t)(i_task / job->plan->n_splits % n_parts) * job->task_heads;
    uint32_t end = params->n_kv_heads - i_head < job->task_heads ? params->n_kv_heads : i_head + job->task_heads;
    walk->i_seq = (uint32_t)(i_task / job->plan->n_splits / n_parts);
    walk->cache_tokens = cache_lens ? (uint64_t)cache_lens[walk->i_seq] : params->max_cache_tokens;
    task.n_tokens = walk->cache_tokens + (tail_lens ? (uint64_t)tail_lens[walk->i_seq] : params->max_tail_tokens);
    walk->first = (uint64_t)task.i_split * job->plan->split_tokens;
    walk->end =
        task.n_tokens < walk->first + job->plan->split_tokens ? task.n_tokens : walk->first + job->plan->split_tokens;

    _Alignas(64) float memory[SKV_CPU_SOURCE_COUNT * STATE_FLOATS];
    struct skv_cpu_chunk chunks[PASS_CHUNKS];
    for (uint32_t i_row = 0; i_head < end;) {
        uint32_t n_chunks = cut_chunks(&task, &i_head, &i_row, end, memory, chunks);
        for (uint32_t i = 0; i < n_chunks; i++)
            start_chunk(&task, &chunks[i]);
        skv_cpu_pass_run(&job->pass, walk, chunks, n_chunks);
        for (uint32_t i = 0; i < n_chunks; i++)
            finish_chunk(&task, &chunks[i]);
    }
}

/* KV heads that a task takes: all of them where the tokens alone make enough tasks for the threads. The tail is left
 * one head to a task, which is how its rows follow each other in most engines. Results do not depend on it. */
static uint32_t choose_task_heads(const struct skv_attend_params *params, const struct skv_attend_plan *plan,
                                  uint32_t n_threads)
{
    uint64_t n_tasks = (uint64_t)params->n_seqs * plan->n_splits;
    uint32_t heads = params->max_cache_tokens ? params->n_kv_heads : 1;
    while (heads > 1 && n_tasks * ((params->n_kv_heads + heads - 1) / heads) < TASKS_PER_THREAD * (uint64_t)n_threads)
        heads = (heads + 1) / 2;
    return heads;
}

/* Which tiles go in batches. Memory then comes in longer runs, and scores have to wait, which costs more than it brings
 * where the processor's own prefetchers do the work: for records of few query rows, and for dense rows unless they take
 * no time at all. */
static void choose_batches(struct attend_job *job)
{
    const struct skv_attend_params *params = job->pass.params;
    const struct skv_layout *layout = params->k_pool.layout;
    if (!job->pass.single)
        return;
    if (!job->pass.kernels->habits.streams) {
        job->pass.batches[SKV_CPU_DENSE] = job->pass.batches[SKV_CPU_RECORDS] = true;
        return;
    }
    job->pass.batches[SKV_CPU_DENSE] = job->group == 1 && job->pass.math == SKV_CPU_BF16_DOT;
    job->pass.batches[SKV_CPU_RECORDS] =
        params->max_cache_tokens && job->task_heads > 1 &&
        (job->group > 2 || (job->group == 2 && layout->head[0].row_stride >= 2 * SKV_CPU_LINE_BYTES));
}

/* Merges the splits of one query row. */
static void merge_task(void *context, size_t i_row)
{
    const struct attend_job *job = context;
    const struct skv_attend_params *params = job->pass.params;
    uint64_t n_rows = row_index(params, params->n_seqs, 0, 0), per_seq = (uint64_t)params->n_new * params->n_q_heads;
    write_row(job, (uint32_t)(i_row / per_seq), i_row % per_seq / params->n_q_heads, i_row % params->n_q_heads,
              job->part_out + i_row * params->head_dim, n_rows * params->head_dim, job->part_lse + i_row, n_rows,
              job->plan->n_splits);
}

enum skv_status skv_cpu_attend(struct skv_queue *queue, const struct skv_attend_params *params,
                               const struct skv_attend_plan *plan)
{
    struct skv_cpu_device *cpu = skv_cpu_device_of(queue);
    struct attend_job job = {
        .pass = {.kernels = &cpu->kernels,
                 .params = params,
                 .math = params->dtype == SKV_F16 ? SKV_CPU_F16 : SKV_CPU_BF16},
        .plan = plan,
        .group = params->n_q_heads / params->n_kv_heads,
    };
    job.pass.single = params->n_new == 1 && job.group <= SKV_CPU_M_MAX;
    /* A binary32 query would lose bits in a bf16 dot product. */
    if (params->dtype == SKV_BF16 && params->q_dtype == SKV_BF16 &&
        cpu->kernels.attend[SKV_CPU_BF16_DOT][SKV_CPU_DENSE][0].qk)
        job.pass.math = SKV_CPU_BF16_DOT;
    if (plan->n_splits > 1) {
        char *workspace = skv_host(params->workspace);
        job.part_out = (float *)(workspace + plan->part_out_offset);
        job.part_lse = (float *)(workspace + plan->part_lse_offset);
    }
    job.task_heads = choose_task_heads(params, plan, skv_cpu_pool_threads(cpu->pool));
    choose_batches(&job);
    uint32_t n_head_parts = (params->n_kv_heads + job.task_heads - 1) / job.task_heads;
    skv_cpu_pool_run(cpu->pool, attend_task, &job, (size_t)params->n_seqs * n_head_parts * plan->n_splits);
    if (plan->n_splits > 1)
        skv_cpu_pool_run(cpu->pool, merge_task, &job, (size_t)row_index(params, params->n_seqs, 0, 0));

    uint32_t m;
    const struct skv_cpu_attend *kernel =
        find_kernel(&job, job.pass.single && params->max_cache_tokens ? SKV_CPU_RECORDS : SKV_CPU_DENSE, job.group, &m);
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "attend %s%s%s", kernel->name,
             !job.pass.single && params->max_cache_tokens ? " of expanded tiles" : "",
             plan->n_splits > 1 ? " + merge" : "");
    return SKV_OK;
}
