/* SPDX-License-Identifier: Apache-2.0
 *
 * Between check.c and objects.c.
 */
#ifndef SKV_TESTS_CONFORMANCE_OBJECTS_H
#define SKV_TESTS_CONFORMANCE_OBJECTS_H

#include "tests/conformance/suite.h"

/* Releases what the case made, newest first, and checks nothing. */
void suite_release_all(struct suite_context *t);

#endif
