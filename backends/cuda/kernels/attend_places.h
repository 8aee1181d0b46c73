/* SPDX-License-Identifier: Apache-2.0
 *
 * The tensor-core attention kernel's variants, and what a lane knows for a kernel's life: its channels, masks and
 * turns. See attend_tensor.h.
 */

/* In a word, a lane's channels are a pair and another so far behind. */
#define PAIRS_APART 16

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
    /* Words w and w + HALF of a pass share registers. */
    static constexpr int HALF = OF_PASS / 2;
    /* Whether a lane's two pairs of a value's channels follow upon each other, or are PAIRS_APART: rows that start 8
     * banks apart and keep half of their channels would meet in some banks. */
    static constexpr bool FOURS = TURNS && APART == 4;
    /* From twice a channel's inclusive rank to its value, in bytes behind the record. */
    static constexpr int VALUE = D / 8 - 2;
    static constexpr int DENSE_STRIDE = SKV_CUDA_DENSE_STRIDE(D);
};

/* A lane's part in an exchange of bits with the lane whose number differs in one: what it keeps of two words, and how
 * far the rest is turned to the right. */
struct turn {
    uint keep, move;
};

template <uint BITS> DEVICE struct turn find_turn(bool second)
{
    constexpr uint FIRST = BITS == 2 ? 0x33333333 : 0x0f0f0f0f;
    return second ? turn{~FIRST, 32 - BITS} : turn{FIRST, BITS};
}

/* Of each two groups of bits the lane keeps one, and gets the same of the other lane, of both words; the word of the
 * first lane is the lower. */
template <uint LANE> DEVICE void exchange(uint &x, uint &y, const struct turn &turn)
{
    uint other = shuffle_xor((x & ~turn.keep) | (funnel_right(y, y, turn.move) & turn.keep), LANE);
    x = (x & turn.keep) | (funnel_left(other, other, turn.move) & ~turn.keep);
    y = (y & turn.keep) | (other & ~turn.keep);
}

/* A lane's part in gathering nibbles: what it takes of two words' bytes, and the bytes that it keeps. */
struct nibble_turn {
    uint take, bytes;
    struct turn nibbles;
};

DEVICE struct nibble_turn find_nibble_turn(bool second_byte, bool second_nibble)
{
    return {second_byte ? 0x3715u : 0x6240u, second_byte ? 0xff00ff00 : 0x00ff00ff, find_turn<4>(second_nibble)};
}

/* Four lanes, numbered by the bits BYTE and NIBBLE of their own numbers, hold words 0 to 3 of a bitmap, or of what is
 * 16 bits wide twice: the lane numbered n gets the nibbles n of both halves of each, those of word w at bits 4w and
 * 16 + 4w. Both words at once, as each lane keeps half of a word and sends half. */
template <uint BYTE, uint NIBBLE> DEVICE void turn_nibbles(uint &x, uint &y, const struct nibble_turn &turn)
{
    uint other = shuffle_xor(permute(x, y, turn.take ^ 0x5555), BYTE);
    x = permute(x, other, turn.take);
    y = (y & turn.bytes) | (other & ~turn.bytes);
    exchange<NIBBLE>(x, y, turn.nibbles);
}

/* Places of a lane's operands that stay the same for a kernel's life. */
template <class V> struct tensor_places {
    /* Channels up to the lane's first in word w, and to its second. Those of keys' words are both in the halves of the
     * matrix unit's depth, where words do not fill it. */
    uint k_mask[2][V::OF_PASS], v_mask[2][V::OF_PASS];
    uint row_half;         /* all ones where the lane's word counts for this row of the matrix */
    uint k_first, v_first; /* the lane's first channel in a word */
    uint k_row, v_row;     /* bytes to the first of the lane's two rows in a step of 8 */
    uint v_bitmap_row;     /* bytes to the word of the bitmap that the lane counts */
    uint v_turned_row;     /* bytes to the row of two steps that the lane names */
    uint from;             /* lane with the lane's score */
    uint all_kept;         /* ALL_KEPT */
    struct nibble_turn k_turn, v_turn;
    struct turn pair_turn;
};

/* What takes the halves of two words' low ends, for permute(): twice, for two pairs of words. */
#define ALL_KEPT 0x54105410u

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

/* Of 8 columns of counts, each for 4 channels of a word: a lane has two that are side by side. */
DEVICE uint first_of_four(uint i)
{
    return i % 2 * PAIRS_APART + i / 2 * 4;
}

/* The first of value rows' i in each word, and how far behind the other pair is. */
template <class V> DEVICE uint first_value(uint i)
{
    return V::FOURS ? first_of_four(i) : 2 * i;
}
template <class V> DEVICE uint values_apart()
{
    return V::FOURS ? 2 : PAIRS_APART;
}

/* Channels of a word up to c; word `own` for the counts of word w. */
DEVICE uint mask_of(uint own, uint w, uint c)
{
    return own < w ? ~0u : own == w ? (2u << c) - 1 : 0;
}

/* `at` is group memory of the warp: 4 * OF_PASS + 19 words for each lane. */
template <class V> DEVICE void find_places(uint k_stride, uint v_stride, uint at, struct tensor_places<V> *places)
{
    constexpr uint N = V::OF_PASS;
    uint lane = local_id() % 32, i = lane / 4, j = lane % 4, own = j % N, x[4 * N + 19], *rest = x + 4 * N;
    uint k_column = first_of_four(i);
    for (uint w = 0; w < N; w++) {
        x[w] = mask_of(own, w, N == 4 || j < N ? k_column : k_column + 2);
        x[N + w] = mask_of(own, w, k_column + 2);
        x[2 * N + w] = mask_of(own, w, first_value<V>(i));
        x[3 * N + w] = mask_of(own, w, first_value<V>(i) + values_apart<V>());
    }
    struct nibble_turn k_turn = find_nibble_turn(j & 2, j & 1), v_turn = find_nibble_turn(i & 4, i & 2);
    struct turn pair_turn = find_turn<2>(i % 2);
    rest[0] = (N == 4 || j < N) == (i % 2 == 0) ? ~0u : 0;
    rest[1] = 4 * j + 2 * (i % 2);
    rest[2] = first_value<V>(i);
    rest[3] = first_token<V::APART>(i / 2) * k_stride;
    rest[4] = first_token<V::APART>(j) * v_stride;
    rest[5] = token_of_row<V::APART>(i) * v_stride + 4 * own;
    rest[6] = (lane / 8 * 8 + token_of_row<V::APART>(lane % 8)) * v_stride;
    rest[7] = 8 * j + i / 2;
    rest[8] = ALL_KEPT;
    rest[9] = k_turn.take, rest[10] = k_turn.bytes, rest[11] = k_turn.nibbles.keep, rest[12] = k_turn.nibbles.move;
    rest[13] = v_turn.take, rest[14] = v_turn.bytes, rest[15] = v_turn.nibbles.keep, rest[16] = v_turn.nibbles.move;
    rest[17] = pair_turn.keep, rest[18] = pair_turn.move;
    pin(x, at);
    for (uint w = 0; w < N; w++)
        for (uint n = 0; n < 2; n++) {
            places->k_mask[n][w] = x[n * N + w];
            /* The same masks in the same registers, where lanes have fours of both. */
            places->v_mask[n][w] = V::FOURS ? x[n * N + w] : x[(2 + n) * N + w];
        }
    places->row_half = rest[0];
    places->k_first = rest[1];
    places->v_first = rest[2];
    places->k_row = rest[3];
    places->v_row = rest[4];
    places->v_bitmap_row = rest[5];
    places->v_turned_row = rest[6];
    places->from = rest[7];
    places->all_kept = rest[8];
    places->k_turn = {rest[9], rest[10], {rest[11], rest[12]}};
    places->v_turn = {rest[13], rest[14], {rest[15], rest[16]}};
    places->pair_turn = {rest[17], rest[18]};
}
