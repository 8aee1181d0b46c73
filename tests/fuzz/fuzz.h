/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes as a source of choices: the same input always makes the same choices, and an exhausted input gives zeros, so
 * that any mutation of it is a valid input too.
 */
#ifndef SKV_FUZZ_H
#define SKV_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct source {
    const uint8_t *bytes;
    size_t left;
};

static inline uint64_t take(struct source *source, size_t n_bytes)
{
    uint64_t value = 0;
    size_t n = n_bytes < source->left ? n_bytes : source->left;
    memcpy(&value, source->bytes, n);
    source->bytes += n;
    source->left -= n;
    return value;
}

/* 0 .. limit - 1 */
static inline uint32_t below(struct source *source, uint32_t limit)
{
    return (uint32_t)(take(source, 4) % limit);
}

/* Fills memory with what is left, repeated with a running change so that short inputs make varied contents. */
static inline void fill(struct source *source, void *memory, size_t n_bytes)
{
    uint8_t *to = memory;
    uint64_t state = take(source, 8) | 1;
    for (size_t i = 0; i < n_bytes; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        to[i] = i < source->left ? source->bytes[i] : (uint8_t)(state >> 56);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
