/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backends/cpu/cpu.h"
#include "core/numbers.h"

/* Rows that one task handles. */
#define TASK_ROWS 16

void skv_cpu_merge_row(const float *part_out, size_t out_stride, const float *part_lse, size_t lse_stride,
                       uint64_t n_parts, const float *sink, uint32_t head_dim, uint32_t out_dtype, void *out,
                       float *lse)
{
    /* What is alone has weight 1. */
    if (n_parts == 1 && !sink && *part_lse != -INFINITY) {
        skv_store_row(part_out, out_dtype, head_dim, out);
        if (lse)
            *lse = *part_lse;
        return;
    }
    float most = sink ? *sink : -INFINITY;
    for (uint64_t p = 0; p < n_parts; p++) {
        float part = part_lse[p * lse_stride];
        most = part > most || isnan(part) ? part : most;
    }
    float sum[SKV_HEAD_DIM_MAX], total = sink && *sink != -INFINITY ? expf(*sink - most) : 0;
    memset(sum, 0, head_dim * sizeof *sum);
    for (uint64_t p = 0; p < n_parts; p++) {
        float part = part_lse[p * lse_stride];
        if (part == -INFINITY)
            continue;
        float weight = expf(part - most);
        const float *from = part_out + p * out_stride;
        total += weight;
        for (uint32_t c = 0; c < head_dim; c++)
            sum[c] += weight * from[c];
    }
    float scale = total != 0 ? 1 / total : 0;
    for (uint32_t c = 0; c < head_dim; c++)
        sum[c] *= scale;
    skv_store_row(sum, out_dtype, head_dim, out);
    if (lse)
        *lse = total != 0 ? most + logf(total) : -INFINITY;
}

struct merge_job {
    const struct skv_merge_params *params;
};

static void merge_task(void *context, size_t i_task)
{
    const struct skv_merge_params *params = ((const struct merge_job *)context)->params;
    const float *part_out = skv_host(params->part_out), *part_lse = skv_host(params->part_lse);
    float *lse = skv_host(params->lse);
    size_t row_bytes = (size_t)params->head_dim * skv_dtype_bytes((skv_dtype)params->out_dtype);
    uint64_t first = (uint64_t)i_task * TASK_ROWS;
    uint64_t end = params->n_rows - first < TASK_ROWS ? params->n_rows : first + TASK_ROWS;
    for (uint64_t r = first; r < end; r++)
        skv_cpu_merge_row(part_out + r * params->head_dim, params->n_rows * params->head_dim, part_lse + r,
                          params->n_rows, params->n_parts, NULL, params->head_dim, params->out_dtype,
                          (char *)skv_host(params->out) + r * row_bytes, lse ? lse + r : NULL);
}

enum skv_status skv_cpu_merge(struct skv_queue *queue, const struct skv_merge_params *params)
{
    struct merge_job job = {params};
    skv_cpu_pool_run(skv_cpu_device_of(queue)->pool, merge_task, &job, (params->n_rows + TASK_ROWS - 1) / TASK_ROWS);
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "merge portable");
    return SKV_OK;
}
