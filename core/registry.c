/* SPDX-License-Identifier: Apache-2.0 */
#include "core/registry.h"

#if defined(SKV_WITH_CPU)
extern const struct skv_backend skv_cpu_backend;
#define CPU_BACKEND &skv_cpu_backend
#else
#define CPU_BACKEND NULL
#endif

#if defined(SKV_WITH_OPENCL)
extern const struct skv_backend skv_opencl_backend;
#define OPENCL_BACKEND &skv_opencl_backend
#else
#define OPENCL_BACKEND NULL
#endif

#if defined(SKV_WITH_CUDA)
extern const struct skv_backend skv_cuda_backend;
#define CUDA_BACKEND &skv_cuda_backend
#else
#define CUDA_BACKEND NULL
#endif

#if defined(SKV_WITH_HIP)
extern const struct skv_backend skv_hip_backend;
#define HIP_BACKEND &skv_hip_backend
#else
#define HIP_BACKEND NULL
#endif

static const struct skv_registry_entry built[] = {
    {"cuda", CUDA_BACKEND},
    {"hip", HIP_BACKEND},
    {"opencl", OPENCL_BACKEND},
    {"cpu", CPU_BACKEND},
};
#define N_BUILT (sizeof built / sizeof built[0])

static const struct skv_backend *test_backend;

void skv_registry_set_test_backend(const struct skv_backend *backend)
{
    test_backend = backend;
}

uint32_t skv_registry_count(void)
{
    return N_BUILT + (test_backend ? 1 : 0);
}

struct skv_registry_entry skv_registry_get(uint32_t i)
{
    if (i < N_BUILT)
        return built[i];
    return (struct skv_registry_entry){test_backend->name, test_backend};
}

int skv_registry_is_test(uint32_t i)
{
    return i >= N_BUILT;
}
