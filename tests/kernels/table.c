/* SPDX-License-Identifier: Apache-2.0
 *
 * What a level's table must hold, whatever its kernels compute.
 */
#include <stdio.h>
#include <string.h>

#include "backends/cpu/ladder.h"
#include "tests/kernels/kernels_test.h"

static int check_variant(const char *level, const struct skv_cpu_attend *kernel, int math, int source, unsigned m)
{
    char prefix[64];
    if (!kernel->qk)
        return math == SKV_CPU_BF16_DOT ||
               kt_fail("%s.%s.m%u is missing", kt_math_name[math], kt_source_name[source], m);
    snprintf(prefix, sizeof prefix, "%s.%s.m%u.", kt_math_name[math], kt_source_name[source], m);
    if (!kernel->prepare || !kernel->pv || !kernel->finish || !kernel->name)
        return kt_fail("%s has qk but not all of prepare, pv, finish and a name", prefix);
    if (!kernel->enter != !kernel->leave)
        return kt_fail("%s has one of enter and leave", prefix);
    if (strncmp(kernel->name, prefix, strlen(prefix)))
        return kt_fail("the name %s should begin with %s", kernel->name, prefix);
    const char *isa = kernel->name + strlen(prefix);
    for (unsigned i = 0; i < skv_cpu_ladder_count(); i++) {
        if (!strcmp(isa, skv_cpu_ladder_name(i)))
            return 1;
        if (!strcmp(level, skv_cpu_ladder_name(i)))
            break;
    }
    return kt_fail("%s is not of level %s or below", kernel->name, level);
}

unsigned kt_test_table(const char *level, const struct skv_cpu_kernels *table, const struct skv_cpu_kernels *below)
{
    unsigned n_failed = 0, n_dot = 0;
    (void)below;
    if (!kt_take(level, "table", 1))
        return 0;
    kt_begin(level, "table", 0, 0, 0, 0, 0);
    if (!table->isa || strcmp(table->isa, level))
        n_failed += !kt_fail("isa is %s", table->isa ? table->isa : "missing");
    if (!table->softmax || !table->compress_topk || !table->select_topk || !table->select_scores || !table->pack ||
        !table->unpack)
        n_failed += !kt_fail("an entry is missing");
    for (int math = 0; math < SKV_CPU_MATH_COUNT; math++)
        for (int source = 0; source < SKV_CPU_SOURCE_COUNT; source++)
            for (unsigned i = 0; i < SKV_CPU_M_COUNT; i++) {
                const struct skv_cpu_attend *kernel = &table->attend[math][source][i];
                n_failed += !check_variant(level, kernel, math, source, 1u << i);
                n_dot += math == SKV_CPU_BF16_DOT && kernel->qk;
            }
    if (!strcmp(level, "avx512bf16") && n_dot == 0)
        n_failed += !kt_fail("the level has no bf16dot variant");
    return n_failed;
}
