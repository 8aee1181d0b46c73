/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/gpu/group_memory.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#ifdef SKV_ASAN
#include <sanitizer/asan_interface.h>
#else
/* Made by the linker; absent where no kernel has static shared memory. */
extern "C" char __start_skv_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_skv_shared[] __attribute__((weak, visibility("hidden")));
#endif

namespace emulator
{

enum { FRESH = 0xcd, UNDER_WAY = 0xff, BEHIND = 0x5c, BEHIND_BYTES = 64 };

struct copy {
    void *to;
    const void *from;
    uint32_t address;
};

struct bulk_load {
    uint32_t to, n_bytes;
    const void *from;
    place at;
};

/* One phase is one arrival, which says how many bytes to expect, and those bytes. */
struct barrier {
    bool is_ready, has_arrived;
    unsigned initializer;
    uint32_t parity;
    uint64_t expected, loading;
    std::vector<bulk_load> loads;
};

struct lane_copies {
    std::vector<copy> copies; /* not yet there, oldest first */
    std::vector<size_t> group_ends;
    size_t first_copy, first_group;
    uint64_t fenced_at;
};

window scratch;
static std::vector<lane_copies> lanes;
static std::map<uint32_t, barrier> barriers;
static uint64_t block_began_at;

/* ---- the window */

void scratch_fault(uint32_t at, uint32_t n_bytes, place where)
{
    if (at % n_bytes)
        die(where, "shared address 0x%x is not a multiple of %u", at, n_bytes);
    die(where, "%u bytes at shared address 0x%x, which is byte %d of %u", n_bytes, at, (int)(at - WINDOW_BASE),
        scratch.n_bytes);
}

static unsigned char *checked_range(uint32_t at, uint32_t n_bytes, place where)
{
    uint32_t offset = at - WINDOW_BASE;
    if (at % 16 || n_bytes % 16 || n_bytes == 0)
        die(where, "bulk copy of %u bytes at shared address 0x%x: both must be multiples of 16", n_bytes, at);
    if (offset >= scratch.n_bytes || n_bytes > scratch.n_bytes - offset)
        scratch_fault(at, 1, where);
    return scratch.bytes + offset;
}

static void check_global(const void *at, uint32_t n_bytes, place where)
{
    if ((uintptr_t)at % 16)
        die(where, "global address %p is not a multiple of 16", at);
    /* Where it is not readable, the report should come from here and not from the wait. */
    (void)*(const volatile unsigned char *)at;
    (void)((const volatile unsigned char *)at)[n_bytes - 1];
}

/* ---- copies of 16 bytes */

void copy_start(uint32_t to, const void *from, place at)
{
    unsigned char *bytes = scratch_at(to, 16, at);
    check_global(from, 16, at);
    memset(bytes, UNDER_WAY, 16);
    lanes[own_thread()].copies.push_back({bytes, from, to});
}

void copy_commit()
{
    lane_copies &own = lanes[own_thread()];
    own.group_ends.push_back(own.copies.size());
}

void copy_wait(unsigned n)
{
    lane_copies &own = lanes[own_thread()];
    while (own.group_ends.size() - own.first_group > n)
        for (size_t end = own.group_ends[own.first_group++]; own.first_copy < end; own.first_copy++) {
            const copy &c = own.copies[own.first_copy];
            memcpy(scratch_to_write(c.address, 16, place::here()), c.from, 16);
        }
    if (own.first_copy == own.copies.size() && own.first_group == own.group_ends.size()) {
        own.copies.clear();
        own.group_ends.clear();
        own.first_copy = own.first_group = 0;
    }
}

/* ---- bulk copies */

/* Bulk copies take another way to memory than lanes: a word's writer must have passed the fence behind it, or the lane
 * that copies after they both met. */
static void check_fences(const char *what, uint32_t from, uint32_t n_bytes, place at)
{
    uint64_t own_fence = lanes[own_thread()].fenced_at;
    for (uint32_t word = (from - WINDOW_BASE) / 4; word < (from - WINDOW_BASE + n_bytes) / 4; word++) {
        uint64_t written_at = scratch.written_at[word];
        if (written_at > block_began_at && lanes[scratch.writer[word]].fenced_at < written_at && own_fence < written_at)
            die(at, "%s what thread %u wrote without bulk_after_stores behind", what, scratch.writer[word]);
    }
}

/* ---- barriers */

/* What an initialized barrier's bytes hold, so that a store over it is found. */
static uint64_t mark_of(uint32_t at)
{
    return 0x6d62617272696572u ^ at;
}

static barrier &barrier_at(uint32_t address, place at)
{
    unsigned char *bytes = scratch_at(address, 8, at);
    uint64_t mark = mark_of(address);
    auto found = barriers.find(address);
    if (found == barriers.end())
        die(at, "no barrier at shared address 0x%x: bulk_barrier_init has not made one", address);
    if (memcmp(bytes, &mark, sizeof mark))
        die(at, "the barrier at shared address 0x%x has been overwritten", address);
    return found->second;
}

void barrier_init(uint32_t address, place at)
{
    auto found = barriers.find(address);
    if (found != barriers.end() && (found->second.has_arrived || !found->second.loads.empty()))
        die(at, "the barrier at shared address 0x%x is in use", address);
    uint64_t mark = mark_of(address);
    memcpy(scratch_to_write(address, 8, at), &mark, sizeof mark);
    barriers[address] = barrier();
    barriers[address].initializer = own_thread();
}

void barriers_ready()
{
    for (auto &entry : barriers)
        if (entry.second.initializer == own_thread())
            entry.second.is_ready = true;
}

void barrier_expect(uint32_t address, uint32_t n_bytes, place at)
{
    barrier &b = barrier_at(address, at);
    if (b.has_arrived)
        die(at, "bulk_expect while the phase that expects %llu bytes has not been waited for",
            (unsigned long long)b.expected);
    b.has_arrived = true;
    b.expected = n_bytes;
    wake_waiting();
    give_way();
}

void load_start(uint32_t to, const void *from, uint32_t n_bytes, uint32_t address, place at)
{
    barrier &b = barrier_at(address, at);
    if (!b.is_ready)
        die(at, "bulk_load before bulk_barriers_ready of the lane that made its barrier");
    unsigned char *bytes = checked_range(to, n_bytes, at);
    check_global(from, n_bytes, at);
    check_fences("bulk_load over", to, n_bytes, at);
    memset(bytes, UNDER_WAY, n_bytes);
    b.loads.push_back({to, n_bytes, from, at});
    b.loading += n_bytes;
    wake_waiting();
    give_way();
}

/* The phase ends no earlier than somebody looks. */
static bool is_phase_over(barrier &b, uint32_t parity, place at)
{
    if (b.parity != parity)
        return true;
    if (!b.has_arrived || b.loading < b.expected)
        return false;
    if (b.loading > b.expected)
        die(at, "the barrier expects %llu bytes and gets %llu", (unsigned long long)b.expected,
            (unsigned long long)b.loading);
    for (const bulk_load &load : b.loads) {
        memcpy(checked_range(load.to, load.n_bytes, load.at), load.from, load.n_bytes);
        memset(scratch.written_at + (load.to - WINDOW_BASE) / 4, 0, load.n_bytes / 4 * sizeof *scratch.written_at);
    }
    b.loads.clear();
    b.has_arrived = false;
    b.expected = b.loading = 0;
    b.parity ^= 1;
    wake_waiting();
    return true;
}

void barrier_wait(uint32_t address, uint32_t parity, place at)
{
    struct look {
        uint32_t address, parity;
        place at;
    } look = {address, parity & 1, at};
    wait_until(
        "bulk_wait",
        [](void *argument) {
            struct look *l = (struct look *)argument;
            return is_phase_over(barrier_at(l->address, l->at), l->parity, l->at);
        },
        &look, at);
}

void stores_ready()
{
    lanes[own_thread()].fenced_at = scratch.time;
}

/* ---- from the start to the end of a launch */

void memory_begin_launch(unsigned scratch_bytes, unsigned n_threads)
{
    void *bytes = nullptr;
    size_t n_words = (scratch_bytes + 3) / 4;
    if (posix_memalign(&bytes, 1024, (size_t)scratch_bytes + BEHIND_BYTES))
        abort();
    scratch.bytes = (unsigned char *)bytes;
    scratch.n_bytes = scratch_bytes;
    scratch.writer = (uint32_t *)calloc(n_words + 1, sizeof *scratch.writer);
    scratch.written_at = (uint64_t *)calloc(n_words + 1, sizeof *scratch.written_at);
    if (!scratch.writer || !scratch.written_at)
        abort();
    memset(scratch.bytes + scratch_bytes, BEHIND, BEHIND_BYTES);
#ifdef SKV_ASAN
    __asan_poison_memory_region(scratch.bytes + scratch_bytes, BEHIND_BYTES);
#endif
    if (lanes.size() < n_threads)
        lanes.resize(n_threads);
}

void memory_begin_block()
{
#ifndef SKV_ASAN
    if (__start_skv_shared)
        memset(__start_skv_shared, FRESH, (size_t)(__stop_skv_shared - __start_skv_shared));
#endif
    memset(scratch.bytes, FRESH, scratch.n_bytes);
    barriers.clear();
    block_began_at = scratch.time;
}

void memory_end_thread(unsigned i_thread)
{
    lane_copies &own = lanes[i_thread];
    own.copies.clear();
    own.group_ends.clear();
    own.first_copy = own.first_group = 0;
}

void memory_end_block()
{
    for (const auto &entry : barriers)
        if (!entry.second.loads.empty())
            die(entry.second.loads[0].at, "a block ends while its bulk_load is under way");
#ifndef SKV_ASAN
    for (unsigned i = 0; i < BEHIND_BYTES; i++)
        if (scratch.bytes[scratch.n_bytes + i] != BEHIND)
            die(place{"?", 0}, "a block wrote behind its %u bytes of scratch memory", scratch.n_bytes);
#endif
}

void memory_end_launch()
{
#ifdef SKV_ASAN
    __asan_unpoison_memory_region(scratch.bytes + scratch.n_bytes, BEHIND_BYTES);
#endif
    free(scratch.bytes);
    free(scratch.writer);
    free(scratch.written_at);
    scratch.bytes = nullptr;
    scratch.writer = nullptr;
    scratch.written_at = nullptr;
    scratch.n_bytes = 0;
}

} // namespace emulator
