/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKV_CORE_ALLOC_H
#define SKV_CORE_ALLOC_H

/* For tests: the n-th allocation from now (0: the next) fails, once; negative: none does. */
void skv_alloc_fail_after(long n);

#endif
