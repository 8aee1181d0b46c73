/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKV_TESTS_GPU_HIP_CHOICE_TEST_H
#define SKV_TESTS_GPU_HIP_CHOICE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* With the fake driver in place of the real one. */
void test_choice(void **state);

#endif
