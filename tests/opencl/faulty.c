/* SPDX-License-Identifier: Apache-2.0
 *
 * An OpenCL loader that hands every call on to the real one, fails the n-th, and counts the objects that are alive.
 * With SKV_FAKE_NVIDIA_DRIVER some calls go to tests/opencl/nvidia.cpp instead.
 */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <dlfcn.h>
#include <stdlib.h>

static long fail_at, n_calls, n_live;
static const cl_int faulty_code = CL_OUT_OF_RESOURCES;

/* Points *function at the real one. */
void skv_fake_find(const char *name, void **function);
void skv_fake_find(const char *name, void **function)
{
    static void *library;
    if (!library)
        library = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    *function = library ? dlsym(library, name) : NULL;
    if (!*function)
        abort();
}

#ifdef SKV_FAKE_NVIDIA_DRIVER
void *skv_fake_replacement(const char *name);
#else
static void *skv_fake_replacement(const char *name)
{
    (void)name;
    return NULL;
}
#endif

static void find(const char *name, void **function)
{
    *function = skv_fake_replacement(name);
    if (!*function)
        skv_fake_find(name, function);
}

#define REAL(name)              \
    __typeof__(&name) function; \
    find(#name, (void **)&function)

static int fails(void)
{
    return ++n_calls == fail_at;
}

#define EXPORT __attribute__((visibility("default")))

/* For tests: fails the n-th call from now on, 0 none; counts calls since then; objects that are alive. */
EXPORT void skv_fake_fail_at(long n)
{
    n_calls = 0;
    fail_at = n;
}

EXPORT long skv_fake_calls(void)
{
    return n_calls;
}

EXPORT long skv_fake_live(void)
{
    return n_live;
}

/* A call that returns its code. */
#define CODE(name, parameters, arguments)     \
    EXPORT cl_int CL_API_CALL name parameters \
    {                                         \
        if (fails())                          \
            return faulty_code;               \
        REAL(name);                           \
        return function arguments;            \
    }

/* A call that makes an object, its code going to *code. */
#define MAKE(type, name, parameters, arguments) \
    EXPORT type CL_API_CALL name parameters     \
    {                                           \
        if (fails()) {                          \
            *code = faulty_code;                \
            return NULL;                        \
        }                                       \
        REAL(name);                             \
        type object = function arguments;       \
        n_live += object != NULL;               \
        return object;                          \
    }

/* A call that takes or gives back a reference: it cannot fail in a way that a caller could mend. */
#define COUNT(name, type, change)               \
    EXPORT cl_int CL_API_CALL name(type object) \
    {                                           \
        n_live += (change);                     \
        REAL(name);                             \
        return function(object);                \
    }

CODE(clGetPlatformIDs, (cl_uint n, cl_platform_id *ids, cl_uint *found), (n, ids, found))
CODE(clGetPlatformInfo, (cl_platform_id id, cl_platform_info what, size_t n, void *value, size_t *used),
     (id, what, n, value, used))
CODE(clGetDeviceIDs, (cl_platform_id id, cl_device_type type, cl_uint n, cl_device_id *ids, cl_uint *found),
     (id, type, n, ids, found))
CODE(clGetDeviceInfo, (cl_device_id id, cl_device_info what, size_t n, void *value, size_t *used),
     (id, what, n, value, used))
CODE(clGetContextInfo, (cl_context context, cl_context_info what, size_t n, void *value, size_t *used),
     (context, what, n, value, used))
CODE(clGetCommandQueueInfo, (cl_command_queue queue, cl_command_queue_info what, size_t n, void *value, size_t *used),
     (queue, what, n, value, used))
CODE(clGetProgramInfo, (cl_program program, cl_program_info what, size_t n, void *value, size_t *used),
     (program, what, n, value, used))
CODE(clGetProgramBuildInfo,
     (cl_program program, cl_device_id id, cl_program_build_info what, size_t n, void *value, size_t *used),
     (program, id, what, n, value, used))
CODE(clGetEventProfilingInfo, (cl_event event, cl_profiling_info what, size_t n, void *value, size_t *used),
     (event, what, n, value, used))
CODE(clBuildProgram,
     (cl_program program, cl_uint n, const cl_device_id *ids, const char *options,
      void(CL_CALLBACK *notify)(cl_program program, void *user), void *user),
     (program, n, ids, options, notify, user))
CODE(clSetKernelArg, (cl_kernel kernel, cl_uint i, size_t n, const void *value), (kernel, i, n, value))
CODE(clFinish, (cl_command_queue queue), (queue))
CODE(clWaitForEvents, (cl_uint n, const cl_event *events), (n, events))
CODE(clEnqueueNDRangeKernel,
     (cl_command_queue queue, cl_kernel kernel, cl_uint n, const size_t *offset, const size_t *global,
      const size_t *local, cl_uint n_wait, const cl_event *wait, cl_event *event),
     (queue, kernel, n, offset, global, local, n_wait, wait, event))
CODE(clEnqueueReadBuffer,
     (cl_command_queue queue, cl_mem from, cl_bool blocking, size_t offset, size_t n, void *to, cl_uint n_wait,
      const cl_event *wait, cl_event *event),
     (queue, from, blocking, offset, n, to, n_wait, wait, event))
CODE(clEnqueueWriteBuffer,
     (cl_command_queue queue, cl_mem to, cl_bool blocking, size_t offset, size_t n, const void *from, cl_uint n_wait,
      const cl_event *wait, cl_event *event),
     (queue, to, blocking, offset, n, from, n_wait, wait, event))
CODE(clEnqueueCopyBuffer,
     (cl_command_queue queue, cl_mem from, cl_mem to, size_t from_offset, size_t to_offset, size_t n, cl_uint n_wait,
      const cl_event *wait, cl_event *event),
     (queue, from, to, from_offset, to_offset, n, n_wait, wait, event))

EXPORT cl_int CL_API_CALL clEnqueueFillBuffer(cl_command_queue queue, cl_mem to, const void *pattern,
                                              size_t pattern_bytes, size_t offset, size_t n, cl_uint n_wait,
                                              const cl_event *wait, cl_event *event)
{
    if (fails())
        return faulty_code;
    REAL(clEnqueueFillBuffer);
    cl_int code = function(queue, to, pattern, pattern_bytes, offset, n, n_wait, wait, event);
    n_live += code == CL_SUCCESS && event;
    return code;
}

MAKE(cl_context, clCreateContext,
     (const cl_context_properties *properties, cl_uint n, const cl_device_id *ids,
      void(CL_CALLBACK *notify)(const char *text, const void *bytes, size_t n, void *user), void *user, cl_int *code),
     (properties, n, ids, notify, user, code))
MAKE(cl_command_queue, clCreateCommandQueue,
     (cl_context context, cl_device_id id, cl_command_queue_properties properties, cl_int *code),
     (context, id, properties, code))
MAKE(cl_mem, clCreateBuffer, (cl_context context, cl_mem_flags flags, size_t n, void *host, cl_int *code),
     (context, flags, n, host, code))
MAKE(cl_program, clCreateProgramWithSource,
     (cl_context context, cl_uint n, const char **texts, const size_t *lengths, cl_int *code),
     (context, n, texts, lengths, code))
MAKE(cl_program, clCreateProgramWithBinary,
     (cl_context context, cl_uint n, const cl_device_id *ids, const size_t *lengths, const unsigned char **binaries,
      cl_int *states, cl_int *code),
     (context, n, ids, lengths, binaries, states, code))
MAKE(cl_kernel, clCreateKernel, (cl_program program, const char *name, cl_int *code), (program, name, code))

COUNT(clRetainContext, cl_context, 1)
COUNT(clRetainCommandQueue, cl_command_queue, 1)
COUNT(clRetainMemObject, cl_mem, 1)
COUNT(clReleaseContext, cl_context, -1)
COUNT(clReleaseCommandQueue, cl_command_queue, -1)
COUNT(clReleaseMemObject, cl_mem, -1)
COUNT(clReleaseProgram, cl_program, -1)
COUNT(clReleaseKernel, cl_kernel, -1)
COUNT(clReleaseEvent, cl_event, -1)
