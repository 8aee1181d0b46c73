/* SPDX-License-Identifier: Apache-2.0 */
#include "core/alloc.h"

#include <stdlib.h>
#include <string.h>

#include "core/backend.h"

#define ALIGNMENT 64

static atomic_long fail_after = -1;

void skv_alloc_fail_after(long n)
{
    atomic_store(&fail_after, n);
}

void *skv_alloc_raw(size_t n_bytes, size_t alignment)
{
    if (atomic_load_explicit(&fail_after, memory_order_relaxed) >= 0 && atomic_fetch_sub(&fail_after, 1) == 0)
        return NULL;
    if (n_bytes > SIZE_MAX - alignment)
        return NULL;
    size_t rounded = (n_bytes + alignment - 1) / alignment * alignment;
    return aligned_alloc(alignment, rounded ? rounded : alignment);
}

void *skv_alloc(size_t n_bytes)
{
    void *memory = skv_alloc_raw(n_bytes, ALIGNMENT);
    if (memory)
        memset(memory, 0, n_bytes);
    return memory;
}

void skv_free(void *memory)
{
    free(memory);
}
