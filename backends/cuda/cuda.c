/* SPDX-License-Identifier: Apache-2.0
 *
 * The CUDA backend: its devices.
 */
#include <stdio.h>

#include "backends/cuda/cuda.h"

#define NAME "cuda"
/* The oldest architecture that device code was made for. */
#define VERSION_MIN 80

/* The device code, or a word in its place; made at build time. */
extern const unsigned char skv_cuda_image[];
extern const unsigned char skv_cuda_image_end[];

static bool has_image(void)
{
    return skv_cuda_image_end - skv_cuda_image > 64;
}

static uint32_t probe(char *reason, size_t reason_bytes)
{
    if (!skv_cuda_load(reason, reason_bytes))
        return 0;
    if (!has_image() && !skv_cuda_is_replaced()) {
        snprintf(reason, reason_bytes, "this library was built without nvcc, so that it has no device code");
        return 0;
    }
    int n_devices = 0, code = skv_cuda_driver.device_count(&n_devices);
    if (code != 0 || n_devices == 0)
        snprintf(reason, reason_bytes, "the NVIDIA driver has no device (cuDeviceGetCount: %s)",
                 code ? skv_cuda_driver.error_name(code) : "0 devices");
    return code == 0 ? (uint32_t)n_devices : 0;
}

static void describe_facts(uint32_t i_device, struct skv_driver_facts *facts, struct skv_device_info *info)
{
    char refusal[200] = "";
    int code = skv_cuda_driver.device_facts((int)i_device, facts);
    if (code != 0)
        snprintf(refusal, sizeof refusal, "its driver does not describe it: %s", skv_cuda_driver.error_name(code));
    else if (facts->version < VERSION_MIN)
        snprintf(refusal, sizeof refusal, "its compute capability is %u.%u; %d.%d is needed", facts->version / 10,
                 facts->version % 10, VERSION_MIN / 10, VERSION_MIN % 10);
    skv_driver_describe(NAME, (int)i_device, facts, refusal, info);
}

static void describe(uint32_t i_device, struct skv_device_info *info)
{
    struct skv_driver_facts facts;
    describe_facts(i_device, &facts, info);
}

static const struct skv_device_ops device_ops = {
    SKV_DRIVER_OPS,
    .close = skv_driver_close,
    .compress = skv_cuda_compress,
    .decompress = skv_cuda_decompress,
    .attend = skv_cuda_attend,
    .attend_workspace = skv_cuda_attend_workspace,
    .attend_split = skv_gpu_attend_split,
};

static enum skv_status open_device(uint32_t i_device, const struct skv_device_params *params,
                                   struct skv_device **device)
{
    struct skv_cuda_device *own = skv_alloc(sizeof *own);
    if (!own)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a device object");
    struct skv_driver_facts facts;
    struct skv_device_info info = {0};
    describe_facts(i_device, &facts, &info);
    SKV_TRY(skv_driver_open(&own->base, &skv_cuda_driver, &device_ops, &facts, &info, (int)i_device, skv_cuda_image,
                            params->native_context));
    enum skv_status status = skv_cuda_attend_open(own);
    if (status != SKV_OK) {
        device_ops.close(&own->base.base.base);
        return status;
    }
    *device = &own->base.base.base;
    return SKV_OK;
}

const struct skv_backend skv_cuda_backend = {
    .name = NAME,
    .probe = probe,
    .describe = describe,
    .open = open_device,
};
