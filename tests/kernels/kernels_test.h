/* SPDX-License-Identifier: Apache-2.0
 *
 * The white-box test and benchmark of the CPU kernels: every entry of every level's table against an oracle that shares
 * no code with them. One cmocka test per level and family; the program's options are in main.c.
 *
 * A case draws its data from (seed, entry, shape) alone, so a filtered run repeats the very bytes of a full one.
 */
#ifndef SKV_TESTS_KERNELS_TEST_H
#define SKV_TESTS_KERNELS_TEST_H

#include <stddef.h>
#include <stdint.h>

#include "backends/cpu/kernels/kernels.h"

/* ---- random numbers ---- */

struct kt_rng {
    uint64_t state;
};

uint64_t kt_random(struct kt_rng *rng);
/* Uniform in [0, n). */
uint32_t kt_below(struct kt_rng *rng, uint32_t n);
double kt_normal(struct kt_rng *rng);

/* ---- the case that runs now, and how it fails ---- */

struct kt_case {
    const char *level, *entry;
    uint32_t d, k, n, m, variant;
};
extern struct kt_case kt_now;

/* Fills kt_now and gives the generator that belongs to the case. */
struct kt_rng kt_begin(const char *level, const char *entry, uint32_t d, uint32_t k, uint32_t n, uint32_t m,
                       uint32_t variant);
/* Prints the case, the message, which should hold the index and both values, and the command that repeats it. Returns
 * 0. */
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
int kt_fail(const char *format, ...);
/* Nonzero if the entry is to be tested now: chosen by --filter and, as changed says, not the level below's. */
int kt_take(const char *level, const char *entry, int changed);

struct kt_options {
    const char *program, *level, *filter;
    uint64_t seed;
    int counting;     /* kt_take only counts, */
    int listing;      /* or prints as well */
    unsigned n_taken; /* the count */
};
extern struct kt_options kt_options;

/* ---- memory between unreadable pages ---- */

struct kt_pen {
    uint8_t *begin, *end; /* the page before begin and the page at end can be neither read nor written */
};

/* A pen of at least that many bytes; never freed. Ends the program when there is no memory. */
struct kt_pen kt_pen_open(size_t bytes);
/* The highest place at which bytes and then slack fit, aligned to align (a power of two), shift bytes lower if it has
 * to be. The bytes, the slack and 128 bytes on each side, as far as the pen goes, become fill. */
uint8_t *kt_pen_place(struct kt_pen pen, size_t bytes, size_t align, size_t shift, size_t slack, uint8_t fill);
/* Checks that what kt_pen_place filled around [at, at + bytes) is still fill. name is for the message. */
int kt_pen_intact(struct kt_pen pen, const uint8_t *at, size_t bytes, uint8_t fill, const char *name);

/* A list of rows of equal size: each alone in a pen that ends with it, or all in one pool, in order or shuffled, with
 * or without gaps. */
#define KT_ROWS 64
enum kt_place { KT_ALONE, KT_ALONE_SHIFTED, KT_POOL, KT_POOL_GAPS, KT_PLACE_COUNT };
struct kt_rows {
    struct kt_pen pen[KT_ROWS], pool, list;
    uint8_t *at[KT_ROWS];
    uint8_t *slot[KT_ROWS]; /* at in order of addresses */
    uint32_t n;
    size_t bytes, stride;
    enum kt_place place;
    uint8_t fill;
};

/* Inputs are surrounded by NaN (all types), outputs by something else, so copying surroundings shows. */
#define KT_POISON 0xff
#define KT_CANARY 0xa5

/* The largest row: a record at head_dim 512 whose slack holds the values that a damaged bitmap claims. */
#define KT_ROW_BYTES (64 + 2 * 512 + SKV_READ_SLACK + 2 * 64)

void kt_rows_open(struct kt_rows *rows);
void kt_rows_place(struct kt_rows *rows, struct kt_rng *rng, enum kt_place place, uint32_t n, size_t bytes,
                   size_t align, size_t slack, uint8_t fill);
/* The list as kernels take it: n pointers, and not one more that could be read. A later call overwrites it. */
uint8_t *const *kt_rows_list(const struct kt_rows *rows);
const uint16_t *const *kt_rows_list16(const struct kt_rows *rows);
/* The same as attention takes it: a first row and a stride where the rows lie so, else the list. */
struct skv_cpu_rows kt_rows_any(const struct kt_rows *rows);
/* Checks that nothing outside the rows was written. */
int kt_rows_intact(const struct kt_rows *rows, const char *name);

/* ---- data ---- */

enum kt_kind {
    KT_NORMAL,
    KT_TIED,      /* few distinct magnitudes, both signs */
    KT_EQUAL,     /* one magnitude, both signs */
    KT_ZEROS,     /* +0, -0 and few others */
    KT_SUBNORMAL, /* subnormal, zero and the smallest normal numbers */
    KT_FINITE,    /* any finite bits */
    KT_SPECIAL,   /* normal with some NaN and infinities */
    KT_BITS,      /* any bits */
    KT_KIND_COUNT
};

void kt_row(struct kt_rng *rng, enum kt_kind kind, int bf16, uint32_t d, uint16_t *row);

/* The shapes that all families go through. kt_kept gives the counts to keep at d, without repeats; returns how many. */
#define KT_D_COUNT 16
#define KT_N_COUNT 10
extern const uint32_t kt_d[KT_D_COUNT], kt_n[KT_N_COUNT];
uint32_t kt_kept(uint32_t d, uint32_t kept[6]);

/* ---- families ---- */

/* Prefetching changes no result, so the tests ask for none. */
extern const struct skv_cpu_ahead kt_nothing_ahead;

extern const char *const kt_math_name[SKV_CPU_MATH_COUNT];
extern const char *const kt_source_name[SKV_CPU_SOURCE_COUNT];

/* Each tests the entries of one family, those that differ from below's (NULL: all), and returns the number of failures.
 */
unsigned kt_test_table(const char *level, const struct skv_cpu_kernels *table, const struct skv_cpu_kernels *below);
unsigned kt_test_attend(const char *level, const struct skv_cpu_kernels *table, const struct skv_cpu_kernels *below);
unsigned kt_test_softmax(const char *level, const struct skv_cpu_kernels *table, const struct skv_cpu_kernels *below);
unsigned kt_test_compress(const char *level, const struct skv_cpu_kernels *table, const struct skv_cpu_kernels *below);

/* Prints the times of all levels, or of the chosen one and the lowest; returns the exit status. */
int kt_bench(int dram);

#endif
