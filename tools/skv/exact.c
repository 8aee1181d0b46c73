/* SPDX-License-Identifier: Apache-2.0 */
#include "exact.h"

#include <math.h>

#include "tool.h"

static double value_of(const struct exact_head *head, uint16_t bits)
{
    return head->bf16 ? tool_bf16(bits) : tool_f16(bits);
}

void exact_attention(const struct exact_head *head, const uint16_t *query, double *weights, double *out)
{
    double most = -INFINITY, sum = 0, scale = 1 / sqrt((double)head->head_dim);
    for (uint32_t t = 0; t < head->n_tokens; t++) {
        double score = 0;
        for (uint32_t c = 0; c < head->head_dim; c++)
            score += value_of(head, query[c]) * value_of(head, head->k[(uint64_t)t * head->head_dim + c]);
        weights[t] = score * scale;
        most = fmax(most, weights[t]);
    }
    for (uint32_t t = 0; t < head->n_tokens; t++)
        sum += weights[t] = exp(weights[t] - most);
    for (uint32_t t = 0; t < head->n_tokens; t++)
        weights[t] /= sum;
    if (!out)
        return;
    for (uint32_t c = 0; c < head->head_dim; c++) {
        out[c] = 0;
        for (uint32_t t = 0; t < head->n_tokens; t++)
            out[c] += weights[t] * value_of(head, head->v[(uint64_t)t * head->head_dim + c]);
    }
}

double exact_divergence(const double *a, const double *b, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        if (a[i] > 0)
            sum += a[i] * log(a[i] / fmax(b[i], 1e-300));
    return sum;
}
