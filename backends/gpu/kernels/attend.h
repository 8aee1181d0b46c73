/* SPDX-License-Identifier: Apache-2.0
 *
 * Decode attention over records and dense rows, for any device. A group takes one split of one sequence and KV
 * head and up to M query rows of it, and walks the split in tiles of TILE tokens, of the cache or of the tail:
 *
 *   find the tile's records -> copy them to group memory -> scores -> softmax step -> weighted sum of V
 *
 * Nothing is expanded in memory. For the scores a lane takes 32 channels of one token and counts survivors as it
 * goes; neighbours take neighbouring tokens, so that they read the same query values. For the sum a lane takes one
 * channel of all tokens and finds its survivor by a popcount; neighbours share the bitmap word.
 *
 * Included once for each variant, with these defined: ATTEND, the kernel's name; HEAD_DIM, an expression of `p`, and
 * HEAD_DIM_MAX, the most it can be; BF16, an expression of `p`; TILE, LANES (of a group) and M. The scratch memory
 * holds the records' values: [2][TILE] rows of an odd number of 32-bit words, so that the same place of neighbouring
 * rows lies in different banks.
 */
#ifdef ATTEND
#define N_WORDS ((HEAD_DIM + 31) / 32)
#define N_WORDS_MAX ((HEAD_DIM_MAX + 31) / 32)
/* Channels of word w. */
#define CHANNELS(w) (HEAD_DIM % 32 == 0 ? 32u : min(32u, HEAD_DIM - 32 * (w)))
#define OWN_CHANNELS ((HEAD_DIM_MAX + LANES - 1) / LANES)
/* Loads under way at once in each lane. */
#define COPIES 6
#define OWN_SCORES ((M * TILE + LANES - 1) / LANES)
#define VALUE(at) (BF16 ? as_float((uint) * (at) << 16) : local_half(at))
#define DENSE_VALUE(at) (BF16 ? as_float((uint) * (at) << 16) : global_half(at))

KERNEL(ATTEND, LANES)
(const struct skv_gpu_attend args, const GLOBAL uchar *q, const GLOBAL uchar *k_pages, const GLOBAL uchar *v_pages,
 const GLOBAL int *k_blocks, const GLOBAL int *v_blocks, const GLOBAL int *cache_lens, const GLOBAL int *tail_lens,
 const GLOBAL ushort *k_tail, const GLOBAL ushort *v_tail, const GLOBAL float *sinks, GLOBAL float *part_out,
 GLOBAL float *part_lse, GLOBAL uchar *out, GLOBAL float *lse, volatile GLOBAL uint *faults SCRATCH)
{
    SCRATCH_OF(raw);
    SHARED ulong record[2 * TILE];
    SHARED uint bits[2 * N_WORDS_MAX * TILE], first_value[2 * N_WORDS_MAX * TILE];
    SHARED float4 queries[M * HEAD_DIM_MAX / 4];
    SHARED float partial[N_WORDS_MAX * M * TILE];
    SHARED float weights[TILE * M]; /* scores, then weights */
    SHARED float maxima[M], corrections[M], sums[TILE];

    const struct skv_gpu_attend params = args;
    const struct skv_gpu_attend *p = &params;
    uint lid = local_id(), i_split = group_y(), n_rows = p->n_new * p->group;
    uint pieces = p->pieces, raw_words = 2 * pieces | 1;
    uint n_chunks = (n_rows + M - 1) / M, first_row = group_x() % n_chunks * M;
    uint i_head = p->k_heads.first + group_x() / n_chunks, i_seq = group_z();
    const struct skv_gpu_pool k_pool = args.k_pool, v_pool = args.v_pool;
    const struct skv_gpu_head k_head = head_of(&p->k_heads, i_head), v_head = head_of(&p->v_heads, i_head);

    ulong cache_tokens, n_tokens;
    read_lengths(p, cache_lens, tail_lens, i_seq, faults, &cache_tokens, &n_tokens);

    /* Row m is query token (first_row + m) / group; rows past the last repeat it and are not written. */
    for (uint i = lid; i < M * HEAD_DIM; i += LANES) {
        uint row = min(first_row + i / HEAD_DIM, n_rows - 1);
        ulong element = p->q + i_seq * p->q_seq_stride + row / p->group * p->q_token_stride +
                        (i_head * p->group + row % p->group) * p->q_head_stride + i % HEAD_DIM;
        ((LOCAL float *)queries)[i] = load_element(q, element, p->q_dtype);
    }
    if (lid < M)
        maxima[lid] = -INFINITY;
    slong newest = (slong)n_tokens - p->n_new, first_query = newest + first_row / p->group;
    slong last_query = newest + min(first_row + M - 1, n_rows - 1) / p->group;
    ulong tail_row = i_seq * p->tail_seq_stride + i_head * p->tail_head_stride;

    float sum[OWN_SCORES], acc[OWN_CHANNELS][M];
#pragma unroll
    for (uint i = 0; i < OWN_SCORES; i++)
        sum[i] = 0;
#pragma unroll
    for (uint i = 0; i < OWN_CHANNELS; i++)
#pragma unroll
        for (uint m = 0; m < M; m++)
            acc[i][m] = 0;

    ulong begin = i_split * p->split_tokens, end = min(begin + p->split_tokens, n_tokens);
    /* Positions past every query's own are seen by none; between the sinks and the first window there is a gap. */
    if (last_query < (slong)end)
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
        bool whole = n == TILE && (slong)(next - 1) <= first_query && first >= window_begin(p->window, last_query);

        group_barrier();
        for (uint i = lid; i < (dense ? 0 : 2 * n); i += LANES) {
            bool is_v = i >= n;
            uint t = is_v ? i - n : i, at = is_v ? TILE + t : t, page = is_v ? v_pool.page_tokens : k_pool.page_tokens;
            ulong i_entry = i_seq * p->block_stride + (first + t) / page;
            find_record(is_v ? &v_pool : &k_pool, is_v ? &v_head : &k_head, is_v ? v_pages : k_pages,
                        is_v ? v_blocks : k_blocks, (is_v ? p->v_blocks : p->k_blocks) + i_entry, i_entry,
                        (uint)((first + t) % page), is_v ? SKV_GPU_FAULT_V_BLOCK : SKV_GPU_FAULT_K_BLOCK, 4 * pieces,
                        faults, HEAD_DIM, TILE, record + at, bits + (is_v ? N_WORDS * TILE : 0) + t,
                        first_value + (is_v ? N_WORDS * TILE : 0) + t);
        }
        group_barrier();
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
                const GLOBAL uchar *pages = row < n ? k_pages : v_pages;
                piece[j] = *(const GLOBAL uint2 *)(pages + record[at] + 8 * i_piece);
                to[j] = at * raw_words + 2 * i_piece;
            }
#pragma unroll
            for (uint j = 0; j < COPIES; j++)
                if (i_first + j * LANES < n_pieces) {
                    raw[to[j]] = piece[j].x;
                    raw[to[j] + 1] = piece[j].y;
                }
        }
        group_barrier();

        for (uint i = lid; i < N_WORDS * TILE; i += LANES) {
            uint t = i % TILE, w = i / TILE;
            float s[M];
#pragma unroll
            for (uint m = 0; m < M; m++)
                s[m] = 0;
            if (t < n && dense) {
                const GLOBAL ushort *value =
                    k_tail + p->k_tail + tail_row + (first + t - cache_tokens) * p->tail_token_stride + 32 * w;
                for (uint c = 0; c < CHANNELS(w); c += 4) {
                    float4 k = make_four(DENSE_VALUE(value + c), DENSE_VALUE(value + c + 1), DENSE_VALUE(value + c + 2),
                                         DENSE_VALUE(value + c + 3));
#pragma unroll
                    for (uint m = 0; m < M; m++)
                        s[m] += dot4(k, queries[(m * HEAD_DIM + 32 * w + c) / 4]);
                }
            } else if (t < n) {
                const LOCAL ushort *value = (const LOCAL ushort *)(raw + t * raw_words) + first_value[i];
                uint word = bits[i];
                for (uint c = 0; c < CHANNELS(w); c += 4) {
                    /* Loads do not wait for bits; what is behind a row's last value is not taken. */
                    uint at1 = word & 1, at2 = at1 + (word >> 1 & 1), at3 = at2 + (word >> 2 & 1);
                    float k0 = VALUE(value), k1 = VALUE(value + at1), k2 = VALUE(value + at2), k3 = VALUE(value + at3);
                    float4 k = make_four(word & 1 ? k0 : 0.0f, word & 2 ? k1 : 0.0f, word & 4 ? k2 : 0.0f,
                                         word & 8 ? k3 : 0.0f);
                    value += at3 + (word >> 3 & 1);
                    word >>= 4;
#pragma unroll
                    for (uint m = 0; m < M; m++)
                        s[m] += dot4(k, queries[(m * HEAD_DIM + 32 * w + c) / 4]);
                }
            }
#pragma unroll
            for (uint m = 0; m < M; m++)
                partial[(w * M + m) * TILE + t] = s[m];
        }
        group_barrier();

        for (uint i = lid; i < M * TILE; i += LANES) {
            uint m = i / TILE, t = i % TILE;
            float s = 0;
            for (uint w = 0; w < N_WORDS; w++)
                s += partial[w * M * TILE + i];
            s *= p->scale;
            if (p->has_softcap)
                s = p->softcap * tanh(s / p->softcap);
            slong query = newest + min(first_row + m, n_rows - 1) / p->group;
            weights[t * M + m] = whole || (t < n && is_visible(p, query, first + t)) ? s : -INFINITY;
        }
        group_barrier();

        float weight[OWN_SCORES], most[OWN_SCORES];
#pragma unroll
        for (uint j = 0; j < OWN_SCORES; j++) {
            uint i = min(j * LANES + lid, (uint)(M * TILE - 1)), m = i / TILE, t = i % TILE;
            most[j] = maxima[m];
            for (uint other = 0; other < TILE; other++)
                most[j] = fmax(most[j], weights[other * M + m]);
            /* While all is -inf, subtracting 0 keeps weights at 0 and NaN visible. */
            weight[j] = exp(weights[t * M + m] - (most[j] == -INFINITY ? 0 : most[j]));
        }
        group_barrier();
#pragma unroll
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
        group_barrier();
#pragma unroll
        for (uint j = 0; j < OWN_SCORES; j++) {
            uint i = j * LANES + lid;
            if (i < M * TILE && i % TILE == 0)
                maxima[i / TILE] = most[j];
        }

#pragma unroll
        for (uint j = 0; j < OWN_CHANNELS; j++) {
            uint c = min(j * LANES + lid, (uint)(HEAD_DIM - 1)), w = c / 32, below = (1u << c % 32) - 1;
            const LOCAL uint *words = bits + (N_WORDS + w) * TILE, *firsts = first_value + (N_WORDS + w) * TILE;
            const GLOBAL ushort *values =
                v_tail + p->v_tail + tail_row + (first - cache_tokens) * p->tail_token_stride + c;
#pragma unroll
            for (uint m = 0; m < M; m++)
                acc[j][m] *= corrections[m];
            const LOCAL ushort *rows = (const LOCAL ushort *)(raw + TILE * raw_words);
            if (whole && !dense) {
#pragma unroll 8
                for (uint t = 0; t < TILE; t++) {
                    uint word = words[t];
                    float v = VALUE(rows + 2 * t * raw_words + firsts[t] + popcount(word & below));
                    v = word >> c % 32 & 1 ? v : 0.0f;
#pragma unroll
                    for (uint m = 0; m < M; m++)
                        acc[j][m] = fma(v, weights[t * M + m], acc[j][m]);
                }
            } else if (whole) {
#pragma unroll 8
                for (uint t = 0; t < TILE; t++) {
                    float v = DENSE_VALUE(values + t * p->tail_token_stride);
#pragma unroll
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
#pragma unroll
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
#pragma unroll
    for (uint m = 0; m < M; m++) {
        group_barrier();
#pragma unroll
        for (uint j = 0; j < OWN_SCORES; j++)
            if (j * LANES + lid < M * TILE && (j * LANES + lid) / TILE == m)
                sums[(j * LANES + lid) % TILE] = sum[j];
        group_barrier();
        uint row = first_row + m;
        if (row >= n_rows)
            continue;
        float total = 0, max = maxima[m];
        for (uint t = 0; t < TILE; t++)
            total += sums[t];
        uint i_q_head = i_head * p->group + row % p->group;
        ulong i_row = ((ulong)i_seq * p->n_new + row / p->group) * p->n_q_heads + i_q_head;
        if (p->n_splits > 1) {
#pragma unroll
            for (uint j = 0; j < OWN_CHANNELS && j * LANES + lid < HEAD_DIM; j++)
                part_out[p->merge.part_out + (i_split * p->merge.n_rows + i_row) * HEAD_DIM + j * LANES + lid] =
                    total != 0 ? acc[j][m] / total : 0;
            if (lid == 0)
                part_lse[p->merge.part_lse + i_split * p->merge.n_rows + i_row] =
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
#pragma unroll
        for (uint j = 0; j < OWN_CHANNELS && j * LANES + lid < HEAD_DIM; j++)
            store_element(out, element + j * LANES + lid, p->merge.out_dtype,
                          total != 0 ? acc[j][m] * factor / total : 0);
        if (lid == 0 && p->merge.has_lse)
            lse[p->merge.lse + i_row] = total != 0 ? max + log(total) : -INFINITY;
    }
}

#undef N_WORDS
#undef N_WORDS_MAX
#undef CHANNELS
#undef OWN_CHANNELS
#undef COPIES
#undef OWN_SCORES
#undef VALUE
#undef DENSE_VALUE
#endif
