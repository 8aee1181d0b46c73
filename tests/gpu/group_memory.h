/* SPDX-License-Identifier: Apache-2.0
 *
 * A block's shared memory, and copies to and from it that run beside the threads.
 *
 * The memory whose size the host chooses is seen by pointer and through a window of 32-bit addresses, in which every
 * access is checked. Copies happen as late as they may: until a wait, a destination is garbage (0xff bytes, so NaN) and
 * a source is not read.
 */
#ifndef SKV_TESTS_GROUP_MEMORY_H
#define SKV_TESTS_GROUP_MEMORY_H

#include "tests/gpu/emulator.h"

/* Static shared arrays. A section of their own lets each block find garbage there instead of what another left; ASan
 * puts no red zones in such a section, so its builds have plain static variables and find accesses past their end. */
#ifdef SKV_ASAN
#define SKV_EMULATED_SHARED static
#else
#define SKV_EMULATED_SHARED __attribute__((section("skv_shared"))) static
#endif

namespace emulator
{

/* Addresses below it belong to nothing, so that 0 plus a small offset is found. */
static const uint32_t WINDOW_BASE = 0x1000;

struct window {
    unsigned char *bytes; /* 1024-byte aligned */
    uint32_t n_bytes;
    /* Who stored a word last, and when: bulk copies to there need a fence behind it. */
    uint32_t *writer;
    uint64_t *written_at, time;
};
extern window scratch;

[[noreturn]] void scratch_fault(uint32_t at, uint32_t n_bytes, place where);

/* n_bytes, a power of two, at an address that must be a multiple of it. */
inline unsigned char *scratch_at(uint32_t at, uint32_t n_bytes, place where)
{
    uint32_t offset = at - WINDOW_BASE;
    if (offset >= scratch.n_bytes || n_bytes > scratch.n_bytes - offset || at % n_bytes)
        scratch_fault(at, n_bytes, where);
    return scratch.bytes + offset;
}

inline unsigned char *scratch_to_write(uint32_t at, uint32_t n_bytes, place where)
{
    unsigned char *bytes = scratch_at(at, n_bytes, where);
    scratch.time++;
    for (uint32_t word = (at - WINDOW_BASE) / 4, end = (at - WINDOW_BASE + n_bytes + 3) / 4; word < end; word++) {
        scratch.writer[word] = own_thread();
        scratch.written_at[word] = scratch.time;
    }
    return bytes;
}

/* ---- copies of 16 bytes, which each lane counts for itself */

void copy_start(uint32_t to, const void *from, place at);
void copy_commit();
/* Until at most n of the lane's groups are under way. */
void copy_wait(unsigned n);

/* ---- bulk copies; primitives.h says what they are */

void barrier_init(uint32_t barrier, place at);
void barriers_ready();
void barrier_expect(uint32_t barrier, uint32_t n_bytes, place at);
void barrier_wait(uint32_t barrier, uint32_t parity, place at);
void load_start(uint32_t to, const void *from, uint32_t n_bytes, uint32_t barrier, place at);
void stores_ready();

/* ---- for emulator.cpp */

void memory_begin_launch(unsigned scratch_bytes, unsigned n_threads);
void memory_begin_block();
void memory_end_thread(unsigned i_thread);
void memory_end_block();
void memory_end_launch();

} // namespace emulator

#endif
