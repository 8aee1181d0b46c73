/* SPDX-License-Identifier: Apache-2.0
 *
 * A libamdhip64 whose functions are someone else's: called_driver.py gives them.
 */
#include "backends/hip/hip.h"

#define EXPORT __attribute__((visibility("default")))

static struct skv_hip_functions given;

/* Before the backend opens the library. */
EXPORT void skv_called_hip(const struct skv_hip_functions *functions);
void skv_called_hip(const struct skv_hip_functions *functions)
{
    given = *functions;
}

#define CALL(name, parameters, arguments) \
    EXPORT int name parameters;           \
    int name parameters                   \
    {                                     \
        return given.name arguments;      \
    }

CALL(hipInit, (unsigned flags), (flags))
CALL(hipRuntimeGetVersion, (int *version), (version))
CALL(hipGetDeviceCount, (int *n_devices), (n_devices))
CALL(hipGetDevice, (int *device), (device))
CALL(hipSetDevice, (int device), (device))
CALL(hipDeviceGetName, (char *name, int n_bytes, int device), (name, n_bytes, device))
CALL(hipDeviceTotalMem, (size_t * n_bytes, int device), (n_bytes, device))
CALL(hipDeviceGetAttribute, (int *value, int attribute, int device), (value, attribute, device))
CALL(hipModuleLoadData, (void **module, const void *image), (module, image))
CALL(hipModuleUnload, (void *module), (module))
CALL(hipModuleGetFunction, (void **function, void *module, const char *name), (function, module, name))
CALL(hipModuleOccupancyMaxActiveBlocksPerMultiprocessor,
     (int *n_blocks, void *function, int block_lanes, size_t shared_bytes),
     (n_blocks, function, block_lanes, shared_bytes))
CALL(hipModuleLaunchKernel,
     (void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
      unsigned block_z, unsigned shared_bytes, void *stream, void **args, void **extra),
     (function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, stream, args, extra))
CALL(hipMalloc, (void **at, size_t n_bytes), (at, n_bytes))
CALL(hipFree, (void *at), (at))
CALL(hipMemcpyAsync, (void *to, const void *from, size_t n_bytes, int kind, void *stream),
     (to, from, n_bytes, kind, stream))
CALL(hipMemsetAsync, (void *to, int value, size_t n_bytes, void *stream), (to, value, n_bytes, stream))
CALL(hipStreamCreateWithFlags, (void **stream, unsigned flags), (stream, flags))
CALL(hipStreamDestroy, (void *stream), (stream))
CALL(hipStreamSynchronize, (void *stream), (stream))
CALL(hipStreamGetCaptureInfo, (void *stream, int *state, unsigned long long *recording), (stream, state, recording))
CALL(hipEventCreateWithFlags, (void **event, unsigned flags), (event, flags))
CALL(hipEventDestroy, (void *event), (event))
CALL(hipEventRecord, (void *event, void *stream), (event, stream))
CALL(hipEventSynchronize, (void *event), (event))
CALL(hipEventElapsedTime, (float *milliseconds, void *start, void *stop), (milliseconds, start, stop))
CALL(hipGetDevicePropertiesR0600, (void *properties, int device), (properties, device))

EXPORT const char *hipGetErrorName(int code);
const char *hipGetErrorName(int code)
{
    (void)code;
    return "error of called_driver.py";
}
