/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "backends/cpu/select.h"

struct prune_job {
    struct skv_cpu_select select;
    const struct skv_prune_params *params;
};

static void prune_task(void *context, size_t i_task)
{
    const struct prune_job *job = context;
    const struct skv_cpu_select *select = &job->select;
    const struct skv_prune_params *params = job->params;
    uint64_t i_chunk = i_task / select->n_kv_heads, first = i_chunk * select->chunk_tokens;
    uint32_t i_head = (uint32_t)(i_task % select->n_kv_heads), n_words = select->n_words;
    uint64_t bitmap[SKV_CPU_ROWS_MAX * SKV_WORDS_MAX];
    skv_cpu_select_chunk(select, i_chunk, i_head, bitmap);

    uint16_t *out = skv_host(params->out.data);
    uint64_t *mask = skv_host(params->mask);
    uint32_t n = skv_cpu_select_chunk_size(select, i_chunk);
    for (uint32_t t = 0; t < n; t++) {
        const uint64_t *row_bitmap = bitmap + t * n_words;
        if (mask)
            memcpy(mask + ((first + t) * select->n_kv_heads + i_head) * n_words, row_bitmap,
                   n_words * sizeof *row_bitmap);
        if (!out)
            continue;
        const uint16_t *from = skv_cpu_select_row(select, first + t, i_head);
        uint16_t *to = out + (first + t) * params->out.token_stride + i_head * params->out.head_stride;
        for (uint32_t c = 0; c < select->head_dim; c++)
            to[c] = row_bitmap[c / 64] >> c % 64 & 1 ? from[c] : 0;
    }
}

enum skv_status skv_cpu_prune(struct skv_queue *queue, const struct skv_prune_params *params)
{
    struct skv_cpu_device *cpu = skv_cpu_device_of(queue);
    struct prune_job job = {.params = params};
    skv_cpu_select_init(&job.select, &cpu->kernels, &params->select, &params->in, params->dtype, params->head_dim,
                        params->n_kv_heads, params->n_tokens, NULL);
    skv_cpu_pool_run(cpu->pool, prune_task, &job, skv_cpu_select_chunks(&job.select) * params->n_kv_heads);
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "prune %s", cpu->kernels.isa);
    return SKV_OK;
}
