/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention in double precision on dense rows, to judge the library by.
 */
#ifndef SKV_TOOL_EXACT_H
#define SKV_TOOL_EXACT_H

#include <stdbool.h>
#include <stdint.h>

/* fp16 or bf16 rows of one head, [n_tokens][head_dim]. */
struct exact_head {
    const uint16_t *k, *v;
    uint32_t n_tokens, head_dim;
    bool bf16;
};

/* Weights over all tokens, and, where out is not NULL, the output of one query of the rows' type. */
void exact_attention(const struct exact_head *head, const uint16_t *query, double *weights, double *out);

/* Kullback-Leibler divergence of b from a, in nats. */
double exact_divergence(const double *a, const double *b, uint32_t n);

#endif
