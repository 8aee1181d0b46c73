/* SPDX-License-Identifier: Apache-2.0
 *
 * conformance [--device ID] [--isa LEVEL] [--threads N] [--filter SUBSTRING] [--require ID,ID] [--seed N] [--quick]
 *             [--list]
 *
 * --device and --isa may be given several times: each device runs the suite, a CPU once for each level. A level that
 * this machine lacks is skipped; so is a device, unless --require, or SKV_REQUIRE, names it. Exit status: 0, 1 when a
 * case failed, 77 when nothing ran (0 where TAP says so), 2 for a wrong command line.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>

#include <cmocka.h>

#include "tests/conformance/suite.h"

#define MANY 16
#define EXIT_USAGE 2
/* What meson and automake take for "skipped". */
#define EXIT_SKIPPED 77

struct options {
    const char *devices[MANY], *levels[MANY], *required, *filter;
    unsigned n_devices, n_levels, n_threads;
    uint64_t seed;
    int quick;
};

/* What one test of cmocka runs. */
struct test {
    struct suite_context *context;
    const struct suite_case *suite_case;
    char name[160];
};

static void run_suite_case(void **state)
{
    struct test *test = *state;
    switch (test->suite_case->run(test->context)) {
    case SUITE_PASS:
        break;
    case SUITE_SKIP:
        print_message("%s: %s\n", test->name, test->context->message);
        skip();
        break;
    case SUITE_FAIL:
        fail_msg("%s: %s", test->suite_case->name, test->context->message);
        break;
    }
}

static int is_chosen(const struct options *options, const struct suite_case *suite_case)
{
    return (!options->filter || strstr(suite_case->name, options->filter)) && (!options->quick || suite_case->quick);
}

/* Returns the number of failed tests. */
static int run_suite(const struct options *options, struct suite_context *context, const char *label)
{
    struct CMUnitTest *tests = calloc(suite_n_cases, sizeof *tests);
    struct test *states = calloc(suite_n_cases, sizeof *states);
    size_t n = 0;
    if (!tests || !states) {
        fputs("conformance: out of memory\n", stderr);
        exit(EXIT_FAILURE);
    }
    for (size_t i = 0; i < suite_n_cases; i++) {
        if (!is_chosen(options, &suite_cases[i]))
            continue;
        states[n].context = context;
        states[n].suite_case = &suite_cases[i];
        snprintf(states[n].name, sizeof states[n].name, "%s %s", label, suite_cases[i].name);
        tests[n] =
            (struct CMUnitTest){.name = states[n].name, .test_func = run_suite_case, .initial_state = &states[n]};
        n++;
    }
    int n_failed = n ? _cmocka_run_group_tests(label, tests, n, NULL, NULL) : 0;
    free(tests);
    free(states);
    return n_failed;
}

/* True when `id`, or the backend's name before its colon, is in the comma-separated list. */
static int is_required(const char *list, const char *id)
{
    size_t id_length = strlen(id), backend_length = strcspn(id, ":");
    while (list && *list) {
        size_t length = strcspn(list, ",");
        if ((length == id_length && memcmp(list, id, length) == 0) ||
            (length == backend_length && memcmp(list, id, length) == 0))
            return 1;
        list += length + (list[length] == ',');
    }
    return 0;
}

static void check_status(const char *what, skv_status status)
{
    if (status == SKV_OK)
        return;
    fprintf(stderr, "conformance: %s: %s: %s\n", what, skv_status_name(status), skv_error_message());
    exit(EXIT_FAILURE);
}

/* A kernel that gives way to a slower one is no failure, but worth a line. */
static void print_warning(void *user, skv_log_level level, const char *message)
{
    (void)user;
    if (level == SKV_LOG_WARN)
        fprintf(stderr, "conformance: %s\n", message);
}

/* Runs the suite on one device. Returns the number of failures, or -1 when it could not be opened and need not be. */
static int run_device(const struct options *options, const char *id, const char *isa)
{
    skv_device_params params = {
        .struct_size = sizeof params, .id = id, .cpu_isa = isa, .cpu_threads = options->n_threads};
    struct suite_context context = {.seed = options->seed, .device_id = id, .quick = options->quick};
    char label[64], repeat[128];
    snprintf(label, sizeof label, "%s%s%s", id, isa ? "." : "", isa ? isa : "");
    int n = snprintf(repeat, sizeof repeat, "conformance --device %s", id);
    if (isa)
        n += snprintf(repeat + n, sizeof repeat - (size_t)n, " --isa %s", isa);
    if (options->n_threads)
        snprintf(repeat + n, sizeof repeat - (size_t)n, " --threads %u", options->n_threads);
    context.repeat = repeat;

    skv_status status = skv_device_open(&params, &context.device);
    if (status == SKV_ERROR_NOT_FOUND || status == SKV_ERROR_UNSUPPORTED) {
        int required = !isa && is_required(options->required, id);
        fprintf(stderr, "conformance: %s %s: %s\n", label, required ? "is required" : "skipped", skv_error_message());
        return required ? 1 : -1;
    }
    check_status(label, status);
    check_status("skv_queue_create", skv_queue_create(context.device, NULL, &context.queue));
    context.limits.struct_size = sizeof context.limits;
    check_status("skv_device_get_limits", skv_device_get_limits(context.device, &context.limits));
    skv_device_info info = {.struct_size = sizeof info};
    check_status("skv_device_get_info", skv_device_get_info(context.device, &info));
    fprintf(stderr, "conformance: %s: %s, %s, seed %" PRIu64 "\n", info.id, info.name, info.variant, context.seed);

    int n_failed = run_suite(options, &context, label);
    skv_queue_destroy(context.queue);
    skv_device_release(context.device);
    return n_failed;
}

static noreturn void usage(FILE *stream, int status)
{
    fputs("usage: conformance [--device ID]... [--isa LEVEL]... [--threads N] [--filter SUBSTRING]\n"
          "                   [--require ID,ID] [--seed N] [--quick] [--list]\n",
          stream);
    exit(status);
}

static uint64_t number(const char *text, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 0);
    if (errno || end == text || *end || value > most)
        usage(stderr, EXIT_USAGE);
    return value;
}

static void add(const char **list, unsigned *n, const char *text)
{
    if (*n == MANY)
        usage(stderr, EXIT_USAGE);
    list[(*n)++] = text;
}

static void list_cases(const struct options *options)
{
    for (size_t i = 0; i < suite_n_cases; i++)
        if (is_chosen(options, &suite_cases[i]))
            printf("%s\n", suite_cases[i].name);
}

/* A consumer of TAP takes a plan of no tests for that, and a status other than 0 for a crash. */
static int skipped(void)
{
    const char *output = getenv("CMOCKA_MESSAGE_OUTPUT");
    if (!output || strcmp(output, "TAP") != 0)
        return EXIT_SKIPPED;
    puts("1..0 # SKIP no device");
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    skv_log_set(print_warning, NULL, SKV_LOG_WARN);
    static const struct option long_options[] = {
        {"device", required_argument, NULL, 'd'},  {"isa", required_argument, NULL, 'i'},
        {"threads", required_argument, NULL, 't'}, {"filter", required_argument, NULL, 'f'},
        {"require", required_argument, NULL, 'r'}, {"seed", required_argument, NULL, 's'},
        {"quick", no_argument, NULL, 'q'},         {"list", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},          {0}};
    struct options options = {.seed = 1, .required = getenv("SKV_REQUIRE")};
    int list = 0;
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;)
        switch (option) {
        case 'd':
            add(options.devices, &options.n_devices, optarg);
            break;
        case 'i':
            add(options.levels, &options.n_levels, optarg);
            break;
        case 't':
            options.n_threads = (unsigned)number(optarg, 1024);
            break;
        case 'f':
            options.filter = optarg;
            break;
        case 'r':
            options.required = optarg;
            break;
        case 's':
            options.seed = number(optarg, UINT64_MAX);
            break;
        case 'q':
            options.quick = 1;
            break;
        case 'l':
            list = 1;
            break;
        case 'h':
            usage(stdout, EXIT_SUCCESS);
        default:
            usage(stderr, EXIT_USAGE);
        }
    if (optind < argc)
        usage(stderr, EXIT_USAGE);
    if (list) {
        list_cases(&options);
        return EXIT_SUCCESS;
    }
    if (options.n_devices == 0)
        add(options.devices, &options.n_devices, "cpu");

    int n_failed = 0, n_run = 0;
    for (unsigned i = 0; i < options.n_devices; i++) {
        int is_cpu = strcmp(options.devices[i], "cpu") == 0;
        for (unsigned j = 0; j < (is_cpu && options.n_levels ? options.n_levels : 1); j++) {
            int failed =
                run_device(&options, options.devices[i], is_cpu && options.n_levels ? options.levels[j] : NULL);
            n_run += failed >= 0;
            n_failed += failed > 0 ? failed : 0;
        }
    }
    if (n_run == 0)
        return skipped();
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
