/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "backends/opencl/nvidia/nvidia.h"

#define NAME "opencl"
/* Bytes of local memory that the kernels of the largest shapes need. */
#define LOCAL_BYTES_MIN 32768
#define GROUP_MIN 64

static pthread_mutex_t places_lock = PTHREAD_MUTEX_INITIALIZER;
static struct skv_cl_place places[SKV_CL_DEVICES_MAX]; /* guarded by places_lock until found */
static uint32_t n_places;
static bool found;
static char no_place[200];

static void find_places(const struct skv_cl_functions *cl)
{
    cl_platform_id platforms[16];
    cl_uint n_platforms = 0;
    cl_int code = cl->clGetPlatformIDs(16, platforms, &n_platforms);
    if (code != CL_SUCCESS || n_platforms == 0) {
        snprintf(no_place, sizeof no_place, "the OpenCL loader knows no driver (clGetPlatformIDs: %s)",
                 code == CL_SUCCESS ? "0 platforms" : skv_cl_error_name(code));
        return;
    }
    for (cl_uint i = 0; i < n_platforms && i < 16; i++) {
        cl_device_id devices[SKV_CL_DEVICES_MAX];
        cl_uint n_devices = 0;
        if (cl->clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, SKV_CL_DEVICES_MAX, devices, &n_devices) != CL_SUCCESS)
            continue;
        for (cl_uint j = 0; j < n_devices && j < SKV_CL_DEVICES_MAX && n_places < SKV_CL_DEVICES_MAX; j++)
            places[n_places++] = (struct skv_cl_place){platforms[i], devices[j]};
    }
    if (n_places == 0)
        snprintf(no_place, sizeof no_place, "%u OpenCL driver%s, but none has a device", n_platforms,
                 n_platforms == 1 ? "" : "s");
}

static uint32_t probe(char *reason, size_t reason_bytes)
{
    const struct skv_cl_functions *cl = skv_cl_load(reason, reason_bytes);
    if (!cl)
        return 0;
    pthread_mutex_lock(&places_lock);
    if (!found)
        find_places(cl);
    found = true;
    pthread_mutex_unlock(&places_lock);
    snprintf(reason, reason_bytes, "%s", no_place);
    return n_places;
}

static uint64_t number(const struct skv_cl_functions *cl, cl_device_id id, cl_device_info what)
{
    /* Values are 4 or 8 bytes, little-endian as this library's hosts are. */
    uint64_t value = 0;
    return cl->clGetDeviceInfo(id, what, sizeof value, &value, NULL) == CL_SUCCESS ? value : 0;
}

static void text(const struct skv_cl_functions *cl, cl_device_id id, cl_device_info what, char *value, size_t n_bytes)
{
    char whole[1024] = "";
    if (cl->clGetDeviceInfo(id, what, sizeof whole, whole, NULL) != CL_SUCCESS)
        whole[0] = '\0';
    snprintf(value, n_bytes, "%s", whole);
}

/* Why a device cannot be used; false when it can. */
static bool find_fault(const struct skv_cl_functions *cl, cl_device_id id, char *reason, size_t n_bytes)
{
    char version[128], profile[64];
    int major = 0, minor = 0;
    text(cl, id, CL_DEVICE_VERSION, version, sizeof version);
    text(cl, id, CL_DEVICE_PROFILE, profile, sizeof profile);
    if (sscanf(version, "OpenCL %d.%d", &major, &minor) != 2 || major * 10 + minor < 12)
        snprintf(reason, n_bytes, "its version is \"%.60s\"; OpenCL 1.2 is needed", version);
    else if (strcmp(profile, "FULL_PROFILE") != 0)
        snprintf(reason, n_bytes, "its profile is \"%.40s\"; FULL_PROFILE is needed", profile);
    else if (!number(cl, id, CL_DEVICE_AVAILABLE))
        snprintf(reason, n_bytes, "its driver says that it is not available");
    else if (!number(cl, id, CL_DEVICE_COMPILER_AVAILABLE))
        snprintf(reason, n_bytes, "its driver has no compiler");
    else if (!number(cl, id, CL_DEVICE_ENDIAN_LITTLE))
        snprintf(reason, n_bytes, "it is big-endian; the format is little-endian");
    else if (number(cl, id, CL_DEVICE_LOCAL_MEM_SIZE) < LOCAL_BYTES_MIN)
        snprintf(reason, n_bytes, "it has %" PRIu64 " bytes of local memory; %d are needed",
                 number(cl, id, CL_DEVICE_LOCAL_MEM_SIZE), LOCAL_BYTES_MIN);
    else if (number(cl, id, CL_DEVICE_MAX_WORK_GROUP_SIZE) < GROUP_MIN)
        snprintf(reason, n_bytes, "its work-groups have up to %" PRIu64 " work-items; %d are needed",
                 number(cl, id, CL_DEVICE_MAX_WORK_GROUP_SIZE), GROUP_MIN);
    else
        return false;
    return true;
}

static void describe(uint32_t i_device, struct skv_device_info *info)
{
    const struct skv_cl_functions *cl = skv_cl_load(info->reason, sizeof info->reason);
    cl_device_id id = places[i_device].device;
    char platform[128] = "", driver[96], version[128];
    cl->clGetPlatformInfo(places[i_device].platform, CL_PLATFORM_NAME, sizeof platform, platform, NULL);
    uint64_t type = number(cl, id, CL_DEVICE_TYPE);
    info->usable = !find_fault(cl, id, info->reason, sizeof info->reason);
    info->kind = type & CL_DEVICE_TYPE_GPU ? SKV_DEVICE_GPU : type & CL_DEVICE_TYPE_CPU ? SKV_DEVICE_CPU : 0;
    info->compute_units = (uint32_t)number(cl, id, CL_DEVICE_MAX_COMPUTE_UNITS);
    info->memory_bytes = number(cl, id, CL_DEVICE_GLOBAL_MEM_SIZE);
    info->native = (uint64_t)(uintptr_t)id;
    text(cl, id, CL_DEVICE_NAME, info->name, sizeof info->name);
    text(cl, id, CL_DRIVER_VERSION, driver, sizeof driver);
    text(cl, id, CL_DEVICE_VERSION, version, sizeof version);
    const char *refusal = skv_cl_refusal(platform, info->name, driver);
    if (refusal && info->usable) {
        info->usable = 0;
        snprintf(info->reason, sizeof info->reason, "%s", refusal);
    }
    snprintf(info->id, sizeof info->id, NAME ":%" PRIu32, i_device);
    snprintf(info->backend, sizeof info->backend, NAME);
    snprintf(info->driver, sizeof info->driver, "%.40s %.40s", platform, driver);
    snprintf(info->variant, sizeof info->variant, "portable kernels%s%s, %.64s",
             skv_cl_is_serial(info) ? ", serial rows" : "", skv_nvidia_is_likely(cl, id) ? " and PTX once tried" : "",
             version);
}

static void close_device(struct skv_device *device)
{
    struct skv_cl_device *own = (struct skv_cl_device *)device;
    while (own->programs) {
        struct skv_cl_program *program = own->programs;
        own->programs = program->next;
        own->cl->clReleaseProgram(program->program);
        skv_free(program);
    }
    for (int i = 0; i < SKV_NVIDIA_KERNELS; i++)
        if (own->nvidia.program[i])
            own->cl->clReleaseProgram(own->nvidia.program[i]);
    if (own->context)
        own->cl->clReleaseContext(own->context);
    pthread_mutex_destroy(&own->nvidia.lock);
    pthread_mutex_destroy(&own->lock);
    skv_free(own);
}

static const struct skv_device_ops device_ops = {
    .close = close_device,
    .buffer_create = skv_cl_buffer_create,
    .buffer_destroy = skv_cl_buffer_destroy,
    .buffer_write = skv_cl_buffer_write,
    .buffer_read = skv_cl_buffer_read,
    .buffer_copy = skv_cl_buffer_copy,
    .buffer_fill = skv_cl_buffer_fill,
    .queue_create = skv_cl_queue_create,
    .queue_destroy = skv_cl_queue_destroy,
    .queue_finish = skv_cl_queue_finish,
    .timer_create = skv_cl_timer_create,
    .timer_destroy = skv_cl_timer_destroy,
    .timer_mark = skv_cl_timer_mark,
    .timer_read = skv_cl_timer_read,
    .prune = skv_gpu_prune,
    .channel_weights = skv_gpu_channel_weights,
    .compress = skv_nvidia_compress,
    .decompress = skv_nvidia_decompress,
    .attend = skv_nvidia_attend,
    .merge = skv_gpu_merge,
    .attend_split = skv_gpu_attend_split,
    .attend_workspace = skv_nvidia_attend_workspace,
};

/* The caller's context, which must hold the device, or a new one. */
static enum skv_status open_context(struct skv_cl_device *device, uint64_t native)
{
    cl_int code = CL_SUCCESS;
    if (!native) {
        cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)device->platform, 0};
        device->context = device->cl->clCreateContext(properties, 1, &device->id, NULL, NULL, &code);
        return code == CL_SUCCESS ? SKV_OK : skv_cl_fail("clCreateContext", code);
    }
    cl_device_id devices[SKV_CL_DEVICES_MAX];
    size_t n_bytes = 0;
    cl_context context = (cl_context)(uintptr_t)native;
    SKV_CL_TRY(device->cl->clGetContextInfo(context, CL_CONTEXT_DEVICES, sizeof devices, devices, &n_bytes),
               "clGetContextInfo");
    for (size_t i = 0; i < n_bytes / sizeof *devices; i++)
        if (devices[i] == device->id) {
            SKV_CL_TRY(device->cl->clRetainContext(context), "clRetainContext");
            device->context = context;
            return SKV_OK;
        }
    return skv_fail(SKV_ERROR_INVALID_ARGUMENT,
                    "params->native_context is 0x%" PRIx64 "; it must be a context that holds device \"%s\"", native,
                    device->base.base.info.id);
}

static enum skv_status open_device(uint32_t i_device, const struct skv_device_params *params,
                                   struct skv_device **device)
{
    struct skv_cl_device *own = skv_alloc(sizeof *own);
    if (!own)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a device object");
    pthread_mutex_init(&own->lock, NULL);
    pthread_mutex_init(&own->nvidia.lock, NULL);
    own->base.base.ops = &device_ops;
    describe(i_device, &own->base.base.info);
    char unused[8];
    own->cl = skv_cl_load(unused, sizeof unused);
    own->platform = places[i_device].platform;
    own->id = places[i_device].device;
    own->nvidia.likely = skv_nvidia_is_likely(own->cl, own->id);
    own->base.is_serial = skv_cl_is_serial(&own->base.base.info);
    own->base.group_bytes = number(own->cl, own->id, CL_DEVICE_LOCAL_MEM_SIZE);
    snprintf(own->key, sizeof own->key, "%s|%s|%s", own->base.base.info.name, own->base.base.info.driver,
             own->base.base.info.variant);
    enum skv_status status = open_context(own, params->native_context);
    if (status != SKV_OK) {
        close_device(&own->base.base);
        return status;
    }
    own->base.base.limits = (struct skv_limits){
        .dtypes = 1u << SKV_F16 | 1u << SKV_BF16,
        .query_dtypes = 1u << SKV_F16 | 1u << SKV_BF16 | 1u << SKV_F32,
        .forms = 1u << SKV_FIXED | 1u << SKV_RAGGED,
        .strategies = (2u << SKV_MASK) - 1,
        .head_dim_max = SKV_HEAD_DIM_MAX,
        .page_tokens_max = SKV_PAGE_TOKENS_MAX,
        .group_max = 1024,
        .new_tokens_max = 4096,
        .offset_alignment = 8,
        .buffer_bytes_max = number(own->cl, own->id, CL_DEVICE_MAX_MEM_ALLOC_SIZE),
    };
    *device = &own->base.base;
    return SKV_OK;
}

const struct skv_backend skv_opencl_backend = {
    .name = NAME,
    .probe = probe,
    .describe = describe,
    .open = open_device,
};
