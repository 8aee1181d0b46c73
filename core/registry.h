/* SPDX-License-Identifier: Apache-2.0
 *
 * The backends of this build, in the order in which the automatic choice asks them.
 */
#ifndef SKV_CORE_REGISTRY_H
#define SKV_CORE_REGISTRY_H

#include "core/backend.h"

struct skv_registry_entry {
    const char *name;
    const struct skv_backend *backend; /* NULL: not built into this library */
};

uint32_t skv_registry_count(void);
/* i < skv_registry_count(). */
struct skv_registry_entry skv_registry_get(uint32_t i);

/* True for the backend of skv_registry_set_test_backend. */
int skv_registry_is_test(uint32_t i);

/* For tests: one more backend, listed last and never chosen automatically; NULL removes it. Not thread-safe. */
void skv_registry_set_test_backend(const struct skv_backend *backend);

#endif
