/* SPDX-License-Identifier: Apache-2.0 */
#include "tool.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void tool_die(int status, const char *format, ...)
{
    tool_progress(NULL);
    va_list args;
    va_start(args, format);
    fputs("skv: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(status);
}

void tool_try(skv_status status, const char *call)
{
    if (status != SKV_OK)
        tool_die(TOOL_FAILED, "%s\n     (%s from %.60s)", skv_error_message(), skv_status_name(status), call);
}

void *tool_alloc(size_t n_bytes)
{
    void *memory = malloc(n_bytes ? n_bytes : 1);
    if (!memory)
        tool_die(TOOL_FAILED, "out of memory (%zu bytes)", n_bytes);
    return memory;
}

void tool_open(struct tool_device *opened, const char *id)
{
    skv_device_params params = {.struct_size = sizeof params, .id = id};
    tool_try(tool_try_open(opened, &params), "skv_device_open");
}

skv_status tool_try_open(struct tool_device *opened, const skv_device_params *params)
{
    skv_status status = skv_device_open(params, &opened->device);
    if (status != SKV_OK)
        return status;
    TOOL_TRY(skv_queue_create(opened->device, NULL, &opened->queue));
    opened->info.struct_size = sizeof opened->info;
    TOOL_TRY(skv_device_get_info(opened->device, &opened->info));
    opened->limits.struct_size = sizeof opened->limits;
    TOOL_TRY(skv_device_get_limits(opened->device, &opened->limits));
    return SKV_OK;
}

void tool_close(struct tool_device *opened)
{
    skv_queue_destroy(opened->queue);
    skv_device_release(opened->device);
}

skv_buffer *tool_buffer(struct tool_device *on, uint64_t n_bytes, const void *from)
{
    skv_buffer_params params = {.struct_size = sizeof params, .bytes = n_bytes ? n_bytes : 1};
    skv_buffer *buffer;
    TOOL_TRY(skv_buffer_create(on->device, &params, &buffer));
    if (from)
        TOOL_TRY(skv_buffer_write(on->queue, (skv_span){buffer, 0}, from, n_bytes));
    return buffer;
}

double tool_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double tool_median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

void tool_progress(const char *format, ...)
{
    static bool shown;
    if (!isatty(STDERR_FILENO))
        return;
    if (shown || format)
        fputs("\r\033[K", stderr);
    shown = format != NULL;
    if (format) {
        va_list args;
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
    }
    fflush(stderr);
}

double tool_bf16(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

double tool_f16(uint16_t bits)
{
    int exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
    double value = exponent == 31  ? (fraction ? NAN : INFINITY)
                   : exponent == 0 ? ldexp(fraction, -24)
                                   : ldexp(1024 + fraction, exponent - 25);
    return bits & 0x8000 ? -value : value;
}
