/* SPDX-License-Identifier: Apache-2.0
 *
 * Small kernels in the words of language.h and primitives.h, right ones and wrong ones, for the emulator's own tests.
 * The compiler for the real device takes them as well.
 */
#include "primitives.h"

/* ---- right */

KERNEL(sample_add, 64)(const float *a, const float *b, float *sum, uint n SCRATCH)
{
    uint i = group_x() * local_size() + local_id();
    if (i < n)
        sum[i] = a[i] + b[i];
}

/* Block x leaves the sum of its 128 numbers in out[x]. */
KERNEL(sample_reduce, 128)(const uint *in, uint *out SCRATCH)
{
    SHARED uint part[128];
    uint i = local_id();
    part[i] = in[group_x() * 128 + i];
    group_barrier();
    for (uint half = 64; half > 0; half /= 2) {
        if (i < half)
            part[i] += part[i + half];
        group_barrier();
    }
    if (i == 0)
        out[group_x()] = part[0];
}

KERNEL(sample_warp, 64)(uint *out SCRATCH)
{
    uint lane = local_id() % 32, *own = out + 8 * local_id();
    own[0] = shuffle(local_id(), lane + 1);
    own[1] = as_uint(shuffle_xor((float)lane, 5));
    own[2] = lane_ballot(lane % 3 == 0);
    own[3] = (uint)any_lane(lane == 31) | (uint)all_lanes(lane < 31) << 1;
    own[4] = permute(0x33221100u + lane, 0x77665544u, 0x6d20u);
    own[5] = funnel_right(0x89abcdefu, 0x01234567u, lane);
    own[6] = pack_half(1.0f + (float)lane * 0.0003f, -1e-7f * (float)lane);
    own[7] = pack_bf16(1.0f + (float)lane * 0.003f, as_float(lane << 23 | lane)) ^
             add_reaches_one(lane << 16 | (65500 + lane), 0xfff00008u);
}

/* Warp w: d = a b + c with the operands' words w in each array. */
KERNEL(sample_matrices, 64)
(const uint *a, const uint *b, float *f16, float *bf16, uint *count256, uint *count128 SCRATCH)
{
    uint i = local_id();
    const uint *x = a + 4 * i, *y = b + 2 * i;
    float c[4], d[4];
    uint n[4], m[4];
    for (uint k = 0; k < 4; k++) {
        c[k] = d[k] = (float)k;
        n[k] = 10 * k;
    }
    mma_f16(c, x[0], x[1], x[2], x[3], y[0], y[1]);
    mma_bf16(d, x[0], x[1], x[2], x[3], y[0], y[1]);
    count_bits256(m, x[0], x[1], x[2], x[3], y[0], y[1], n);
    for (uint k = 0; k < 4; k++) {
        f16[4 * i + k] = c[k];
        bf16[4 * i + k] = d[k];
        count256[4 * i + k] = m[k];
    }
    count_bits128(m, x[0], x[1], y[0], n);
    for (uint k = 0; k < 4; k++)
        count128[4 * i + k] = m[k];
}

/* Two buffers of 32 x 16 bytes; out[i] is the sum of the words 4 i of all n tiles. */
#define COPY_KERNEL(name, WAIT, END)                                                                  \
    KERNEL(name, 32)(const uint *in, uint *out, uint n SCRATCH)                                       \
    {                                                                                                 \
        SCRATCH_ADDRESS(scratch);                                                                     \
        uint i = local_id(), sum = 0;                                                                 \
        copy_async16(scratch + 16 * i, in + 4 * i);                                                   \
        copy_async_commit();                                                                          \
        for (uint tile = 0; tile < n; tile++) {                                                       \
            if (tile + 1 < n)                                                                         \
                copy_async16(scratch + (tile + 1) % 2 * 512 + 16 * i, in + 128 * (tile + 1) + 4 * i); \
            copy_async_commit();                                                                      \
            WAIT;                                                                                     \
            warp_barrier();                                                                           \
            sum += load_shared(scratch + tile % 2 * 512 + 16 * ((i + 1) % 32));                       \
            END;                                                                                      \
        }                                                                                             \
        out[i] = sum;                                                                                 \
    }
COPY_KERNEL(sample_copies, copy_async_wait<1>(), warp_barrier())
COPY_KERNEL(wrong_copies, , warp_barrier())
COPY_KERNEL(wrong_copy_end, copy_async_wait<1>(), )

/* Lane 0 brings n tiles of 1 KiB through a pipeline of 2; all double them and leave 0 behind in the tile. */
#define BULK_KERNEL(name, WAIT, FENCE, MEET)                                                     \
    KERNEL(name, 128)(const uint *in, uint *out, uint n SCRATCH)                                 \
    {                                                                                            \
        SCRATCH_ADDRESS(scratch);                                                                \
        uint i = local_id(), barrier = scratch, tiles = scratch + 128;                           \
        if (i == 0) {                                                                            \
            bulk_barrier_init(barrier);                                                          \
            bulk_barrier_init(barrier + 8);                                                      \
            bulk_barriers_ready();                                                               \
        }                                                                                        \
        group_barrier();                                                                         \
        if (i == 0)                                                                              \
            for (uint tile = 0; tile < 2 && tile < n; tile++) {                                  \
                bulk_expect(barrier + 8 * tile, 1024);                                           \
                bulk_load(tiles + 1024 * tile, in + 256 * tile, 1024, barrier + 8 * tile);       \
            }                                                                                    \
        for (uint tile = 0; tile < n; tile++) {                                                  \
            uint slot = tile % 2, at = tiles + 1024 * slot + 8 * i;                              \
            WAIT;                                                                                \
            uint2 x = load_shared2(at);                                                          \
            store_shared2(at, make_uint2(0, 0));                                                 \
            FENCE;                                                                               \
            MEET;                                                                                \
            out[256 * tile + 2 * i] = 2 * x.x;                                                   \
            out[256 * tile + 2 * i + 1] = 2 * x.y;                                               \
            if (i == 0 && tile + 2 < n) {                                                        \
                bulk_expect(barrier + 8 * slot, 1024);                                           \
                bulk_load(tiles + 1024 * slot, in + 256 * (tile + 2), 1024, barrier + 8 * slot); \
            }                                                                                    \
        }                                                                                        \
    }
BULK_KERNEL(sample_bulk, bulk_wait(barrier + 8 * slot, tile / 2 & 1), bulk_after_stores(), group_barrier())
BULK_KERNEL(wrong_bulk_wait, if (tile > 1) bulk_wait(barrier + 8 * slot, tile / 2 & 1), bulk_after_stores(),
            group_barrier())
BULK_KERNEL(wrong_bulk_fence, bulk_wait(barrier + 8 * slot, tile / 2 & 1), , group_barrier())
BULK_KERNEL(wrong_bulk_reuse, bulk_wait(barrier + 8 * slot, tile / 2 & 1), bulk_after_stores(), )
BULK_KERNEL(wrong_bulk_parity, bulk_wait(barrier + 8 * slot, ~tile / 2 & 1), bulk_after_stores(), group_barrier())

/* The last group to end adds up what all have left. */
KERNEL(sample_last, 32)(uint *counter, float *parts, float *total SCRATCH)
{
    SHARED uint is_last;
    if (local_id() == 0) {
        parts[group_x()] = (float)group_x() + 1;
        is_last = arrive(counter) + 1 == groups_x();
    }
    group_barrier();
    if (is_last && local_id() == 0) {
        float sum = 0;
        for (uint i = 0; i < groups_x(); i++)
            sum += load_fresh(parts + i);
        *total = sum;
    }
}

/* ---- wrong */

KERNEL(wrong_no_barrier, 128)(uint *out SCRATCH)
{
    SHARED uint part[128];
    part[local_id()] = local_id();
    out[local_id()] = part[127 - local_id()];
}

/* Nothing keeps a warp that has read from writing the next round's value; only whole warps that run ahead show it. */
KERNEL(wrong_no_trailing_barrier, 128)(uint *out SCRATCH)
{
    SHARED uint part[128];
    uint i = local_id(), sum = 0;
    for (uint round = 0; round < 4; round++) {
        part[i] = shuffle_xor(i + round, 1);
        warp_barrier();
        group_barrier();
        warp_barrier();
        sum += part[(i + 64) % 128];
        warp_barrier();
    }
    out[i] = sum;
}

KERNEL(wrong_divergence, 64)(uint *out SCRATCH)
{
    if (local_id() < 40)
        group_barrier();
    else
        group_barrier();
    out[local_id()] = 0;
}

KERNEL(wrong_collective, 32)(uint *out SCRATCH)
{
    if (local_id() < 16)
        out[local_id()] = shuffle(local_id(), 0);
    else
        out[local_id()] = lane_ballot(true);
}

KERNEL(wrong_exit, 32)(uint *out SCRATCH)
{
    if (local_id() == 7)
        return;
    out[local_id()] = lane_ballot(true);
}

KERNEL(wrong_exit_at_barrier, 64)(uint *out SCRATCH)
{
    if (local_id() == 63)
        return;
    group_barrier();
    out[local_id()] = 0;
}

KERNEL(wrong_deadlock, 64)(uint *out SCRATCH)
{
    SCRATCH_ADDRESS(scratch);
    if (local_id() == 0) {
        bulk_barrier_init(scratch);
        bulk_barriers_ready();
    }
    group_barrier();
    if (local_id() == 5)
        bulk_wait(scratch, 0);
    group_barrier();
    out[local_id()] = 0;
}

/* The phase may end before lane 0 stores. */
KERNEL(wrong_late_store, 32)(uint *out SCRATCH)
{
    SCRATCH_ADDRESS(scratch);
    if (local_id() == 0) {
        bulk_barrier_init(scratch);
        bulk_barriers_ready();
        store_shared(scratch + 8, 0);
    }
    warp_barrier();
    if (local_id() == 0) {
        bulk_expect(scratch, 0);
        store_shared(scratch + 8, 1);
    }
    bulk_wait(scratch, 0);
    out[local_id()] = load_shared(scratch + 8);
}

KERNEL(wrong_bounds, 32)(uint *out SCRATCH)
{
    SCRATCH_ADDRESS(scratch);
    store_shared(scratch + 4 * local_id(), 1);
    out[local_id()] = load_shared(scratch + 4 * (local_id() + 1));
}

KERNEL(wrong_alignment, 32)(uint *out SCRATCH)
{
    SCRATCH_ADDRESS(scratch);
    store_shared(scratch + 2, 1);
    out[local_id()] = 0;
}

KERNEL(wrong_scratch_overrun, 32)(uint *out SCRATCH)
{
    SCRATCH_OF(words);
    words[local_id() + 1] = 1;
    out[local_id()] = 0;
}

/* What a block's shared memory holds before the block writes to it. */
KERNEL(wrong_fresh, 32)(uint *out SCRATCH)
{
    SHARED uint left[32];
    if (group_x() == 0)
        left[local_id()] = 7;
    else
        out[local_id()] = left[local_id()];
}
