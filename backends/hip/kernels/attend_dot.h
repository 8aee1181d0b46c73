/* SPDX-License-Identifier: Apache-2.0
 *
 * Decode attention by dot products of two channels, or of two tokens: for few query rows, where matrix units are
 * missing or slow. It has the form of attend_matrix.h, whose expansion and copies it uses, but for this:
 *
 * - A lane keeps the queries of all rows for its part of the channels, and has sums of all rows for its own channels.
 * - Keys: a lane's scores are of its part of the channels; those of the parts are added across the wave. Each lane has
 *   then the scores of all rows and of token lane % 16, as the other lanes of that token do.
 * - Values: lane (x, g) takes DEPTH tokens of the chunk, whose weights it fetches, packed by twos. What the groups have
 *   summed is added when all is done.
 */

template <int LANES_, int ROWS_> struct dot_unit {
    static constexpr uint LANES = LANES_, GROUPS = LANES / 16, DEPTH = 16 / GROUPS, ROWS = ROWS_, RESULTS = ROWS_;
    struct operand {
        uint words[DEPTH / 2];
    };
    struct right {
        uint words[ROWS][DEPTH / 2];
    };
    DEVICE uint row(uint group, uint i) { return DEPTH * group + i; }
    DEVICE operand complete(const uint (&words)[DEPTH / 2])
    {
        operand all;
        for (uint i = 0; i < DEPTH / 2; i++)
            all.words[i] = words[i];
        return all;
    }
    template <bool BF16> DEVICE void multiply(float (&c)[ROWS], operand a, const right &b)
    {
#pragma unroll
        for (uint m = 0; m < ROWS; m++)
#pragma unroll
            for (uint i = 0; i < DEPTH / 2; i++)
                c[m] = dot2<BF16>(a.words[i], b.words[m][i], c[m]);
    }
};

template <class V> struct dot_state;
template <int LANES, int D, int ROWS, bool BF16>
struct dot_variant : matrix_variant<struct dot_unit<LANES, ROWS>, D, BF16> {
    typedef dot_state<dot_variant> state;
    static constexpr bool ONE_AREA = SKV_HIP_DOT_AREAS == 1;
    static constexpr uint EARLY = LANES == 32 && ROWS > 1 && D == 128 ? 8 : SKV_HIP_PIECES_MAX(D);
};

/* `shift` is what a row's exponents are moved by, WEIGHT_SCALE less its maximum; `total` is of the lane's own token
 * alone. */
template <class V> struct dot_state {
    struct matrix_sums<V> sums;
    float shift[V::unit::ROWS], total[V::unit::ROWS];
};

template <class V> DEVICE void clear(struct dot_state<V> *state)
{
#pragma unroll
    for (uint m = 0; m < V::unit::ROWS; m++) {
        state->shift[m] = WEIGHT_SCALE - LOWEST;
        state->total[m] = 0;
#pragma unroll
        for (uint s = 0; s < V::STEPS; s++)
            state->sums.steps[s][m] = 0;
    }
}

/* The sum over lanes that differ in bits from `first` to below `end` of their numbers. */
template <class V> DEVICE float add_lanes(float x, uint first, uint end)
{
    uint lane = local_id() % V::unit::LANES;
#pragma unroll
    for (uint step = first; step < end; step *= 2)
        x += from_lane(x, lane ^ step);
    return x;
}

/* Scores, of which each lane has a part, become weights, of which each has those of its DEPTH tokens. */
template <class V>
DEVICE typename V::unit::right weigh(bool some_missing, uint n_valid, float scale, float (&score)[V::unit::ROWS],
                                     struct dot_state<V> *state)
{
    typedef typename V::unit U;
    uint lane = local_id() % U::LANES;
    float exponent[U::ROWS], highest = -INFINITY;
#pragma unroll
    for (uint m = 0; m < U::ROWS; m++) {
        score[m] = add_lanes<V>(score[m], 16, U::LANES) * scale;
        if (some_missing)
            score[m] = lane % 16 < n_valid ? score[m] : -INFINITY;
        exponent[m] = score[m] + state->shift[m];
        highest = fmax(highest, exponent[m]);
    }
    if (any_lane(highest > WEIGHT_SCALE + MAXIMUM_SLACK)) {
#pragma unroll
        for (uint m = 0; m < U::ROWS; m++) {
            float most = score[m], before = WEIGHT_SCALE - state->shift[m];
#pragma unroll
            for (uint step = 1; step < 16; step *= 2)
                most = fmax(most, from_lane(most, lane ^ step));
            most = fmax(most, before);
            float correction = exp2_fast(before - most);
            state->shift[m] = WEIGHT_SCALE - most;
            state->total[m] *= correction;
            exponent[m] = score[m] + state->shift[m];
#pragma unroll
            for (uint s = 0; s < V::STEPS; s++)
                state->sums.steps[s][m] *= correction;
        }
    }
    typename U::right weights;
#pragma unroll
    for (uint m = 0; m < U::ROWS; m++) {
        float weight = exp2_fast(exponent[m]), next = from_neighbour(weight);
        state->total[m] += weight;
        float both = as_float(V::BF16 ? pack_bf16(weight, next) : pack_half(weight, next));
#pragma unroll
        for (uint i = 0; i < U::DEPTH / 2; i++)
            weights.words[m][i] = as_uint(from_lane(both, lane / 16 * (16 + U::DEPTH) + 2 * i));
    }
    return weights;
}

template <class V> DEVICE void add_waves(uint wave, uint scales, uint n_rows, struct dot_state<V> *state)
{
    typedef typename V::unit U;
    uint lane = local_id() % U::LANES, x = lane % 16, sums = scales + SKV_HIP_SCALES_BYTES;
    float most[U::ROWS], total[U::ROWS];
#pragma unroll
    for (uint m = 0; m < U::ROWS; m++) {
        most[m] = WEIGHT_SCALE - state->shift[m];
        total[m] = add_lanes<V>(state->total[m], 1, 16);
#pragma unroll
        for (uint s = 0; s < V::STEPS; s++)
            state->sums.steps[s][m] = add_lanes<V>(state->sums.steps[s][m], 16, U::LANES);
    }
    group_barrier();
    if (lane == 0)
#pragma unroll
        for (uint m = 0; m < U::ROWS; m++) {
            store_group4(scales + (wave * 16 + m) * 8, as_uint(most[m]));
            store_group4(scales + (wave * 16 + m) * 8 + 4, as_uint(total[m]));
        }
    group_barrier();
    float factor[U::ROWS];
#pragma unroll
    for (uint m = 0; m < U::ROWS; m++) {
        float highest = LOWEST;
        for (uint w = 0; w < SKV_HIP_WAVES; w++)
            highest = fmax(highest, as_float(load_group4(scales + (w * 16 + m) * 8)));
        factor[m] = exp2_fast(most[m] - highest);
    }
    for (uint w = 0; w < SKV_HIP_WAVES; w++) {
        if (w == wave && lane < 16)
#pragma unroll
            for (uint m = 0; m < U::ROWS; m++) {
                uint at = sums + (m * SKV_HIP_SUM_WORDS(V::D) + V::CHANNELS * x) * 4;
#pragma unroll
                for (uint s = 0; s < V::STEPS; s++) {
                    float before = w ? as_float(load_group4(at + 4 * s)) : 0;
                    if (m < n_rows)
                        store_group4(at + 4 * s, as_uint(fma(factor[m], state->sums.steps[s][m], before)));
                }
            }
        group_barrier();
    }
}
