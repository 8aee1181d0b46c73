/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "backends/cuda/cuda.h"

#define LIBRARY "libcuda.so.1"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct skv_cuda_functions functions;
static char why_not[200];

static const char *library_name(void)
{
    const char *name = getenv("SKV_CUDA_LIBRARY");
    return name && name[0] ? name : LIBRARY;
}

bool skv_cuda_is_replaced(void)
{
    return strcmp(library_name(), LIBRARY) != 0;
}

static void load(void)
{
    /* Never closed: drivers keep threads and at-exit handlers. */
    void *library = dlopen(library_name(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *error = dlerror();
        snprintf(why_not, sizeof why_not, "no NVIDIA driver (%s)", error ? error : LIBRARY);
        return;
    }
#define GET(name, symbol, parameters)                                                         \
    *(void **)&functions.name = dlsym(library, symbol);                                       \
    if (!functions.name) {                                                                    \
        snprintf(why_not, sizeof why_not, "the driver %s has no %s", library_name(), symbol); \
        return;                                                                               \
    }
    SKV_CUDA_FUNCTIONS(GET)
#undef GET
    int code = functions.cuInit(0);
    if (code != 0) {
        const char *name = NULL;
        functions.cuGetErrorName(code, &name);
        snprintf(why_not, sizeof why_not, "the NVIDIA driver does not start (cuInit: %s)",
                 name ? name : "unknown error");
    }
}

const struct skv_cuda_functions *skv_cuda_load(char *reason, size_t reason_bytes)
{
    pthread_once(&once, load);
    snprintf(reason, reason_bytes, "%s", why_not);
    return why_not[0] ? NULL : &functions;
}
