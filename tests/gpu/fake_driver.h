/* SPDX-License-Identifier: Apache-2.0
 *
 * A GPU driver without a GPU: contexts, modules, streams, events, graphs and memory, with kernels run by the emulator.
 * fake_cuda.cpp gives it the names of NVIDIA's driver. The codes are CUDA's; HIP's are the same numbers.
 *
 * Work runs when it is enqueued, or when the graph is launched that recorded it. What a real driver refuses is refused,
 * and every call can be made to fail. A call that gives something back does so even where it is made to fail, as a
 * driver does that reports an earlier error.
 *
 * Environment: SKV_FAKE_FAIL=n fails the n-th call, SKV_FAKE_MEMORY=n gives each device n MiB (default 20480).
 *
 * Thread-safety: every call takes one lock; the stack of current contexts belongs to the thread.
 */
#ifndef SKV_TESTS_FAKE_DRIVER_H
#define SKV_TESTS_FAKE_DRIVER_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "tests/gpu/emulator.h"

namespace fake
{

enum code {
    OK = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_IMPLICIT = 906,
    CAPTURED_EVENT = 907,
    UNKNOWN = 999
};

enum { N_DEVICES = 2, N_MULTIPROCESSORS = 4, MAX_LANES = 1024, MAX_RESIDENT_LANES = 2048, MAX_RESIDENT_BLOCKS = 32 };
enum { SHARED_BYTES = 48 << 10, SHARED_BYTES_OPT_IN = 227 << 10, SHARED_BYTES_RESERVED = 1 << 10 };

/* Handles are pointers to these; one that names nothing alive is refused, not followed. */
enum kind { CONTEXT, MODULE, STREAM, EVENT, GRAPH, GRAPH_EXEC, FUNCTION };

struct object {
    kind is;
    explicit object(kind k) : is(k) {}
    virtual ~object() = default;
};

struct context : object {
    int device = 0, n_retained = 0;
    size_t used_bytes = 0;
    context() : object(CONTEXT) {}
};

struct module;
struct function : object {
    module *of = nullptr;
    const emulator::kernel *kernel = nullptr;
    size_t shared_bytes_max = SHARED_BYTES;
    function() : object(FUNCTION) {}
};

struct module : object {
    context *in = nullptr;
    std::map<std::string, function *> functions;
    module() :object(MODULE) {}
};

typedef std::function<void()> work;

struct stream : object {
    context *in = nullptr;
    enum { NONE, ACTIVE, INVALIDATED } capture = NONE;
    int capture_mode = 0;
    uint64_t recording = 0; /* number of the last capture */
    std::vector<work> captured;
    stream() : object(STREAM) {}
};

struct event : object {
    context *in = nullptr;
    bool is_recorded = false, is_captured = false;
    double milliseconds = 0;
    event() : object(EVENT) {}
};

struct graph : object {
    std::vector<work> nodes;
    explicit graph(kind k) : object(k) {}
};

struct allocation {
    context *in;
    size_t n_bytes;
};

/* ---- each call */

/* Holds the lock, counts the call and says whether it must fail. */
struct call {
    std::lock_guard<std::mutex> lock;
    bool must_fail;
    call();
};
/* After cuInit and with a context current. */
code check_current();
code check_initialized();
void initialize();

context *current();
bool is_alive(const void *handle, kind is);

/* ---- contexts */

code retain(context **out, int device);
code release(int device);
code push(context *c);
code pop(context **out);

/* ---- modules */

code load_module(module **out, const void *image);
code unload_module(module *m);
code find_function(function **out, module *m, const char *name);
struct shape {
    unsigned grid[3], block[3], shared_bytes;
};
code launch(function *f, const shape &s, unsigned warp_lanes, stream *on, void **params);
int resident_blocks(const function *f, int lanes, size_t shared_bytes);

/* ---- memory */

code allocate(void **out, size_t n_bytes);
code free_memory(void *at);
/* The allocation that a device's address lies in; its start. */
const allocation *find_allocation(const void *at, char **start);
size_t memory_bytes();
/* Either end may be host memory; those that are not must lie in an allocation. */
code copy(void *to, bool to_device, const void *from, bool from_device, size_t n_bytes, stream *on);
/* n times the value's low 1 or 4 bytes. */
code fill(void *to, uint32_t value, unsigned value_bytes, size_t n, stream *on);

/* ---- streams, graphs, events; NULL is the default stream */

code create_stream(stream **out);
code destroy_stream(stream *s);
code synchronize(stream *s);
code stream_context(stream *s, context **out);
code capture_status(stream *s, int *status, uint64_t *recording);
code begin_capture(stream *s, int mode);
code end_capture(stream *s, graph **out);
code instantiate(graph **out, graph *g);
code launch_graph(graph *exec, stream *on);
code destroy_graph(graph *g, kind is);
code create_event(event **out);
code destroy_event(event *e);
code record(event *e, stream *on);
code synchronize(event *e);
code elapsed(float *milliseconds, event *start, event *end);

/* ---- for the parts of the fake driver */

void add(object *o);
/* Destroys it. */
void remove(object *o);
void count_live(long n);
/* Runs it, or leaves it to a stream that records. */
code enqueue(stream *on, work w);
/* Refused while a stream records, other than in relaxed mode; the recording is then lost. */
code check_capture(stream *s);

} // namespace fake

/* For tests, by dlsym. Fails the n-th call from now on, 0 none; counts calls since then; objects that are alive. */
extern "C" {
__attribute__((visibility("default"))) void skv_fake_fail_at(long n);
__attribute__((visibility("default"))) long skv_fake_calls(void);
__attribute__((visibility("default"))) long skv_fake_live(void);
}

/* ---- for the exported functions of either driver */

#define EXPORT extern "C" __attribute__((visibility("default"))) int
/* A call that needs nothing before it, the driver's start, or a current context. */
#define BEGIN(check)                  \
    fake::call in_call;               \
    if (in_call.must_fail)            \
        return fake::UNKNOWN;         \
    if (fake::code refused = (check)) \
    return refused
/* A call that gives something back. */
#define GIVE_BACK(check, action) \
    fake::call in_call;          \
    fake::code result = (check); \
    if (!result)                 \
        result = (action);       \
    return in_call.must_fail ? fake::UNKNOWN : result

/* The two default streams, by their fixed handles, are one. */
inline fake::stream *stream_of(void *handle)
{
    return (uintptr_t)handle <= 2 ? nullptr : (fake::stream *)handle;
}

#endif
