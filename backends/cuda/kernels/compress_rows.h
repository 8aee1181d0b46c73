/* SPDX-License-Identifier: Apache-2.0
 *
 * Per-token magnitude selection and packing in one pass, for rows of 128 channels: a lane takes a row, a warp 32 rows.
 *
 * Rows come by asynchronous copies, at a distance that starts them in different banks; their magnitudes stay in
 * registers, two to a word. The threshold is searched by counting how many reach it, two channels an instruction, from
 * the threshold of the row before on, by interpolation. Then survivors are appended to the record in group memory, and
 * all lanes write the records.
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

DEVICE int count_bits(const uint (&bits)[4])
{
    return (int)(popcount(bits[0]) + popcount(bits[1]) + popcount(bits[2]) + popcount(bits[3]));
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

/* What is known of a row's threshold: from `low` on there are low_count channels, more than are kept, and from `high`
 * on high_count, fewer. Where it is found, `missing` channels below it are to be added. */
struct search {
    int low, high, low_count, high_count, threshold, missing;
    bool found;
};

/* How many channels may be missing where counting ends: each takes as long as half of a count. */
#define MISSING_MAX 2

/* Until all lanes have counted a threshold from which `kept` channels are, or up to missing_max fewer. By
 * interpolation, in later rounds by halves. `one` is 1: a multiplication by it makes additions of another unit. */
DEVICE void count_thresholds(const uint (&magnitudes)[64], int kept, uint one, int missing_max, struct search *s)
{
    /* Fewer are better than more, since those missing can be added. */
    float aim = kept - 0.5f * missing_max;
    for (int round = missing_max ? 1 : 9;; round++) {
        uint from = count_from(s->threshold), sum0 = 0, sum1 = 0;
#pragma unroll
        for (int i = 0; i < 64; i += 2) {
            sum0 += reaches(magnitudes[i], from) * one;
            sum1 += reaches(magnitudes[i + 1], from) * one;
        }
        sum0 += sum1;
        int count = (int)((sum0 & 0xffffu) + (sum0 >> 16));
        if (!s->found) {
            s->missing = kept - count;
            if (count > kept) {
                s->low = s->threshold;
                s->low_count = count;
            } else {
                s->high = s->threshold;
                s->high_count = count;
            }
            s->found = s->missing >= 0 && s->missing <= missing_max;
            if (!s->found && s->high - s->low == 1) {
                s->found = true;
                s->threshold = s->low;
                s->missing = 0;
            } else if (!s->found) {
                int next = (s->low + s->high) >> 1;
                if (s->low > 0 && s->high < 0x8000 && round < 9)
                    next = s->low + (int)((float)(s->high - s->low) *
                                          (((float)s->low_count - aim) / (float)(s->low_count - s->high_count)));
                else if (round < 5)
                    next = s->threshold + (int)(((float)count - aim) * (round == 1 ? 30 : 40 << round));
                s->threshold = min(max(next, s->low + 1), s->high - 1);
            }
        }
        if (all_lanes(s->found))
            return;
    }
}

/* Moves thresholds down to the largest magnitude below, as often as channels are missing. */
DEVICE void add_missing(const uint (&magnitudes)[64], struct search *s)
{
    while (any_lane(s->missing > 0)) {
        /* As unsigned numbers, those below the threshold are the largest behind it. */
        uint from = (uint)-s->threshold & 0xffffu, most0 = 0, most1 = 0;
        from |= from << 16;
#pragma unroll
        for (int i = 0; i < 64; i += 2) {
            most0 = add_largest(magnitudes[i], from, most0);
            most1 = add_largest(magnitudes[i + 1], from, most1);
        }
        most0 = add_largest(most0, 0, most1);
        uint most = max(most0 & 0xffffu, most0 >> 16);
        if (s->missing > 0)
            s->threshold = (int)((most + (uint)s->threshold) & 0x7fffu);
        s->missing--;
    }
}

/* Of channels from the threshold on, takes those away that are too many: of equals the higher channels. Whether there
 * were enough equals. */
DEVICE bool remove_surplus(const uint (&magnitudes)[64], int threshold, int surplus, uint (&bits)[4])
{
    uint above[4];
    mark(magnitudes, (uint)threshold + 1, above);
#pragma unroll
    for (int w = 3; w >= 0; w--)
        for (uint equal = bits[w] & ~above[w]; surplus > 0 && equal; surplus--) {
            uint highest = 0x80000000u >> leading_zeros(equal);
            equal ^= highest;
            bits[w] ^= highest;
        }
    return surplus <= 0;
}

/* The bitmap of the `kept` largest, 1 to 127 of them; of equals the lower channels. All lanes take part. `guess` is
 * where to look first, and where it was found. */
DEVICE void select_largest(const uint (&magnitudes)[64], int kept, uint one, int *guess, uint (&bits)[4])
{
    struct search s = {0, 0x8000, 128, 0, *guess, 0, false};
    for (int missing_max = MISSING_MAX;; missing_max = 0) {
        count_thresholds(magnitudes, kept, one, missing_max, &s);
        add_missing(magnitudes, &s);
        mark(magnitudes, (uint)s.threshold, bits);
        int surplus = count_bits(bits) - kept;
        if (any_lane(surplus > 0))
            s.found = remove_surplus(magnitudes, s.threshold, surplus, bits);
        if (all_lanes(s.found))
            break;
        /* More equals were missing than were to be added. */
        if (!s.found)
            s.threshold = (s.low + s.high) >> 1;
    }
    *guess = max(s.threshold, 1);
}

/* Where a row is read and its record is written, 0: nowhere; group memory has these for the 32 rows of a warp. */
struct row_place {
    const ushort *from;
    uchar *to;
    uint kept;
};

#define PLACE_BYTES 16u

/* The place of row r of the launch's heads. Tokens, rows and slots fit 31 bits. */
DEVICE struct row_place find_row(const struct skv_gpu_compress *p, const ushort *in, const slong *slots, uchar *pages,
                                 uint *row_bytes, volatile uint *faults, uint r, uint n_heads)
{
    struct row_place place = {0, 0, 1};
    uint t = r / n_heads, i_head = p->select.heads.first + (r - t * n_heads);
    if (t >= (uint)p->select.n_tokens)
        return place;
    struct skv_gpu_head head = head_of(&p->select.heads, i_head);
    slong slot = slot_of(p, slots, t);
    bool valid = is_slot(&p->pool, slot, t, faults);
    place.from = in + p->select.in.offset + t * p->select.in.token_stride + i_head * p->select.in.head_stride;
    place.kept = head.kept;
    if (p->has_row_bytes)
        row_bytes[p->row_bytes + t * p->select.n_heads + i_head] = valid ? SKV_RECORD_BYTES(128, head.kept) : 0;
    if (valid)
        place.to = pages + page_at(&p->pool, &head, (uint)slot / p->pool.page_tokens) +
                   (ulong)((uint)slot % p->pool.page_tokens) * head.row_stride;
    return place;
}

DEVICE ulong load_pointer(uint at)
{
    uint2 x = load_shared2(at);
    return (ulong)x.y << 32 | x.x;
}

/* Starts to copy 32 rows, whose places all lanes have left in group memory. */
DEVICE void start_rows(const struct row_place *place, uint places, uint rows)
{
    uint lane = local_id() % 32;
    store_shared2(places + lane * PLACE_BYTES, make_uint2((uint)(ulong)place->from, (uint)((ulong)place->from >> 32)));
    warp_barrier();
#pragma unroll
    for (uint i = 0; i < 16; i++) {
        uint row = 2 * i + lane / 16;
        ulong at = load_pointer(places + row * PLACE_BYTES);
        if (at)
            copy_async16(rows + row * ROW_BYTES + lane % 16 * 16, (const uchar *)at + lane % 16 * 16);
    }
    copy_async_commit();
}

/* Writes 32 records, in pieces of 16 bytes by all lanes. `pieces` is the most that a record has, `share` 2^16 / pieces
 * rounded up. */
DEVICE void write_records(const struct row_place *place, uint places, uint records, uint record_step, uint pieces,
                          uint share)
{
    uint lane = local_id() % 32;
    store_shared2(places + lane * PLACE_BYTES + 8, make_uint2((uint)(ulong)place->to, (uint)((ulong)place->to >> 32)));
    warp_barrier();
    for (uint i = lane; i < 32 * pieces; i += 32) {
        uint row = i * share >> 16, piece = i - row * pieces;
        ulong at = load_pointer(places + row * PLACE_BYTES + 8);
        uint4 x = load_shared4(records + row * record_step + piece * 16);
        /* The lane of a shorter record has left its length behind it. */
        if (at && piece < load_shared(records + (row + 1) * record_step - 16))
            *(uint4 *)(at + piece * 16) = x;
    }
}

KERNEL_RESIDENT(skv_kernel_compress_rows, 128, 4)
(const struct skv_gpu_compress args, const ushort *in, const float *weights, const ulong *mask, const slong *slots,
 uchar *pages, uint *row_bytes, volatile uint *faults, uint n_heads, uint record_step, uint share, uint one)
{
    SCRATCH_ADDRESS(scratch);
    uint warp = local_id() / 32, lane = local_id() % 32, n_warps = local_size() / 32;
    uint rows = scratch + warp * 32 * (ROW_BYTES + record_step + PLACE_BYTES), records = rows + 32 * ROW_BYTES;
    uint places = records + 32 * record_step, pieces = (record_step - 16) / 16;
    uint n_rows = (uint)args.select.n_tokens * n_heads, step = groups_x() * n_warps * 32;
    uint first = (group_x() * n_warps + warp) * 32;
    int guess = 0x3c00;
    release_next_kernel();
    if (first >= n_rows)
        return;
    await_kernels();
    struct row_place place = find_row(&args, in, slots, pages, row_bytes, faults, first + lane, n_heads);
    start_rows(&place, places, rows);
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
        uint word_end = record + 16;
#pragma unroll
        for (uint i = 0; i < 16; i++) {
            /* Each 8 channels from a place of their own on, so that no chain of sums goes through all. */
            uint4 x = load_shared4(own + 16 * i);
            uint word = bits[i / 4], n = i % 4 * 8, byte = word >> n;
            uint end = word_end + 2 * popcount(word & ((1u << n) - 1));
            append_shared16_if<1>(&end, byte, x.x);
            append_shared16_if<2>(&end, byte, x.x >> 16);
            append_shared16_if<4>(&end, byte, x.y);
            append_shared16_if<8>(&end, byte, x.y >> 16);
            append_shared16_if<16>(&end, byte, x.z);
            append_shared16_if<32>(&end, byte, x.z >> 16);
            append_shared16_if<64>(&end, byte, x.w);
            append_shared16_if<128>(&end, byte, x.w >> 16);
            word_end = i % 4 == 3 ? word_end + 2 * popcount(word) : word_end;
        }
        store_shared4(record, make_uint4(bits[0], bits[1], bits[2], bits[3]));
        store_shared(record + record_step - 16, SKV_RECORD_BYTES(128, place.kept) / 16);
        warp_barrier();
        struct row_place next = {0, 0, 1};
        if (first + step < n_rows) {
            next = find_row(&args, in, slots, pages, row_bytes, faults, first + step + lane, n_heads);
            start_rows(&next, places, rows);
        }
        write_records(&place, places, records, record_step, pieces, share);
        warp_barrier();
        place = next;
    }
}
