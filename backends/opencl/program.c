/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "backends/opencl/opencl.h"

/* The kernels' text, all files one after the other; made by tools/embed.py. */
extern const char skv_cl_source[];

/* What the text takes from the public headers. */
#define ENUMERATORS                                                                                            \
    " -DSKV_F16=%d -DSKV_BF16=%d -DSKV_F32=%d -DSKV_FIXED=%d -DSKV_TOKEN_MAGNITUDE=%d -DSKV_TOKEN_WEIGHTED=%d" \
    " -DSKV_CHANNEL_MAGNITUDE=%d -DSKV_CHANNEL_WEIGHTED=%d -DSKV_CHANNELS=%d -DSKV_THRESHOLD=%d -DSKV_MASK=%d"
#define LOG_BYTES_MAX 65536

static void report_log(struct skv_cl_device *device, cl_program program, char *first_line, size_t n_bytes)
{
    size_t log_bytes = 0;
    first_line[0] = '\0';
    if (device->cl->clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &log_bytes) ||
        log_bytes < 2 || log_bytes > LOG_BYTES_MAX)
        return;
    char *log = skv_alloc(log_bytes + 1);
    if (log && device->cl->clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, log_bytes, log, NULL) ==
                   CL_SUCCESS) {
        skv_log(SKV_LOG_WARN, "build log of device \"%s\":\n%s", device->base.base.info.id, log);
        snprintf(first_line, n_bytes, "%.*s", (int)strcspn(log, "\n"), log);
    }
    skv_free(log);
}

enum skv_status skv_cl_build(struct skv_cl_device *device, cl_program program, const char *options)
{
    cl_int code = device->cl->clBuildProgram(program, 1, &device->id, options, NULL, NULL);
    if (code == CL_SUCCESS)
        return SKV_OK;
    char first_line[200];
    report_log(device, program, first_line, sizeof first_line);
    return skv_fail(code == CL_OUT_OF_HOST_MEMORY ? SKV_ERROR_OUT_OF_MEMORY : SKV_ERROR_DEVICE,
                    "device \"%s\" cannot build its kernels: clBuildProgram: %s (%d): %s", device->base.base.info.id,
                    skv_cl_error_name(code), (int)code, first_line[0] ? first_line : "no build log");
}

/* A program from the cache, or NULL for any reason. */
static cl_program load_program(struct skv_cl_device *device, const char *key, const char *options)
{
    size_t n_bytes = 0;
    unsigned char *binary = skv_cl_cache_load(key, &n_bytes);
    if (!binary)
        return NULL;
    cl_int state = CL_SUCCESS, code = CL_SUCCESS;
    cl_program program = device->cl->clCreateProgramWithBinary(device->context, 1, &device->id, &n_bytes,
                                                               (const unsigned char **)&binary, &state, &code);
    skv_free(binary);
    if (code == CL_SUCCESS && state == CL_SUCCESS &&
        device->cl->clBuildProgram(program, 1, &device->id, options, NULL, NULL) == CL_SUCCESS)
        return program;
    skv_log(SKV_LOG_WARN, "device \"%s\" does not take its cached program; building it anew",
            device->base.base.info.id);
    if (program)
        device->cl->clReleaseProgram(program);
    return NULL;
}

static void store_program(struct skv_cl_device *device, const char *key, cl_program program)
{
    size_t n_bytes = 0;
    if (device->cl->clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof n_bytes, &n_bytes, NULL) || n_bytes == 0)
        return;
    unsigned char *binary = skv_alloc(n_bytes);
    if (binary &&
        device->cl->clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) == CL_SUCCESS)
        skv_cl_cache_store(key, binary, n_bytes);
    skv_free(binary);
}

static enum skv_status make_program(struct skv_cl_device *device, const char *options, cl_program *program)
{
    /* The text itself is part of the key, as its length and two sums: a changed kernel is another program. */
    uint64_t sums[2] = {0, 0};
    for (const char *c = skv_cl_source; *c; c++) {
        sums[0] += (unsigned char)*c;
        sums[1] = sums[1] * 31 + sums[0];
    }
    char key[sizeof device->key + 640];
    snprintf(key, sizeof key, "%s|%s|%016" PRIx64 "%016" PRIx64, device->key, options, sums[0], sums[1]);
    *program = load_program(device, key, options);
    if (*program)
        return SKV_OK;

    const char *source = skv_cl_source;
    cl_int code = CL_SUCCESS;
    cl_program made = device->cl->clCreateProgramWithSource(device->context, 1, &source, NULL, &code);
    if (code != CL_SUCCESS)
        return skv_cl_fail("clCreateProgramWithSource", code);
    enum skv_status status = skv_cl_build(device, made, options);
    if (status != SKV_OK) {
        device->cl->clReleaseProgram(made);
        return status;
    }
    store_program(device, key, made);
    *program = made;
    return SKV_OK;
}

static enum skv_status find_or_make(struct skv_cl_device *device, const char *options, cl_program *program)
{
    for (struct skv_cl_program *known = device->programs; known; known = known->next)
        if (strcmp(known->options, options) == 0) {
            *program = known->program;
            return SKV_OK;
        }
    struct skv_cl_program *added = skv_alloc(sizeof *added);
    if (!added)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a program object");
    char all[sizeof added->options + 400];
    snprintf(added->options, sizeof added->options, "%s", options);
    snprintf(all, sizeof all, "-cl-std=CL1.2 %s" ENUMERATORS, options, SKV_F16, SKV_BF16, SKV_F32, SKV_FIXED,
             SKV_TOKEN_MAGNITUDE, SKV_TOKEN_WEIGHTED, SKV_CHANNEL_MAGNITUDE, SKV_CHANNEL_WEIGHTED, SKV_CHANNELS,
             SKV_THRESHOLD, SKV_MASK);
    enum skv_status status = make_program(device, all, &added->program);
    if (status != SKV_OK) {
        skv_free(added);
        return status;
    }
    added->next = device->programs;
    device->programs = added;
    *program = added->program;
    return SKV_OK;
}

enum skv_status skv_cl_program(struct skv_cl_device *device, const char *options, cl_program *program)
{
    pthread_mutex_lock(&device->lock);
    enum skv_status status = find_or_make(device, options, program);
    pthread_mutex_unlock(&device->lock);
    return status;
}
