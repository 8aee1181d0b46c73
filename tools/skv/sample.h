/* SPDX-License-Identifier: Apache-2.0
 *
 * The sample of a real model's KV cache: a safetensors file (data/README.md).
 */
#ifndef SKV_TOOL_SAMPLE_H
#define SKV_TOOL_SAMPLE_H

#include <stdint.h>

#define SAMPLE_LAYERS_MAX 64

struct sample_layer {
    uint32_t number;           /* in the model */
    const uint16_t *k, *v, *q; /* fp16 [n_kv_heads][n_tokens][head_dim], the same, [n_q_heads][n_queries][head_dim] */
};

struct sample {
    char *model, *source, *license, *text;
    uint32_t n_layers, n_kv_heads, n_q_heads, n_tokens, n_queries, head_dim;
    struct sample_layer layer[SAMPLE_LAYERS_MAX];
    uint8_t *bytes; /* the file */
};

/* Reads and checks a sample; ends the program with a message when it is not one. NULL: the one that comes with skv. */
void sample_read(const char *path, struct sample *sample);
void sample_free(struct sample *sample);

#endif
