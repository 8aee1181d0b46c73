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

template <class V> DEVICE struct tensor_chunk chunk_of(const struct line_unit *unit, uint chunk)
{
    uint i = chunk - unit->begin, n_records = (unit->n_cached + V::C - 1) / V::C;
    if (i < n_records)
        return {i * V::C, min((uint)V::C, unit->n_cached - i * V::C), false};
    uint token = (i - n_records) * SKV_CUDA_STEP_ROWS;
    return {token, min((uint)SKV_CUDA_STEP_ROWS, unit->n_tail - token), true};
}

/* The copies of 32 chunks of a warp wait in group memory: two addresses each, 0 for a bad block, whose rows are empty;
 * the bytes to copy from each; and what sets a chunk apart. Those that are no whole chunk of records have a mark in the
 * first address, which no address has. */
#define DENSE_CHUNK 1u
#define RARE_COPY (1ul << 63)

/* What is known of a chunk's copies without reading what kernels before may have written. */
struct copy_plan {
    const int *k_entry, *v_entry; /* of the block tables */
    ulong k_at, v_at;             /* bytes within the block, or elements of the tail */
    uint n_valid, k_bytes, v_bytes, kind;
};

/* By one lane, of a chunk of this unit or one behind it. */
template <class V>
DEVICE struct copy_plan plan_copy(const struct tensor_group *group, const struct line *line, struct line_unit unit,
                                  uint chunk)
{
    const struct skv_gpu_attend *p = &group->p->shared;
    struct copy_plan plan;
    while (chunk >= unit.end)
        line_next<V::C>(line, &unit);
    uint i_head = unit.i_unit / group->p->n_row_tiles;
    struct tensor_chunk what = chunk_of<V>(&unit, chunk);
    plan.n_valid = what.n_valid;
    if (what.dense) {
        ulong row =
            (ulong)unit.i_seq * p->tail_seq_stride + what.i_token * p->tail_token_stride + i_head * p->tail_head_stride;
        plan.k_at = p->k_tail + row;
        plan.v_at = p->v_tail + row;
        plan.k_bytes = plan.v_bytes = what.n_valid * 2 * V::D;
        plan.k_entry = plan.v_entry = 0;
        plan.kind = DENSE_CHUNK;
        return plan;
    }
    const struct skv_gpu_head *k = &p->k_heads.head[0], *v = &p->v_heads.head[0];
    uint k_page = what.i_token / p->k_pool.page_tokens, v_page = what.i_token / p->v_pool.page_tokens;
    plan.k_entry = group->k_blocks + p->k_blocks + unit.i_seq * p->block_stride + k_page;
    plan.v_entry = group->v_blocks + p->v_blocks + unit.i_seq * p->block_stride + v_page;
    plan.k_at = p->k_pool.offset + i_head * k->page_offset +
                (what.i_token - k_page * p->k_pool.page_tokens) * (ulong)k->row_stride;
    plan.v_at = p->v_pool.offset + i_head * v->page_offset +
                (what.i_token - v_page * p->v_pool.page_tokens) * (ulong)v->row_stride;
    plan.k_bytes = what.n_valid * k->row_stride;
    plan.v_bytes = what.n_valid * v->row_stride;
    plan.kind = 0;
    return plan;
}

/* By the same lane: writes down where the chunk is copied from. */
template <class V> DEVICE void finish_plan(const struct tensor_group *group, const struct copy_plan *plan, uint at)
{
    const struct skv_gpu_attend *p = &group->p->shared;
    const uchar *k, *v;
    if (plan->kind == DENSE_CHUNK) {
        k = (const uchar *)(group->k_tail + plan->k_at);
        v = (const uchar *)(group->v_tail + plan->v_at);
    } else {
        /* Both at once, before either is looked at. */
        int k_block = *plan->k_entry, v_block = *plan->v_entry;
        k = group->k_pages + plan->k_at + k_block * p->k_pool.block_bytes;
        v = group->v_pages + plan->v_at + v_block * p->v_pool.block_bytes;
        if (k_block < 0 || (ulong)k_block >= p->k_pool.n_blocks) {
            report(group->faults, SKV_GPU_FAULT_K_BLOCK, (ulong)(plan->k_entry - (group->k_blocks + p->k_blocks)));
            k = 0;
        }
        if (v_block < 0 || (ulong)v_block >= p->v_pool.n_blocks) {
            report(group->faults, SKV_GPU_FAULT_V_BLOCK, (ulong)(plan->v_entry - (group->v_blocks + p->v_blocks)));
            v = 0;
        }
    }
    bool is_rare = plan->kind || plan->n_valid < V::C || !k || !v;
    ulong first = (ulong)k | (is_rare ? RARE_COPY : 0);
    store_shared4(at, make_uint4((uint)first, (uint)(first >> 32), (uint)(ulong)v, (uint)((ulong)v >> 32)));
    if (is_rare)
        store_shared4(at + 16, make_uint4(plan->k_bytes, plan->v_bytes, plan->kind, 0));
}

template <class V> DEVICE uint k_stride_of(const struct skv_gpu_attend *p)
{
    return V::STRIDE ? V::STRIDE : p->k_heads.head[0].row_stride;
}
template <class V> DEVICE uint v_stride_of(const struct skv_gpu_attend *p)
{
    return V::STRIDE ? V::STRIDE : p->v_heads.head[0].row_stride;
}

template <class V>
DEVICE void start_rare_copy(const struct skv_gpu_attend *p, const uchar *k, const uchar *v, uint4 what, uint stage,
                            uint barrier)
{
    if (what.z == DENSE_CHUNK) {
        uint v_stage = stage + SKV_CUDA_STEP_ROWS * V::DENSE_STRIDE, n = what.x / (2 * V::D);
        bulk_expect(barrier, 2 * what.x);
        for (uint t = 0; t < n; t++) {
            bulk_load(stage + t * V::DENSE_STRIDE, k + t * p->tail_token_stride * 2, 2 * V::D, barrier);
            bulk_load(v_stage + t * V::DENSE_STRIDE, v + t * p->tail_token_stride * 2, 2 * V::D, barrier);
        }
        return;
    }
    uint k_stride = p->k_heads.head[0].row_stride, v_stride = p->v_heads.head[0].row_stride;
    uint v_stage = stage + V::C * k_stride;
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

/* By all lanes: starts the copies of a planned chunk into a stage, whose barrier then ends a phase. */
template <class V> DEVICE void start_copy(const struct skv_gpu_attend *p, uint plan, uint stage, uint barrier)
{
    if (!elected())
        return;
    ulong from[2];
    load_shared_pair(from, plan);
    const uchar *k = (const uchar *)(from[0] & ~RARE_COPY), *v = (const uchar *)from[1];
    if (from[0] & RARE_COPY) {
        start_rare_copy<V>(p, k, v, load_shared4(plan + 16), stage, barrier);
        return;
    }
    uint k_bytes = V::C * k_stride_of<V>(p), v_bytes = V::C * v_stride_of<V>(p);
    bulk_expect(barrier, k_bytes + v_bytes);
    bulk_load(stage, (const uchar *)from[0], k_bytes, barrier);
    bulk_load(stage + k_bytes, v, v_bytes, barrier);
}

/* Weights and sums of a warp. Row t of a tile: of lane (i, j), scores and `total` belong to row i / 2, sums to row j.
 */
template <class V> struct tensor_state {
    float sums[V::TILES][V::WORDS][4], most[V::TILES], total[V::TILES];
};

template <class V, int STEPS>
DEVICE void weigh(float (&score)[STEPS][V::TILES][2], float scale, struct tensor_state<V> *state)
{
    uint j = local_id() % 4;
    float most[V::TILES];
    bool rises = false;
    for (int t = 0; t < V::TILES; t++) {
        most[t] = LOWEST;
        for (int s = 0; s < STEPS; s++)
            most[t] = fmaxf(most[t], fmaxf(score[s][t][0], score[s][t][1]));
        most[t] *= scale;
        rises = rises || most[t] > state->most[t] + MAXIMUM_SLACK;
    }
    if (any_lane(rises))
        for (int t = 0; t < V::TILES; t++) {
            most[t] = fmaxf(most[t], shuffle_xor(most[t], 1));
            most[t] = fmaxf(most[t], shuffle_xor(most[t], 2));
            most[t] = fmaxf(most[t], state->most[t]);
            float correction = exp2_fast(state->most[t] - most[t]);
            state->most[t] = most[t];
            state->total[t] *= correction;
            correction = shuffle(correction, 8 * j);
            for (int w = 0; w < V::WORDS; w++)
                for (int c = 0; c < 4; c++)
                    state->sums[t][w][c] *= correction;
        }
    for (int t = 0; t < V::TILES; t++)
        for (int s = 0; s < STEPS; s++)
            for (int n = 0; n < 2; n++) {
                score[s][t][n] = exp2_fast(fmaf(score[s][t][n], scale, WEIGHT_SCALE - state->most[t]));
                state->total[t] += score[s][t][n];
            }
}

/* Scores of tokens from n_valid on do not count. */
template <class V, int STEPS> DEVICE void finish_scores(uint n_valid, float (&score)[STEPS][V::TILES][2])
{
    uint first = first_token<V::APART>(local_id() % 4);
    for (int s = 0; s < STEPS; s++)
        for (int t = 0; t < V::TILES; t++)
            for (int n = 0; n < 2; n++)
                if (8 * s + first + V::APART * n >= n_valid)
                    score[s][t][n] = -INFINITY;
}

template <class V> DEVICE void next_step(struct tensor_rows *rows, uint stride)
{
    for (uint r = 0; r < 2 && !V::STRIDE; r++)
        rows->at[r] += 8 * stride;
}

/* Steps from S on, in pairs. Where the stride is known, steps are offsets in the instructions, else addresses of their
 * own. */
template <class V, int S = 0>
DEVICE void score_steps(const struct tensor_places<V> *at, const struct tensor_queries<V> *queries,
                        struct tensor_rows rows, uint stride, float (&score)[V::STEPS][V::TILES][2])
{
    if constexpr (S < V::STEPS) {
        struct tensor_rows next = rows;
        next_step<V>(&next, stride);
        struct tensor_words<V> words[2];
        load_words<V, 8 * V::STRIDE * S>(rows, &words[0]);
        load_words<V, 8 * V::STRIDE *(S + 1)>(next, &words[1]);
        struct tensor_key_bits<V> bits;
        find_key_bits<V>(at, words, &bits);
        score_step<V, 8 * V::STRIDE * S, false>(at, queries, rows, 8, words[0], bits, 0, score[S]);
        score_step<V, 8 * V::STRIDE *(S + 1), false>(at, queries, next, 8, words[1], bits, 1, score[S + 1]);
        next_step<V>(&next, stride);
        score_steps<V, S + 2>(at, queries, next, stride, score);
    }
}

/* `bits` are those of steps S and S + 1. */
template <class V, int S = 0>
DEVICE void value_steps(const struct tensor_places<V> *at, struct tensor_rows rows, uint base, uint stride,
                        const float (&weight)[V::STEPS][V::TILES][2], uint (&bits)[2][V::PASSES],
                        float (&sums)[V::TILES][V::WORDS][4])
{
    value_step<V, 8 * V::STRIDE * S, false>(at, rows, base, 8, weight[S], bits[0], sums);
    next_step<V>(&rows, stride);
    base += V::STRIDE ? 0 : 8 * stride;
    value_step<V, 8 * V::STRIDE *(S + 1), false>(at, rows, base, 8, weight[S + 1], bits[1], sums);
    if constexpr (S + 2 < V::STEPS) {
        next_step<V>(&rows, stride);
        base += V::STRIDE ? 0 : 8 * stride;
        find_value_bits<V>(at, base + 8 * V::STRIDE * (S + 2), bits);
        value_steps<V, S + 2>(at, rows, base, stride, weight, bits, sums);
    }
}

template <class V>
DEVICE void attend_records(const struct skv_gpu_attend *p, const struct tensor_places<V> *at,
                           const struct tensor_queries<V> *queries, uint base, uint n_valid,
                           struct tensor_state<V> *state)
{
    uint k_stride = k_stride_of<V>(p), v_stride = v_stride_of<V>(p), v_base = base + V::C * k_stride;
    float score[V::STEPS][V::TILES][2];
    score_steps<V>(at, queries, two_rows(base + at->k_row, V::APART * k_stride), k_stride, score);
    /* What does not wait for weights, before them. */
    uint bits[2][V::PASSES];
    find_value_bits<V>(at, v_base, bits);
    if (any_lane(n_valid < V::C))
        finish_scores<V>(n_valid, score);
    weigh<V>(score, p->scale * LOG2_E, state);
    value_steps<V>(at, two_rows(v_base + at->v_row, V::APART * v_stride), v_base, v_stride, score, bits, state->sums);
}

/* The places of records serve dense rows but for the rows' own. */
template <class V>
DEVICE void attend_dense(const struct skv_gpu_attend *p, const struct tensor_places<V> *places,
                         const struct tensor_queries<V> *queries, uint base, uint n_valid,
                         struct tensor_state<V> *state)
{
    struct tensor_places<V> at = *places;
    uint i = local_id() % 32 / 4, j = local_id() % 4;
    at.k_row = first_token<V::APART>(i / 2) * V::DENSE_STRIDE;
    at.v_row = first_token<V::APART>(j) * V::DENSE_STRIDE;
    uint v_base = base + SKV_CUDA_STEP_ROWS * V::DENSE_STRIDE;
    float score[1][V::TILES][2];
    struct tensor_words<V> no_words;
    struct tensor_key_bits<V> no_bits;
    score_step<V, 0, true>(&at, queries, two_rows(base + at.k_row, V::APART * V::DENSE_STRIDE), n_valid, no_words,
                           no_bits, 0, score[0]);
    finish_scores<V>(n_valid, score);
    weigh<V>(score, p->scale * LOG2_E, state);
    uint none[V::PASSES];
    value_step<V, 0, true>(&at, two_rows(v_base + at.v_row, V::APART * V::DENSE_STRIDE), v_base, n_valid, score[0],
                           none, state->sums);
}

/* Rows past the last valid one hold anything: their bitmaps become empty. By all lanes. */
template <class V> DEVICE void empty_records(const struct skv_gpu_attend *p, uint base, uint n_valid)
{
    uint k_stride = p->k_heads.head[0].row_stride, v_stride = p->v_heads.head[0].row_stride;
    for (uint t = n_valid + local_id() % 32; t < V::C; t += 32) {
        for (uint at = 0; at < V::D / 8; at += 16) {
            store_shared4(base + t * k_stride + at, make_uint4(0, 0, 0, 0));
            store_shared4(base + V::C * k_stride + t * v_stride + at, make_uint4(0, 0, 0, 0));
        }
    }
    bulk_after_stores();
    warp_barrier();
}
