/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing past the caches.
 */
#ifndef SKV_CPU_STREAM_H
#define SKV_CPU_STREAM_H

#include <stdint.h>
#include <string.h>

#include "backends/cpu/kernels/kernels.h"

#if defined(__SSE2__)
#include <emmintrin.h>

#define SKV_CPU_CAN_STREAM 1

/* Copies n_bytes, whole lines of `to` past the caches. The two must not overlap. Another thread may see the lines later
 * than what is written after them, until skv_cpu_stream_end. */
static inline void skv_cpu_stream(uint8_t *to, const uint8_t *from, uint32_t n_bytes)
{
    uint32_t i = (uint32_t)(-(uintptr_t)to % SKV_CPU_LINE_BYTES);
    i = i < n_bytes ? i : n_bytes;
    memcpy(to, from, i);
    for (; n_bytes - i >= SKV_CPU_LINE_BYTES; i += SKV_CPU_LINE_BYTES)
        for (uint32_t j = i; j < i + SKV_CPU_LINE_BYTES; j += 16)
            _mm_stream_si128((__m128i *)(void *)(to + j), _mm_loadu_si128((const __m128i *)(const void *)(from + j)));
    memcpy(to + i, from + i, n_bytes - i);
}

static inline void skv_cpu_stream_end(void)
{
    _mm_sfence();
}
#else
#define SKV_CPU_CAN_STREAM 0

static inline void skv_cpu_stream(uint8_t *to, const uint8_t *from, uint32_t n_bytes)
{
    memcpy(to, from, n_bytes);
}

static inline void skv_cpu_stream_end(void) {}
#endif

#endif
