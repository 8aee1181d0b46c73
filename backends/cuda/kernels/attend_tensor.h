/* SPDX-License-Identifier: Apache-2.0
 *
 * Decode attention on NVIDIA's matrix units, straight over bitmap records of 64, 128 or 256 channels.
 *
 * The tokens of all sequences and heads lie in one line of chunks: C records, or 8 dense rows of the tail. Each group
 * takes an equal part of the line, its warps take every fourth chunk of that part, and each warp keeps a ring of chunks
 * under way with bulk copies of its own; there is no barrier of the group in the loop. A chunk's records are expanded
 * once, from group memory into matrix fragments, and meet all query rows:
 *
 * - The rank of a channel among the survivors is a popcount of bitmap & mask, which the matrix unit's 1-bit
 *   multiplication gives for 16 rows at once, in the layout of the fragments. Counted twice, starting from the row's
 *   address, it is the address of the channel's value (but for a constant).
 * - For channels c and c + 1 the inclusive rank of c serves both: c is there if its bit is set, and c + 1 behind it.
 * - A value is loaded where its bit is set, else 0. It fills a whole 32-bit register, its upper half 0. With one tile
 *   of query rows the even and odd channels are multiplied apart, so that nothing is packed; with more, packing pairs
 * is less than multiplying twice for each tile.
 * - The 8 columns of the other operand carry 4 query rows, each twice: for the even and the odd half of the channels.
 *
 * Lane (i, j), with i = lane / 4 and j = lane % 4, names rows and columns as the PTX ISA does.
 */

/* What a kernel is compiled for: head_dim, tiles of 4 query rows, the type, the row stride (0: any multiple of 16), how
 * far apart a lane's two tokens of a step are, tokens of a chunk. */
template <int D_, int TILES_, bool BF16_, int STRIDE_, int APART_, int C_> struct tensor_variant {
    static constexpr int D = D_, TILES = TILES_, STRIDE = STRIDE_, APART = APART_, C = C_;
    static constexpr bool BF16 = BF16_;
    static constexpr int ROWS = TILES * SKV_CUDA_TILE_ROWS, STEPS = C / SKV_CUDA_STEP_ROWS;
    /* Words of a bitmap; those of a pass, which the matrix unit counts at once; passes. */
    static constexpr int WORDS = D / 32, OF_PASS = WORDS < 4 ? WORDS : 4, PASSES = WORDS / OF_PASS;
    /* From twice a channel's inclusive rank to its value, in bytes behind the record. */
    static constexpr int VALUE = D / 8 - 2;
    static constexpr int DENSE_STRIDE = SKV_CUDA_DENSE_STRIDE(D);
};

/* Places of a lane's operands that stay the same for a kernel's life. Bitmaps of 64 channels fill half of the matrix
 * unit's depth: keys' are counted with both masks in one, which is `again` then. */
template <class V> struct tensor_places {
    uint mask0[V::OF_PASS], mask1[V::OF_PASS];   /* channels up to 4i and 4i + 2 of word w */
    uint again0[V::OF_PASS], again1[V::OF_PASS]; /* the same, in registers of their own */
    uint row_half;                               /* all ones where the lane's word counts for this row of the matrix */
    uint k_shift, v_shift;                       /* of the lane's first channel in a word */
    uint k_row, v_row;                           /* bytes to the first of the lane's two rows in a step of 8 */
    uint v_bitmap_row;                           /* bytes to the word of the bitmap that the lane counts */
    uint from;                                   /* lane with the lane's score */
    uint zero[3];                                /* 0, which the compiler does not know */
};

/* In a step of 8 tokens a lane's tokens are `first` and `first + apart`. Rows are apart so that they start in different
 * banks. */
template <int APART> DEVICE uint first_token(uint i)
{
    return APART == 4 ? i : 2 * i;
}

/* `at` is group memory of the warp: 26 words for each lane. */
template <class V> DEVICE void find_places(uint k_stride, uint v_stride, uint at, struct tensor_places<V> *places)
{
    constexpr uint N = V::OF_PASS;
    uint lane = local_id() % 32, i = lane / 4, j = lane % 4, own = j % N, x[4 * N + 10], *rest = x + 4 * N;
    for (uint w = 0; w < N; w++) {
        x[w] = own < w ? ~0u : own == w ? (2u << 4 * i) - 1 : 0;
        x[N + w] = own < w ? ~0u : own == w ? (2u << (4 * i + 2)) - 1 : 0;
        x[2 * N + w] = N == 4 || j < N ? x[w] : x[N + w];
        x[3 * N + w] = N == 4 || j >= N ? x[N + w] : x[w];
    }
    rest[0] = (N == 4 || j < N) == (i % 2 == 0) ? ~0u : 0;
    rest[1] = 8 * j + 2 * (i % 2);
    rest[2] = 4 * i;
    rest[3] = first_token<V::APART>(i / 2) * k_stride;
    rest[4] = first_token<V::APART>(j) * v_stride;
    rest[5] = (V::APART == 4 ? i / 2 + 4 * (i % 2) : i) * v_stride + 4 * own;
    rest[6] = 8 * j + i / 2;
    rest[7] = rest[8] = rest[9] = 0;
    pin(x, at);
    for (uint w = 0; w < N; w++) {
        places->mask0[w] = x[w];
        places->mask1[w] = x[N + w];
        places->again0[w] = x[2 * N + w];
        places->again1[w] = x[3 * N + w];
    }
    places->row_half = rest[0];
    places->k_shift = rest[1];
    places->v_shift = rest[2];
    places->k_row = rest[3];
    places->v_row = rest[4];
    places->v_bitmap_row = rest[5];
    places->from = rest[6];
    for (uint n = 0; n < 3; n++)
        places->zero[n] = rest[7 + n];
}

template <bool BF16> DEVICE void multiply(float (&c)[4], const uint (&a)[4], uint b0, uint b1)
{
    if constexpr (BF16)
        mma_bf16(c, a[0], a[1], a[2], a[3], b0, b1);
    else
        mma_f16(c, a[0], a[1], a[2], a[3], b0, b1);
}

/* The queries of one head: TILES times 4 rows, D / 8 channels of a lane. `odd` are the pairs of `even` turned. */
template <class V> struct tensor_queries {
    uint even[V::TILES][V::WORDS][2], odd[1][V::WORDS][2];
};

template <class V>
DEVICE void load_queries(const struct skv_gpu_attend *p, const uchar *q, ulong i_seq, uint first_row, uint n_rows,
                         uint i_head, struct tensor_queries<V> *queries)
{
    uint lane = local_id() % 32, i = lane / 4, j = lane % 4;
    for (int t = 0; t < V::TILES; t++) {
        uint row = first_row + 4 * t + i / 2;
        bool valid = row < n_rows;
        const ushort *at = (const ushort *)q + p->q + i_seq * p->q_seq_stride +
                           (ulong)(i_head * p->group + (valid ? row : 0)) * p->q_head_stride;
        for (uint w = 0; w < V::WORDS; w++)
            for (uint h = 0; h < 2; h++) {
                uint c = 32 * w + 8 * j + 2 * (i % 2) + 4 * h;
                uint pair = valid ? (uint)at[c] | (uint)at[c + 1] << 16 : 0;
                queries->even[t][w][h] = pair;
                if constexpr (V::TILES == 1)
                    queries->odd[t][w][h] = permute(pair, 0, 0x1032);
            }
    }
}

DEVICE void pack_pairs(uint (&even)[4], const uint (&odd)[4])
{
    for (uint n = 0; n < 4; n++)
        even[n] += odd[n] << 16;
}

/* Where the matrix unit starts to count addresses: the lane's two rows, twice each, in registers of their own. */
struct tensor_rows {
    uint start[4];
};

template <class V> DEVICE struct tensor_rows k_rows(const struct tensor_places<V> *at, uint base, uint apart)
{
    uint row = base + at->k_row;
    return {{row, row + at->zero[0], row + apart + at->zero[1], row + apart + at->zero[2]}};
}

template <class V> DEVICE struct tensor_rows v_rows(const struct tensor_places<V> *at, uint base, uint apart)
{
    uint row = base + at->v_row;
    return {{row, row + apart + at->zero[0], row + at->zero[1], row + apart + at->zero[2]}};
}

/* The words of a pass of a record's bitmap. */
template <class V, int OFFSET> DEVICE void load_bitmap(uint at, uint (&words)[V::OF_PASS])
{
    if constexpr (V::OF_PASS == 2) {
        uint2 all = load_shared2<OFFSET>(at);
        words[0] = all.x, words[1] = all.y;
    } else {
        uint4 all = load_shared4<OFFSET>(at);
        words[0] = all.x, words[1] = all.y, words[2] = all.z, words[3] = all.w;
    }
}

/* Addresses of the values of the keys' words of a pass: `rows` are those of the records, `start` is where their values
 * of this pass begin, and is moved to the next pass. */
template <class V, int OFFSET>
DEVICE void find_keys(const struct tensor_places<V> *at, const struct tensor_rows &rows, bool is_last, uint (&start)[4],
                      uint (&address)[V::OF_PASS][4])
{
    uint j = local_id() % 4;
    uint own0 = load_shared<OFFSET>(rows.start[0] + 4 * (j % V::OF_PASS));
    uint own1 = load_shared<OFFSET>(rows.start[2] + 4 * (j % V::OF_PASS));
    if constexpr (V::OF_PASS == 2) {
        uint x[4] = {own0 & at->row_half, own1 & at->row_half, 0, 0};
        x[2] = x[0] + at->zero[0], x[3] = x[1] + at->zero[1];
        for (uint w = 0; w < V::OF_PASS; w++)
            count_bits256(address[w], x[0], x[1], x[2], x[3], at->again0[w], at->again1[w], start);
    } else {
        uint x[4] = {own0 & at->row_half, own1 & at->row_half, own0 & ~at->row_half, own1 & ~at->row_half}, once[4];
        for (uint w = 0; w < V::OF_PASS; w++) {
            count_bits256(once, x[0], x[1], x[2], x[3], at->mask0[w], at->mask1[w], start);
            count_bits256(address[w], x[0], x[1], x[2], x[3], at->mask0[w], at->mask1[w], once);
        }
        if (is_last)
            return;
        count_bits256(once, x[0], x[1], x[2], x[3], ~0u, ~0u, start);
        count_bits256(start, x[0], x[1], x[2], x[3], ~0u, ~0u, once);
    }
}

/* The same of values. */
template <class V, int OFFSET>
DEVICE void find_values(const struct tensor_places<V> *at, uint base, bool is_last, uint (&start)[4],
                        uint (&address)[V::OF_PASS][4])
{
    uint own = load_shared<OFFSET>(base + at->v_bitmap_row);
    if constexpr (V::OF_PASS == 2) {
        for (uint w = 0; w < V::OF_PASS; w++)
            count_bits128(address[w], at->mask0[w], at->mask1[w], own, start);
    } else {
        for (uint w = 0; w < V::OF_PASS; w++)
            count_bits256(address[w], at->mask0[w], at->mask1[w], at->again0[w], at->again1[w], own, own, start);
        if (is_last)
            return;
        uint before[4] = {start[0], start[1], start[2], start[3]};
        count_bits256(start, ~0u, ~0u, ~0u, ~0u, own, own, before);
    }
}

/* Passes from PASS on of a step's scores: products of even and odd channels. */
template <class V, int OFFSET, bool DENSE, int PASS = 0>
DEVICE void score_passes(const struct tensor_places<V> *at, const struct tensor_queries<V> *queries,
                         const struct tensor_rows &rows, uint n_valid, uint (&start)[4], float (&even)[V::TILES][4],
                         float (&odd)[1][4])
{
    constexpr int VALUE = V::VALUE + OFFSET, FIRST = PASS * V::OF_PASS;
    uint address[V::OF_PASS][4], words[2][V::OF_PASS];
    if constexpr (DENSE) {
        for (uint r = 0; r < 2; r++)
            for (uint w = 0; w < V::OF_PASS; w++) {
                /* As if the rank were the channel's number. */
                address[w][2 * r] = rows.start[2 * r] - V::VALUE + 2 * (32 * (FIRST + w) + at->k_shift);
                address[w][2 * r + 1] = address[w][2 * r] + 8;
                words[r][w] = first_token<V::APART>(local_id() % 32 / 8) + V::APART * r < n_valid ? ~0u : 0;
            }
    } else {
        find_keys<V, OFFSET + 4 * FIRST>(at, rows, PASS + 1 == V::PASSES, start, address);
        load_bitmap<V, OFFSET + 4 * FIRST>(rows.start[0], words[0]);
        load_bitmap<V, OFFSET + 4 * FIRST>(rows.start[2], words[1]);
    }
    for (uint w = 0; w < V::OF_PASS; w++) {
        uint bits0 = words[0][w] >> at->k_shift, bits1 = words[1][w] >> at->k_shift;
        /* A word's loads stand together: the compiler then makes their predicates at once. */
        uint e[4], o[4];
        e[0] = load_shared16_if<VALUE, 1>(address[w][0], bits0);
        o[0] = load_shared16_if<VALUE + 2, 2>(address[w][0], bits0);
        e[2] = load_shared16_if<VALUE, 16>(address[w][1], bits0);
        o[2] = load_shared16_if<VALUE + 2, 32>(address[w][1], bits0);
        e[1] = load_shared16_if<VALUE, 1>(address[w][2], bits1);
        o[1] = load_shared16_if<VALUE + 2, 2>(address[w][2], bits1);
        e[3] = load_shared16_if<VALUE, 16>(address[w][3], bits1);
        o[3] = load_shared16_if<VALUE + 2, 32>(address[w][3], bits1);
        if constexpr (V::TILES == 1)
            multiply<V::BF16>(odd[0], o, queries->odd[0][FIRST + w][0], queries->odd[0][FIRST + w][1]);
        else
            pack_pairs(e, o);
        for (int t = 0; t < V::TILES; t++)
            multiply<V::BF16>(even[t], e, queries->even[t][FIRST + w][0], queries->even[t][FIRST + w][1]);
    }
    if constexpr (PASS + 1 < V::PASSES)
        score_passes<V, OFFSET, DENSE, PASS + 1>(at, queries, rows, n_valid, start, even, odd);
}

/* Scores of a step of 8 records, OFFSET bytes behind `rows`: of the lane's query row, tokens `first` and
 * `first + APART` by j. */
template <class V, int OFFSET, bool DENSE>
DEVICE void score_step(const struct tensor_places<V> *at, const struct tensor_queries<V> *queries,
                       const struct tensor_rows &rows, uint n_valid, float (&score)[V::TILES][2])
{
    float even[V::TILES][4], odd[1][4];
    for (int n = 0; n < 4; n++) {
        odd[0][n] = 0;
        for (int t = 0; t < V::TILES; t++)
            even[t][n] = 0;
    }
    uint start[4] = {rows.start[0], rows.start[1], rows.start[2], rows.start[3]};
    score_passes<V, OFFSET, DENSE>(at, queries, rows, n_valid, start, even, odd);
    /* A row of the product holds one half of a token's channels, which half of the columns belongs to. */
    bool second = at->k_shift & 2;
    for (int t = 0; t < V::TILES; t++) {
        float x = second ? even[t][1] : even[t][0], y = second ? even[t][3] : even[t][2];
        if constexpr (V::TILES == 1) {
            x += second ? odd[0][1] : odd[0][0];
            y += second ? odd[0][3] : odd[0][2];
        }
        score[t][0] = shuffle(x, at->from) + shuffle(x, at->from + 4);
        score[t][1] = shuffle(y, at->from) + shuffle(y, at->from + 4);
    }
}

/* Passes from PASS on of a step's sums. Columns with even i are for even channels, those with odd i for odd ones. */
template <class V, int OFFSET, bool DENSE, int PASS = 0>
DEVICE void value_passes(const struct tensor_places<V> *at, const struct tensor_rows &rows, uint base, uint n_valid,
                         const uint (&even)[V::TILES][2], const uint (&odd)[2], uint (&start)[4],
                         float (&sums)[V::TILES][V::WORDS][4])
{
    constexpr int VALUE = V::VALUE + OFFSET, FIRST = PASS * V::OF_PASS;
    uint address[V::OF_PASS][4], words[2][V::OF_PASS];
    if constexpr (DENSE) {
        for (uint r = 0; r < 2; r++)
            for (uint w = 0; w < V::OF_PASS; w++) {
                address[w][r] = rows.start[r] - V::VALUE + 2 * (32 * (FIRST + w) + at->v_shift);
                address[w][2 + r] = address[w][r] + 4;
                words[r][w] = first_token<V::APART>(local_id() % 4) + V::APART * r < n_valid ? ~0u : 0;
            }
    } else {
        find_values<V, OFFSET + 4 * FIRST>(at, base, PASS + 1 == V::PASSES, start, address);
        load_bitmap<V, OFFSET + 4 * FIRST>(rows.start[0], words[0]);
        load_bitmap<V, OFFSET + 4 * FIRST>(rows.start[1], words[1]);
    }
    for (uint w = 0; w < V::OF_PASS; w++) {
        uint bits0 = words[0][w] >> at->v_shift, bits1 = words[1][w] >> at->v_shift;
        uint e[4], o[4];
        e[0] = load_shared16_if<VALUE, 1>(address[w][0], bits0);
        o[0] = load_shared16_if<VALUE + 2, 2>(address[w][0], bits0);
        e[1] = load_shared16_if<VALUE, 4>(address[w][2], bits0);
        o[1] = load_shared16_if<VALUE + 2, 8>(address[w][2], bits0);
        e[2] = load_shared16_if<VALUE, 1>(address[w][1], bits1);
        o[2] = load_shared16_if<VALUE + 2, 2>(address[w][1], bits1);
        e[3] = load_shared16_if<VALUE, 4>(address[w][3], bits1);
        o[3] = load_shared16_if<VALUE + 2, 8>(address[w][3], bits1);
        if constexpr (V::TILES == 1)
            multiply<V::BF16>(sums[0][FIRST + w], o, odd[0], odd[1]);
        else
            pack_pairs(e, o);
        for (int t = 0; t < V::TILES; t++)
            multiply<V::BF16>(sums[t][FIRST + w], e, even[t][0], even[t][1]);
    }
    if constexpr (PASS + 1 < V::PASSES)
        value_passes<V, OFFSET, DENSE, PASS + 1>(at, rows, base, n_valid, even, odd, start, sums);
}

/* sums[t][w] += weights of the step's 8 tokens times their values: of query row j, channels 32w + 4i and up. */
template <class V, int OFFSET, bool DENSE>
DEVICE void value_step(const struct tensor_places<V> *at, const struct tensor_rows &rows, uint base, uint n_valid,
                       const float (&weight)[V::TILES][2], float (&sums)[V::TILES][V::WORDS][4])
{
    bool is_odd = local_id() / 4 % 2;
    uint even[V::TILES][2], odd[2];
    for (int t = 0; t < V::TILES; t++) {
        uint pair = V::BF16 ? pack_bf16(weight[t][0], weight[t][1]) : pack_half(weight[t][0], weight[t][1]);
        for (uint n = 0; n < 2; n++) {
            uint own = n ? 0x4432 : 0x4410;
            even[t][n] = permute(pair, 0, is_odd ? (V::TILES == 1 ? 0x4444 : n ? 0x3244 : 0x1044) : own);
            odd[n] = permute(pair, 0, is_odd ? own : 0x4444);
        }
    }
    uint start[4] = {rows.start[0], rows.start[1], rows.start[2], rows.start[3]};
    value_passes<V, OFFSET, DENSE>(at, rows, base, n_valid, even, odd, start, sums);
}
