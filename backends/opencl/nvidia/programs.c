/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernels made of PTX: unpacked, built, tried, and kept for the device's life.
 */
#include <stdlib.h>

#include "backends/opencl/nvidia/nvidia.h"

/* Of cl_ext.h; other drivers answer with an error. */
#define CAPABILITY_MAJOR_NV 0x4000
/* The oldest with bulk copies. */
#define CAPABILITY_MIN 9

/* ---- text */

static size_t take_number(const unsigned char **at)
{
    size_t value = 0;
    int shift = 0;
    for (; **at & 0x80; shift += 7)
        value |= (size_t)(*(*at)++ & 0x7f) << shift;
    return value | (size_t) * (*at)++ << shift;
}

/* Bytes as they are, then a copy from before, and so on; a copy of length 0 ends it. Made at build time, so right. */
static void unpack(char *to)
{
    const unsigned char *from = skv_nvidia_packed;
    for (;;) {
        size_t n = take_number(&from);
        memcpy(to, from, n);
        to += n;
        from += n;
        n = take_number(&from);
        if (n == 0)
            return;
        size_t distance = take_number(&from);
        /* Byte by byte: the copy may overlap itself. */
        for (size_t i = 0; i < n; i++)
            to[i] = *(to + i - distance);
        to += n;
    }
}

/* A driver that the environment names may be one that needs no device code, as in tests. */
static char *stand_in(const char *name, size_t *n_bytes)
{
    const char head[] = "// no PTX was built in: ";
    char *text = skv_alloc(sizeof head + strlen(name));
    if (text) {
        memcpy(text, head, sizeof head);
        strcat(text, name);
        *n_bytes = strlen(text);
    }
    return text;
}

char *skv_nvidia_text(const char *name, size_t *n_bytes)
{
    const struct skv_nvidia_program *program = skv_nvidia_programs;
    if (!program->name)
        return stand_in(name, n_bytes);
    while (program->name && strcmp(program->name, name) != 0)
        program++;
    char *all = program->name ? skv_alloc_raw(skv_nvidia_bytes, 64) : NULL;
    char *text = all ? skv_alloc(program->n_bytes + 1) : NULL;
    if (text) {
        unpack(all);
        memcpy(text, all + program->offset, program->n_bytes);
        *n_bytes = program->n_bytes;
    }
    skv_free(all);
    return text;
}

bool skv_nvidia_is_likely(const struct skv_cl_functions *cl, cl_device_id id)
{
    const char *wanted = getenv("SKV_OPENCL_PTX"), *library = getenv("SKV_OPENCL_LIBRARY");
    cl_uint major = 0;
    if ((wanted && strcmp(wanted, "off") == 0) || (!skv_nvidia_programs[0].name && !(library && library[0])))
        return false;
    return cl->clGetDeviceInfo(id, CAPABILITY_MAJOR_NV, sizeof major, &major, NULL) == CL_SUCCESS &&
           major >= CAPABILITY_MIN;
}

/* ---- trials */

#define ATTEND_NAME(name, ...) "skv_kernel_attend_" #name,
#define DECOMPRESS_NAME(head_dim) "skv_kernel_decompress_rows_" #head_dim,
static const char *const names[SKV_NVIDIA_KERNELS] = {
    SKV_NVIDIA_VARIANTS(ATTEND_NAME) SKV_CUDA_DECOMPRESS_VARIANTS(DECOMPRESS_NAME) "skv_kernel_compress_rows"};

static enum skv_status make_arrivals(struct skv_cl_device *device, struct skv_cl_queue *queue)
{
    const cl_uint none = 0;
    const size_t n_bytes = SKV_CUDA_PARTS_MAX * sizeof none;
    cl_int code = CL_SUCCESS;
    queue->arrivals = device->cl->clCreateBuffer(device->context, CL_MEM_READ_WRITE, n_bytes, NULL, &code);
    if (code != CL_SUCCESS)
        return skv_cl_fail("clCreateBuffer", code);
    SKV_CL_TRY(
        device->cl->clEnqueueFillBuffer(queue->queue, queue->arrivals, &none, sizeof none, 0, n_bytes, 0, NULL, NULL),
        "clEnqueueFillBuffer");
    return SKV_OK;
}

static enum skv_status make_kernel(struct skv_cl_device *device, struct skv_cl_queue *queue, int i, cl_program program)
{
    cl_int code = CL_SUCCESS;
    if (!queue->arrivals)
        SKV_TRY(make_arrivals(device, queue));
    queue->nvidia[i] = device->cl->clCreateKernel(program, names[i], &code);
    return code == CL_SUCCESS ? SKV_OK : skv_cl_fail("clCreateKernel", code);
}

static enum skv_status build(struct skv_cl_device *device, int i, cl_program *program)
{
    size_t n_bytes = 0;
    cl_int state = CL_SUCCESS, code = CL_SUCCESS;
    char *text = skv_nvidia_text(names[i], &n_bytes);
    if (!text)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for the program of %s", names[i]);
    *program = device->cl->clCreateProgramWithBinary(device->context, 1, &device->id, &n_bytes,
                                                     (const unsigned char **)&text, &state, &code);
    skv_free(text);
    if (code != CL_SUCCESS)
        return skv_cl_fail("clCreateProgramWithBinary", code);
    return state == CL_SUCCESS ? skv_cl_build(device, *program, "") : skv_cl_fail("clCreateProgramWithBinary", state);
}

static enum skv_status run_trial(struct skv_cl_queue *queue, int i)
{
    if (i == SKV_NVIDIA_COMPRESS)
        return skv_nvidia_probe_compress(queue, queue->nvidia[i]);
    if (i >= SKV_NVIDIA_DECOMPRESS)
        return skv_nvidia_probe_decompress(queue, skv_nvidia_decompress_dims[i - SKV_NVIDIA_DECOMPRESS],
                                           queue->nvidia[i]);
    return skv_nvidia_probe_attend(queue, i, queue->nvidia[i]);
}

/* Builds a kernel and runs its case, on a queue of its own. */
static enum skv_status try_kernel(struct skv_cl_device *device, int i, cl_program *program)
{
    struct skv_cl_queue *queue = skv_alloc(sizeof *queue);
    if (!queue)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a queue object");
    queue->base.base.device = &device->base.base;
    enum skv_status status = build(device, i, program);
    if (status == SKV_OK)
        status = skv_cl_queue_open(device, 0, queue);
    if (status == SKV_OK)
        status = make_kernel(device, queue, i, *program);
    if (status == SKV_OK)
        status = run_trial(queue, i);
    skv_cl_queue_free(device, queue);
    if (status != SKV_OK && *program) {
        device->cl->clReleaseProgram(*program);
        *program = NULL;
    }
    return status;
}

/* The first trial of all, in a context of its own, since a failed launch may leave one useless. The kernel is that
 * which is built in the least time. */
static enum skv_status try_apart(const struct skv_cl_device *device)
{
    cl_int code = CL_SUCCESS;
    cl_program program = NULL;
    struct skv_cl_device *apart = skv_alloc(sizeof *apart);
    if (!apart)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a device object");
    apart->base = device->base;
    apart->cl = device->cl;
    apart->platform = device->platform;
    apart->id = device->id;
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)device->platform, 0};
    apart->context = device->cl->clCreateContext(properties, 1, &device->id, NULL, NULL, &code);
    enum skv_status status =
        code == CL_SUCCESS ? try_kernel(apart, SKV_NVIDIA_COMPRESS, &program) : skv_cl_fail("clCreateContext", code);
    if (program)
        device->cl->clReleaseProgram(program);
    if (apart->context)
        device->cl->clReleaseContext(apart->context);
    skv_free(apart);
    return status;
}

static void refuse(const struct skv_cl_device *device, const char *what)
{
    skv_log(SKV_LOG_WARN, "device \"%s\": PTX of %s failed its trial, portable kernels run instead: %s",
            device->base.base.info.id, what, skv_error_message());
}

static bool is_good(struct skv_cl_device *device, int i)
{
    struct skv_nvidia_device *own = &device->nvidia;
    if (own->first == SKV_NVIDIA_UNTRIED) {
        own->first = try_apart(device) == SKV_OK ? SKV_NVIDIA_GOOD : SKV_NVIDIA_REFUSED;
        if (own->first == SKV_NVIDIA_REFUSED)
            refuse(device, "all kernels");
    }
    if (own->state[i] == SKV_NVIDIA_UNTRIED) {
        own->state[i] = SKV_NVIDIA_REFUSED;
        if (own->first == SKV_NVIDIA_GOOD) {
            if (try_kernel(device, i, &own->program[i]) == SKV_OK)
                own->state[i] = SKV_NVIDIA_GOOD;
            else
                refuse(device, names[i]);
        }
    }
    return own->state[i] == SKV_NVIDIA_GOOD;
}

enum skv_status skv_nvidia_kernel(struct skv_cl_queue *queue, int i_kernel, cl_kernel *kernel)
{
    struct skv_cl_device *device = skv_cl_device_of(&queue->base.base);
    enum skv_status status = SKV_OK;
    pthread_mutex_lock(&device->nvidia.lock);
    if (is_good(device, i_kernel) && !queue->nvidia[i_kernel])
        status = make_kernel(device, queue, i_kernel, device->nvidia.program[i_kernel]);
    pthread_mutex_unlock(&device->nvidia.lock);
    *kernel = queue->nvidia[i_kernel];
    return status;
}
