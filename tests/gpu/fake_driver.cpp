/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls, contexts, modules and memory of the fake driver; fake_streams.cpp has the rest.
 */
#include "tests/gpu/fake_driver.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

#ifdef SKV_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace fake
{

enum { FRESH = 0xa5, FREED = 0xdd, GUARD = 0x5c, GUARD_BYTES = 256, ALIGNMENT = 256 };
/* Larger memory is touched at its ends only, or a test of large offsets would need all of it. */
static const size_t FILLED_BYTES = (size_t)64 << 20, FILLED_END_BYTES = (size_t)1 << 20;

static std::mutex mutex;
static bool is_initialized;
static long n_calls, fail_at = -1, n_live;
static context contexts[N_DEVICES];
static std::set<const object *> alive;
static std::map<char *, allocation> allocations;
static thread_local std::vector<context *> stack;

/* ---- each call */

static long number_from(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text ? strtol(text, nullptr, 10) : otherwise;
}

call::call() : lock(mutex)
{
    if (fail_at < 0)
        fail_at = number_from("SKV_FAKE_FAIL", 0);
    must_fail = ++n_calls == fail_at;
}

void initialize()
{
    is_initialized = true;
    for (int i = 0; i < N_DEVICES; i++)
        contexts[i].device = i;
}

code check_initialized()
{
    return is_initialized ? OK : NOT_INITIALIZED;
}

code check_current()
{
    return !is_initialized ? NOT_INITIALIZED : current() ? OK : INVALID_CONTEXT;
}

void add(object *o)
{
    alive.insert(o);
    n_live += o->is != FUNCTION;
}

void remove(object *o)
{
    alive.erase(o);
    n_live -= o->is != FUNCTION;
    delete o;
}

void count_live(long n)
{
    n_live += n;
}

bool is_alive(const void *handle, kind is)
{
    auto found = alive.find((const object *)handle);
    return found != alive.end() && (*found)->is == is;
}

/* ---- contexts */

static bool is_retained(const context *c)
{
    return c >= contexts && c < contexts + N_DEVICES && c->n_retained > 0;
}

context *current()
{
    return !stack.empty() && is_retained(stack.back()) ? stack.back() : nullptr;
}

code retain(context **out, int device)
{
    if (device < 0 || device >= N_DEVICES)
        return INVALID_DEVICE;
    contexts[device].n_retained++;
    n_live++;
    *out = &contexts[device];
    return OK;
}

code release(int device)
{
    if (device < 0 || device >= N_DEVICES)
        return INVALID_DEVICE;
    if (contexts[device].n_retained == 0)
        return INVALID_CONTEXT;
    contexts[device].n_retained--;
    n_live--;
    return OK;
}

code push(context *c)
{
    if (!is_retained(c))
        return INVALID_CONTEXT;
    stack.push_back(c);
    n_live++;
    return OK;
}

code pop(context **out)
{
    if (stack.empty())
        return INVALID_CONTEXT;
    if (out)
        *out = stack.back();
    stack.pop_back();
    n_live--;
    return OK;
}

/* ---- modules */

code load_module(module **out, const void *image)
{
    if (!out || !image)
        return INVALID_VALUE;
    module *m = new module;
    m->in = current();
    add(m);
    *out = m;
    return OK;
}

code unload_module(module *m)
{
    if (!is_alive(m, MODULE))
        return INVALID_HANDLE;
    if (m->in != current())
        return INVALID_CONTEXT;
    for (auto &entry : m->functions)
        remove(entry.second);
    remove(m);
    return OK;
}

code find_function(function **out, module *m, const char *name)
{
    if (!out || !name)
        return INVALID_VALUE;
    if (!is_alive(m, MODULE))
        return INVALID_HANDLE;
    const emulator::kernel *kernel = emulator::find_kernel(name);
    if (!kernel)
        return NOT_FOUND;
    function *&f = m->functions[name];
    if (!f) {
        f = new function;
        f->of = m;
        f->kernel = kernel;
        add(f);
    }
    *out = f;
    return OK;
}

int resident_blocks(const function *, int lanes, size_t shared_bytes)
{
    size_t by_shared = (SHARED_BYTES_OPT_IN + SHARED_BYTES_RESERVED) / (shared_bytes + SHARED_BYTES_RESERVED);
    return (int)std::min({by_shared, (size_t)(MAX_RESIDENT_LANES / lanes), (size_t)MAX_RESIDENT_BLOCKS});
}

/* A launch's parameters, kept until it runs. */
struct parameters {
    std::vector<std::vector<unsigned char>> values; /* from operator new, so aligned for any type */
    parameters(const emulator::kernel *kernel, void **params)
    {
        for (unsigned i = 0; i < kernel->n_params; i++) {
            const unsigned char *from = (const unsigned char *)params[i];
            values.emplace_back(from, from + kernel->param_bytes[i]);
        }
    }
};

code launch(function *f, const shape &s, unsigned warp_lanes, stream *on, void **params)
{
    if (!is_alive(f, FUNCTION))
        return INVALID_HANDLE;
    const emulator::kernel *kernel = f->kernel;
    if (!params && kernel->n_params > 0)
        return INVALID_VALUE;
    for (int i = 0; i < 3; i++)
        if (s.grid[i] == 0 || s.block[i] == 0 || s.grid[i] > (i == 0 ? 0x7fffffffu : 65535u) || s.block[i] > MAX_LANES)
            return INVALID_VALUE;
    unsigned lanes = s.block[0] * s.block[1] * s.block[2];
    if (lanes > kernel->lanes || (lanes < kernel->lanes && !kernel->takes_fewer) ||
        s.shared_bytes > f->shared_bytes_max)
        return INVALID_VALUE;
    if (f->of->in != current())
        return INVALID_CONTEXT;
    parameters kept(kernel, params);
    return enqueue(on, [kernel, s, warp_lanes, kept]() mutable {
        std::vector<void *> at;
        for (auto &value : kept.values)
            at.push_back(value.data());
        emulator::run({kernel->name,
                       kernel->run,
                       at.data(),
                       {s.grid[0], s.grid[1], s.grid[2]},
                       {s.block[0], s.block[1], s.block[2]},
                       s.shared_bytes,
                       warp_lanes});
    });
}

/* ---- memory */

size_t memory_bytes()
{
    static const size_t n_bytes = (size_t)number_from("SKV_FAKE_MEMORY", 20480) << 20;
    return n_bytes;
}

static void fill_bytes(char *at, int value, size_t n_bytes)
{
    memset(at, value, std::min(n_bytes, n_bytes > FILLED_BYTES ? FILLED_END_BYTES : n_bytes));
    if (n_bytes > FILLED_BYTES)
        memset(at + n_bytes - FILLED_END_BYTES, value, FILLED_END_BYTES);
}

static void check_guard(const char *start, const allocation &a)
{
#ifndef SKV_ASAN
    for (size_t i = 0; i < GUARD_BYTES; i++)
        if (start[a.n_bytes + i] != GUARD || start[-(long)i - 1] != GUARD) {
            fprintf(stderr, "fake driver: something wrote outside of %zu bytes at %p\n", a.n_bytes,
                    (const void *)start);
            abort();
        }
#else
    (void)start;
    (void)a;
#endif
}

code allocate(void **out, size_t n_bytes)
{
    context *c = current();
    if (!out || n_bytes == 0)
        return INVALID_VALUE;
    if (code refused = check_capture(nullptr))
        return refused;
    void *raw;
    if (n_bytes > memory_bytes() - c->used_bytes || posix_memalign(&raw, ALIGNMENT, n_bytes + 2 * GUARD_BYTES))
        return OUT_OF_MEMORY;
    char *start = (char *)raw + GUARD_BYTES;
    fill_bytes(start, FRESH, n_bytes);
    memset(start - GUARD_BYTES, GUARD, GUARD_BYTES);
    memset(start + n_bytes, GUARD, GUARD_BYTES);
#ifdef SKV_ASAN
    __asan_poison_memory_region(start - GUARD_BYTES, GUARD_BYTES);
    __asan_poison_memory_region(start + n_bytes, GUARD_BYTES);
#endif
    c->used_bytes += n_bytes;
    allocations[start] = {c, n_bytes};
    n_live++;
    *out = start;
    return OK;
}

code free_memory(void *at)
{
    if (code refused = check_capture(nullptr))
        return refused;
    if (!at)
        return OK;
    auto found = allocations.find((char *)at);
    if (found == allocations.end())
        return INVALID_VALUE;
    char *start = found->first;
    size_t n_bytes = found->second.n_bytes;
    check_guard(start, found->second);
    fill_bytes(start, FREED, n_bytes);
#ifdef SKV_ASAN
    __asan_unpoison_memory_region(start - GUARD_BYTES, n_bytes + 2 * GUARD_BYTES);
#endif
    found->second.in->used_bytes -= n_bytes;
    allocations.erase(found);
    n_live--;
    free(start - GUARD_BYTES);
    return OK;
}

const allocation *find_allocation(const void *at, char **start)
{
    auto next = allocations.upper_bound((char *)const_cast<void *>(at));
    if (next == allocations.begin())
        return nullptr;
    auto found = std::prev(next);
    *start = found->first;
    return (size_t)((const char *)at - found->first) < found->second.n_bytes ? &found->second : nullptr;
}

static bool is_inside(const void *at, size_t n_bytes)
{
    char *start;
    const allocation *a = find_allocation(at, &start);
    return n_bytes == 0 || (a && n_bytes <= a->n_bytes - (size_t)((const char *)at - start));
}

code copy(void *to, bool to_device, const void *from, bool from_device, size_t n_bytes, stream *on)
{
    if ((to_device && !is_inside(to, n_bytes)) || (from_device && !is_inside(from, n_bytes)) ||
        (n_bytes > 0 && (!to || !from)))
        return INVALID_VALUE;
    return enqueue(on, [=] { memmove(to, from, n_bytes); });
}

code fill(void *to, uint32_t value, unsigned value_bytes, size_t n, stream *on)
{
    if (!is_inside(to, n * value_bytes) || (uintptr_t)to % value_bytes)
        return INVALID_VALUE;
    return enqueue(on, [=] {
        for (size_t i = 0; i < n; i++)
            memcpy((char *)to + i * value_bytes, &value, value_bytes);
    });
}

} // namespace fake

void skv_fake_fail_at(long n)
{
    std::lock_guard<std::mutex> lock(fake::mutex);
    fake::n_calls = 0;
    fake::fail_at = n;
}

long skv_fake_calls(void)
{
    std::lock_guard<std::mutex> lock(fake::mutex);
    return fake::n_calls;
}

long skv_fake_live(void)
{
    std::lock_guard<std::mutex> lock(fake::mutex);
    return fake::n_live;
}
