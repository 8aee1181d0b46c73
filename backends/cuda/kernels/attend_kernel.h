/* SPDX-License-Identifier: Apache-2.0
 *
 * The tensor-core attention kernel: a group's way along its part of the line, and the compiled variants.
 */

/* The stage that a warp takes next, and the phase of its barrier. */
struct tensor_stage {
    uint base, barrier, parity;
};

/* By all lanes: the stage is read. Takes the plan's next copy into it, if there is one, and goes on. */
template <class V>
DEVICE void leave_stage(const struct skv_cuda_attend *p, uint plan, bool has_copy, uint barriers_end,
                        struct tensor_stage *stage)
{
    warp_barrier();
    if (has_copy)
        start_copy<V>(&p->shared, plan, stage->base, stage->barrier);
    stage->base += p->stage_bytes;
    stage->barrier += SKV_CUDA_BARRIER_BYTES;
    if (stage->barrier == barriers_end) {
        stage->parity ^= 1;
        stage->base -= p->n_stages * p->stage_bytes;
        stage->barrier -= p->n_stages * SKV_CUDA_BARRIER_BYTES;
    }
}

template <class V>
DEVICE void attend_part(const struct tensor_group *group, struct line *line, uint ring, uint plans, uint barriers)
{
    const struct skv_gpu_attend *p = &group->p->shared;
    constexpr uint C = V::C;
    uint warp = same_in_all(local_id() / 32), lane = local_id() % 32, n_warps = local_size() / 32;
    uint n_stages = group->p->n_stages, stage_bytes = group->p->stage_bytes;
    release_next_kernel();
    struct tensor_places<V> at;
    find_places<V>(k_stride_of<V>(p), v_stride_of<V>(p), ring, &at);
    bulk_after_stores();
    if (lane < n_stages)
        bulk_barrier_init(barriers + lane * SKV_CUDA_BARRIER_BYTES);
    bulk_barriers_ready();
    warp_barrier();

    /* What does not depend on the kernels before is done while they still run. */
    struct line_unit unit;
    uint begin = 0, end = 0;
    bool early = !has_lengths(line);
    if (!early)
        await_kernels();
    if (!find_part<C>(line, &unit, &begin, &end))
        return;
    begin = same_in_all(begin);
    end = same_in_all(end);
    struct copy_plan first;
    uint planned = begin + warp + lane * n_warps;
    if (planned < end)
        first = plan_copy<V>(group, line, unit, planned);
    if (early)
        await_kernels();
    if (planned < end)
        finish_plan<V>(group, &first, plans + lane * SKV_CUDA_COPY_BYTES);
    warp_barrier();
    uint i_copy = 0;
    for (uint next = begin + warp; i_copy < n_stages && next < end; next += n_warps, i_copy++)
        start_copy<V>(p, plans + i_copy * SKV_CUDA_COPY_BYTES, ring + i_copy * stage_bytes,
                      barriers + i_copy * SKV_CUDA_BARRIER_BYTES);
    struct tensor_stage stage = {ring, barriers, 0};
    uint ahead = n_stages * n_warps, barriers_end = barriers + n_stages * SKV_CUDA_BARRIER_BYTES;
    for (uint chunk = begin + warp;; line_next<C>(line, &unit)) {
        uint i_head = unit.i_unit / group->p->n_row_tiles, first_row = unit.i_unit % group->p->n_row_tiles * V::ROWS;
        uint unit_end = same_in_all(min(unit.end, end)), whole_end = same_in_all(unit.begin + unit.n_cached / C);
        struct tensor_queries<V> queries;
        struct tensor_state<V> state;
        load_queries<V>(p, group->q, unit.i_seq, first_row, p->group, i_head, &queries);
        for (int t = 0; t < V::TILES; t++) {
            state.most[t] = LOWEST;
            state.total[t] = 0;
            for (int w = 0; w < V::WORDS; w++)
                for (int c = 0; c < 4; c++)
                    state.sums[t][w][c] = 0;
        }
        while (chunk < unit_end) {
            if (i_copy == SKV_CUDA_COPIES) {
                i_copy = 0;
                planned = chunk + ahead + lane * n_warps;
                if (planned < end) {
                    struct copy_plan plan = plan_copy<V>(group, line, unit, planned);
                    finish_plan<V>(group, &plan, plans + lane * SKV_CUDA_COPY_BYTES);
                }
                warp_barrier();
            }
            /* Chunks alike, as far as their successors' copies are planned. */
            uint n_valid = C, stop = min(unit_end, whole_end);
            if (chunk >= whole_end) {
                struct tensor_chunk what = chunk_of<V>(&unit, chunk);
                stop = chunk + 1;
                n_valid = same_in_all(what.n_valid);
                bulk_wait(stage.barrier, stage.parity);
                if (what.dense) {
                    attend_dense<V>(p, &at, &queries, stage.base, n_valid, &state);
                    leave_stage<V>(group->p, plans + i_copy++ * SKV_CUDA_COPY_BYTES, chunk + ahead < end, barriers_end,
                                   &stage);
                    chunk += n_warps;
                    continue;
                }
                empty_records<V>(p, stage.base, n_valid);
            }
            stop = min(stop, chunk + (SKV_CUDA_COPIES - i_copy) * n_warps);
            for (; chunk < stop; chunk += n_warps) {
                bulk_wait(stage.barrier, stage.parity);
                attend_records<V>(p, &at, &queries, stage.base, n_valid, &state);
                leave_stage<V>(group->p, plans + i_copy++ * SKV_CUDA_COPY_BYTES, chunk + ahead < end, barriers_end,
                               &stage);
            }
        }
        end_unit<V>(group, line, &unit, &state);
        if (unit.end >= end)
            break;
    }
}

#define TENSOR_KERNEL(name, head_dim, rows, bf16, stride, apart, chunk, warps, ...)                               \
    KERNEL_RESIDENT(skv_kernel_attend_##name, 32 * warps, 1)                                                      \
    (const struct skv_cuda_attend args, const uchar *q, const uchar *k_pages, const uchar *v_pages,               \
     const int *k_blocks, const int *v_blocks, const int *cache_lens, const int *tail_lens, const ushort *k_tail, \
     const ushort *v_tail, const float *sinks, float *part_sums, float *part_scales, uchar *out, float *lse,      \
     volatile uint *faults, uint *arrivals)                                                                       \
    {                                                                                                             \
        SCRATCH_ADDRESS(scratch);                                                                                 \
        uint warp = same_in_all(local_id() / 32), n_warps = local_size() / 32;                                    \
        uint ring_bytes = args.n_stages * args.stage_bytes, own_bytes = ring_bytes + SKV_CUDA_PLAN_BYTES;         \
        uint ring = scratch + warp * own_bytes, sums_at = scratch + n_warps * own_bytes;                          \
        uint barriers = sums_at + n_warps * SKV_CUDA_MERGE_BYTES(head_dim, rows);                                 \
        struct tensor_group group = {&args,                                                                       \
                                     q,                                                                           \
                                     k_pages,                                                                     \
                                     v_pages,                                                                     \
                                     k_blocks,                                                                    \
                                     v_blocks,                                                                    \
                                     k_tail,                                                                      \
                                     v_tail,                                                                      \
                                     sinks,                                                                       \
                                     part_sums + args.shared.merge.part_out,                                      \
                                     part_scales + args.shared.merge.part_lse,                                    \
                                     out,                                                                         \
                                     lse,                                                                         \
                                     faults,                                                                      \
                                     arrivals,                                                                    \
                                     sums_at};                                                                    \
        struct line line = {&args, cache_lens, tail_lens, faults, 0, 0};                                          \
        line.n_units = (uint)(args.shared.n_q_heads / args.shared.group) * args.n_row_tiles;                      \
        attend_part<struct tensor_variant<head_dim, rows / SKV_CUDA_TILE_ROWS, bf16, stride, apart, chunk>>(      \
            &group, &line, ring, ring + ring_bytes, barriers + warp * args.n_stages * SKV_CUDA_BARRIER_BYTES);    \
    }

SKV_CUDA_TENSOR_VARIANTS(TENSOR_KERNEL)
