/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file ops.h
 * The operations: prune, compress, decompress, attend, merge, and the channel weights that output-aware pruning needs.
 *
 * Rules that hold for every operation:
 *   - It is enqueued on a queue and allocates nothing. Arguments are checked before anything is enqueued.
 *   - SKV_OP_CHECK in `flags` checks and enqueues nothing: the way to ask whether, and why not, a device supports a
 * call.
 *   - Lengths, tables and mappings live in device memory. Where that memory is host memory (skv_limits::host_memory)
 * their contents are checked up front too; elsewhere a kernel ignores entries out of range and skv_queue_finish reports
 * them.
 *   - Strides count elements, not bytes. A stride of 0 means contiguous (each struct says in which order).
 *   - Spans must be aligned to their element size; spans of one call that are written must not overlap any other.
 *   - Status codes of all operations: SKV_ERROR_INVALID_ARGUMENT, SKV_ERROR_STRUCT_SIZE, SKV_ERROR_OVERFLOW,
 *     SKV_ERROR_ALIGNMENT, SKV_ERROR_OUT_OF_BOUNDS, SKV_ERROR_WRONG_DEVICE, SKV_ERROR_UNSUPPORTED,
 * SKV_ERROR_OUT_OF_MEMORY, SKV_ERROR_DEVICE.
 *   - Thread-safety: that of the queue: one thread at a time per queue.
 *
 * Selection, packing and unpacking are exact: all backends give the same bytes. Attention has the error bound of
 * core/FORMAT.md section 9.
 */
#ifndef SKV_OPS_H
#define SKV_OPS_H

#include <skv/layout.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Check the arguments and report; enqueue nothing, write nothing. */
#define SKV_OP_CHECK 0x1u

/** Dense K or V rows: n_tokens x n_kv_heads rows of head_dim contiguous values. */
typedef struct skv_rows {
    skv_span data;
    uint64_t token_stride; /**< elements between tokens; 0: n_kv_heads * head_dim */
    uint64_t head_stride;  /**< elements between heads; 0: head_dim */
} skv_rows;

/**
 * How survivors are chosen. Names and ideas: Mustafar (arXiv 2505.22913), sections 3.1 (keys) and 3.2 (values); ThinK
 * (arXiv 2407.21018) for whole channels. "Fixed" strategies keep the same count in every row of a head, as fixed-slot
 * layouts need.
 */
typedef enum skv_strategy {
    /** Fixed. The k largest |x| of each token row. */
    SKV_TOKEN_MAGNITUDE = 0,
    /** Fixed. The k largest |x| * w of each token row; weights f32 [n_kv_heads][head_dim]: output-aware keys. */
    SKV_TOKEN_WEIGHTED = 1,
    /** Ragged. In each channel, the k largest |x| of each group of group_tokens tokens. */
    SKV_CHANNEL_MAGNITUDE = 2,
    /** Ragged. As above by |x| * w; weights f32 [n_kv_heads][n_tokens]: output-aware values. */
    SKV_CHANNEL_WEIGHTED = 3,
    /** Fixed. The same k channels in all rows: those of largest weight; weights f32 [n_kv_heads][head_dim]: ThinK. */
    SKV_CHANNELS = 4,
    /** Ragged. Every |x| >= threshold. */
    SKV_THRESHOLD = 5,
    /** Ragged. The caller's own bitmaps, u64 [n_tokens][n_kv_heads][ceil(head_dim / 64)], bit order of core/FORMAT.md.
     */
    SKV_MASK = 6
} skv_strategy;

/**
 * A pruning rule. Order, ties, NaN, infinities and the arithmetic of weighted scores: core/FORMAT.md section 4.
 * In a ragged layout a row that would keep more than its cap keeps its largest |x| up to the cap.
 */
typedef struct skv_select {
    uint32_t strategy; /**< skv_strategy */
    /** k of the strategy (rows, groups or channels). 0: the layout's (compress into a fixed layout only). */
    uint32_t kept;
    const uint32_t *kept_per_head; /**< n_kv_heads values, read during the call; NULL: `kept` for all */
    float threshold;               /**< SKV_THRESHOLD: finite, >= 0 */
    uint32_t
        group_tokens; /**< SKV_CHANNEL_*: 1 to 64, 0 means 32; a shorter last group of m keeps ceil(k * m / group) */
    /** The first tokens of this call keep every channel (attention sinks). Prune and ragged layouts only. */
    uint32_t protect_tokens;
    uint32_t reserved;
    skv_span weights; /**< strategies that use weights: finite and >= 0 */
    skv_span mask;    /**< SKV_MASK */
} skv_select;

typedef struct skv_prune_params {
    uint32_t struct_size;
    uint32_t flags;
    uint32_t dtype; /**< SKV_F16 (default) or SKV_BF16 */
    uint32_t head_dim;
    uint32_t n_kv_heads;
    uint32_t reserved;
    uint64_t n_tokens; /**< 0: nothing is done */
    skv_rows in;
    skv_rows out;  /**< the rows with pruned values set to +0; optional; may be the same as `in` */
    skv_span mask; /**< u64 [n_tokens][n_kv_heads][ceil(head_dim / 64)]; optional; one of out and mask must be there */
    skv_select select;
} skv_prune_params;

/** Prunes dense rows, for accuracy studies and to make masks. */
SKV_API skv_status skv_prune(skv_queue *queue, const skv_prune_params *params);

/** Which channel weights skv_channel_weights makes. */
typedef enum skv_weights_kind {
    /** w[h][c] = sum over the given query rows of KV head h's group of |q_c| (output-aware keys, Mustafar section 3.1).
     */
    SKV_WEIGHTS_QUERY_ABS = 0,
    /** w[h][c] = ||q_c|| * ||x_c||, 2-norms over the query rows and the K rows (ThinK); without queries ||x_c||, for V.
     */
    SKV_WEIGHTS_NORM = 1
} skv_weights_kind;

typedef struct skv_channel_weights_params {
    uint32_t struct_size;
    uint32_t flags;
    uint32_t kind;  /**< skv_weights_kind */
    uint32_t dtype; /**< of queries and rows: SKV_F16 (default) or SKV_BF16 */
    uint32_t head_dim;
    uint32_t n_kv_heads;
    uint32_t n_q_heads; /**< a multiple of n_kv_heads; query head h belongs to KV head h / (n_q_heads / n_kv_heads) */
    uint32_t reserved;
    uint64_t n_queries;
    uint64_t n_tokens;
    skv_rows queries; /**< [n_queries][n_q_heads][head_dim] */
    skv_rows rows;    /**< SKV_WEIGHTS_NORM: [n_tokens][n_kv_heads][head_dim] */
    skv_span weights; /**< out: f32 [n_kv_heads][head_dim], relative error below (terms + 4) * 2^-24 */
} skv_channel_weights_params;

/** Makes the weights of SKV_TOKEN_WEIGHTED and SKV_CHANNELS from a window of recent queries. */
SKV_API skv_status skv_channel_weights(skv_queue *queue, const skv_channel_weights_params *params);

/** Write no pages, only row_bytes: how large the records would be. */
#define SKV_COMPRESS_MEASURE 0x2u

typedef struct skv_compress_params {
    uint32_t struct_size;
    uint32_t flags; /**< SKV_OP_CHECK, SKV_COMPRESS_MEASURE */
    uint64_t n_tokens;
    skv_rows in; /**< [n_tokens][n_kv_heads][head_dim] of the layout's dtype */
    skv_pool pool;
    /**
     * i64 [n_tokens]: token i goes to slot % page_tokens of block slot / page_tokens; negative: the token is skipped.
     * Absent: token i goes to slot first_slot + i. Two tokens must not share a slot. In a ragged layout the slots of a
     * page must be written in ascending order without a gap, and the tokens of one call that share a page must be
     * neighbours; writing slot s forgets the slots above s of that page, so slot 0 starts a page anew.
     */
    skv_span slot_mapping;
    uint64_t first_slot;
    skv_select select;
    skv_span row_bytes; /**< out, optional: u32 [n_tokens][n_kv_heads], bytes of each record; 0 for skipped tokens */
} skv_compress_params;

/**
 * Selects and packs dense rows into their slots in one pass: prefill and append alike.
 * Only the records' own bytes (in a ragged page, also their directory entries) are written.
 * @return besides the common codes SKV_ERROR_CAPACITY: a ragged page cannot hold its rows (at once where
 *         skv_limits::synchronous, else from skv_queue_finish); the rows of that page and call are then undefined but
 * safe.
 */
SKV_API skv_status skv_compress(skv_queue *queue, const skv_compress_params *params);

typedef struct skv_decompress_params {
    uint32_t struct_size;
    uint32_t flags;
    uint64_t n_tokens;
    skv_pool pool;
    skv_span slot_mapping; /**< i64 [n_tokens]; negative: that row of `out` becomes 0; absent: first_slot + i */
    uint64_t first_slot;
    skv_rows out; /**< [n_tokens][n_kv_heads][head_dim] of the layout's dtype */
} skv_decompress_params;

/** Expands records to dense rows, exactly; pruned channels are +0. */
SKV_API skv_status skv_decompress(skv_queue *queue, const skv_decompress_params *params);

/**
 * Decode attention over a compressed cache and a dense tail, without decompressing to memory.
 *
 * Sequence s has cache_lens[s] tokens in pages, at positions 0 and up, then tail_lens[s] dense tokens. Its n_new query
 * tokens are its newest tokens: query i stands at position length - n_new + i, where length = cache + tail, and sees
 * the positions j <= its own with j > position - window or j < sink_tokens. So the keys and values of the new tokens
 * must be in the cache or the tail already. A query that sees nothing gives out = 0 and lse = -inf. score = q . k *
 * scale, or softcap * tanh(q . k * scale / softcap). core/FORMAT.md section 8 defines the result.
 */
typedef struct skv_attend_params {
    uint32_t struct_size;
    uint32_t flags;
    uint32_t n_seqs;    /**< 0: nothing is done */
    uint32_t n_new;     /**< query tokens per sequence, at least 1 */
    uint32_t n_q_heads; /**< a multiple of n_kv_heads; query head h reads KV head h / (n_q_heads / n_kv_heads) */
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t dtype;     /**< of tail K and V: SKV_F16 (default) or SKV_BF16; must be that of the pools */
    uint32_t q_dtype;   /**< of q: `dtype` (default) or SKV_F32 */
    uint32_t out_dtype; /**< of out: `dtype` (default) or SKV_F32 */

    skv_span q;            /**< [n_seqs][n_new][n_q_heads][head_dim] */
    uint64_t q_seq_stride; /**< elements; 0: contiguous */
    uint64_t q_token_stride;
    uint64_t q_head_stride;
    skv_span out;            /**< [n_seqs][n_new][n_q_heads][head_dim] */
    uint64_t out_seq_stride; /**< elements; 0: contiguous */
    uint64_t out_token_stride;
    uint64_t out_head_stride;
    skv_span lse; /**< out, optional: f32 [n_seqs][n_new][n_q_heads], natural logarithm */

    /* the compressed part; absent when max_cache_tokens is 0 */
    skv_pool k_pool;
    skv_pool v_pool;
    skv_span
        k_blocks; /**< i32 [n_seqs][block_stride]: block of tokens [i * P, (i + 1) * P) of the sequence, in k_pool */
    skv_span v_blocks;         /**< the same in v_pool, whose page_tokens may differ; absent: k_blocks serves both */
    uint64_t block_stride;     /**< entries per sequence; 0: ceil(max_cache_tokens / P) */
    skv_span cache_lens;       /**< i32 [n_seqs]; absent: max_cache_tokens for all */
    uint64_t max_cache_tokens; /**< bound of cache_lens, known to the host */

    /* the dense part; absent when max_tail_tokens is 0 */
    skv_span k_tail; /**< [n_seqs][max_tail_tokens][n_kv_heads][head_dim] */
    skv_span v_tail;
    uint64_t tail_seq_stride; /**< elements, K and V alike; 0: contiguous */
    uint64_t tail_token_stride;
    uint64_t tail_head_stride;
    skv_span tail_lens; /**< i32 [n_seqs]; absent: max_tail_tokens for all */
    uint64_t max_tail_tokens;

    float scale;          /**< 0: 1 / sqrt(head_dim); else finite */
    float softcap;        /**< 0: none; else > 0 and finite */
    uint64_t window;      /**< 0: none; else each query sees at most this many positions up to its own */
    uint64_t sink_tokens; /**< with a window: the first positions stay visible */
    skv_span sink_logits; /**< optional: f32 [n_q_heads], one more logit in each head's softmax that carries no value;
                             in the lse too */

    /**
     * Tokens per split of a sequence. 0: chosen from the shapes in this struct. A fixed value makes results independent
     * of the other sequences in the batch (batch invariance). At least 32, a multiple of 32.
     */
    uint32_t split_tokens;
    uint32_t reserved;
    skv_span workspace; /**< skv_attend_workspace() bytes, offset a multiple of 64; not needed when that is 0 */
} skv_attend_params;

/**
 * Bytes of workspace that skv_attend needs for these shapes (spans are not looked at). It grows with n_seqs and the two
 * max_*_tokens, so one workspace for the largest shapes serves all smaller ones.
 */
SKV_API skv_status skv_attend_workspace(const skv_device *device, const skv_attend_params *params, uint64_t *n_bytes);

SKV_API skv_status skv_attend(skv_queue *queue, const skv_attend_params *params);

/**
 * Merges partial attention results over disjoint token sets, for context parallelism and cascades:
 * lse = log sum_p exp(lse_p), out = sum_p exp(lse_p - lse) out_p. Parts with lse_p = -inf count as empty whatever out_p
 * holds.
 */
typedef struct skv_merge_params {
    uint32_t struct_size;
    uint32_t flags;
    uint32_t head_dim;
    uint32_t out_dtype; /**< SKV_F32 (default), SKV_F16 or SKV_BF16 */
    uint64_t n_parts;   /**< at least 1 */
    uint64_t n_rows;    /**< 0: nothing is done */
    skv_span part_out;  /**< f32 [n_parts][n_rows][head_dim] */
    skv_span part_lse;  /**< f32 [n_parts][n_rows] */
    skv_span out;       /**< [n_rows][head_dim] */
    skv_span lse;       /**< out, optional: f32 [n_rows] */
} skv_merge_params;

SKV_API skv_status skv_merge(skv_queue *queue, const skv_merge_params *params);

#ifdef __cplusplus
}
#endif

#endif
