/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs GPU kernels on the CPU. Each thread of a block is a fiber; barriers and what a warp does together are the places
 * where fibers wait for each other. Blocks run one after another, so static variables can be a block's shared memory.
 *
 * It checks an algorithm and its synchronisation: it says which kernel, block, thread and source line did something
 * that the hardware does not define, and aborts. It knows nothing of memory ordering between blocks, or of speed.
 *
 * Thread-safety: one launch at a time in a process; the fake drivers take care of that.
 */
#ifndef SKV_TESTS_EMULATOR_H
#define SKV_TESTS_EMULATOR_H

#include <cstddef>
#include <cstdint>

#include "tests/gpu/fiber.h"

namespace emulator
{

/* A source line: as a default argument, the caller's. */
struct place {
    const char *file;
    int line;
    static constexpr place here(const char *file = __builtin_FILE(), int line = __builtin_LINE())
    {
        return place{file, line};
    }
};

/* ---- launches */

struct launch {
    const char *name;
    void (*run)(void **params); /* the kernel, once for each thread */
    void **params;
    unsigned grid[3], block[3];
    unsigned scratch_bytes; /* of shared memory whose size the host chooses */
    unsigned warp_lanes;    /* 32 or 64 */
};
/* Returns when every block has ended. Aborts the process, with a report, where the kernel does something undefined. */
void run(const launch &l);

/* Who runs first wherever nothing decides: 0 in order; 1 in reversed order; 2, 3 the same, but warp-greedy; from 4 on
 * random, odd numbers warp-greedy. Warp-greedy runs a warp until it waits for the block: what else separates a read
 * from the next write then shows. Blocks take the order, too. The default is $SKV_EMULATOR_ORDER, or 0. */
void set_order(unsigned order);
/* Switches between fibers so far. */
uint64_t switches();

/* ---- kernels by name, for the fake drivers */

struct kernel {
    const char *name;
    void (*run)(void **params);
    unsigned lanes; /* of a block */
    bool takes_fewer;
    unsigned n_params;
    const size_t *param_bytes;
    kernel *next;
};
/* For objects of static storage. */
struct registration {
    explicit registration(kernel *k);
};
const kernel *find_kernel(const char *name);

/* ---- what a kernel sees */

struct thread;
struct warp;

struct coordinates {
    unsigned x, y, z;
};
struct group {
    coordinates id, count, lanes;
};
extern group now;     /* the running block */
extern thread *lane;  /* the running thread */
unsigned lane_id_x(); /* in its block */

/* Waits for the block. */
void meet_group(place at);

/* Operations of a whole warp. A lane leaves its operands in the warp; the last to come runs `complete`, which makes the
 * results, so lanes that go on before others have read theirs do no harm. */
enum { MAX_WARP_LANES = 64 };
struct warp_data {
    uint32_t operand[MAX_WARP_LANES], source[MAX_WARP_LANES], result[MAX_WARP_LANES];
    uint64_t ballot, ballot_result;
    /* matrices.cpp */
    float a[16][16], b[16][8], c[MAX_WARP_LANES][4], d[MAX_WARP_LANES][4];
    uint64_t a_bits[16][4], b_bits[8][4];
    uint32_t count[MAX_WARP_LANES][4];
    float rows[2][16][16], columns[2][16][16], tile[MAX_WARP_LANES][8];
};
warp_data &own_warp();
unsigned own_lane(); /* in its warp */
/* `what` names the operation and must be the same object in all lanes. */
void meet_warp(const char *what, void (*complete)(warp_data &, unsigned n_lanes), place at);

uint32_t shuffle(uint32_t x, unsigned source, place at);
uint64_t ballot(bool x, place at);
/* Over those of the lane's n that come before it. */
uint32_t sum_before(uint32_t x, unsigned n, place at);

/* ---- the end of everything */

/* Reports the text, the kernel, the block, the running thread and `at`, and aborts. */
[[noreturn]] void die(place at, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Called again and again until it says true; others run between. A block in which all wait is reported. */
void wait_until(const char *what, bool (*is_over)(void *), void *argument, place at);
/* Lets those who wait look again, and those run that the order puts first: what the running thread does next may come
 * after all that others do. */
void wake_waiting();
void give_way();
/* The running thread's number in its block. */
unsigned own_thread();

} // namespace emulator

#endif
