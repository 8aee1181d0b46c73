/* SPDX-License-Identifier: Apache-2.0
 *
 * The HIP backend's own types, and what its files offer each other.
 */
#ifndef SKV_HIP_H
#define SKV_HIP_H

#include "backends/gpu/driver.h"
#include "backends/hip/params.h"

/* ---- loader.c: libamdhip64, opened at run time. Declared here, so that no ROCm is needed to build. hipError_t,
 * hipDevice_t and enumerations are int, handles are pointers. hipDeviceProp_t is left alone: its layout changed. */

#define SKV_HIP_FUNCTIONS(X)                                                                                  \
    X(hipInit, (unsigned flags))                                                                              \
    X(hipRuntimeGetVersion, (int *version))                                                                   \
    X(hipGetDeviceCount, (int *n_devices))                                                                    \
    X(hipGetDevice, (int *device))                                                                            \
    X(hipSetDevice, (int device))                                                                             \
    X(hipDeviceGetName, (char *name, int n_bytes, int device))                                                \
    X(hipDeviceTotalMem, (size_t * n_bytes, int device))                                                      \
    X(hipDeviceGetAttribute, (int *value, int attribute, int device))                                         \
    X(hipModuleLoadData, (void **module, const void *image))                                                  \
    X(hipModuleUnload, (void *module))                                                                        \
    X(hipModuleGetFunction, (void **function, void *module, const char *name))                                \
    X(hipModuleOccupancyMaxActiveBlocksPerMultiprocessor,                                                     \
      (int *n_blocks, void *function, int block_lanes, size_t shared_bytes))                                  \
    X(hipModuleLaunchKernel,                                                                                  \
      (void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, \
       unsigned block_z, unsigned shared_bytes, void *stream, void **args, void **extra))                     \
    X(hipMalloc, (void **at, size_t n_bytes))                                                                 \
    X(hipFree, (void *at))                                                                                    \
    X(hipMemcpyAsync, (void *to, const void *from, size_t n_bytes, int kind, void *stream))                   \
    X(hipMemsetAsync, (void *to, int value, size_t n_bytes, void *stream))                                    \
    X(hipStreamCreateWithFlags, (void **stream, unsigned flags))                                              \
    X(hipStreamDestroy, (void *stream))                                                                       \
    X(hipStreamSynchronize, (void *stream))                                                                   \
    X(hipStreamGetCaptureInfo, (void *stream, int *state, unsigned long long *recording))                     \
    X(hipEventCreateWithFlags, (void **event, unsigned flags))                                                \
    X(hipEventDestroy, (void *event))                                                                         \
    X(hipEventRecord, (void *event, void *stream))                                                            \
    X(hipEventSynchronize, (void *event))                                                                     \
    X(hipEventElapsedTime, (float *milliseconds, void *start, void *stop))

/* Those that not every version has; NULL then. */
#define SKV_HIP_OPTIONAL(X)                                        \
    X(hipStreamGetDevice, (void *stream, int *device))             \
    X(hipGetDevicePropertiesR0600, (void *properties, int device)) \
    X(hipGetDeviceProperties, (void *properties, int device))

struct skv_hip_functions {
#define SKV_HIP_FIELD(name, parameters) int(*name) parameters;
    SKV_HIP_FUNCTIONS(SKV_HIP_FIELD)
    SKV_HIP_OPTIONAL(SKV_HIP_FIELD)
#undef SKV_HIP_FIELD
    const char *(*hipGetErrorName)(int code);
};

/* The functions, or NULL and a reason. Loads and initializes the library at the first call; thread-safe. */
const struct skv_hip_functions *skv_hip_load(char *reason, size_t reason_bytes);
/* True when the environment names the library: it may then be one that needs no device code. */
bool skv_hip_is_replaced(void);

/* ---- driver.c: the same as the neutral table */

extern const struct skv_driver skv_hip_driver;

/* ---- attend.c: kernels of this backend alone, which leave the rest to the shared ones */

#define SKV_HIP_ONE_KERNEL(...) +1
#define SKV_HIP_OWN_KERNELS (0 SKV_HIP_MATRIX_VARIANTS(SKV_HIP_ONE_KERNEL) SKV_HIP_DOT_VARIANTS(SKV_HIP_ONE_KERNEL))

struct skv_hip_device {
    struct skv_driver_device base;
    void *attend[SKV_HIP_OWN_KERNELS]; /* NULL: the device cannot run it */
};

/* Finds the kernels in an opened device's module. */
enum skv_status skv_hip_attend_open(struct skv_hip_device *device);
enum skv_status skv_hip_attend(struct skv_queue *queue, const struct skv_attend_params *params,
                               const struct skv_attend_plan *plan);

/* ---- targets.c: what a bundle of code objects (tools/bundle.py) was built for */

/* The device code, or a word in its place; made at build time. */
extern const unsigned char skv_hip_image[];
extern const unsigned char skv_hip_image_end[];

/* "gfx90a, gfx942": as many as fit `text`. Empty for what is no bundle. */
void skv_hip_targets(const unsigned char *image, size_t n_bytes, char *text, size_t text_bytes);
/* Whether a bundle has code for a device of this architecture ("gfx90a:xnack-"), its own or that of its family. */
bool skv_hip_targets_fit(const unsigned char *image, size_t n_bytes, const char *architecture);

#endif
