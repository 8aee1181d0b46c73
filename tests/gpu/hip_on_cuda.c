/* SPDX-License-Identifier: Apache-2.0
 *
 * A libamdhip64 that hands every call on to CUDA's driver: on an NVIDIA machine the HIP backend's host code then runs
 * the shared kernels, which have the same names and parameters in both. The device code is the fatbin that
 * $SKV_HIP_ON_CUDA_IMAGE names; $SKV_CUDA_LIBRARY may name another libcuda. Error codes are the same in both.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "backends/cuda/cuda.h"

#define EXPORT __attribute__((visibility("default"))) int
enum { DEVICES_MAX = 16, FUNCTION_NOT_FOUND = 500, NO_DEVICE = 100, FILE_NOT_FOUND = 301, INVALID_VALUE = 1 };

static struct skv_cuda_functions cu;
static int n_devices;
static void *contexts[DEVICES_MAX];
static _Thread_local int current;

static int open_devices(void)
{
    int code = cu.cuDeviceGetCount(&n_devices);
    n_devices = n_devices < DEVICES_MAX ? n_devices : DEVICES_MAX;
    for (int i = 0; i < n_devices && code == 0; i++)
        code = cu.cuDevicePrimaryCtxRetain(&contexts[i], i);
    return code;
}

/* Runs a call in the current device's context. */
#define FORWARD(call)                                       \
    do {                                                    \
        void *popped_;                                      \
        int code_ = cu.cuCtxPushCurrent(contexts[current]); \
        if (code_ != 0)                                     \
            return code_;                                   \
        code_ = (call);                                     \
        (void)cu.cuCtxPopCurrent(&popped_);                 \
        return code_;                                       \
    } while (0)

static uint64_t address(const void *at)
{
    return (uint64_t)(uintptr_t)at;
}

/* ---- devices */

/* Called once, before all else, as the backend does. */
EXPORT hipInit(unsigned flags)
{
    const char *name = getenv("SKV_CUDA_LIBRARY");
    void *library = dlopen(name && name[0] ? name : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return NO_DEVICE;
#define GET(name, symbol, parameters)            \
    *(void **)&cu.name = dlsym(library, symbol); \
    if (!cu.name)                                \
        return FUNCTION_NOT_FOUND;
    SKV_CUDA_FUNCTIONS(GET)
#undef GET
    int code = cu.cuInit(flags);
    return code == 0 ? open_devices() : code;
}

EXPORT hipRuntimeGetVersion(int *version)
{
    int code = cu.cuDriverGetVersion(version);
    /* 13000, CUDA 13.0, reads as 13.0.0. */
    *version = *version / 1000 * 10000000 + *version % 1000 / 10 * 100000;
    return code;
}

EXPORT hipGetDeviceCount(int *count)
{
    *count = n_devices;
    return 0;
}

EXPORT hipGetDevice(int *device)
{
    *device = current;
    return 0;
}

EXPORT hipSetDevice(int device)
{
    if (device < 0 || device >= n_devices)
        return INVALID_VALUE;
    current = device;
    return 0;
}

EXPORT hipDeviceGetName(char *name, int n_bytes, int device)
{
    return cu.cuDeviceGetName(name, n_bytes, device);
}

EXPORT hipDeviceTotalMem(size_t *n_bytes, int device)
{
    return cu.cuDeviceTotalMem(n_bytes, device);
}

EXPORT hipDeviceGetAttribute(int *value, int attribute, int device)
{
    /* hipDeviceAttribute_t and CUdevice_attribute. Group memory is what needs no leave. */
    static const struct {
        int hip, cuda;
    } same[] = {{87, 10}, {63, 16}, {23, 75}, {61, 76}, {74, 8}};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        if (same[i].hip == attribute)
            return cu.cuDeviceGetAttribute(value, same[i].cuda, device);
    return INVALID_VALUE;
}

/* ---- modules and kernels */

static int load(void **module, const char *path)
{
    int code = FILE_NOT_FOUND;
    FILE *file = fopen(path, "rb");
    char *image = NULL;
    long n_bytes = file && fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (n_bytes > 0 && (image = malloc((size_t)n_bytes)) && fseek(file, 0, SEEK_SET) == 0 &&
        fread(image, 1, (size_t)n_bytes, file) == (size_t)n_bytes)
        code = cu.cuModuleLoadData(module, image);
    free(image);
    if (file)
        fclose(file);
    return code;
}

EXPORT hipModuleLoadData(void **module, const void *image)
{
    const char *path = getenv("SKV_HIP_ON_CUDA_IMAGE");
    FORWARD(path && path[0] ? load(module, path) : cu.cuModuleLoadData(module, image));
}

EXPORT hipModuleUnload(void *module)
{
    FORWARD(cu.cuModuleUnload(module));
}

EXPORT hipModuleGetFunction(void **function, void *module, const char *name)
{
    FORWARD(cu.cuModuleGetFunction(function, module, name));
}

EXPORT hipModuleOccupancyMaxActiveBlocksPerMultiprocessor(int *n_blocks, void *function, int block_lanes,
                                                          size_t shared_bytes)
{
    FORWARD(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(n_blocks, function, block_lanes, shared_bytes));
}

EXPORT hipModuleLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                             unsigned block_y, unsigned block_z, unsigned shared_bytes, void *stream, void **args,
                             void **extra)
{
    const struct skv_cuda_launch config = {.grid = {grid_x, grid_y, grid_z},
                                           .block = {block_x, block_y, block_z},
                                           .shared_bytes = shared_bytes,
                                           .stream = stream};
    FORWARD(cu.cuLaunchKernelEx(&config, function, args, extra));
}

/* ---- memory */

EXPORT hipMalloc(void **at, size_t n_bytes)
{
    _Static_assert(sizeof *at == sizeof(uint64_t), "addresses have 64 bits");
    FORWARD(cu.cuMemAlloc((uint64_t *)(void *)at, n_bytes));
}

EXPORT hipFree(void *at)
{
    FORWARD(cu.cuMemFree(address(at)));
}

EXPORT hipMemcpyAsync(void *to, const void *from, size_t n_bytes, int kind, void *stream)
{
    switch (kind) {
    case 1:
        FORWARD(cu.cuMemcpyHtoDAsync(address(to), from, n_bytes, stream));
    case 2:
        FORWARD(cu.cuMemcpyDtoHAsync(to, address(from), n_bytes, stream));
    case 3:
        FORWARD(cu.cuMemcpyDtoDAsync(address(to), address(from), n_bytes, stream));
    default:
        return INVALID_VALUE;
    }
}

EXPORT hipMemsetAsync(void *to, int value, size_t n_bytes, void *stream)
{
    FORWARD(cu.cuMemsetD8Async(address(to), (unsigned char)value, n_bytes, stream));
}

/* ---- streams and events */

EXPORT hipStreamCreateWithFlags(void **stream, unsigned flags)
{
    FORWARD(cu.cuStreamCreate(stream, flags));
}

EXPORT hipStreamDestroy(void *stream)
{
    FORWARD(cu.cuStreamDestroy(stream));
}

EXPORT hipStreamSynchronize(void *stream)
{
    FORWARD(cu.cuStreamSynchronize(stream));
}

static int capture_info(void *stream, int *state, unsigned long long *recording)
{
    uint64_t number = 0;
    int code = cu.cuStreamGetCaptureInfo(stream, state, &number);
    *recording = number;
    return code;
}

EXPORT hipStreamGetCaptureInfo(void *stream, int *state, unsigned long long *recording)
{
    FORWARD(capture_info(stream, state, recording));
}

EXPORT hipEventCreateWithFlags(void **event, unsigned flags)
{
    FORWARD(cu.cuEventCreate(event, flags));
}

EXPORT hipEventDestroy(void *event)
{
    FORWARD(cu.cuEventDestroy(event));
}

EXPORT hipEventRecord(void *event, void *stream)
{
    FORWARD(cu.cuEventRecord(event, stream));
}

EXPORT hipEventSynchronize(void *event)
{
    FORWARD(cu.cuEventSynchronize(event));
}

EXPORT hipEventElapsedTime(float *milliseconds, void *start, void *stop)
{
    FORWARD(cu.cuEventElapsedTime(milliseconds, start, stop));
}

__attribute__((visibility("default"))) const char *hipGetErrorName(int code)
{
    const char *name = NULL;
    if (cu.cuGetErrorName)
        (void)cu.cuGetErrorName(code, &name);
    return name;
}
