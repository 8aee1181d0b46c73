/* SPDX-License-Identifier: Apache-2.0
 *
 * Selection (FORMAT.md section 4): a group chooses the survivors of one chunk of tokens of one head and leaves
 * their bitmaps in group memory, [chunk_tokens][2 * SKV_BITMAP_WORDS] words of 32 bits.
 *
 * The k largest of n scores are those above a threshold, and of those equal to it the first few. The threshold is found
 * bit by bit from the top: a bit stays when at least k scores reach the value with it set. Per token each lane
 * searches a row of its own, held in group memory at an odd stride of words; per channel, a channel of its own.
 * Barriers stand on the only path: some drivers' compilers fail on others, uniform or not.
 */
#ifdef SKV_ROWS

DEVICE uint clamp_score(uint bits)
{
    bits = min(bits, SKV_SCORE_MAX_BITS);
    return bits < SKV_SCORE_MIN_BITS ? 0 : bits;
}

/* FORMAT.md section 4.2, of a value's magnitude bits and a weight. */
DEVICE uint weighted_score(uint magnitude, uint dtype, float weight)
{
    uint infinity = dtype == SKV_F16 ? SKV_F16_INF_BITS : SKV_BF16_INF_BITS;
    if (magnitude >= infinity)
        return magnitude > infinity ? SKV_SCORE_NAN : SKV_SCORE_INF;
    uint bits = magnitude << 16;
    if (dtype == SKV_F16) {
        /* The binary32 of an fp16 magnitude in integers, subnormals included: exact on devices that flush, too. */
        uint shift = magnitude < 0x400 ? leading_zeros(magnitude) - 21 : 0;
        uint exponent = magnitude < 0x400 ? 113 - shift : (magnitude >> 10) + 112;
        bits = magnitude == 0 ? 0 : exponent << 23 | (magnitude << shift & 0x3ff) << 13;
    }
    uint a = clamp_score(bits), b = clamp_score(as_uint(weight) & 0x7fffffffu);
    return a == 0 || b == 0 ? 0 : as_uint(as_float(a) * as_float(b));
}

/* What a search looks at. Group memory may start at address 0, so that no pointer can stand for "none". */
enum score_kind { STAGED, STAGED_WEIGHTED, IN_PLACE, IN_PLACE_WEIGHTED, AMONG };

/* Where a search finds its scores. */
struct scores {
    enum score_kind kind;
    uint dtype;
    const LOCAL ushort *row;    /* STAGED: magnitudes of a row */
    const GLOBAL ushort *value; /* IN_PLACE: the first value, AMONG: the row */
    ulong stride;               /* elements from value to value */
    const GLOBAL float *weight;
    const LOCAL uint *among; /* AMONG: a cap's candidates */
};

DEVICE uint score(const struct scores *from, uint i)
{
    if (from->kind == STAGED)
        return from->row[i];
    if (from->kind == STAGED_WEIGHTED)
        return weighted_score(from->row[i], from->dtype, from->weight[i]);
    uint magnitude = from->value[i * from->stride] & SKV_MAGNITUDE_BITS;
    if (from->kind == IN_PLACE)
        return magnitude;
    if (from->kind == IN_PLACE_WEIGHTED)
        return weighted_score(magnitude, from->dtype, from->weight[i]);
    return from->among[i / 32] >> i % 32 & 1 ? magnitude + 1 : 0;
}

/* The threshold of the `kept` largest of n, and how many that equal it are among them. */
DEVICE uint find_threshold(const struct scores *from, uint n, uint kept, uint top_bit, uint *ties)
{
    uint threshold = 0, above = 0;
    for (uint bit = top_bit; bit != 0; bit >>= 1) {
        uint candidate = threshold | bit, reached = 0;
        for (uint i = 0; i < n; i++)
            reached += score(from, i) >= candidate;
        if (reached >= kept)
            threshold = candidate;
        else
            above = reached;
    }
    *ties = kept - above;
    return threshold;
}

DEVICE uint top_bit(const struct scores *from)
{
    bool weighted = from->kind == STAGED_WEIGHTED || from->kind == IN_PLACE_WEIGHTED;
    return from->kind == AMONG ? 0x8000u : weighted ? 0x80000000u : 0x4000u;
}

/* The same of a staged row's magnitudes, two at once: with bit 15 of each half set, subtracting a candidate leaves it
 * set where the magnitude reaches the candidate, and never borrows from the other half. */
DEVICE uint find_magnitude(const LOCAL ushort *row, uint head_dim, uint kept, uint *ties)
{
    /* Rows are even numbers of values apart, in memory that was asked for as words. */
    const LOCAL uint *pairs = (const LOCAL uint *)row;
    uint threshold = 0, above = 0;
    for (uint bit = 0x4000; bit != 0; bit >>= 1) {
        uint candidate = threshold | bit, both = candidate * 0x10001u, halves = 0;
        for (uint i = 0; i < head_dim / 2; i += 4)
            halves += (((pairs[i] | 0x80008000u) - both) >> 15 & 0x10001u) +
                      (((pairs[i + 1] | 0x80008000u) - both) >> 15 & 0x10001u) +
                      (((pairs[i + 2] | 0x80008000u) - both) >> 15 & 0x10001u) +
                      (((pairs[i + 3] | 0x80008000u) - both) >> 15 & 0x10001u);
        uint reached = (halves & 0xffff) + (halves >> 16);
        if (reached >= kept)
            threshold = candidate;
        else
            above = reached;
    }
    *ties = kept - above;
    return threshold;
}

/* One row: the bitmap is this lane's own. */
DEVICE void select_row(const struct scores *from, uint head_dim, uint kept, LOCAL uint *bits)
{
    uint ties, threshold;
    if (from->kind == STAGED)
        threshold = find_magnitude(from->row, head_dim, kept, &ties);
    else
        threshold = find_threshold(from, head_dim, kept, top_bit(from), &ties);
    for (uint w = 0; w < (head_dim + 31) / 32; w++) {
        uint word = 0;
        for (uint c = 32 * w; c < min(head_dim, 32 * w + 32); c++) {
            uint s = score(from, c), keep = s > threshold;
            if (s == threshold && ties > 0) {
                keep = 1;
                ties--;
            }
            word |= keep << c % 32;
        }
        bits[w] = word;
    }
}

/* One channel of a group of tokens, whose bitmaps other lanes write too. */
DEVICE void select_in_channel(const struct scores *from, uint m, uint kept, uint channel, uint row_words,
                              volatile LOCAL uint *bits)
{
    uint ties, threshold = find_threshold(from, m, kept, top_bit(from), &ties);
    for (uint t = 0; t < m; t++) {
        uint s = score(from, t), keep = s > threshold;
        if (s == threshold && ties > 0) {
            keep = 1;
            ties--;
        }
        if (keep)
            atomic_or_local(bits + t * row_words + channel / 32, 1u << channel % 32);
    }
}

/* Whole channels: a channel's rank is the number of those that come before it. */
DEVICE void select_channels(const GLOBAL float *weights, uint head_dim, uint kept, volatile LOCAL uint *bits)
{
    for (uint c = local_id(); c < head_dim; c += local_size()) {
        uint own = as_uint(weights[c]) & 0x7fffffffu, rank = 0;
        for (uint i = 0; i < head_dim; i++) {
            uint other = as_uint(weights[i]) & 0x7fffffffu;
            rank += other > own || (other == own && i < c);
        }
        if (rank < kept)
            atomic_or_local(bits + c / 32, 1u << c % 32);
    }
}

#ifdef SKV_SERIAL
void select_chunk(const struct skv_gpu_select *p, const struct skv_gpu_head *head, uint i_head, ulong first,
                  const GLOBAL ushort *in, const GLOBAL float *weights, const GLOBAL ulong *mask,
                  LOCAL uint *tile_words, LOCAL uint *bits);
#else
DEVICE void select_chunk(const struct skv_gpu_select *p, const struct skv_gpu_head *head, uint i_head, ulong first,
                         const GLOBAL ushort *in, const GLOBAL float *weights, const GLOBAL ulong *mask,
                         LOCAL uint *tile_words, LOCAL uint *bits)
{
    LOCAL ushort *tile = (LOCAL ushort *)tile_words;
    uint lid = local_id(), size = local_size(), d = p->head_dim, row_words = 2 * SKV_BITMAP_WORDS(d);
    uint n = (uint)min((ulong)p->chunk_tokens, p->n_tokens - first), tile_stride = d + 2;
    const GLOBAL ushort *rows = in + p->in.offset + first * p->in.token_stride + i_head * p->in.head_stride;

    /* The last round's readers are done. */
    group_barrier();
    for (uint i = lid; i < n * row_words; i += size)
        bits[i] = 0;
    for (uint t = 0; t < (p->staged ? n : 0); t++)
        for (uint c = lid; c < d; c += size)
            tile[t * tile_stride + c] = rows[t * p->in.token_stride + c] & SKV_MAGNITUDE_BITS;
    group_barrier();

    struct scores from;
    from.dtype = p->dtype;
    from.stride = p->in.token_stride;
    from.row = tile;
    from.value = rows;
    from.weight = weights;
    from.among = bits;
    if (p->strategy == SKV_TOKEN_MAGNITUDE || p->strategy == SKV_TOKEN_WEIGHTED) {
        from.kind = p->strategy == SKV_TOKEN_WEIGHTED ? STAGED_WEIGHTED : STAGED;
        from.weight = weights + p->weights + (ulong)i_head * d;
        for (uint t = lid; t < n; t += size) {
            from.row = tile + t * tile_stride;
            select_row(&from, d, head->selected, bits + t * row_words);
        }
    } else if (p->strategy == SKV_CHANNEL_MAGNITUDE || p->strategy == SKV_CHANNEL_WEIGHTED) {
        uint group = p->group_tokens;
        for (uint i = lid; i < (n + group - 1) / group * d; i += size) {
            uint t = i / d * group, m = min(group, n - t);
            from.value = rows + t * p->in.token_stride + i % d;
            from.kind = p->strategy == SKV_CHANNEL_WEIGHTED ? IN_PLACE_WEIGHTED : IN_PLACE;
            from.weight = weights + p->weights + (ulong)i_head * p->n_tokens + first + t;
            select_in_channel(&from, m, (head->selected * m + group - 1) / group, i % d, row_words,
                              bits + t * row_words);
        }
    } else if (p->strategy == SKV_CHANNELS) {
        select_channels(weights + p->weights + (ulong)i_head * d, d, head->selected, bits);
    } else if (p->strategy == SKV_THRESHOLD) {
        for (uint i = lid; i < n * ((d + 31) / 32); i += size) {
            uint t = i / ((d + 31) / 32), w = i % ((d + 31) / 32), word = 0;
            for (uint c = 32 * w; c < min(d, 32 * w + 32); c++)
                word |= (uint)(tile[t * tile_stride + c] >= p->threshold_bits) << c % 32;
            bits[t * row_words + w] = word;
        }
    } else {
        const GLOBAL uint *given = (const GLOBAL uint *)(mask + p->mask);
        for (uint i = lid; i < n * ((d + 31) / 32); i += size) {
            uint t = i / ((d + 31) / 32), w = i % ((d + 31) / 32);
            bits[t * row_words + w] = word_bits(given[((first + t) * p->n_heads + i_head) * row_words + w], d, w);
        }
    }
    group_barrier();

    if (p->strategy == SKV_CHANNELS)
        for (uint i = lid + row_words; i < n * row_words; i += size)
            bits[i] = bits[i % row_words];
    group_barrier();
    uint n_protected = first < p->protect_tokens ? (uint)min((ulong)n, p->protect_tokens - first) : 0;
    for (uint i = lid; i < n_protected * ((d + 31) / 32); i += size)
        bits[i / ((d + 31) / 32) * row_words + i % ((d + 31) / 32)] = word_bits(0xffffffffu, d, i % ((d + 31) / 32));
    group_barrier();
    for (uint t = lid; t < (p->capped ? n : 0); t += size) {
        LOCAL uint *own = bits + t * row_words;
        uint count = 0;
        for (uint w = 0; w < row_words; w++)
            count += popcount(own[w]);
        if (count <= head->kept)
            continue;
        /* The result may overwrite the candidates: a word is read before it is written. */
        from.kind = AMONG;
        from.value = rows + t * p->in.token_stride;
        from.stride = 1;
        from.among = own;
        select_row(&from, d, head->kept, own);
    }
    group_barrier();
}
#endif

/* Writes word w (32 channels) of a row's survivors into its record, and the bitmap's word. */
DEVICE void pack_word(const GLOBAL ushort *row, const LOCAL uint *bits, uint head_dim, uint w, GLOBAL uchar *record)
{
    uint rank = 0, word = bits[w];
    for (uint i = 0; i < w; i++)
        rank += popcount(bits[i]);
    GLOBAL ushort *values = (GLOBAL ushort *)(record + SKV_BITMAP_BYTES(head_dim)) + rank;
    ((GLOBAL uint *)record)[w] = word;
    for (uint i = 0; word != 0; word >>= 1, i++)
        if (word & 1)
            *values++ = row[32 * w + i];
}

DEVICE slong slot_of(const struct skv_gpu_compress *p, const GLOBAL slong *slots, ulong i_token)
{
    return p->has_slots ? slots[p->slots + i_token] : (slong)(p->first_slot + i_token);
}

/* True for a slot of the pool; a fault is reported for one beyond it. */
DEVICE bool is_slot(const struct skv_gpu_pool *pool, slong slot, ulong i_token, volatile GLOBAL uint *faults)
{
    if (slot < 0)
        return false;
    if ((ulong)slot < pool->n_blocks * pool->page_tokens)
        return true;
    report(faults, SKV_GPU_FAULT_SLOT, i_token);
    return false;
}

#endif
