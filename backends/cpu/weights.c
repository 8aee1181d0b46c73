/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#include "backends/cpu/cpu.h"
#include "core/numbers.h"

struct weights_job {
    const struct skv_channel_weights_params *params;
};

/* Adds |x| or x^2 of n_rows rows, stride elements apart, to sum[head_dim]. Sums are double, so that the error stays
 * that of the final rounding however many tokens there are. */
static void add_rows(const struct skv_channel_weights_params *params, const uint16_t *row, uint64_t stride,
                     uint64_t n_rows, bool squared, double *sum)
{
    float values[SKV_HEAD_DIM_MAX];
    for (uint64_t i = 0; i < n_rows; i++, row += stride) {
        skv_load_row(row, params->dtype, params->head_dim, values);
        for (uint32_t c = 0; c < params->head_dim; c++)
            sum[c] += squared ? (double)values[c] * values[c] : fabs((double)values[c]);
    }
}

static void weights_task(void *context, size_t i_head)
{
    const struct skv_channel_weights_params *params = ((const struct weights_job *)context)->params;
    bool norm = params->kind == SKV_WEIGHTS_NORM;
    double of_queries[SKV_HEAD_DIM_MAX] = {0}, of_rows[SKV_HEAD_DIM_MAX] = {0};
    const uint16_t *queries = skv_host(params->queries.data), *rows = skv_host(params->rows.data);
    if (queries) {
        uint32_t group = params->n_q_heads / params->n_kv_heads;
        for (uint32_t g = 0; g < group; g++)
            add_rows(params, queries + (i_head * group + g) * params->queries.head_stride, params->queries.token_stride,
                     params->n_queries, norm, of_queries);
    }
    if (norm)
        add_rows(params, rows + i_head * params->rows.head_stride, params->rows.token_stride, params->n_tokens, true,
                 of_rows);
    float *weights = (float *)skv_host(params->weights) + i_head * params->head_dim;
    for (uint32_t c = 0; c < params->head_dim; c++) {
        double by_rows = norm ? sqrt(of_rows[c]) : 1, by_queries = norm ? sqrt(of_queries[c]) : of_queries[c];
        weights[c] = (float)(queries ? by_queries * by_rows : by_rows);
    }
}

enum skv_status skv_cpu_channel_weights(struct skv_queue *queue, const struct skv_channel_weights_params *params)
{
    struct weights_job job = {params};
    skv_cpu_pool_run(skv_cpu_device_of(queue)->pool, weights_task, &job, params->n_kv_heads);
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "channel_weights portable");
    return SKV_OK;
}
