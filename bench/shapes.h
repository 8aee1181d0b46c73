/* SPDX-License-Identifier: Apache-2.0
 *
 * Shapes and presets, read from bench/shapes/ *.json, which are built into the tool.
 */
#ifndef SKV_BENCH_SHAPES_H
#define SKV_BENCH_SHAPES_H

#include <cjson/cJSON.h>
#include <stdint.h>

/* n_seqs sequences of n_tokens tokens, one layer. */
struct bench_shape {
    char name[64]; /* as on the command line */
    uint32_t n_seqs, n_q_heads, n_kv_heads, head_dim;
    uint64_t n_tokens, max_tokens; /* max_tokens: the model's longest context; 0: no model */
};

/* MODEL:SEQSxTOKENS, where k after a number means 1024, or SEQS/QHEADS/KVHEADS/TOKENS/HEADDIM. Ends the program for
 * anything else. */
void bench_parse_shape(const char *text, struct bench_shape *shape);

/* A preset as it stands in the file, with an array "shapes" of what bench_parse_shape takes. NULL: no such name. The
 * caller deletes it. */
cJSON *bench_preset(const char *name);

/* Names of models or presets, separated by blanks. */
void bench_list_names(char *to, size_t n_bytes, const char *of);

#endif
