/* SPDX-License-Identifier: Apache-2.0
 *
 * Prune, compress, decompress, and channel weights.
 */
#ifdef SKV_ROWS

KERNEL(skv_kernel_prune, SKV_GPU_SELECT_LANES)
(const struct skv_gpu_prune p, const GLOBAL ushort *in, const GLOBAL float *weights, const GLOBAL ulong *mask,
 GLOBAL ushort *out, GLOBAL ulong *out_mask SCRATCH)
{
    SCRATCH_OF(scratch);
    uint lid = local_id(), size = local_size(), d = p.select.head_dim, n_words = SKV_BITMAP_WORDS(d);
    uint i_head = p.select.heads.first + group_y();
    ulong first = (ulong)group_x() * p.select.chunk_tokens;
    const struct skv_gpu_select select = p.select;
    const struct skv_gpu_head head = head_of(&select.heads, i_head);
    LOCAL uint *bits = scratch + select.tile_words;
    select_chunk(&select, &head, i_head, first, in, weights, mask, scratch, bits);
    /* `out` may be `in`: all its rows have been read before any is written. */
    group_barrier_global();
    uint n = (uint)min((ulong)select.chunk_tokens, select.n_tokens - first);
    if (p.has_out)
        for (uint i = lid; i < n * d; i += size) {
            uint t = i / d, c = i % d;
            ulong from = select.in.offset + (first + t) * select.in.token_stride + i_head * select.in.head_stride + c;
            ulong to = p.out.offset + (first + t) * p.out.token_stride + i_head * p.out.head_stride + c;
            out[to] = bits[2 * n_words * t + c / 32] >> c % 32 & 1 ? in[from] : (ushort)0;
        }
    if (p.has_mask)
        for (uint i = lid; i < n * n_words; i += size) {
            ulong row = (first + i / n_words) * select.n_heads + i_head;
            out_mask[p.out_mask + row * n_words + i % n_words] = (ulong)bits[2 * i + 1] << 32 | bits[2 * i];
        }
}

KERNEL(skv_kernel_compress_fixed, SKV_GPU_SELECT_LANES)
(const struct skv_gpu_compress p, const GLOBAL ushort *in, const GLOBAL float *weights, const GLOBAL ulong *mask,
 const GLOBAL slong *slots, GLOBAL uchar *pages, GLOBAL uint *row_bytes, volatile GLOBAL uint *faults SCRATCH)
{
    SCRATCH_OF(scratch);
    uint lid = local_id(), size = local_size(), d = p.select.head_dim, row_words = 2 * SKV_BITMAP_WORDS(d);
    uint i_head = p.select.heads.first + group_y();
    ulong first = (ulong)group_x() * p.select.chunk_tokens;
    const struct skv_gpu_compress params = p;
    const struct skv_gpu_select select = p.select;
    const struct skv_gpu_pool pool = p.pool;
    const struct skv_gpu_head head = head_of(&select.heads, i_head);
    LOCAL uint *bits = scratch + select.tile_words;
    select_chunk(&select, &head, i_head, first, in, weights, mask, scratch, bits);
    uint n = (uint)min((ulong)select.chunk_tokens, select.n_tokens - first);
    for (uint i = lid; i < n * row_words; i += size) {
        uint t = i / row_words, w = i % row_words;
        slong slot = slot_of(&params, slots, first + t);
        bool valid = is_slot(&pool, slot, first + t, faults);
        if (w == 0 && p.has_row_bytes)
            row_bytes[p.row_bytes + (first + t) * select.n_heads + i_head] = valid ? SKV_RECORD_BYTES(d, head.kept) : 0;
        if (!valid || p.measure)
            continue;
        ulong page = page_at(&pool, &head, slot / pool.page_tokens);
        const GLOBAL ushort *row =
            in + select.in.offset + (first + t) * select.in.token_stride + i_head * select.in.head_stride;
        pack_word(row, bits + t * row_words, d, w, pages + page + (slot % pool.page_tokens) * head.row_stride);
    }
}

/* True when a token is the first of the call, or of a run of tokens, that goes to its page. */
DEVICE bool starts_run(const struct skv_gpu_compress *p, const GLOBAL slong *slots, ulong i_token)
{
    slong slot = slot_of(p, slots, i_token), before = i_token ? slot_of(p, slots, i_token - 1) : -1;
    return slot >= 0 && (before < 0 || before / p->pool.page_tokens != slot / p->pool.page_tokens);
}

/* Where a run of tokens stands in its page. Without bool: Mesa 22's rusticl reads such members of a struct wrongly. */
struct run {
    uint open, inside, fits;
    uint i_slot, start;
    ulong page;
};

DEVICE struct run start_run(const struct skv_gpu_compress *p, const struct skv_gpu_pool *pool,
                            const struct skv_gpu_head *head, const volatile GLOBAL uchar *pages, slong slot,
                            ulong i_token, volatile GLOBAL uint *faults)
{
    struct run run;
    run.open = run.fits = true;
    run.start = 4 * pool->page_tokens;
    run.inside = is_slot(pool, slot, i_token, faults);
    run.i_slot = (uint)(slot % pool->page_tokens);
    run.page = run.inside ? page_at(pool, head, slot / pool->page_tokens) : 0;
    if (run.i_slot > 0 && run.inside && !p->measure) {
        run.start = ((const volatile GLOBAL uint *)(pages + run.page))[run.i_slot - 1];
        run.fits = run.start % 8 == 0 && run.start >= 4 * pool->page_tokens && run.start <= head->page_bytes;
    }
    return run;
}

/* A group writes the runs of tokens that start in its chunk, each front to back, into the chunks behind it where a
 * run goes on there. Everything that steers it is the same for all its lanes. */
KERNEL(skv_kernel_compress_ragged, SKV_GPU_SELECT_LANES)
(const struct skv_gpu_compress p, const GLOBAL ushort *in, const GLOBAL float *weights, const GLOBAL ulong *mask,
 const GLOBAL slong *slots, volatile GLOBAL uchar *pages, GLOBAL uint *row_bytes, volatile GLOBAL uint *faults SCRATCH)
{
    SCRATCH_OF(scratch);
    uint lid = local_id(), size = local_size(), d = p.select.head_dim, row_words = 2 * SKV_BITMAP_WORDS(d);
    uint i_head = p.select.heads.first + group_y();
    const struct skv_gpu_compress params = p;
    const struct skv_gpu_select select = p.select;
    const struct skv_gpu_pool pool = p.pool;
    const struct skv_gpu_head head = head_of(&select.heads, i_head);
    LOCAL uint *bits = scratch + select.tile_words;
    ulong own = group_x(), i_chunk = own;
    struct run run;
    run.open = run.inside = run.fits = false;
    run.i_slot = run.start = 0;
    run.page = 0;
    bool more = true;
    while (more) {
        ulong first = i_chunk * select.chunk_tokens, end = min(first + select.chunk_tokens, select.n_tokens);
        select_chunk(&select, &head, i_head, first, in, weights, mask, scratch, bits);
        for (ulong t = first; t < end && more; t++) {
            slong slot = slot_of(&params, slots, t);
            bool starts = starts_run(&params, slots, t);
            if (slot < 0 || starts)
                run.open = false;
            if (i_chunk != own && !run.open) {
                more = false;
                break;
            }
            if (starts)
                run = start_run(&params, &pool, &head, pages, slot, t, faults);
            uint n = 0;
            const LOCAL uint *row_bits = bits + (t - first) * row_words;
            for (uint w = 0; w < row_words; w++)
                n += popcount(row_bits[w]);
            uint record_bytes = SKV_RECORD_BYTES(d, n), area_bytes = (record_bytes + 7) & ~7u;
            /* A token that goes on with an earlier chunk's run is that chunk's. */
            if (lid == 0 && p.has_row_bytes && (run.open || slot < 0))
                row_bytes[p.row_bytes + t * select.n_heads + i_head] = run.open && run.inside ? record_bytes : 0;
            if (!run.open || !run.inside || p.measure)
                continue;
            run.fits = run.fits && (ulong)run.start + area_bytes <= head.page_bytes;
            if (run.fits) {
                const GLOBAL ushort *row =
                    in + select.in.offset + t * select.in.token_stride + i_head * select.in.head_stride;
                for (uint w = lid; w < row_words; w += size)
                    pack_word(row, row_bits, d, w, (GLOBAL uchar *)(pages + run.page + run.start));
                run.start += area_bytes;
                if (lid == 0)
                    ((volatile GLOBAL uint *)(pages + run.page))[run.i_slot] = run.start;
            } else if (lid == 0) {
                report(faults, SKV_GPU_FAULT_CAPACITY, t);
            }
            run.i_slot++;
        }
        i_chunk++;
        more = more && run.open && i_chunk * select.chunk_tokens < select.n_tokens;
    }
}

/* One lane expands 32 channels of one row. */
KERNEL(skv_kernel_decompress, SKV_GPU_ROW_LANES)
(const struct skv_gpu_decompress p, const GLOBAL uchar *pages, const GLOBAL slong *slots, GLOBAL ushort *out,
 volatile GLOBAL uint *faults)
{
    uint d = p.head_dim, n_words = (d + 31) / 32, i_head = p.heads.first + group_y();
    ulong i = (ulong)group_x() * local_size() + local_id(), t = i / n_words;
    uint w = i % n_words;
    if (t >= p.n_tokens)
        return;
    const struct skv_gpu_pool pool = p.pool;
    const struct skv_gpu_heads heads = p.heads;
    const struct skv_gpu_head head = head_of(&heads, i_head);
    slong slot = p.has_slots ? slots[p.slots + t] : (slong)(p.first_slot + t);
    bool valid = is_slot(&pool, slot, t, faults);
    if (!valid && slot >= 0)
        return;
    ulong record = NO_RECORD;
    if (valid)
        record = record_at(pages, &pool, &head, slot / pool.page_tokens, slot % pool.page_tokens, d);
    uint bits = 0, rank = 0;
    if (record != NO_RECORD) {
        bits = record_word(pages + record, d, w);
        for (uint j = 0; j < w; j++)
            rank += popcount(record_word(pages + record, d, j));
    } else {
        record = 0;
    }
    const GLOBAL ushort *values = (const GLOBAL ushort *)(pages + record + SKV_BITMAP_BYTES(d)) + rank;
    GLOBAL ushort *row = out + p.out.offset + t * p.out.token_stride + i_head * p.out.head_stride + 32 * w;
    for (uint c = 0; c < min(32u, d - 32 * w); c++)
        row[c] = bits >> c & 1 ? *values++ : (ushort)0;
}

/* sum + value, with what the addition loses kept in *lost (Kahan). */
DEVICE float add_exactly(float sum, float value, float *lost)
{
    float y = value - *lost, total = sum + y;
    *lost = total - sum - y;
    return total;
}

/* A sum of squares in three parts, each of values whose squares neither overflow nor vanish (J. Blue, 1978). */
struct squares {
    float sum[3], lost[3]; /* of values times 2^-64, 1 and 2^64 */
};

DEVICE void add_square(struct squares *squares, float x)
{
    float size = fabs(x);
    uint part = size >= 0x1p40f ? 0 : size >= 0x1p-40f ? 1 : 2;
    x *= part == 0 ? 0x1p-64f : part == 1 ? 1.0f : 0x1p64f;
    /* Constant indices, as in head_of. */
#pragma unroll
    for (uint i = 0; i < 3; i++)
        if (part == i)
            squares->sum[i] = add_exactly(squares->sum[i], x * x, &squares->lost[i]);
}

/* To half an ulp or little more, whatever the device's sqrt is good for. */
DEVICE float root(float x)
{
    float y = sqrt(x);
    return x > 0 ? y + fma(-y, y, x) / (2 * y) : y;
}

DEVICE float norm_of(const struct squares *squares)
{
    const float *sum = squares->sum;
    if (sum[0] > 0)
        return root(sum[0] + sum[1] * 0x1p-64f * 0x1p-64f) * 0x1p64f;
    if (sum[1] > 0)
        return root(sum[1] + sum[2] * 0x1p-64f * 0x1p-64f);
    return root(sum[2]) * 0x1p-64f;
}

KERNEL(skv_kernel_channel_weights, SKV_GPU_ROW_LANES)
(const struct skv_gpu_weights p, const GLOBAL ushort *queries, const GLOBAL ushort *rows, GLOBAL float *weights)
{
    uint c = (ulong)group_x() * local_size() + local_id(), i_head = group_y();
    if (c >= p.head_dim)
        return;
    struct squares query_squares = {{0}, {0}}, row_squares = {{0}, {0}};
    float sum = 0, lost = 0;
    if (p.has_queries)
        for (uint g = 0; g < p.group; g++)
            for (ulong i = 0; i < p.n_queries; i++) {
                const GLOBAL ushort *at = queries + p.queries.offset + i * p.queries.token_stride +
                                          (i_head * p.group + g) * p.queries.head_stride + c;
                float x = value_f32(p.dtype, at);
                if (p.norm)
                    add_square(&query_squares, x);
                else
                    sum = add_exactly(sum, fabs(x), &lost);
            }
    if (p.has_rows)
        for (ulong i = 0; i < p.n_tokens; i++) {
            const GLOBAL ushort *at = rows + p.rows.offset + i * p.rows.token_stride + i_head * p.rows.head_stride + c;
            add_square(&row_squares, value_f32(p.dtype, at));
        }
    float weight = p.norm ? norm_of(&row_squares) : sum;
    if (p.norm && p.has_queries)
        weight *= norm_of(&query_squares);
    weights[p.weights + i_head * p.head_dim + c] = weight;
}

#endif
