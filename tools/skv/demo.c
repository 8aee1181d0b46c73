/* SPDX-License-Identifier: Apache-2.0
 *
 * skv demo: a real model's KV cache, pruned, compressed, and attended in compressed form; what that costs in accuracy,
 * and what it gains in bytes and time.
 */
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "exact.h"
#include "sample.h"
#include "tool.h"

#define TAIL_TOKENS 32u /* newest tokens, kept dense */
#define PAGE_TOKENS 32u
#define SPEED_TOKENS 131072u /* the sample repeated, so that the cache leaves the processor's caches */
#define SPEED_ROUNDS 15

/* How keys and values are pruned. */
struct rule {
    const char *name;
    double sparsity;
    skv_strategy k, v;
};

static const struct rule rules[] = {
    {"magnitude", 0.5, SKV_TOKEN_MAGNITUDE, SKV_TOKEN_MAGNITUDE},
    {"magnitude", 0.7, SKV_TOKEN_MAGNITUDE, SKV_TOKEN_MAGNITUDE},
    {"magnitude", 0.9, SKV_TOKEN_MAGNITUDE, SKV_TOKEN_MAGNITUDE},
    {"output-aware keys", 0.7, SKV_TOKEN_WEIGHTED, SKV_TOKEN_MAGNITUDE},
    {"per-channel values", 0.7, SKV_TOKEN_MAGNITUDE, SKV_CHANNEL_MAGNITUDE},
    {"whole channels (ThinK)", 0.7, SKV_CHANNELS, SKV_CHANNELS},
};
#define N_RULES (sizeof rules / sizeof rules[0])

/* Keys or values of one layer in compressed form. */
struct cache {
    skv_layout *layout;
    skv_buffer *pages, *weights;
    uint64_t n_blocks, n_bytes;
};

static bool is_by_channel(skv_strategy strategy)
{
    return strategy == SKV_CHANNEL_MAGNITUDE;
}

static skv_layout *make_layout(const struct sample *sample, skv_strategy strategy, uint32_t kept, uint32_t page_tokens,
                               skv_dtype dtype)
{
    skv_layout_params params = {.struct_size = sizeof params,
                                .dtype = dtype,
                                .head_dim = sample->head_dim,
                                .n_kv_heads = sample->n_kv_heads,
                                .page_tokens = page_tokens,
                                .kept = kept};
    if (is_by_channel(strategy)) {
        params.form = SKV_RAGGED;
        params.kept = 0;
        TOOL_TRY(skv_ragged_page_bytes(sample->head_dim, page_tokens,
                                       (uint64_t)sample->head_dim * kept * (page_tokens / 32), &params.page_bytes));
    }
    skv_layout *layout;
    TOOL_TRY(skv_layout_create(&params, &layout));
    return layout;
}

/* Prunes and compresses the first n_tokens rows of head-major `rows`. The first half of the sample's queries is the
 * "recent window" that output-aware rules may look at; results are judged on the second half. */
static void compress(struct tool_device *on, const struct sample *sample, skv_buffer *rows, skv_buffer *queries,
                     uint32_t n_tokens, const struct rule *rule, bool keys, uint32_t page_tokens, skv_dtype dtype,
                     struct cache *cache)
{
    skv_strategy strategy = keys ? rule->k : rule->v;
    uint32_t kept, channels = is_by_channel(strategy) ? 32 : sample->head_dim, d = sample->head_dim;
    TOOL_TRY(skv_kept_for_sparsity(channels, rule->sparsity, 1, &kept));
    cache->layout = make_layout(sample, strategy, kept, page_tokens, dtype);
    TOOL_TRY(skv_layout_blocks(cache->layout, n_tokens, &cache->n_blocks));
    TOOL_TRY(skv_layout_pool_bytes(cache->layout, cache->n_blocks, &cache->n_bytes));
    cache->pages = tool_buffer(on, cache->n_bytes, NULL);
    cache->weights = tool_buffer(on, (uint64_t)sample->n_kv_heads * d * 4, NULL);
    skv_rows in = {{rows, 0}, d, (uint64_t)sample->n_tokens * d};
    if (strategy == SKV_TOKEN_WEIGHTED || strategy == SKV_CHANNELS) {
        skv_channel_weights_params weights = {.struct_size = sizeof weights,
                                              .kind =
                                                  strategy == SKV_CHANNELS ? SKV_WEIGHTS_NORM : SKV_WEIGHTS_QUERY_ABS,
                                              .head_dim = d,
                                              .n_kv_heads = sample->n_kv_heads,
                                              .n_q_heads = sample->n_q_heads,
                                              .n_queries = sample->n_queries / 2,
                                              .n_tokens = n_tokens,
                                              .rows = in,
                                              .weights = {cache->weights, 0}};
        if (keys)
            weights.queries = (skv_rows){{queries, 0}, d, (uint64_t)sample->n_queries * d};
        TOOL_TRY(skv_channel_weights(on->queue, &weights));
    }
    skv_compress_params params = {.struct_size = sizeof params,
                                  .n_tokens = n_tokens,
                                  .in = in,
                                  .pool = {cache->layout, {cache->pages, 0}, cache->n_blocks},
                                  .select = {.strategy = (uint32_t)strategy, .kept = kept}};
    if (strategy == SKV_TOKEN_WEIGHTED || strategy == SKV_CHANNELS)
        params.select.weights.buffer = cache->weights;
    TOOL_TRY(skv_compress(on->queue, &params));
}

static void free_cache(struct cache *cache)
{
    skv_buffer_destroy(cache->pages);
    skv_buffer_destroy(cache->weights);
    skv_layout_destroy(cache->layout);
}

/* Block i of the only sequence is block i of the pools. */
static skv_buffer *plain_table(struct tool_device *on, uint64_t n_blocks)
{
    int32_t *table = tool_alloc(n_blocks * sizeof *table);
    for (uint64_t i = 0; i < n_blocks; i++)
        table[i] = (int32_t)i;
    skv_buffer *buffer = tool_buffer(on, n_blocks * sizeof *table, table);
    free(table);
    return buffer;
}

struct accuracy {
    double error, divergence; /* relative 2-norm of the output's error; mean KL divergence of the weights, nats */
    uint64_t bytes, dense_bytes;
};

/* Dense rows of the pruned keys: the cache's tokens expanded, the tail as it was. */
static uint16_t *expand_keys(struct tool_device *on, const struct sample *sample, const struct sample_layer *layer,
                             const struct cache *cache, uint32_t n_cached)
{
    size_t n_values = (size_t)sample->n_kv_heads * sample->n_tokens * sample->head_dim;
    skv_buffer *dense = tool_buffer(on, n_values * 2, layer->k);
    skv_decompress_params params = {
        .struct_size = sizeof params,
        .n_tokens = n_cached,
        .pool = {cache->layout, {cache->pages, 0}, cache->n_blocks},
        .out = {{dense, 0}, sample->head_dim, (uint64_t)sample->n_tokens * sample->head_dim}};
    TOOL_TRY(skv_decompress(on->queue, &params));
    uint16_t *rows = tool_alloc(n_values * 2);
    TOOL_TRY(skv_buffer_read(on->queue, rows, (skv_span){dense, 0}, n_values * 2));
    skv_buffer_destroy(dense);
    return rows;
}

static void attend(struct tool_device *on, const struct sample *sample, const struct cache *k, const struct cache *v,
                   skv_buffer *k_rows, skv_buffer *v_rows, skv_buffer *queries, uint32_t n_cached, float *out)
{
    uint32_t d = sample->head_dim, n_new = sample->n_queries / 2;
    uint64_t out_values = (uint64_t)n_new * sample->n_q_heads * d, workspace_bytes;
    skv_buffer *result = tool_buffer(on, out_values * 4, NULL), *table = plain_table(on, k->n_blocks);
    skv_attend_params params = {.struct_size = sizeof params,
                                .n_seqs = 1,
                                .n_new = n_new,
                                .n_q_heads = sample->n_q_heads,
                                .n_kv_heads = sample->n_kv_heads,
                                .head_dim = d,
                                .out_dtype = SKV_F32,
                                .q = {queries, (uint64_t)(sample->n_queries - n_new) * d * 2},
                                .q_token_stride = d,
                                .q_head_stride = (uint64_t)sample->n_queries * d,
                                .out = {result, 0},
                                .k_pool = {k->layout, {k->pages, 0}, k->n_blocks},
                                .v_pool = {v->layout, {v->pages, 0}, v->n_blocks},
                                .k_blocks = {table, 0},
                                .max_cache_tokens = n_cached,
                                .k_tail = {k_rows, (uint64_t)n_cached * d * 2},
                                .v_tail = {v_rows, (uint64_t)n_cached * d * 2},
                                .tail_token_stride = d,
                                .tail_head_stride = (uint64_t)sample->n_tokens * d,
                                .max_tail_tokens = sample->n_tokens - n_cached};
    TOOL_TRY(skv_attend_workspace(on->device, &params, &workspace_bytes));
    params.workspace.buffer = tool_buffer(on, workspace_bytes, NULL);
    TOOL_TRY(skv_attend(on->queue, &params));
    TOOL_TRY(skv_buffer_read(on->queue, out, params.out, out_values * 4));
    skv_buffer_destroy(params.workspace.buffer);
    skv_buffer_destroy(result);
    skv_buffer_destroy(table);
}

/* Compares with exact attention on the unpruned rows. */
static void judge(const struct sample *sample, const struct sample_layer *layer, const uint16_t *pruned_k,
                  const float *out, struct accuracy *accuracy)
{
    uint32_t d = sample->head_dim, n_new = sample->n_queries / 2, group = sample->n_q_heads / sample->n_kv_heads;
    double *exact = tool_alloc(sample->n_tokens * sizeof *exact),
           *pruned = tool_alloc(sample->n_tokens * sizeof *pruned);
    double *want = tool_alloc(d * sizeof *want), error = 0, norm = 0, divergence = 0;
    for (uint32_t h = 0; h < sample->n_q_heads; h++)
        for (uint32_t i = 0; i < n_new; i++) {
            size_t head_offset = (size_t)(h / group) * sample->n_tokens * d;
            struct exact_head head = {layer->k + head_offset, layer->v + head_offset, sample->n_tokens - n_new + i + 1,
                                      d, false};
            const uint16_t *query = layer->q + ((size_t)h * sample->n_queries + sample->n_queries - n_new + i) * d;
            exact_attention(&head, query, exact, want);
            head.k = pruned_k + head_offset;
            exact_attention(&head, query, pruned, NULL);
            divergence += exact_divergence(exact, pruned, head.n_tokens) / (sample->n_q_heads * n_new);
            const float *got = out + ((size_t)i * sample->n_q_heads + h) * d;
            for (uint32_t c = 0; c < d; c++) {
                error += (got[c] - want[c]) * (got[c] - want[c]);
                norm += want[c] * want[c];
            }
        }
    accuracy->error = sqrt(error / norm);
    accuracy->divergence = divergence;
    free(exact);
    free(pruned);
    free(want);
}

static void measure_accuracy(struct tool_device *on, const struct sample *sample, const struct sample_layer *layer,
                             const struct rule *rule, struct accuracy *accuracy)
{
    uint32_t n_cached = sample->n_tokens - TAIL_TOKENS, d = sample->head_dim;
    uint64_t rows_bytes = (uint64_t)sample->n_kv_heads * sample->n_tokens * d * 2;
    skv_buffer *k_rows = tool_buffer(on, rows_bytes, layer->k), *v_rows = tool_buffer(on, rows_bytes, layer->v);
    skv_buffer *queries = tool_buffer(on, (uint64_t)sample->n_q_heads * sample->n_queries * d * 2, layer->q);
    struct cache k, v;
    compress(on, sample, k_rows, queries, n_cached, rule, true, PAGE_TOKENS, SKV_F16, &k);
    compress(on, sample, v_rows, queries, n_cached, rule, false, PAGE_TOKENS, SKV_F16, &v);
    float *out = tool_alloc((size_t)sample->n_q_heads * sample->n_queries * d * sizeof *out);
    attend(on, sample, &k, &v, k_rows, v_rows, queries, n_cached, out);
    uint16_t *pruned_k = expand_keys(on, sample, layer, &k, n_cached);
    judge(sample, layer, pruned_k, out, accuracy);
    accuracy->bytes = k.n_bytes + v.n_bytes;
    accuracy->dense_bytes = 2 * (uint64_t)sample->n_kv_heads * n_cached * d * 2;
    free(pruned_k);
    free(out);
    free_cache(&k);
    free_cache(&v);
    skv_buffer_destroy(queries);
    skv_buffer_destroy(k_rows);
    skv_buffer_destroy(v_rows);
}

static uint16_t to_bf16(uint16_t f16)
{
    float value = (float)tool_f16(f16);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

/* fp16 values in the storage type that is timed. */
static skv_buffer *store(struct tool_device *on, uint16_t *values, size_t n, skv_dtype dtype)
{
    for (size_t i = 0; dtype == SKV_BF16 && i < n; i++)
        values[i] = to_bf16(values[i]);
    skv_buffer *buffer = tool_buffer(on, n * 2, values);
    free(values);
    return buffer;
}

/* Rows of one kind, each head's tokens repeated up to n_tokens. */
static skv_buffer *repeat_rows(struct tool_device *on, const struct sample *sample, const uint16_t *rows,
                               uint32_t n_tokens, skv_dtype dtype)
{
    size_t head_values = (size_t)sample->n_tokens * sample->head_dim, wide = (size_t)n_tokens * sample->head_dim;
    uint16_t *repeated = tool_alloc(sample->n_kv_heads * wide * 2);
    for (uint32_t h = 0; h < sample->n_kv_heads; h++)
        for (size_t at = 0; at < wide; at += head_values)
            memcpy(repeated + h * wide + at, rows + h * head_values,
                   2 * (wide - at < head_values ? wide - at : head_values));
    return store(on, repeated, sample->n_kv_heads * wide, dtype);
}

static double time_attend(struct tool_device *on, skv_timer *timer, const skv_attend_params *params)
{
    uint64_t nanoseconds;
    TOOL_TRY(skv_timer_start(timer, on->queue));
    TOOL_TRY(skv_attend(on->queue, params));
    TOOL_TRY(skv_timer_stop(timer, on->queue));
    TOOL_TRY(skv_timer_read(timer, &nanoseconds));
    return (double)nanoseconds;
}

struct speed {
    double ratio, gain_low, gain_high; /* dense time over compressed time: median, lower and upper quartile */
    char kernel[96];
};

/* One decode step over a long context, compressed against the library's own dense attention, in turns. */
static void measure_speed(struct tool_device *on, const struct sample *sample, const struct sample_layer *layer,
                          const struct rule *rule, skv_dtype dtype, struct speed *speed)
{
    struct sample wide = *sample;
    uint32_t d = sample->head_dim;
    wide.n_tokens = SPEED_TOKENS;
    skv_buffer *k_rows = repeat_rows(on, sample, layer->k, SPEED_TOKENS, dtype);
    skv_buffer *v_rows = repeat_rows(on, sample, layer->v, SPEED_TOKENS, dtype);
    uint64_t q_bytes = (uint64_t)sample->n_q_heads * sample->n_queries * d * 2, workspace_bytes;
    uint16_t *query_values = tool_alloc(q_bytes);
    memcpy(query_values, layer->q, q_bytes);
    skv_buffer *queries = store(on, query_values, q_bytes / 2, dtype), *out = tool_buffer(on, q_bytes, NULL);
    struct cache k, v;
    compress(on, &wide, k_rows, queries, SPEED_TOKENS, rule, true, 64, dtype, &k);
    compress(on, &wide, v_rows, queries, SPEED_TOKENS, rule, false, 64, dtype, &v);
    skv_attend_params dense = {.struct_size = sizeof dense,
                               .n_seqs = 1,
                               .n_new = 1,
                               .n_q_heads = sample->n_q_heads,
                               .n_kv_heads = sample->n_kv_heads,
                               .head_dim = d,
                               .dtype = dtype,
                               .q = {queries, 0},
                               .q_head_stride = (uint64_t)sample->n_queries * d,
                               .out = {out, 0}};
    skv_attend_params sparse = dense;
    dense.k_tail.buffer = k_rows;
    dense.v_tail.buffer = v_rows;
    dense.tail_token_stride = d;
    dense.tail_head_stride = (uint64_t)SPEED_TOKENS * d;
    dense.max_tail_tokens = SPEED_TOKENS;
    sparse.k_pool = (skv_pool){k.layout, {k.pages, 0}, k.n_blocks};
    sparse.v_pool = (skv_pool){v.layout, {v.pages, 0}, v.n_blocks};
    sparse.k_blocks.buffer = plain_table(on, k.n_blocks);
    sparse.max_cache_tokens = SPEED_TOKENS;
    TOOL_TRY(skv_attend_workspace(on->device, &sparse, &workspace_bytes));
    sparse.workspace.buffer = dense.workspace.buffer = tool_buffer(on, workspace_bytes, NULL);

    skv_timer *timer;
    TOOL_TRY(skv_timer_create(on->device, &timer));
    double ratio[SPEED_ROUNDS];
    time_attend(on, timer, &dense);
    time_attend(on, timer, &sparse);
    snprintf(speed->kernel, sizeof speed->kernel, "%s", skv_queue_last_kernel(on->queue));
    for (int i = 0; i < SPEED_ROUNDS; i++) {
        double dense_time = time_attend(on, timer, &dense);
        ratio[i] = dense_time / time_attend(on, timer, &sparse);
    }
    speed->ratio = tool_median(ratio, SPEED_ROUNDS);
    speed->gain_low = ratio[SPEED_ROUNDS / 4];
    speed->gain_high = ratio[SPEED_ROUNDS - 1 - SPEED_ROUNDS / 4];
    skv_timer_destroy(timer);
    skv_buffer_destroy(sparse.workspace.buffer);
    skv_buffer_destroy(sparse.k_blocks.buffer);
    free_cache(&k);
    free_cache(&v);
    skv_buffer_destroy(queries);
    skv_buffer_destroy(out);
    skv_buffer_destroy(k_rows);
    skv_buffer_destroy(v_rows);
}

static void print_accuracy(struct tool_device *on, const struct sample *sample)
{
    printf("\nlayer  pruning                  sparsity   bytes of dense   output error   KL of weights\n");
    for (uint32_t i = 0; i < sample->n_layers; i++)
        for (size_t r = 0; r < N_RULES; r++) {
            struct accuracy accuracy;
            tool_progress("layer %u, %s %.0f %%", sample->layer[i].number, rules[r].name, 100 * rules[r].sparsity);
            measure_accuracy(on, sample, &sample->layer[i], &rules[r], &accuracy);
            tool_progress(NULL);
            printf("%5u  %-24s %5.0f %%   %10.1f %%   %10.4f   %13.5f\n", sample->layer[i].number, rules[r].name,
                   100 * rules[r].sparsity, 100.0 * (double)accuracy.bytes / (double)accuracy.dense_bytes,
                   accuracy.error, accuracy.divergence);
        }
}

static void print_speed(struct tool_device *on, const struct sample *sample)
{
    printf("\nOne decode step over %u tokens (the sample repeated), against skv's own dense attention, in turns:\n"
           "pruning                  sparsity   stored as   speed (quartiles)       kernel\n",
           SPEED_TOKENS);
    for (size_t r = 0; r < N_RULES; r++)
        for (int bf16 = 0; bf16 < 2; bf16++) {
            struct speed speed;
            tool_progress("timing %s %.0f %%", rules[r].name, 100 * rules[r].sparsity);
            measure_speed(on, sample, &sample->layer[sample->n_layers / 2], &rules[r], bf16 ? SKV_BF16 : SKV_F16,
                          &speed);
            tool_progress(NULL);
            printf("%-24s %5.0f %%      %-9s %5.2fx  (%.2f - %.2f)   %s\n", rules[r].name, 100 * rules[r].sparsity,
                   bf16 ? "bf16" : "fp16", speed.ratio, speed.gain_low, speed.gain_high, speed.kernel);
        }
}

int tool_demo(int argc, char **argv)
{
    static const struct option options[] = {
        {"sample", required_argument, NULL, 's'}, {"device", required_argument, NULL, 'd'}, {0}};
    const char *path = NULL, *id = NULL;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 's':
            path = optarg;
            break;
        case 'd':
            id = optarg;
            break;
        default:
            return TOOL_USAGE;
        }
    if (optind < argc)
        tool_die(TOOL_USAGE, "demo: unexpected argument \"%s\"", argv[optind]);
    struct sample sample;
    struct tool_device on;
    sample_read(path, &sample);
    tool_open(&on, id);
    printf("model   %s\nsource  %s (%s)\ntext    %s\n", sample.model, sample.source, sample.license, sample.text);
    printf("cache   %u layers of the model, %u tokens, %u KV heads, %u query heads, head_dim %u, fp16\n",
           sample.n_layers, sample.n_tokens, sample.n_kv_heads, sample.n_q_heads, sample.head_dim);
    printf("device  %s: %s, %s\n", on.info.id, on.info.name, on.info.variant);
    printf(
        "\nAll but the newest %u tokens are pruned and compressed; the last %u queries attend to the compressed cache\n"
        "and are compared with exact attention on the unpruned one. Errors are those of pruning: skv's own arithmetic\n"
        "adds less than 1e-4.\n",
        TAIL_TOKENS, sample.n_queries / 2);
    print_accuracy(&on, &sample);
    print_speed(&on, &sample);
    printf("\nBytes are what the allocator gave for keys and values. An output error of 0.05 means that attention's "
           "result\n"
           "moved by 5 %% of its length; KL says by how much the attention weights themselves moved, in nats.\n");
    tool_close(&on);
    sample_free(&sample);
    return TOOL_OK;
}
