/* SPDX-License-Identifier: Apache-2.0
 *
 * The tensor-core attention kernel: a group's way along its part of the line, and the compiled variants.
 */

template <class V>
DEVICE void attend_part(const struct tensor_group *group, struct line *line, uint ring, uint plans, uint barriers)
{
    const struct skv_gpu_attend *p = &group->p->shared;
    constexpr uint C = V::C;
    uint warp = local_id() / 32, lane = local_id() % 32, n_warps = local_size() / 32;
    uint n_stages = group->p->n_stages, stage_bytes = group->p->stage_bytes;
    release_next_kernel();
    struct tensor_places<V> at;
    find_places<V>(V::STRIDE ? V::STRIDE : p->k_heads.head[0].row_stride,
                   V::STRIDE ? V::STRIDE : p->v_heads.head[0].row_stride, ring, &at);
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
    struct copy_plan first;
    uint planned = begin + warp + lane * n_warps;
    if (planned < end)
        first = plan_copy<V>(group, line, unit, planned);
    if (early)
        await_kernels();
    if (planned < end)
        finish_plan(group, &first, plans + lane * SKV_CUDA_COPY_BYTES);
    warp_barrier();
    /* Chunk `next` is to be copied next, i_copy is its place in the plan. */
    uint i_copy = 0, parity = 0;
    for (uint next = begin + warp; i_copy < n_stages && next < end; next += n_warps, i_copy++)
        if (lane == 0)
            start_copy<V>(p, plans + i_copy * SKV_CUDA_COPY_BYTES, ring + i_copy * stage_bytes,
                          barriers + i_copy * SKV_CUDA_BARRIER_BYTES);
    uint base = ring, barrier = barriers;
    for (uint chunk = begin + warp;; line_next<C>(line, &unit)) {
        uint i_head = unit.i_unit / group->p->n_row_tiles, first_row = unit.i_unit % group->p->n_row_tiles * V::ROWS;
        uint unit_end = min(unit.end, end), whole_end = unit.begin + unit.n_cached / C;
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
        for (; chunk < unit_end; chunk += n_warps) {
            uint n_valid = C;
            bool dense = false;
            bulk_wait(barrier, parity);
            if (chunk >= whole_end) {
                struct tensor_chunk what = chunk_of<V>(&unit, chunk);
                n_valid = what.n_valid;
                dense = what.dense;
                if (!dense)
                    empty_records<V>(p, base, n_valid);
            }
            if (dense)
                attend_dense<V>(p, &at, &queries, base, n_valid, &state);
            else
                attend_records<V>(p, &at, &queries, base, n_valid, &state);
            warp_barrier();
            uint next = chunk + n_stages * n_warps;
            if (next < end) {
                if (i_copy == 32) {
                    i_copy = 0;
                    planned = next + lane * n_warps;
                    if (planned < end) {
                        struct copy_plan plan = plan_copy<V>(group, line, unit, planned);
                        finish_plan(group, &plan, plans + lane * SKV_CUDA_COPY_BYTES);
                    }
                    warp_barrier();
                }
                if (lane == 0)
                    start_copy<V>(p, plans + i_copy * SKV_CUDA_COPY_BYTES, base, barrier);
                i_copy++;
            }
            base += stage_bytes;
            barrier += SKV_CUDA_BARRIER_BYTES;
            if (barrier == barriers + n_stages * SKV_CUDA_BARRIER_BYTES) {
                parity ^= 1;
                base = ring;
                barrier = barriers;
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
        uint warp = local_id() / 32, n_warps = local_size() / 32;                                                 \
        uint sums_at = scratch + n_warps * args.n_stages * args.stage_bytes;                                      \
        uint plans = sums_at + n_warps * SKV_CUDA_MERGE_BYTES(head_dim, rows),                                    \
             barriers = plans + n_warps * SKV_CUDA_PLAN_BYTES;                                                    \
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
            &group, &line, scratch + warp * args.n_stages * args.stage_bytes, plans + warp * SKV_CUDA_PLAN_BYTES, \
            barriers + warp * args.n_stages * SKV_CUDA_BARRIER_BYTES);                                            \
    }

SKV_CUDA_TENSOR_VARIANTS(TENSOR_KERNEL)
