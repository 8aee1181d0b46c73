/* SPDX-License-Identifier: Apache-2.0
 *
 * Compression by the lane-per-row kernel, for what it can do. The shared kernels do the rest.
 */
#include <stdio.h>

#include "backends/cuda/cuda.h"

#define WARPS 4
#define GROUPS_RESIDENT 4

enum skv_status skv_cuda_compress(struct skv_queue *queue, const struct skv_compress_params *params)
{
    struct skv_cuda_device *device = (struct skv_cuda_device *)queue->device;
    const struct skv_rows_kernel kernel = {
        .enqueue = skv_driver_enqueue, .kernel = device->compress_rows, .warps = WARPS, .groups = GROUPS_RESIDENT};
    if (!kernel.kernel || !skv_compress_rows_fit(params, skv_driver_is_aligned))
        return skv_gpu_compress(queue, params);
    SKV_TRY(skv_compress_rows(queue, params, &kernel));
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "compress cuda rows");
    return SKV_OK;
}
