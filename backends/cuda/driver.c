/* SPDX-License-Identifier: Apache-2.0
 *
 * libcuda behind the neutral table of backends/gpu/driver.h.
 */
#include <stdio.h>

#include "backends/cuda/cuda.h"

/* CUdevice_attribute and CUfunction_attribute */
enum {
    ATTRIBUTE_WARP_SIZE = 10,
    ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
    ATTRIBUTE_CAPABILITY_MAJOR = 75,
    ATTRIBUTE_CAPABILITY_MINOR = 76,
    ATTRIBUTE_GROUP_BYTES_OPTIN = 97,
    FUNCTION_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
    STREAM_NON_BLOCKING = 1,
    ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6,
    ERROR_INVALID_VALUE = 1,
};

/* Only called after the library was loaded. */
static const struct skv_cuda_functions *cu(void)
{
    char unused[8];
    return skv_cuda_load(unused, sizeof unused);
}

static int device_count(int *n_devices)
{
    return cu()->cuDeviceGetCount(n_devices);
}

static int device_facts(int i_device, struct skv_driver_facts *facts)
{
    int device = 0, version = 0, units = 0, lanes = 0, major = 0, minor = 0, group_bytes = 0;
    size_t n_bytes = 0;
    const struct skv_cuda_functions *driver = cu();
    memset(facts, 0, sizeof *facts);
    int code = driver->cuDeviceGet(&device, i_device);
    if (code == 0)
        code = driver->cuDeviceGetName(facts->name, (int)sizeof facts->name, device);
    if (code == 0)
        code = driver->cuDeviceTotalMem(&n_bytes, device);
    if (code == 0)
        code = driver->cuDriverGetVersion(&version);
    const struct {
        int attribute, *value;
    } wanted[] = {{ATTRIBUTE_MULTIPROCESSOR_COUNT, &units},
                  {ATTRIBUTE_WARP_SIZE, &lanes},
                  {ATTRIBUTE_CAPABILITY_MAJOR, &major},
                  {ATTRIBUTE_CAPABILITY_MINOR, &minor},
                  {ATTRIBUTE_GROUP_BYTES_OPTIN, &group_bytes}};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0] && code == 0; i++)
        code = driver->cuDeviceGetAttribute(wanted[i].value, wanted[i].attribute, device);
    facts->compute_units = (uint32_t)units;
    facts->wave_lanes = (uint32_t)lanes;
    facts->memory_bytes = n_bytes;
    facts->group_bytes = (uint64_t)group_bytes;
    facts->version = (uint32_t)(major * 10 + minor);
    snprintf(facts->driver, sizeof facts->driver, "CUDA %d.%d", version / 1000, version % 1000 / 10);
    snprintf(facts->architecture, sizeof facts->architecture, "sm_%u", facts->version);
    return code;
}

static int context_open(int i_device, uint64_t native, void **context)
{
    const struct skv_cuda_functions *driver = cu();
    int device = 0, of_context = -1, code = driver->cuDeviceGet(&device, i_device);
    if (code != 0)
        return code;
    if (!native)
        return driver->cuDevicePrimaryCtxRetain(context, device);
    void *given = (void *)(uintptr_t)native, *popped = NULL;
    code = driver->cuCtxPushCurrent(given);
    if (code != 0)
        return code;
    code = driver->cuCtxGetDevice(&of_context);
    (void)driver->cuCtxPopCurrent(&popped);
    if (code == 0 && of_context != device)
        code = ERROR_INVALID_VALUE;
    if (code == 0)
        *context = given;
    return code;
}

static void context_close(int i_device, uint64_t native, void *context)
{
    (void)context;
    int device = 0;
    if (!native && cu()->cuDeviceGet(&device, i_device) == 0)
        (void)cu()->cuDevicePrimaryCtxRelease(device);
}

static int context_enter(int i_device, void *context, uint64_t *saved)
{
    (void)i_device;
    *saved = 0;
    return cu()->cuCtxPushCurrent(context);
}

static void context_leave(uint64_t saved)
{
    (void)saved;
    void *popped = NULL;
    (void)cu()->cuCtxPopCurrent(&popped);
}

static const char *error_name(int code)
{
    const char *name = NULL;
    return cu()->cuGetErrorName(code, &name) == 0 && name ? name : "unknown error";
}

static int module_load(const void *image, void **module)
{
    return cu()->cuModuleLoadData(module, image);
}

static int module_unload(void *module)
{
    return cu()->cuModuleUnload(module);
}

static int module_function(void *module, const char *name, void **function)
{
    return cu()->cuModuleGetFunction(function, module, name);
}

static int function_scratch(void *function, uint32_t n_bytes)
{
    return cu()->cuFuncSetAttribute(function, FUNCTION_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)n_bytes);
}

static int function_occupancy(void *function, uint32_t lanes, uint32_t scratch_bytes, int *n_groups)
{
    return cu()->cuOccupancyMaxActiveBlocksPerMultiprocessor(n_groups, function, (int)lanes, scratch_bytes);
}

static int launch(void *function, const uint64_t groups[3], uint32_t lanes, uint32_t scratch_bytes, bool overlaps,
                  void *stream, void **args)
{
    for (int i = 0; i < 3; i++)
        if (groups[i] == 0 || groups[i] > (i == 0 ? 0x7fffffffu : 0xffffu))
            return ERROR_INVALID_VALUE;
    struct skv_cuda_launch_attribute overlap = {.id = ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, .value = {1}};
    const struct skv_cuda_launch config = {.grid = {(unsigned)groups[0], (unsigned)groups[1], (unsigned)groups[2]},
                                           .block = {lanes, 1, 1},
                                           .shared_bytes = scratch_bytes,
                                           .stream = stream,
                                           .attributes = &overlap,
                                           .n_attributes = overlaps};
    return cu()->cuLaunchKernelEx(&config, function, args, NULL);
}

static int memory_alloc(uint64_t n_bytes, uint64_t *address)
{
    return cu()->cuMemAlloc(address, (size_t)n_bytes);
}

static int memory_free(uint64_t address)
{
    return cu()->cuMemFree(address);
}

static int copy_to(uint64_t to, const void *from, uint64_t n_bytes, void *stream)
{
    return cu()->cuMemcpyHtoDAsync(to, from, (size_t)n_bytes, stream);
}

static int copy_from(void *to, uint64_t from, uint64_t n_bytes, void *stream)
{
    return cu()->cuMemcpyDtoHAsync(to, from, (size_t)n_bytes, stream);
}

static int copy_within(uint64_t to, uint64_t from, uint64_t n_bytes, void *stream)
{
    return cu()->cuMemcpyDtoDAsync(to, from, (size_t)n_bytes, stream);
}

static int fill(uint64_t to, uint8_t value, uint64_t n_bytes, void *stream)
{
    return cu()->cuMemsetD8Async(to, value, (size_t)n_bytes, stream);
}

static int stream_create(void **stream)
{
    return cu()->cuStreamCreate(stream, STREAM_NON_BLOCKING);
}

static int stream_destroy(void *stream)
{
    return cu()->cuStreamDestroy(stream);
}

static int stream_synchronize(void *stream)
{
    return cu()->cuStreamSynchronize(stream);
}

static int stream_context(void *stream, void **context)
{
    return cu()->cuStreamGetCtx(stream, context);
}

static int stream_recording(void *stream, uint64_t *recording)
{
    int state = 0, code = cu()->cuStreamGetCaptureInfo(stream, &state, recording);
    if (code != 0 || state == 0)
        *recording = 0;
    return code;
}

static int event_create(void **event)
{
    return cu()->cuEventCreate(event, 0);
}

static int event_destroy(void *event)
{
    return cu()->cuEventDestroy(event);
}

static int event_record(void *event, void *stream)
{
    return cu()->cuEventRecord(event, stream);
}

static int event_synchronize(void *event)
{
    return cu()->cuEventSynchronize(event);
}

static int event_elapsed(float *milliseconds, void *start, void *stop)
{
    return cu()->cuEventElapsedTime(milliseconds, start, stop);
}

const struct skv_driver skv_cuda_driver = {
    .device_count = device_count,
    .device_facts = device_facts,
    .context_open = context_open,
    .context_close = context_close,
    .context_enter = context_enter,
    .context_leave = context_leave,
    .error_name = error_name,
    .module_load = module_load,
    .module_unload = module_unload,
    .module_function = module_function,
    .function_scratch = function_scratch,
    .function_occupancy = function_occupancy,
    .launch = launch,
    .memory_alloc = memory_alloc,
    .memory_free = memory_free,
    .copy_to = copy_to,
    .copy_from = copy_from,
    .copy_within = copy_within,
    .fill = fill,
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .stream_synchronize = stream_synchronize,
    .stream_context = stream_context,
    .stream_recording = stream_recording,
    .event_create = event_create,
    .event_destroy = event_destroy,
    .event_record = event_record,
    .event_synchronize = event_synchronize,
    .event_elapsed = event_elapsed,
};
