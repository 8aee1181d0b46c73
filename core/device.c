/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "core/object.h"
#include "core/registry.h"

#define REASON_BYTES sizeof(((struct skv_backend_info *)0)->reason)

/* Number of devices of a registry entry, and why there is none. */
static uint32_t probe(struct skv_registry_entry entry, char reason[REASON_BYTES])
{
    reason[0] = '\0';
    if (!entry.backend) {
        snprintf(reason, REASON_BYTES, "not built into this library");
        return 0;
    }
    return entry.backend->probe(reason, REASON_BYTES);
}

static void describe(const struct skv_backend *backend, uint32_t i_device, struct skv_device_info *info)
{
    memset(info, 0, sizeof *info);
    backend->describe(i_device, info);
    info->struct_size = sizeof *info;
}

uint32_t skv_backend_count(void)
{
    return skv_registry_count();
}

skv_status skv_backend_get_info(uint32_t i_backend, skv_backend_info *info)
{
    SKV_TRY(skv_check_info("info", info, sizeof *info));
    SKV_REQUIRE(i_backend < skv_registry_count(), SKV_ERROR_OUT_OF_BOUNDS,
                "i_backend is %" PRIu32 "; there are %" PRIu32, i_backend, skv_registry_count());
    struct skv_registry_entry entry = skv_registry_get(i_backend);
    struct skv_backend_info filled = {.built = entry.backend != NULL};
    snprintf(filled.name, sizeof filled.name, "%s", entry.name);
    filled.n_devices = probe(entry, filled.reason);
    skv_fill_info(info, &filled, sizeof filled);
    return SKV_OK;
}

uint32_t skv_device_count(void)
{
    char reason[REASON_BYTES];
    uint32_t n = 0;
    for (uint32_t i = 0; i < skv_registry_count(); i++)
        n += probe(skv_registry_get(i), reason);
    return n;
}

skv_status skv_device_find(uint32_t i_device, skv_device_info *info)
{
    SKV_TRY(skv_check_info("info", info, sizeof *info));
    char reason[REASON_BYTES];
    uint32_t before = 0;
    for (uint32_t i = 0; i < skv_registry_count(); i++) {
        struct skv_registry_entry entry = skv_registry_get(i);
        uint32_t n = probe(entry, reason);
        if (i_device - before < n) {
            struct skv_device_info filled;
            describe(entry.backend, i_device - before, &filled);
            skv_fill_info(info, &filled, sizeof filled);
            return SKV_OK;
        }
        before += n;
    }
    return skv_fail(SKV_ERROR_OUT_OF_BOUNDS, "i_device is %" PRIu32 "; there are %" PRIu32, i_device, before);
}

static enum skv_status open_device(struct skv_registry_entry entry, uint32_t i_device,
                                   const struct skv_device_params *params, struct skv_device **device)
{
    struct skv_device *opened = NULL;
    SKV_TRY(entry.backend->open(i_device, params, &opened));
    opened->backend = entry.backend;
    opened->limits.struct_size = sizeof opened->limits;
    opened->info.struct_size = sizeof opened->info;
    atomic_store(&opened->references, 1);
    skv_log(SKV_LOG_INFO, "opened device \"%s\": %s, %s", opened->info.id, opened->info.name, opened->info.variant);
    *device = opened;
    return SKV_OK;
}

/* A choice without a name takes GPUs, and the CPU by its own backend: a CPU through another driver is slower. */
static bool is_automatic(const struct skv_device_info *info)
{
    return info->kind == SKV_DEVICE_GPU || strcmp(info->backend, "cpu") == 0;
}

/* The first usable device of a backend that `id` fits (NULL fits those of an automatic choice). `unusable` gets one
 * that fits and cannot be used. */
static bool find_device(struct skv_registry_entry entry, const char *id, uint32_t *i_device,
                        struct skv_device_info *unusable)
{
    char reason[REASON_BYTES];
    uint32_t n = probe(entry, reason);
    for (uint32_t i = 0; i < n; i++) {
        struct skv_device_info info;
        describe(entry.backend, i, &info);
        if (id ? strcmp(id, info.id) != 0 && strcmp(id, entry.name) != 0 : !is_automatic(&info))
            continue;
        if (info.usable) {
            *i_device = i;
            return true;
        }
        *unusable = info;
    }
    return false;
}

/* "cuda:1" and "cuda" name the backend "cuda". */
static bool names_backend(const char *id, const char *backend)
{
    size_t length = strlen(backend);
    return strncmp(id, backend, length) == 0 && (id[length] == '\0' || id[length] == ':');
}

/* Appends "name: reason" to a list in text[n_bytes]; what does not fit is cut. */
static void append_reason(char *text, size_t n_bytes, const char *name, const char *reason)
{
    size_t used = strlen(text);
    snprintf(text + used, n_bytes - used, "%s%s: %s", used ? "; " : "", name, reason);
}

/* What was found on this machine, for the message. */
static void list_devices(char *text, size_t n_bytes)
{
    text[0] = '\0';
    for (uint32_t i = 0; i < skv_registry_count(); i++) {
        struct skv_registry_entry entry = skv_registry_get(i);
        char reason[REASON_BYTES];
        uint32_t n = probe(entry, reason);
        if (n == 0)
            append_reason(text, n_bytes, entry.name, reason);
        for (uint32_t j = 0; j < n; j++) {
            struct skv_device_info info;
            describe(entry.backend, j, &info);
            append_reason(text, n_bytes, info.id, info.usable ? "usable" : info.reason);
        }
    }
}

skv_status skv_device_open(const skv_device_params *user_params, skv_device **device)
{
    SKV_REQUIRE_NOT_NULL(device, "device");
    struct skv_device_params params = {.struct_size = sizeof params};
    if (user_params)
        SKV_TRY(skv_check_params("params", user_params, &params, sizeof params));
    SKV_TRY(skv_check_flags("params->flags", params.flags, 0));
    SKV_REQUIRE(params.reserved == 0, SKV_ERROR_INVALID_ARGUMENT, "params->reserved is %" PRIu32 "; it must be 0",
                params.reserved);
    const struct skv_executor *executor = params.cpu_executor;
    SKV_REQUIRE(!executor || executor->run, SKV_ERROR_INVALID_ARGUMENT,
                "params->cpu_executor->run is NULL; it must not be");
    SKV_REQUIRE(!executor || executor->n_threads >= 1, SKV_ERROR_INVALID_ARGUMENT,
                "params->cpu_executor->n_threads is 0; it must be at least 1");

    const char *id = params.id, *source = "params->id";
    if (!id) {
        id = getenv("SKV_DEVICE");
        source = "SKV_DEVICE";
        if (id && id[0] == '\0')
            id = NULL;
    }
    struct skv_device_info unusable = {0};
    for (uint32_t i = 0; i < skv_registry_count(); i++) {
        struct skv_registry_entry entry = skv_registry_get(i);
        uint32_t i_device;
        /* Other backends' drivers are not even loaded for a device that is named. */
        bool asked = id ? names_backend(id, entry.name) : !skv_registry_is_test(i);
        if (entry.backend && asked && find_device(entry, id, &i_device, &unusable))
            return open_device(entry, i_device, &params, device);
    }
    char found[400];
    list_devices(found, sizeof found);
    if (!id)
        return skv_fail(SKV_ERROR_NOT_FOUND, "no usable device on this machine (%s)", found);
    if (unusable.id[0])
        return skv_fail(SKV_ERROR_NOT_FOUND, "%s is \"%s\", which cannot be used: %s", source, id, unusable.reason);
    return skv_fail(SKV_ERROR_NOT_FOUND, "%s is \"%s\"; there is no such device (%s)", source, id, found);
}

void skv_device_reference(struct skv_device *device)
{
    atomic_fetch_add(&device->references, 1);
}

void skv_device_release(skv_device *device)
{
    if (device && atomic_fetch_sub(&device->references, 1) == 1)
        device->ops->close(device);
}

skv_status skv_device_get_info(const skv_device *device, skv_device_info *info)
{
    SKV_REQUIRE_NOT_NULL(device, "device");
    SKV_TRY(skv_check_info("info", info, sizeof *info));
    skv_fill_info(info, &device->info, sizeof device->info);
    return SKV_OK;
}

skv_status skv_device_get_limits(const skv_device *device, skv_limits *limits)
{
    SKV_REQUIRE_NOT_NULL(device, "device");
    SKV_TRY(skv_check_info("limits", limits, sizeof *limits));
    skv_fill_info(limits, &device->limits, sizeof device->limits);
    return SKV_OK;
}
