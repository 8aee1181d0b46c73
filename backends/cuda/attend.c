/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention by the tensor-core kernels, for what they can do: decoding of one token, records of 64, 128 or 256
 * channels at strides that are multiples of 16 bytes. The shared kernels do the rest.
 */
#include <stdio.h>

#include "backends/cuda/cuda.h"

/* The oldest architecture with bulk copies. */
#define VERSION_MIN 90
/* Group memory that the system keeps for each group. */
#define RESERVED_BYTES 1024

#define VARIANT(name, head_dim, rows, is_bf16, stride, apart, chunk_tokens, warps, ...) \
    {#name, head_dim, rows, is_bf16 ? SKV_BF16 : SKV_F16, stride, apart, chunk_tokens, warps},
static const struct skv_tensor_variant variants[SKV_CUDA_TENSOR_KERNELS] = {SKV_CUDA_TENSOR_VARIANTS(VARIANT)};
static const struct skv_tensor_kernels kernels = {
    .variants = variants, .n_variants = SKV_CUDA_TENSOR_KERNELS, .is_aligned = skv_driver_is_aligned};

static struct skv_tensor_limits limits_of(const struct skv_cuda_device *device)
{
    const struct skv_driver_facts *facts = &device->base.facts;
    return (struct skv_tensor_limits){.n_multiprocessors = facts->compute_units,
                                      .groups_max = UINT32_MAX,
                                      .warps_min = SKV_CUDA_WARPS_MIN,
                                      .scratch_bytes = facts->group_bytes - SKV_CUDA_STATIC_BYTES,
                                      .own_bytes = RESERVED_BYTES + SKV_CUDA_STATIC_BYTES,
                                      .all_bytes = facts->group_bytes + RESERVED_BYTES};
}

enum skv_status skv_cuda_attend_open(struct skv_cuda_device *device)
{
    if (device->base.facts.version < VERSION_MIN)
        return SKV_OK;
    uint64_t saved = 0;
    SKV_TRY(skv_driver_enter(&device->base, &saved));
    enum skv_status status = SKV_OK;
    for (int i = 0; i < SKV_CUDA_TENSOR_KERNELS && status == SKV_OK; i++) {
        char name[64];
        snprintf(name, sizeof name, "skv_kernel_attend_%s", variants[i].name);
        status =
            skv_driver_function(&device->base, name, (uint32_t)device->base.facts.group_bytes - SKV_CUDA_STATIC_BYTES,
                                &device->tensor[i].function);
    }
    if (status == SKV_OK)
        status = skv_driver_function(&device->base, "skv_kernel_compress_rows",
                                     (uint32_t)device->base.facts.group_bytes - SKV_CUDA_STATIC_BYTES,
                                     &device->compress_rows);
    if (status == SKV_OK)
        status = skv_cuda_decompress_open(device);
    device->base.driver->context_leave(saved);
    return status;
}

/* As many groups as the cut counts on, or fewer where the driver says so. */
static enum skv_status limit_parts(struct skv_cuda_device *device, int i_variant, struct skv_tensor_cut *cut)
{
    struct skv_cuda_tensor_kernel *kernel = &device->tensor[i_variant];
    unsigned long long known = atomic_load(&kernel->occupancy);
    unsigned long long key = (unsigned long long)cut->scratch_bytes << 8 | cut->n_warps;
    uint64_t found = known & 0xff;
    if (known >> 8 != key) {
        int n = 0;
        SKV_DRIVER_TRY(
            &device->base, "prepare a kernel",
            device->base.driver->function_occupancy(kernel->function, 32 * cut->n_warps, cut->scratch_bytes, &n));
        found = n < 1 ? 1 : n > 0xff ? 0xff : (uint64_t)n;
        atomic_store(&kernel->occupancy, key << 8 | found);
    }
    uint64_t most = found * device->base.facts.compute_units;
    if (cut->groups_of_unit == 0 && cut->n_groups > most)
        cut->n_groups = (uint32_t)most;
    return SKV_OK;
}

/* The workspace: counters for captured launches, then for each group two slots of sums, then of their scales. */
#define COUNTERS_BYTES (SKV_DRIVER_ARRIVALS * 4)

uint64_t skv_cuda_attend_workspace(const struct skv_device *device, const struct skv_attend_params *params)
{
    const struct skv_cuda_device *own = (const struct skv_cuda_device *)device;
    const struct skv_tensor_limits limits = limits_of(own);
    uint64_t n_bytes = own->base.facts.version < VERSION_MIN ? 0 : skv_tensor_workspace(&kernels, &limits, params);
    return n_bytes ? COUNTERS_BYTES + n_bytes : 0;
}

enum skv_status skv_cuda_attend(struct skv_queue *queue, const struct skv_attend_params *params,
                                const struct skv_attend_plan *plan)
{
    struct skv_cuda_device *device = (struct skv_cuda_device *)queue->device;
    struct skv_driver_queue *own = (struct skv_driver_queue *)queue;
    struct skv_tensor_cut cut = {0};
    const struct skv_tensor_limits limits = limits_of(device);
    int i = device->tensor[0].function ? skv_tensor_find(&kernels, &limits, params, &cut) : -1;
    const struct skv_tensor_variant *variant = &variants[i < 0 ? 0 : i];
    uint32_t n_counters = skv_tensor_parts_max(&limits, variant);
    if (i < 0 || n_counters > SKV_CUDA_PARTS_MAX)
        return skv_gpu_attend(queue, params, plan);
    SKV_TRY(limit_parts(device, i, &cut));

    struct skv_attend_plan parts = *plan;
    parts.n_splits = 2; /* more than one, so that the workspace is handed on */
    parts.part_out_offset = COUNTERS_BYTES;
    parts.part_lse_offset = COUNTERS_BYTES + skv_tensor_sums_bytes(&limits, variant);
    struct skv_cuda_attend args = {.shared = skv_gpu_attend_args(params, &parts),
                                   .n_seqs = params->n_seqs,
                                   .n_stages = cut.n_stages,
                                   .stage_bytes = cut.stage_bytes,
                                   .n_row_tiles = cut.n_row_tiles,
                                   .groups_of_unit = cut.groups_of_unit,
                                   .end_chunks = cut.end_chunks};
    (void)skv_gpu_attend_heads(params, 0, &args.shared);
    struct skv_gpu_launch launch = skv_gpu_launch_begin(queue, SKV_GPU_ATTEND);
    launch.scratch_bytes = cut.scratch_bytes;
    uint64_t arrivals = 0;
    if (cut.groups_of_unit != 1)
        SKV_TRY(skv_driver_arrivals(queue, &arrivals));
    if (cut.groups_of_unit != 1 && arrivals == 0) {
        arrivals = skv_driver_address(params->workspace);
        SKV_DRIVER_TRY(&device->base, "fill its memory",
                       device->base.driver->fill(arrivals, 0, (uint64_t)n_counters * 4, own->stream));
    }
    skv_gpu_arg_value(&launch, &args, sizeof args);
    skv_gpu_attend_spans(&launch, params, &parts);
    skv_gpu_arg_value(&launch, &arrivals, sizeof arrivals);
    launch.lanes = 32 * cut.n_warps;
    launch.overlaps = true;
    launch.groups[0] = cut.n_groups;
    launch.groups[1] = launch.groups[2] = 1;
    SKV_TRY(skv_driver_enqueue(&launch, device->tensor[i].function));
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "attend cuda tensor.%s", variant->name);
    return SKV_OK;
}

_Static_assert(SKV_CUDA_PARTS_MAX <= SKV_DRIVER_ARRIVALS, "a counter for each part");
