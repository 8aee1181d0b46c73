/* SPDX-License-Identifier: Apache-2.0
 *
 * The OpenCL backend's own types, and what its files offer each other.
 */
#ifndef SKV_OPENCL_H
#define SKV_OPENCL_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <pthread.h>
#include <stdbool.h>

#include "backends/gpu/gpu.h"
#include "backends/opencl/nvidia/params.h"

/* ---- loader.c: the ICD loader, opened at run time */

#define SKV_CL_FUNCTIONS(X)      \
    X(clBuildProgram)            \
    X(clCreateBuffer)            \
    X(clCreateCommandQueue)      \
    X(clCreateContext)           \
    X(clCreateKernel)            \
    X(clCreateProgramWithBinary) \
    X(clCreateProgramWithSource) \
    X(clEnqueueCopyBuffer)       \
    X(clEnqueueFillBuffer)       \
    X(clEnqueueNDRangeKernel)    \
    X(clEnqueueReadBuffer)       \
    X(clEnqueueWriteBuffer)      \
    X(clFinish)                  \
    X(clGetCommandQueueInfo)     \
    X(clGetContextInfo)          \
    X(clGetDeviceIDs)            \
    X(clGetDeviceInfo)           \
    X(clGetEventProfilingInfo)   \
    X(clGetPlatformIDs)          \
    X(clGetPlatformInfo)         \
    X(clGetProgramBuildInfo)     \
    X(clGetProgramInfo)          \
    X(clReleaseCommandQueue)     \
    X(clReleaseContext)          \
    X(clReleaseEvent)            \
    X(clReleaseKernel)           \
    X(clReleaseMemObject)        \
    X(clReleaseProgram)          \
    X(clRetainCommandQueue)      \
    X(clRetainContext)           \
    X(clRetainMemObject)         \
    X(clSetKernelArg)            \
    X(clWaitForEvents)

struct skv_cl_functions {
#define SKV_CL_FIELD(name) __typeof__(name) *name;
    SKV_CL_FUNCTIONS(SKV_CL_FIELD)
#undef SKV_CL_FIELD
};

/* The functions, or NULL and a reason. Loads the library at the first call; thread-safe. */
const struct skv_cl_functions *skv_cl_load(char *reason, size_t reason_bytes);
/* "CL_OUT_OF_RESOURCES"; "unknown error" for codes of extensions. */
const char *skv_cl_error_name(cl_int code);
/* Sets the message of a failed driver call, and returns the status that fits the code. */
enum skv_status skv_cl_fail(const char *call, cl_int code);

#define SKV_CL_TRY(call, name)                 \
    do {                                       \
        cl_int code_ = (call);                 \
        if (code_ != CL_SUCCESS)               \
            return skv_cl_fail((name), code_); \
    } while (0)

/* ---- devices.c */

#define SKV_CL_DEVICES_MAX 64

struct skv_cl_place {
    cl_platform_id platform;
    cl_device_id device;
};

/* What programs are built for: the parts of a program's name. */
struct skv_cl_program {
    struct skv_cl_program *next;
    char options[160];
    cl_program program;
};

/* Kernels for NVIDIA's driver (backends/opencl/nvidia): each is tried before it is used. */
enum skv_nvidia_state { SKV_NVIDIA_UNTRIED, SKV_NVIDIA_GOOD, SKV_NVIDIA_REFUSED };

struct skv_nvidia_device {
    bool likely; /* that they run: else none is tried */
    pthread_mutex_t lock;
    enum skv_nvidia_state first, state[SKV_NVIDIA_KERNELS]; /* guarded by lock, as what follows */
    cl_program program[SKV_NVIDIA_KERNELS];
};

struct skv_cl_device {
    struct skv_gpu_device base;
    const struct skv_cl_functions *cl;
    cl_platform_id platform;
    cl_device_id id;
    cl_context context;
    char key[512]; /* platform, device and driver by name and version */
    pthread_mutex_t lock;
    struct skv_cl_program *programs; /* guarded by lock */
    struct skv_nvidia_device nvidia;
};

/* ---- quirks.c */

/* Why a device must not be used that is known to fail, or NULL. */
const char *skv_cl_refusal(const char *platform, const char *device, const char *driver);

/* Whether a described device prunes and compresses by single work-items (kernels/select_serial.cl): CPUs do, unless the
 * environment says otherwise, as tests do. */
bool skv_cl_is_serial(const struct skv_device_info *info);

/* ---- cache.c: program binaries on disk */

/* The stored binary for a key, or NULL. The caller frees it with skv_free. */
unsigned char *skv_cl_cache_load(const char *key, size_t *n_bytes);
/* Best effort: a cache that cannot be written is a slower next start, not an error. */
void skv_cl_cache_store(const char *key, const unsigned char *binary, size_t n_bytes);

/* ---- program.c */

/* The program for the given options, built or loaded once for the device. */
enum skv_status skv_cl_program(struct skv_cl_device *device, const char *options, cl_program *program);

/* Builds a program; on failure the log handler gets the build log. */
enum skv_status skv_cl_build(struct skv_cl_device *device, cl_program program, const char *options);

/* ---- memory.c */

/* An attention kernel of one shape. */
struct skv_cl_attend_kernel {
    struct skv_cl_attend_kernel *next;
    uint32_t head_dim, m, dtype;
    cl_kernel kernel;
};

struct skv_cl_queue {
    struct skv_gpu_queue base;
    cl_command_queue queue;
    cl_mem faults; /* SKV_GPU_FAULTS words; also stands in for absent buffers */
    bool profiling;
    cl_kernel kernels[SKV_GPU_ROW_KERNELS];
    struct skv_cl_attend_kernel *attend;
    cl_kernel nvidia[SKV_NVIDIA_KERNELS];
    cl_mem arrivals; /* counters of the kernels for NVIDIA, 0 between launches */
};

static inline struct skv_cl_device *skv_cl_device_of(const struct skv_queue *queue)
{
    return (struct skv_cl_device *)queue->device;
}

static inline cl_mem skv_cl_memory(const struct skv_buffer *buffer)
{
    return (cl_mem)(uintptr_t)buffer->native;
}

enum skv_status skv_cl_buffer_create(struct skv_device *device, const struct skv_buffer_params *params,
                                     struct skv_buffer **buffer);
void skv_cl_buffer_destroy(struct skv_buffer *buffer);
enum skv_status skv_cl_buffer_write(struct skv_queue *queue, struct skv_span to, const void *from, uint64_t n_bytes);
enum skv_status skv_cl_buffer_read(struct skv_queue *queue, void *to, struct skv_span from, uint64_t n_bytes);
enum skv_status skv_cl_buffer_copy(struct skv_queue *queue, struct skv_span to, struct skv_span from, uint64_t n_bytes);
enum skv_status skv_cl_buffer_fill(struct skv_queue *queue, struct skv_span to, uint8_t value, uint64_t n_bytes);

/* ---- queue.c */

/* Fills in a zeroed queue but for its kernels; `native` 0: a driver's queue of its own. Freed with skv_cl_queue_free,
 * on failure too. */
enum skv_status skv_cl_queue_open(struct skv_cl_device *device, uint64_t native, struct skv_cl_queue *queue);
void skv_cl_queue_free(struct skv_cl_device *device, struct skv_cl_queue *queue);

enum skv_status skv_cl_queue_create(struct skv_device *device, const struct skv_queue_params *params,
                                    struct skv_queue **queue);
void skv_cl_queue_destroy(struct skv_queue *queue);
enum skv_status skv_cl_queue_finish(struct skv_queue *queue);
enum skv_status skv_cl_timer_create(struct skv_device *device, struct skv_timer **timer);
void skv_cl_timer_destroy(struct skv_timer *timer);
enum skv_status skv_cl_timer_mark(struct skv_timer *timer, struct skv_queue *queue, int is_stop);
enum skv_status skv_cl_timer_read(struct skv_timer *timer, uint64_t *nanoseconds);

/* ---- launch.c */

enum skv_status skv_cl_enqueue(const struct skv_gpu_launch *launch);
/* Enqueues a launch of any kernel with the launch's arguments. */
enum skv_status skv_cl_enqueue_kernel(const struct skv_gpu_launch *launch, cl_kernel kernel);

#endif
