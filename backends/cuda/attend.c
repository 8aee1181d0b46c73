/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention by the tensor-core kernels, for what they can do: decoding of one token, records of 64, 128 or 256
 * channels at strides that are multiples of 16 bytes. The shared kernels do the rest.
 */
#include <stdio.h>

#include "backends/cuda/cuda.h"

/* The oldest architecture with bulk copies. */
#define VERSION_MIN 90
#define STAGES_MAX 4
/* Group memory that the system keeps for each group. */
#define RESERVED_BYTES 1024

#define VARIANT(name, head_dim, rows, is_bf16, stride, apart, chunk_tokens, groups) \
    {#name, head_dim, rows, is_bf16 ? SKV_BF16 : SKV_F16, stride, apart, chunk_tokens, groups},
static const struct variant {
    const char *name;
    uint32_t head_dim, rows, dtype, stride, apart, chunk_tokens, groups;
} variants[SKV_CUDA_TENSOR_KERNELS] = {SKV_CUDA_TENSOR_VARIANTS(VARIANT)};

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

/* Tokens of a lane far apart or next to each other: what starts rows of this stride in different banks. */
static uint32_t apart_of(uint32_t stride)
{
    return stride / 4 % 16 == 8 ? 4 : 1;
}

static bool is_aligned(struct skv_span span)
{
    return skv_driver_address(span) % 16 == 0;
}

static bool is_cache_fit(const struct skv_attend_params *params)
{
    const struct skv_layout *k = params->k_pool.layout, *v = params->v_pool.layout;
    return k->form == SKV_FIXED && v->form == SKV_FIXED && k->uniform && v->uniform &&
           k->head[0].row_stride % 16 == 0 && v->head[0].row_stride % 16 == 0 && is_aligned(params->k_pool.pages) &&
           is_aligned(params->v_pool.pages);
}

static bool is_tail_fit(const struct skv_attend_params *params)
{
    return is_aligned(params->k_tail) && is_aligned(params->v_tail) && params->tail_seq_stride % 8 == 0 &&
           params->tail_token_stride % 8 == 0 && params->tail_head_stride % 8 == 0;
}

static uint32_t group_of(const struct skv_attend_params *params)
{
    return params->n_q_heads / params->n_kv_heads;
}

static uint32_t n_row_tiles(const struct skv_attend_params *params, uint32_t rows)
{
    return (group_of(params) + rows - 1) / rows;
}

/* Chunks of all sequences, at most. */
static uint64_t n_chunks(const struct skv_attend_params *params, const struct variant *variant)
{
    uint64_t of_unit = (params->max_cache_tokens + variant->chunk_tokens - 1) / variant->chunk_tokens +
                       (params->max_tail_tokens + SKV_CUDA_STEP_ROWS - 1) / SKV_CUDA_STEP_ROWS;
    uint64_t n_units = (uint64_t)params->n_kv_heads * n_row_tiles(params, variant->rows);
    if (n_units > UINT32_MAX || of_unit > UINT32_MAX || n_units * params->n_seqs > UINT32_MAX)
        return UINT64_MAX;
    return n_units * params->n_seqs * (of_unit ? of_unit : 1);
}

/* Query rows of a kernel: those of a group, in as few passes over the cache as can be. With 256 channels, 16 rows are
 * more than registers hold. */
static uint32_t rows_of(const struct skv_attend_params *params)
{
    uint32_t group = group_of(params);
    return group <= 4 ? 4 : group <= 8 || params->head_dim == 256 ? 8 : 16;
}

/* The variant for a call, or -1. */
static int find_variant(const struct skv_cuda_device *device, const struct skv_attend_params *params)
{
    bool has_cache = params->max_cache_tokens != 0;
    if (params->n_new != 1 || params->window || params->split_tokens || params->softcap > 0 ||
        params->q_dtype != params->dtype || !(params->scale > 0) || (has_cache && !is_cache_fit(params)) ||
        (params->max_tail_tokens && !is_tail_fit(params)))
        return -1;
    uint32_t k_stride = has_cache ? params->k_pool.layout->head[0].row_stride : SKV_CUDA_DENSE_STRIDE(params->head_dim);
    uint32_t v_stride = has_cache ? params->v_pool.layout->head[0].row_stride : k_stride;
    for (int i = 0; i < SKV_CUDA_TENSOR_KERNELS; i++) {
        const struct variant *variant = &variants[i];
        bool stride_fits = variant->stride ? has_cache && k_stride == variant->stride && v_stride == variant->stride
                                           : variant->apart == apart_of(k_stride);
        if (device->tensor[i].function && variant->head_dim == params->head_dim && variant->dtype == params->dtype &&
            stride_fits && variant->rows == rows_of(params) && n_chunks(params, variant) <= INT32_MAX)
            return i;
    }
    return -1;
}

static uint32_t stage_bytes(const struct skv_attend_params *params, const struct variant *variant)
{
    uint32_t dense = 2 * SKV_CUDA_STEP_ROWS * SKV_CUDA_DENSE_STRIDE(variant->head_dim), records = 0;
    if (params->max_cache_tokens)
        records = variant->chunk_tokens *
                  (params->k_pool.layout->head[0].row_stride + params->v_pool.layout->head[0].row_stride);
    return records > dense ? records : dense;
}

/* Group memory but for the stages. */
static uint32_t fixed_bytes(const struct variant *variant, uint32_t n_stages)
{
    return SKV_CUDA_MERGE_BYTES(variant->head_dim, variant->rows) + SKV_CUDA_WARPS * SKV_CUDA_PLAN_BYTES +
           SKV_CUDA_WARPS * n_stages * SKV_CUDA_BARRIER_BYTES;
}

/* As many stages as `groups` groups of a multiprocessor can have, at least two, or fewer groups. 0: not even one. */
static uint32_t n_stages_of(const struct skv_cuda_device *device, const struct variant *variant, uint32_t n_bytes)
{
    uint64_t all = device->base.facts.group_bytes + RESERVED_BYTES;
    for (uint32_t groups = variant->groups; groups; groups--) {
        uint64_t room = all / groups - RESERVED_BYTES - SKV_CUDA_STATIC_BYTES;
        for (uint32_t n = STAGES_MAX; n >= 2; n--)
            if (SKV_CUDA_WARPS * n * n_bytes + fixed_bytes(variant, n) <= room)
                return n;
    }
    return 0;
}

/* Parts of units cost what some chunks of a warp do: their sums have to meet. */
#define MEETING_CHUNKS 4

/* Groups of a launch: one for each unit where that takes no longer than equal parts of all chunks, which are as many as
 * can be resident, but not more than give each warp a chunk. */
static uint32_t n_groups_of(const struct skv_attend_params *params, const struct variant *variant, uint32_t n_resident,
                            uint32_t *by_unit)
{
    uint64_t n_units = (uint64_t)params->n_seqs * params->n_kv_heads * n_row_tiles(params, variant->rows);
    uint64_t n_all = n_chunks(params, variant), of_warp = (n_all / n_units + SKV_CUDA_WARPS - 1) / SKV_CUDA_WARPS;
    uint64_t n_parts = (n_all + SKV_CUDA_WARPS - 1) / SKV_CUDA_WARPS;
    n_parts = n_parts < n_resident ? n_parts : n_resident;
    uint64_t of_part = (n_all + n_parts * SKV_CUDA_WARPS - 1) / (n_parts * SKV_CUDA_WARPS) + MEETING_CHUNKS;
    *by_unit = (n_units + n_resident - 1) / n_resident * of_warp <= of_part;
    return (uint32_t)(*by_unit ? n_units : n_parts);
}

static enum skv_status groups_resident(struct skv_cuda_device *device, int i_variant, uint32_t scratch_bytes,
                                       uint32_t *n_groups)
{
    struct skv_cuda_tensor_kernel *kernel = &device->tensor[i_variant];
    unsigned long long known = atomic_load(&kernel->occupancy);
    int found = (int)(known & 0xff);
    if (known >> 8 != scratch_bytes) {
        SKV_DRIVER_TRY(
            &device->base, "prepare a kernel",
            device->base.driver->function_occupancy(kernel->function, 32 * SKV_CUDA_WARPS, scratch_bytes, &found));
        atomic_store(&kernel->occupancy, (unsigned long long)scratch_bytes << 8 | (unsigned)found);
    }
    uint32_t most = variants[i_variant].groups;
    *n_groups = found < 1 ? 1 : (uint32_t)found < most ? (uint32_t)found : most;
    return SKV_OK;
}

/* The workspace: counters for captured launches, then for each group two slots of sums, then of their scales. */
static uint64_t sums_bytes(const struct skv_cuda_device *device, const struct variant *variant)
{
    return (uint64_t)2 * variant->groups * device->base.facts.compute_units * variant->rows * variant->head_dim * 4;
}

#define COUNTERS_BYTES (SKV_DRIVER_ARRIVALS * 4)

uint64_t skv_cuda_attend_workspace(const struct skv_device *device, const struct skv_attend_params *params)
{
    const struct skv_cuda_device *own = (const struct skv_cuda_device *)device;
    uint64_t most = 0;
    if (params->n_new != 1 || own->base.facts.version < VERSION_MIN)
        return 0;
    for (int i = 0; i < SKV_CUDA_TENSOR_KERNELS; i++) {
        uint64_t sums = sums_bytes(own, &variants[i]);
        uint64_t n_bytes = COUNTERS_BYTES + sums + sums / variants[i].head_dim * 2;
        if (variants[i].head_dim == params->head_dim && n_bytes > most)
            most = n_bytes;
    }
    return most;
}

enum skv_status skv_cuda_attend(struct skv_queue *queue, const struct skv_attend_params *params,
                                const struct skv_attend_plan *plan)
{
    struct skv_cuda_device *device = (struct skv_cuda_device *)queue->device;
    struct skv_driver_queue *own = (struct skv_driver_queue *)queue;
    int i = find_variant(device, params);
    const struct variant *variant = &variants[i < 0 ? 0 : i];
    uint32_t n_bytes = stage_bytes(params, variant), n_stages = n_stages_of(device, variant, n_bytes);
    uint32_t n_counters = variant->groups * device->base.facts.compute_units;
    if (i < 0 || n_stages == 0 || n_counters > SKV_CUDA_PARTS_MAX)
        return skv_gpu_attend(queue, params, plan);

    struct skv_attend_plan parts = *plan;
    parts.n_splits = 2; /* more than one, so that the workspace is handed on */
    parts.part_out_offset = COUNTERS_BYTES;
    parts.part_lse_offset = COUNTERS_BYTES + sums_bytes(device, variant);
    struct skv_cuda_attend args = {.shared = skv_gpu_attend_args(params, &parts),
                                   .n_seqs = params->n_seqs,
                                   .n_stages = n_stages,
                                   .stage_bytes = n_bytes,
                                   .n_row_tiles = n_row_tiles(params, variant->rows)};
    (void)skv_gpu_attend_heads(params, 0, &args.shared);
    struct skv_gpu_launch launch = skv_gpu_launch_begin(queue, SKV_GPU_ATTEND);
    launch.scratch_bytes = SKV_CUDA_WARPS * n_stages * n_bytes + fixed_bytes(variant, n_stages);
    uint32_t n_groups = 0;
    SKV_TRY(groups_resident(device, i, (uint32_t)launch.scratch_bytes, &n_groups));

    uint32_t n_launched = n_groups_of(params, variant, n_groups * device->base.facts.compute_units, &args.by_unit);
    uint64_t arrivals = 0;
    if (!args.by_unit)
        SKV_TRY(skv_driver_arrivals(queue, &arrivals));
    if (!args.by_unit && arrivals == 0) {
        arrivals = skv_driver_address(params->workspace);
        SKV_DRIVER_TRY(&device->base, "fill its memory",
                       device->base.driver->fill(arrivals, 0, (uint64_t)n_counters * 4, own->stream));
    }
    skv_gpu_arg_value(&launch, &args, sizeof args);
    skv_gpu_attend_spans(&launch, params, &parts);
    skv_gpu_arg_value(&launch, &arrivals, sizeof arrivals);
    launch.lanes = 32 * SKV_CUDA_WARPS;
    launch.overlaps = true;
    launch.groups[0] = n_launched;
    launch.groups[1] = launch.groups[2] = 1;
    SKV_TRY(skv_driver_enqueue(&launch, device->tensor[i].function));
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "attend cuda tensor.%s", variant->name);
    return SKV_OK;
}

_Static_assert(SKV_CUDA_PARTS_MAX <= SKV_DRIVER_ARRIVALS, "a counter for each part");
