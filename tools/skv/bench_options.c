/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/shapes.h"
#include "tool.h"

static const char usage[] =
    "usage: skv bench [OPTIONS]     (lists are separated by commas)\n"
    "  --device ID        what to measure (default: SKV_DEVICE, else automatic)\n"
    "  --isa LIST         CPU levels, e.g. scalar,avx2, or all; default: the best\n"
    "  --threads LIST     CPU threads, or all; default: all, then 1\n"
    "  --op LIST          read,copy,attend,amortized,compress,append,decompress\n"
    "  --shape LIST       MODEL:SEQSxTOKENS, e.g. llama-3.1-8b:1x32k, or SEQS/QHEADS/KVHEADS/TOKENS/HEADDIM\n"
    "  --kept LIST        survivors per 128 channels\n"
    "  --dtype LIST       f16,bf16\n"
    "  --preset NAME      the lists that the options above do not give, of bench/shapes/presets.json; default: quick\n"
    "  --seconds S        for each measurement\n"
    "  --time-budget S    for all of them: each gets less, and what does not fit is reported as skipped\n"
    "  --json FILE        every sample, what was skipped, and why\n";

static cJSON *split(char *text, const char *what)
{
    cJSON *list = cJSON_CreateArray();
    for (char *item = strtok(text, ","); item; item = strtok(NULL, ",")) {
        const cJSON *other;
        cJSON_ArrayForEach(other, list) if (strcmp(cJSON_GetStringValue(other), item) == 0)
            tool_die(TOOL_USAGE, "bench: %s lists \"%s\" twice", what, item);
        cJSON_AddItemToArray(list, cJSON_CreateString(item));
    }
    if (cJSON_GetArraySize(list) == 0)
        tool_die(TOOL_USAGE, "bench: %s is an empty list", what);
    return list;
}

static cJSON *split_numbers(char *text, const char *what, uint32_t most)
{
    cJSON *texts = split(text, what), *numbers = cJSON_CreateArray(), *item;
    cJSON_ArrayForEach(item, texts)
    {
        char *end;
        const char *digits = cJSON_GetStringValue(item);
        unsigned long value = strtoul(digits, &end, 10);
        if (*end || end == digits || *digits == '-' || value < 1 || value > most)
            tool_die(TOOL_USAGE, "bench: %s is \"%s\"; it must be from 1 to %u", what, digits, most);
        cJSON_AddItemToArray(numbers, cJSON_CreateNumber((double)value));
    }
    cJSON_Delete(texts);
    return numbers;
}

static double seconds_of(const char *text, const char *what, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (*end || end == text || !(value > 0 && value <= most))
        tool_die(TOOL_USAGE, "bench: %s is \"%s\"; it must be above 0, up to %g", what, text, most);
    return value;
}

static void check_dtypes(const cJSON *dtypes)
{
    const cJSON *dtype;
    cJSON_ArrayForEach(dtype, dtypes)
    {
        const char *name = cJSON_GetStringValue(dtype);
        if (strcmp(name, "f16") != 0 && strcmp(name, "bf16") != 0)
            tool_die(TOOL_USAGE, "bench: dtype is \"%s\"; it must be f16 or bf16", name);
    }
}

/* Takes a list that no option gave out of the preset. */
static void fill(cJSON **list, cJSON *preset, const char *name)
{
    if (!*list)
        *list = cJSON_DetachItemFromObject(preset, name);
}

static void apply_preset(struct bench_options *options, const char *name)
{
    cJSON *preset = bench_preset(name);
    if (!preset) {
        char names[256];
        bench_list_names(names, sizeof names, "presets");
        tool_die(TOOL_USAGE, "bench: preset is \"%s\"; there are %s", name, names);
    }
    fill(&options->ops, preset, "ops");
    fill(&options->shapes, preset, "shapes");
    fill(&options->kept, preset, "kept");
    fill(&options->dtypes, preset, "dtypes");
    if (!(options->seconds > 0))
        options->seconds = cJSON_GetNumberValue(cJSON_GetObjectItem(preset, "seconds"));
    cJSON_Delete(preset);
    if (!options->ops || !options->shapes || !options->kept || !options->dtypes || !(options->seconds > 0))
        tool_die(TOOL_FAILED, "bench: preset \"%s\" in bench/shapes/presets.json is incomplete", name);
}

void bench_parse_options(int argc, char **argv, struct bench_options *options)
{
    static const struct option known[] = {{"device", required_argument, NULL, 'd'},
                                          {"isa", required_argument, NULL, 'i'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"op", required_argument, NULL, 'o'},
                                          {"shape", required_argument, NULL, 's'},
                                          {"kept", required_argument, NULL, 'k'},
                                          {"dtype", required_argument, NULL, 'y'},
                                          {"preset", required_argument, NULL, 'p'},
                                          {"seconds", required_argument, NULL, 'n'},
                                          {"time-budget", required_argument, NULL, 'b'},
                                          {"json", required_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    const char *preset = "quick";
    memset(options, 0, sizeof *options);
    /* getopt moves words about, and split cuts them: both work on copies, for the command is part of the result. */
    char **words = tool_alloc(((size_t)argc + 1) * sizeof *words);
    for (int i = 0; i < argc; i++)
        words[i] = strcpy(tool_alloc(strlen(argv[i]) + 1), argv[i]);
    words[argc] = NULL;
    options->words = words;
    for (int option; (option = getopt_long(argc, words, "", known, NULL)) != -1;)
        switch (option) {
        case 'd':
            options->device = optarg;
            break;
        case 'i':
            options->isa = split(optarg, "isa");
            break;
        case 't':
            options->threads =
                strcmp(optarg, "all") == 0 ? cJSON_CreateArray() : split_numbers(optarg, "threads", 1024);
            break;
        case 'o':
            options->ops = split(optarg, "op");
            break;
        case 's':
            options->shapes = split(optarg, "shape");
            break;
        case 'k':
            options->kept = split_numbers(optarg, "kept", 512);
            break;
        case 'y':
            options->dtypes = split(optarg, "dtype");
            break;
        case 'p':
            preset = optarg;
            break;
        case 'n':
            options->seconds = seconds_of(optarg, "seconds", 600);
            break;
        case 'b':
            options->time_budget = seconds_of(optarg, "time-budget", 1e6);
            break;
        case 'j':
            options->json = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(TOOL_OK);
        default:
            fputs(usage, stderr);
            exit(TOOL_USAGE);
        }
    if (optind < argc)
        tool_die(TOOL_USAGE, "bench: unexpected argument \"%s\"", words[optind]);
    apply_preset(options, preset);
    check_dtypes(options->dtypes);
}

void bench_default_lists(struct bench_options *options, bool cpu, uint32_t n_cores)
{
    static const char *const levels[] = {"scalar", "avx2", "avx512", "avx512vbmi2", "avx512bf16", "amx", "neon"};
    const cJSON *first = cJSON_GetArrayItem(options->isa, 0);
    if (!cpu || !options->isa) {
        cJSON_Delete(options->isa);
        options->isa = cJSON_CreateArray();
        cJSON_AddItemToArray(options->isa, cJSON_CreateNull());
    } else if (strcmp(cJSON_GetStringValue(first), "all") == 0) {
        cJSON_Delete(options->isa);
        options->isa = cJSON_CreateStringArray(levels, sizeof levels / sizeof levels[0]);
    }
    bool only_all = options->threads && cJSON_GetArraySize(options->threads) == 0;
    if (!cpu || !options->threads || only_all) {
        cJSON_Delete(options->threads);
        options->threads = cJSON_CreateArray();
        cJSON_AddItemToArray(options->threads, cJSON_CreateNumber(cpu && n_cores ? n_cores : 1));
        if (cpu && !only_all && n_cores > 1)
            cJSON_AddItemToArray(options->threads, cJSON_CreateNumber(1));
    }
}

void bench_free_options(struct bench_options *options)
{
    cJSON_Delete(options->isa);
    cJSON_Delete(options->ops);
    cJSON_Delete(options->shapes);
    cJSON_Delete(options->kept);
    cJSON_Delete(options->dtypes);
    cJSON_Delete(options->threads);
    for (size_t i = 0; options->words[i]; i++)
        free(options->words[i]);
    free(options->words);
}
