/* SPDX-License-Identifier: Apache-2.0
 *
 * Decode attention on NVIDIA's matrix units, straight over bitmap records of 64, 128 or 256 channels.
 *
 * The tokens of all sequences and heads lie in one line of chunks: C records, or 8 dense rows of the tail. Each group
 * takes an equal part of the line, its n warps take every n-th chunk of that part, and each warp keeps a ring of chunks
 * under way with bulk copies of its own; there is no barrier of the group in the loop. A chunk's records are expanded
 * once, from group memory into matrix fragments, and meet all query rows:
 *
 * - The rank of a channel among the survivors is a popcount of bitmap & mask, which the matrix unit's 1-bit
 *   multiplication gives for 16 rows at once, in the layout of the fragments. Twice the rank behind the row's start is
 *   the channel's value (but for a constant).
 * - For channels c and c + 1 the inclusive rank of c serves both: c is there if its bit is set, and c + 1 behind it.
 * - What lies there is loaded in any case. Two channels' values are put into one register by a permutation of bytes
 * that takes zeros for those that are not kept; it comes from their bits by a product.
 * - At one load, 8 lanes take values of 16 neighbouring channels: they lie in few banks, and other tokens' in others.
 * - Lanes gather the bits that they need from each other, those of all loads of a step in one register.
 * - The 8 columns of the other operand carry 4 query rows, each twice: for the even and the odd half of the channels.
 *
 * Lane (i, j), with i = lane / 4 and j = lane % 4, names rows and columns as the PTX ISA does.
 */

template <bool BF16> DEVICE void multiply(float (&c)[4], const uint (&a)[4], uint b0, uint b1)
{
    if constexpr (BF16)
        mma_bf16(c, a[0], a[1], a[2], a[3], b0, b1);
    else
        mma_f16(c, a[0], a[1], a[2], a[3], b0, b1);
}

/* The queries of one head: TILES times 4 rows, D / 8 channels of a lane. In the order of the keys' products: the pair
 * h of channels of words w and w + HALF is at 2 * w + h, with its first and its second channel. */
template <class V> struct tensor_queries {
    uint of[V::TILES][V::WORDS][2];
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
        for (uint x = 0; x < V::WORDS; x++)
            for (uint odd = 0; odd < 2; odd++) {
                uint pass = x / V::OF_PASS, w = x % V::OF_PASS / 2, h = x % 2;
                uint c = 32 * (pass * V::OF_PASS + w) + 4 * j + 2 * (i % 2) + h * PAIRS_APART + odd;
                queries->of[t][x][odd] = valid ? (uint)at[c] | (uint)at[c + 32 * V::HALF] << 16 : 0;
            }
    }
}

/* The lane's two rows of a step. */
struct tensor_rows {
    uint at[2];
};

DEVICE struct tensor_rows two_rows(uint first, uint apart)
{
    return {{first, first + apart}};
}

/* The lane's bits of a pass of two rows' bitmaps, 4 for each word: those of its pairs' first and second channel. From
 * bit 0 on, word 2p + x has pair 0 of word p of row x, and 16 bits further pair 1; of values of whole bitmaps it has
 * pair x of row 0, and 16 bits further of row 1. Those of word p + HALF are 8 bits further. */
template <class V> struct tensor_bits {
    uint word[V::OF_PASS];
};

/* Of two steps' keys; those of the second step are 2 bits further. */
template <class V> struct tensor_key_bits {
    uint row[V::PASSES][2];
};

/* Row r has 4 bits for word w from 16r + 4w on. */
template <class V> DEVICE void set_value_bits(struct tensor_bits<V> *bits, uint turned)
{
    for (uint x = 0; x < V::OF_PASS; x++)
        bits->word[x] = turned >> 2 * x;
}

template <class V> DEVICE void set_key_bits(struct tensor_bits<V> *bits, const uint (&row)[2], uint step)
{
    for (uint x = 0; x < V::OF_PASS; x++)
        bits->word[x] = row[x % 2] >> (x / 2 * 4 + 2 * step);
}

/* Of bitmaps of 64 channels. */
template <class V, int OFFSET>
DEVICE void load_bits(const struct tensor_rows &rows, uint first, struct tensor_bits<V> *bits)
{
    for (uint r = 0; r < 2; r++) {
        uint2 words = load_shared2<OFFSET>(rows.at[r]);
        bits->word[r] = (words.x >> first & 0x00ff00ff) | (words.y >> first << 8 & 0xff00ff00);
    }
}

/* Of dense rows: where the tokens of the lane's rows are valid, all. */
template <class V, bool KEYS> DEVICE void set_valid(struct tensor_bits<V> *bits, uint n_valid, uint row)
{
    uint first = first_token<V::APART>(row);
    uint valid[2] = {first < n_valid ? ~0u : 0, first + V::APART < n_valid ? ~0u : 0};
    for (uint x = 0; x < V::OF_PASS; x++)
        bits->word[x] = KEYS || !V::TURNS ? valid[x % 2] : (valid[0] & 0xffff) | (valid[1] & 0xffff0000);
}

/* The values of words w and w + HALF as the matrix unit has them, of each pair of channels. */
struct tensor_values {
    uint pair[2][4];
};

template <class V, int VALUE, bool KEYS>
DEVICE void load_values(const struct tensor_places<V> *places, const uint (&address)[V::OF_PASS][4],
                        const struct tensor_bits<V> *bits, uint w, struct tensor_values *values)
{
    for (uint x = 0; x < 4; x++) {
        uint which = x / 2, odd = x % 2;
        /* 1 in the lowest bit of each byte whose channel is gone; then 2 in both nibbles that take its bytes. */
        uint gone = ~bits->word[2 * w + which] & (odd ? 0x02020202 : 0x01010101);
        uint take = add_product(gone, odd ? 0x11 : 0x22, places->all_kept), upper = twice_upper_half(take);
        for (uint n = 0; n < 2; n++) {
            uint r = KEYS || !V::TURNS ? which : n, h = which + n - r, from = KEYS ? 2 * r + h : 2 * h + r;
            uint first, second;
            if (odd) {
                first = load_shared16<VALUE + 2>(address[w][from]);
                second = load_shared16<VALUE + 2>(address[w + V::HALF][from]);
            } else {
                first = load_shared16<VALUE>(address[w][from]);
                second = load_shared16<VALUE>(address[w + V::HALF][from]);
            }
            values->pair[h][KEYS ? 2 * odd + r : 2 * r + odd] = permute(first, second, n ? upper : take);
        }
    }
}

/* The words that a lane has of its rows' bitmaps in a step of keys. */
template <class V> struct tensor_words {
    uint own[V::PASSES][2];
};

template <class V, int OFFSET> DEVICE void load_words(const struct tensor_rows &rows, struct tensor_words<V> *words)
{
    for (uint r = 0; r < 2; r++) {
        uint at = rows.at[r] + local_id() % V::OF_PASS * 4;
        words->own[0][r] = load_shared<OFFSET>(at);
        if constexpr (V::PASSES == 2)
            words->own[1][r] = load_shared<OFFSET + 16>(at);
    }
}

/* Two lanes have the same words: each turns those of one step. */
template <class V>
DEVICE void find_key_bits(const struct tensor_places<V> *at, const struct tensor_words<V> (&words)[2],
                          struct tensor_key_bits<V> *bits)
{
    bool is_second = at->k_first & 2;
    for (uint pass = 0; pass < V::PASSES && V::TURNS; pass++) {
        uint(&row)[2] = bits->row[pass];
        for (uint r = 0; r < 2; r++)
            row[r] = is_second ? words[1].own[pass][r] : words[0].own[pass][r];
        turn_nibbles<2, 1>(row[0], row[1], at->k_turn);
        exchange<4>(row[0], row[1], at->pair_turn);
    }
}

/* Addresses of the values of the keys' words of a pass: `start` is where the rows' values of this pass begin, and is
 * moved to the next pass. Counts are doubled in the arithmetic unit: matrix units are the scarcer one. */
template <class V>
DEVICE void find_keys(const struct tensor_places<V> *at, const uint (&own)[2], bool is_last, uint (&start)[2],
                      uint (&address)[V::OF_PASS][4])
{
    const uint none[4] = {0, 0, 0, 0};
    uint counts[4];
    uint x[4] = {own[0] & at->row_half, own[1] & at->row_half, own[0] & ~at->row_half, own[1] & ~at->row_half};
    for (uint w = 0; w < V::OF_PASS; w++) {
        if constexpr (V::TURNS)
            count_bits256(counts, x[0], x[1], x[2], x[3], at->k_mask[0][w], at->k_mask[1][w], none);
        else
            count_bits128(counts, x[0], x[1], at->k_mask[0][w], none);
        for (uint n = 0; n < 4; n++)
            address[w][n] = add_product(counts[n], 2, start[n / 2]);
    }
    if (is_last)
        return;
    count_bits256(counts, x[0], x[1], x[2], x[3], ~0u, ~0u, none);
    for (uint r = 0; r < 2; r++)
        start[r] += 2 * counts[2 * r];
}

/* The same of values, but for the bits of whole bitmaps. */
template <class V, int OFFSET>
DEVICE void find_values(const struct tensor_places<V> *at, uint base, bool is_last, uint (&start)[2],
                        uint (&address)[V::OF_PASS][4])
{
    const uint none[4] = {0, 0, 0, 0};
    uint own = load_shared<OFFSET>(base + at->v_bitmap_row), counts[4];
    for (uint w = 0; w < V::OF_PASS; w++) {
        /* Of bitmaps of 64 channels the unit's depth has two. */
        count_bits128(counts, at->v_mask[0][w], at->v_mask[1][w], own, none);
        for (uint n = 0; n < 4; n++)
            address[w][n] = add_product(counts[n], V::TURNS ? 2 : 1, start[n % 2]);
    }
    if (is_last)
        return;
    count_bits128(counts, ~0u, ~0u, own, none);
    for (uint r = 0; r < 2; r++)
        start[r] += 2 * counts[r];
}

/* Passes from PASS on of a step's scores. */
template <class V, int OFFSET, bool DENSE, int PASS = 0>
DEVICE void score_passes(const struct tensor_places<V> *at, const struct tensor_queries<V> *queries,
                         const struct tensor_rows &rows, uint n_valid, const struct tensor_words<V> &words,
                         const struct tensor_key_bits<V> &key_bits, uint step, uint (&start)[2],
                         float (&sums)[V::TILES][4])
{
    constexpr int FIRST = PASS * V::OF_PASS;
    uint address[V::OF_PASS][4];
    struct tensor_bits<V> bits;
    if constexpr (DENSE) {
        for (uint x = 0; x < 4 * V::OF_PASS; x++) {
            uint w = x / 4, n = x % 4;
            /* As if the rank were the channel's number. */
            address[w][n] = rows.at[n / 2] - V::VALUE + 2 * (32 * (FIRST + w) + at->k_first + n % 2 * PAIRS_APART);
        }
        set_valid<V, true>(&bits, n_valid, local_id() % 32 / 8);
    } else {
        find_keys<V>(at, words.own[PASS], PASS + 1 == V::PASSES, start, address);
        if constexpr (V::TURNS)
            set_key_bits<V>(&bits, key_bits.row[PASS], step);
        else
            load_bits<V, OFFSET>(rows, at->k_first, &bits);
    }
    for (uint w = 0; w < V::HALF; w++) {
        struct tensor_values values;
        load_values<V, V::VALUE + OFFSET, true>(at, address, &bits, w, &values);
        for (uint h = 0; h < 2; h++)
            for (int t = 0; t < V::TILES; t++) {
                const uint(&q)[2] = queries->of[t][FIRST + 2 * w + h];
                multiply<V::BF16>(sums[t], values.pair[h], q[0], q[1]);
            }
    }
    if constexpr (PASS + 1 < V::PASSES)
        score_passes<V, OFFSET, DENSE, PASS + 1>(at, queries, rows, n_valid, words, key_bits, step, start, sums);
}

/* Scores of a step of 8 records, OFFSET bytes behind `rows`, the first or the second of two: of the lane's query row,
 * tokens `first` and `first + APART` by j. */
template <class V, int OFFSET, bool DENSE>
DEVICE void score_step(const struct tensor_places<V> *at, const struct tensor_queries<V> *queries,
                       const struct tensor_rows &rows, uint n_valid, const struct tensor_words<V> &words,
                       const struct tensor_key_bits<V> &bits, uint step, float (&score)[V::TILES][2])
{
    float sums[V::TILES][4];
    for (int t = 0; t < V::TILES; t++)
        for (int n = 0; n < 4; n++)
            sums[t][n] = 0;
    uint start[2] = {rows.at[0], rows.at[1]};
    score_passes<V, OFFSET, DENSE>(at, queries, rows, n_valid, words, bits, step, start, sums);
    /* A row of the product holds one half of a token's channels, which half of the columns belongs to. Lanes with the
     * first half add up one token, the others the other. */
    bool second = at->k_first & 2;
    for (int t = 0; t < V::TILES; t++) {
        float x = second ? sums[t][1] : sums[t][0], y = second ? sums[t][3] : sums[t][2];
        float sum = (second ? y : x) + shuffle_xor(second ? x : y, 4);
        score[t][0] = shuffle(sum, at->from);
        score[t][1] = shuffle(sum, at->from + 4);
    }
}

/* Passes from PASS on of a step's sums. Columns with even i are for words w, those with odd i for w + HALF. */
template <class V, int OFFSET, bool DENSE, int PASS = 0>
DEVICE void value_passes(const struct tensor_places<V> *at, const struct tensor_rows &rows, uint base, uint n_valid,
                         const uint (&weights)[V::TILES][2], const uint (&turned)[V::PASSES], uint (&start)[2],
                         float (&sums)[V::TILES][V::WORDS][4])
{
    constexpr int FIRST = PASS * V::OF_PASS;
    uint address[V::OF_PASS][4];
    struct tensor_bits<V> bits;
    if constexpr (DENSE) {
        for (uint x = 0; x < 4 * V::OF_PASS; x++) {
            uint w = x / 4, n = x % 4;
            address[w][n] =
                rows.at[n % 2] - V::VALUE + 2 * (32 * (FIRST + w) + at->v_first + n / 2 * values_apart<V>());
        }
        set_valid<V, false>(&bits, n_valid, local_id() % 4);
    } else {
        find_values<V, OFFSET + 4 * FIRST>(at, base, PASS + 1 == V::PASSES, start, address);
        if constexpr (V::TURNS)
            set_value_bits<V>(&bits, turned[PASS]);
        else
            load_bits<V, OFFSET>(rows, at->v_first, &bits);
    }
    for (uint w = 0; w < V::HALF; w++) {
        struct tensor_values values;
        load_values<V, V::VALUE + OFFSET, false>(at, address, &bits, w, &values);
        for (uint h = 0; h < 2; h++)
            for (int t = 0; t < V::TILES; t++)
                multiply<V::BF16>(sums[t][FIRST + 2 * w + h], values.pair[h], weights[t][0], weights[t][1]);
    }
    if constexpr (PASS + 1 < V::PASSES)
        value_passes<V, OFFSET, DENSE, PASS + 1>(at, rows, base, n_valid, weights, turned, start, sums);
}

/* The bits of two steps' values from `base` on, for each pass. */
template <class V> DEVICE void find_value_bits(const struct tensor_places<V> *at, uint base, uint (&bits)[2][V::PASSES])
{
    for (uint pass = 0; pass < V::PASSES && V::TURNS; pass++) {
        uint x[2];
        load_turned(x, base + at->v_turned_row + 16 * pass);
        turn_nibbles<16, 8>(x[0], x[1], at->v_turn);
        if constexpr (!V::FOURS)
            exchange<4>(x[0], x[1], at->pair_turn);
        bits[0][pass] = x[0];
        bits[1][pass] = x[1];
    }
}

/* sums += weights of the step's 8 tokens times their values: of query row j, channels of the lane's pairs. sums[t][2w +
 * h] are of pair h: its first channel of words w and w + HALF, then its second. */
template <class V, int OFFSET, bool DENSE>
DEVICE void value_step(const struct tensor_places<V> *at, const struct tensor_rows &rows, uint base, uint n_valid,
                       const float (&weight)[V::TILES][2], const uint (&turned)[V::PASSES],
                       float (&sums)[V::TILES][V::WORDS][4])
{
    bool is_odd = local_id() / 4 % 2;
    uint weights[V::TILES][2];
    for (int t = 0; t < V::TILES; t++) {
        uint pair = V::BF16 ? pack_bf16(weight[t][0], weight[t][1]) : pack_half(weight[t][0], weight[t][1]);
        weights[t][0] = permute(pair, 0, is_odd ? 0x1044 : 0x4410);
        weights[t][1] = permute(pair, 0, is_odd ? 0x3244 : 0x4432);
    }
    uint start[2] = {rows.at[0], rows.at[1]};
    value_passes<V, OFFSET, DENSE>(at, rows, base, n_valid, weights, turned, start, sums);
}
