/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "backends/cpu/cpu.h"
#include "backends/cpu/pages.h"

struct decompress_job {
    const struct skv_cpu_kernels *kernels;
    const struct skv_decompress_params *params;
    const int64_t *slots; /* NULL: first_slot + i */
};

/* In the order in which rows are written; records are asked for some tokens before, since the heads' pages are more
 * streams than hardware follows. */
#define AHEAD_TOKENS 16

static const uint8_t *find_record(const struct decompress_job *job, uint64_t i_token, uint32_t i_head)
{
    int64_t slot = job->slots ? job->slots[i_token] : (int64_t)(job->params->first_slot + i_token);
    return slot < 0 ? NULL : skv_cpu_record(&job->params->pool, (uint64_t)slot, i_head);
}

static void decompress_row(const struct decompress_job *job, uint64_t i_token, uint32_t i_head)
{
    const struct skv_decompress_params *params = job->params;
    const struct skv_layout *layout = params->pool.layout;
    uint16_t *row =
        (uint16_t *)skv_host(params->out.data) + i_token * params->out.token_stride + i_head * params->out.head_stride;
    const uint8_t *record = find_record(job, i_token, i_head);
    if (record)
        job->kernels->unpack(record, layout->head_dim, row);
    else
        memset(row, 0, layout->head_dim * sizeof *row);
}

static void decompress_task(void *context, size_t i_task)
{
    const struct decompress_job *job = context;
    const struct skv_decompress_params *params = job->params;
    const struct skv_layout *layout = params->pool.layout;
    uint64_t first = (uint64_t)i_task * SKV_CPU_ROWS_MAX;
    uint64_t end = params->n_tokens - first < SKV_CPU_ROWS_MAX ? params->n_tokens : first + SKV_CPU_ROWS_MAX;
    bool ahead = layout->form == SKV_FIXED;
    for (uint64_t t = first; t < end; t++)
        for (uint32_t h = 0; h < layout->n_kv_heads; h++) {
            if (ahead && t + AHEAD_TOKENS < params->n_tokens) {
                const uint8_t *record = find_record(job, t + AHEAD_TOKENS, h);
                for (uint32_t byte = 0; record && byte < layout->head[h].record_bytes; byte += SKV_CPU_LINE_BYTES)
                    __builtin_prefetch(record + byte, 0, 2);
            }
            decompress_row(job, t, h);
        }
}

enum skv_status skv_cpu_decompress(struct skv_queue *queue, const struct skv_decompress_params *params)
{
    struct skv_cpu_device *cpu = skv_cpu_device_of(queue);
    struct decompress_job job = {&cpu->kernels, params, skv_host(params->slot_mapping)};
    skv_cpu_pool_run(cpu->pool, decompress_task, &job, (params->n_tokens + SKV_CPU_ROWS_MAX - 1) / SKV_CPU_ROWS_MAX);
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "decompress %s", cpu->kernels.isa);
    return SKV_OK;
}
