/* SPDX-License-Identifier: Apache-2.0
 *
 * What skv bench is asked for. Lists are JSON arrays: of texts, or of numbers for kept and threads.
 */
#ifndef SKV_TOOL_BENCH_OPTIONS_H
#define SKV_TOOL_BENCH_OPTIONS_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

struct bench_options {
    const char *device, *json;
    cJSON *isa, *ops, *shapes, *kept, *dtypes, *threads;
    double seconds, time_budget; /* time_budget 0: none */
    char **words;                /* the copy of argv that the texts point into */
};

/* Ends the program for options that are wrong, and after --help. */
void bench_parse_options(int argc, char **argv, struct bench_options *options);
/* Fills isa and threads, whose defaults depend on the device. An item of isa that is null means the best level. */
void bench_default_lists(struct bench_options *options, bool cpu, uint32_t n_cores);
void bench_free_options(struct bench_options *options);

#endif
