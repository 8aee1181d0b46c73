/* SPDX-License-Identifier: Apache-2.0
 *
 * What the cases are written with. A check that fails leaves the case at once; whatever was made through these
 * functions is released when the case ends.
 */
#ifndef SKV_TESTS_CONFORMANCE_CHECK_H
#define SKV_TESTS_CONFORMANCE_CHECK_H

#include <stdbool.h>
#include <stdnoreturn.h>

#include "tests/conformance/suite.h"
#include "tests/reference/reference.h"

#if defined(__GNUC__)
#define SUITE_PRINTF(i_format, i_first) __attribute__((format(printf, i_format, i_first)))
#else
#define SUITE_PRINTF(i_format, i_first)
#endif

/* Defines a case, for the list in table.c: its name, its entry suite_<id>, and the body that follows. */
#define SUITE_CASE(id, name)                               \
    static void id(struct suite_context *t);               \
    extern const char suite_name_##id[];                   \
    const char suite_name_##id[] = name;                   \
    enum suite_result suite_##id(struct suite_context *t); \
    enum suite_result suite_##id(struct suite_context *t)  \
    {                                                      \
        return suite_run_case(t, suite_name_##id, id);     \
    }                                                      \
    static void id(struct suite_context *t)

enum suite_result suite_run_case(struct suite_context *t, const char *name, void (*body)(struct suite_context *));

/* ---- outcomes */

SUITE_PRINTF(2, 3) noreturn void suite_fail(struct suite_context *t, const char *format, ...);
SUITE_PRINTF(2, 3) noreturn void suite_skip(struct suite_context *t, const char *format, ...);
/* What failures from here on say about the input. */
SUITE_PRINTF(2, 3) void suite_shape(struct suite_context *t, const char *format, ...);
/* Fails unless status is SKV_OK. */
void suite_try(struct suite_context *t, const char *what, skv_status status);
/* Fails unless status is `expected` and the error message holds `word`. */
void suite_refuse(struct suite_context *t, const char *what, skv_status status, skv_status expected, const char *word);
/* Skips the case where the device's limits exclude what it needs; 0 stands for "nothing". */
void suite_need(struct suite_context *t, unsigned dtypes, unsigned forms, unsigned strategies, unsigned head_dim);

/* Fails at the first element that differs. */
void suite_equal(struct suite_context *t, const char *what, const void *got, const void *expected, uint64_t n_bytes,
                 unsigned element_bytes);
/* Fails unless |got - exact| <= bound, or both are NaN, or both the same infinity. */
void suite_near(struct suite_context *t, const char *what, uint64_t index, double got, double exact, double bound);

/* ---- random inputs, a function of seed and case name alone */

uint64_t suite_random(struct suite_context *t);
/* From 0 to n - 1. */
unsigned suite_below(struct suite_context *t, unsigned n);
double suite_uniform(struct suite_context *t);
double suite_normal(struct suite_context *t);
void suite_shuffle(struct suite_context *t, int32_t *values, unsigned n);

enum suite_kind {
    SUITE_NORMAL,    /* a normal distribution with a few large channels, as keys have */
    SUITE_TIES,      /* few different magnitudes, both zeros */
    SUITE_ZEROS,     /* zeros of both signs */
    SUITE_EQUAL,     /* one magnitude, both signs */
    SUITE_SUBNORMAL, /* around and below the smallest normal number */
    SUITE_FINITE,    /* a kind from above for each row */
    SUITE_BITS,      /* any 16 bits */
    SUITE_SPECIAL,   /* zeros, infinities, NaN of several payloads, extremes */
    SUITE_ANY        /* a kind from above for each row */
};
void suite_row(struct suite_context *t, unsigned type, enum suite_kind kind, uint16_t *row, unsigned d);

/* ---- memory and objects; released by suite_reset and at the end of the case */

void *suite_host(struct suite_context *t, uint64_t n_bytes); /* zeroed */
void suite_own(struct suite_context *t, void *object, void (*release)(void *object));
/* Checks that inputs are as they were and canaries alive, then releases everything. */
void suite_reset(struct suite_context *t);
/* Opens another device of the same kind and kernels; 0 threads: the default. */
skv_device *suite_open_again(struct suite_context *t, unsigned n_threads, const skv_executor *executor);
/* Makes the context work on it, with a queue of its own, until the case ends. */
void suite_switch(struct suite_context *t, skv_device *device);

/* Device memory. An array starts at an offset that is a multiple of `alignment` and of nothing larger, behind a canary.
 * Inputs end with their buffer and must keep their contents; outputs are poisoned, and followed by another canary. */
struct suite_array {
    skv_span span;
    uint64_t n_bytes;
};
struct suite_array suite_input(struct suite_context *t, const void *data, uint64_t n_bytes, unsigned alignment);
struct suite_array suite_output(struct suite_context *t, uint64_t n_bytes, unsigned alignment);
/* Like an output, but with contents, which poison would make no sense of. */
struct suite_array suite_inout(struct suite_context *t, const void *data, uint64_t n_bytes, unsigned alignment);
void suite_write(struct suite_context *t, struct suite_array array, const void *data);
void suite_read(struct suite_context *t, struct suite_array array, void *data);
/* What memory that no token owns holds: NaN in every value type, or any bytes. Drawn apart from the other random
 * inputs, from t->junk, so that a case can have the same inputs among other junk. */
void suite_poison(struct suite_context *t, void *memory, uint64_t n_bytes);
/* The bytes that a fresh output holds. */
void suite_output_poison(void *memory, uint64_t n_bytes);

#endif
