/* SPDX-License-Identifier: Apache-2.0
 *
 * The tensor-core attention kernel itself: its part of the line, and how parts meet. See attend_tensor.h.
 */

#define LOG2_E 1.4426950408889634f
#define LOWEST -3.402823466e+38f
/* Weights are kept 2^7 times as large as they are, which fp16 has room for, and the maximum is only moved when a score
 * is 2^8 above it. */
#define WEIGHT_SCALE 7.0f
#define MAXIMUM_SLACK 8.0f

/* All that a group's warps have in common, and the spans of the launch. */
struct tensor_group {
    const struct skv_cuda_attend *p;
    const uchar *q, *k_pages, *v_pages;
    const int *k_blocks, *v_blocks;
    const ushort *k_tail, *v_tail;
    const float *sinks;
    float *part_sums, *part_scales;
    uchar *out;
    float *lse;
    volatile uint *faults;
    uint *arrivals;
    uint sums_at; /* group memory */
};

/* What a chunk of a unit is. */
struct tensor_chunk {
    uint i_token; /* of the records, or of the tail */
    uint n_valid;
    bool dense;
};

template <int C> DEVICE struct tensor_chunk chunk_of(const struct line_unit *unit, uint chunk)
{
    uint i = chunk - unit->begin, n_records = (unit->n_cached + C - 1) / C;
    if (i < n_records)
        return {i * C, min((uint)C, unit->n_cached - i * C), false};
    uint token = (i - n_records) * SKV_CUDA_STEP_ROWS;
    return {token, min((uint)SKV_CUDA_STEP_ROWS, unit->n_tail - token), true};
}

/* The copies of 32 chunks of a warp wait in group memory: two addresses each, 0 for a bad block, whose rows are empty;
 * the bytes to copy from each; and what sets a chunk apart. */
#define DENSE_CHUNK 1u
#define BAD_CHUNK 2u

/* By one lane: where its chunk lies. */
template <int C>
DEVICE void plan_copy(const struct tensor_group *group, const struct line *line, struct line_unit unit, uint chunk,
                      uint plan)
{
    const struct skv_gpu_attend *p = &group->p->shared;
    while (chunk >= unit.end)
        line_next<C>(line, &unit);
    uint i_head = unit.i_unit / group->p->n_row_tiles, k_bytes, v_bytes, kind = 0;
    struct tensor_chunk what = chunk_of<C>(&unit, chunk);
    const uchar *k, *v;
    if (what.dense) {
        ulong row =
            (ulong)unit.i_seq * p->tail_seq_stride + what.i_token * p->tail_token_stride + i_head * p->tail_head_stride;
        k = (const uchar *)(group->k_tail + p->k_tail + row);
        v = (const uchar *)(group->v_tail + p->v_tail + row);
        k_bytes = v_bytes = what.n_valid * 256;
        kind = DENSE_CHUNK;
    } else {
        ulong entry = (ulong)unit.i_seq * p->block_stride;
        k = line_page(&p->k_pool, &p->k_heads.head[0], group->k_pages, group->k_blocks + p->k_blocks, entry,
                      what.i_token, i_head, SKV_GPU_FAULT_K_BLOCK, group->faults);
        v = line_page(&p->v_pool, &p->v_heads.head[0], group->v_pages, group->v_blocks + p->v_blocks, entry,
                      what.i_token, i_head, SKV_GPU_FAULT_V_BLOCK, group->faults);
        k_bytes = what.n_valid * p->k_heads.head[0].row_stride;
        v_bytes = what.n_valid * p->v_heads.head[0].row_stride;
        kind = k && v ? 0 : BAD_CHUNK;
    }
    store_shared4(plan, make_uint4((uint)(ulong)k, (uint)((ulong)k >> 32), (uint)(ulong)v, (uint)((ulong)v >> 32)));
    store_shared4(plan + 16, make_uint4(k_bytes, v_bytes, kind, 0));
}

template <int C>
DEVICE void start_rare_copy(const struct skv_gpu_attend *p, const uchar *k, const uchar *v, uint4 what, uint stage,
                            uint barrier)
{
    if (what.z == DENSE_CHUNK) {
        uint v_stage = stage + SKV_CUDA_STEP_ROWS * SKV_CUDA_DENSE_STRIDE, n = what.x / 256;
        bulk_expect(barrier, 2 * what.x);
        for (uint t = 0; t < n; t++) {
            bulk_load(stage + t * SKV_CUDA_DENSE_STRIDE, k + t * p->tail_token_stride * 2, 256, barrier);
            bulk_load(v_stage + t * SKV_CUDA_DENSE_STRIDE, v + t * p->tail_token_stride * 2, 256, barrier);
        }
        return;
    }
    uint k_stride = p->k_heads.head[0].row_stride, v_stride = p->v_heads.head[0].row_stride;
    uint v_stage = stage + C * k_stride;
    for (uint at = 0; at < what.x && !k; at += k_stride)
        store_shared4(stage + at, make_uint4(0, 0, 0, 0));
    for (uint at = 0; at < what.y && !v; at += v_stride)
        store_shared4(v_stage + at, make_uint4(0, 0, 0, 0));
    /* What a lane stored must be behind it before the next copy writes there. */
    bulk_after_stores();
    bulk_expect(barrier, (k ? what.x : 0) + (v ? what.y : 0));
    if (k)
        bulk_load(stage, k, what.x, barrier);
    if (v)
        bulk_load(v_stage, v, what.y, barrier);
}

/* By one lane: starts the copies of a planned chunk into a stage, whose barrier then ends a phase. */
template <int C> DEVICE void start_copy(const struct skv_gpu_attend *p, uint plan, uint stage, uint barrier)
{
    uint4 from = load_shared4(plan), what = load_shared4(plan + 16);
    const uchar *k = (const uchar *)((ulong)from.y << 32 | from.x), *v = (const uchar *)((ulong)from.w << 32 | from.z);
    if (what.z) {
        start_rare_copy<C>(p, k, v, what, stage, barrier);
        return;
    }
    bulk_expect(barrier, what.x + what.y);
    bulk_load(stage, k, what.x, barrier);
    bulk_load(stage + C * p->k_heads.head[0].row_stride, v, what.y, barrier);
}

/* Weights and sums of a warp. Row t of a tile: of lane (i, j), scores and `total` belong to row i / 2, sums to row j.
 */
template <int TILES> struct tensor_state {
    float sums[TILES][4][4], most[TILES], total[TILES];
};

template <int TILES, int STEPS>
DEVICE void weigh(float (&score)[STEPS][TILES][2], float scale, struct tensor_state<TILES> *state)
{
    uint j = local_id() % 4;
    float most[TILES];
    bool rises = false;
    for (int t = 0; t < TILES; t++) {
        most[t] = LOWEST;
        for (int s = 0; s < STEPS; s++)
            most[t] = fmaxf(most[t], fmaxf(score[s][t][0], score[s][t][1]));
        most[t] *= scale;
        rises = rises || most[t] > state->most[t] + MAXIMUM_SLACK;
    }
    if (any_lane(rises))
        for (int t = 0; t < TILES; t++) {
            most[t] = fmaxf(most[t], shuffle_xor(most[t], 1));
            most[t] = fmaxf(most[t], shuffle_xor(most[t], 2));
            most[t] = fmaxf(most[t], state->most[t]);
            float correction = exp2_fast(state->most[t] - most[t]);
            state->most[t] = most[t];
            state->total[t] *= correction;
            correction = shuffle(correction, 8 * j);
            for (int w = 0; w < 4; w++)
                for (int c = 0; c < 4; c++)
                    state->sums[t][w][c] *= correction;
        }
    for (int t = 0; t < TILES; t++)
        for (int s = 0; s < STEPS; s++)
            for (int n = 0; n < 2; n++) {
                score[s][t][n] = exp2_fast(fmaf(score[s][t][n], scale, WEIGHT_SCALE - state->most[t]));
                state->total[t] += score[s][t][n];
            }
}

/* Scores of tokens from n_valid on do not count. */
template <int TILES, int APART, int STEPS> DEVICE void finish_scores(uint n_valid, float (&score)[STEPS][TILES][2])
{
    uint first = first_token<APART>(local_id() % 4);
    for (int s = 0; s < STEPS; s++)
        for (int t = 0; t < TILES; t++)
            for (int n = 0; n < 2; n++)
                if (8 * s + first + APART * n >= n_valid)
                    score[s][t][n] = -INFINITY;
}

/* Steps from S on. Where the stride is known, steps are offsets in the instructions, else addresses of their own. */
template <int TILES, bool BF16, int STRIDE, int APART, int STEPS, int S = 0>
DEVICE void score_steps(const struct tensor_places *at, const struct tensor_queries<TILES> *queries,
                        struct tensor_rows rows, uint stride, float (&score)[STEPS][TILES][2])
{
    if constexpr (S < STEPS) {
        score_step<TILES, BF16, 8 * STRIDE * S, APART, false>(at, queries, rows, 8, score[S]);
        for (uint n = 0; n < 4 && !STRIDE; n++)
            rows.start[n] += 8 * stride;
        score_steps<TILES, BF16, STRIDE, APART, STEPS, S + 1>(at, queries, rows, stride, score);
    }
}

template <int TILES, bool BF16, int STRIDE, int APART, int STEPS, int S = 0>
DEVICE void value_steps(const struct tensor_places *at, struct tensor_rows rows, uint base, uint stride,
                        const float (&weight)[STEPS][TILES][2], float (&sums)[TILES][4][4])
{
    if constexpr (S < STEPS) {
        value_step<TILES, BF16, 8 * STRIDE * S, APART, false>(at, rows, base, 8, weight[S], sums);
        for (uint n = 0; n < 4 && !STRIDE; n++)
            rows.start[n] += 8 * stride;
        value_steps<TILES, BF16, STRIDE, APART, STEPS, S + 1>(at, rows, STRIDE ? base : base + 8 * stride, stride,
                                                              weight, sums);
    }
}

template <int TILES, bool BF16, int STRIDE, int APART, int C>
DEVICE void attend_records(const struct skv_gpu_attend *p, const struct tensor_places *at,
                           const struct tensor_queries<TILES> *queries, uint base, uint n_valid,
                           struct tensor_state<TILES> *state)
{
    constexpr int STEPS = C / 8;
    uint k_stride = STRIDE ? STRIDE : p->k_heads.head[0].row_stride;
    uint v_stride = STRIDE ? STRIDE : p->v_heads.head[0].row_stride, v_base = base + C * k_stride;
    float score[STEPS][TILES][2];
    score_steps<TILES, BF16, STRIDE, APART, STEPS>(at, queries, k_rows(at, base, APART * k_stride), k_stride, score);
    if (n_valid < C)
        finish_scores<TILES, APART, STEPS>(n_valid, score);
    weigh<TILES, STEPS>(score, p->scale * LOG2_E, state);
    value_steps<TILES, BF16, STRIDE, APART, STEPS>(at, v_rows(at, v_base, APART * v_stride), v_base, v_stride, score,
                                                   state->sums);
}

/* The places of records serve dense rows but for the rows' own. */
template <int TILES, bool BF16, int APART>
DEVICE void attend_dense(const struct skv_gpu_attend *p, const struct tensor_places *places,
                         const struct tensor_queries<TILES> *queries, uint base, uint n_valid,
                         struct tensor_state<TILES> *state)
{
    struct tensor_places at = *places;
    uint i = local_id() % 32 / 4, j = local_id() % 4;
    at.k_row = first_token<APART>(i / 2) * SKV_CUDA_DENSE_STRIDE;
    at.v_row = first_token<APART>(j) * SKV_CUDA_DENSE_STRIDE;
    uint v_base = base + SKV_CUDA_STEP_ROWS * SKV_CUDA_DENSE_STRIDE;
    float score[1][TILES][2];
    score_step<TILES, BF16, 0, APART, true>(&at, queries, k_rows(&at, base, APART * SKV_CUDA_DENSE_STRIDE), n_valid,
                                            score[0]);
    finish_scores<TILES, APART, 1>(n_valid, score);
    weigh<TILES, 1>(score, p->scale * LOG2_E, state);
    value_step<TILES, BF16, 0, APART, true>(&at, v_rows(&at, v_base, APART * SKV_CUDA_DENSE_STRIDE), v_base, n_valid,
                                            score[0], state->sums);
}

/* Rows past the last valid one hold anything: their bitmaps become empty. By all lanes. */
template <int C> DEVICE void empty_records(const struct skv_gpu_attend *p, uint base, uint n_valid)
{
    uint k_stride = p->k_heads.head[0].row_stride, v_stride = p->v_heads.head[0].row_stride;
    for (uint t = n_valid + local_id() % 32; t < C; t += 32) {
        store_shared4(base + t * k_stride, make_uint4(0, 0, 0, 0));
        store_shared4(base + C * k_stride + t * v_stride, make_uint4(0, 0, 0, 0));
    }
    bulk_after_stores();
    warp_barrier();
}
