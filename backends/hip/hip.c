/* SPDX-License-Identifier: Apache-2.0
 *
 * The HIP backend: its devices.
 */
#include <inttypes.h>
#include <stdio.h>

#include "backends/hip/hip.h"

#define NAME "hip"

static size_t image_bytes(void)
{
    return (size_t)(skv_hip_image_end - skv_hip_image);
}

static bool has_image(void)
{
    return image_bytes() > 64;
}

static uint32_t probe(char *reason, size_t reason_bytes)
{
    if (!skv_hip_load(reason, reason_bytes))
        return 0;
    if (!has_image() && !skv_hip_is_replaced()) {
        snprintf(reason, reason_bytes, "this library was built without a clang for AMD GPUs: it has no device code");
        return 0;
    }
    int n_devices = 0, code = skv_hip_driver.device_count(&n_devices);
    if (code != 0 || n_devices == 0)
        snprintf(reason, reason_bytes, "the AMD driver has no device (hipGetDeviceCount: %s)",
                 code ? skv_hip_driver.error_name(code) : "0 devices");
    return code == 0 ? (uint32_t)n_devices : 0;
}

/* Left to the driver where the device's architecture, or what a replaced driver makes of the image, is not known. */
static bool fits(const char *architecture)
{
    return !has_image() || strchr(architecture, '.') || skv_hip_targets_fit(skv_hip_image, image_bytes(), architecture);
}

static void describe_facts(uint32_t i_device, struct skv_driver_facts *facts, struct skv_device_info *info)
{
    char refusal[256] = "", targets[160];
    int code = skv_hip_driver.device_facts((int)i_device, facts);
    if (code != 0) {
        snprintf(refusal, sizeof refusal, "its driver does not describe it: %s", skv_hip_driver.error_name(code));
    } else if (!fits(facts->architecture)) {
        skv_hip_targets(skv_hip_image, image_bytes(), targets, sizeof targets);
        snprintf(refusal, sizeof refusal, "it is a %.*s; this library has code for %s",
                 (int)strcspn(facts->architecture, ":"), facts->architecture, targets);
    }
    skv_driver_describe(NAME, (int)i_device, facts, refusal, info);
    if (code == 0)
        snprintf(info->variant, sizeof info->variant, "%s, waves of %" PRIu32, facts->architecture, facts->wave_lanes);
}

static void describe(uint32_t i_device, struct skv_device_info *info)
{
    struct skv_driver_facts facts;
    describe_facts(i_device, &facts, info);
}

static const struct skv_device_ops device_ops = {
    SKV_DRIVER_OPS,
    .close = skv_driver_close,
    .compress = skv_gpu_compress,
    .decompress = skv_gpu_decompress,
    .attend = skv_hip_attend,
    .attend_split = skv_gpu_attend_split,
};

static enum skv_status open_device(uint32_t i_device, const struct skv_device_params *params,
                                   struct skv_device **device)
{
    SKV_REQUIRE(!params->native_context, SKV_ERROR_INVALID_ARGUMENT,
                "params->native_context is 0x%" PRIx64 "; it must be 0, since a HIP device has one context",
                params->native_context);
    struct skv_hip_device *own = skv_alloc(sizeof *own);
    if (!own)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a device object");
    struct skv_driver_facts facts;
    struct skv_device_info info = {0};
    describe_facts(i_device, &facts, &info);
    SKV_TRY(skv_driver_open(&own->base, &skv_hip_driver, &device_ops, &facts, &info, (int)i_device, skv_hip_image, 0));
    enum skv_status status = skv_hip_attend_open(own);
    if (status != SKV_OK) {
        skv_driver_close(&own->base.base.base);
        return status;
    }
    *device = &own->base.base.base;
    return SKV_OK;
}

const struct skv_backend skv_hip_backend = {
    .name = NAME,
    .probe = probe,
    .describe = describe,
    .open = open_device,
};
