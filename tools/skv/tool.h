/* SPDX-License-Identifier: Apache-2.0
 *
 * What the sub-commands of the skv tool share.
 */
#ifndef SKV_TOOL_H
#define SKV_TOOL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <skv/skv.h>

/* Exit statuses. */
enum { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_USAGE = 2 };

int tool_info(int argc, char **argv);
int tool_demo(int argc, char **argv);
int tool_bench(int argc, char **argv);
int tool_selftest(int argc, char **argv);

/* Ends the program with a message; the status says whose fault it was. */
#if defined(__GNUC__)
__attribute__((noreturn, format(printf, 2, 3)))
#endif
void tool_die(int status, const char *format, ...);

/* Ends the program when a call failed, with the library's own message. */
#define TOOL_TRY(call) tool_try((call), #call)
void tool_try(skv_status status, const char *call);

/* malloc that ends the program instead of returning NULL. */
void *tool_alloc(size_t n_bytes);

/* A device with a queue, opened by id (NULL: automatic) and, for the CPU, level and threads (NULL, 0: defaults). */
struct tool_device {
    skv_device *device;
    skv_queue *queue;
    skv_device_info info;
    skv_limits limits;
};
void tool_open(struct tool_device *opened, const char *id);
/* With more than an id; a failure of opening the device is left to the caller. */
skv_status tool_try_open(struct tool_device *opened, const skv_device_params *params);
void tool_close(struct tool_device *opened);

/* A buffer with contents; from may be NULL. */
skv_buffer *tool_buffer(struct tool_device *on, uint64_t n_bytes, const void *from);

double tool_now(void); /* seconds, monotonic */
/* Middle of n values, which are sorted in place. */
double tool_median(double *values, size_t n);

/* A line on standard error that is redrawn, if that is a terminal; NULL clears it. */
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
void tool_progress(const char *format, ...);

double tool_f16(uint16_t bits);  /* value of a binary16 */
double tool_bf16(uint16_t bits); /* value of a bfloat16 */

#endif
