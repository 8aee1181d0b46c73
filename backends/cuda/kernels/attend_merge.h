/* SPDX-License-Identifier: Apache-2.0
 *
 * How the warps of a group, and the groups of a unit, put their sums together.
 */

/* One query row's sums of some channels, unnormalised, with the scale they have. */
DEVICE ulong row_of(const struct skv_gpu_attend *p, ulong i_seq, uint i_head, uint row)
{
    return i_seq * p->n_q_heads + i_head * p->group + row;
}

/* Four channels from c on of a row of results, and with c = 0 its log-sum-exp. */
DEVICE void write_result(const struct tensor_group *group, ulong i_seq, uint i_head, uint row, uint c, float4 sum,
                         float most, float total)
{
    const struct skv_gpu_attend *p = &group->p->shared;
    uint i_q_head = i_head * p->group + row;
    float sink = p->merge.has_sinks ? group->sinks[p->merge.sinks + i_q_head] * LOG2_E : -INFINITY, scale = 1;
    /* Without a visible token `most` is LOWEST and total 0. */
    if (sink > most) {
        scale = exp2_fast(most - sink);
        most = sink;
    }
    scale *= exp2_fast(-WEIGHT_SCALE);
    total = total * scale + (sink == -INFINITY ? 0 : exp2_fast(sink - most));
    float factor = total != 0 ? scale / total : 0;
    ulong element = p->merge.out + i_seq * p->merge.out_seq_stride + i_q_head * p->merge.out_head_stride + c;
    store_element(group->out, element, p->merge.out_dtype, total != 0 ? sum.x * factor : 0);
    store_element(group->out, element + 1, p->merge.out_dtype, total != 0 ? sum.y * factor : 0);
    store_element(group->out, element + 2, p->merge.out_dtype, total != 0 ? sum.z * factor : 0);
    store_element(group->out, element + 3, p->merge.out_dtype, total != 0 ? sum.w * factor : 0);
    if (c == 0 && p->merge.has_lse)
        group->lse[p->merge.lse + row_of(p, i_seq, i_head, row)] =
            total != 0 ? (most + log2f(total)) * 0.6931471805599453f : -INFINITY;
}

/* The group's warps leave their sums in group memory; a warp then takes 128 channels of a row, four a lane. */
template <class V> DEVICE void leave_sums(const struct tensor_group *group, struct tensor_state<V> *state)
{
    constexpr uint ROWS = V::ROWS;
    uint warp = local_id() / 32, lane = local_id() % 32, i = lane / 4, j = lane % 4;
    uint scales_at = group->sums_at + local_size() / 32 * ROWS * V::D * 4;
    for (int t = 0; t < V::TILES; t++) {
        float total = state->total[t];
        total += shuffle_xor(total, 1);
        total += shuffle_xor(total, 2);
        if (i % 2 == 0 && j == 0) {
            store_shared(scales_at + (warp * ROWS + 4 * t + i / 2) * 8, as_uint(state->most[t]));
            store_shared(scales_at + (warp * ROWS + 4 * t + i / 2) * 8 + 4, as_uint(total));
        }
        for (uint x = 0; x < 2 * V::WORDS; x++) {
            uint pair = x / 2, second = x % 2, w = pair % V::OF_PASS / 2 + second * V::HALF;
            uint c = 32 * (pair / V::OF_PASS * V::OF_PASS + w) + first_value<V>(i) + pair % 2 * values_apart<V>();
            const float(&sums)[4] = state->sums[t][pair];
            store_shared2(group->sums_at + ((warp * ROWS + 4 * t + j) * V::D + c) * 4,
                          make_uint2(as_uint(sums[second]), as_uint(sums[2 + second])));
        }
    }
}

DEVICE void add_scaled(float4 *sum, float factor, float4 x)
{
    sum->x = fmaf(factor, x.x, sum->x);
    sum->y = fmaf(factor, x.y, sum->y);
    sum->z = fmaf(factor, x.z, sum->z);
    sum->w = fmaf(factor, x.w, sum->w);
}

template <class V>
DEVICE float4 sum_of_warps(const struct tensor_group *group, uint row, uint c, float *most, float *total)
{
    constexpr uint ROWS = V::ROWS;
    uint n_warps = local_size() / 32, scales_at = group->sums_at + n_warps * ROWS * V::D * 4 + row * 8;
    float4 sum = make_four(0, 0, 0, 0);
    *most = LOWEST;
    *total = 0;
    for (uint w = 0; w < n_warps; w++)
        *most = fmaxf(*most, as_float(load_shared(scales_at + w * ROWS * 8)));
    for (uint w = 0; w < n_warps; w++) {
        uint2 scale = load_shared2(scales_at + w * ROWS * 8);
        float factor = exp2_fast(as_float(scale.x) - *most);
        uint4 x = load_shared4(group->sums_at + ((w * ROWS + row) * V::D + c) * 4);
        *total = fmaf(factor, as_float(scale.y), *total);
        add_scaled(&sum, factor, make_four(as_float(x.x), as_float(x.y), as_float(x.z), as_float(x.w)));
    }
    return sum;
}

/* Where part x of the line keeps its share of a unit that others share: the first of its units, or the last. */
DEVICE ulong slot_of_part(uint x, bool is_last)
{
    return 2 * (ulong)x + is_last;
}

/* Loads of a lane under way at once. */
#define PARTS_AT_ONCE 16

/* Channels from c on of a row of the unit's parts from `first` on. */
template <class V>
DEVICE void load_parts(const struct tensor_group *group, const struct unit_parts *parts, uint row, uint c, uint first,
                       float4 (&part)[PARTS_AT_ONCE])
{
#pragma unroll
    for (uint k = 0; k < PARTS_AT_ONCE; k++) {
        uint y = first + k;
        ulong from = slot_of_part(parts->first + y, y == 0 && parts->first_is_last) * V::ROWS + row;
        part[k] =
            y < parts->n ? load_fresh4((const float4 *)(group->part_sums + from * V::D + c)) : make_four(0, 0, 0, 0);
    }
}

/* By 32 lanes: the sum over the parts of a unit, in their order. */
template <class V>
DEVICE float4 sum_of_parts(const struct tensor_group *group, const struct unit_parts *parts, uint row, uint c,
                           float *most, float *total)
{
    constexpr uint ROWS = V::ROWS;
    uint lane = local_id() % 32;
    float4 sum = make_four(0, 0, 0, 0);
    *most = LOWEST;
    *total = 0;
    /* Loads come in the order of the text. */
    for (uint first = 0; first < parts->n; first += 32) {
        uint n = min(32u, parts->n - first), x = first + min(lane, n - 1);
        ulong slot = slot_of_part(parts->first + x, x == 0 && parts->first_is_last) * ROWS + row;
        float own = load_fresh(group->part_scales + 2 * slot),
              own_total = load_fresh(group->part_scales + 2 * slot + 1);
        float4 part[PARTS_AT_ONCE];
        load_parts<V>(group, parts, row, c, first, part);
        own = lane < n ? own : LOWEST;
        own_total = lane < n ? own_total : 0;
        float batch = own;
        for (uint step = 16; step; step /= 2)
            batch = fmaxf(batch, shuffle_xor(batch, step));
        batch = fmaxf(batch, *most);
        float before = exp2_fast(*most - batch), factor = exp2_fast(own - batch);
        *most = batch;
        *total *= before;
        sum = make_four(sum.x * before, sum.y * before, sum.z * before, sum.w * before);
        for (uint i = 0; i < n; i += PARTS_AT_ONCE) {
            if (i)
                load_parts<V>(group, parts, row, c, first + i, part);
#pragma unroll
            for (uint k = 0; k < PARTS_AT_ONCE; k++) {
                float scale = i + k < n ? shuffle(factor, i + k) : 0;
                *total = fmaf(scale, shuffle(own_total, (i + k) % 32), *total);
                add_scaled(&sum, scale, part[k]);
            }
        }
    }
    return sum;
}

/* Ends a unit, or the group's share of it. By all lanes of the group. */
template <class V>
DEVICE void end_unit(const struct tensor_group *group, const struct line *line, const struct line_unit *unit,
                     struct tensor_state<V> *state)
{
    constexpr uint ROWS = V::ROWS;
    SHARED uint last;
    uint warp = local_id() / 32, lane = local_id() % 32, n_warps = local_size() / 32;
    uint i_head = unit->i_unit / group->p->n_row_tiles, first_row = unit->i_unit % group->p->n_row_tiles * ROWS;
    uint n_rows = min(ROWS, group->p->shared.group - first_row);
    struct unit_parts parts = parts_of_unit(line, unit);
    group_barrier();
    leave_sums<V>(group, state);
    group_barrier();
    /* Rows of 64 channels leave half of the lanes without any; they take part for the others' sake. */
    constexpr uint PIECES = (V::D + 127) / 128;
    const uint channel = 4 * lane % V::D;
    const bool has_channel = 4 * lane < V::D;
    for (uint x = warp; x < n_rows * PIECES; x += n_warps) {
        uint row = x / PIECES, c = x % PIECES * 128 + channel;
        float most, total;
        float4 sum = sum_of_warps<V>(group, row, c, &most, &total);
        if (parts.n == 1) {
            if (has_channel)
                write_result(group, unit->i_seq, i_head, first_row + row, c, sum, most, total);
        } else {
            ulong slot = slot_of_part(group_x(), group_x() == parts.first && parts.first_is_last) * ROWS + row;
            if (has_channel)
                *(float4 *)(group->part_sums + slot * V::D + c) = sum;
            if (lane < 2)
                group->part_scales[2 * slot + lane] = lane ? total : most;
        }
    }
    if (parts.n == 1)
        return;
    group_barrier();
    if (local_id() == 0) {
        last = arrive(group->arrivals + parts.first) == parts.n - 1;
        if (last)
            group->arrivals[parts.first] = 0;
    }
    group_barrier();
    for (uint x = warp; last && x < n_rows * PIECES; x += n_warps) {
        uint row = x / PIECES, c = x % PIECES * 128 + channel;
        float most, total;
        float4 sum = sum_of_parts<V>(group, &parts, row, c, &most, &total);
        if (has_channel)
            write_result(group, unit->i_seq, i_head, first_row + row, c, sum, most, total);
    }
}
