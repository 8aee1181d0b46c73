/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "backends/gpu/driver.h"

static const uint32_t capacities[SKV_GPU_CAPACITIES] = {64, 128, 256, SKV_HEAD_DIM_MAX};
static const uint32_t rows_of_variant[SKV_DRIVER_ROWS] = {1, 4, 8};

/* Error codes that CUDA and HIP share: what was asked for did not fit, and faults that end the context. */
enum { CODE_OUT_OF_MEMORY = 2, CODE_FAULT_FIRST = 700, CODE_FAULT_LAST = 719 };

enum skv_status skv_driver_fail(const struct skv_driver_device *device, const char *what, int code)
{
    enum skv_status status = code == CODE_OUT_OF_MEMORY                            ? SKV_ERROR_OUT_OF_MEMORY
                             : code >= CODE_FAULT_FIRST && code <= CODE_FAULT_LAST ? SKV_ERROR_DEVICE_LOST
                                                                                   : SKV_ERROR_DEVICE;
    return skv_fail(status, "device \"%s\" cannot %s: %s (%d)", device->base.base.info.id, what,
                    device->driver->error_name(code), code);
}

enum skv_status skv_driver_enter(const struct skv_driver_device *device, uint64_t *saved)
{
    int code = device->driver->context_enter(device->ordinal, device->context, saved);
    return code == 0 ? SKV_OK : skv_driver_fail(device, "enter its context", code);
}

void skv_driver_describe(const char *backend, int i_device, const struct skv_driver_facts *facts, const char *refusal,
                         struct skv_device_info *info)
{
    info->usable = refusal[0] == '\0';
    info->kind = SKV_DEVICE_GPU;
    info->compute_units = facts->compute_units;
    info->memory_bytes = facts->memory_bytes;
    info->native = (uint64_t)i_device;
    snprintf(info->id, sizeof info->id, "%s:%d", backend, i_device);
    snprintf(info->backend, sizeof info->backend, "%s", backend);
    snprintf(info->name, sizeof info->name, "%s", facts->name);
    snprintf(info->driver, sizeof info->driver, "%s", facts->driver);
    snprintf(info->variant, sizeof info->variant, "%s", facts->architecture);
    snprintf(info->reason, sizeof info->reason, "%s", refusal);
}

enum skv_status skv_driver_function(struct skv_driver_device *device, const char *name, uint32_t scratch_bytes,
                                    void **function)
{
    char what[128];
    int code = device->driver->module_function(device->module, name, function);
    if (code == 0 && scratch_bytes)
        code = device->driver->function_scratch(*function, scratch_bytes);
    snprintf(what, sizeof what, "prepare its kernel %s", name);
    return code == 0 ? SKV_OK : skv_driver_fail(device, what, code);
}

/* In the entered context. */
static enum skv_status load_kernels(struct skv_driver_device *device, const void *image)
{
    int code = device->driver->module_load(image, &device->module);
    if (code != 0)
        return skv_driver_fail(device, "load its kernels", code);
    for (int i = 0; i < SKV_GPU_ROW_KERNELS; i++)
        SKV_TRY(skv_driver_function(device, skv_gpu_kernel_names[i], 0, &device->rows[i]));
    for (int c = 0; c < SKV_GPU_CAPACITIES; c++)
        for (int r = 0; r < SKV_DRIVER_ROWS; r++) {
            char name[64];
            snprintf(name, sizeof name, "skv_kernel_attend_d%" PRIu32 "_m%" PRIu32, capacities[c], rows_of_variant[r]);
            SKV_TRY(skv_driver_function(device, name, 0, &device->attend[c][r]));
        }
    return SKV_OK;
}

enum skv_status skv_driver_open(struct skv_driver_device *device, const struct skv_driver *driver,
                                const struct skv_device_ops *ops, const struct skv_driver_facts *facts,
                                const struct skv_device_info *info, int ordinal, const void *image,
                                uint64_t native_context)
{
    device->base.base.ops = ops;
    device->base.base.info = *info;
    device->base.base.limits = (struct skv_limits){
        .dtypes = 1u << SKV_F16 | 1u << SKV_BF16,
        .query_dtypes = 1u << SKV_F16 | 1u << SKV_BF16 | 1u << SKV_F32,
        .forms = 1u << SKV_FIXED | 1u << SKV_RAGGED,
        .strategies = (2u << SKV_MASK) - 1,
        .head_dim_max = SKV_HEAD_DIM_MAX,
        .page_tokens_max = SKV_PAGE_TOKENS_MAX,
        .group_max = 1024,
        .new_tokens_max = 4096,
        .offset_alignment = 16,
        .buffer_bytes_max = facts->memory_bytes,
    };
    device->base.group_bytes = facts->group_bytes;
    memcpy(device->base.capacities, capacities, sizeof capacities);
    device->driver = driver;
    device->facts = *facts;
    device->ordinal = ordinal;
    device->native_context = native_context;
    enum skv_status status = SKV_OK;
    int code = driver->context_open(ordinal, native_context, &device->context);
    if (code != 0)
        status = skv_driver_fail(device, native_context ? "use params->native_context" : "open a context", code);
    uint64_t saved = 0;
    if (status == SKV_OK)
        status = skv_driver_enter(device, &saved);
    if (status == SKV_OK) {
        status = load_kernels(device, image);
        driver->context_leave(saved);
    }
    if (status != SKV_OK)
        ops->close(&device->base.base);
    return status;
}

void skv_driver_close(struct skv_device *device)
{
    struct skv_driver_device *own = (struct skv_driver_device *)device;
    uint64_t saved = 0;
    if (own->module && own->driver->context_enter(own->ordinal, own->context, &saved) == 0) {
        (void)own->driver->module_unload(own->module);
        own->driver->context_leave(saved);
    }
    if (own->context)
        own->driver->context_close(own->ordinal, own->native_context, own->context);
    skv_free(own);
}
