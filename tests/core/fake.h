/* SPDX-License-Identifier: Apache-2.0
 *
 * A backend that computes nothing: it records what the front end hands on, and fails when told to.
 */
#ifndef SKV_TESTS_CORE_FAKE_H
#define SKV_TESTS_CORE_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/backend.h"

struct fake_record {
    unsigned n_calls; /* operations and copies that reached the backend */
    unsigned n_open;  /* devices, buffers, queues, timers alive */
    skv_status fail;  /* what the next operation returns */
    struct skv_prune_params prune;
    struct skv_channel_weights_params weights;
    struct skv_compress_params compress;
    struct skv_decompress_params decompress;
    struct skv_attend_params attend;
    struct skv_attend_plan plan;
    struct skv_merge_params merge;
};

extern struct fake_record fake;
extern struct skv_limits fake_limits; /* of the next device opened; reset by fake_open */
extern const struct skv_backend fake_backend;

/* Opens the fake and a queue; buffers of 1 MiB, not host memory. */
struct fixture {
    skv_device *device;
    skv_queue *queue;
    skv_buffer *buffer;
    skv_layout *layout, *ragged; /* head_dim 128, 2 heads, k = 40; the ragged one without a cap */
};
int fake_open(void **state);
/* A valid call on the fixture: two sequences, cache and tail. */
skv_attend_params fake_attend_params(const struct fixture *fixture);
int fake_close(void **state);

/* The last call failed with this status and its message holds this text, and nothing reached the backend. */
void expect_failure(skv_status got, skv_status want, const char *text);

extern const struct CMUnitTest layout_tests[], front_end_tests[], error_tests[];
extern const size_t n_layout_tests, n_front_end_tests, n_error_tests;

#endif
