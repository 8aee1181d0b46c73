/* SPDX-License-Identifier: Apache-2.0
 *
 * The CUDA backend's own types, and what its files offer each other.
 */
#ifndef SKV_CUDA_H
#define SKV_CUDA_H

#include "backends/cuda/params.h"
#include "backends/gpu/driver.h"
#include "backends/gpu/tensor.h"

/* ---- loader.c: libcuda, opened at run time. Declared here rather than taken from cuda.h, so that the host side builds
 * without a CUDA Toolkit. CUresult is int, handles are pointers, CUdeviceptr is 64 bits. */

/* CUlaunchAttribute and CUlaunchConfig */
struct skv_cuda_launch_attribute {
    int id;
    char padding[4];
    int value[16];
};

struct skv_cuda_launch {
    unsigned grid[3], block[3], shared_bytes;
    void *stream;
    struct skv_cuda_launch_attribute *attributes;
    unsigned n_attributes;
};

#define SKV_CUDA_FUNCTIONS(X)                                                                                   \
    X(cuInit, "cuInit", (unsigned flags))                                                                       \
    X(cuDriverGetVersion, "cuDriverGetVersion", (int *version))                                                 \
    X(cuDeviceGetCount, "cuDeviceGetCount", (int *n_devices))                                                   \
    X(cuDeviceGet, "cuDeviceGet", (int *device, int ordinal))                                                   \
    X(cuDeviceGetName, "cuDeviceGetName", (char *name, int n_bytes, int device))                                \
    X(cuDeviceGetAttribute, "cuDeviceGetAttribute", (int *value, int attribute, int device))                    \
    X(cuDeviceTotalMem, "cuDeviceTotalMem_v2", (size_t * n_bytes, int device))                                  \
    X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (void **context, int device))                       \
    X(cuDevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", (int device))                                  \
    X(cuCtxPushCurrent, "cuCtxPushCurrent_v2", (void *context))                                                 \
    X(cuCtxPopCurrent, "cuCtxPopCurrent_v2", (void **context))                                                  \
    X(cuCtxGetDevice, "cuCtxGetDevice", (int *device))                                                          \
    X(cuModuleLoadData, "cuModuleLoadData", (void **module, const void *image))                                 \
    X(cuModuleUnload, "cuModuleUnload", (void *module))                                                         \
    X(cuModuleGetFunction, "cuModuleGetFunction", (void **function, void *module, const char *name))            \
    X(cuFuncSetAttribute, "cuFuncSetAttribute", (void *function, int attribute, int value))                     \
    X(cuOccupancyMaxActiveBlocksPerMultiprocessor, "cuOccupancyMaxActiveBlocksPerMultiprocessor",               \
      (int *n_blocks, void *function, int block_lanes, size_t shared_bytes))                                    \
    X(cuLaunchKernelEx, "cuLaunchKernelEx",                                                                     \
      (const struct skv_cuda_launch *launch, void *function, void **args, void **extra))                        \
    X(cuMemAlloc, "cuMemAlloc_v2", (uint64_t * address, size_t n_bytes))                                        \
    X(cuMemFree, "cuMemFree_v2", (uint64_t address))                                                            \
    X(cuMemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2", (uint64_t to, const void *from, size_t n_bytes, void *stream)) \
    X(cuMemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2", (void *to, uint64_t from, size_t n_bytes, void *stream))       \
    X(cuMemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2", (uint64_t to, uint64_t from, size_t n_bytes, void *stream))    \
    X(cuMemsetD8Async, "cuMemsetD8Async", (uint64_t to, unsigned char value, size_t n_bytes, void *stream))     \
    X(cuStreamCreate, "cuStreamCreate", (void **stream, unsigned flags))                                        \
    X(cuStreamDestroy, "cuStreamDestroy_v2", (void *stream))                                                    \
    X(cuStreamSynchronize, "cuStreamSynchronize", (void *stream))                                               \
    X(cuStreamGetCtx, "cuStreamGetCtx", (void *stream, void **context))                                         \
    X(cuStreamGetCaptureInfo, "cuStreamGetCaptureInfo", (void *stream, int *state, uint64_t *recording))        \
    X(cuEventCreate, "cuEventCreate", (void **event, unsigned flags))                                           \
    X(cuEventDestroy, "cuEventDestroy_v2", (void *event))                                                       \
    X(cuEventRecord, "cuEventRecord", (void *event, void *stream))                                              \
    X(cuEventSynchronize, "cuEventSynchronize", (void *event))                                                  \
    X(cuEventElapsedTime, "cuEventElapsedTime", (float *milliseconds, void *start, void *stop))                 \
    X(cuGetErrorName, "cuGetErrorName", (int code, const char **name))

struct skv_cuda_functions {
#define SKV_CUDA_FIELD(name, symbol, parameters) int(*name) parameters;
    SKV_CUDA_FUNCTIONS(SKV_CUDA_FIELD)
#undef SKV_CUDA_FIELD
};

/* The functions, or NULL and a reason. Loads and initializes the library at the first call; thread-safe. */
const struct skv_cuda_functions *skv_cuda_load(char *reason, size_t reason_bytes);
/* True when the environment names the library: it may then be one that needs no device code. */
bool skv_cuda_is_replaced(void);

/* ---- driver.c: the same as the neutral table */

extern const struct skv_driver skv_cuda_driver;

/* ---- attend.c, compress.c, decompress.c: kernels of this backend alone, which leave the rest to the shared ones */

#define SKV_CUDA_ONE_KERNEL(...) +1
#define SKV_CUDA_TENSOR_KERNELS (0 SKV_CUDA_TENSOR_VARIANTS(SKV_CUDA_ONE_KERNEL))

#define SKV_CUDA_DECOMPRESS_KERNELS (0 SKV_CUDA_DECOMPRESS_VARIANTS(SKV_CUDA_ONE_KERNEL))

/* What kernels may declare of group memory besides their scratch. */
#define SKV_CUDA_STATIC_BYTES 1024

struct skv_cuda_tensor_kernel {
    void *function;          /* NULL: the device cannot run it */
    atomic_ullong occupancy; /* (scratch bytes << 8 | warps) << 8 | groups of a multiprocessor, of the latest launch */
};

struct skv_cuda_device {
    struct skv_driver_device base;
    struct skv_cuda_tensor_kernel tensor[SKV_CUDA_TENSOR_KERNELS];
    void *compress_rows;                                /* NULL: the device cannot run it */
    void *decompress_rows[SKV_CUDA_DECOMPRESS_KERNELS]; /* the same */
};

/* Find the kernels in an opened device's module; the second in its entered context. */
enum skv_status skv_cuda_attend_open(struct skv_cuda_device *device);
enum skv_status skv_cuda_decompress_open(struct skv_cuda_device *device);
enum skv_status skv_cuda_attend(struct skv_queue *queue, const struct skv_attend_params *params,
                                const struct skv_attend_plan *plan);
enum skv_status skv_cuda_compress(struct skv_queue *queue, const struct skv_compress_params *params);
enum skv_status skv_cuda_decompress(struct skv_queue *queue, const struct skv_decompress_params *params);
uint64_t skv_cuda_attend_workspace(const struct skv_device *device, const struct skv_attend_params *params);

#endif
