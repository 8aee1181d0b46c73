/* SPDX-License-Identifier: Apache-2.0
 *
 * Softmax of the matrix attention kernels: scores to weights, and the waves' sums put together.
 */

#define LOG2_E 1.4426950408889634f
#define LN_2 0.6931471805599453f
#define LOWEST -3.402823466e+38f
/* Weights are kept 2^7 times as large as they are, which fp16 has room for, and the maximum is only moved when a score
 * is 2^8 above it. */
#define WEIGHT_SCALE 7.0f
#define MAXIMUM_SLACK 8.0f

/* The lane's query row is lane % 16; `total` is of its own tokens alone. */
template <class V> struct matrix_state {
    struct matrix_sums<V> sums;
    float most, total;
};

template <class V> DEVICE float most_of_groups(float x)
{
    uint lane = local_id() % V::unit::LANES;
#pragma unroll
    for (uint step = 16; step < V::unit::LANES; step *= 2)
        x = fmax(x, from_lane(x, lane ^ step));
    return x;
}

template <class V> DEVICE void clear(struct matrix_state<V> *state)
{
    state->most = LOWEST;
    state->total = 0;
#pragma unroll
    for (uint s = 0; s < V::STEPS; s++)
#pragma unroll
        for (uint i = 0; i < V::DEPTH; i++)
            state->sums.steps[s][i] = 0;
}

/* Scores become weights; when some tokens are missing, those from n_valid on are left out. */
template <class V>
DEVICE typename V::unit::right weigh(bool some_missing, uint n_valid, float scale, float (&score)[V::DEPTH],
                                     struct matrix_state<V> *state)
{
    typedef typename V::unit U;
    uint g = local_id() % U::LANES / 16;
    if (some_missing)
#pragma unroll
        for (uint i = 0; i < V::DEPTH; i++)
            score[i] = U::row(g, i) < n_valid ? score[i] : -INFINITY;
    float most = score[0];
#pragma unroll
    for (uint i = 1; i < V::DEPTH; i++)
        most = fmax(most, score[i]);
    most *= scale;
    if (U::any(most > state->most + MAXIMUM_SLACK)) {
        most = fmax(most_of_groups<V>(most), state->most);
        float correction = exp2_fast(state->most - most);
        state->most = most;
        state->total *= correction;
#pragma unroll
        for (uint s = 0; s < V::STEPS; s++)
#pragma unroll
            for (uint i = 0; i < V::DEPTH; i++)
                state->sums.steps[s][i] *= correction;
    }
    float shift = WEIGHT_SCALE - state->most;
#pragma unroll
    for (uint i = 0; i < V::DEPTH; i++) {
        score[i] = exp2_fast(fma(score[i], scale, shift));
        state->total += score[i];
    }
    uint weights[V::DEPTH / 2];
#pragma unroll
    for (uint i = 0; i < V::DEPTH / 2; i++)
        weights[i] = V::BF16 ? pack_bf16(score[2 * i], score[2 * i + 1]) : pack_half(score[2 * i], score[2 * i + 1]);
    return U::complete(weights);
}

/* The waves' sums, put together: [row][channel] of SKV_HIP_SUM_WORDS words, and each wave's scale. */
template <class V> DEVICE void add_waves(uint wave, uint scales, uint n_rows, struct matrix_state<V> *state)
{
    typedef typename V::unit U;
    uint lane = local_id() % U::LANES, row = lane % 16, g = lane / 16, sums = scales + SKV_HIP_SCALES_BYTES;
    float total = state->total;
#pragma unroll
    for (uint step = 16; step < U::LANES; step *= 2)
        total += from_lane(total, lane ^ step);
    group_barrier();
    if (g == 0) {
        store_group4(scales + (wave * 16 + row) * 8, as_uint(state->most));
        store_group4(scales + (wave * 16 + row) * 8 + 4, as_uint(total));
    }
    group_barrier();
    float most = LOWEST;
    for (uint w = 0; w < SKV_HIP_WAVES; w++)
        most = fmax(most, as_float(load_group4(scales + (w * 16 + row) * 8)));
    float factor = exp2_fast(state->most - most);
    for (uint w = 0; w < SKV_HIP_WAVES; w++) {
        if (w == wave && row < n_rows)
#pragma unroll
            for (uint i = 0; i < V::DEPTH; i++) {
                uint at = sums + (row * SKV_HIP_SUM_WORDS(V::D) + V::CHANNELS * U::row(g, i)) * 4;
#pragma unroll
                for (uint s = 0; s < V::STEPS; s++) {
                    float before = w ? as_float(load_group4(at + 4 * s)) : 0;
                    store_group4(at + 4 * s, as_uint(fma(factor, state->sums.steps[s][i], before)));
                }
            }
        group_barrier();
    }
}
