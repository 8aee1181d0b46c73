/* SPDX-License-Identifier: Apache-2.0
 *
 * The fake driver under the names of NVIDIA's: a test finds it in place of libcuda.so.1. Devices, contexts and kernels.
 * $SKV_FAKE_CC is the devices' compute capability, 9.0 unless set.
 */
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/gpu/fake_cuda.h"

using namespace fake;

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
        {18, 0}, /* integrated */
        {19, 1}, /* can map host memory */
        {31, 1}, /* concurrent kernels */
        {32, 0}, /* ECC */
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

/* CUlaunchAttribute and CUlaunchConfig */
struct launch_attribute {
    int id;
    char padding[4];
    int value[16];
};
struct launch_config {
    unsigned grid[3], block[3], shared_bytes;
    void *stream;
    const launch_attribute *attributes;
    unsigned n_attributes;
};
enum { PROGRAMMATIC_STREAM_SERIALIZATION = 6 };

/* Launches never overlap here, which they never have to. */
EXPORT cuLaunchKernelEx(const launch_config *config, function *f, void **params, void **extra)
{
    BEGIN(check_current());
    if (extra || !config || (config->n_attributes && !config->attributes))
        return INVALID_VALUE;
    for (unsigned i = 0; i < config->n_attributes; i++)
        if (config->attributes[i].id != PROGRAMMATIC_STREAM_SERIALIZATION)
            return INVALID_VALUE;
    const unsigned *grid = config->grid, *block = config->block;
    return launch(f, {{grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, config->shared_bytes}, 32,
                  stream_of(config->stream), params);
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
