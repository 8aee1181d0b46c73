/* SPDX-License-Identifier: Apache-2.0
 *
 * One pass of query rows over the tokens of a task: scores, softmax and weighted sums, tile by tile.
 */
#ifndef SKV_CPU_PASS_H
#define SKV_CPU_PASS_H

#include <stdbool.h>

#include "backends/cpu/tiles.h"

/* What all passes of an attention have in common. */
struct skv_cpu_pass {
    const struct skv_cpu_kernels *kernels;
    const struct skv_attend_params *params;
    enum skv_cpu_math math;
    bool single; /* one chunk takes all query rows of a head, so records go straight to its kernel */
    /* Of which tiles the K of several comes before their V; false unless single. */
    bool batches[SKV_CPU_SOURCE_COUNT];
};

/* The running state of a chunk for one kind of tile. Kernels for records and for dense rows keep theirs in orders of
 * their own, so each has one, and the two are merged like splits in the end. */
struct skv_cpu_state {
    const struct skv_cpu_attend *kernel; /* NULL: no such tiles come */
    float *qp, *o, *mx, *sum;
};

/* Rows of one query token: at most m of them. */
struct skv_cpu_chunk {
    uint32_t n_rows, m;
    uint64_t i_new, i_q_head; /* of row 0 */
    uint32_t i_head;
    uint64_t position; /* of the query token, where it exists */
    bool exists;
    struct skv_cpu_state state[SKV_CPU_SOURCE_COUNT];
};

/* Feeds the tokens of `walk`, not yet started, to the chunks, which are in order of their heads, as many for each. The
 * walk's heads and gap are not looked at: they follow from the chunks. */
void skv_cpu_pass_run(const struct skv_cpu_pass *pass, const struct skv_cpu_walk *walk,
                      const struct skv_cpu_chunk *chunks, uint32_t n_chunks);

#endif
