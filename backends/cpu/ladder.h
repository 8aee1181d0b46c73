/* SPDX-License-Identifier: Apache-2.0
 *
 * The instruction-set ladder: which kernel levels were compiled in, which this machine can run, and the table of each.
 */
#ifndef SKV_CPU_LADDER_H
#define SKV_CPU_LADDER_H

#include "backends/cpu/kernels/kernels.h"

/* Levels compiled in, lowest ("scalar") first. Level i includes all usable levels below it. */
unsigned skv_cpu_ladder_count(void);
const char *skv_cpu_ladder_name(unsigned level);
/* Nonzero when this machine and its operating system can run the level. Level 0 always is. */
int skv_cpu_ladder_usable(unsigned level);
/* Asks the system for what this process may not use without, which lasts; 0 when it refuses. For a usable level, before
 * its kernels run. */
int skv_cpu_ladder_admit(unsigned level);
/* Fills table with the best kernels up to and including level, for this processor or for one of such habits. */
void skv_cpu_ladder_fill(unsigned level, struct skv_cpu_kernels *table);
void skv_cpu_ladder_fill_for(unsigned level, struct skv_cpu_habits habits, struct skv_cpu_kernels *table);

#endif
