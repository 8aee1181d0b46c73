/* SPDX-License-Identifier: Apache-2.0
 *
 * Decode attention over records and dense rows, for any device. A work-group takes one split of one sequence and KV
 * head and up to M query rows of it, and walks the split in tiles of TILE tokens, of the cache or of the tail:
 *
 *   find the tile's records -> copy them to local memory -> scores -> softmax step -> weighted sum of V
 *
 * Nothing is expanded in memory. For the scores a work-item takes 32 channels of one token and counts survivors as it
 * goes; neighbours take neighbouring tokens, so that they read the same query values. For the sum a work-item takes one
 * channel of all tokens and finds its survivor by a popcount; neighbours share the bitmap word.
 *
 * The host defines HEAD_DIM, TILE, M, BF16 and LANES, the work-items of a group, and gives local memory for the records'
 * values: [2][TILE] rows of an odd number of 32-bit words, so that the same place of neighbouring rows lies in different
 * banks.
 */
#ifdef SKV_ATTEND
#define N_WORDS ((HEAD_DIM + 31) / 32)
/* Channels of word w. */
#if HEAD_DIM % 32
#define CHANNELS(w) min(32u, HEAD_DIM - 32 * (w))
#else
#define CHANNELS(w) 32
#endif
#define OWN_CHANNELS ((HEAD_DIM + LANES - 1) / LANES)
/* Loads under way at once in each work-item. */
#define COPIES 6
#define OWN_SCORES ((M * TILE + LANES - 1) / LANES)
#if BF16
#define VALUE(at) as_float((uint)*(at) << 16)
#else
#define VALUE(at) vload_half(0, (const __local half *)(at))
#endif
#if BF16
#define DENSE_VALUE(at) as_float((uint)*(at) << 16)
#else
#define DENSE_VALUE(at) vload_half(0, (const __global half *)(at))
#endif

inline ulong checked_length(const __global int *lengths, ulong at, uint i_seq, ulong most, uint kind,
                            volatile __global uint *faults)
{
    int length = lengths[at + i_seq];
    if (length >= 0 && (ulong)length <= most)
        return length;
    report(faults, kind, i_seq);
    return 0;
}

/* The first position that the window of a query at `position` shows, sinks apart. */
inline ulong window_begin(ulong window, long position)
{
    return window && position + 1 > (long)window ? position + 1 - window : 0;
}

inline bool is_visible(const struct skv_cl_attend *p, long query, ulong position)
{
    return (long)position <= query && (position >= window_begin(p->window, query) || position < p->sink_tokens);
}

/* Where a record's values are, its bitmap's words and the survivors before each; a row without a record is empty. */
inline void find_record(const struct skv_cl_pool *pool, const struct skv_cl_head *head, const __global uchar *pages,
                        const __global int *blocks, ulong entry, ulong i_entry, uint i_slot, uint fault,
                        uint values_max, volatile __global uint *faults, __local ulong *values, __local uint *bits,
                        __local uint *first_value)
{
    int i_block = blocks[entry];
    ulong at = NO_RECORD;
    if (i_block >= 0 && (ulong)i_block < pool->n_blocks)
        at = record_at(pages, pool, head, i_block, i_slot, HEAD_DIM);
    else
        report(faults, fault, i_entry);
    uint n = 0, word[N_WORDS];
    for (uint w = 0; w < N_WORDS; w++)
        word[w] = at == NO_RECORD ? 0 : record_word(pages + at, HEAD_DIM, w);
    for (uint w = 0; w < N_WORDS; w++) {
        bits[w * TILE] = word[w];
        first_value[w * TILE] = n;
        n += popcount(word[w]);
    }
    /* A damaged bitmap may claim more values than any row has room for. */
    if (n > values_max)
        for (uint w = 0; w < N_WORDS; w++)
            bits[w * TILE] = 0;
    *values = at == NO_RECORD ? 0 : at + SKV_BITMAP_BYTES(HEAD_DIM);
}

__kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
skv_attend(const struct skv_cl_attend args, const __global uchar *q, const __global uchar *k_pages,
           const __global uchar *v_pages, const __global int *k_blocks, const __global int *v_blocks,
           const __global int *cache_lens, const __global int *tail_lens, const __global ushort *k_tail,
           const __global ushort *v_tail, const __global float *sinks, __global float *part_out,
           __global float *part_lse, __global uchar *out, __global float *lse, volatile __global uint *faults,
           __local uint *raw)
{
    __local ulong record[2 * TILE];
    __local uint bits[2 * N_WORDS * TILE], first_value[2 * N_WORDS * TILE];
    __local float4 queries[M * HEAD_DIM / 4];
    __local float partial[N_WORDS * M * TILE];
    __local float weights[TILE * M]; /* scores, then weights */
    __local float maxima[M], corrections[M], sums[TILE];

    const struct skv_cl_attend params = args;
    const struct skv_cl_attend *p = &params;
    uint lid = get_local_id(0), i_split = get_group_id(0), n_rows = p->n_new * p->group;
    uint pieces = p->pieces, raw_words = 2 * pieces | 1;
    uint n_chunks = (n_rows + M - 1) / M, first_row = get_group_id(1) % n_chunks * M;
    uint i_head = p->k_heads.first + get_group_id(1) / n_chunks, i_seq = get_group_id(2);
    const struct skv_cl_pool k_pool = args.k_pool, v_pool = args.v_pool;
    const struct skv_cl_head k_head = head_of(&p->k_heads, i_head), v_head = head_of(&p->v_heads, i_head);

    ulong cache_tokens = p->max_cache, n_tokens = p->max_tail;
    if (p->has_cache_lens)
        cache_tokens =
            checked_length(cache_lens, p->cache_lens, i_seq, p->max_cache, SKV_CL_FAULT_CACHE_LEN, faults);
    if (p->has_tail_lens)
        n_tokens = checked_length(tail_lens, p->tail_lens, i_seq, p->max_tail, SKV_CL_FAULT_TAIL_LEN, faults);
    n_tokens += cache_tokens;

    /* Row m is query token (first_row + m) / group; rows past the last repeat it and are not written. */
    for (uint i = lid; i < M * HEAD_DIM; i += LANES) {
        uint row = min(first_row + i / HEAD_DIM, n_rows - 1);
        ulong element = p->q + i_seq * p->q_seq_stride + row / p->group * p->q_token_stride +
                        (i_head * p->group + row % p->group) * p->q_head_stride + i % HEAD_DIM;
        ((__local float *)queries)[i] = load_element(q, element, p->q_dtype);
    }
    if (lid < M)
        maxima[lid] = -INFINITY;
    long newest = (long)n_tokens - p->n_new, first_query = newest + first_row / p->group;
    long last_query = newest + min(first_row + M - 1, n_rows - 1) / p->group;
    ulong tail_row = i_seq * p->tail_seq_stride + i_head * p->tail_head_stride;

    float sum[OWN_SCORES], acc[OWN_CHANNELS][M];
    for (uint i = 0; i < OWN_SCORES; i++)
        sum[i] = 0;
    for (uint i = 0; i < OWN_CHANNELS; i++)
        for (uint m = 0; m < M; m++)
            acc[i][m] = 0;

    ulong begin = i_split * p->split_tokens, end = min(begin + p->split_tokens, n_tokens);
    /* Positions past every query's own are seen by none; between the sinks and the first window there is a gap. */
    if (last_query < (long)end)
        end = last_query < 0 ? 0 : last_query + 1;
    ulong gap_begin = max(p->sink_tokens, begin), gap_end = window_begin(p->window, first_query);
    for (ulong first = begin >= gap_begin && begin < gap_end ? gap_end : begin, next; first < end; first = next) {
        bool dense = first >= cache_tokens;
        next = first + TILE;
        if (!dense && next > cache_tokens)
            next = cache_tokens;
        if (next > end)
            next = end;
        uint n = (uint)(next - first);
        /* Rows of the tile that some query must not see are left out of every sum; else 0 times NaN would show. */
        bool whole = n == TILE && (long)(next - 1) <= first_query && first >= window_begin(p->window, last_query);

        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint i = lid; i < (dense ? 0 : 2 * n); i += LANES) {
            bool is_v = i >= n;
            uint t = is_v ? i - n : i, at = is_v ? TILE + t : t, page = is_v ? v_pool.page_tokens : k_pool.page_tokens;
            ulong i_entry = i_seq * p->block_stride + (first + t) / page;
            find_record(is_v ? &v_pool : &k_pool, is_v ? &v_head : &k_head, is_v ? v_pages : k_pages,
                        is_v ? v_blocks : k_blocks, (is_v ? p->v_blocks : p->k_blocks) + i_entry, i_entry,
                        (uint)((first + t) % page), is_v ? SKV_CL_FAULT_V_BLOCK : SKV_CL_FAULT_K_BLOCK, 4 * pieces,
                        faults, record + at, bits + (is_v ? N_WORDS * TILE : 0) + t,
                        first_value + (is_v ? N_WORDS * TILE : 0) + t);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        /* Pieces of 8 bytes, several loads under way at once. A short row's last ones reach past it, which the pool's
         * slack allows for. */
        uint n_pieces = dense ? 0 : 2 * n * pieces;
        for (uint i_first = lid; i_first < n_pieces; i_first += COPIES * LANES) {
            uint2 piece[COPIES];
            uint to[COPIES];
#pragma unroll
            for (uint j = 0; j < COPIES; j++) {
                uint i = min(i_first + j * LANES, n_pieces - 1), row = i / pieces, i_piece = i - row * pieces;
                uint at = row < n ? row : TILE + row - n;
                const __global uchar *pages = row < n ? k_pages : v_pages;
                piece[j] = *(const __global uint2 *)(pages + record[at] + 8 * i_piece);
                to[j] = at * raw_words + 2 * i_piece;
            }
#pragma unroll
            for (uint j = 0; j < COPIES; j++)
                if (i_first + j * LANES < n_pieces) {
                    raw[to[j]] = piece[j].x;
                    raw[to[j] + 1] = piece[j].y;
                }
        }
        barrier(CLK_LOCAL_MEM_FENCE);

        for (uint i = lid; i < N_WORDS * TILE; i += LANES) {
            uint t = i % TILE, w = i / TILE;
            float s[M];
            for (uint m = 0; m < M; m++)
                s[m] = 0;
            if (t < n && dense) {
                const __global ushort *value =
                    k_tail + p->k_tail + tail_row + (first + t - cache_tokens) * p->tail_token_stride + 32 * w;
                for (uint c = 0; c < CHANNELS(w); c += 4) {
                    float4 k = (float4)(DENSE_VALUE(value + c), DENSE_VALUE(value + c + 1), DENSE_VALUE(value + c + 2),
                                        DENSE_VALUE(value + c + 3));
                    for (uint m = 0; m < M; m++)
                        s[m] += dot(k, queries[(m * HEAD_DIM + 32 * w + c) / 4]);
                }
            } else if (t < n) {
                const __local ushort *value = (const __local ushort *)(raw + t * raw_words) + first_value[i];
                uint word = bits[i];
                for (uint c = 0; c < CHANNELS(w); c += 4) {
                    /* Loads do not wait for bits; what is behind a row's last value is not taken. */
                    uint at1 = word & 1, at2 = at1 + (word >> 1 & 1), at3 = at2 + (word >> 2 & 1);
                    float4 k = (float4)(VALUE(value), VALUE(value + at1), VALUE(value + at2), VALUE(value + at3));
                    k = select((float4)(0), k, -((int4)(word, word >> 1, word >> 2, word >> 3) & 1));
                    value += at3 + (word >> 3 & 1);
                    word >>= 4;
                    for (uint m = 0; m < M; m++)
                        s[m] += dot(k, queries[(m * HEAD_DIM + 32 * w + c) / 4]);
                }
            }
            for (uint m = 0; m < M; m++)
                partial[(w * M + m) * TILE + t] = s[m];
        }
        barrier(CLK_LOCAL_MEM_FENCE);

        for (uint i = lid; i < M * TILE; i += LANES) {
            uint m = i / TILE, t = i % TILE;
            float s = 0;
            for (uint w = 0; w < N_WORDS; w++)
                s += partial[w * M * TILE + i];
            s *= p->scale;
            if (p->has_softcap)
                s = p->softcap * tanh(s / p->softcap);
            long query = newest + min(first_row + m, n_rows - 1) / p->group;
            weights[t * M + m] = whole || (t < n && is_visible(p, query, first + t)) ? s : -INFINITY;
        }
        barrier(CLK_LOCAL_MEM_FENCE);

        float weight[OWN_SCORES], most[OWN_SCORES];
        for (uint j = 0; j < OWN_SCORES; j++) {
            uint i = min(j * LANES + lid, (uint)(M * TILE - 1)), m = i / TILE, t = i % TILE;
            most[j] = maxima[m];
            for (uint other = 0; other < TILE; other++)
                most[j] = fmax(most[j], weights[other * M + m]);
            /* While all is -inf, subtracting 0 keeps weights at 0 and NaN visible. */
            weight[j] = exp(weights[t * M + m] - (most[j] == -INFINITY ? 0 : most[j]));
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint j = 0; j < OWN_SCORES; j++) {
            uint i = j * LANES + lid, m = i / TILE, t = i % TILE;
            if (i < M * TILE) {
                float correction = exp(maxima[m] - (most[j] == -INFINITY ? 0 : most[j]));
                sum[j] = sum[j] * correction + weight[j];
                weights[t * M + m] = weight[j];
                if (t == 0)
                    corrections[m] = correction;
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint j = 0; j < OWN_SCORES; j++) {
            uint i = j * LANES + lid;
            if (i < M * TILE && i % TILE == 0)
                maxima[i / TILE] = most[j];
        }

        for (uint j = 0; j < OWN_CHANNELS; j++) {
            uint c = min(j * LANES + lid, (uint)(HEAD_DIM - 1)), w = c / 32, below = (1u << c % 32) - 1;
            const __local uint *words = bits + (N_WORDS + w) * TILE, *firsts = first_value + (N_WORDS + w) * TILE;
            const __global ushort *values =
                v_tail + p->v_tail + tail_row + (first - cache_tokens) * p->tail_token_stride + c;
            for (uint m = 0; m < M; m++)
                acc[j][m] *= corrections[m];
            const __local ushort *rows = (const __local ushort *)(raw + TILE * raw_words);
            if (whole && !dense) {
#pragma unroll 8
                for (uint t = 0; t < TILE; t++) {
                    uint word = words[t];
                    float v = VALUE(rows + 2 * t * raw_words + firsts[t] + popcount(word & below));
                    v = word >> c % 32 & 1 ? v : 0.0f;
                    for (uint m = 0; m < M; m++)
                        acc[j][m] = fma(v, weights[t * M + m], acc[j][m]);
                }
            } else if (whole) {
#pragma unroll 8
                for (uint t = 0; t < TILE; t++) {
                    float v = DENSE_VALUE(values + t * p->tail_token_stride);
                    for (uint m = 0; m < M; m++)
                        acc[j][m] = fma(v, weights[t * M + m], acc[j][m]);
                }
            } else {
                for (uint t = 0; t < n; t++) {
                    uint word = words[t];
                    float v = 0;
                    if (dense)
                        v = DENSE_VALUE(values + t * p->tail_token_stride);
                    else if (word >> c % 32 & 1)
                        v = VALUE(rows + 2 * t * raw_words + firsts[t] + popcount(word & below));
                    for (uint m = 0; m < M; m++)
                        if (is_visible(p, newest + min(first_row + m, n_rows - 1) / p->group, first + t))
                            acc[j][m] = fma(v, weights[t * M + m], acc[j][m]);
                }
            }
        }
        if (next >= gap_begin && next < gap_end)
            next = gap_end;
    }

    /* The sums of each row's tokens, in the order of the tile. */
    for (uint m = 0; m < M; m++) {
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint j = 0; j < OWN_SCORES; j++)
            if (j * LANES + lid < M * TILE && (j * LANES + lid) / TILE == m)
                sums[(j * LANES + lid) % TILE] = sum[j];
        barrier(CLK_LOCAL_MEM_FENCE);
        uint row = first_row + m;
        if (row >= n_rows)
            continue;
        float total = 0, max = maxima[m];
        for (uint t = 0; t < TILE; t++)
            total += sums[t];
        uint i_q_head = i_head * p->group + row % p->group;
        ulong i_row = ((ulong)i_seq * p->n_new + row / p->group) * p->n_q_heads + i_q_head;
        if (p->n_splits > 1) {
            for (uint j = 0; j < OWN_CHANNELS && j * LANES + lid < HEAD_DIM; j++)
                part_out[p->part_out + (i_split * p->merge.n_rows + i_row) * HEAD_DIM + j * LANES + lid] =
                    total != 0 ? acc[j][m] / total : 0;
            if (lid == 0)
                part_lse[p->part_lse + i_split * p->merge.n_rows + i_row] =
                    total != 0 ? max + log(total) : -INFINITY;
            continue;
        }
        float sink = p->merge.has_sinks ? sinks[p->merge.sinks + i_q_head] : -INFINITY, factor = 1;
        if (sink > max) {
            factor = exp(max - sink);
            max = sink;
        }
        total = total * factor + (sink == -INFINITY ? 0 : exp(sink - max));
        ulong element = p->merge.out + i_seq * p->merge.out_seq_stride + row / p->group * p->merge.out_token_stride +
                        i_q_head * p->merge.out_head_stride;
        for (uint j = 0; j < OWN_CHANNELS && j * LANES + lid < HEAD_DIM; j++)
            store_element(out, element + j * LANES + lid, p->merge.out_dtype,
                          total != 0 ? acc[j][m] * factor / total : 0);
        if (lid == 0 && p->merge.has_lse)
            lse[p->merge.lse + i_row] = total != 0 ? max + log(total) : -INFINITY;
    }
}

#endif
