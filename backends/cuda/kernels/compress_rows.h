/* SPDX-License-Identifier: Apache-2.0
 *
 * Per-token magnitude selection and packing in one pass, for rows of 128 channels: a lane takes a row, a warp 32 rows.
 *
 * Rows come by asynchronous copies, at a distance that starts them in different banks; their magnitudes stay in
 * registers, two to a word. The threshold is searched by counting how many reach it, two channels an instruction, from
 * the threshold of the row before on, by interpolation. Then survivors are appended to the record in group memory and
 * records leave by bulk copies.
 */

#define ROW_BYTES 272u /* 256 and a step of the banks */

/* In each half 1 where the magnitude reaches the threshold of `from`, which is 1 - threshold in each half. */
DEVICE uint reaches(uint magnitudes, uint from)
{
    return add_reaches_one(magnitudes, from);
}

DEVICE uint count_from(uint threshold)
{
    uint one = (1 - threshold) & 0xffffu;
    return one | one << 16;
}

/* The bitmap of the channels that reach the threshold. */
DEVICE void mark(const uint (&magnitudes)[64], uint threshold, uint (&bits)[4])
{
    uint from = count_from(threshold);
#pragma unroll
    for (int w = 0; w < 4; w++) {
        uint half[2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            /* Even channels gather in the even bits of the low half, odd ones in those of the high half. */
            uint both = 0;
#pragma unroll
            for (int i = 7; i >= 0; i--)
                both = (both << 2) + reaches(magnitudes[16 * w + 8 * h + i], from);
            half[h] = (both & 0x5555u) | (both >> 15 & 0xaaaau);
        }
        bits[w] = threshold ? half[0] | half[1] << 16 : ~0u;
    }
}

/* The bitmap of the `kept` largest, 1 to 127 of them; of equals the lower channels. All lanes take part. `guess` is
 * where to look first, and where it was found. `one` is 1: a multiplication by it makes additions of another unit. */
DEVICE void select_largest(const uint (&magnitudes)[64], int kept, uint one, int *guess, uint (&bits)[4])
{
    int low = 0, high = 0x8000, low_count = 128, high_count = 0, threshold = *guess;
    bool done = false, tied = false;
    for (int round = 1;; round++) {
        uint from = count_from(threshold), sum0 = 0, sum1 = 0;
#pragma unroll
        for (int i = 0; i < 64; i += 2) {
            sum0 += reaches(magnitudes[i], from) * one;
            sum1 += reaches(magnitudes[i + 1], from) * one;
        }
        sum0 += sum1;
        int count = (int)((sum0 & 0xffffu) + (sum0 >> 16));
        if (!done) {
            if (count == kept) {
                done = true;
            } else {
                if (count > kept) {
                    low = threshold;
                    low_count = count;
                } else {
                    high = threshold;
                    high_count = count;
                }
                if (high - low == 1) {
                    done = tied = true;
                    threshold = low;
                } else {
                    int next = (low + high) >> 1;
                    if (low > 0 && high < 0x8000 && round < 9)
                        next = low + (int)((float)(high - low) *
                                           ((float)(low_count - kept) / (float)(low_count - high_count)));
                    else if (round < 5)
                        next = threshold + (count - kept) * (round == 1 ? 30 : 40 << round);
                    threshold = min(max(next, low + 1), high - 1);
                }
            }
        }
        if (all_lanes(done))
            break;
    }
    *guess = max(threshold, 1);
    mark(magnitudes, (uint)threshold, bits);
    if (!any_lane(tied))
        return;
    uint above[4];
    mark(magnitudes, (uint)high, above);
    int surplus = tied ? low_count - kept : 0;
#pragma unroll
    for (int w = 3; w >= 0; w--)
        for (uint equal = bits[w] & ~above[w]; surplus > 0 && equal; surplus--) {
            uint highest = 0x80000000u >> leading_zeros(equal);
            equal ^= highest;
            bits[w] ^= highest;
        }
}

/* Where a row is read and its record is written, of row r of the launch's heads; NULL: nowhere. */
struct row_place {
    const ushort *from;
    uchar *to;
    uint kept;
};

DEVICE struct row_place find_row(const struct skv_gpu_compress *p, const ushort *in, const slong *slots, uchar *pages,
                                 uint *row_bytes, volatile uint *faults, ulong r, uint n_heads)
{
    struct row_place place = {0, 0, 1};
    ulong t = r / n_heads;
    uint i_head = p->select.heads.first + (uint)(r - t * n_heads);
    if (t >= p->select.n_tokens)
        return place;
    struct skv_gpu_head head = head_of(&p->select.heads, i_head);
    slong slot = slot_of(p, slots, t);
    bool valid = is_slot(&p->pool, slot, t, faults);
    place.from = in + p->select.in.offset + t * p->select.in.token_stride + i_head * p->select.in.head_stride;
    place.kept = head.kept;
    if (p->has_row_bytes)
        row_bytes[p->row_bytes + t * p->select.n_heads + i_head] = valid ? SKV_RECORD_BYTES(128, head.kept) : 0;
    if (valid)
        place.to =
            pages + page_at(&p->pool, &head, slot / p->pool.page_tokens) + slot % p->pool.page_tokens * head.row_stride;
    return place;
}

/* Copies 32 rows, those of lanes without one from the first lane's. */
DEVICE void start_rows(const ushort *from, uint rows)
{
    uint lane = local_id() % 32;
    ulong address = (ulong)from;
#pragma unroll
    for (uint i = 0; i < 16; i++) {
        uint row = 2 * i + lane / 16;
        ulong at = (ulong)shuffle((uint)(address >> 32), row) << 32 | shuffle((uint)address, row);
        if (at)
            copy_async16(rows + row * ROW_BYTES + lane % 16 * 16, (const uchar *)at + lane % 16 * 16);
    }
    copy_async_commit();
}

KERNEL_RESIDENT(skv_kernel_compress_rows, 128, 4)
(const struct skv_gpu_compress args, const ushort *in, const float *weights, const ulong *mask, const slong *slots,
 uchar *pages, uint *row_bytes, volatile uint *faults, uint n_heads, uint record_step, uint one)
{
    SCRATCH_ADDRESS(scratch);
    uint warp = local_id() / 32, lane = local_id() % 32, n_warps = local_size() / 32;
    uint rows = scratch + warp * 32 * (ROW_BYTES + record_step), records = rows + 32 * ROW_BYTES;
    ulong n_rows = args.select.n_tokens * n_heads, step = (ulong)groups_x() * n_warps * 32;
    ulong first = ((ulong)group_x() * n_warps + warp) * 32;
    int guess = 0x3c00;
    if (first >= n_rows)
        return;
    struct row_place place = find_row(&args, in, slots, pages, row_bytes, faults, first + lane, n_heads);
    start_rows(place.from, rows);
    for (; first < n_rows; first += step) {
        uint magnitudes[64], bits[4], own = rows + lane * ROW_BYTES, record = records + lane * record_step;
        copy_async_wait<0>();
        warp_barrier();
#pragma unroll
        for (uint i = 0; i < 16; i++) {
            uint4 x = load_shared4(own + 16 * i);
            magnitudes[4 * i] = x.x & 0x7fff7fffu;
            magnitudes[4 * i + 1] = x.y & 0x7fff7fffu;
            magnitudes[4 * i + 2] = x.z & 0x7fff7fffu;
            magnitudes[4 * i + 3] = x.w & 0x7fff7fffu;
        }
        select_largest(magnitudes, (int)place.kept, one, &guess, bits);
        /* The records of the tile before have been read. */
        bulk_store_read();
        warp_barrier();
        uint end = record + 16;
#pragma unroll
        for (uint i = 0; i < 16; i++) {
            uint4 x = load_shared4(own + 16 * i);
            uint byte = bits[i / 4] >> 8 * (i % 4);
            append_shared16_if<1>(&end, byte, x.x);
            append_shared16_if<2>(&end, byte, x.x >> 16);
            append_shared16_if<4>(&end, byte, x.y);
            append_shared16_if<8>(&end, byte, x.y >> 16);
            append_shared16_if<16>(&end, byte, x.z);
            append_shared16_if<32>(&end, byte, x.z >> 16);
            append_shared16_if<64>(&end, byte, x.w);
            append_shared16_if<128>(&end, byte, x.w >> 16);
        }
        store_shared4(record, make_uint4(bits[0], bits[1], bits[2], bits[3]));
        bulk_store_ready();
        warp_barrier();
        struct row_place next = {0, 0, 1};
        if (first + step < n_rows) {
            next = find_row(&args, in, slots, pages, row_bytes, faults, first + step + lane, n_heads);
            start_rows(next.from, rows);
        }
        if (place.to)
            bulk_store(place.to, record, SKV_RECORD_BYTES(128, place.kept));
        place = next;
    }
    bulk_store_done();
}
