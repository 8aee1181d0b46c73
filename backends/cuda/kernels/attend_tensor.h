/* SPDX-License-Identifier: Apache-2.0
 *
 * Decode attention on NVIDIA's matrix units, straight over bitmap records of 128 channels.
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
 * of query rows the even and odd channels are multiplied apart, so that nothing is packed; with more, packing pairs is
 *   less than multiplying twice for each tile.
 * - The 8 columns of the other operand carry 4 query rows, each twice: for the even and the odd half of the channels.
 *
 * Lane (i, j), with i = lane / 4 and j = lane % 4, names rows and columns as the PTX ISA does.
 */

/* Places of a lane's operands that stay the same for a kernel's life. */
struct tensor_places {
    uint mask0[4], mask1[4];   /* channels up to 4i and 4i + 2 of word w */
    uint again0[4], again1[4]; /* the same, in registers of their own */
    uint row_half;             /* all ones where this row of the matrix counts the first half of the channels */
    uint k_shift, v_shift;     /* of the lane's first channel in a word */
    uint k_row, v_row;         /* bytes to the first of the lane's two rows in a step of 8 */
    uint v_bitmap_row;         /* bytes to the word of the bitmap that the lane counts */
    uint from;                 /* lane with the lane's score */
    uint zero[3];              /* 0, which the compiler does not know */
};

/* In a step of 8 tokens a lane's tokens are `first` and `first + apart`. Rows are apart so that they start in different
 * banks. */
template <int APART> DEVICE uint first_token(uint i)
{
    return APART == 4 ? i : 2 * i;
}

/* `at` is group memory of the warp: 26 words for each lane. */
template <int APART> DEVICE void find_places(uint k_stride, uint v_stride, uint at, struct tensor_places *places)
{
    uint lane = local_id() % 32, i = lane / 4, j = lane % 4, x[26];
    for (uint w = 0; w < 4; w++) {
        x[w] = x[8 + w] = j < w ? ~0u : j == w ? (2u << 4 * i) - 1 : 0;
        x[4 + w] = x[12 + w] = j < w ? ~0u : j == w ? (2u << (4 * i + 2)) - 1 : 0;
    }
    x[16] = i % 2 ? 0 : ~0u;
    x[17] = 8 * j + 2 * (i % 2);
    x[18] = 4 * i;
    x[19] = first_token<APART>(i / 2) * k_stride;
    x[20] = first_token<APART>(j) * v_stride;
    x[21] = (APART == 4 ? i / 2 + 4 * (i % 2) : i) * v_stride + 4 * j;
    x[22] = 8 * j + i / 2;
    x[23] = x[24] = x[25] = 0;
    pin(x, at);
    for (uint w = 0; w < 4; w++) {
        places->mask0[w] = x[w];
        places->mask1[w] = x[4 + w];
        places->again0[w] = x[8 + w];
        places->again1[w] = x[12 + w];
    }
    places->row_half = x[16];
    places->k_shift = x[17];
    places->v_shift = x[18];
    places->k_row = x[19];
    places->v_row = x[20];
    places->v_bitmap_row = x[21];
    places->from = x[22];
    for (uint n = 0; n < 3; n++)
        places->zero[n] = x[23 + n];
}

template <bool BF16> DEVICE void multiply(float (&c)[4], const uint (&a)[4], uint b0, uint b1)
{
    if constexpr (BF16)
        mma_bf16(c, a[0], a[1], a[2], a[3], b0, b1);
    else
        mma_f16(c, a[0], a[1], a[2], a[3], b0, b1);
}

/* The queries of one head: TILES times 4 rows, 16 channels of a lane. `odd` are the pairs of `even` turned. */
template <int TILES> struct tensor_queries {
    uint even[TILES][4][2], odd[1][4][2];
};

template <int TILES>
DEVICE void load_queries(const struct skv_gpu_attend *p, const uchar *q, ulong i_seq, uint first_row, uint n_rows,
                         uint i_head, struct tensor_queries<TILES> *queries)
{
    uint lane = local_id() % 32, i = lane / 4, j = lane % 4;
    for (int t = 0; t < TILES; t++) {
        uint row = first_row + 4 * t + i / 2;
        bool valid = row < n_rows;
        const ushort *at = (const ushort *)q + p->q + i_seq * p->q_seq_stride +
                           (ulong)(i_head * p->group + (valid ? row : 0)) * p->q_head_stride;
        for (uint w = 0; w < 4; w++)
            for (uint h = 0; h < 2; h++) {
                uint c = 32 * w + 8 * j + 2 * (i % 2) + 4 * h;
                uint pair = valid ? (uint)at[c] | (uint)at[c + 1] << 16 : 0;
                queries->even[t][w][h] = pair;
                if constexpr (TILES == 1)
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

DEVICE struct tensor_rows k_rows(const struct tensor_places *at, uint base, uint apart)
{
    uint row = base + at->k_row;
    return {{row, row + at->zero[0], row + apart + at->zero[1], row + apart + at->zero[2]}};
}

DEVICE struct tensor_rows v_rows(const struct tensor_places *at, uint base, uint apart)
{
    uint row = base + at->v_row;
    return {{row, row + apart + at->zero[0], row + at->zero[1], row + apart + at->zero[2]}};
}

/* Scores of a step of 8 records, OFFSET bytes behind `rows`: of the lane's query row, tokens `first` and
 * `first + APART` by j. */
template <int TILES, bool BF16, int OFFSET, int APART, bool DENSE>
DEVICE void score_step(const struct tensor_places *at, const struct tensor_queries<TILES> *queries,
                       const struct tensor_rows &rows, uint n_valid, float (&score)[TILES][2])
{
    uint lane = local_id() % 32, i = lane / 4, j = lane % 4;
    uint address[4][4], words[2][4];
    if constexpr (DENSE) {
        for (uint r = 0; r < 2; r++)
            for (uint w = 0; w < 4; w++) {
                /* As if the rank were the channel's number. */
                address[w][2 * r] = rows.start[2 * r] - 14 + 2 * (32 * w + at->k_shift);
                address[w][2 * r + 1] = address[w][2 * r] + 8;
                words[r][w] = first_token<APART>(i / 2) + APART * r < n_valid ? ~0u : 0;
            }
    } else {
        uint own0 = load_shared<OFFSET>(rows.start[0] + 4 * j), own1 = load_shared<OFFSET>(rows.start[2] + 4 * j);
        uint4 all0 = load_shared4<OFFSET>(rows.start[0]), all1 = load_shared4<OFFSET>(rows.start[2]);
        uint first[4] = {own0 & at->row_half, own1 & at->row_half, own0 & ~at->row_half, own1 & ~at->row_half};
        for (uint w = 0; w < 4; w++) {
            uint once[4];
            count_bits256(once, first[0], first[1], first[2], first[3], at->mask0[w], at->mask1[w], rows.start);
            count_bits256(address[w], first[0], first[1], first[2], first[3], at->mask0[w], at->mask1[w], once);
        }
        words[0][0] = all0.x, words[0][1] = all0.y, words[0][2] = all0.z, words[0][3] = all0.w;
        words[1][0] = all1.x, words[1][1] = all1.y, words[1][2] = all1.z, words[1][3] = all1.w;
    }
    float even[TILES][4], odd[1][4];
    for (int n = 0; n < 4; n++) {
        odd[0][n] = 0;
        for (int t = 0; t < TILES; t++)
            even[t][n] = 0;
    }
    for (uint w = 0; w < 4; w++) {
        uint bits0 = words[0][w] >> at->k_shift, bits1 = words[1][w] >> at->k_shift;
        /* A word's loads stand together: the compiler then makes their predicates at once. */
        uint e[4], o[4];
        e[0] = load_shared16_if<OFFSET + 14, 1>(address[w][0], bits0);
        o[0] = load_shared16_if<OFFSET + 16, 2>(address[w][0], bits0);
        e[2] = load_shared16_if<OFFSET + 14, 16>(address[w][1], bits0);
        o[2] = load_shared16_if<OFFSET + 16, 32>(address[w][1], bits0);
        e[1] = load_shared16_if<OFFSET + 14, 1>(address[w][2], bits1);
        o[1] = load_shared16_if<OFFSET + 16, 2>(address[w][2], bits1);
        e[3] = load_shared16_if<OFFSET + 14, 16>(address[w][3], bits1);
        o[3] = load_shared16_if<OFFSET + 16, 32>(address[w][3], bits1);
        if constexpr (TILES == 1)
            multiply<BF16>(odd[0], o, queries->odd[0][w][0], queries->odd[0][w][1]);
        else
            pack_pairs(e, o);
        for (int t = 0; t < TILES; t++)
            multiply<BF16>(even[t], e, queries->even[t][w][0], queries->even[t][w][1]);
    }
    /* A row of the product holds one half of a token's channels, which half of the columns belongs to. */
    bool second = !at->row_half;
    for (int t = 0; t < TILES; t++) {
        float x = second ? even[t][1] : even[t][0], y = second ? even[t][3] : even[t][2];
        if constexpr (TILES == 1) {
            x += second ? odd[0][1] : odd[0][0];
            y += second ? odd[0][3] : odd[0][2];
        }
        score[t][0] = shuffle(x, at->from) + shuffle(x, at->from + 4);
        score[t][1] = shuffle(y, at->from) + shuffle(y, at->from + 4);
    }
}

/* sums[t][w] += weights of the step's 8 tokens times their values: of query row j, channels 32w + 4i and up. */
template <int TILES, bool BF16, int OFFSET, int APART, bool DENSE>
DEVICE void value_step(const struct tensor_places *at, const struct tensor_rows &rows, uint base, uint n_valid,
                       const float (&weight)[TILES][2], float (&sums)[TILES][4][4])
{
    uint lane = local_id() % 32, i = lane / 4, j = lane % 4;
    uint address[4][4], words[2][4];
    if constexpr (DENSE) {
        for (uint r = 0; r < 2; r++)
            for (uint w = 0; w < 4; w++) {
                address[w][r] = rows.start[r] - 14 + 2 * (32 * w + at->v_shift);
                address[w][2 + r] = address[w][r] + 4;
                words[r][w] = first_token<APART>(j) + APART * r < n_valid ? ~0u : 0;
            }
    } else {
        uint own = load_shared<OFFSET>(base + at->v_bitmap_row);
        uint4 all0 = load_shared4<OFFSET>(rows.start[0]), all1 = load_shared4<OFFSET>(rows.start[1]);
        for (uint w = 0; w < 4; w++)
            count_bits256(address[w], at->mask0[w], at->mask1[w], at->again0[w], at->again1[w], own, own, rows.start);
        words[0][0] = all0.x, words[0][1] = all0.y, words[0][2] = all0.z, words[0][3] = all0.w;
        words[1][0] = all1.x, words[1][1] = all1.y, words[1][2] = all1.z, words[1][3] = all1.w;
    }
    /* Columns with even i are for even channels, those with odd i for odd ones. */
    uint even[TILES][2], odd[2];
    for (int t = 0; t < TILES; t++) {
        uint pair = BF16 ? pack_bf16(weight[t][0], weight[t][1]) : pack_half(weight[t][0], weight[t][1]);
        for (uint n = 0; n < 2; n++) {
            uint own = n ? 0x4432 : 0x4410;
            even[t][n] = permute(pair, 0, i % 2 ? (TILES == 1 ? 0x4444 : n ? 0x3244 : 0x1044) : own);
            odd[n] = permute(pair, 0, i % 2 ? own : 0x4444);
        }
    }
    for (uint w = 0; w < 4; w++) {
        uint bits0 = words[0][w] >> at->v_shift, bits1 = words[1][w] >> at->v_shift;
        uint e[4], o[4];
        e[0] = load_shared16_if<OFFSET + 14, 1>(address[w][0], bits0);
        o[0] = load_shared16_if<OFFSET + 16, 2>(address[w][0], bits0);
        e[1] = load_shared16_if<OFFSET + 14, 4>(address[w][2], bits0);
        o[1] = load_shared16_if<OFFSET + 16, 8>(address[w][2], bits0);
        e[2] = load_shared16_if<OFFSET + 14, 1>(address[w][1], bits1);
        o[2] = load_shared16_if<OFFSET + 16, 2>(address[w][1], bits1);
        e[3] = load_shared16_if<OFFSET + 14, 4>(address[w][3], bits1);
        o[3] = load_shared16_if<OFFSET + 16, 8>(address[w][3], bits1);
        if constexpr (TILES == 1)
            multiply<BF16>(sums[0][w], o, odd[0], odd[1]);
        else
            pack_pairs(e, o);
        for (int t = 0; t < TILES; t++)
            multiply<BF16>(sums[t][w], e, even[t][0], even[t][1]);
    }
}
