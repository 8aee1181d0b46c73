/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "backends/hip/hip.h"

static const char *const libraries[] = {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5",
                                        "/opt/rocm/lib/libamdhip64.so"};
#define N_LIBRARIES (sizeof libraries / sizeof libraries[0])

enum { ERROR_NO_DEVICE = 100, ERROR_INVALID_DEVICE = 101 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct skv_hip_functions functions;
static char why_not[200];

static const char *replacement(void)
{
    const char *name = getenv("SKV_HIP_LIBRARY");
    return name && name[0] ? name : NULL;
}

bool skv_hip_is_replaced(void)
{
    return replacement() != NULL;
}

/* Never closed: drivers keep threads and at-exit handlers. */
static void *open_library(void)
{
    if (replacement())
        return dlopen(replacement(), RTLD_NOW | RTLD_LOCAL);
    /* The one that the application has loaded, whose streams and memory may be wrapped; else the newest. */
    for (int flags = RTLD_NOLOAD;; flags = 0) {
        for (size_t i = 0; i < N_LIBRARIES; i++) {
            void *library = dlopen(libraries[i], RTLD_NOW | RTLD_LOCAL | flags);
            if (library)
                return library;
        }
        if (!flags)
            return NULL;
    }
}

static void load(void)
{
    void *library = open_library();
    if (!library) {
        const char *error = replacement() ? dlerror() : "no libamdhip64.so.7, .6 or .5";
        snprintf(why_not, sizeof why_not, "no AMD driver (%s)", error ? error : replacement());
        return;
    }
#define GET(name, parameters) *(void **)&functions.name = dlsym(library, #name);
#define REQUIRE(name, parameters)                                                       \
    GET(name, parameters)                                                               \
    if (!functions.name) {                                                              \
        snprintf(why_not, sizeof why_not, "the driver's libamdhip64 has no %s", #name); \
        return;                                                                         \
    }
    REQUIRE(hipGetErrorName, )
    SKV_HIP_FUNCTIONS(REQUIRE)
    SKV_HIP_OPTIONAL(GET)
#undef REQUIRE
#undef GET
    /* Without a device it starts or says so, depending on its version; hipGetDeviceCount tells. */
    int code = functions.hipInit(0);
    if (code != 0 && code != ERROR_NO_DEVICE && code != ERROR_INVALID_DEVICE) {
        const char *name = functions.hipGetErrorName(code);
        snprintf(why_not, sizeof why_not, "the AMD driver does not start (hipInit: %s)", name ? name : "unknown error");
    }
}

const struct skv_hip_functions *skv_hip_load(char *reason, size_t reason_bytes)
{
    pthread_once(&once, load);
    snprintf(reason, reason_bytes, "%s", why_not);
    return why_not[0] ? NULL : &functions;
}
