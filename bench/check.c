/* SPDX-License-Identifier: Apache-2.0
 *
 * The error beside the speed.
 */
#include "bench.h"

#include <math.h>
#include <stdlib.h>

#include "tools/skv/exact.h"

/* The kept values of the last KV head of the last sequence. */
static bool read_kept(struct bench *bench, const struct bench_shape *shape, int i, skv_buffer *rows, uint16_t *to)
{
    const struct bench_cache *cache = &bench->cache;
    uint64_t head_bytes = shape->n_tokens * shape->head_dim * 2;
    skv_decompress_params expand = {.struct_size = sizeof expand,
                                    .n_tokens = shape->n_tokens,
                                    .pool = {cache->layout, {cache->pages[i], 0}, cache->n_blocks * cache->n_sets},
                                    .first_slot = (shape->n_seqs - 1) * cache->seq_blocks * cache->page_tokens,
                                    .out = {{rows, 0}, shape->head_dim, shape->n_tokens * shape->head_dim}};
    BENCH_TRY(bench, skv_decompress(bench->on->queue, &expand));
    BENCH_TRY(bench, skv_buffer_read(bench->on->queue, to, (skv_span){rows, (shape->n_kv_heads - 1) * head_bytes},
                                     head_bytes));
    return true;
}

static double distance(const double *exact, const uint16_t *found, uint32_t n, bool bf16)
{
    double apart = 0, length = 0;
    for (uint32_t c = 0; c < n; c++) {
        double value = bf16 ? tool_bf16(found[c]) : tool_f16(found[c]);
        apart += (value - exact[c]) * (value - exact[c]);
        length += exact[c] * exact[c];
    }
    return sqrt(apart / fmax(length, 1e-300));
}

bool bench_error(struct bench *bench, const struct bench_setting *setting, const skv_attend_params *attend,
                 double *error)
{
    const struct bench_shape *shape = setting->shape;
    uint64_t last = ((uint64_t)shape->n_seqs * shape->n_q_heads - 1) * shape->head_dim * 2;
    uint64_t n_values = shape->n_tokens * shape->head_dim;
    uint32_t query_bytes = shape->head_dim * 2;
    if (shape->n_tokens > UINT32_MAX)
        return bench_fail(bench, "unsupported", "no check of so many tokens");
    uint16_t *k = tool_alloc(n_values * 2), *v = tool_alloc(n_values * 2), *query = tool_alloc(query_bytes),
             *out = tool_alloc(query_bytes);
    double *weights = tool_alloc(shape->n_tokens * sizeof *weights), *exact = tool_alloc(query_bytes * sizeof *exact);
    skv_queue *queue = bench->on->queue;
    skv_buffer *rows = NULL;
    bool done = bench_ok(bench, skv_attend(queue, attend), "skv_attend") &&
                bench_ok(bench, skv_buffer_read(queue, query, (skv_span){attend->q.buffer, last}, query_bytes),
                         "skv_buffer_read") &&
                bench_ok(bench, skv_buffer_read(queue, out, (skv_span){attend->out.buffer, last}, query_bytes),
                         "skv_buffer_read") &&
                bench_buffer(bench, n_values * shape->n_kv_heads * 2, NULL, &rows) &&
                read_kept(bench, shape, 0, rows, k) && read_kept(bench, shape, 1, rows, v);
    if (done) {
        bool bf16 = setting->dtype == SKV_BF16;
        struct exact_head head = {k, v, (uint32_t)shape->n_tokens, shape->head_dim, bf16};
        exact_attention(&head, query, weights, exact);
        *error = distance(exact, out, shape->head_dim, bf16);
    }
    skv_buffer_destroy(rows);
    free(exact);
    free(weights);
    free(out);
    free(query);
    free(v);
    free(k);
    return done;
}
