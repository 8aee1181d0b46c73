/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "backends/opencl/opencl.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct skv_cl_functions functions;
static char failure[200];

/* The library stays open: drivers leave threads and handlers behind that outlive a dlclose. */
static void load(void)
{
    const char *name = getenv("SKV_OPENCL_LIBRARY");
    if (!name || !name[0])
        name = "libOpenCL.so.1";
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(failure, sizeof failure, "no OpenCL loader: %s", dlerror());
        return;
    }
#define GET(name)                                      \
    *(void **)&functions.name = dlsym(library, #name); \
    if (!functions.name && !failure[0])                \
        snprintf(failure, sizeof failure, "the OpenCL loader has no %s: it is older than OpenCL 1.2", #name);
    SKV_CL_FUNCTIONS(GET)
#undef GET
}

const struct skv_cl_functions *skv_cl_load(char *reason, size_t reason_bytes)
{
    pthread_once(&once, load);
    if (!failure[0])
        return &functions;
    snprintf(reason, reason_bytes, "%s", failure);
    return NULL;
}

const char *skv_cl_error_name(cl_int code)
{
    static const struct {
        cl_int code;
        const char *name;
    } names[] = {
#define NAME(code) {code, #code}
        NAME(CL_DEVICE_NOT_FOUND),
        NAME(CL_DEVICE_NOT_AVAILABLE),
        NAME(CL_COMPILER_NOT_AVAILABLE),
        NAME(CL_MEM_OBJECT_ALLOCATION_FAILURE),
        NAME(CL_OUT_OF_RESOURCES),
        NAME(CL_OUT_OF_HOST_MEMORY),
        NAME(CL_PROFILING_INFO_NOT_AVAILABLE),
        NAME(CL_BUILD_PROGRAM_FAILURE),
        NAME(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST),
        NAME(CL_INVALID_VALUE),
        NAME(CL_INVALID_DEVICE),
        NAME(CL_INVALID_CONTEXT),
        NAME(CL_INVALID_QUEUE_PROPERTIES),
        NAME(CL_INVALID_COMMAND_QUEUE),
        NAME(CL_INVALID_MEM_OBJECT),
        NAME(CL_INVALID_BINARY),
        NAME(CL_INVALID_BUILD_OPTIONS),
        NAME(CL_INVALID_PROGRAM),
        NAME(CL_INVALID_PROGRAM_EXECUTABLE),
        NAME(CL_INVALID_KERNEL_NAME),
        NAME(CL_INVALID_KERNEL),
        NAME(CL_INVALID_ARG_INDEX),
        NAME(CL_INVALID_ARG_VALUE),
        NAME(CL_INVALID_ARG_SIZE),
        NAME(CL_INVALID_KERNEL_ARGS),
        NAME(CL_INVALID_WORK_GROUP_SIZE),
        NAME(CL_INVALID_WORK_ITEM_SIZE),
        NAME(CL_INVALID_EVENT),
        NAME(CL_INVALID_OPERATION),
        NAME(CL_INVALID_BUFFER_SIZE),
#undef NAME
        {-1001, "CL_PLATFORM_NOT_FOUND_KHR"},
        {-9999, "an illegal access, by NVIDIA's driver"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].code == code)
            return names[i].name;
    return "unknown error";
}

enum skv_status skv_cl_fail(const char *call, cl_int code)
{
    enum skv_status status = SKV_ERROR_DEVICE;
    if (code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_HOST_MEMORY)
        status = SKV_ERROR_OUT_OF_MEMORY;
    else if (code == CL_DEVICE_NOT_AVAILABLE || code == CL_INVALID_COMMAND_QUEUE)
        status = SKV_ERROR_DEVICE_LOST;
    return skv_fail(status, "%s failed: %s (%d)", call, skv_cl_error_name(code), (int)code);
}
