/* SPDX-License-Identifier: Apache-2.0
 *
 * The fake driver under the names of NVIDIA's, with declarations of its own: no toolkit is needed. A test finds it in
 * place of libcuda.so.1. $SKV_FAKE_CC is the devices' compute capability, 9.0 unless set.
 */
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/gpu/fake_driver.h"

using namespace fake;

/* Sized and numbered as in cuda.h. */
typedef int CUresult, CUdevice;
typedef unsigned long long CUdeviceptr;

#define EXPORT extern "C" __attribute__((visibility("default"))) CUresult
/* A call that needs nothing before it, cuInit, or a current context. */
#define BEGIN(check)            \
    call in_call;               \
    if (in_call.must_fail)      \
        return UNKNOWN;         \
    if (code refused = (check)) \
        return refused
/* A call that gives something back. */
#define GIVE_BACK(check, action)             \
    call in_call;                            \
    code result = (check);                   \
    if (!result)                             \
        result = (action);                   \
    return in_call.must_fail ? UNKNOWN : result

static void *memory_at(CUdeviceptr at)
{
    return (void *)(uintptr_t)at;
}

/* The two default streams, by their fixed handles, are one. */
static stream *stream_of(void *handle)
{
    return (uintptr_t)handle <= 2 ? nullptr : (stream *)handle;
}

static int capability(bool is_minor)
{
    const char *text = getenv("SKV_FAKE_CC");
    const char *dot = text ? strchr(text, '.') : nullptr;
    if (is_minor)
        return dot ? atoi(dot + 1) : 0;
    return text ? atoi(text) : 9;
}

/* ---- devices */

EXPORT cuInit(unsigned flags)
{
    BEGIN(flags ? INVALID_VALUE : OK);
    initialize();
    return OK;
}

EXPORT cuDriverGetVersion(int *version)
{
    BEGIN(version ? OK : INVALID_VALUE);
    *version = 13000;
    return OK;
}

EXPORT cuDeviceGetCount(int *count)
{
    BEGIN(check_initialized());
    *count = N_DEVICES;
    return OK;
}

static code check_device(CUdevice device)
{
    code refused = check_initialized();
    return refused ? refused : device >= 0 && device < N_DEVICES ? OK : INVALID_DEVICE;
}

EXPORT cuDeviceGet(CUdevice *device, int ordinal)
{
    BEGIN(check_device(ordinal));
    *device = ordinal;
    return OK;
}

EXPORT cuDeviceGetName(char *name, int n_bytes, CUdevice device)
{
    BEGIN(check_device(device));
    if (!name || n_bytes <= 0)
        return INVALID_VALUE;
    snprintf(name, (size_t)n_bytes, "Emulated GPU %d", device);
    return OK;
}

EXPORT cuDeviceTotalMem_v2(size_t *n_bytes, CUdevice device)
{
    BEGIN(check_device(device));
    *n_bytes = memory_bytes();
    return OK;
}

EXPORT cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
    const struct {
        int attribute, value;
    } known[] = {
        {1, MAX_LANES},
        {2, MAX_LANES},
        {3, MAX_LANES},
        {4, 64},
        {5, 0x7fffffff},
        {6, 65535},
        {7, 65535},
        {8, SHARED_BYTES},
        {9, 64 << 10}, /* constant memory */
        {10, 32},      /* lanes of a warp */
        {12, 65536},   /* registers of a block */
        {13, 1000000}, /* clock, kHz */
        {14, 512},     /* pitch alignment */
        {16, N_MULTIPROCESSORS},
        {18, 0},       /* integrated */
        {19, 1},       /* can map host memory */
        {31, 1},       /* concurrent kernels */
        {32, 0},       /* ECC */
        {33, device + 1},
        {34, 0},
        {36, 1000000}, /* memory clock, kHz */
        {37, 256},     /* memory bus, bits */
        {38, 4 << 20}, /* L2 */
        {39, MAX_RESIDENT_LANES},
        {40, 1},
        {41, 1}, /* unified addresses */
        {50, 0},
        {75, capability(false)},
        {76, capability(true)},
        {81, SHARED_BYTES_OPT_IN + SHARED_BYTES_RESERVED},
        {82, 65536},
        {83, 0}, /* managed memory */
        {88, 0},
        {97, SHARED_BYTES_OPT_IN},
        {106, MAX_RESIDENT_BLOCKS},
        {111, SHARED_BYTES_RESERVED},
        {115, 0}, /* memory pools */
    };
    BEGIN(check_device(device));
    for (const auto &k : known)
        if (k.attribute == attribute && value) {
            *value = k.value;
            return OK;
        }
    return INVALID_VALUE;
}

/* ---- contexts */

EXPORT cuDevicePrimaryCtxRetain(context **out, CUdevice device)
{
    BEGIN(check_device(device));
    return retain(out, device);
}

EXPORT cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    GIVE_BACK(check_device(device), release(device));
}

EXPORT cuCtxPushCurrent_v2(context *c)
{
    BEGIN(check_initialized());
    return push(c);
}

EXPORT cuCtxPopCurrent_v2(context **out)
{
    GIVE_BACK(check_initialized(), pop(out));
}

EXPORT cuCtxGetDevice(CUdevice *device)
{
    BEGIN(check_current());
    *device = current()->device;
    return OK;
}

/* ---- modules and kernels */

EXPORT cuModuleLoadData(module **out, const void *image)
{
    BEGIN(check_current());
    return load_module(out, image);
}

EXPORT cuModuleUnload(module *m)
{
    GIVE_BACK(check_current(), unload_module(m));
}

EXPORT cuModuleGetFunction(function **out, module *m, const char *name)
{
    BEGIN(check_current());
    return find_function(out, m, name);
}

enum { MAX_THREADS, SHARED_SIZE, CONST_SIZE, LOCAL_SIZE, NUM_REGS, PTX_VERSION, BINARY_VERSION, CACHE_MODE };
enum { MAX_DYNAMIC_SHARED = 8, PREFERRED_CARVEOUT = 9 };

EXPORT cuFuncSetAttribute(function *f, int attribute, int value)
{
    BEGIN(check_current());
    if (!is_alive(f, FUNCTION))
        return INVALID_HANDLE;
    if (attribute == PREFERRED_CARVEOUT)
        return value >= -1 && value <= 100 ? OK : INVALID_VALUE;
    if (attribute != MAX_DYNAMIC_SHARED || value < 0 || value > SHARED_BYTES_OPT_IN)
        return INVALID_VALUE;
    f->shared_bytes_max = (size_t)value;
    return OK;
}

EXPORT cuFuncGetAttribute(int *value, int attribute, function *f)
{
    BEGIN(check_current());
    if (!is_alive(f, FUNCTION))
        return INVALID_HANDLE;
    switch (attribute) {
    case MAX_THREADS:
        *value = (int)f->kernel->lanes;
        return OK;
    case SHARED_SIZE:
    case CONST_SIZE:
    case LOCAL_SIZE:
    case CACHE_MODE:
        *value = 0;
        return OK;
    case NUM_REGS:
        *value = 32;
        return OK;
    case PTX_VERSION:
    case BINARY_VERSION:
        *value = 10 * capability(false) + capability(true);
        return OK;
    case MAX_DYNAMIC_SHARED:
        *value = (int)f->shared_bytes_max;
        return OK;
    case PREFERRED_CARVEOUT:
        *value = -1;
        return OK;
    default:
        return INVALID_VALUE;
    }
}

EXPORT cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n_blocks, function *f, int lanes, size_t shared_bytes)
{
    BEGIN(check_current());
    if (!is_alive(f, FUNCTION))
        return INVALID_HANDLE;
    if (!n_blocks || lanes <= 0 || lanes > MAX_LANES)
        return INVALID_VALUE;
    *n_blocks = shared_bytes > f->shared_bytes_max ? 0 : resident_blocks(f, lanes, shared_bytes);
    return OK;
}

EXPORT cuLaunchKernel(function *f, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared_bytes, void *on, void **params, void **extra)
{
    BEGIN(check_current());
    if (extra)
        return INVALID_VALUE;
    return launch(f, {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes}, 32, stream_of(on), params);
}

/* ---- memory */

EXPORT cuMemAlloc_v2(CUdeviceptr *out, size_t n_bytes)
{
    call in_call;
    if (in_call.must_fail)
        return OUT_OF_MEMORY;
    if (code refused = check_current())
        return refused;
    void *at = nullptr;
    code result = allocate(out ? &at : nullptr, n_bytes);
    if (!result)
        *out = (uintptr_t)at;
    return result;
}

EXPORT cuMemFree_v2(CUdeviceptr at)
{
    GIVE_BACK(check_current(), free_memory(memory_at(at)));
}

EXPORT cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t n_bytes, void *on)
{
    BEGIN(check_current());
    return copy(memory_at(to), true, from, false, n_bytes, stream_of(on));
}

EXPORT cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t n_bytes, void *on)
{
    BEGIN(check_current());
    return copy(to, false, memory_at(from), true, n_bytes, stream_of(on));
}

EXPORT cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n_bytes, void *on)
{
    BEGIN(check_current());
    return copy(memory_at(to), true, memory_at(from), true, n_bytes, stream_of(on));
}

EXPORT cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t n, void *on)
{
    BEGIN(check_current());
    return fill(memory_at(to), value, 1, n, stream_of(on));
}

EXPORT cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t n, void *on)
{
    BEGIN(check_current());
    return fill(memory_at(to), value, 4, n, stream_of(on));
}

EXPORT cuPointerGetAttribute(void *out, int attribute, CUdeviceptr at)
{
    BEGIN(check_initialized());
    char *start;
    const allocation *a = find_allocation(memory_at(at), &start);
    if (!a || !out)
        return INVALID_VALUE;
    switch (attribute) {
    case 1:
        *(context **)out = a->in;
        return OK;
    case 2: /* memory of a device */
        *(unsigned *)out = 2;
        return OK;
    case 3:
        *(CUdeviceptr *)out = at;
        return OK;
    case 8: /* managed */
        *(unsigned *)out = 0;
        return OK;
    case 9:
        *(int *)out = a->in->device;
        return OK;
    case 11:
        *(CUdeviceptr *)out = (uintptr_t)start;
        return OK;
    case 12:
        *(size_t *)out = a->n_bytes;
        return OK;
    default:
        return INVALID_VALUE;
    }
}

/* ---- streams and graphs */

EXPORT cuStreamCreate(stream **out, unsigned flags)
{
    BEGIN(check_current());
    return flags > 1 ? INVALID_VALUE : create_stream(out);
}

EXPORT cuStreamDestroy_v2(stream *s)
{
    GIVE_BACK(check_current(), destroy_stream(s));
}

EXPORT cuStreamSynchronize(void *s)
{
    BEGIN(check_current());
    return synchronize(stream_of(s));
}

EXPORT cuStreamGetCtx(void *s, context **out)
{
    BEGIN(check_current());
    return out ? stream_context(stream_of(s), out) : INVALID_VALUE;
}

EXPORT cuStreamIsCapturing(void *s, int *status)
{
    BEGIN(check_current());
    return status ? capture_status(stream_of(s), status) : INVALID_VALUE;
}

EXPORT cuStreamBeginCapture_v2(void *s, int mode)
{
    BEGIN(check_current());
    return begin_capture(stream_of(s), mode);
}

/* The recording ends where the call is made to fail, too, and makes no graph. */
EXPORT cuStreamEndCapture(void *s, graph **out)
{
    call in_call;
    code result = check_current();
    if (!result)
        result = end_capture(stream_of(s), out);
    if (in_call.must_fail) {
        if (!result)
            destroy_graph(*out, GRAPH);
        return UNKNOWN;
    }
    return result;
}

EXPORT cuGraphInstantiateWithFlags(graph **out, graph *g, unsigned long long flags)
{
    BEGIN(check_current());
    (void)flags;
    return instantiate(out, g);
}

EXPORT cuGraphLaunch(graph *exec, void *on)
{
    BEGIN(check_current());
    return launch_graph(exec, stream_of(on));
}

EXPORT cuGraphExecDestroy(graph *exec)
{
    GIVE_BACK(check_initialized(), destroy_graph(exec, GRAPH_EXEC));
}

EXPORT cuGraphDestroy(graph *g)
{
    GIVE_BACK(check_initialized(), destroy_graph(g, GRAPH));
}

/* ---- events */

EXPORT cuEventCreate(event **out, unsigned flags)
{
    BEGIN(check_current());
    return flags > 7 ? INVALID_VALUE : create_event(out);
}

EXPORT cuEventDestroy_v2(event *e)
{
    GIVE_BACK(check_current(), destroy_event(e));
}

EXPORT cuEventRecord(event *e, void *on)
{
    BEGIN(check_current());
    return record(e, stream_of(on));
}

EXPORT cuEventSynchronize(event *e)
{
    BEGIN(check_current());
    return synchronize(e);
}

EXPORT cuEventElapsedTime(float *milliseconds, event *start, event *end)
{
    BEGIN(check_current());
    return elapsed(milliseconds, start, end);
}

EXPORT cuEventElapsedTime_v2(float *milliseconds, event *start, event *end)
{
    BEGIN(check_current());
    return elapsed(milliseconds, start, end);
}

/* ---- errors; these calls are not counted and do not fail */

static const struct {
    int value;
    const char *name, *text;
} errors[] = {
    {OK, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous capture error"},
    {CAPTURE_IMPLICIT, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", "operation would wait for a capturing stream"},
    {CAPTURED_EVENT, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event recorded in a capture"},
    {UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

EXPORT cuGetErrorName(CUresult value, const char **out)
{
    for (const auto &error : errors)
        if (error.value == value) {
            *out = error.name;
            return OK;
        }
    *out = nullptr;
    return INVALID_VALUE;
}

EXPORT cuGetErrorString(CUresult value, const char **out)
{
    for (const auto &error : errors)
        if (error.value == value) {
            *out = error.text;
            return OK;
        }
    *out = nullptr;
    return INVALID_VALUE;
}
