/* SPDX-License-Identifier: Apache-2.0
 *
 * The conformance suite: what every backend must do, written against the public API alone. The cases know no test
 * framework: `conformance` (main.c) runs them under cmocka, `skv selftest` on a user's machine.
 */
#ifndef SKV_TESTS_CONFORMANCE_SUITE_H
#define SKV_TESTS_CONFORMANCE_SUITE_H

#include <stddef.h>
#include <stdint.h>

#include <skv/skv.h>

enum suite_result { SUITE_PASS, SUITE_FAIL, SUITE_SKIP };

/* Zero it, then fill in the first part. One context serves any number of cases, one after the other. */
struct suite_context {
    skv_device *device;
    skv_queue *queue;
    skv_limits limits;     /* of the device */
    uint64_t seed;         /* of all random inputs */
    const char *device_id; /* what the device was opened with */
    const char *repeat;    /* command line that runs the suite on this device; NULL: made up from device_id */
    int quick;             /* nonzero: fewer and smaller inputs, a second or two for the whole suite */

    char message[1024]; /* after a case: why it failed or was skipped, "" otherwise */

    /* the suite's own */
    const char *case_name;
    char shape[360];
    uint64_t random[2], junk;
    struct suite_object *objects;
    void *escape;
};

struct suite_case {
    const char *name; /* "attend/window" */
    enum suite_result (*run)(struct suite_context *context);
    unsigned quick; /* nonzero: worth running where time is short */
};

extern const struct suite_case suite_cases[];
extern const size_t suite_n_cases;

#endif
