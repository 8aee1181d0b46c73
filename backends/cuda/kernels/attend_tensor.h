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
 * - A value is loaded where its bit is set, else 0.
 * - Lanes gather the bits that they need from each other, those of all loads of a step in one register.
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
    /* Whether lanes gather their bits of whole bitmaps, or load words. */
    static constexpr bool TURNS = OF_PASS == 4;
    /* From a lane's first pair of key channels in a word to its second. */
    static constexpr int PAIRS_APART = TURNS ? 16 : 4;
    /* From twice a channel's inclusive rank to its value, in bytes behind the record. */
    static constexpr int VALUE = D / 8 - 2;
    static constexpr int DENSE_STRIDE = SKV_CUDA_DENSE_STRIDE(D);
};

/* A lane's part in gathering nibbles: what it takes of two words' bytes, the bytes and nibbles that it keeps, and how
 * far the others move. */
struct nibble_turn {
    uint take, bytes, nibbles, move;
};

DEVICE struct nibble_turn find_turn(bool second_byte, bool second_nibble)
{
    return {second_byte ? 0x3715u : 0x6240u, second_byte ? 0xff00ff00 : 0x00ff00ff,
            second_nibble ? 0xf0f0f0f0 : 0x0f0f0f0f, second_nibble ? 28u : 4u};
}

/* Four lanes, numbered by the bits BYTE and NIBBLE of their own numbers, hold words 0 to 3 of a bitmap, or of what is
 * 16 bits wide twice: the lane numbered n gets the nibbles n of both halves of each, those of word w at bits 4w and
 * 16 + 4w. Both words at once, as each lane keeps half of a word and sends half. */
template <uint BYTE, uint NIBBLE> DEVICE void turn_nibbles(uint &x, uint &y, const struct nibble_turn &turn)
{
    uint other = shuffle_xor(permute(x, y, turn.take ^ 0x5555), BYTE);
    x = permute(x, other, turn.take);
    y = (y & turn.bytes) | (other & ~turn.bytes);
    other = shuffle_xor((x & ~turn.nibbles) | (funnel_right(y, y, turn.move) & turn.nibbles), NIBBLE);
    x = (x & turn.nibbles) | (funnel_left(other, other, turn.move) & ~turn.nibbles);
    y = (y & turn.nibbles) | (other & ~turn.nibbles);
}

/* Places of a lane's operands that stay the same for a kernel's life. */
template <class V> struct tensor_places {
    uint mask0[V::OF_PASS], mask1[V::OF_PASS]; /* channels up to the lane's first in word w, and two further */
    uint key_mask[V::OF_PASS]; /* both in the halves of the matrix unit's depth, where words do not fill it */
    uint row_half;             /* all ones where the lane's word counts for this row of the matrix */
    uint k_first, v_first;     /* the lane's first channel in a word */
    uint k_row, v_row;         /* bytes to the first of the lane's two rows in a step of 8 */
    uint v_bitmap_row;         /* bytes to the word of the bitmap that the lane counts */
    uint v_turned_row;         /* bytes to the row of two steps that the lane names */
    uint from;                 /* lane with the lane's score */
    struct nibble_turn k_turn, v_turn;
};

/* In a step of 8 tokens a lane's tokens are `first` and `first + apart`. Rows are apart so that they start in different
 * banks. */
template <int APART> DEVICE uint first_token(uint i)
{
    return APART == 4 ? i : 2 * i;
}

/* Tokens of values as the matrix unit has them in columns, so that each lane's are those above. */
template <int APART> DEVICE uint token_of_row(uint r)
{
    return APART == 4 ? r / 2 + 4 * (r % 2) : r;
}

/* The four channels of each word that are value rows' i, counted in fours. */
template <class V> DEVICE uint fours_of(uint i)
{
    return V::TURNS ? i % 2 * 4 + i / 2 : i;
}

/* `at` is group memory of the warp: 28 words for each lane. */
template <class V> DEVICE void find_places(uint k_stride, uint v_stride, uint at, struct tensor_places<V> *places)
{
    constexpr uint N = V::OF_PASS;
    uint lane = local_id() % 32, i = lane / 4, j = lane % 4, own = j % N, x[3 * N + 16], *rest = x + 3 * N;
    uint first = 4 * fours_of<V>(i);
    for (uint w = 0; w < N; w++) {
        x[w] = own < w ? ~0u : own == w ? (2u << first) - 1 : 0;
        x[N + w] = own < w ? ~0u : own == w ? (2u << (first + 2)) - 1 : 0;
        x[2 * N + w] = j < N ? x[w] : x[N + w];
    }
    struct nibble_turn k_turn = find_turn(j & 2, j & 1), v_turn = find_turn(i & 4, i & 2);
    rest[0] = (N == 4 || j < N) == (i % 2 == 0) ? ~0u : 0;
    rest[1] = (V::TURNS ? 4 * j : 8 * j) + 2 * (i % 2);
    rest[2] = first;
    rest[3] = first_token<V::APART>(i / 2) * k_stride;
    rest[4] = first_token<V::APART>(j) * v_stride;
    rest[5] = token_of_row<V::APART>(i) * v_stride + 4 * own;
    rest[6] = (lane / 8 * 8 + token_of_row<V::APART>(lane % 8)) * v_stride;
    rest[7] = 8 * j + i / 2;
    rest[8] = k_turn.take, rest[9] = k_turn.bytes, rest[10] = k_turn.nibbles, rest[11] = k_turn.move;
    rest[12] = v_turn.take, rest[13] = v_turn.bytes, rest[14] = v_turn.nibbles, rest[15] = v_turn.move;
    pin(x, at);
    for (uint w = 0; w < N; w++) {
        places->mask0[w] = x[w];
        places->mask1[w] = x[N + w];
        places->key_mask[w] = x[2 * N + w];
    }
    places->row_half = rest[0];
    places->k_first = rest[1];
    places->v_first = rest[2];
    places->k_row = rest[3];
    places->v_row = rest[4];
    places->v_bitmap_row = rest[5];
    places->v_turned_row = rest[6];
    places->from = rest[7];
    places->k_turn = {rest[8], rest[9], rest[10], rest[11]};
    places->v_turn = {rest[12], rest[13], rest[14], rest[15]};
}

template <bool BF16> DEVICE void multiply(float (&c)[4], const uint (&a)[4], uint b0, uint b1)
{
    if constexpr (BF16)
        mma_bf16(c, a[0], a[1], a[2], a[3], b0, b1);
    else
        mma_f16(c, a[0], a[1], a[2], a[3], b0, b1);
}

/* The queries of one head: TILES times 4 rows, D / 8 channels of a lane. */
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
        for (uint w = 0; w < V::WORDS; w++)
            for (uint h = 0; h < 2; h++) {
                uint c = 32 * w + (V::TURNS ? 4 * j : 8 * j) + 2 * (i % 2) + V::PAIRS_APART * h;
                queries->of[t][w][h] = valid ? (uint)at[c] | (uint)at[c + 1] << 16 : 0;
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

/* The words of a bitmap of 64 channels, from the lane's first bit on. */
template <int OFFSET> DEVICE void load_words(uint at, uint first, uint *words)
{
    uint2 all = load_shared2<OFFSET>(at);
    words[0] = all.x >> first, words[1] = all.y >> first;
}

/* The lane's bits of a pass of two rows' bitmaps. Of whole ones, row r has 4 bits for word w from 16r + 4w on, in all
 * three: as they are, moved by 6 and by 3. Else each row and word has a register. */
template <class V> struct tensor_bits {
    uint word[V::TURNS ? 3 : 2 * V::OF_PASS];
};

template <class V> DEVICE void set_turned(struct tensor_bits<V> *bits, uint turned)
{
    bits->word[0] = turned;
    bits->word[1] = turned >> 6;
    bits->word[2] = turned >> 3;
}

/* Of dense rows: where the tokens of the lane's rows are valid, all. */
template <class V> DEVICE void set_valid(struct tensor_bits<V> *bits, uint n_valid, uint row)
{
    uint first = first_token<V::APART>(row);
    uint valid[2] = {first < n_valid ? ~0u : 0, first + V::APART < n_valid ? ~0u : 0};
    if constexpr (V::TURNS) {
        set_turned<V>(bits, (valid[0] & 0xffff) | (valid[1] & 0xffff0000));
    } else {
        for (uint w = 0; w < V::OF_PASS; w++)
            bits->word[w] = valid[0], bits->word[V::OF_PASS + w] = valid[1];
    }
}

/* The values of words w and w + 1 as the matrix unit has them, in pairs of channels. */
struct tensor_values {
    uint pair[2][4], odd[2][4];
};

/* One channel's value, or 0 where its bit is not set: in a word, each row has two pairs of channels. */
template <class V, int VALUE, bool KEYS>
DEVICE void load_value(struct tensor_values *values, const uint (&address)[V::OF_PASS][4], uint w, uint n, uint r,
                       uint c, uint bits, uint bit)
{
    uint at = address[w + n][KEYS ? 2 * r + c / 2 : c / 2 * 2 + r], to = KEYS ? c / 2 * 2 + r : 2 * r + c / 2;
    if (c % 2)
        values->odd[n][to] = load_shared16_if<VALUE + 2>(at, bits, 1u << bit);
    else
        values->pair[n][to] = load_shared16_if<VALUE>(at, bits, 1u << bit);
}

/* Loads of neighbouring bits stand together: predicates of six are made at once, and of two while those are in use. */
template <class V, int VALUE, bool KEYS>
DEVICE void load_values(const uint (&address)[V::OF_PASS][4], const struct tensor_bits<V> *bits, uint w,
                        struct tensor_values *values)
{
    for (uint r = 0; r < 2 && V::TURNS; r++)
        for (uint c = 0; c < 6; c++)
            load_value<V, VALUE, KEYS>(values, address, w, c / 4, r, c % 4, bits->word[0], 16 * r + 4 * w + c);
    for (uint r = 0; r < 2 && V::TURNS; r++)
        for (uint c = 2; c < 4; c++)
            load_value<V, VALUE, KEYS>(values, address, w, 1, r, c, bits->word[1 + r], 19 * r + 4 * w + c - 2);
    for (uint x = 0; x < 16 && !V::TURNS; x++) {
        uint n = x / 8, r = x / 4 % 2, c = x % 4;
        load_value<V, VALUE, KEYS>(values, address, w, n, r, c, bits->word[r * V::OF_PASS + w + n],
                                   KEYS ? c / 2 * V::PAIRS_APART + c % 2 : c);
    }
    for (uint n = 0; n < 2; n++)
        for (uint x = 0; x < 4; x++)
            values->pair[n][x] += values->odd[n][x] << 16;
}

/* Addresses and bits of the values of the keys' words of a pass: `start` is where the rows' values of this pass begin,
 * and is moved to the next pass. Counts are doubled in the arithmetic unit: matrix units are the scarcer one. */
template <class V, int OFFSET>
DEVICE void find_keys(const struct tensor_places<V> *at, const struct tensor_rows &rows, bool is_last, uint (&start)[2],
                      uint (&address)[V::OF_PASS][4], struct tensor_bits<V> *bits)
{
    const uint none[4] = {0, 0, 0, 0};
    uint j = local_id() % 4, counts[4];
    uint own0 = load_shared<OFFSET>(rows.at[0] + 4 * (j % V::OF_PASS));
    uint own1 = load_shared<OFFSET>(rows.at[1] + 4 * (j % V::OF_PASS));
    uint x[4] = {own0 & at->row_half, own1 & at->row_half, own0 & ~at->row_half, own1 & ~at->row_half};
    for (uint w = 0; w < V::OF_PASS; w++) {
        if constexpr (V::TURNS)
            count_bits256(counts, x[0], x[1], x[2], x[3], at->mask0[w], at->mask1[w], none);
        else
            count_bits128(counts, x[0], x[1], at->key_mask[w], none);
        for (uint n = 0; n < 4; n++)
            address[w][n] = add_product(counts[n], 2, start[n / 2]);
    }
    if constexpr (V::TURNS) {
        uint low = own0, high = own1, second = at->k_first & 2;
        turn_nibbles<2, 1>(low, high, at->k_turn);
        uint first = permute(low, high, 0x5410) >> second, other = permute(low, high, 0x7632);
        set_turned<V>(bits, (first & 0x33333333) | (funnel_left(other, other, 2 - second) & 0xcccccccc));
    } else {
        load_words<OFFSET>(rows.at[0], at->k_first, bits->word);
        load_words<OFFSET>(rows.at[1], at->k_first, bits->word + 2);
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
        count_bits128(counts, at->mask0[w], at->mask1[w], own, none);
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
                         const struct tensor_rows &rows, uint n_valid, uint (&start)[2], float (&sums)[V::TILES][4])
{
    constexpr int FIRST = PASS * V::OF_PASS;
    uint address[V::OF_PASS][4];
    struct tensor_bits<V> bits;
    if constexpr (DENSE) {
        for (uint x = 0; x < 4 * V::OF_PASS; x++) {
            uint w = x / 4, n = x % 4;
            /* As if the rank were the channel's number. */
            address[w][n] =
                rows.at[n / 2] - V::VALUE + 2 * (32 * (FIRST + w) + at->k_first) + n % 2 * 2 * V::PAIRS_APART;
        }
        set_valid<V>(&bits, n_valid, local_id() % 32 / 8);
    } else {
        find_keys<V, OFFSET + 4 * FIRST>(at, rows, PASS + 1 == V::PASSES, start, address, &bits);
    }
    for (uint w = 0; w < V::OF_PASS; w += 2) {
        struct tensor_values values;
        load_values<V, V::VALUE + OFFSET, true>(address, &bits, w, &values);
        for (uint n = 0; n < 2; n++)
            for (int t = 0; t < V::TILES; t++) {
                const uint(&q)[2] = queries->of[t][FIRST + w + n];
                multiply<V::BF16>(sums[t], values.pair[n], q[0], q[1]);
            }
    }
    if constexpr (PASS + 1 < V::PASSES)
        score_passes<V, OFFSET, DENSE, PASS + 1>(at, queries, rows, n_valid, start, sums);
}

/* Scores of a step of 8 records, OFFSET bytes behind `rows`: of the lane's query row, tokens `first` and
 * `first + APART` by j. */
template <class V, int OFFSET, bool DENSE>
DEVICE void score_step(const struct tensor_places<V> *at, const struct tensor_queries<V> *queries,
                       const struct tensor_rows &rows, uint n_valid, float (&score)[V::TILES][2])
{
    float sums[V::TILES][4];
    for (int t = 0; t < V::TILES; t++)
        for (int n = 0; n < 4; n++)
            sums[t][n] = 0;
    uint start[2] = {rows.at[0], rows.at[1]};
    score_passes<V, OFFSET, DENSE>(at, queries, rows, n_valid, start, sums);
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

/* Passes from PASS on of a step's sums. Columns with even i are for the first pairs of channels, those with odd i for
 * the second. */
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
            address[w][n] = rows.at[n % 2] - V::VALUE + 2 * (32 * (FIRST + w) + at->v_first) + n / 2 * 4;
        }
        set_valid<V>(&bits, n_valid, local_id() % 4);
    } else {
        find_values<V, OFFSET + 4 * FIRST>(at, base, PASS + 1 == V::PASSES, start, address);
        if constexpr (V::TURNS) {
            set_turned<V>(&bits, turned[PASS]);
        } else {
            load_words<OFFSET>(rows.at[0], at->v_first, bits.word);
            load_words<OFFSET>(rows.at[1], at->v_first, bits.word + 2);
        }
    }
    for (uint w = 0; w < V::OF_PASS; w += 2) {
        struct tensor_values values;
        load_values<V, V::VALUE + OFFSET, false>(address, &bits, w, &values);
        for (uint n = 0; n < 2; n++)
            for (int t = 0; t < V::TILES; t++)
                multiply<V::BF16>(sums[t][FIRST + w + n], values.pair[n], weights[t][0], weights[t][1]);
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
        bits[0][pass] = x[0];
        bits[1][pass] = x[1];
    }
}

/* sums[t][w] += weights of the step's 8 tokens times their values: of query row j, the four channels of word w. */
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
