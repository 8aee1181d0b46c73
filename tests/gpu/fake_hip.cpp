/* SPDX-License-Identifier: Apache-2.0
 *
 * The fake driver under the names of AMD's: a test finds it in place of libamdhip64. $SKV_FAKE_WAVE is the lanes of a
 * wave, 64 unless set. Devices tell their generation only, as those of no architecture; or else $SKV_FAKE_GFX.
 */
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/gpu/fake_driver.h"

using namespace fake;

enum { GROUP_BYTES = 64 << 10 };

static thread_local int current_device;

/* Enters the context of the thread's current device for as long as it lives. */
struct on_device {
    on_device() { (void)push(context_of(current_device)); }
    ~on_device() { (void)pop(nullptr); }
    static context *context_of(int device)
    {
        context *c = nullptr;
        (void)retain(&c, device);
        (void)release(device);
        return c;
    }
};
#define BEGIN_ON_DEVICE         \
    BEGIN(check_initialized()); \
    on_device entered

/* ---- devices */

/* NULL: they do not tell it. */
static const char *architecture()
{
    return getenv("SKV_FAKE_GFX");
}

static int wave_lanes()
{
    const char *text = getenv("SKV_FAKE_WAVE");
    return text && atoi(text) == 32 ? 32 : 64;
}

/* gfx1151 is 11, 5 and 1. */
static int major_number()
{
    if (!architecture())
        return wave_lanes() == 32 ? 11 : 9;
    return atoi(std::string(architecture() + 3, strlen(architecture()) - 5).c_str());
}

static int minor_number()
{
    return architecture() ? architecture()[strlen(architecture()) - 2] - '0' : 0;
}

EXPORT hipInit(unsigned flags)
{
    BEGIN(flags ? INVALID_VALUE : OK);
    static bool is_started;
    initialize();
    /* Devices' contexts are there from now on, and no objects of a caller. */
    for (int i = 0; i < N_DEVICES && !is_started; i++) {
        context *c;
        (void)retain(&c, i);
        count_live(-1);
    }
    is_started = true;
    return OK;
}

EXPORT hipRuntimeGetVersion(int *version)
{
    BEGIN(version ? OK : INVALID_VALUE);
    *version = 60342134;
    return OK;
}

EXPORT hipGetDeviceCount(int *count)
{
    BEGIN(check_initialized());
    *count = N_DEVICES;
    return OK;
}

static code check_device(int device)
{
    code refused = check_initialized();
    return refused ? refused : device >= 0 && device < N_DEVICES ? OK : INVALID_DEVICE;
}

EXPORT hipGetDevice(int *device)
{
    BEGIN(check_initialized());
    *device = current_device;
    return OK;
}

EXPORT hipSetDevice(int device)
{
    GIVE_BACK(check_device(device), (current_device = device, OK));
}

EXPORT hipDeviceGetName(char *name, int n_bytes, int device)
{
    BEGIN(check_device(device));
    if (!name || n_bytes <= 0)
        return INVALID_VALUE;
    snprintf(name, (size_t)n_bytes, "Emulated AMD GPU %d", device);
    return OK;
}

EXPORT hipDeviceTotalMem(size_t *n_bytes, int device)
{
    BEGIN(check_device(device));
    *n_bytes = memory_bytes();
    return OK;
}

EXPORT hipDeviceGetAttribute(int *value, int attribute, int device)
{
    const struct {
        int attribute, value;
    } known[] = {{23, major_number()},    {61, minor_number()}, {56, MAX_LANES},
                 {63, N_MULTIPROCESSORS}, {74, GROUP_BYTES},    {87, wave_lanes()}};
    BEGIN(check_device(device));
    for (const auto &k : known)
        if (k.attribute == attribute && value) {
            *value = k.value;
            return OK;
        }
    return INVALID_VALUE;
}

/* As much of hipDeviceProp_tR0600 as tells the architecture; the rest is not 0. */
EXPORT hipGetDevicePropertiesR0600(void *properties, int device)
{
    enum { BYTES = 1472, NAME_BYTES = 256, ARCHITECTURE_AT = 1160, ARCHITECTURE_BYTES = 256 };
    BEGIN(check_device(device));
    if (!architecture())
        return INVALID_VALUE;
    memset(properties, 0x67, BYTES);
    snprintf((char *)properties, NAME_BYTES, "Emulated gfx000 GPU %d", device);
    snprintf((char *)properties + ARCHITECTURE_AT, ARCHITECTURE_BYTES, "%s:sramecc+:xnack-", architecture());
    return OK;
}

/* ---- modules and kernels */

EXPORT hipModuleLoadData(module **out, const void *image)
{
    BEGIN_ON_DEVICE;
    return load_module(out, image);
}

EXPORT hipModuleUnload(module *m)
{
    GIVE_BACK(check_initialized(), (on_device(), unload_module(m)));
}

/* What the code objects of a device's kind have: matrix units are missing in gfx906 and gfx1030, whose dot products are
 * of fp16 alone; RDNA 3 has both. */
static bool has_kernel(const char *name)
{
    const char *gfx = architecture() ? architecture() : "";
    bool lacks_matrices = !strcmp(gfx, "gfx906") || !strcmp(gfx, "gfx1030");
    if (strstr(name, "_attend_dot_"))
        return lacks_matrices ? !strstr(name, "_bf16") : major_number() == 11;
    return !(strstr(name, "_attend_w") && lacks_matrices);
}

EXPORT hipModuleGetFunction(function **out, module *m, const char *name)
{
    BEGIN_ON_DEVICE;
    if (!has_kernel(name))
        return NOT_FOUND;
    /* What is there for RDNA 4 alone has a longer name. */
    code result = NOT_FOUND;
    if (major_number() == 12)
        result = find_function(out, m, (std::string(name) + "_rdna4").c_str());
    if (result == NOT_FOUND)
        result = find_function(out, m, name);
    if (!result)
        (*out)->shared_bytes_max = GROUP_BYTES;
    return result;
}

EXPORT hipModuleOccupancyMaxActiveBlocksPerMultiprocessor(int *n_blocks, function *f, int lanes, size_t shared_bytes)
{
    BEGIN_ON_DEVICE;
    if (!is_alive(f, FUNCTION))
        return INVALID_HANDLE;
    if (!n_blocks || lanes <= 0 || lanes > MAX_LANES)
        return INVALID_VALUE;
    *n_blocks = shared_bytes > GROUP_BYTES ? 0 : resident_blocks(f, lanes, shared_bytes);
    return OK;
}

EXPORT hipModuleLaunchKernel(function *f, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                             unsigned block_y, unsigned block_z, unsigned shared_bytes, void *on, void **params,
                             void **extra)
{
    BEGIN_ON_DEVICE;
    if (extra || (uint64_t)grid_x * block_x > UINT32_MAX)
        return INVALID_VALUE;
    return launch(f, {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes}, (unsigned)wave_lanes(),
                  stream_of(on), params);
}

/* ---- memory */

EXPORT hipMalloc(void **out, size_t n_bytes)
{
    call in_call;
    if (in_call.must_fail)
        return OUT_OF_MEMORY;
    if (code refused = check_initialized())
        return refused;
    on_device entered;
    return allocate(out, n_bytes);
}

EXPORT hipFree(void *at)
{
    GIVE_BACK(check_initialized(), (on_device(), free_memory(at)));
}

EXPORT hipMemcpyAsync(void *to, const void *from, size_t n_bytes, int kind, void *on)
{
    enum { TO_DEVICE = 1, TO_HOST = 2, WITHIN_DEVICE = 3 };
    BEGIN_ON_DEVICE;
    if (kind < TO_DEVICE || kind > WITHIN_DEVICE)
        return INVALID_VALUE;
    return copy(to, kind != TO_HOST, from, kind != TO_DEVICE, n_bytes, stream_of(on));
}

EXPORT hipMemsetAsync(void *to, int value, size_t n_bytes, void *on)
{
    BEGIN_ON_DEVICE;
    return fill(to, (uint32_t)value, 1, n_bytes, stream_of(on));
}

/* ---- streams and graphs */

EXPORT hipStreamCreateWithFlags(stream **out, unsigned flags)
{
    BEGIN_ON_DEVICE;
    return flags > 1 ? INVALID_VALUE : create_stream(out);
}

EXPORT hipStreamDestroy(stream *s)
{
    GIVE_BACK(check_initialized(), (on_device(), destroy_stream(s)));
}

EXPORT hipStreamSynchronize(void *s)
{
    BEGIN_ON_DEVICE;
    return synchronize(stream_of(s));
}

EXPORT hipStreamGetDevice(void *s, int *device)
{
    BEGIN_ON_DEVICE;
    context *c;
    code result = device ? stream_context(stream_of(s), &c) : INVALID_VALUE;
    if (!result)
        *device = c->device;
    return result;
}

EXPORT hipStreamGetCaptureInfo(void *s, int *status, unsigned long long *recording)
{
    BEGIN_ON_DEVICE;
    uint64_t number = 0;
    code result = status ? capture_status(stream_of(s), status, &number) : INVALID_VALUE;
    if (recording)
        *recording = number;
    return result;
}

EXPORT hipStreamBeginCapture(void *s, int mode)
{
    BEGIN_ON_DEVICE;
    return begin_capture(stream_of(s), mode);
}

EXPORT hipStreamEndCapture(void *s, graph **out)
{
    BEGIN_ON_DEVICE;
    return end_capture(stream_of(s), out);
}

EXPORT hipGraphInstantiateWithFlags(graph **out, graph *g, unsigned long long flags)
{
    BEGIN_ON_DEVICE;
    (void)flags;
    return instantiate(out, g);
}

EXPORT hipGraphLaunch(graph *exec, void *on)
{
    BEGIN_ON_DEVICE;
    return launch_graph(exec, stream_of(on));
}

EXPORT hipGraphExecDestroy(graph *exec)
{
    GIVE_BACK(check_initialized(), destroy_graph(exec, GRAPH_EXEC));
}

EXPORT hipGraphDestroy(graph *g)
{
    GIVE_BACK(check_initialized(), destroy_graph(g, GRAPH));
}

/* ---- events */

EXPORT hipEventCreateWithFlags(event **out, unsigned flags)
{
    BEGIN_ON_DEVICE;
    return flags ? INVALID_VALUE : create_event(out);
}

EXPORT hipEventDestroy(event *e)
{
    GIVE_BACK(check_initialized(), destroy_event(e));
}

EXPORT hipEventRecord(event *e, void *on)
{
    BEGIN_ON_DEVICE;
    return record(e, stream_of(on));
}

EXPORT hipEventSynchronize(event *e)
{
    BEGIN_ON_DEVICE;
    return synchronize(e);
}

EXPORT hipEventElapsedTime(float *milliseconds, event *start, event *end)
{
    BEGIN_ON_DEVICE;
    return elapsed(milliseconds, start, end);
}

/* ---- errors; this call is not counted and does not fail */

extern "C" __attribute__((visibility("default"))) const char *hipGetErrorName(int value)
{
    static const struct {
        int value;
        const char *name;
    } errors[] = {
        {OK, "hipSuccess"},
        {INVALID_VALUE, "hipErrorInvalidValue"},
        {OUT_OF_MEMORY, "hipErrorOutOfMemory"},
        {NOT_INITIALIZED, "hipErrorNotInitialized"},
        {INVALID_DEVICE, "hipErrorInvalidDevice"},
        {INVALID_CONTEXT, "hipErrorInvalidContext"},
        {INVALID_HANDLE, "hipErrorInvalidHandle"},
        {NOT_FOUND, "hipErrorNotFound"},
        {CAPTURE_UNSUPPORTED, "hipErrorStreamCaptureUnsupported"},
        {CAPTURE_INVALIDATED, "hipErrorStreamCaptureInvalidated"},
        {CAPTURE_IMPLICIT, "hipErrorStreamCaptureImplicit"},
        {CAPTURED_EVENT, "hipErrorCapturedEvent"},
    };
    for (const auto &error : errors)
        if (error.value == value)
            return error.name;
    return "hipErrorUnknown";
}
