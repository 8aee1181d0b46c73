/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/check.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/conformance/objects.h"

enum suite_result suite_run_case(struct suite_context *t, const char *name, void (*body)(struct suite_context *))
{
    jmp_buf escape;
    t->case_name = name;
    t->message[0] = t->shape[0] = '\0';
    t->escape = &escape;
    /* A case's inputs depend on its name, so that it repeats alone what it did among others. */
    t->random[0] = t->seed;
    t->random[1] = 0x9e3779b97f4a7c15;
    for (const char *c = name; *c; c++)
        t->random[1] = (t->random[1] ^ (unsigned char)*c) * 0x100000001b3;
    for (int i = 0; i < 8; i++)
        (void)suite_random(t);
    t->junk = suite_random(t);

    int outcome = setjmp(escape);
    if (outcome == 0) {
        body(t);
        suite_reset(t);
    } else {
        suite_release_all(t);
    }
    t->escape = NULL;
    return (enum suite_result)outcome;
}

static noreturn void leave(struct suite_context *t, enum suite_result result)
{
    longjmp(*(jmp_buf *)t->escape, (int)result);
}

noreturn void suite_fail(struct suite_context *t, const char *format, ...)
{
    char text[420], repeat[160];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (t->repeat)
        snprintf(repeat, sizeof repeat, "%s", t->repeat);
    else
        snprintf(repeat, sizeof repeat, "conformance --device %s", t->device_id ? t->device_id : "cpu");
    snprintf(t->message, sizeof t->message, "%s%s%s; seed %" PRIu64 "; repeat: %s%s --seed %" PRIu64 " --filter %s",
             text, t->shape[0] ? "; " : "", t->shape, t->seed, repeat, t->quick ? " --quick" : "", t->seed,
             t->case_name);
    leave(t, SUITE_FAIL);
}

noreturn void suite_skip(struct suite_context *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(t->message, sizeof t->message, format, args);
    va_end(args);
    leave(t, SUITE_SKIP);
}

void suite_shape(struct suite_context *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(t->shape, sizeof t->shape, format, args);
    va_end(args);
}

void suite_try(struct suite_context *t, const char *what, skv_status status)
{
    if (status != SKV_OK)
        suite_fail(t, "%s: %s: %s", what, skv_status_name(status), skv_error_message());
}

void suite_refuse(struct suite_context *t, const char *what, skv_status status, skv_status expected, const char *word)
{
    if (status != expected)
        suite_fail(t, "%s: expected %s, got %s (message \"%s\")", what, skv_status_name(expected),
                   skv_status_name(status), status == SKV_OK ? "" : skv_error_message());
    if (!strstr(skv_error_message(), word))
        suite_fail(t, "%s: %s as expected, but the message does not name \"%s\": \"%s\"", what, skv_status_name(status),
                   word, skv_error_message());
}

void suite_need(struct suite_context *t, unsigned dtypes, unsigned forms, unsigned strategies, unsigned head_dim)
{
    const skv_limits *limits = &t->limits;
    if (dtypes & ~(limits->dtypes | limits->query_dtypes) || forms & ~limits->forms ||
        strategies & ~limits->strategies || head_dim > limits->head_dim_max)
        suite_skip(t,
                   "the device lacks one of: value types 0x%x, forms 0x%x, strategies 0x%x, head_dim %u (it has 0x%x, "
                   "0x%x, 0x%x, %u)",
                   dtypes, forms, strategies, head_dim, limits->dtypes | limits->query_dtypes, limits->forms,
                   limits->strategies, limits->head_dim_max);
}

/* Little-endian, as all that is compared is. */
static unsigned long long element(const unsigned char *bytes, unsigned n_bytes)
{
    unsigned long long value = 0;
    for (unsigned i = n_bytes; i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

void suite_equal(struct suite_context *t, const char *what, const void *got, const void *expected, uint64_t n_bytes,
                 unsigned element_bytes)
{
    if (memcmp(got, expected, (size_t)n_bytes) == 0)
        return;
    const unsigned char *a = got, *b = expected;
    uint64_t i = 0, n_different = 0;
    while (memcmp(a + i * element_bytes, b + i * element_bytes, element_bytes) == 0)
        i++;
    for (uint64_t j = i; j < n_bytes / element_bytes; j++)
        n_different += memcmp(a + j * element_bytes, b + j * element_bytes, element_bytes) != 0;
    suite_fail(t,
               "%s: element %" PRIu64 " of %" PRIu64 " is the first of %" PRIu64 " that differ: got 0x%0*llx, "
               "expected 0x%0*llx",
               what, i, n_bytes / element_bytes, n_different, (int)element_bytes * 2,
               element(a + i * element_bytes, element_bytes), (int)element_bytes * 2,
               element(b + i * element_bytes, element_bytes));
}

void suite_near(struct suite_context *t, const char *what, uint64_t index, double got, double exact, double bound)
{
    bool right = fabs(got - exact) <= bound;
    if (isnan(exact))
        right = isnan(got);
    else if (isinf(exact))
        right = got == exact;
    if (!right)
        suite_fail(t, "%s: element %" PRIu64 " is %.9g, exact %.9g; they differ by %.3g, the bound is %.3g", what,
                   index, got, exact, fabs(got - exact), bound);
}
