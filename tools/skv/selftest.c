/* SPDX-License-Identifier: Apache-2.0
 *
 * skv selftest: the conformance cases on each usable device of this machine, for the CPU on each level it can run.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/suite.h"
#include "tool.h"

static const char *const cpu_levels[] = {"scalar", "avx2", "avx512", "avx512vbmi2", "avx512bf16", "amx", "neon"};

struct counts {
    unsigned passed, failed, skipped;
};

static void run_device(const char *id, const char *isa, bool full, uint64_t seed, struct counts *total)
{
    skv_device_params params = {.struct_size = sizeof params, .id = id, .cpu_isa = isa};
    struct suite_context context = {.seed = seed, .device_id = id};
    struct counts counts = {0};
    skv_device_info info = {.struct_size = sizeof info};
    context.limits.struct_size = sizeof context.limits;
    /* A level that this build or machine lacks is no fault. */
    if (skv_device_open(&params, &context.device) != SKV_OK)
        return;
    TOOL_TRY(skv_queue_create(context.device, NULL, &context.queue));
    TOOL_TRY(skv_device_get_limits(context.device, &context.limits));
    TOOL_TRY(skv_device_get_info(context.device, &info));
    printf("%s: %s, %s, %s\n", info.id, info.name, info.driver, info.variant);
    for (size_t i = 0; i < suite_n_cases; i++) {
        if (!full && !suite_cases[i].quick)
            continue;
        tool_progress("%s %s", info.variant, suite_cases[i].name);
        context.message[0] = '\0';
        context.quick = !full;
        enum suite_result result = suite_cases[i].run(&context);
        tool_progress(NULL);
        counts.passed += result == SUITE_PASS;
        counts.failed += result == SUITE_FAIL;
        counts.skipped += result == SUITE_SKIP;
        if (result != SUITE_PASS)
            printf("  %s  %s: %s\n", result == SUITE_FAIL ? "FAIL" : "skip", suite_cases[i].name, context.message);
    }
    printf("  %u passed, %u failed, %u skipped\n", counts.passed, counts.failed, counts.skipped);
    total->passed += counts.passed;
    total->failed += counts.failed;
    total->skipped += counts.skipped;
    skv_queue_destroy(context.queue);
    skv_device_release(context.device);
}

int tool_selftest(int argc, char **argv)
{
    static const struct option options[] = {{"device", required_argument, NULL, 'd'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"full", no_argument, NULL, 'f'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    static const char usage[] = "usage: skv selftest [--device ID] [--full] [--seed N]\n";
    const char *id = NULL;
    bool full = false;
    uint64_t seed = 1;
    struct counts total = {0};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 'd':
            id = optarg;
            break;
        case 's':
            seed = strtoull(optarg, NULL, 0);
            break;
        case 'f':
            full = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return TOOL_OK;
        default:
            fputs(usage, stderr);
            return TOOL_USAGE;
        }
    for (uint32_t i = 0; i < skv_device_count(); i++) {
        skv_device_info info = {.struct_size = sizeof info};
        TOOL_TRY(skv_device_find(i, &info));
        if (id && strcmp(id, info.id) != 0)
            continue;
        if (!info.usable) {
            printf("%s: not usable: %s\n", info.id, info.reason);
            continue;
        }
        bool cpu = strcmp(info.backend, "cpu") == 0;
        for (size_t j = 0; j < (cpu ? sizeof cpu_levels / sizeof cpu_levels[0] : 1); j++)
            run_device(info.id, cpu ? cpu_levels[j] : NULL, full, seed, &total);
    }
    printf("%u passed, %u failed, %u skipped (seed %" PRIu64 ")\n", total.passed, total.failed, total.skipped, seed);
    return total.failed || !total.passed ? TOOL_FAILED : TOOL_OK;
}
