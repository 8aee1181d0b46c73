/* SPDX-License-Identifier: Apache-2.0
 *
 * Drivers that are known to fail where no trial finds out: those that take the process with them, and those of whose
 * portable kernels, which are not tried, one gives wrong results.
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
    {.platform = "rusticl",
     .device = "llvmpipe*",
     .driver = "22.*",
     .reason = "Mesa 22 on llvmpipe compresses ragged rows wrongly; with SKV_OPENCL_QUIRKS=off in the environment it "
               "is used all the same",
     .lifted_by = "SKV_OPENCL_QUIRKS",
     .value = "off"},
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
