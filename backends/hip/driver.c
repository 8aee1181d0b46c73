/* SPDX-License-Identifier: Apache-2.0
 *
 * libamdhip64 behind the neutral table of backends/gpu/driver.h. A device has one context, which is entered by making
 * the device the thread's current one; a context is named by its device's number, counted from 1.
 */
#include <pthread.h>
#include <stdio.h>

#include "backends/hip/hip.h"

/* hipDeviceAttribute_t: the same numbers from 5.0 to 7.0. */
enum {
    ATTRIBUTE_CAPABILITY_MAJOR = 23,
    ATTRIBUTE_CAPABILITY_MINOR = 61,
    ATTRIBUTE_MULTIPROCESSOR_COUNT = 63,
    ATTRIBUTE_GROUP_BYTES = 74,
    ATTRIBUTE_WARP_SIZE = 87,
};
enum { COPY_TO_DEVICE = 1, COPY_TO_HOST = 2, COPY_WITHIN_DEVICE = 3 };
enum { STREAM_NON_BLOCKING = 1 };
enum { ERROR_INVALID_VALUE = 1, ERROR_INVALID_IMAGE = 200, ERROR_NO_BINARY = 209 };

/* Only called after the library was loaded. */
static const struct skv_hip_functions *hip(void)
{
    char unused[8];
    return skv_hip_load(unused, sizeof unused);
}

static void *pointer(uint64_t address)
{
    return (void *)(uintptr_t)address;
}

static int device_count(int *n_devices)
{
    return hip()->hipGetDeviceCount(n_devices);
}

/* hipDeviceProp_t is larger in each version, and far from this. The device's own name comes first. */
#define PROPERTIES_BYTES 16384
#define PROPERTIES_NAME_BYTES 256

/* "gfx90a:sramecc+:xnack-", which only hipDeviceProp_t has: looked for in it, so that no layout is relied on. */
static bool find_architecture(int i_device, char *architecture, size_t n_bytes)
{
    int (*ask)(void *properties, int device) = hip()->hipGetDevicePropertiesR0600; /* from 6.0 on */
    if (!ask)
        ask = hip()->hipGetDeviceProperties;
    if (!ask)
        return false;
    char *properties = skv_alloc(PROPERTIES_BYTES);
    if (!properties)
        return false;
    size_t length = 0;
    if (ask(properties, i_device) == 0)
        for (const char *at = properties + PROPERTIES_NAME_BYTES; at < properties + PROPERTIES_BYTES - n_bytes; at++) {
            if (memcmp(at, "gfx", 3) != 0)
                continue;
            length = 3 + strspn(at + 3, "0123456789abcdef");
            if (length >= 6 && length <= 7 && (at[length] == '\0' || at[length] == ':')) {
                snprintf(architecture, n_bytes, "%.*s", (int)n_bytes - 1, at);
                break;
            }
            length = 0;
        }
    skv_free(properties);
    return length != 0;
}

/* The last digit, which may be a letter, counts steps; the others are the driver's major and minor numbers. */
static uint32_t step_of(const char *architecture)
{
    char last = architecture[strcspn(architecture, ":") - 1];
    return (uint32_t)(last <= '9' ? last - '0' : last - 'a' + 10);
}

static int device_facts(int i_device, struct skv_driver_facts *facts)
{
    int version = 0, units = 0, lanes = 0, major = 0, minor = 0, group_bytes = 0;
    size_t n_bytes = 0;
    const struct skv_hip_functions *driver = hip();
    memset(facts, 0, sizeof *facts);
    int code = driver->hipDeviceGetName(facts->name, (int)sizeof facts->name, i_device);
    if (code == 0)
        code = driver->hipDeviceTotalMem(&n_bytes, i_device);
    if (code == 0)
        code = driver->hipRuntimeGetVersion(&version);
    const struct {
        int attribute, *value;
    } wanted[] = {{ATTRIBUTE_MULTIPROCESSOR_COUNT, &units},
                  {ATTRIBUTE_WARP_SIZE, &lanes},
                  {ATTRIBUTE_CAPABILITY_MAJOR, &major},
                  {ATTRIBUTE_CAPABILITY_MINOR, &minor},
                  {ATTRIBUTE_GROUP_BYTES, &group_bytes}};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0] && code == 0; i++)
        code = driver->hipDeviceGetAttribute(wanted[i].value, wanted[i].attribute, i_device);
    facts->compute_units = (uint32_t)units;
    facts->wave_lanes = (uint32_t)lanes;
    facts->memory_bytes = n_bytes;
    facts->group_bytes = (uint64_t)group_bytes;
    facts->version = (uint32_t)(major * 100 + minor * 10);
    snprintf(facts->driver, sizeof facts->driver, "HIP %d.%d.%d", version / 10000000, version / 100000 % 100,
             version % 100000);
    if (code == 0 && find_architecture(i_device, facts->architecture, sizeof facts->architecture))
        facts->version += step_of(facts->architecture);
    else
        snprintf(facts->architecture, sizeof facts->architecture, "gfx%d.%d", major, minor);
    return code;
}

static void *context_of(int i_device)
{
    return pointer((uint64_t)i_device + 1);
}

static int context_open(int i_device, uint64_t native, void **context)
{
    if (native)
        return ERROR_INVALID_VALUE;
    *context = context_of(i_device);
    return 0;
}

static void context_close(int i_device, uint64_t native, void *context)
{
    (void)i_device;
    (void)native;
    (void)context;
}

static int context_enter(int i_device, void *context, uint64_t *saved)
{
    (void)context;
    int current = i_device, code = hip()->hipGetDevice(&current);
    *saved = 0;
    if (code != 0 || current == i_device)
        return code;
    code = hip()->hipSetDevice(i_device);
    if (code == 0)
        *saved = (uint64_t)current + 1;
    return code;
}

static void context_leave(uint64_t saved)
{
    if (saved)
        (void)hip()->hipSetDevice((int)saved - 1);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char unfit[320];

static void write_unfit(void)
{
    char targets[256];
    skv_hip_targets(skv_hip_image, (size_t)(skv_hip_image_end - skv_hip_image), targets, sizeof targets);
    snprintf(unfit, sizeof unfit, "no code object fits; there are such for %s", targets[0] ? targets : "no device");
}

static const char *error_name(int code)
{
    /* Versions differ in which of the two they return. */
    if (code == ERROR_NO_BINARY || code == ERROR_INVALID_IMAGE) {
        pthread_once(&once, write_unfit);
        return unfit;
    }
    const char *name = hip()->hipGetErrorName(code);
    return name ? name : "unknown error";
}

static int module_load(const void *image, void **module)
{
    return hip()->hipModuleLoadData(module, image);
}

static int module_unload(void *module)
{
    return hip()->hipModuleUnload(module);
}

static int module_function(void *module, const char *name, void **function)
{
    return hip()->hipModuleGetFunction(function, module, name);
}

/* Launches may ask for all that a group can have. */
static int function_scratch(void *function, uint32_t n_bytes)
{
    (void)function;
    (void)n_bytes;
    return 0;
}

static int function_occupancy(void *function, uint32_t lanes, uint32_t scratch_bytes, int *n_groups)
{
    return hip()->hipModuleOccupancyMaxActiveBlocksPerMultiprocessor(n_groups, function, (int)lanes, scratch_bytes);
}

static int launch(void *function, const uint64_t groups[3], uint32_t lanes, uint32_t scratch_bytes, bool overlaps,
                  void *stream, void **args)
{
    (void)overlaps;
    /* Lanes of all groups are counted in 32 bits. */
    for (int i = 0; i < 3; i++)
        if (groups[i] == 0 || groups[i] > (i == 0 ? UINT32_MAX / lanes : 0xffffu))
            return ERROR_INVALID_VALUE;
    return hip()->hipModuleLaunchKernel(function, (unsigned)groups[0], (unsigned)groups[1], (unsigned)groups[2], lanes,
                                        1, 1, scratch_bytes, stream, args, NULL);
}

static int memory_alloc(uint64_t n_bytes, uint64_t *address)
{
    void *at = NULL;
    int code = hip()->hipMalloc(&at, (size_t)n_bytes);
    *address = (uint64_t)(uintptr_t)at;
    return code;
}

static int memory_free(uint64_t address)
{
    return hip()->hipFree(pointer(address));
}

static int copy_to(uint64_t to, const void *from, uint64_t n_bytes, void *stream)
{
    return hip()->hipMemcpyAsync(pointer(to), from, (size_t)n_bytes, COPY_TO_DEVICE, stream);
}

static int copy_from(void *to, uint64_t from, uint64_t n_bytes, void *stream)
{
    return hip()->hipMemcpyAsync(to, pointer(from), (size_t)n_bytes, COPY_TO_HOST, stream);
}

static int copy_within(uint64_t to, uint64_t from, uint64_t n_bytes, void *stream)
{
    return hip()->hipMemcpyAsync(pointer(to), pointer(from), (size_t)n_bytes, COPY_WITHIN_DEVICE, stream);
}

static int fill(uint64_t to, uint8_t value, uint64_t n_bytes, void *stream)
{
    return hip()->hipMemsetAsync(pointer(to), value, (size_t)n_bytes, stream);
}

static int stream_create(void **stream)
{
    return hip()->hipStreamCreateWithFlags(stream, STREAM_NON_BLOCKING);
}

static int stream_destroy(void *stream)
{
    return hip()->hipStreamDestroy(stream);
}

static int stream_synchronize(void *stream)
{
    return hip()->hipStreamSynchronize(stream);
}

/* *context stays as it is where the driver cannot be asked, which is before version 5.6. */
static int stream_context(void *stream, void **context)
{
    if (!hip()->hipStreamGetDevice)
        return 0;
    int device = (int)(uintptr_t)*context - 1, code = hip()->hipStreamGetDevice(stream, &device);
    if (code == 0)
        *context = context_of(device);
    return code;
}

static int stream_recording(void *stream, uint64_t *recording)
{
    unsigned long long number = 0;
    int state = 0, code = hip()->hipStreamGetCaptureInfo(stream, &state, &number);
    *recording = state != 0 ? number : 0;
    return code;
}

static int event_create(void **event)
{
    return hip()->hipEventCreateWithFlags(event, 0);
}

static int event_destroy(void *event)
{
    return hip()->hipEventDestroy(event);
}

static int event_record(void *event, void *stream)
{
    return hip()->hipEventRecord(event, stream);
}

static int event_synchronize(void *event)
{
    return hip()->hipEventSynchronize(event);
}

static int event_elapsed(float *milliseconds, void *start, void *stop)
{
    return hip()->hipEventElapsedTime(milliseconds, start, stop);
}

const struct skv_driver skv_hip_driver = {
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
