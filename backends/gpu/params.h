/* SPDX-License-Identifier: Apache-2.0
 *
 * What the host hands to the kernels, by value. Legal in C and in the kernels' languages, with the same layout in all:
 * fields of 4 and 8 bytes only, those of 8 at multiples of 8, sizes multiples of 8.
 */
#ifndef SKV_GPU_PARAMS_H
#define SKV_GPU_PARAMS_H

#if defined(__OPENCL_VERSION__) || defined(SKV_LANGUAGE_H)
typedef uint skv_u32;
typedef ulong skv_u64;
#else
#include <stdint.h>
typedef uint32_t skv_u32;
typedef uint64_t skv_u64;
#endif

/* Heads that one launch knows one by one. A launch over heads that are all alike takes any number of them. */
#define SKV_GPU_HEADS 4

/* Lanes of a group of the kernels on rows, and of merge. */
#define SKV_GPU_ROW_LANES 64
/* Of those that select. SKV_SERIAL: the variant for CPUs (backends/opencl/kernels/select_serial.cl). */
#ifdef SKV_SERIAL
#define SKV_GPU_SELECT_LANES 1
#else
#define SKV_GPU_SELECT_LANES SKV_GPU_ROW_LANES
#endif
/* Of the portable attention kernel for a head_dim: tokens of a tile, whose records take up to 17 KiB of group memory,
 * and lanes of a group. */
#define SKV_GPU_TILE(head_dim) ((head_dim) <= 128 ? 32 : (head_dim) <= 256 ? 16 : 8)
#define SKV_GPU_ATTEND_LANES(head_dim) ((head_dim) <= 64 ? 64 : 128)

/* Faults that a kernel finds in data: the index of the lowest offender of each kind, or SKV_GPU_NO_FAULT. */
#define SKV_GPU_FAULT_CAPACITY 0
#define SKV_GPU_FAULT_SLOT 1
#define SKV_GPU_FAULT_CACHE_LEN 2
#define SKV_GPU_FAULT_TAIL_LEN 3
#define SKV_GPU_FAULT_K_BLOCK 4
#define SKV_GPU_FAULT_V_BLOCK 5
#define SKV_GPU_FAULTS 8
#define SKV_GPU_NO_FAULT 0xffffffffu

/* Dense rows, in elements. */
struct skv_gpu_rows {
    skv_u64 offset, token_stride, head_stride;
};

struct skv_gpu_head {
    skv_u32 kept;     /* of the layout: k, or the cap of a ragged row */
    skv_u32 selected; /* of the rule */
    skv_u32 row_stride, page_bytes;
    skv_u64 page_offset;
};

/* The heads of a launch. Alike: head[0] serves all, and pages follow each other. */
struct skv_gpu_heads {
    skv_u32 first, alike;
    struct skv_gpu_head head[SKV_GPU_HEADS];
};

/* Bytes and slots of a pool. */
struct skv_gpu_pool {
    skv_u64 offset, block_bytes, n_blocks;
    skv_u32 form, page_tokens;
};

/* The rows of prune and compress, and the rule that chooses their survivors. */
struct skv_gpu_select {
    struct skv_gpu_rows in;
    skv_u64 n_tokens;
    skv_u64 weights, mask; /* offsets in elements of 4 and 8 bytes */
    skv_u32 strategy, dtype, head_dim, n_heads;
    skv_u32 group_tokens, protect_tokens, threshold_bits, chunk_tokens;
    skv_u32 staged;               /* 1: rows of a chunk are held in group memory */
    skv_u32 capped;               /* 1: rows keep at most heads.head[].kept */
    skv_u32 tile_words, reserved; /* of 32 bits: the staged rows' share of the scratch memory; bitmaps follow */
    struct skv_gpu_heads heads;
};

struct skv_gpu_prune {
    struct skv_gpu_select select;
    struct skv_gpu_rows out;
    skv_u64 out_mask; /* offset in elements of 8 bytes */
    skv_u32 has_out, has_mask;
};

struct skv_gpu_compress {
    struct skv_gpu_select select;
    struct skv_gpu_pool pool;
    skv_u64 slots, row_bytes; /* offsets in elements of 8 and 4 bytes */
    skv_u64 first_slot;
    skv_u32 has_slots, has_row_bytes, measure, reserved;
};

struct skv_gpu_decompress {
    struct skv_gpu_rows out;
    struct skv_gpu_pool pool;
    skv_u64 n_tokens, slots, first_slot;
    skv_u32 has_slots, head_dim, n_heads, reserved;
    struct skv_gpu_heads heads;
};

struct skv_gpu_weights {
    struct skv_gpu_rows queries, rows;
    skv_u64 n_queries, n_tokens, weights;
    skv_u32 has_queries, has_rows, norm, dtype;
    skv_u32 head_dim, group;
};

/* Partial results -> results; row r of n_rows is (seq * n_new + i) * n_q_heads + head. */
struct skv_gpu_merge {
    skv_u64 part_out, part_lse; /* offsets in elements of 4 bytes */
    skv_u64 out, out_seq_stride, out_token_stride, out_head_stride;
    skv_u64 lse, sinks;
    skv_u64 n_parts, n_rows;
    skv_u32 has_lse, has_sinks, out_dtype, head_dim;
    skv_u32 n_new, n_q_heads;
};

struct skv_gpu_attend {
    struct skv_gpu_pool k_pool, v_pool;
    skv_u64 k_blocks, v_blocks, block_stride, cache_lens, tail_lens; /* offsets in elements of 4 bytes */
    skv_u64 max_cache, max_tail;
    skv_u64 q, q_seq_stride, q_token_stride, q_head_stride;
    skv_u64 k_tail, v_tail, tail_seq_stride, tail_token_stride, tail_head_stride;
    skv_u64 window, sink_tokens;
    skv_u64 split_tokens;
    skv_u32 n_splits, n_new, n_q_heads, group;
    skv_u32 dtype, q_dtype, has_cache_lens, has_tail_lens;
    skv_u32 has_softcap;
    skv_u32 pieces; /* of 8 bytes: the most that a record's values take */
    float scale, softcap;
    struct skv_gpu_heads k_heads, v_heads;
    struct skv_gpu_merge merge; /* where partial results go, and those of a single split */
};

#endif
