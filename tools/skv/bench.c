/* SPDX-License-Identifier: Apache-2.0
 *
 * skv bench: the options, and the loops over what they ask for.
 */
#include "bench/bench.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX 32
#define SCHEMA "skv-bench"
#define SCHEMA_VERSION 1

#if !defined(SKV_REVISION)
#define SKV_REVISION "unknown"
#endif

struct list {
    size_t n;
    char *item[LIST_MAX];
};

struct plan {
    const char *device, *json;
    struct list isa, ops, shapes, kept, dtypes, threads;
    double seconds;
};

static void split(char *text, struct list *list)
{
    list->n = 0;
    for (char *item = strtok(text, ","); item; item = strtok(NULL, ",")) {
        if (list->n == LIST_MAX)
            tool_die(TOOL_USAGE, "bench: more than %d items in a list", LIST_MAX);
        list->item[list->n++] = item;
    }
    if (list->n == 0)
        tool_die(TOOL_USAGE, "bench: an empty list");
}

static uint32_t number(const char *text, const char *what, uint32_t most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || end == text || value < 1 || value > most)
        tool_die(TOOL_USAGE, "bench: %s is \"%s\"; it must be from 1 to %u", what, text, most);
    return (uint32_t)value;
}

/* A name, or B/Hq/Hkv/T/D. */
static const struct bench_shape *parse_shape(const char *text, struct bench_shape *custom)
{
    const struct bench_shape *found = bench_find_shape(text);
    unsigned long long n_tokens;
    if (found)
        return found;
    custom->name = text;
    if (sscanf(text, "%u/%u/%u/%llu/%u", &custom->n_seqs, &custom->n_q_heads, &custom->n_kv_heads, &n_tokens,
               &custom->head_dim) == 5) {
        custom->n_tokens = n_tokens;
        return custom;
    }
    size_t n;
    const struct bench_shape *known = bench_shapes(&n);
    fprintf(stderr, "shapes:");
    for (size_t i = 0; i < n; i++)
        fprintf(stderr, " %s", known[i].name);
    tool_die(TOOL_USAGE, "\nbench: shape \"%s\" is unknown; give a name or SEQUENCES/QHEADS/KVHEADS/TOKENS/HEADDIM",
             text);
}

static void run_op(const char *op, struct tool_device *on, const struct bench_setting *setting, cJSON *results)
{
    static const struct {
        const char *name;
        void (*run)(struct tool_device *on, const struct bench_setting *setting, cJSON *results);
    } ops[] = {{"attend", bench_attend},
               {"compress", bench_compress},
               {"append", bench_append},
               {"decompress", bench_decompress}};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (strcmp(op, ops[i].name) == 0) {
            ops[i].run(on, setting, results);
            fflush(stdout);
            return;
        }
    tool_die(TOOL_USAGE, "bench: operation \"%s\" is unknown; there are attend, compress, append, decompress", op);
}

static void run_settings(struct tool_device *on, const struct plan *plan, uint32_t n_threads, cJSON *results)
{
    for (size_t s = 0; s < plan->shapes.n; s++) {
        struct bench_shape custom;
        const struct bench_shape *shape = parse_shape(plan->shapes.item[s], &custom);
        for (size_t o = 0; o < plan->ops.n; o++)
            for (size_t d = 0; d < plan->dtypes.n; d++)
                for (size_t k = 0; k < plan->kept.n; k++) {
                    bool bf16 = strcmp(plan->dtypes.item[d], "bf16") == 0;
                    if (!bf16 && strcmp(plan->dtypes.item[d], "f16") != 0)
                        tool_die(TOOL_USAGE, "bench: dtype is \"%s\"; it must be f16 or bf16", plan->dtypes.item[d]);
                    struct bench_setting setting = {.shape = shape,
                                                    .kept = number(plan->kept.item[k], "kept", 512),
                                                    .n_threads = n_threads,
                                                    .dtype = bf16 ? SKV_BF16 : SKV_F16,
                                                    .seconds = plan->seconds};
                    /* Budgets are meant for head_dim 128. */
                    setting.kept = setting.kept * shape->head_dim / 128;
                    setting.kept = setting.kept ? setting.kept : 1;
                    tool_progress("%s %s k=%u", plan->ops.item[o], shape->name, setting.kept);
                    run_op(plan->ops.item[o], on, &setting, results);
                }
    }
}

static const char usage[] = "usage: skv bench [OPTIONS]     (lists are separated by commas)\n"
                            "  --device ID      what to measure (default: SKV_DEVICE, else automatic)\n"
                            "  --isa LIST       CPU levels, e.g. scalar,avx2; default: the best\n"
                            "  --threads LIST   CPU threads; default: 1 and all\n"
                            "  --op LIST        attend,compress,append,decompress (default: all)\n"
                            "  --shape LIST     names or SEQUENCES/QHEADS/KVHEADS/TOKENS/HEADDIM\n"
                            "  --kept LIST      survivors per 128 channels (default: 64,40)\n"
                            "  --dtype LIST     f16,bf16\n"
                            "  --preset NAME    quick (a minute; the default) or full\n"
                            "  --seconds S      for each measurement\n"
                            "  --json FILE      all samples\n";

static void parse(int argc, char **argv, struct plan *plan)
{
    static char quick_shapes[] = "g1-64k,g4-64k", quick_types[] = "f16,bf16", kept[] = "64,40";
    static char full_shapes[] = "g1-64k,g4-64k,g8-64k,g1-cache,llama-2-7b-4k,llama-3-8b-8k,llama-3-8b-32k,"
                                "qwen2.5-7b-16k,smollm2-135m-8k";
    static char ops[] = "attend,compress,append,decompress";
    static const struct option options[] = {
        {"device", required_argument, NULL, 'd'},  {"isa", required_argument, NULL, 'i'},
        {"threads", required_argument, NULL, 't'}, {"op", required_argument, NULL, 'o'},
        {"shape", required_argument, NULL, 's'},   {"kept", required_argument, NULL, 'k'},
        {"dtype", required_argument, NULL, 'y'},   {"preset", required_argument, NULL, 'p'},
        {"seconds", required_argument, NULL, 'n'}, {"json", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},          {0}};
    plan->seconds = 0.6;
    split(quick_shapes, &plan->shapes);
    split(quick_types, &plan->dtypes);
    split(kept, &plan->kept);
    split(ops, &plan->ops);
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 'd':
            plan->device = optarg;
            break;
        case 'i':
            split(optarg, &plan->isa);
            break;
        case 't':
            split(optarg, &plan->threads);
            break;
        case 'o':
            split(optarg, &plan->ops);
            break;
        case 's':
            split(optarg, &plan->shapes);
            break;
        case 'k':
            split(optarg, &plan->kept);
            break;
        case 'y':
            split(optarg, &plan->dtypes);
            break;
        case 'p':
            if (strcmp(optarg, "full") == 0) {
                split(full_shapes, &plan->shapes);
                plan->seconds = 2;
            } else if (strcmp(optarg, "quick") != 0) {
                tool_die(TOOL_USAGE, "bench: preset is \"%s\"; it must be quick or full", optarg);
            }
            break;
        case 'n':
            plan->seconds = strtod(optarg, NULL);
            if (!(plan->seconds > 0 && plan->seconds <= 600))
                tool_die(TOOL_USAGE, "bench: seconds is \"%s\"; it must be above 0, up to 600", optarg);
            break;
        case 'j':
            plan->json = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(TOOL_OK);
        default:
            fputs(usage, stderr);
            exit(TOOL_USAGE);
        }
    if (optind < argc)
        tool_die(TOOL_USAGE, "bench: unexpected argument \"%s\"", argv[optind]);
}

static cJSON *start_report(const struct tool_device *on)
{
    cJSON *report = cJSON_CreateObject();
    cJSON_AddStringToObject(report, "schema", SCHEMA);
    cJSON_AddNumberToObject(report, "schema_version", SCHEMA_VERSION);
    cJSON_AddNumberToObject(report, "skv_version", skv_version());
    cJSON_AddStringToObject(report, "revision", SKV_REVISION);
    cJSON_AddStringToObject(report, "device", on->info.id);
    cJSON_AddStringToObject(report, "machine", on->info.name);
    cJSON_AddStringToObject(report, "driver", on->info.driver);
    cJSON_AddNumberToObject(report, "compute_units", on->info.compute_units);
    return report;
}

static void write_json(const cJSON *report, const char *path)
{
    FILE *file = fopen(path, "w");
    char *text = cJSON_Print(report);
    if (!file || fputs(text, file) == EOF || fclose(file) != 0)
        tool_die(TOOL_FAILED, "%s: %s", path, strerror(errno));
    cJSON_free(text);
}

int tool_bench(int argc, char **argv)
{
    struct plan plan = {0};
    struct tool_device on;
    parse(argc, argv, &plan);
    tool_open(&on, plan.device, NULL, 0);
    cJSON *report = start_report(&on);
    cJSON *results = cJSON_AddArrayToObject(report, "results");
    char one[] = "1", all[16];
    snprintf(all, sizeof all, "%u", on.info.compute_units);
    bool cpu = strcmp(on.info.backend, "cpu") == 0;
    if (plan.threads.n == 0) {
        plan.threads.n = cpu && on.info.compute_units > 1 ? 2 : 1;
        plan.threads.item[0] = cpu ? one : all;
        plan.threads.item[1] = all;
    }
    if (plan.isa.n == 0)
        plan.isa.n = 1; /* item NULL: the best */
    printf("%s: %s, %s\nratios are medians of rounds in turns, quartiles in brackets; k is per row\n", on.info.id,
           on.info.name, on.info.variant);
    tool_close(&on);
    for (size_t i = 0; i < plan.isa.n; i++)
        for (size_t t = 0; t < plan.threads.n; t++) {
            uint32_t n_threads = cpu ? number(plan.threads.item[t], "threads", 1024) : 0;
            tool_open(&on, plan.device, cpu ? plan.isa.item[i] : NULL, n_threads);
            run_settings(&on, &plan, n_threads, results);
            tool_close(&on);
        }
    if (plan.json)
        write_json(report, plan.json);
    cJSON_Delete(report);
    return TOOL_OK;
}
