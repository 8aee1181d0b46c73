/* SPDX-License-Identifier: Apache-2.0
 *
 * What all attention kernels ask of lengths, windows and records.
 */
#ifdef ATTEND

DEVICE ulong checked_length(const GLOBAL int *lengths, ulong at, uint i_seq, ulong most, uint kind,
                            volatile GLOBAL uint *faults)
{
    int length = lengths[at + i_seq];
    if (length >= 0 && (ulong)length <= most)
        return length;
    report(faults, kind, i_seq);
    return 0;
}

/* Tokens of a sequence: of its cache, and all. */
DEVICE void read_lengths(const struct skv_gpu_attend *p, const GLOBAL int *cache_lens, const GLOBAL int *tail_lens,
                         uint i_seq, volatile GLOBAL uint *faults, ulong *n_cached, ulong *n_tokens)
{
    ulong cached = p->max_cache, tail = p->max_tail;
    if (p->has_cache_lens)
        cached = checked_length(cache_lens, p->cache_lens, i_seq, p->max_cache, SKV_GPU_FAULT_CACHE_LEN, faults);
    if (p->has_tail_lens)
        tail = checked_length(tail_lens, p->tail_lens, i_seq, p->max_tail, SKV_GPU_FAULT_TAIL_LEN, faults);
    *n_cached = cached;
    *n_tokens = cached + tail;
}

/* The first position that the window of a query at `position` shows, sinks apart. */
DEVICE ulong window_begin(ulong window, slong position)
{
    return window && position + 1 > (slong)window ? position + 1 - window : 0;
}

DEVICE bool is_visible(const struct skv_gpu_attend *p, slong query, ulong position)
{
    return (slong)position <= query && (position >= window_begin(p->window, query) || position < p->sink_tokens);
}

/* Where a record's values are, its bitmap's words and the survivors before each; a row without a record is empty. */
DEVICE void find_record(const struct skv_gpu_pool *pool, const struct skv_gpu_head *head, const GLOBAL uchar *pages,
                        const GLOBAL int *blocks, ulong entry, ulong i_entry, uint i_slot, uint fault, uint values_max,
                        volatile GLOBAL uint *faults, uint head_dim, uint stride, LOCAL ulong *values, LOCAL uint *bits,
                        LOCAL uint *first_value)
{
    int i_block = blocks[entry];
    ulong at = NO_RECORD;
    if (i_block >= 0 && (ulong)i_block < pool->n_blocks)
        at = record_at(pages, pool, head, i_block, i_slot, head_dim);
    else
        report(faults, fault, i_entry);
    uint n = 0, n_words = (head_dim + 31) / 32;
    for (uint w = 0; w < n_words; w++) {
        uint word = at == NO_RECORD ? 0 : record_word(pages + at, head_dim, w);
        bits[w * stride] = word;
        first_value[w * stride] = n;
        n += popcount(word);
    }
    /* A damaged bitmap may claim more values than any row has room for. */
    if (n > values_max)
        for (uint w = 0; w < n_words; w++)
            bits[w * stride] = 0;
    *values = at == NO_RECORD ? 0 : at + SKV_BITMAP_BYTES(head_dim);
}

#endif
