/* SPDX-License-Identifier: Apache-2.0
 *
 * kernels [--level NAME] [--seed N] [--filter SUBSTRING] [--list | --bench [--dram]]
 *
 * A test is named level/family, an entry level/family.variant; --filter chooses entries (and, at levels that this
 * machine cannot run, tests) whose name holds the substring. An entry that a level took over from the one below is
 * tested once, with the lowest level that has it, unless --level asks.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/cpu/ladder.h"
#include "tests/kernels/kernels_test.h"

#define LEVELS_MAX 8
/* What meson and automake take for "skipped". */
#define EXIT_SKIPPED 77

static const struct family {
    const char *name;
    unsigned (*test)(const char *level, const struct skv_cpu_kernels *table, const struct skv_cpu_kernels *below);
} families[] = {
    {"table", kt_test_table},
    {"softmax", kt_test_softmax},
    {"attend", kt_test_attend},
    {"compress", kt_test_compress},
};
#define N_FAMILIES (sizeof families / sizeof families[0])

struct test {
    unsigned level;
    const struct family *family;
    int usable;
    char name[64];
};

/* The tables of a level for this processor and for one of other habits; nonzero where they differ. */
static int fill_both(unsigned level, struct skv_cpu_kernels *table, struct skv_cpu_kernels *other)
{
    skv_cpu_ladder_fill(level, table);
    struct skv_cpu_habits habits = {.streams = !table->habits.streams, .halves = !table->habits.halves};
    skv_cpu_ladder_fill_for(level, habits, other);
    return memcmp(table->attend, other->attend, sizeof table->attend) != 0;
}

/* What the level below does not have; and where the level is the first that heeds habits, what it has for other ones.
 */
static unsigned run(unsigned level, const struct family *family)
{
    struct skv_cpu_kernels table, below, other, other_below;
    const char *name = skv_cpu_ladder_name(level);
    int first = level == 0 || kt_options.level, differ = fill_both(level, &table, &other), differ_below = 0;
    if (!first)
        differ_below = fill_both(level - 1, &below, &other_below);
    unsigned n_failed = family->test(name, &table, first ? NULL : &below);
    if (differ && !differ_below && family->test == kt_test_attend)
        n_failed += family->test(name, &other, &table);
    return n_failed;
}

static struct sigaction cmocka_action[2];

/* Says which case it was, and leaves the rest to cmocka, whose handler the repeated instruction calls. */
static void on_fault(int number)
{
    kt_fail("signal %d: an access out of bounds, or an instruction that this machine lacks", number);
    sigaction(SIGSEGV, &cmocka_action[0], NULL);
    sigaction(SIGILL, &cmocka_action[1], NULL);
}

static void test_level(void **state)
{
    const struct test *test = *state;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_fault;
    sigaction(SIGSEGV, &action, &cmocka_action[0]);
    sigaction(SIGILL, &action, &cmocka_action[1]);
    unsigned n_failed = run(test->level, test->family);
    sigaction(SIGSEGV, &cmocka_action[0], NULL);
    sigaction(SIGILL, &cmocka_action[1], NULL);
    if (n_failed)
        fail_msg("%u entries failed", n_failed);
}

/* Whether the test has anything to do; with --list also prints its entries. */
static int wanted(const struct test *test)
{
    if (!test->usable) {
        int named = !kt_options.filter || strstr(test->name, kt_options.filter);
        if (named && kt_options.listing)
            printf("%s: not on this machine\n", test->name);
        return named;
    }
    kt_options.counting = 1;
    kt_options.n_taken = 0;
    run(test->level, test->family);
    kt_options.counting = 0;
    return kt_options.n_taken > 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: %s [--level NAME] [--seed N] [--filter SUBSTRING] [--list | --bench [--dram]]\n",
            kt_options.program);
    return 2;
}

int main(int argc, char **argv)
{
    static struct test test[LEVELS_MAX * N_FAMILIES];
    static struct CMUnitTest unit[LEVELS_MAX * N_FAMILIES]; /* cmocka passes over those without a name */
    int bench = 0, dram = 0;
    unsigned n_tests = 0, n_found = 0, n_levels = skv_cpu_ladder_count(), found = 0;
    kt_options.program = argv[0];
    kt_options.seed = 1;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--bench"))
            bench = 1;
        else if (!strcmp(argv[i], "--dram"))
            dram = 1;
        else if (!strcmp(argv[i], "--list"))
            kt_options.listing = 1;
        else if (value && !strcmp(argv[i], "--level"))
            kt_options.level = argv[++i];
        else if (value && !strcmp(argv[i], "--filter"))
            kt_options.filter = argv[++i];
        else if (value && !strcmp(argv[i], "--seed"))
            kt_options.seed = strtoull(argv[++i], NULL, 0);
        else
            return usage();
    }
    for (unsigned level = 0; level < n_levels && level < LEVELS_MAX; level++)
        found |= !kt_options.level || !strcmp(kt_options.level, skv_cpu_ladder_name(level));
    if (!found || n_levels > LEVELS_MAX) {
        fprintf(stderr, "%s: no such level, or too many\n", kt_options.program);
        return 2;
    }
    if (bench)
        return kt_bench(dram);

    for (unsigned level = 0; level < n_levels; level++) {
        if (kt_options.level && strcmp(kt_options.level, skv_cpu_ladder_name(level)))
            continue;
        for (unsigned i = 0; i < N_FAMILIES; i++) {
            struct test *next = &test[n_tests];
            next->level = level;
            next->family = &families[i];
            next->usable = skv_cpu_ladder_usable(level) && skv_cpu_ladder_admit(level);
            snprintf(next->name, sizeof next->name, "%s/%s", skv_cpu_ladder_name(level), families[i].name);
            if (!wanted(next))
                continue;
            n_found++;
            if (next->usable)
                unit[n_tests++] = (struct CMUnitTest){next->name, test_level, NULL, NULL, next};
            else if (!kt_options.listing)
                fprintf(stderr, "kernels: %s: not on this machine\n", next->name);
        }
    }
    if (kt_options.listing)
        return 0;
    if (n_found == 0) {
        fprintf(stderr, "%s: nothing to test is called that\n", kt_options.program);
        return 2;
    }
    if (n_tests == 0)
        return EXIT_SKIPPED;
    fprintf(stderr, "kernels: seed %llu\n", (unsigned long long)kt_options.seed);
    int n_failed = cmocka_run_group_tests_name("kernels", unit, NULL, NULL);
    return n_failed ? 1 : 0;
}
