/* SPDX-License-Identifier: Apache-2.0
 *
 * The line of chunks of the tensor-core attention kernel: where each chunk lies, and who computes it. The line runs
 * through sequences, in each through units (a KV head and one group of query rows), in each through the chunks of its
 * records and then of its tail. A unit without tokens has one empty chunk, so that its results are written too. The
 * line is cut into parts, one for each group of the launch, by shapes and lengths alone, so that results repeat bit for
 * bit.
 */

/* A unit's place in the line. */
struct line_unit {
    uint i_seq, i_unit;
    uint begin, end;       /* chunks */
    uint n_cached, n_tail; /* tokens */
};

struct line {
    const struct skv_cuda_attend *p;
    const int *cache_lens, *tail_lens;
    volatile uint *faults;
    uint n_chunks;
    uint n_units; /* of a sequence */
};

template <int C> DEVICE uint chunks_of(uint n_cached, uint n_tail)
{
    uint n = (n_cached + C - 1) / C + (n_tail + SKV_CUDA_STEP_ROWS - 1) / SKV_CUDA_STEP_ROWS;
    return n ? n : 1;
}

DEVICE void line_lengths(const struct line *line, uint i_seq, uint *n_cached, uint *n_tail)
{
    const struct skv_gpu_attend *p = &line->p->shared;
    *n_cached = (uint)p->max_cache;
    *n_tail = (uint)p->max_tail;
    if (p->has_cache_lens)
        *n_cached = (uint)checked_length(line->cache_lens, p->cache_lens, i_seq, p->max_cache, SKV_GPU_FAULT_CACHE_LEN,
                                         line->faults);
    if (p->has_tail_lens)
        *n_tail = (uint)checked_length(line->tail_lens, p->tail_lens, i_seq, p->max_tail, SKV_GPU_FAULT_TAIL_LEN,
                                       line->faults);
}

template <int C> DEVICE uint chunks_of_seq(const struct line *line, uint i_seq)
{
    uint n_cached, n_tail;
    if (i_seq >= line->p->n_seqs)
        return 0;
    line_lengths(line, i_seq, &n_cached, &n_tail);
    return line->n_units * chunks_of<C>(n_cached, n_tail);
}

/* The sum over the lanes up to this one. */
DEVICE uint sum_of_lanes(uint x)
{
    uint lane = local_id() % 32;
    for (uint step = 1; step < 32; step *= 2) {
        uint other = shuffle(x, lane >= step ? lane - step : lane);
        x += lane >= step ? other : 0;
    }
    return x;
}

/* Parts of the line, of which none is empty: where lengths are less than they could be, fewer than the groups of the
 * launch. */
DEVICE uint parts_of(const struct line *line)
{
    return min(groups_x(), (line->n_chunks + SKV_CUDA_WARPS - 1) / SKV_CUDA_WARPS);
}

template <int C> DEVICE void line_measure(struct line *line)
{
    if (!line->p->shared.has_cache_lens && !line->p->shared.has_tail_lens) {
        line->n_chunks = line->p->n_seqs * chunks_of_seq<C>(line, 0);
    } else {
        line->n_chunks = 0;
        for (uint first = 0; first < line->p->n_seqs; first += 32)
            line->n_chunks += shuffle(sum_of_lanes(chunks_of_seq<C>(line, first + local_id() % 32)), 31);
    }
}

/* The unit of a chunk. All lanes ask for the same. */
template <int C> DEVICE void line_find(const struct line *line, uint chunk, struct line_unit *unit)
{
    uint before = 0;
    if (!line->p->shared.has_cache_lens && !line->p->shared.has_tail_lens) {
        uint n = chunks_of_seq<C>(line, 0);
        unit->i_seq = chunk / n;
        before = unit->i_seq * n;
    } else {
        for (uint first = 0;; first += 32) {
            uint own = chunks_of_seq<C>(line, first + local_id() % 32), up_to = before + sum_of_lanes(own);
            uint beyond = lane_ballot(up_to > chunk);
            if (beyond) {
                uint i = 31 - leading_zeros(beyond & (0 - beyond));
                unit->i_seq = first + i;
                before = shuffle(up_to - own, i);
                break;
            }
            before = shuffle(up_to, 31);
        }
    }
    line_lengths(line, unit->i_seq, &unit->n_cached, &unit->n_tail);
    uint n = chunks_of<C>(unit->n_cached, unit->n_tail);
    unit->i_unit = (chunk - before) / n;
    unit->begin = before + unit->i_unit * n;
    unit->end = unit->begin + n;
}

/* A line of the group's own unit only. */
template <int C> DEVICE void line_unit_of_group(struct line *line, struct line_unit *unit)
{
    unit->i_seq = group_x() / line->n_units;
    unit->i_unit = group_x() % line->n_units;
    line_lengths(line, unit->i_seq, &unit->n_cached, &unit->n_tail);
    unit->begin = 0;
    unit->end = line->n_chunks = chunks_of<C>(unit->n_cached, unit->n_tail);
}

template <int C> DEVICE void line_next(const struct line *line, struct line_unit *unit)
{
    uint n = unit->end - unit->begin;
    if (++unit->i_unit == line->n_units) {
        unit->i_unit = 0;
        unit->i_seq++;
        if (unit->i_seq < line->p->n_seqs)
            line_lengths(line, unit->i_seq, &unit->n_cached, &unit->n_tail);
        n = chunks_of<C>(unit->n_cached, unit->n_tail);
    }
    unit->begin = unit->end;
    unit->end += n;
}

DEVICE const uchar *line_page(const struct skv_gpu_pool *pool, const struct skv_gpu_head *head, const uchar *pages,
                              const int *blocks, ulong i_entry, uint token, uint i_head, uint fault,
                              volatile uint *faults)
{
    uint i_page = token / pool->page_tokens, i_slot = token % pool->page_tokens;
    int i_block = blocks[i_entry + i_page];
    if (i_block < 0 || (ulong)i_block >= pool->n_blocks) {
        report(faults, fault, i_entry + i_page);
        return 0;
    }
    return pages + pool->offset + i_block * pool->block_bytes + i_head * head->page_offset +
           (ulong)i_slot * head->row_stride;
}

/* Where the part of group x begins, and whose part a chunk is in. */
DEVICE uint part_begin(const struct line *line, uint x)
{
    /* n_chunks * x / n_parts, of which the second product has few bits. */
    uint n_parts = parts_of(line);
    return line->n_chunks / n_parts * x + line->n_chunks % n_parts * x / n_parts;
}

DEVICE uint part_of(const struct line *line, uint chunk)
{
    uint n_parts = parts_of(line);
    if (chunk < 0xffffffffu / SKV_CUDA_PARTS_MAX - 1)
        return ((chunk + 1) * n_parts - 1) / line->n_chunks;
    return (uint)((((ulong)chunk + 1) * n_parts - 1) / line->n_chunks);
}
