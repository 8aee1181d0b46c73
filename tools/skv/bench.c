/* SPDX-License-Identifier: Apache-2.0
 *
 * skv bench: the loops over what is asked for. Its options are in bench_options.c.
 */
#include "bench/bench.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "bench_options.h"

#define SCHEMA "skv-bench"
#define SCHEMA_VERSION 1

#if !defined(SKV_REVISION)
#define SKV_REVISION "unknown"
#endif

static const struct {
    const char *name;
    bool stream;
    bench_case *run;
} ops[] = {{"read", true, bench_read},
           {"copy", true, bench_copy},
           {"attend", false, bench_attend},
           {"amortized", false, bench_amortized},
           {"compress", false, bench_compress},
           {"append", false, bench_append},
           {"decompress", false, bench_decompress}};

/* A run of all cases, and how far it is. */
struct run {
    struct bench bench;
    const struct bench_options *options;
    cJSON *report;
    struct bench_shape *shapes;
    size_t n_shapes, n_cases, i_case;
};

static double load_average(void)
{
    double load = NAN;
    return getloadavg(&load, 1) == 1 ? load : NAN;
}

/* What else ran on the machine shows in its load. */
static void add_host(cJSON *report)
{
    struct utsname system;
    char text[256];
    cJSON *host = cJSON_AddObjectToObject(report, "host");
    if (uname(&system) == 0) {
        snprintf(text, sizeof text, "%.60s %.60s", system.sysname, system.machine);
        cJSON_AddStringToObject(host, "system", text);
    }
    cJSON_AddNumberToObject(host, "load_before", load_average());
}

static cJSON *start_report(const struct tool_device *on, int argc, char **argv)
{
    cJSON *report = cJSON_CreateObject();
    cJSON_AddStringToObject(report, "schema", SCHEMA);
    cJSON_AddNumberToObject(report, "schema_version", SCHEMA_VERSION);
    cJSON_AddNumberToObject(report, "skv_version", skv_version());
    cJSON_AddStringToObject(report, "revision", SKV_REVISION);
    cJSON *command = cJSON_AddArrayToObject(report, "command");
    cJSON_AddItemToArray(command, cJSON_CreateString("skv"));
    for (int i = 0; i < argc; i++)
        cJSON_AddItemToArray(command, cJSON_CreateString(argv[i]));
    cJSON_AddStringToObject(report, "device", on->info.id);
    cJSON_AddStringToObject(report, "machine", on->info.name);
    cJSON_AddStringToObject(report, "driver", on->info.driver);
    cJSON_AddNumberToObject(report, "compute_units", on->info.compute_units);
    char started[32];
    time_t now = time(NULL);
    if (strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now)))
        cJSON_AddStringToObject(report, "started", started);
    add_host(report);
    return report;
}

/* After each case, beside the file and then in its place: whatever ends the program, what was measured is there. */
static void write_json(const cJSON *report, const char *path)
{
    char *text = cJSON_Print(report), *beside = tool_alloc(strlen(path) + 8);
    sprintf(beside, "%s.part", path);
    FILE *file = fopen(beside, "w");
    if (!text || !file || fputs(text, file) == EOF || fputc('\n', file) == EOF || fclose(file) != 0 ||
        rename(beside, path) != 0)
        tool_die(TOOL_FAILED, "%s: %s", path, strerror(errno));
    free(beside);
    cJSON_free(text);
}

/* The shape before this one that asks for the same: models often agree. */
static const struct bench_shape *twin(const struct run *run, const struct bench_shape *shape)
{
    for (const struct bench_shape *other = run->shapes; other < shape; other++)
        if (other->n_seqs == shape->n_seqs && other->n_q_heads == shape->n_q_heads &&
            other->n_kv_heads == shape->n_kv_heads && other->head_dim == shape->head_dim &&
            other->n_tokens == shape->n_tokens && (!other->max_tokens || other->n_tokens <= other->max_tokens))
            return other;
    return NULL;
}

static bool may_measure(struct run *run, const struct bench_setting *setting)
{
    struct bench *bench = &run->bench;
    const struct bench_shape *shape = setting->shape, *same = shape ? twin(run, shape) : NULL;
    if (!bench_may_go_on(bench))
        return false;
    if (shape && shape->max_tokens && shape->n_tokens > shape->max_tokens)
        return bench_fail(bench, "skipped", "the model's context ends at %llu tokens",
                          (unsigned long long)shape->max_tokens);
    if (same)
        return bench_fail(bench, "skipped", "the same numbers as %s: see there", same->name);
    return true;
}

/* Measures, or says why not; time that is left is shared out among the cases that are left. */
static void run_case(struct run *run, size_t i_op, struct bench_setting *setting)
{
    struct bench *bench = &run->bench;
    double left = bench->deadline - tool_now(), share = left / (double)(run->n_cases - run->i_case++) / 2;
    setting->seconds = fmin(run->options->seconds, fmax(share, 0.02));
    tool_progress("%zu of %zu: %s %s", run->i_case, run->n_cases, ops[i_op].name,
                  setting->shape ? setting->shape->name : "");
    if (!may_measure(run, setting) || !ops[i_op].run(bench, setting)) {
        bench->n_failed += strcmp(bench->outcome, "failed") == 0;
        bench_add_skipped(bench, ops[i_op].name, setting);
    }
    fflush(stdout);
    if (run->options->json)
        write_json(run->report, run->options->json);
}

static size_t find_op(const cJSON *name)
{
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (strcmp(cJSON_GetStringValue(name), ops[i].name) == 0)
            return i;
    tool_die(TOOL_USAGE,
             "bench: operation \"%s\" is unknown; there are read, copy, attend, amortized, compress, "
             "append, decompress",
             cJSON_GetStringValue(name));
}

/* All operations of one kind in a setting. */
static void run_ops(struct run *run, bool streams, struct bench_setting *setting)
{
    const cJSON *op;
    cJSON_ArrayForEach(op, run->options->ops)
    {
        size_t i_op = find_op(op);
        if (ops[i_op].stream == streams)
            run_case(run, i_op, setting);
    }
}

static void run_device(struct run *run, uint32_t n_threads)
{
    const struct bench_options *options = run->options;
    const cJSON *dtype, *kept;
    struct bench_setting stream = {.n_threads = n_threads};
    run_ops(run, true, &stream);
    for (size_t s = 0; s < run->n_shapes; s++)
        cJSON_ArrayForEach(dtype, options->dtypes) cJSON_ArrayForEach(kept, options->kept)
        {
            const struct bench_shape *shape = &run->shapes[s];
            /* Budgets are meant for head_dim 128. */
            uint32_t k = (uint32_t)(cJSON_GetNumberValue(kept) * shape->head_dim / 128);
            struct bench_setting setting = {.shape = shape,
                                            .kept = k ? k : 1,
                                            .n_threads = n_threads,
                                            .dtype = strcmp(cJSON_GetStringValue(dtype), "bf16") ? SKV_F16 : SKV_BF16};
            run_ops(run, false, &setting);
        }
}

/* A level that this machine lacks is one row. */
static void add_unopened(struct run *run, const char *isa)
{
    char what[64];
    cJSON *row = cJSON_CreateObject();
    snprintf(what, sizeof what, "everything at CPU level %s", isa);
    cJSON_AddStringToObject(row, "what", what);
    cJSON_AddStringToObject(row, "outcome", "unsupported");
    cJSON_AddStringToObject(row, "why", skv_error_message());
    cJSON_AddItemToArray(run->bench.skipped, row);
    printf("%s: unsupported: %s\n", what, skv_error_message());
}

/* False when the device cannot be opened, which was added as a row. */
static bool run_threads(struct run *run, const char *id, const char *isa, uint32_t n_threads)
{
    struct tool_device on;
    skv_device_params params = {.struct_size = sizeof params,
                                .id = id,
                                .cpu_isa = isa,
                                .cpu_threads = n_threads,
                                .cpu_executor = bench_threads(n_threads)};
    if (tool_try_open(&on, &params) != SKV_OK) {
        if (!isa)
            tool_die(TOOL_FAILED, "bench: %s", skv_error_message());
        add_unopened(run, isa);
        return false;
    }
    run->bench.on = &on;
    memset(run->bench.fastest, 0, sizeof run->bench.fastest);
    run_device(run, n_threads);
    bench_free_cache(&run->bench);
    tool_close(&on);
    return true;
}

static void run_devices(struct run *run, const char *id, bool cpu)
{
    const cJSON *isa, *threads;
    size_t n_each = run->n_cases / (size_t)cJSON_GetArraySize(run->options->isa), i_isa = 0;
    cJSON_ArrayForEach(isa, run->options->isa)
    {
        cJSON_ArrayForEach(threads, run->options->threads)
        {
            uint32_t n_threads = cpu ? (uint32_t)cJSON_GetNumberValue(threads) : 0;
            if (!run_threads(run, id, cpu ? cJSON_GetStringValue(isa) : NULL, n_threads))
                break;
        }
        run->i_case = ++i_isa * n_each;
    }
}

static void count_cases(struct run *run)
{
    const struct bench_options *options = run->options;
    const cJSON *op;
    size_t n_settings =
        run->n_shapes * (size_t)cJSON_GetArraySize(options->dtypes) * (size_t)cJSON_GetArraySize(options->kept);
    cJSON_ArrayForEach(op, options->ops) run->n_cases += ops[find_op(op)].stream ? 1 : n_settings;
    run->n_cases *= (size_t)cJSON_GetArraySize(options->isa) * (size_t)cJSON_GetArraySize(options->threads);
}

int tool_bench(int argc, char **argv)
{
    struct bench_options options;
    struct tool_device on;
    cJSON *shape;
    bench_parse_options(argc, argv, &options);
    struct run run = {.options = &options};
    run.shapes = tool_alloc((size_t)cJSON_GetArraySize(options.shapes) * sizeof *run.shapes);
    cJSON_ArrayForEach(shape, options.shapes)
        bench_parse_shape(cJSON_GetStringValue(shape), &run.shapes[run.n_shapes++]);
    tool_open(&on, options.device);
    bool cpu = strcmp(on.info.backend, "cpu") == 0;
    bench_default_lists(&options, cpu, on.info.compute_units);
    count_cases(&run);
    run.report = start_report(&on, argc, argv);
    run.bench.results = cJSON_AddArrayToObject(run.report, "results");
    run.bench.skipped = cJSON_AddArrayToObject(run.report, "skipped");
    run.bench.time_budget = options.time_budget;
    run.bench.deadline = options.time_budget > 0 ? tool_now() + options.time_budget : INFINITY;
    printf("%s: %s, %s\nratios are medians of rounds in turns, quartiles in brackets; k is per row\n", on.info.id,
           on.info.name, on.info.variant);
    tool_close(&on);
    bench_catch_interrupt();
    /* Rather now than after the first case. */
    if (options.json)
        write_json(run.report, options.json);
    run_devices(&run, options.device ? options.device : on.info.id, cpu);
    cJSON_AddNumberToObject(cJSON_GetObjectItem(run.report, "host"), "load_after", load_average());
    if (options.json)
        write_json(run.report, options.json);
    printf("%d measured, %d not; %u of these failed\n", cJSON_GetArraySize(run.bench.results),
           cJSON_GetArraySize(run.bench.skipped), run.bench.n_failed);
    cJSON_Delete(run.report);
    bench_free_options(&options);
    free(run.shapes);
    return run.bench.n_failed ? TOOL_FAILED : TOOL_OK;
}
