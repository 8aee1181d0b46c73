/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tool.h"

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"info", "backends, devices and their limits, and why one is missing", tool_info},
    {"demo", "a real model's KV cache pruned, compressed and attended", tool_demo},
    {"bench", "speed of the operations on this machine", tool_bench},
    {"selftest", "checks this machine's devices, for users and bug reports", tool_selftest},
};
#define N_COMMANDS (sizeof commands / sizeof commands[0])

static void usage(FILE *to)
{
    fputs("usage: skv COMMAND [OPTIONS]\n\n", to);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].summary);
    fputs("\nskv COMMAND --help tells a command's options. SKV_DEVICE, SKV_CPU_ISA and SKV_CPU_THREADS choose what "
          "runs.\n",
          to);
}

/* What slows a device down without an error; errors are the commands' to report. */
static void print_warning(void *user, skv_log_level level, const char *message)
{
    (void)user;
    if (level == SKV_LOG_WARN)
        fprintf(stderr, "skv: %s\n", message);
}

int main(int argc, char **argv)
{
    skv_log_set(print_warning, NULL, SKV_LOG_WARN);
    if (argc < 2) {
        usage(stderr);
        return TOOL_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return TOOL_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("skv %u.%u.%u\n", skv_version() / 10000, skv_version() / 100 % 100, skv_version() % 100);
        return TOOL_OK;
    }
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    tool_die(TOOL_USAGE, "unknown command \"%s\"; skv --help lists them", argv[1]);
}
