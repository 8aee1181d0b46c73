/* SPDX-License-Identifier: Apache-2.0
 *
 * Decode attention on AMD's matrix units, straight over bitmap records: products. A wave takes 16 tokens at once, whose
 * records lie in group memory, and expands each of them once, for up to 16 query rows.
 *
 * - Channels are expanded by fours. The values of four channels are some of the four that start at the rank of the
 *   first, so one load of 8 bytes has them all, and two byte permutations put each in its place and zeros elsewhere.
 *   Their selectors depend on the four bits alone: a table of 16 entries of 8 bytes, one for each pair of banks.
 * - Ranks are popcounts, which AMD has at full rate.
 * - Keys: lane (t, g), t = lane % 16 and g = lane / 16, has token t and a part of its bitmap. Four channels of a token
 *   stand together in the fragment, so nothing else moves. Scores come out with their tokens in the lanes where the
 *   other product wants its weights.
 * - Values: lane (x, g) has the x-th sixteenth of the bitmap of DEPTH tokens. The fragment wants the tokens of one
 *   channel together, so 4 x 4 values are transposed by permutations. What comes before it is summed over the lanes of
 *   a row, for four tokens at once, in the bytes of one word.
 */

/* Bits of four channels, times 8, in each byte: of the lower four, and of the upper. */
struct matrix_fours {
    uint lower, upper;
};

DEVICE struct matrix_fours fours_of(uint word)
{
    return {word << 3 & 0x78787878u, word >> 1 & 0x78787878u};
}

DEVICE uint byte_of(uint word, uint i)
{
    return word >> 8 * i & 0xff;
}

/* Entry n of the table, by lane n. */
DEVICE void write_selectors(uint table, uint n)
{
    uint half[4];
    for (uint c = 0; c < 4; c++) {
        uint rank = popcount(n & ((1u << c) - 1));
        half[c] = n >> c & 1 ? 0x0100u + 0x0202u * rank : 0x0c0cu;
    }
    store_group4(table + 8 * n, half[0] | half[1] << 16);
    store_group4(table + 8 * n + 4, half[2] | half[3] << 16);
}

/* Channels 0 and 1, 2 and 3 of four. */
DEVICE void expand(uint values_at, uint selectors_at, uint *low, uint *high)
{
    uint2 values = load_group8_any(values_at), selectors = load_group8(selectors_at);
    *low = permute(values.x, values.y, selectors.x);
    *high = permute(values.x, values.y, selectors.y);
}

/* What a kernel is compiled for, and the numbers that follow. */
template <class V> struct matrix_state;
template <class U, int D_, bool BF16_> struct matrix_variant {
    typedef U unit;
    typedef matrix_state<matrix_variant> state;
    static constexpr uint D = D_, DEPTH = U::DEPTH;
    static constexpr bool BF16 = BF16_;
    static constexpr uint STEPS = D / 16;       /* products of a chunk: of its keys, and of its values */
    static constexpr uint PART = D / U::GROUPS; /* channels that a lane expands of a key */
    static constexpr uint BITMAP = D / 8;
    static constexpr uint CHANNELS = D / 16; /* that a lane expands of a value */
    static constexpr bool ONE_AREA = SKV_HIP_AREAS(D) == 1;
    static constexpr uint EARLY = SKV_HIP_PIECES_MAX(D) / 2; /* pieces of a record that suffice for short ones */
};

/* Step s has, at place i of a lane's depth, channel D / GROUPS * g + DEPTH * s + i. Waves of 32 lanes, whose registers
 * would be too few, have them in group memory; of four rows of dot products, the last two. */
template <class V> struct matrix_queries {
    static constexpr bool IS_TILE = V::unit::ROWS == SKV_HIP_TILE;
    static constexpr uint OWN_ROWS = IS_TILE                                                     ? V::unit::LANES != 32
                                     : V::unit::LANES == 32 && V::D == 128 && V::unit::ROWS == 4 ? 2
                                                                                                 : V::unit::ROWS;
    static constexpr bool IN_GROUP_MEMORY = OWN_ROWS != (IS_TILE ? 1 : V::unit::ROWS);
    typename V::unit::right steps[OWN_ROWS ? V::STEPS : 1];
    uint at; /* the lane's row there, or the first */
};

/* Two channels from c on of a query row; 0 past the group's last. */
DEVICE uint query_pair(const struct skv_gpu_attend *p, const uchar *q, ulong i_seq, uint i_head, uint row, uint c)
{
    if (row >= p->group)
        return 0;
    const ushort *at =
        (const ushort *)q + p->q + i_seq * p->q_seq_stride + (ulong)(i_head * p->group + row) * p->q_head_stride + c;
    return (uint)at[0] | (uint)at[1] << 16;
}

/* By all lanes of the group; a barrier has to follow. */
template <class V>
DEVICE void load_queries(const struct skv_gpu_attend *p, const uchar *q, ulong i_seq, uint i_head, uint first_row,
                         uint group_at, struct matrix_queries<V> *queries)
{
    typedef typename V::unit U;
    uint lane = local_id() % U::LANES, row = lane % 16;
    if constexpr (matrix_queries<V>::IN_GROUP_MEMORY) {
        for (uint x = local_id(); x < SKV_HIP_TILE * V::D / 2; x += SKV_HIP_WAVES * U::LANES) {
            uint to = x / (V::D / 2), c = x % (V::D / 2) * 2;
            store_group4(group_at + to * SKV_HIP_QUERY_STRIDE(V::D) + 2 * c,
                         query_pair(p, q, i_seq, i_head, first_row + to, c));
        }
        queries->at =
            group_at + (matrix_queries<V>::IS_TILE ? row * SKV_HIP_QUERY_STRIDE(V::D) : 2 * V::PART * (lane / 16));
    }
    if constexpr (matrix_queries<V>::OWN_ROWS > 0) {
#pragma unroll
        for (uint s = 0; s < V::STEPS; s++) {
            const uint c = V::PART * (lane / 16) + V::DEPTH * s;
            if constexpr (matrix_queries<V>::IS_TILE) {
                uint words[V::DEPTH / 2];
#pragma unroll
                for (uint i = 0; i < V::DEPTH / 2; i++)
                    words[i] = query_pair(p, q, i_seq, i_head, first_row + row, c + 2 * i);
                queries->steps[s] = U::complete(words);
            } else {
#pragma unroll
                for (uint m = 0; m < matrix_queries<V>::OWN_ROWS; m++)
#pragma unroll
                    for (uint i = 0; i < V::DEPTH / 2; i++)
                        queries->steps[s].words[m][i] = query_pair(p, q, i_seq, i_head, first_row + m, c + 2 * i);
            }
        }
    }
}

template <class V> DEVICE typename V::unit::right query_of(const struct matrix_queries<V> *queries, uint step)
{
    typedef struct matrix_queries<V> Q;
    if constexpr (Q::IS_TILE && Q::IN_GROUP_MEMORY) {
        return V::unit::load(queries->at + 2 * V::DEPTH * step, V::D);
    } else {
        typename V::unit::right found = queries->steps[step];
        if constexpr (Q::IN_GROUP_MEMORY)
#pragma unroll
            for (uint m = Q::OWN_ROWS; m < V::unit::ROWS; m++) {
                uint4 words = load_group16(queries->at + m * SKV_HIP_QUERY_STRIDE(V::D) + 2 * V::DEPTH * step);
                found.words[m][0] = words.x;
                found.words[m][1] = words.y;
                found.words[m][2] = words.z;
                found.words[m][3] = words.w;
            }
        return found;
    }
}

template <uint N> DEVICE void load_bitmap(uint record, uint (&words)[N])
{
    if constexpr (N == 2) {
        uint2 both = load_group8(record);
        words[0] = both.x;
        words[1] = both.y;
    } else {
#pragma unroll
        for (uint w = 0; w < N; w += 4) {
            uint4 four = load_group16(record + 4 * w);
            words[w] = four.x;
            words[w + 1] = four.y;
            words[w + 2] = four.z;
            words[w + 3] = four.w;
        }
    }
}

/* Bits below `bit` of a bitmap, in its word w. */
DEVICE uint below(uint bit, uint w)
{
    return bit >= 32 * w + 32 ? ~0u : bit > 32 * w ? ~0u >> (32 * w + 32 - bit) : 0;
}

/* The lane's scores: of its query row and DEPTH tokens; of dot products, its part of those of all rows and of token
 * lane % 16. `record` is that token's. */
template <class V>
DEVICE void score_chunk(const struct matrix_queries<V> *queries, uint table, uint record,
                        float (&score)[V::unit::RESULTS])
{
    typedef typename V::unit U;
    uint g = local_id() % U::LANES / 16;
    uint words[V::D / 32], before = 0;
    load_bitmap(record, words);
#pragma unroll
    for (uint w = 0; 32 * w < V::D - V::PART; w++)
        before += popcount(words[w] & below(V::PART * g, w));
    uint values = record + V::BITMAP + 2 * before;
#pragma unroll
    for (uint i = 0; i < U::RESULTS; i++)
        score[i] = 0;
#pragma unroll
    for (uint w = 0; 32 * w < V::PART; w++) {
        uint part = record + V::PART / 8 * g + 4 * w, word = V::PART < 32 ? load_group2(part) : load_group4(part);
        struct matrix_fours bits = fours_of(word);
#pragma unroll
        for (uint n = 0; n < min(V::PART / 4, 8u); n += V::DEPTH / 4) {
            uint a[V::DEPTH / 2];
#pragma unroll
            for (uint k = 0; k < V::DEPTH / 4; k++) {
                uint i = n + k, at = values + 2 * popcount(word & ((1u << 4 * i) - 1));
                expand(at, table + byte_of(i % 2 ? bits.upper : bits.lower, i / 2), a + 2 * k, a + 2 * k + 1);
            }
            U::template multiply<V::BF16>(score, U::complete(a), query_of(queries, (8 * w + n) * 4 / V::DEPTH));
        }
        values += 2 * popcount(word);
    }
}

/* Survivors of each byte's lower four bits, and of the byte. */
DEVICE void count_bytes(uint x, uint *lower, uint *whole)
{
    x -= x >> 1 & 0x55555555u;
    x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
    *lower = x & 0x0f0f0f0fu;
    *whole = (x + (x >> 4)) & 0x0f0f0f0fu;
}

/* Result i of step s is for channel CHANNELS * row(g, i) + s; of dot products, for row i and channel
 * CHANNELS * (lane % 16) + s. */
template <class V> struct matrix_sums {
    float steps[V::STEPS][V::unit::RESULTS];
};

/* Of four tokens, in the bytes of words: bits of the lane's fours of channels, times 8, and the ranks of their first
 * ones, times RANK_BYTES. Twice a rank of up to 124 fits a byte; of 256 channels, ranks themselves do. */
template <class V> struct matrix_values {
    static constexpr uint FOURS = V::CHANNELS / 4, RANK_BYTES = V::D < 256 ? 2 : 1;
    uint bits[FOURS], ranks[FOURS];
};

template <class V> DEVICE void find_values(const uint *rows, struct matrix_values<V> *values)
{
    typedef struct matrix_values<V> F;
    constexpr uint WORDS = (F::FOURS + 1) / 2;
    uint x = local_id() % 16, bytes[WORDS], lower[WORDS], whole[WORDS];
    if constexpr (WORDS == 2) {
        uint low = load_group2(rows[0] + 2 * x) | load_group2(rows[1] + 2 * x) << 16;
        uint high = load_group2(rows[2] + 2 * x) | load_group2(rows[3] + 2 * x) << 16;
        bytes[0] = permute(low, high, 0x06040200);
        bytes[WORDS - 1] = permute(low, high, 0x07050301);
    } else {
        bytes[0] = 0;
#pragma unroll
        for (uint i = 0; i < 4; i++)
            bytes[0] |= load_group1(rows[i] + V::CHANNELS * x / 8) << 8 * i;
        if (F::FOURS == 1)
            bytes[0] = bytes[0] >> x % 2 * 4 & 0x0f0f0f0fu;
    }
    uint total = 0;
#pragma unroll
    for (uint w = 0; w < WORDS; w++) {
        count_bytes(bytes[w], lower + w, whole + w);
        total += whole[w];
    }
    uint rank = sum_before(total) * F::RANK_BYTES;
#pragma unroll
    for (uint w = 0; w < WORDS; w++) {
        struct matrix_fours bits = fours_of(bytes[w]);
        values->bits[2 * w] = bits.lower;
        values->ranks[2 * w] = rank;
        if (F::FOURS > 1) {
            values->bits[2 * w + 1] = bits.upper;
            values->ranks[2 * w + 1] = rank + lower[w] * F::RANK_BYTES;
        }
        rank += whole[w] * F::RANK_BYTES;
    }
}

/* sums += weights times values; `rows` are the records of the tokens of the lane's depth. */
template <class V>
DEVICE void add_values(const uint (&rows)[V::DEPTH], uint table, typename V::unit::right weights,
                       struct matrix_sums<V> *sums)
{
    typedef typename V::unit U;
    typedef struct matrix_values<V> F;
    constexpr uint QUADS = V::DEPTH / 4;
    struct matrix_values<V> values[QUADS];
#pragma unroll
    for (uint k = 0; k < QUADS; k++)
        find_values<V>(rows + 4 * k, values + k);
#pragma unroll
    for (uint n = 0; n < F::FOURS; n++) {
        uint a[4][V::DEPTH / 2];
#pragma unroll
        for (uint k = 0; k < QUADS; k++) {
            uint low[4], high[4];
#pragma unroll
            for (uint i = 0; i < 4; i++) {
                uint rank = byte_of(values[k].ranks[n], i) * (2 / F::RANK_BYTES);
                expand(rows[4 * k + i] + rank + V::BITMAP, table + byte_of(values[k].bits[n], i), low + i, high + i);
            }
#pragma unroll
            for (uint i = 0; i < 2; i++) {
                a[0][2 * k + i] = permute(low[2 * i], low[2 * i + 1], 0x05040100);
                a[1][2 * k + i] = permute(low[2 * i], low[2 * i + 1], 0x07060302);
                a[2][2 * k + i] = permute(high[2 * i], high[2 * i + 1], 0x05040100);
                a[3][2 * k + i] = permute(high[2 * i], high[2 * i + 1], 0x07060302);
            }
        }
#pragma unroll
        for (uint c = 0; c < 4; c++)
            U::template multiply<V::BF16>(sums->steps[4 * n + c], U::complete(a[c]), weights);
    }
}
