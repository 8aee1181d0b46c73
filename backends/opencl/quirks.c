/* SPDX-License-Identifier: Apache-2.0
 *
 * Drivers that are known to fail where no trial finds out: those that take the process with them, and those that run
 * one variant of the kernels wrongly, which are not tried.
 */
#include <fnmatch.h>
#include <stdlib.h>

#include "backends/opencl/opencl.h"

/* Patterns as the shell's; NULL fits all. */
static const struct quirk {
    const char *platform, *device, *driver;
    const char *reason;
    const char *lifted_by, *value; /* a variable of the environment, with which the driver works */
} quirks[] = {
    {.platform = "Portable Computing Language",
     .driver = "5.0*",
     .reason = "PoCL 5.0 ends the process while compiling loops with barriers (its issue 1435); with "
               "POCL_WORK_GROUP_METHOD=cbs in the environment it does not",
     .lifted_by = "POCL_WORK_GROUP_METHOD",
     .value = "cbs"},
};

static bool fits(const char *pattern, const char *name)
{
    return !pattern || fnmatch(pattern, name, 0) == 0;
}

static bool is_lifted(const struct quirk *quirk)
{
    const char *value = quirk->lifted_by ? getenv(quirk->lifted_by) : NULL;
    return value && strcmp(value, quirk->value) == 0;
}

const char *skv_cl_refusal(const char *platform, const char *device, const char *driver)
{
    for (size_t i = 0; i < sizeof quirks / sizeof quirks[0]; i++)
        if (fits(quirks[i].platform, platform) && fits(quirks[i].device, device) && fits(quirks[i].driver, driver) &&
            !is_lifted(&quirks[i]))
            return quirks[i].reason;
    return NULL;
}

/* Platform and driver, of CPU devices that need what GPUs run: Mesa 22 loses survivors of ragged rows otherwise. */
static const char *const grouped[] = {"rusticl 22.*"};

bool skv_cl_is_serial(const struct skv_device_info *info)
{
    const char *wanted = getenv("SKV_OPENCL_SERIAL");
    if (wanted && (strcmp(wanted, "on") == 0 || strcmp(wanted, "off") == 0))
        return strcmp(wanted, "on") == 0;
    for (size_t i = 0; i < sizeof grouped / sizeof grouped[0]; i++)
        if (fits(grouped[i], info->driver))
            return false;
    return info->kind == SKV_DEVICE_CPU;
}
