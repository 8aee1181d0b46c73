/* SPDX-License-Identifier: Apache-2.0
 *
 * The matrix attention kernel itself, and that of dot products: a group takes one split of one sequence and KV head and
 * up to 16 query rows (of dot products, 1 or 4), its waves every fourth chunk of the split, each for itself. While a
 * chunk is computed from group memory, the next one is on its way to registers. See attend_matrix.h.
 */

/* Where row i of a chunk lies. Behind a chunk's dense rows is an empty one, for all others. */
template <class V, bool DENSE>
DEVICE uint chunk_row(const struct matrix_split *split, const struct matrix_source *from, uint i)
{
    if constexpr (DENSE)
        return from->area + min(i, split->dense_rows) * SKV_HIP_DENSE_STRIDE(V::D);
    else
        return from->area + i * SKV_HIP_ROW_STRIDE(from->n_pieces);
}

/* The weights of a chunk, from its keys. */
template <class V, bool DENSE>
DEVICE typename V::unit::right weights_of(const struct matrix_split *split, uint n_valid, const struct matrix_source *k,
                                          const struct matrix_queries<V> *queries, uint table, float scale,
                                          typename V::state *state)
{
    float score[V::unit::RESULTS];
    score_chunk<V>(queries, table, chunk_row<V, DENSE>(split, k, local_id() % 16), score);
    return weigh(DENSE || n_valid < SKV_HIP_TILE, n_valid, scale, score, state);
}

template <class V, bool DENSE>
DEVICE void add_chunk(const struct matrix_split *split, const struct matrix_source *v, typename V::unit::right weights,
                      uint table, typename V::state *state)
{
    uint g = local_id() % V::unit::LANES / 16, rows[V::DEPTH];
#pragma unroll
    for (uint i = 0; i < V::DEPTH; i++)
        rows[i] = chunk_row<V, DENSE>(split, v, V::unit::row(g, i));
    add_values<V>(rows, table, weights, &state->sums);
}

/* The wave's chunks of records, or with R = 0 of dense rows. With one area for both, keys come while values are added,
 * and values while keys are scored. */
template <class V, uint R>
DEVICE void attend_chunks(const struct matrix_split *split, uint wave, struct matrix_source k, struct matrix_source v,
                          const struct matrix_queries<V> *queries, uint table, float scale, typename V::state *state)
{
    constexpr bool DENSE = R == 0;
    const uint n_tokens = DENSE ? split->n_dense : split->n_records,
               of_chunk = DENSE ? split->dense_rows : SKV_HIP_TILE;
    const uint step = SKV_HIP_WAVES * of_chunk;
    struct matrix_copy<V, R> k_copy, v_copy;
    uint first = wave * of_chunk;
    if (first >= n_tokens)
        return;
    if constexpr (!DENSE) {
        find_block(split, wave, first, &k);
        find_block(split, wave, first, &v);
    }
    start_copy<V, R>(split, first, &k, &k_copy);
    if constexpr (!V::ONE_AREA)
        start_copy<V, R>(split, first, &v, &v_copy);
    for (; first < n_tokens; first += step) {
        const uint n_valid = min(of_chunk, n_tokens - first);
        const bool is_last = first + step >= n_tokens;
        if constexpr (!DENSE && !V::ONE_AREA) {
            find_block(split, SKV_HIP_WAVES, first + step, &k);
            find_block(split, SKV_HIP_WAVES, first + step, &v);
        }
        wave_barrier();
        end_copy<V, R>(split, n_valid, &k, &k_copy);
        if constexpr (!V::ONE_AREA)
            end_copy<V, R>(split, n_valid, &v, &v_copy);
        wave_barrier();
        if constexpr (V::ONE_AREA) {
            start_copy<V, R>(split, first, &v, &v_copy);
            if constexpr (!DENSE)
                find_block(split, SKV_HIP_WAVES, first + step, &k);
        } else if (!is_last) {
            start_copy<V, R>(split, first + step, &k, &k_copy);
            start_copy<V, R>(split, first + step, &v, &v_copy);
        }
        typename V::unit::right weights = weights_of<V, DENSE>(split, n_valid, &k, queries, table, scale, state);
        if constexpr (V::ONE_AREA) {
            wave_barrier();
            end_copy<V, R>(split, n_valid, &v, &v_copy);
            wave_barrier();
            if constexpr (!DENSE)
                find_block(split, SKV_HIP_WAVES, first + step, &v);
            if (!is_last)
                start_copy<V, R>(split, first + step, &k, &k_copy);
        }
        add_chunk<V, DENSE>(split, &v, weights, table, state);
    }
}

/* Spans of the results. */
struct matrix_results {
    const float *sinks;
    float *part_out, *part_lse;
    uchar *out;
    float *lse;
};

/* By all lanes of the group, from what add_waves left: rows of a split, or of the results themselves. */
template <class V>
DEVICE void write_results(const struct skv_gpu_attend *p, const struct matrix_results *to, ulong i_seq, uint i_head,
                          uint i_split, uint first_row, uint n_rows, uint scales)
{
    uint sums = scales + SKV_HIP_SCALES_BYTES;
    for (uint x = local_id(); x < n_rows * V::D; x += local_size()) {
        uint row = x / V::D, c = x % V::D, i_q_head = i_head * p->group + first_row + row;
        ulong i_row = i_seq * p->n_q_heads + i_q_head;
        float most = LOWEST, total = 0, scale = exp2_fast(-WEIGHT_SCALE);
        for (uint w = 0; w < SKV_HIP_WAVES; w++)
            most = fmax(most, as_float(load_group4(scales + (w * 16 + row) * 8)));
        for (uint w = 0; w < SKV_HIP_WAVES; w++)
            total = fma(exp2_fast(as_float(load_group4(scales + (w * 16 + row) * 8)) - most),
                        as_float(load_group4(scales + (w * 16 + row) * 8 + 4)), total);
        float sum = as_float(load_group4(sums + (row * SKV_HIP_SUM_WORDS(V::D) + c) * 4));
        if (p->n_splits > 1) {
            to->part_out[p->merge.part_out + (i_split * p->merge.n_rows + i_row) * V::D + c] =
                total != 0 ? sum / total : 0;
            if (c == 0)
                to->part_lse[p->merge.part_lse + i_split * p->merge.n_rows + i_row] =
                    total != 0 ? most * LN_2 + log(total * scale) : -INFINITY;
            continue;
        }
        float sink = p->merge.has_sinks ? to->sinks[p->merge.sinks + i_q_head] * LOG2_E : -INFINITY;
        /* Without a token `most` is LOWEST and the total 0. */
        if (sink > most) {
            scale *= exp2_fast(most - sink);
            most = sink;
        }
        total = total * scale + (sink == -INFINITY ? 0 : exp2_fast(sink - most));
        ulong element = p->merge.out + i_seq * p->merge.out_seq_stride + i_q_head * p->merge.out_head_stride + c;
        store_element(to->out, element, p->merge.out_dtype, total != 0 ? sum * scale / total : 0);
        if (c == 0 && p->merge.has_lse)
            to->lse[p->merge.lse + i_row] = total != 0 ? most * LN_2 + log(total) : -INFINITY;
    }
}

DEVICE struct matrix_source source_of(const struct skv_gpu_pool *pool, const struct skv_gpu_head *head,
                                      const uchar *pages, const int *blocks, ulong first_entry, ulong token,
                                      const ushort *tail, uint bitmap_bytes, uint fault, uint area)
{
    return {pages + pool->offset + head->page_offset,
            (const uchar *)tail,
            blocks,
            pool->block_bytes,
            (uint)min(pool->n_blocks, (ulong)0x80000000),
            pool->page_tokens,
            head->row_stride,
            (bitmap_bytes + 2 * head->kept + SKV_HIP_PIECE - 1) / SKV_HIP_PIECE,
            fault,
            area,
            first_entry + token / max(pool->page_tokens, 1u),
            (uint)(token % max(pool->page_tokens, 1u)),
            0,
            false};
}

/* The kernels' parameters but for the first. */
#define MATRIX_PARAMETERS                                                                                            \
    const uchar *q, const uchar *k_pages, const uchar *v_pages, const int *k_blocks, const int *v_blocks,            \
        const int *cache_lens, const int *tail_lens, const ushort *k_tail, const ushort *v_tail, const float *sinks, \
        float *part_out, float *part_lse, uchar *out, float *lse, volatile uint *faults
#define MATRIX_ARGUMENTS                                                                                            \
    q, k_pages, v_pages, k_blocks, v_blocks, cache_lens, tail_lens, k_tail, v_tail, sinks, part_out, part_lse, out, \
        lse, faults

template <class V> DEVICE void attend_matrix(const struct skv_hip_attend *args, uint scratch, MATRIX_PARAMETERS)
{
    typedef typename V::unit U;
    const struct skv_gpu_attend *p = &args->shared;
    const uint wave = uniform(local_id() / U::LANES);
    const uint n_tiles = (p->group + U::ROWS - 1) / U::ROWS;
    const uint first_row = group_x() % n_tiles * U::ROWS, i_head = p->k_heads.first + group_x() / n_tiles;
    const uint i_seq = group_z(), i_split = group_y(), n_rows = min((uint)U::ROWS, p->group - first_row);

    ulong cache_tokens, n_tokens;
    read_lengths(p, cache_lens, tail_lens, i_seq, faults, &cache_tokens, &n_tokens);
    const ulong begin = i_split * (ulong)p->split_tokens, end = min(begin + p->split_tokens, n_tokens);
    struct matrix_split split = {};
    split.n_records = min(end, cache_tokens) > begin ? (uint)(min(end, cache_tokens) - begin) : 0;
    const ulong dense_begin = max(begin, cache_tokens);
    split.n_dense = end > dense_begin ? (uint)(end - dense_begin) : 0;
    split.dense_rows = args->dense_rows;
    split.dense_stride = p->tail_token_stride * 2;
    split.faults = faults;

    const struct skv_gpu_head k_head = head_of(&p->k_heads, i_head), v_head = head_of(&p->v_heads, i_head);
    const ulong tail_row =
        i_seq * p->tail_seq_stride + i_head * p->tail_head_stride + (dense_begin - cache_tokens) * p->tail_token_stride;
    const ulong first_entry = i_seq * p->block_stride;
    const uint areas = scratch + SKV_HIP_TABLE_BYTES + SKV_HIP_QUERY_BYTES(V::D, U::LANES);
    const uint k_area = areas + wave * (V::ONE_AREA ? 1 : 2) * args->area_bytes;
    const uint v_area = V::ONE_AREA ? k_area : k_area + args->area_bytes;
    struct matrix_source k = source_of(&p->k_pool, &k_head, k_pages, k_blocks + p->k_blocks, first_entry, begin,
                                       k_tail + p->k_tail + tail_row, V::BITMAP, SKV_GPU_FAULT_K_BLOCK, k_area);
    struct matrix_source v = source_of(&p->v_pool, &v_head, v_pages, v_blocks + p->v_blocks, first_entry, begin,
                                       v_tail + p->v_tail + tail_row, V::BITMAP, SKV_GPU_FAULT_V_BLOCK, v_area);

    struct matrix_queries<V> queries;
    load_queries<V>(p, q, i_seq, i_head, first_row, scratch + SKV_HIP_TABLE_BYTES, &queries);
    if (local_id() < 16)
        write_selectors(scratch, local_id());
    group_barrier();

    typename V::state state;
    clear(&state);

    const float scale = p->scale * LOG2_E;
    constexpr uint ROUNDS = SKV_HIP_PIECES_MAX(V::D) * SKV_HIP_TILE / U::LANES;
    constexpr uint FEW = (V::EARLY * SKV_HIP_TILE + U::LANES - 1) / U::LANES;
    if (V::ONE_AREA || max(k.n_pieces, v.n_pieces) * SKV_HIP_TILE <= FEW * U::LANES)
        attend_chunks<V, FEW>(&split, wave, k, v, &queries, scratch, scale, &state);
    else
        attend_chunks<V, ROUNDS>(&split, wave, k, v, &queries, scratch, scale, &state);
    attend_chunks<V, 0>(&split, wave, k, v, &queries, scratch, scale, &state);

    add_waves(wave, areas, n_rows, &state);
    const struct matrix_results to = {sinks, part_out, part_lse, out, lse};
    write_results<V>(p, &to, i_seq, i_head, i_split, first_row, n_rows, areas);
}

#define ATTEND_KERNEL(name, lanes, waves, variant)                         \
    KERNEL_RESIDENT(skv_kernel_attend_##name, SKV_HIP_WAVES *lanes, waves) \
    (const struct skv_hip_attend args, MATRIX_PARAMETERS)                  \
    {                                                                      \
        SCRATCH_ADDRESS(scratch);                                          \
        attend_matrix<variant>(&args, scratch, MATRIX_ARGUMENTS);          \
    }
#define MATRIX_KERNEL_(name, lanes, unit, head_dim, is_bf16)       \
    typedef matrix_variant<unit, head_dim, is_bf16> unit##_##name; \
    ATTEND_KERNEL(w##lanes##_##name, lanes, SKV_HIP_RESIDENT(lanes, head_dim), unit##_##name)
#define MATRIX_KERNEL(name, lanes, unit, head_dim, is_bf16) MATRIX_KERNEL_(name, lanes, unit, head_dim, is_bf16)
#define DOT_KERNEL_(name, lanes, head_dim, rows, is_bf16)                    \
    typedef dot_variant<lanes, head_dim, rows, is_bf16> dot##lanes##_##name; \
    ATTEND_KERNEL(dot_w##lanes##_##name, lanes, SKV_HIP_DOT_RESIDENT(lanes, rows), dot##lanes##_##name)
#define DOT_KERNEL(name, lanes, head_dim, rows, is_bf16) DOT_KERNEL_(name, lanes, head_dim, rows, is_bf16)
