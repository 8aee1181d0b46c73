/* SPDX-License-Identifier: Apache-2.0
 *
 * How records and dense rows come into group memory for the matrix attention kernels: through registers, in pieces of
 * 16 bytes, each wave its own chunk.
 */

/* The split's records and its dense rows, of which chunks have 16 and `dense_rows`. */
struct matrix_split {
    uint n_records, n_dense, dense_rows;
    ulong dense_stride; /* bytes from row to row, in global memory */
    volatile uint *faults;
};

/* One of K and V: what a wave copies from, and where to. */
struct matrix_source {
    const uchar *pages, *tail; /* of the head: its first page, the split's first dense row */
    const int *blocks;
    ulong block_bytes;
    uint n_blocks, page_tokens, row_stride, n_pieces, fault;
    uint area; /* group memory */
    /* Of the chunk of records to be copied next: entry of the block table, slot, and block. */
    ulong entry;
    uint slot;
    int block;
    bool bad; /* of the chunk under way: there is no such block, its rows are empty */
};

/* `from` goes on by n chunks of records, to the one that starts at token `first` of the split, if there is one. */
DEVICE void find_block(const struct matrix_split *split, uint n, uint first, struct matrix_source *from)
{
    if (first >= split->n_records)
        return;
    from->slot += n * SKV_HIP_TILE;
    for (; from->slot >= from->page_tokens; from->slot -= from->page_tokens)
        from->entry++;
    from->block = load_uniform(from->blocks + from->entry);
}

/* Pieces of a chunk on their way, one of each lane in a round: of records, which ROW_LANES lanes share, or with 0
 * rounds of dense rows, which DENSE_LANES share. */
template <class V, uint RECORD_ROUNDS> struct matrix_copy {
    static constexpr bool DENSE = RECORD_ROUNDS == 0;
    static constexpr uint ROW_LANES = V::unit::LANES / SKV_HIP_TILE;
    static constexpr uint DENSE_LANES = V::D * 2 / SKV_HIP_PIECE, DENSE_ROWS = V::unit::LANES / DENSE_LANES;
    static constexpr uint ROUNDS = DENSE ? SKV_HIP_DENSE_ROWS_MAX / DENSE_ROWS : RECORD_ROUNDS;
    uint4 pieces[ROUNDS];
};

/* Bytes from a record to the lane's piece of round r. Past the last piece it is copied again. */
template <class V> DEVICE uint piece_at(const struct matrix_source *from, uint r)
{
    constexpr uint ROW_LANES = V::unit::LANES / SKV_HIP_TILE;
    /* Many channels leave no registers to keep what is the same in all chunks. */
    uint lane = V::ONE_AREA ? anew(local_id()) : local_id();
    return min(r * ROW_LANES + lane % ROW_LANES, from->n_pieces - 1) * SKV_HIP_PIECE;
}

/* What the lane copies from, in the block and at the slot that were found last. */
template <class U> DEVICE const uchar *record_of(const struct matrix_source *from)
{
    /* Loads that depended on `bad` would cost copies of registers. */
    uint block = from->bad ? 0 : (uint)from->block;
    uint row = local_id() % U::LANES / (U::LANES / SKV_HIP_TILE);
    return from->pages + block * from->block_bytes + (ulong)from->slot * from->row_stride +
           (ulong)row * from->row_stride;
}

template <class V, uint R>
DEVICE void start_copy(const struct matrix_split *split, uint first, struct matrix_source *from,
                       struct matrix_copy<V, R> *copy)
{
    typedef typename V::unit U;
    typedef struct matrix_copy<V, R> C;
    uint lane = local_id() % U::LANES;
    if constexpr (C::DENSE) {
        const uchar *at = from->tail + lane % C::DENSE_LANES * SKV_HIP_PIECE;
        uint last = min(split->dense_rows, split->n_dense - first) - 1;
#pragma unroll
        for (uint r = 0; r < C::ROUNDS; r++)
            copy->pieces[r] =
                load_piece(at + (first + min(r * C::DENSE_ROWS + lane / C::DENSE_LANES, last)) * split->dense_stride);
    } else {
        from->bad = (uint)from->block >= from->n_blocks;
        if (from->bad && lane == 0)
            report(split->faults, from->fault, from->entry);
        const uchar *at = record_of<U>(from);
#pragma unroll
        for (uint r = 0; r < C::ROUNDS; r++)
            copy->pieces[r] = load_piece(at + piece_at<V>(from, r));
    }
}

template <int D> DEVICE void store_bitmap(uint at, uint bits)
{
    if constexpr (D == 64)
        store_group8(at, uint2{bits, bits});
    else
        for (uint b = 0; b < D / 8; b += 16)
            store_group16(at + b, uint4{bits, bits, bits, bits});
}

/* Rows that are not valid get an empty bitmap; what else they hold does not matter then. With one area for K and V, a
 * record's pieces beyond the rounds come now. */
template <class V, uint R>
DEVICE void end_copy(const struct matrix_split *split, uint n_valid, const struct matrix_source *from,
                     const struct matrix_copy<V, R> *copy)
{
    typedef typename V::unit U;
    typedef struct matrix_copy<V, R> C;
    uint lane = local_id() % U::LANES;
    if constexpr (C::DENSE) {
        constexpr uint STRIDE = SKV_HIP_DENSE_STRIDE(V::D);
        uint at = from->area + lane / C::DENSE_LANES * STRIDE + V::BITMAP + lane % C::DENSE_LANES * SKV_HIP_PIECE;
#pragma unroll
        for (uint r = 0; r < C::ROUNDS; r++)
            if (r * C::DENSE_ROWS < split->dense_rows)
                store_group16(at + r * C::DENSE_ROWS * STRIDE, copy->pieces[r]);
        uint bits = lane < n_valid ? ~0u : 0;
        if (lane <= split->dense_rows)
            store_bitmap<V::D>(from->area + lane * STRIDE, bits);
    } else {
        uint row = lane / C::ROW_LANES, at = from->area + row * SKV_HIP_ROW_STRIDE(from->n_pieces);
#pragma unroll
        for (uint r = 0; r < C::ROUNDS; r++)
            store_group16(at + piece_at<V>(from, r), copy->pieces[r]);
        if constexpr (V::ONE_AREA) {
            constexpr uint LATE = 3;
            const uchar *record = record_of<U>(from);
            for (uint first = C::ROUNDS; first * C::ROW_LANES < from->n_pieces; first += LATE) {
                uint4 pieces[LATE];
#pragma unroll
                for (uint r = 0; r < LATE; r++)
                    pieces[r] = load_piece(record + piece_at<V>(from, first + r));
#pragma unroll
                for (uint r = 0; r < LATE; r++)
                    store_group16(at + piece_at<V>(from, first + r), pieces[r]);
            }
        }
        /* By the lanes that have stored it. */
        if (n_valid < SKV_HIP_TILE || from->bad)
            if (lane % C::ROW_LANES * SKV_HIP_PIECE < V::BITMAP && (row >= n_valid || from->bad))
                store_group16(at + piece_at<V>(from, 0), uint4{0, 0, 0, 0});
    }
}
