/* SPDX-License-Identifier: Apache-2.0
 *
 * Decompression of fixed records of 64, 128 or 256 channels whose places are multiples of 16 bytes, into rows that can
 * be written in pieces of 16. A warp copies the records of 32 tokens of a head into group memory, piece by piece side
 * by side, and then writes the rows: a lane makes 8 channels, from the rank of the first on.
 */

/* By the lane of a row: where its record is, 0: nowhere; whether the row is written. */
struct row_source {
    const uchar *record;
    bool written;
};

DEVICE struct row_source find_record(const struct skv_gpu_decompress *p, const struct skv_gpu_head *head,
                                     const uchar *pages, const slong *slots, ulong t, volatile uint *faults)
{
    struct row_source source = {0, false};
    if (t >= p->n_tokens)
        return source;
    slong slot = p->has_slots ? slots[p->slots + t] : (slong)(p->first_slot + t);
    bool valid = is_slot(&p->pool, slot, t, faults);
    source.written = valid || slot < 0;
    if (valid)
        source.record = pages + page_at(&p->pool, head, (ulong)slot / p->pool.page_tokens) +
                        (ulong)slot % p->pool.page_tokens * head->row_stride;
    return source;
}

/* The record of each lane's row to `own`, in pieces of 16 bytes; `share` is 2^16 / the pieces of the longest record,
 * rounded up. Rows without one get an empty bitmap. */
template <int D>
DEVICE void copy_records(const uchar *record, uint record_bytes, uint records, uint own, uint record_step, uint share)
{
    uint lane = local_id() % 32, low = (uint)(ulong)record, high = (uint)((ulong)record >> 32);
    uint pieces = record_step / 16;
    for (uint i = lane; i < 32 * pieces; i += 32) {
        uint row = i * share >> 16, piece = i - row * pieces;
        ulong at = (ulong)shuffle(high, row) << 32 | shuffle(low, row);
        if (at && piece * 16 < record_bytes)
            copy_async16(records + row * record_step + piece * 16, (const uchar *)at + piece * 16);
    }
    copy_async_commit();
    for (uint at = 0; at < D / 8 && !record; at += 8)
        store_shared2(own + at, make_uint2(0, 0));
    copy_async_wait<0>();
    warp_barrier();
}

template <int D>
DEVICE void decompress_rows(const struct skv_gpu_decompress *p, const uchar *pages, const slong *slots, ushort *out,
                            volatile uint *faults, uint record_step, uint share, uint scratch)
{
    constexpr uint LANES = D / 8, WORDS = D / 32;
    uint lane = local_id() % 32, piece = lane % LANES, i_head = p->heads.first + group_y();
    uint records = scratch + local_id() / 32 * 32 * record_step, own = records + lane * record_step;
    ulong first = (ulong)group_x() * local_size() + local_id() / 32 * 32;
    struct skv_gpu_head head = head_of(&p->heads, i_head);
    struct row_source source = find_record(p, &head, pages, slots, first + lane, faults);
    uint written = lane_ballot(source.written);
    copy_records<D>(source.record, SKV_RECORD_BYTES(D, head.kept), records, own, record_step, share);
    /* Ranks of the words' first channels, four to a register. */
    uint rank[2] = {0, 0}, n = 0;
#pragma unroll
    for (uint w = 0; w < WORDS; w++) {
        rank[w / 4] |= n << w % 4 * 8;
        n += popcount(load_shared(own + 4 * w));
    }
    ushort *row = out + p->out.offset + first * p->out.token_stride + i_head * p->out.head_stride + 8 * piece;
    for (uint r = lane / LANES; r < 32; r += 32 / LANES) {
        uint record = records + r * record_step, word = load_shared(record + piece / 4 * 4);
        uint ranks = shuffle(rank[0], r);
        if (WORDS > 4) {
            uint behind = shuffle(rank[1], r);
            ranks = piece / 16 ? behind : ranks;
        }
        uint at =
            record + D / 8 + 2 * ((ranks >> piece / 4 % 4 * 8 & 0xff) + popcount(word & ((1u << piece % 4 * 8) - 1)));
        uint bits = word >> piece % 4 * 8, x[8];
        x[0] = take_shared16_if<1>(&at, bits);
        x[1] = take_shared16_if<2>(&at, bits);
        x[2] = take_shared16_if<4>(&at, bits);
        x[3] = take_shared16_if<8>(&at, bits);
        x[4] = take_shared16_if<16>(&at, bits);
        x[5] = take_shared16_if<32>(&at, bits);
        x[6] = take_shared16_if<64>(&at, bits);
        x[7] = take_shared16_if<128>(&at, bits);
        if (written >> r & 1)
            *(uint4 *)(row + r * p->out.token_stride) =
                make_uint4(x[0] | x[1] << 16, x[2] | x[3] << 16, x[4] | x[5] << 16, x[6] | x[7] << 16);
    }
}

#define DECOMPRESS_KERNEL(head_dim)                                                                                    \
    KERNEL_RESIDENT(skv_kernel_decompress_rows_##head_dim, SKV_CUDA_DECOMPRESS_LANES, SKV_CUDA_DECOMPRESS_GROUPS)      \
    (const struct skv_gpu_decompress args, const uchar *pages, const slong *slots, ushort *out, volatile uint *faults, \
     uint record_step, uint share)                                                                                     \
    {                                                                                                                  \
        SCRATCH_ADDRESS(scratch);                                                                                      \
        release_next_kernel();                                                                                         \
        await_kernels();                                                                                               \
        decompress_rows<head_dim>(&args, pages, slots, out, faults, record_step, share, scratch);                      \
    }

SKV_CUDA_DECOMPRESS_VARIANTS(DECOMPRESS_KERNEL)
