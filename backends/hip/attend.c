/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention by the kernels for matrix units and dot products, for what they can do: decoding of one token over fixed
 * records of 64, 128 or 256 channels and over dense rows. The shared kernels do the rest.
 */
#include <inttypes.h>
#include <stdio.h>

#include "backends/hip/hip.h"

/* hipErrorNotFound: the device's code object has no such kernel, as where there are no such units. */
enum { CODE_NOT_FOUND = 500 };

#define MATRIX_VARIANT(name, head_dim, is_bf16) \
    {"matrix", "", #name, head_dim, is_bf16 ? SKV_BF16 : SKV_F16, SKV_HIP_TILE},
#define DOT_VARIANT(name, head_dim, rows, is_bf16) {"dot", "dot_", #name, head_dim, is_bf16 ? SKV_BF16 : SKV_F16, rows},
static const struct variant {
    const char *kind, *prefix, *name;
    uint32_t head_dim, dtype;
    uint32_t rows; /* of queries, at once */
} variants[SKV_HIP_OWN_KERNELS] = {SKV_HIP_MATRIX_VARIANTS(MATRIX_VARIANT) SKV_HIP_DOT_VARIANTS(DOT_VARIANT)};

enum skv_status skv_hip_attend_open(struct skv_hip_device *device)
{
    struct skv_driver_device *base = &device->base;
    for (int i = 0; i < SKV_HIP_OWN_KERNELS; i++) {
        char name[64];
        snprintf(name, sizeof name, "skv_kernel_attend_%sw%" PRIu32 "_%s", variants[i].prefix, base->facts.wave_lanes,
                 variants[i].name);
        uint64_t saved = 0;
        SKV_TRY(skv_driver_enter(base, &saved));
        int code = base->driver->module_function(base->module, name, &device->attend[i]);
        base->driver->context_leave(saved);
        if (code == CODE_NOT_FOUND)
            device->attend[i] = NULL;
        else if (code != 0)
            return skv_driver_fail(base, "prepare its attention kernels", code);
    }
    return SKV_OK;
}

/* Pieces of a record that keeps as many channels as any of the call; 0: the records are of another form, or
 * there is no block, of which the kernel takes the first in place of bad ones. */
static uint32_t pieces_of(const struct skv_attend_params *params, const struct skv_gpu_attend *args)
{
    if (!params->max_cache_tokens)
        return 1;
    if (params->k_pool.layout->form != SKV_FIXED || params->v_pool.layout->form != SKV_FIXED ||
        params->k_pool.n_blocks == 0 || params->v_pool.n_blocks == 0)
        return 0;
    return (params->head_dim / 8 + 8 * args->pieces + SKV_HIP_PIECE - 1) / SKV_HIP_PIECE;
}

static uint32_t tiles_of(uint32_t group, uint32_t rows)
{
    return (group + rows - 1) / rows;
}

/* The variant for a call, or -1: with the fewest passes over the cache, and of these with the fewest rows. */
static int find_variant(const struct skv_hip_device *device, const struct skv_attend_params *params, uint32_t pieces)
{
    uint32_t group = params->n_q_heads / params->n_kv_heads;
    int found = -1;
    if (!skv_gpu_is_plain_decode(params, skv_driver_is_aligned) || pieces == 0)
        return -1;
    for (int i = 0; i < SKV_HIP_OWN_KERNELS; i++) {
        const struct variant *own = &variants[i], *best = &variants[found < 0 ? i : found];
        uint32_t tiles = tiles_of(group, own->rows), best_tiles = tiles_of(group, best->rows);
        if (device->attend[i] && own->head_dim == params->head_dim && own->dtype == params->dtype &&
            pieces <= (uint32_t)SKV_HIP_PIECES_MAX(params->head_dim) &&
            (found < 0 || tiles < best_tiles || (tiles == best_tiles && own->rows < best->rows)))
            found = i;
    }
    return found;
}

/* Dense rows of a chunk: eight, if they are short or take no more group memory than records, else four. */
static uint32_t dense_rows_of(uint32_t head_dim, uint32_t pieces)
{
    bool fit = (uint32_t)SKV_HIP_DENSE_BYTES(head_dim, SKV_HIP_DENSE_ROWS_MAX) <=
               (uint32_t)SKV_HIP_TILE * SKV_HIP_ROW_STRIDE(pieces);
    return fit || head_dim < 128 ? SKV_HIP_DENSE_ROWS_MAX : SKV_HIP_DENSE_ROWS_MAX / 2;
}

static uint32_t area_bytes_of(uint32_t head_dim, uint32_t pieces, uint32_t dense_rows)
{
    uint32_t records = SKV_HIP_TILE * SKV_HIP_ROW_STRIDE(pieces), dense = SKV_HIP_DENSE_BYTES(head_dim, dense_rows);
    return (uint32_t)skv_round_up(records > dense ? records : dense, 16);
}

enum skv_status skv_hip_attend(struct skv_queue *queue, const struct skv_attend_params *params,
                               const struct skv_attend_plan *plan)
{
    struct skv_hip_device *device = (struct skv_hip_device *)queue->device;
    struct skv_hip_attend args = {.shared = skv_gpu_attend_args(params, plan)};
    uint32_t pieces = pieces_of(params, &args.shared), lanes = device->base.facts.wave_lanes;
    int i = find_variant(device, params, pieces);
    if (i < 0)
        return skv_gpu_attend(queue, params, plan);
    args.dense_rows = dense_rows_of(params->head_dim, pieces);
    args.area_bytes = area_bytes_of(params->head_dim, pieces, args.dense_rows);
    bool has_tile = variants[i].rows == SKV_HIP_TILE;
    uint32_t n_areas = has_tile ? SKV_HIP_AREAS(params->head_dim) : SKV_HIP_DOT_AREAS;
    uint32_t areas = SKV_HIP_WAVES * n_areas * args.area_bytes + SKV_HIP_SLACK_BYTES(params->head_dim);
    uint32_t sums = SKV_HIP_SUMS_BYTES(params->head_dim);
    uint32_t scratch =
        SKV_HIP_TABLE_BYTES + SKV_HIP_QUERY_BYTES(params->head_dim, lanes) + (areas > sums ? areas : sums);
    uint32_t n_tiles = tiles_of(args.shared.group, variants[i].rows);
    for (uint32_t first = 0, n; first < params->n_kv_heads; first += n) {
        struct skv_gpu_launch launch = skv_gpu_launch_begin(queue, SKV_GPU_ATTEND);
        n = skv_gpu_attend_heads(params, first, &args.shared);
        skv_gpu_arg_value(&launch, &args, sizeof args);
        skv_gpu_attend_spans(&launch, params, plan);
        launch.scratch_bytes = scratch;
        launch.lanes = SKV_HIP_WAVES * lanes;
        launch.groups[0] = (uint64_t)n * n_tiles;
        launch.groups[1] = plan->n_splits;
        launch.groups[2] = params->n_seqs;
        SKV_TRY(skv_driver_enqueue(&launch, device->attend[i]));
    }
    snprintf(queue->last_kernel, sizeof queue->last_kernel, "attend hip %s.%s%s", variants[i].kind, variants[i].name,
             plan->n_splits > 1 ? " + merge" : "");
    return plan->n_splits > 1 ? skv_gpu_merge_splits(queue, params, &args.shared) : SKV_OK;
}
