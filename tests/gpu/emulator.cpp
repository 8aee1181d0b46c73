/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/gpu/emulator.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "tests/gpu/group_memory.h"

namespace emulator
{

enum state { RUNNABLE, AT_BARRIER, AT_COLLECTIVE, WAITING, ENDED };
static const char *const state_names[] = {"could run", "at group_barrier", "at", "waits for", "ended"};

struct thread {
    fiber own;
    unsigned i, lane;
    warp *in;
    state is;
    const char *what; /* it waits for */
    place at;
};

struct warp {
    uint64_t runnable, all;
    unsigned n_lanes, n_arrived, n_ended;
    const char *what; /* where its first lane has arrived */
    place at;
    void (*complete)(warp_data &, unsigned);
    warp_data data;
};

group now;
thread *lane;

static const launch *running;
static fiber host;
static std::vector<thread> threads;
static std::vector<warp> warps;
static unsigned n_threads, n_warps, n_at_barrier, n_ended;
static place barrier_at;
static uint64_t n_switches;
static kernel *kernels;

/* ---- order */

static long order = -1;
static uint64_t random_state;

void set_order(unsigned new_order)
{
    order = new_order;
}

static bool is_reversed()
{
    return order == 1 || order == 3;
}

static bool is_random()
{
    return order > 3;
}

static bool is_greedy()
{
    return order > 3 ? order % 2 : order > 1;
}

static unsigned random_below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)((random_state >> 32) * n >> 32);
}

static unsigned pick_lane(const warp &w)
{
    if (is_random()) {
        unsigned first = random_below(64);
        uint64_t turned = w.runnable >> first | (first ? w.runnable << (64 - first) : 0);
        return (first + (unsigned)__builtin_ctzll(turned)) % 64;
    }
    return is_reversed() ? 63 - (unsigned)__builtin_clzll(w.runnable) : (unsigned)__builtin_ctzll(w.runnable);
}

/* ---- reports */

static void print_threads()
{
    for (unsigned i = 0; i < n_threads;) {
        const thread &t = threads[i];
        unsigned end = i + 1;
        while (end < n_threads && threads[end].is == t.is && threads[end].at.line == t.at.line)
            end++;
        if (t.is == RUNNABLE || t.is == ENDED)
            fprintf(stderr, "  threads %u-%u: %s\n", i, end - 1, state_names[t.is]);
        else
            fprintf(stderr, "  threads %u-%u: %s %s, %s:%d\n", i, end - 1, state_names[t.is], t.what, t.at.file,
                    t.at.line);
        i = end;
    }
}

void die(place at, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("emulator: ", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n  at %s:%d\n", at.file, at.line);
    if (running) {
        fprintf(stderr, "  kernel %s, block (%u, %u, %u) of (%u, %u, %u), order %ld\n", running->name, now.id.x,
                now.id.y, now.id.z, now.count.x, now.count.y, now.count.z, order);
        if (lane)
            fprintf(stderr, "  thread %u\n", lane->i);
        print_threads();
    }
    abort();
}

static bool is_same(place a, place b)
{
    return a.line == b.line && (a.file == b.file || !strcmp(a.file, b.file));
}

/* ---- switching */

/* A warp's lanes run until all wait; then, and when they have met, another warp's turn comes. */
static thread *pick_thread(unsigned last_warp, bool has_met)
{
    unsigned w = last_warp;
    if (!warps[w].runnable || (has_met && !is_greedy())) {
        unsigned first = is_random() ? random_below(n_warps) : is_reversed() ? last_warp + n_warps - 1 : last_warp + 1;
        for (unsigned i = 0; i < n_warps; i++) {
            w = (is_reversed() ? first + n_warps - i : first + i) % n_warps;
            if (warps[w].runnable)
                break;
        }
    }
    return warps[w].runnable ? &threads[w * running->warp_lanes + pick_lane(warps[w])] : nullptr;
}

static unsigned warp_index(const thread *t)
{
    return (unsigned)(t->in - warps.data());
}

/* Goes on with another thread, or with the same. */
static void switch_away(bool has_met)
{
    thread *from = lane, *to = pick_thread(warp_index(from), has_met);
    if (!to)
        die(from->at, "deadlock: every thread waits");
    if (to == from)
        return;
    lane = to;
    n_switches++;
    fiber_switch(&from->own, &to->own, false);
}

static void stop(state is, const char *what, place at)
{
    lane->is = is;
    lane->what = what;
    lane->at = at;
    lane->in->runnable &= ~((uint64_t)1 << lane->lane);
}

static void release(warp &w)
{
    w.runnable = w.all;
    for (thread *t = &threads[(size_t)(&w - warps.data()) * running->warp_lanes], *end = t + w.n_lanes; t < end; t++)
        t->is = RUNNABLE;
}

void meet_group(place at)
{
    if (n_ended > 0)
        die(at, "barrier divergence: %u threads of the block have ended", n_ended);
    if (n_at_barrier > 0 && !is_same(at, barrier_at))
        die(at, "barrier divergence: other threads wait at the barrier in %s:%d", barrier_at.file, barrier_at.line);
    barrier_at = at;
    stop(AT_BARRIER, "with the block", at);
    if (++n_at_barrier == n_threads) {
        n_at_barrier = 0;
        for (unsigned i = 0; i < n_warps; i++)
            release(warps[i]);
    }
    switch_away(true);
}

void meet_warp(const char *what, void (*complete)(warp_data &, unsigned), place at)
{
    warp &w = *lane->in;
    if (w.n_lanes < running->warp_lanes)
        die(at, "%s needs a whole warp, and the block's last has %u lanes", what, w.n_lanes);
    if (w.n_ended > 0)
        die(at, "%s needs a whole warp, and %u of its lanes have ended", what, w.n_ended);
    if (w.n_arrived > 0 && (strcmp(w.what, what) || !is_same(at, w.at)))
        die(at, "lanes of a warp diverge: this one is at %s, others wait at %s in %s:%d", what, w.what, w.at.file,
            w.at.line);
    w.what = what;
    w.at = at;
    stop(AT_COLLECTIVE, what, at);
    bool has_met = ++w.n_arrived == w.n_lanes;
    if (has_met) {
        w.n_arrived = 0;
        if (complete)
            complete(w.data, w.n_lanes);
        release(w);
    }
    switch_away(has_met);
}

void wait_until(const char *what, bool (*is_over)(void *), void *argument, place at)
{
    while (!is_over(argument)) {
        stop(WAITING, what, at);
        switch_away(false);
    }
}

void wake_waiting()
{
    for (unsigned i = 0; i < n_threads; i++)
        if (threads[i].is == WAITING) {
            threads[i].is = RUNNABLE;
            threads[i].in->runnable |= (uint64_t)1 << threads[i].lane;
        }
}

void give_way()
{
    switch_away(false);
}

static void run_thread()
{
    fiber_entered();
    running->run(running->params);
    thread *self = lane;
    warp &w = *self->in;
    if (n_at_barrier > 0)
        die(barrier_at, "barrier divergence: a thread ends while others wait at this barrier");
    if (w.n_arrived > 0)
        die(w.at, "a lane ends while others of its warp wait at %s", w.what);
    memory_end_thread(self->i);
    stop(ENDED, "", place{"", 0});
    w.n_ended++;
    fiber *next = &host;
    if (++n_ended < n_threads) {
        thread *to = pick_thread(warp_index(self), false);
        if (!to)
            die(place::here(), "deadlock: every thread that has not ended waits");
        lane = to;
        next = &to->own;
    }
    n_switches++;
    fiber_switch(&self->own, next, true);
    abort();
}

/* ---- launches */

/* Stacks are kept for later launches. */
static void allocate_threads(unsigned n)
{
    while (threads.size() < n) {
        threads.emplace_back();
        fiber_allocate(&threads.back().own);
    }
}

static void run_block()
{
    const unsigned lanes = running->warp_lanes;
    n_at_barrier = n_ended = 0;
    for (unsigned i = 0; i < n_warps; i++) {
        warp &w = warps[i];
        w.n_lanes = i + 1 < n_warps ? lanes : n_threads - i * lanes;
        w.n_arrived = w.n_ended = 0;
        w.data.ballot = 0;
        w.all = w.runnable = w.n_lanes == 64 ? ~(uint64_t)0 : ((uint64_t)1 << w.n_lanes) - 1;
    }
    for (unsigned i = 0; i < n_threads; i++) {
        thread &t = threads[i];
        t.i = i;
        t.lane = i % lanes;
        t.in = &warps[i / lanes];
        t.is = RUNNABLE;
        fiber_prepare(&t.own, run_thread);
    }
    memory_begin_block();
    lane = pick_thread(is_reversed() ? n_warps - 1 : is_random() ? random_below(n_warps) : 0, false);
    n_switches++;
    fiber_switch(&host, &lane->own, false);
    lane = nullptr;
    memory_end_block();
}

void run(const launch &l)
{
    if (order < 0) {
        const char *text = getenv("SKV_EMULATOR_ORDER");
        order = text ? (long)strtoul(text, nullptr, 10) : 0;
    }
    random_state = 0x9e3779b97f4a7c15u * ((uint64_t)order + 1);
    running = &l;
    n_threads = l.block[0] * l.block[1] * l.block[2];
    n_warps = (n_threads + l.warp_lanes - 1) / l.warp_lanes;
    allocate_threads(n_threads);
    if (warps.size() < n_warps)
        warps.resize(n_warps);
    now.lanes = {l.block[0], l.block[1], l.block[2]};
    now.count = {l.grid[0], l.grid[1], l.grid[2]};
    memory_begin_launch(l.scratch_bytes, n_threads);
    uint64_t n_blocks = (uint64_t)l.grid[0] * l.grid[1] * l.grid[2];
    std::vector<uint64_t> blocks(n_blocks);
    for (uint64_t i = 0; i < n_blocks; i++)
        blocks[i] = is_reversed() ? n_blocks - 1 - i : i;
    if (is_random())
        for (uint64_t i = n_blocks; i > 1; i--)
            std::swap(blocks[i - 1], blocks[random_below((unsigned)i)]);
    for (uint64_t i : blocks) {
        now.id.x = (unsigned)(i % l.grid[0]);
        now.id.y = (unsigned)(i / l.grid[0] % l.grid[1]);
        now.id.z = (unsigned)(i / l.grid[0] / l.grid[1]);
        run_block();
    }
    memory_end_launch();
    running = nullptr;
}

uint64_t switches()
{
    return n_switches;
}

/* ---- what a kernel sees */

unsigned own_thread()
{
    return lane->i;
}

unsigned lane_id_x()
{
    return lane->i % now.lanes.x;
}

unsigned own_lane()
{
    return lane->lane;
}

warp_data &own_warp()
{
    return lane->in->data;
}

/* ---- kernels by name */

registration::registration(kernel *k)
{
    k->next = kernels;
    kernels = k;
}

const kernel *find_kernel(const char *name)
{
    for (const kernel *k = kernels; k; k = k->next)
        if (!strcmp(k->name, name))
            return k;
    return nullptr;
}

} // namespace emulator
