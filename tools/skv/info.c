/* SPDX-License-Identifier: Apache-2.0 */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

static cJSON *backends_as_json(void)
{
    cJSON *list = cJSON_CreateArray();
    for (uint32_t i = 0; i < skv_backend_count(); i++) {
        skv_backend_info info = {.struct_size = sizeof info};
        TOOL_TRY(skv_backend_get_info(i, &info));
        cJSON *entry = cJSON_CreateObject();
        cJSON_AddStringToObject(entry, "name", info.name);
        cJSON_AddBoolToObject(entry, "built", info.built != 0);
        cJSON_AddNumberToObject(entry, "devices", info.n_devices);
        cJSON_AddStringToObject(entry, "reason", info.reason);
        cJSON_AddItemToArray(list, entry);
    }
    return list;
}

static void add_limits(cJSON *entry, const char *id)
{
    struct tool_device opened;
    tool_open(&opened, id);
    const skv_limits *limits = &opened.limits;
    cJSON *json = cJSON_AddObjectToObject(entry, "limits");
    cJSON_AddNumberToObject(json, "head_dim_max", limits->head_dim_max);
    cJSON_AddNumberToObject(json, "page_tokens_max", limits->page_tokens_max);
    cJSON_AddNumberToObject(json, "group_max", limits->group_max);
    cJSON_AddNumberToObject(json, "new_tokens_max", limits->new_tokens_max);
    cJSON_AddBoolToObject(json, "f16", limits->dtypes >> SKV_F16 & 1);
    cJSON_AddBoolToObject(json, "bf16", limits->dtypes >> SKV_BF16 & 1);
    cJSON_AddBoolToObject(json, "fixed", limits->forms >> SKV_FIXED & 1);
    cJSON_AddBoolToObject(json, "ragged", limits->forms >> SKV_RAGGED & 1);
    cJSON_AddBoolToObject(json, "host_memory", limits->host_memory != 0);
    cJSON_AddBoolToObject(json, "synchronous", limits->synchronous != 0);
    tool_close(&opened);
}

static cJSON *devices_as_json(void)
{
    cJSON *list = cJSON_CreateArray();
    for (uint32_t i = 0; i < skv_device_count(); i++) {
        skv_device_info info = {.struct_size = sizeof info};
        TOOL_TRY(skv_device_find(i, &info));
        cJSON *entry = cJSON_CreateObject();
        cJSON_AddStringToObject(entry, "id", info.id);
        cJSON_AddStringToObject(entry, "name", info.name);
        cJSON_AddStringToObject(entry, "kind",
                                info.kind == SKV_DEVICE_CPU   ? "cpu"
                                : info.kind == SKV_DEVICE_GPU ? "gpu"
                                                              : "other");
        cJSON_AddStringToObject(entry, "driver", info.driver);
        cJSON_AddStringToObject(entry, "variant", info.variant);
        cJSON_AddNumberToObject(entry, "compute_units", info.compute_units);
        cJSON_AddNumberToObject(entry, "memory_bytes", (double)info.memory_bytes);
        cJSON_AddBoolToObject(entry, "usable", info.usable != 0);
        cJSON_AddStringToObject(entry, "reason", info.reason);
        if (info.usable)
            add_limits(entry, info.id);
        cJSON_AddItemToArray(list, entry);
    }
    return list;
}

static const char *text_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static double number_of(const cJSON *object, const char *name)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static void print_text(const cJSON *report)
{
    const cJSON *entry;
    printf("skv %s\n\nbackends\n", text_of(report, "version"));
    cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(report, "backends"))
    {
        double n = number_of(entry, "devices");
        if (n > 0)
            printf("  %-8s %g device%s\n", text_of(entry, "name"), n, n == 1 ? "" : "s");
        else
            printf("  %-8s none: %s\n", text_of(entry, "name"), text_of(entry, "reason"));
    }
    printf("\ndevices\n");
    cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(report, "devices"))
    {
        const cJSON *limits = cJSON_GetObjectItemCaseSensitive(entry, "limits");
        printf("  %-8s %s\n", text_of(entry, "id"), text_of(entry, "name"));
        printf("           %g compute units, %.1f GiB, %s\n", number_of(entry, "compute_units"),
               number_of(entry, "memory_bytes") / (1 << 30), text_of(entry, "driver"));
        if (!limits) {
            printf("           cannot be used: %s\n", text_of(entry, "reason"));
            continue;
        }
        printf("           runs %s\n", text_of(entry, "variant"));
        printf("           fp16 %s, bf16 %s, fixed %s, ragged %s; head_dim to %g, group to %g, page to %g tokens\n",
               cJSON_IsTrue(cJSON_GetObjectItem(limits, "f16")) ? "yes" : "no",
               cJSON_IsTrue(cJSON_GetObjectItem(limits, "bf16")) ? "yes" : "no",
               cJSON_IsTrue(cJSON_GetObjectItem(limits, "fixed")) ? "yes" : "no",
               cJSON_IsTrue(cJSON_GetObjectItem(limits, "ragged")) ? "yes" : "no", number_of(limits, "head_dim_max"),
               number_of(limits, "group_max"), number_of(limits, "page_tokens_max"));
    }
}

/* The usable devices, one a line, for scripts. */
static void print_ids(const cJSON *report)
{
    const cJSON *entry;
    cJSON_ArrayForEach(entry,
                       cJSON_GetObjectItemCaseSensitive(report, "devices")) if (cJSON_HasObjectItem(entry, "limits"))
        puts(text_of(entry, "id"));
}

int tool_info(int argc, char **argv)
{
    bool json = argc == 2 && strcmp(argv[1], "--json") == 0, ids = argc == 2 && strcmp(argv[1], "--ids") == 0;
    if (argc > 1 && !json && !ids)
        tool_die(TOOL_USAGE, "info: unknown argument \"%s\"; usage: skv info [--json | --ids]", argv[1]);
    cJSON *report = cJSON_CreateObject();
    char version[32];
    snprintf(version, sizeof version, "%" PRIu32 ".%" PRIu32 ".%" PRIu32, skv_version() / 10000,
             skv_version() / 100 % 100, skv_version() % 100);
    cJSON_AddStringToObject(report, "version", version);
    cJSON_AddItemToObject(report, "backends", backends_as_json());
    cJSON_AddItemToObject(report, "devices", devices_as_json());
    if (json) {
        char *text = cJSON_Print(report);
        puts(text);
        cJSON_free(text);
    } else if (ids) {
        print_ids(report);
    } else {
        print_text(report);
    }
    cJSON_Delete(report);
    return TOOL_OK;
}
