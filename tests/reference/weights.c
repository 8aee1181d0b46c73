/* SPDX-License-Identifier: Apache-2.0
 *
 * Channel weights, as skv_weights_kind defines them.
 */
#include "tests/reference/reference.h"

#include <math.h>

static double sum(unsigned kind, unsigned type, uint64_t n_tokens, const struct ref_rows *rows, unsigned i_head,
                  unsigned i_channel)
{
    double total = 0;
    for (uint64_t t = 0; t < n_tokens; t++) {
        double x = ref_value(type, rows->values[t * rows->token_stride + i_head * rows->head_stride + i_channel]);
        total += kind == SKV_WEIGHTS_NORM ? x * x : fabs(x);
    }
    return total;
}

uint64_t ref_channel_weights(unsigned kind, unsigned type, unsigned d, unsigned n_heads, unsigned n_q_heads,
                             uint64_t n_queries, const struct ref_rows *queries, uint64_t n_tokens,
                             const struct ref_rows *rows, double *weights)
{
    unsigned group = n_q_heads / n_heads;
    for (unsigned h = 0; h < n_heads; h++) {
        for (unsigned c = 0; c < d; c++) {
            double of_queries = 0, of_rows = rows->values ? sum(kind, type, n_tokens, rows, h, c) : 0;
            for (unsigned g = 0; g < group && queries->values; g++)
                of_queries += sum(kind, type, n_queries, queries, h * group + g, c);
            if (kind == SKV_WEIGHTS_QUERY_ABS)
                weights[h * d + c] = of_queries;
            else
                weights[h * d + c] = sqrt(of_rows) * (queries->values ? sqrt(of_queries) : 1);
        }
    }
    uint64_t n_terms = queries->values ? n_queries * group : 0;
    return kind == SKV_WEIGHTS_NORM && n_tokens > n_terms ? n_tokens : n_terms;
}
