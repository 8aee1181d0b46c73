/* SPDX-License-Identifier: Apache-2.0
 *
 * How the work of a tensor-core attention kernel is cut into groups, and how wide these are. The candidates' times are
 * estimated from shapes alone, so that the same call is always cut alike. The unit of time is some 240 cycles of an
 * H200: what a chunk of 32 tokens of 128 channels takes longer for each warp that a multiprocessor has at work.
 */
#include "backends/gpu/tensor.h"

#include "backends/cuda/params.h"
#include "core/check.h"

#define STAGES_MAX 4

/* What a unit of 32 tokens of 128 channels takes a warp alone, in times of what it takes more for each warp that a
 * multiprocessor has at work; what a chunk takes besides, in tokens. */
#define ALONE 9
#define UNIT_CHANNELS 4096
#define CHUNK_TOKENS 4
/* Bytes that a multiprocessor's share of memory brings in a unit of time. */
#define UNIT_BYTES 4320
/* Where groups share units: their sums' meeting, and more for each. */
#define MEETING 18
#define MEETING_OF_EACH 1
/* The end of a group, in warps; the start of another once one has ended. */
#define END_WARPS 3
#define NEXT_GROUP 40
/* What the end of a unit costs within a part of the line, in channels of each warp. */
#define END_CHANNELS 8192

struct work {
    uint64_t of_unit, n_units;            /* chunks; of all sequences */
    uint32_t n_multiprocessors, resident; /* groups of each */
    uint64_t unit_bytes;                  /* of 4096 channels of K and V */
};

static uint64_t divide_up(uint64_t x, uint64_t y)
{
    return (x + y - 1) / y;
}

/* Of a cached token's K and V records. */
static uint32_t token_bytes(const struct skv_attend_params *params)
{
    return params->max_cache_tokens
               ? params->k_pool.layout->head[0].row_stride + params->v_pool.layout->head[0].row_stride
               : 0;
}

/* Loads of a last record's values reach a step past it, where no other copy may go. Bulk copies are faster to multiples
 * of 128. */
static uint32_t stage_bytes(const struct skv_attend_params *params, const struct skv_tensor_variant *variant)
{
    uint32_t dense = 2 * SKV_CUDA_STEP_ROWS * SKV_CUDA_DENSE_STRIDE(variant->head_dim);
    uint32_t records = variant->chunk_tokens * token_bytes(params);
    return records < dense ? dense : (uint32_t)skv_round_up(records + 2, 128);
}

static uint32_t scratch_bytes(const struct skv_tensor_variant *variant, const struct skv_tensor_cut *cut,
                              uint32_t n_stages)
{
    return cut->n_warps * (n_stages * (cut->stage_bytes + SKV_CUDA_BARRIER_BYTES) +
                           SKV_CUDA_MERGE_BYTES(variant->head_dim, variant->rows) + SKV_CUDA_PLAN_BYTES);
}

/* As many stages as all groups that registers allow can have, at least two, or fewer groups. Returns the groups of a
 * multiprocessor, 0: not even one. */
static uint32_t find_stages(const struct skv_tensor_limits *limits, const struct skv_tensor_variant *variant,
                            struct skv_tensor_cut *cut)
{
    uint32_t most = variant->warps / cut->n_warps;
    for (uint32_t groups = most < limits->groups_max ? most : limits->groups_max; groups; groups--) {
        uint64_t room = limits->all_bytes / groups - limits->own_bytes;
        room = room < limits->scratch_bytes ? room : limits->scratch_bytes;
        for (uint32_t n = STAGES_MAX; n >= 2; n--) {
            cut->n_stages = n;
            cut->scratch_bytes = scratch_bytes(variant, cut, n);
            if (cut->scratch_bytes <= room)
                return groups;
        }
    }
    return 0;
}

/* What n warps at work take for a chunk each: memory sets a limit, too. */
static uint64_t time_of_round(const struct work *work, uint64_t n)
{
    uint64_t loads = n * work->unit_bytes / UNIT_BYTES;
    return ALONE + n > loads ? ALONE + n : loads;
}

/* Of `groups` groups of a multiprocessor that have n_chunks chunks each. */
static uint64_t time_of_chunks(const struct work *work, uint64_t n_chunks, uint32_t n_warps, uint64_t groups)
{
    uint64_t rest = n_chunks % n_warps;
    return n_chunks / n_warps * time_of_round(work, groups * n_warps) + (rest ? time_of_round(work, groups * rest) : 0);
}

static uint64_t time_of(const struct skv_tensor_variant *variant, uint32_t n_warps, uint64_t chunks, uint64_t meeting)
{
    meeting += n_warps / END_WARPS;
    return chunks * (variant->chunk_tokens + CHUNK_TOKENS) * variant->head_dim + meeting * UNIT_CHANNELS;
}

static void take_faster(struct skv_tensor_cut *best, const struct skv_tensor_cut *cut)
{
    if (best->n_warps == 0 || cut->time < best->time)
        *best = *cut;
}

/* Each unit is shared by n groups. */
static void try_shared(const struct work *work, const struct skv_tensor_variant *variant, struct skv_tensor_cut cut,
                       uint64_t n, struct skv_tensor_cut *best)
{
    uint64_t n_groups = work->n_units * n, at_once = (uint64_t)work->resident * work->n_multiprocessors;
    if (n == 0 || n > work->of_unit || n_groups > INT32_MAX || (n > 1 && n_groups > at_once))
        return;
    uint64_t waves = divide_up(n_groups, at_once), groups = divide_up(n_groups, work->n_multiprocessors);
    uint64_t chunks =
        waves * time_of_chunks(work, divide_up(work->of_unit, n), cut.n_warps, waves > 1 ? work->resident : groups);
    cut.n_groups = (uint32_t)n_groups;
    cut.groups_of_unit = (uint32_t)n;
    cut.end_chunks = 0;
    cut.time =
        time_of(variant, cut.n_warps, chunks, (waves - 1) * NEXT_GROUP + (n > 1 ? MEETING + n * MEETING_OF_EACH : 0));
    take_faster(best, &cut);
}

/* Groups have equal parts of the line. */
static void try_line(const struct work *work, const struct skv_tensor_variant *variant, struct skv_tensor_cut cut,
                     struct skv_tensor_cut *best)
{
    cut.end_chunks = cut.n_warps * (uint32_t)divide_up(END_CHANNELS, variant->chunk_tokens * variant->head_dim);
    uint64_t cost = work->n_units * (work->of_unit + cut.end_chunks), n = divide_up(cost, cut.n_warps);
    uint64_t at_once = (uint64_t)work->resident * work->n_multiprocessors;
    if (cost > INT32_MAX)
        return;
    cut.n_groups = (uint32_t)(n < at_once ? n : at_once);
    cut.groups_of_unit = 0;
    uint64_t groups = divide_up(cut.n_groups, work->n_multiprocessors);
    cut.time = time_of(variant, cut.n_warps, time_of_chunks(work, divide_up(cost, cut.n_groups), cut.n_warps, groups),
                       MEETING + cut.n_groups / work->n_units * MEETING_OF_EACH);
    take_faster(best, &cut);
}

bool skv_tensor_cut(const struct skv_tensor_limits *limits, const struct skv_attend_params *params,
                    const struct skv_tensor_variant *variant, struct skv_tensor_cut *best)
{
    uint32_t group = params->n_q_heads / params->n_kv_heads;
    struct skv_tensor_cut cut = {.stage_bytes = stage_bytes(params, variant),
                                 .n_row_tiles = (group + variant->rows - 1) / variant->rows};
    struct work work = {.of_unit = divide_up(params->max_cache_tokens, variant->chunk_tokens) +
                                   divide_up(params->max_tail_tokens, SKV_CUDA_STEP_ROWS),
                        .n_units = (uint64_t)params->n_seqs * params->n_kv_heads * cut.n_row_tiles,
                        .n_multiprocessors = limits->n_multiprocessors,
                        .unit_bytes = (uint64_t)UNIT_CHANNELS / variant->head_dim * token_bytes(params)};
    bool are_alike = params->n_seqs == 1 || (!params->cache_lens.buffer && !params->tail_lens.buffer);
    *best = (struct skv_tensor_cut){0};
    if (work.of_unit == 0)
        work.of_unit = 1;
    if (work.n_units > INT32_MAX || work.of_unit > INT32_MAX || work.n_units * work.of_unit > INT32_MAX)
        return false;
    for (uint32_t parts = 1; parts * limits->warps_min <= variant->warps; parts++) {
        cut.n_warps = variant->warps / parts;
        work.resident = find_stages(limits, variant, &cut);
        if (variant->warps % parts || work.resident == 0)
            continue;
        try_shared(&work, variant, cut, 1, best);
        if (are_alike) {
            uint64_t most = (uint64_t)work.resident * work.n_multiprocessors / work.n_units;
            uint64_t one_chunk = divide_up(work.of_unit, cut.n_warps);
            try_shared(&work, variant, cut, most, best);
            try_shared(&work, variant, cut, one_chunk, best);
            try_shared(&work, variant, cut, divide_up(one_chunk, 2), best);
        }
        try_line(&work, variant, cut, best);
    }
    return best->n_warps != 0;
}
