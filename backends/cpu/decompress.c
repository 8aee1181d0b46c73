/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "backends/cpu/cpu.h"
#include "backends/cpu/pages.h"

struct decompress_job {
    const struct skv_cpu_kernels *kernels;
    const struct skv_decompress_params *params;
    const int64_t *slots; /* NULL: first_slot + i */
};

static void decompress_task(void *context, size_t i_task)
{
    const struct decompress_job *job = context;
    const struct skv_decompress_params *params = job->params;
    const struct skv_layout *layout = params->pool.layout;
    uint16_t *out = skv_host(params->out.data);
    uint64_t first = (uint64_t)i_task * SKV_CPU_ROWS_MAX;
    uint64_t end = params->n_tokens - first < SKV_CPU_ROWS_MAX ? params->n_tokens : first + SKV_CPU_ROWS_MAX;
    for (uint64_t t = first; t < end; t++) {
        int64_t slot = job->slots ? job->slots[t] : (int64_t)(params->first_slot + t);
        for (uint32_t h = 0; h < layout->n_kv_heads; h++) {
            uint16_t *row = out + t * params->out.token_stride + h * params->out.head_stride;
            if (slot < 0)
                memset(row, 0, layout->head_dim * sizeof *row);
            else
                job->kernels->unpack(skv_cpu_record(&params->pool, (uint64_t)slot, h), layout->head_dim, row);
        }
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
