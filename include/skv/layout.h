/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file layout.h
 * The shape of a compressed cache: records, pages, pools, and their exact bytes. The normative text is core/FORMAT.md.
 *
 *   record  one compressed token row of one KV head: bitmap, then the kept values in channel order
 *   page    page_tokens slots of one KV head, of K or of V
 *   block   the pages of all KV heads for the same page_tokens tokens, one after the other: what a block table entry
 * names pool    n_blocks blocks
 */
#ifndef SKV_LAYOUT_H
#define SKV_LAYOUT_H

#include <skv/memory.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum skv_form {
    SKV_FIXED = 0, /**< every row of a head keeps exactly k channels: constant slots, no offsets */
    SKV_RAGGED = 1 /**< rows keep different counts: records back to back behind a directory of their ends */
} skv_form;

/** A validated, immutable layout. Thread-safety: any number of threads may use it at once. */
typedef struct skv_layout skv_layout;

typedef struct skv_layout_params {
    uint32_t struct_size;
    uint32_t flags;      /**< none defined: must be 0 */
    uint32_t dtype;      /**< skv_dtype of the values: SKV_F16 (the default) or SKV_BF16 */
    uint32_t form;       /**< skv_form */
    uint32_t head_dim;   /**< D: a multiple of 8 from 8 to 512 */
    uint32_t n_kv_heads; /**< 1 to 4096 */
    /** Fixed: k, survivors of every row, 1 to head_dim. Ragged: the most survivors a row may keep; 0 means head_dim. */
    uint32_t kept;
    uint32_t page_tokens; /**< P: a multiple of 32 up to 4096; 0 means 64 */
    /** A budget for each head instead of `kept`: n_kv_heads values, copied. NULL: `kept` for all. */
    const uint32_t *kept_per_head;
    /**
     * Fixed: bytes from one record to the next, a multiple of 8, at least the largest record's bytes. 0: each head's
     * own record bytes rounded up to 8, which is the smallest. skv_row_stride_for_banks() gives one that suits shared
     * memory.
     */
    uint32_t row_stride;
    /**
     * Ragged: bytes of one head's page, a multiple of 8 up to 2^31; 0: enough for page_tokens rows of `kept` survivors.
     * Smaller pages save memory where the sum over a page is known to be less; see skv_ragged_page_bytes().
     */
    uint32_t page_bytes;
} skv_layout_params;

/**
 * Ownership: the caller destroys it with skv_layout_destroy once no call uses it.
 * @return SKV_ERROR_INVALID_ARGUMENT, SKV_ERROR_STRUCT_SIZE, SKV_ERROR_ALIGNMENT, SKV_ERROR_OVERFLOW,
 *         SKV_ERROR_OUT_OF_MEMORY. Thread-safety: any thread.
 */
SKV_API skv_status skv_layout_create(const skv_layout_params *params, skv_layout **layout);
SKV_API void skv_layout_destroy(skv_layout *layout); /**< NULL is allowed. */

typedef struct skv_layout_info {
    uint32_t struct_size;
    uint32_t format_version; /**< of core/FORMAT.md */
    uint32_t dtype;
    uint32_t form;
    uint32_t head_dim;
    uint32_t n_kv_heads;
    uint32_t page_tokens;
    uint32_t bitmap_bytes; /**< 8 * ceil(head_dim / 64) */
    uint32_t slack_bytes;  /**< readable bytes that must follow a pool */
    uint32_t reserved;
    uint64_t block_bytes;     /**< one block: the pages of all heads */
    uint64_t dense_row_bytes; /**< head_dim values */
} skv_layout_info;

SKV_API skv_status skv_layout_get_info(const skv_layout *layout, skv_layout_info *info);

/** One head's share of a block. */
typedef struct skv_layout_head {
    uint32_t struct_size;
    uint32_t kept;         /**< k, or the cap of a ragged row */
    uint32_t record_bytes; /**< bitmap and `kept` values */
    uint32_t row_stride;   /**< fixed: bytes from record to record; ragged: 0 */
    uint64_t page_bytes;
    uint64_t page_offset; /**< of the head's page from the start of its block */
} skv_layout_head;

/** @return SKV_ERROR_OUT_OF_BOUNDS for i_head >= n_kv_heads. */
SKV_API skv_status skv_layout_get_head(const skv_layout *layout, uint32_t i_head, skv_layout_head *head);

/** Blocks that n_tokens tokens of one sequence need: ceil(n_tokens / page_tokens). */
SKV_API skv_status skv_layout_blocks(const skv_layout *layout, uint64_t n_tokens, uint64_t *n_blocks);

/** Exact bytes of a pool of n_blocks blocks, the slack behind it included. @return SKV_ERROR_OVERFLOW. */
SKV_API skv_status skv_layout_pool_bytes(const skv_layout *layout, uint64_t n_blocks, uint64_t *n_bytes);

/**
 * The number of channels to keep for a sparsity (the fraction pruned, 0 to below 1): the smallest multiple of
 * `multiple` (0 means 1; at most head_dim) that keeps at least (1 - sparsity) * head_dim channels. Sparsity 0.7 at
 * head_dim 128 gives 39, and 40 with multiple 8. (The code released with the paper keeps head_dim - floor(sparsity *
 * head_dim) + 1, and more on ties.)
 */
SKV_API skv_status skv_kept_for_sparsity(uint32_t head_dim, double sparsity, uint32_t multiple, uint32_t *kept);

/**
 * The smallest row stride >= the record's bytes that is a multiple of 16 but not of 64: one at which neighbouring
 * records fall into different banks of a 32 x 4-byte shared memory. 96 for k=40 and 144 for k=64 at head_dim 128; 80
 * for k=24.
 */
SKV_API skv_status skv_row_stride_for_banks(uint32_t head_dim, uint32_t kept, uint32_t *row_stride);

/**
 * Bytes of a ragged page that surely holds page_tokens rows with at most n_survivors survivors in sum; for example
 * head_dim * kept * ceil(page_tokens / 32) for the per-channel strategies.
 */
SKV_API skv_status skv_ragged_page_bytes(uint32_t head_dim, uint32_t page_tokens, uint64_t n_survivors,
                                         uint32_t *page_bytes);

/**
 * A pool of blocks in a buffer. Block b starts at pages.offset + b * block_bytes; head h's page follows at its
 * page_offset. The buffer must hold skv_layout_pool_bytes(layout, n_blocks) bytes from pages.offset on. pages.offset
 * must be a multiple of 8. Passed by value in parameter structs.
 */
typedef struct skv_pool {
    const skv_layout *layout;
    skv_span pages;
    uint64_t n_blocks;
} skv_pool;

#ifdef __cplusplus
}
#endif

#endif
