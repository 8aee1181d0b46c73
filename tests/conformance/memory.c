/* SPDX-License-Identifier: Apache-2.0
 *
 * Buffers, queues, timers and the choice of devices.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/shapes.h"

static void fill_random(struct suite_context *t, unsigned char *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        bytes[i] = (unsigned char)(suite_random(t) >> 56);
}

/* Any offset and size goes, aligned or not, and nothing beside the span changes. */
SUITE_CASE(memory_copies, "memory/copies")
{
    enum { N = 4099 };
    unsigned char *model = suite_host(t, N), *other_model = suite_host(t, N), *got = suite_host(t, N);
    fill_random(t, model, N);
    fill_random(t, other_model, N);
    struct suite_array array = suite_inout(t, model, N, 1), other = suite_inout(t, other_model, N, 1);
    unsigned n = t->quick ? 40 : 400;
    for (unsigned i = 0; i < n; i++) {
        unsigned size = suite_below(t, i % 3 ? 70 : N), from = suite_below(t, N - size + 1);
        unsigned to = suite_below(t, N - size + 1), value = suite_below(t, 256);
        suite_shape(t, "%u bytes from %u to %u", size, from, to);
        skv_span at = {array.span.buffer, array.span.offset + to};
        skv_span there = {other.span.buffer, other.span.offset + from};
        switch (suite_below(t, 5)) {
        case 0:
            fill_random(t, got, size);
            memcpy(model + to, got, size);
            suite_try(t, "skv_buffer_write", skv_buffer_write(t->queue, at, got, size));
            break;
        case 1:
            suite_try(t, "skv_buffer_read", skv_buffer_read(t->queue, got, at, size));
            suite_equal(t, "what was read", got, model + to, size, 1);
            break;
        case 2:
            memset(model + to, (int)value, size);
            suite_try(t, "skv_buffer_fill", skv_buffer_fill(t->queue, at, (uint8_t)value, size));
            break;
        case 3:
            memcpy(model + to, other_model + from, size);
            suite_try(t, "skv_buffer_copy", skv_buffer_copy(t->queue, at, there, size));
            break;
        default:
            /* Within one buffer, from behind or before. */
            there = (skv_span){array.span.buffer, array.span.offset + from};
            if (to < from + size && from < to + size && size) {
                suite_refuse(t, "skv_buffer_copy of overlapping spans", skv_buffer_copy(t->queue, at, there, size),
                             SKV_ERROR_INVALID_ARGUMENT, "overlap");
                break;
            }
            memcpy(model + to, model + from, size);
            suite_try(t, "skv_buffer_copy within a buffer", skv_buffer_copy(t->queue, at, there, size));
        }
    }
    suite_read(t, array, got);
    suite_equal(t, "the array", got, model, N, 1);
    suite_read(t, other, got);
    suite_equal(t, "the array that was copied from", got, other_model, N, 1);
}

/* Wrapped memory is used where it lies, and outlives its buffer. */
SUITE_CASE(memory_wrap, "memory/wrap")
{
    uint32_t words[64];
    skv_buffer_params params = {.struct_size = sizeof params, .bytes = sizeof words, .host = words};
    skv_buffer *buffer = NULL;
    for (unsigned i = 0; i < 64; i++)
        words[i] = i;
    skv_status status = skv_buffer_create(t->device, &params, &buffer);
    if (!t->limits.host_memory) {
        suite_refuse(t, "wrapping host memory", status, SKV_ERROR_UNSUPPORTED, "params->host");
    } else {
        suite_try(t, "wrapping host memory", status);
        uint32_t got[64], zero = 0;
        suite_try(t, "skv_buffer_read", skv_buffer_read(t->queue, got, (skv_span){buffer, 0}, sizeof got));
        suite_try(t, "skv_buffer_write", skv_buffer_write(t->queue, (skv_span){buffer, 8}, &zero, 4));
        if (skv_buffer_host(buffer) != words || words[2] != 0 || memcmp(got, words, 8) != 0)
            suite_fail(t, "wrapped memory was not used where it lies");
        skv_buffer_destroy(buffer);
        if (words[1] != 1)
            suite_fail(t, "wrapped memory was changed by skv_buffer_destroy");
    }

    /* The native handle of a buffer, wrapped again, is the same memory. */
    struct suite_array array = suite_output(t, 256, 64);
    uint64_t all = skv_buffer_bytes(array.span.buffer);
    params =
        (skv_buffer_params){.struct_size = sizeof params, .bytes = all, .native = skv_buffer_native(array.span.buffer)};
    if (params.native == 0)
        suite_fail(t, "a buffer has no native handle");
    suite_try(t, "wrapping a native handle", skv_buffer_create(t->device, &params, &buffer));
    uint32_t value = 0x12345678, got = 0;
    status = skv_buffer_write(t->queue, array.span, &value, 4);
    if (status == SKV_OK)
        status = skv_buffer_read(t->queue, &got, (skv_span){buffer, array.span.offset}, 4);
    skv_buffer_destroy(buffer);
    suite_try(t, "reading through another handle", status);
    if (got != value)
        suite_fail(t, "a wrapped handle shows other memory");
}

static void destroy_timer(void *timer)
{
    skv_timer_destroy(timer);
}

/* A timer times what lies between its marks, and can be used again. */
SUITE_CASE(memory_timer, "memory/timer")
{
    skv_timer *timer = NULL;
    uint64_t first = UINT64_MAX, second = UINT64_MAX;
    suite_try(t, "skv_timer_create", skv_timer_create(t->device, &timer));
    suite_own(t, timer, destroy_timer);
    suite_refuse(t, "reading an unused timer", skv_timer_read(timer, &first), SKV_ERROR_INVALID_ARGUMENT, "timer");
    suite_refuse(t, "stopping an unused timer", skv_timer_stop(timer, t->queue), SKV_ERROR_INVALID_ARGUMENT, "timer");

    struct suite_array array = suite_output(t, 1 << 20, 64);
    suite_try(t, "skv_timer_start", skv_timer_start(timer, t->queue));
    for (unsigned i = 0; i < 50; i++)
        suite_try(t, "skv_buffer_fill", skv_buffer_fill(t->queue, array.span, (uint8_t)i, array.n_bytes));
    suite_try(t, "skv_timer_stop", skv_timer_stop(timer, t->queue));
    skv_status status = skv_timer_read(timer, &first);
    if (status == SKV_ERROR_UNSUPPORTED)
        suite_skip(t, "%s", skv_error_message());
    suite_try(t, "skv_timer_read", status);
    /* 50 MiB take more than 100 ns and less than a minute on any device. */
    if (first < 100 || first > 60000000000u)
        suite_fail(t, "filling 50 MiB took %llu ns", (unsigned long long)first);
    suite_try(t, "skv_timer_start", skv_timer_start(timer, t->queue));
    suite_refuse(t, "reading a running timer", skv_timer_read(timer, &second), SKV_ERROR_INVALID_ARGUMENT, "timer");
    suite_try(t, "skv_timer_stop", skv_timer_stop(timer, t->queue));
    suite_try(t, "skv_timer_read", skv_timer_read(timer, &second));
    if (second >= first)
        suite_fail(t, "nothing took %llu ns, filling 50 MiB %llu ns", (unsigned long long)second,
                   (unsigned long long)first);
}

/* Two queues of one device, and objects of another one. */
SUITE_CASE(memory_devices, "memory/devices")
{
    skv_device *other = suite_open_again(t, 1, NULL);
    struct suite_array here = suite_output(t, 256, 64);
    skv_buffer_params params = {.struct_size = sizeof params, .bytes = 4096};
    skv_buffer *there = NULL;
    suite_try(t, "skv_buffer_create", skv_buffer_create(other, &params, &there));
    char bytes[16];
    skv_status statuses[] = {
        skv_buffer_read(t->queue, bytes, (skv_span){there, 0}, 16),
        skv_buffer_write(t->queue, (skv_span){there, 0}, bytes, 16),
        skv_buffer_fill(t->queue, (skv_span){there, 0}, 0, 16),
        skv_buffer_copy(t->queue, here.span, (skv_span){there, 0}, 16),
    };
    skv_buffer_destroy(there);
    for (unsigned i = 0; i < 4; i++)
        if (statuses[i] != SKV_ERROR_WRONG_DEVICE)
            suite_fail(t, "call %u on a buffer of another device: %s", i, skv_status_name(statuses[i]));

    /* Work on the second device, whose objects outlive the caller's reference to it. */
    suite_switch(t, other);
    unsigned char pattern[256], got[256];
    fill_random(t, pattern, sizeof pattern);
    struct suite_array array = suite_inout(t, pattern, sizeof pattern, 8);
    suite_read(t, array, got);
    suite_equal(t, "what the second device holds", got, pattern, sizeof got, 1);
    suite_reset(t);
}
