/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu/cpu.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/cpu/ladder.h"

#if defined(SKV_CPU_X86)
#include <cpuid.h>
#endif

#define THREADS_MAX 1024
#define GROUP_MAX 1024
#define NEW_TOKENS_MAX 65536

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "an unknown compiler"
#endif

/* The processor's own name of itself. */
static void processor_name(char *name, size_t n_bytes)
{
#if defined(SKV_CPU_X86)
    unsigned words[12], a, b, c, d;
    if (__get_cpuid(0x80000004, &a, &b, &c, &d)) {
        for (unsigned i = 0; i < 3; i++)
            __get_cpuid(0x80000002 + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
        char text[sizeof words + 1];
        memcpy(text, words, sizeof words);
        text[sizeof words] = '\0';
        size_t start = strspn(text, " "), end = strlen(text);
        while (end > start && text[end - 1] == ' ')
            end--;
        snprintf(name, n_bytes, "%.*s", (int)(end - start), text + start);
        return;
    }
    snprintf(name, n_bytes, "x86-64 processor");
#elif defined(SKV_CPU_ARM64)
    snprintf(name, n_bytes, "AArch64 processor");
#else
    snprintf(name, n_bytes, "processor");
#endif
}

static unsigned best_level(void)
{
    unsigned level = skv_cpu_ladder_count() - 1;
    while (!skv_cpu_ladder_usable(level))
        level--;
    return level;
}

static void fill_info(struct skv_device_info *info, unsigned level, uint32_t n_threads)
{
    memset(info, 0, sizeof *info);
    info->usable = 1;
    info->kind = SKV_DEVICE_CPU;
    info->compute_units = skv_cpu_cores();
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    info->memory_bytes = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 0;
    snprintf(info->id, sizeof info->id, "cpu");
    snprintf(info->backend, sizeof info->backend, "cpu");
    processor_name(info->name, sizeof info->name);
    snprintf(info->driver, sizeof info->driver, "kernels by %.80s", COMPILER);
    snprintf(info->variant, sizeof info->variant, "%s, %" PRIu32 " thread%s", skv_cpu_ladder_name(level), n_threads,
             n_threads == 1 ? "" : "s");
}

static uint32_t probe(char *reason, size_t reason_bytes)
{
    (void)reason;
    (void)reason_bytes;
    return 1;
}

static void describe(uint32_t i_device, struct skv_device_info *info)
{
    (void)i_device;
    fill_info(info, best_level(), skv_cpu_cores());
}

static void close_device(struct skv_device *device)
{
    skv_cpu_pool_destroy(((struct skv_cpu_device *)device)->pool);
    skv_free(device);
}

/* The value to use and where it came from, for messages. */
static const char *from_environment(const char *variable)
{
    const char *text = getenv(variable);
    return text && text[0] ? text : NULL;
}

static enum skv_status choose_level(const struct skv_device_params *params, unsigned *level)
{
    const char *isa = params->cpu_isa, *source = "params->cpu_isa";
    if (!isa) {
        isa = from_environment("SKV_CPU_ISA");
        source = "SKV_CPU_ISA";
    }
    if (!isa) {
        *level = best_level();
        while (!skv_cpu_ladder_admit(*level))
            --*level;
        return SKV_OK;
    }
    char known[128] = "";
    for (unsigned i = 0; i < skv_cpu_ladder_count(); i++) {
        const char *name = skv_cpu_ladder_name(i);
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", name);
        if (strcmp(name, isa) != 0)
            continue;
        if (!skv_cpu_ladder_usable(i))
            return skv_fail(SKV_ERROR_UNSUPPORTED, "%s is \"%s\"; this machine cannot run it, its best level is \"%s\"",
                            source, isa, skv_cpu_ladder_name(best_level()));
        if (!skv_cpu_ladder_admit(i))
            return skv_fail(SKV_ERROR_UNSUPPORTED,
                            "%s is \"%s\"; the system refuses this process its registers, as it does where a thread's "
                            "alternate signal stack is too small for them",
                            source, isa);
        *level = i;
        return SKV_OK;
    }
    return skv_fail(SKV_ERROR_INVALID_ARGUMENT, "%s is \"%s\"; it must be one of: %s", source, isa, known);
}

static enum skv_status choose_threads(const struct skv_device_params *params, uint32_t *n_threads)
{
    const char *text = params->cpu_threads ? NULL : from_environment("SKV_CPU_THREADS");
    if (text) {
        char *end;
        unsigned long n = strtoul(text, &end, 10);
        if (*end || n < 1 || n > THREADS_MAX)
            return skv_fail(SKV_ERROR_INVALID_ARGUMENT, "SKV_CPU_THREADS is \"%s\"; it must be from 1 to %d", text,
                            THREADS_MAX);
        *n_threads = (uint32_t)n;
        return SKV_OK;
    }
    if (params->cpu_threads > THREADS_MAX)
        return skv_fail(SKV_ERROR_INVALID_ARGUMENT, "params->cpu_threads is %" PRIu32 "; it must be at most %d",
                        params->cpu_threads, THREADS_MAX);
    uint32_t cores = skv_cpu_cores();
    *n_threads = params->cpu_threads ? params->cpu_threads : cores < THREADS_MAX ? cores : THREADS_MAX;
    return SKV_OK;
}

static const struct skv_device_ops device_ops = {
    .close = close_device,
    .buffer_create = skv_cpu_buffer_create,
    .buffer_destroy = skv_cpu_buffer_destroy,
    .buffer_write = skv_cpu_buffer_write,
    .buffer_read = skv_cpu_buffer_read,
    .buffer_copy = skv_cpu_buffer_copy,
    .buffer_fill = skv_cpu_buffer_fill,
    .queue_create = skv_cpu_queue_create,
    .queue_destroy = skv_cpu_queue_destroy,
    .queue_finish = skv_cpu_queue_finish,
    .timer_create = skv_cpu_timer_create,
    .timer_destroy = skv_cpu_timer_destroy,
    .timer_mark = skv_cpu_timer_mark,
    .timer_read = skv_cpu_timer_read,
    .prune = skv_cpu_prune,
    .channel_weights = skv_cpu_channel_weights,
    .compress = skv_cpu_compress,
    .decompress = skv_cpu_decompress,
    .attend = skv_cpu_attend,
    .merge = skv_cpu_merge,
};

static enum skv_status open_device(uint32_t i_device, const struct skv_device_params *params,
                                   struct skv_device **device)
{
    (void)i_device;
    if (params->native_context)
        return skv_fail(SKV_ERROR_UNSUPPORTED,
                        "params->native_context is 0x%" PRIx64 "; device \"cpu\" has no contexts to work in",
                        params->native_context);
    unsigned level = 0;
    uint32_t n_threads = 1;
    enum skv_status status = choose_level(params, &level);
    if (status == SKV_OK)
        status = choose_threads(params, &n_threads);
    if (status != SKV_OK)
        return status;
    struct skv_cpu_device *cpu = skv_alloc(sizeof *cpu);
    if (!cpu)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a device object");
    cpu->pool = skv_cpu_pool_create(n_threads, params->cpu_executor);
    if (!cpu->pool) {
        skv_free(cpu);
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a pool of %" PRIu32 " threads", n_threads);
    }
    skv_cpu_ladder_fill(level, &cpu->kernels);
    cpu->base.ops = &device_ops;
    cpu->base.limits = (struct skv_limits){
        .dtypes = 1u << SKV_F16 | 1u << SKV_BF16,
        .query_dtypes = 1u << SKV_F16 | 1u << SKV_BF16 | 1u << SKV_F32,
        .forms = 1u << SKV_FIXED | 1u << SKV_RAGGED,
        .strategies = (2u << SKV_MASK) - 1,
        .head_dim_max = SKV_HEAD_DIM_MAX,
        .page_tokens_max = SKV_PAGE_TOKENS_MAX,
        .group_max = GROUP_MAX,
        .new_tokens_max = NEW_TOKENS_MAX,
        .host_memory = 1,
        .synchronous = 1,
        .offset_alignment = 8,
        .buffer_bytes_max = SIZE_MAX / 2,
    };
    fill_info(&cpu->base.info, level, skv_cpu_pool_threads(cpu->pool));
    *device = &cpu->base;
    return SKV_OK;
}

const struct skv_backend skv_cpu_backend = {
    .name = "cpu",
    .probe = probe,
    .describe = describe,
    .open = open_device,
};
