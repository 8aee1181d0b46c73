/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "backends/opencl/nvidia/nvidia.h"

bool skv_nvidia_is_aligned(struct skv_span span)
{
    /* A cl_mem begins at a multiple of 128 bytes at least. */
    return span.offset % 16 == 0;
}

#define VARIANT(name, head_dim, rows, is_bf16, stride, apart, chunk_tokens, warps, small_chunk_tokens) \
    {#name, head_dim, rows, is_bf16 ? SKV_BF16 : SKV_F16, stride, apart, small_chunk_tokens, warps},
static const struct skv_tensor_variant variants[] = {SKV_NVIDIA_VARIANTS(VARIANT)};

const struct skv_tensor_kernels skv_nvidia_attend_kernels = {
    .variants = variants, .n_variants = SKV_NVIDIA_ATTEND_KERNELS, .is_aligned = skv_nvidia_is_aligned};

struct skv_tensor_limits skv_nvidia_attend_limits(const struct skv_device *device)
{
    /* Every group has the same memory, whether it uses it or not. */
    return (struct skv_tensor_limits){.n_multiprocessors = device->info.compute_units,
                                      .groups_max = SKV_NVIDIA_GROUPS,
                                      .warps_min = SKV_NVIDIA_WARPS_MIN,
                                      .scratch_bytes = SKV_NVIDIA_SCRATCH_BYTES,
                                      .all_bytes = SKV_NVIDIA_GROUPS * SKV_NVIDIA_SCRATCH_BYTES};
}

uint64_t skv_nvidia_attend_workspace(const struct skv_device *device, const struct skv_attend_params *params)
{
    const struct skv_tensor_limits limits = skv_nvidia_attend_limits(device);
    bool is_likely = ((const struct skv_cl_device *)device)->nvidia.likely;
    return is_likely ? skv_tensor_workspace(&skv_nvidia_attend_kernels, &limits, params) : 0;
}

enum skv_status skv_nvidia_attend_launch(struct skv_cl_queue *queue, const struct skv_attend_params *params,
                                         const struct skv_attend_plan *plan, int i_variant,
                                         const struct skv_tensor_cut *cut, cl_kernel kernel)
{
    const struct skv_tensor_limits limits = skv_nvidia_attend_limits(queue->base.base.device);
    struct skv_attend_plan parts = *plan;
    parts.n_splits = 2; /* more than one, so that the workspace is handed on */
    parts.part_out_offset = 0;
    parts.part_lse_offset = skv_tensor_sums_bytes(&limits, &variants[i_variant]);
    struct skv_cuda_attend args = {.shared = skv_gpu_attend_args(params, &parts),
                                   .n_seqs = params->n_seqs,
                                   .n_stages = cut->n_stages,
                                   .stage_bytes = cut->stage_bytes,
                                   .n_row_tiles = cut->n_row_tiles,
                                   .groups_of_unit = cut->groups_of_unit,
                                   .end_chunks = cut->end_chunks};
    (void)skv_gpu_attend_heads(params, 0, &args.shared);
    struct skv_gpu_launch launch = skv_gpu_launch_begin(&queue->base.base, SKV_GPU_ATTEND);
    skv_gpu_arg_value(&launch, &args, sizeof args);
    skv_gpu_attend_spans(&launch, params, &parts);
    skv_gpu_arg_value(&launch, &queue->arrivals, sizeof queue->arrivals);
    launch.lanes = 32 * cut->n_warps;
    launch.groups[0] = cut->n_groups;
    launch.groups[1] = launch.groups[2] = 1;
    return skv_cl_enqueue_kernel(&launch, kernel);
}

enum skv_status skv_nvidia_attend(struct skv_queue *queue, const struct skv_attend_params *params,
                                  const struct skv_attend_plan *plan)
{
    struct skv_cl_queue *own = (struct skv_cl_queue *)queue;
    const struct skv_tensor_limits limits = skv_nvidia_attend_limits(queue->device);
    struct skv_tensor_cut cut = {0};
    cl_kernel kernel = NULL;
    int i = -1;
    if (skv_cl_device_of(queue)->nvidia.likely)
        i = skv_tensor_find(&skv_nvidia_attend_kernels, &limits, params, &cut);
    if (i >= 0 && skv_tensor_parts_max(&limits, &variants[i]) <= SKV_CUDA_PARTS_MAX)
        SKV_TRY(skv_nvidia_kernel(own, i, &kernel));
    if (!kernel)
        return skv_gpu_attend(queue, params, plan);
    SKV_TRY(skv_nvidia_attend_launch(own, params, plan, i, &cut, kernel));
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "attend opencl ptx.%s", variants[i].name);
    return SKV_OK;
}
