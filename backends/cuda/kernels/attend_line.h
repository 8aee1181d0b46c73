/* SPDX-License-Identifier: Apache-2.0
 *
 * The line of chunks of the tensor-core attention kernel: where each chunk lies, and who computes it. The line runs
 * through sequences, in each through units (a KV head and one group of query rows), in each through the chunks of its
 * records and then of its tail. A unit without tokens has one empty chunk, so that its results are written too.
 *
 * Where the host knows that all units are alike, each is the work of as many groups of the launch, which share it
 * evenly. Else the line is cut into parts of equal cost, one for each group: a unit costs its chunks, and what it takes
 * to end it, which is as if it had some chunks more. Either way shapes and lengths alone decide, so that results repeat
 * bit for bit.
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
    uint cost;    /* of all units */
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

DEVICE bool has_lengths(const struct line *line)
{
    return line->p->shared.has_cache_lens || line->p->shared.has_tail_lens;
}

template <int C> DEVICE uint cost_of_seq(const struct line *line, uint i_seq)
{
    uint n_cached, n_tail;
    if (i_seq >= line->p->n_seqs)
        return 0;
    line_lengths(line, i_seq, &n_cached, &n_tail);
    return line->n_units * (chunks_of<C>(n_cached, n_tail) + line->p->end_chunks);
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

/* Parts of the line: where lengths are less than they could be, fewer than the groups of the launch. */
DEVICE uint parts_of(const struct line *line)
{
    uint n_warps = local_size() / WARP_LANES;
    return min(groups_x(), (line->cost + n_warps - 1) / n_warps);
}

template <int C> DEVICE void line_measure(struct line *line)
{
    if (!has_lengths(line)) {
        line->cost = line->p->n_seqs * cost_of_seq<C>(line, 0);
    } else {
        line->cost = 0;
        for (uint first = 0; first < line->p->n_seqs; first += 32)
            line->cost += shuffle(sum_of_lanes(cost_of_seq<C>(line, first + local_id() % 32)), 31);
    }
}

/* The costs of all that comes before a chunk of the unit. */
DEVICE uint cost_before(const struct line *line, const struct line_unit *unit, uint chunk)
{
    return chunk + line->p->end_chunks * (unit->i_seq * line->n_units + unit->i_unit);
}

/* The unit in whose costs `at` lies, and the chunk there: unit->end where the unit has only its end left. All lanes ask
 * for the same. */
template <int C> DEVICE uint line_find(const struct line *line, uint at, struct line_unit *unit)
{
    uint before = 0;
    if (!has_lengths(line)) {
        uint n = cost_of_seq<C>(line, 0);
        unit->i_seq = at / n;
        before = unit->i_seq * n;
    } else {
        for (uint first = 0;; first += 32) {
            uint own = cost_of_seq<C>(line, first + local_id() % 32), up_to = before + sum_of_lanes(own);
            uint beyond = lane_ballot(up_to > at);
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
    uint n = chunks_of<C>(unit->n_cached, unit->n_tail), cost = n + line->p->end_chunks;
    unit->i_unit = (at - before) / cost;
    before += unit->i_unit * cost;
    unit->begin = before - cost_before(line, unit, 0);
    unit->end = unit->begin + n;
    return unit->begin + min(at - before, n);
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

/* amount * x / n where x is at most n, which is at most SKV_CUDA_PARTS_MAX. */
DEVICE uint share_of(uint amount, uint x, uint n)
{
    return amount / n * x + amount % n * x / n;
}

/* Of those that share a unit: one without a chunk has nothing to do. */
DEVICE uint groups_with_chunks(const struct line *line, const struct line_unit *unit)
{
    return min(line->p->groups_of_unit, unit->end - unit->begin);
}

/* The chunks of the group's part, and the unit of the first. False: nothing is left for it. */
template <int C> DEVICE bool find_part(struct line *line, struct line_unit *unit, uint *begin, uint *end)
{
    uint of_unit = line->p->groups_of_unit, x = group_x();
    if (of_unit) {
        uint i = x / of_unit;
        unit->i_seq = i / line->n_units;
        unit->i_unit = i % line->n_units;
        line_lengths(line, unit->i_seq, &unit->n_cached, &unit->n_tail);
        unit->begin = 0;
        unit->end = chunks_of<C>(unit->n_cached, unit->n_tail);
        uint n = groups_with_chunks(line, unit), own = x % of_unit;
        *begin = share_of(unit->end, own, n);
        *end = share_of(unit->end, own + 1, n);
        return own < n;
    }
    line_measure<C>(line);
    uint n_parts = parts_of(line);
    if (x >= n_parts)
        return false;
    *end = line->cost - line->p->end_chunks * line->n_units * line->p->n_seqs;
    if (x + 1 < n_parts)
        *end = line_find<C>(line, share_of(line->cost, x + 1, n_parts), unit);
    *begin = line_find<C>(line, share_of(line->cost, x, n_parts), unit);
    if (*begin >= *end)
        return false;
    if (*begin == unit->end)
        line_next<C>(line, unit);
    return true;
}

/* The part in which costs of the line lie. */
DEVICE uint part_of(const struct line *line, uint at)
{
    uint n_parts = parts_of(line);
    if (at < 0xffffffffu / SKV_CUDA_PARTS_MAX - 1)
        return ((at + 1) * n_parts - 1) / line->cost;
    return (uint)((((ulong)at + 1) * n_parts - 1) / line->cost);
}

/* The groups that share a unit, and whether the first of them has come from another unit. */
struct unit_parts {
    uint first, n;
    bool first_is_last;
};

DEVICE struct unit_parts parts_of_unit(const struct line *line, const struct line_unit *unit)
{
    uint of_unit = line->p->groups_of_unit;
    if (of_unit)
        return {group_x() / of_unit * of_unit, groups_with_chunks(line, unit), false};
    uint begin = cost_before(line, unit, unit->begin), first = part_of(line, begin);
    return {first, part_of(line, cost_before(line, unit, unit->end - 1)) - first + 1,
            begin > share_of(line->cost, first, parts_of(line)) + line->p->end_chunks};
}
