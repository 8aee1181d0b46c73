/* SPDX-License-Identifier: Apache-2.0
 *
 * The one place that knows the sizes and offsets of records, pages, blocks and pools (FORMAT.md sections 2, 3 and 6).
 */
#include <inttypes.h>
#include <math.h>

#include "core/check.h"

/* FORMAT.md section 7. */
#define PAGE_BYTES_MAX 0x7ffffff8u

static uint64_t ragged_page_bytes(uint32_t head_dim, uint32_t page_tokens, uint64_t kept)
{
    return (uint64_t)page_tokens * (4 + skv_round_up(SKV_BITMAP_BYTES(head_dim) + 2 * kept, 8));
}

static enum skv_status check_layout_params(struct skv_layout_params *params)
{
    SKV_TRY(skv_check_flags("params->flags", params->flags, 0));
    uint32_t any = 1u << SKV_F16 | 1u << SKV_BF16;
    SKV_TRY(skv_check_dtype("params->dtype", &params->dtype, SKV_F16, any, any));
    SKV_REQUIRE(params->form <= SKV_RAGGED, SKV_ERROR_INVALID_ARGUMENT,
                "params->form is %" PRIu32 "; it must be SKV_FIXED or SKV_RAGGED", params->form);
    SKV_TRY(skv_check_head_dim("params->head_dim", params->head_dim));
    SKV_TRY(skv_check_kv_heads(params->n_kv_heads));
    if (params->page_tokens == 0)
        params->page_tokens = 64;
    SKV_REQUIRE(params->page_tokens % SKV_PAGE_TOKENS_STEP == 0 && params->page_tokens <= SKV_PAGE_TOKENS_MAX,
                SKV_ERROR_INVALID_ARGUMENT, "params->page_tokens is %" PRIu32 "; it must be a multiple of %d up to %d",
                params->page_tokens, SKV_PAGE_TOKENS_STEP, SKV_PAGE_TOKENS_MAX);
    if (params->form == SKV_RAGGED && params->kept == 0 && !params->kept_per_head)
        params->kept = params->head_dim;
    SKV_REQUIRE(params->row_stride == 0 || params->form == SKV_FIXED, SKV_ERROR_INVALID_ARGUMENT,
                "params->row_stride is %" PRIu32 "; a ragged layout has none, it must be 0", params->row_stride);
    SKV_REQUIRE(params->row_stride % SKV_ROW_STRIDE_STEP == 0, SKV_ERROR_ALIGNMENT,
                "params->row_stride is %" PRIu32 "; it must be a multiple of %d", params->row_stride,
                SKV_ROW_STRIDE_STEP);
    SKV_REQUIRE(params->row_stride <= PAGE_BYTES_MAX / params->page_tokens, SKV_ERROR_OVERFLOW,
                "params->row_stride is %" PRIu32 "; a page must not exceed %u bytes", params->row_stride,
                PAGE_BYTES_MAX);
    SKV_REQUIRE(params->page_bytes == 0 || params->form == SKV_RAGGED, SKV_ERROR_INVALID_ARGUMENT,
                "params->page_bytes is %" PRIu32 "; a fixed layout has none, it must be 0", params->page_bytes);
    SKV_REQUIRE(params->page_bytes % 8 == 0, SKV_ERROR_ALIGNMENT,
                "params->page_bytes is %" PRIu32 "; it must be a multiple of 8", params->page_bytes);
    SKV_REQUIRE(params->page_bytes <= PAGE_BYTES_MAX, SKV_ERROR_OVERFLOW,
                "params->page_bytes is %" PRIu32 "; it must be at most %u", params->page_bytes, PAGE_BYTES_MAX);
    uint32_t least = params->page_tokens * (4 + SKV_BITMAP_BYTES(params->head_dim));
    SKV_REQUIRE(params->page_bytes == 0 || params->page_bytes >= least, SKV_ERROR_INVALID_ARGUMENT,
                "params->page_bytes is %" PRIu32 "; empty rows alone need %" PRIu32, params->page_bytes, least);
    return SKV_OK;
}

static enum skv_status make_head(const struct skv_layout_params *params, uint32_t i_head, struct skv_layout_slot *head)
{
    uint32_t kept = params->kept_per_head ? params->kept_per_head[i_head] : params->kept;
    SKV_REQUIRE(kept >= 1 && kept <= params->head_dim, SKV_ERROR_INVALID_ARGUMENT,
                "params->%s is %" PRIu32 " for head %" PRIu32 "; it must be from 1 to head_dim (%" PRIu32 ")",
                params->kept_per_head ? "kept_per_head" : "kept", kept, i_head, params->head_dim);
    head->kept = kept;
    head->record_bytes = SKV_RECORD_BYTES(params->head_dim, kept);
    if (params->form == SKV_RAGGED) {
        head->row_stride = 0;
        head->page_bytes =
            params->page_bytes ? params->page_bytes : ragged_page_bytes(params->head_dim, params->page_tokens, kept);
        return SKV_OK;
    }
    head->row_stride = (uint32_t)skv_round_up(head->record_bytes, SKV_ROW_STRIDE_STEP);
    if (params->row_stride) {
        SKV_REQUIRE(params->row_stride >= head->record_bytes, SKV_ERROR_INVALID_ARGUMENT,
                    "params->row_stride is %" PRIu32 "; records of head %" PRIu32 " have %" PRIu32 " bytes",
                    params->row_stride, i_head, head->record_bytes);
        head->row_stride = params->row_stride;
    }
    head->page_bytes = (uint64_t)head->row_stride * params->page_tokens;
    return SKV_OK;
}

skv_status skv_layout_create(const skv_layout_params *user_params, skv_layout **layout)
{
    SKV_REQUIRE_NOT_NULL(layout, "layout");
    struct skv_layout_params params;
    SKV_TRY(skv_check_params("params", user_params, &params, sizeof params));
    SKV_TRY(check_layout_params(&params));

    /* One allocation: the layout, its heads, their budgets. At most 4096 heads, so nothing overflows. */
    size_t heads_bytes = params.n_kv_heads * sizeof(struct skv_layout_slot);
    struct skv_layout *made = skv_alloc(sizeof *made + heads_bytes + params.n_kv_heads * sizeof(uint32_t));
    SKV_REQUIRE(made, SKV_ERROR_OUT_OF_MEMORY, "no memory for a layout of %" PRIu32 " heads", params.n_kv_heads);
    made->dtype = params.dtype;
    made->form = params.form;
    made->head_dim = params.head_dim;
    made->n_kv_heads = params.n_kv_heads;
    made->page_tokens = params.page_tokens;
    made->n_words = SKV_BITMAP_WORDS(params.head_dim);
    made->uniform = 1;
    made->head = (struct skv_layout_slot *)(made + 1);
    made->kept = (uint32_t *)((char *)(made + 1) + heads_bytes);
    for (uint32_t h = 0; h < params.n_kv_heads; h++) {
        struct skv_layout_slot *head = &made->head[h];
        enum skv_status status = make_head(&params, h, head);
        if (status != SKV_OK) {
            skv_free(made);
            return status;
        }
        head->page_offset = made->block_bytes;
        made->block_bytes += head->page_bytes; /* at most 4096 * 2^31 */
        made->kept[h] = head->kept;
        if (head->kept != made->head[0].kept)
            made->uniform = 0;
    }
    *layout = made;
    return SKV_OK;
}

void skv_layout_destroy(skv_layout *layout)
{
    skv_free(layout);
}

skv_status skv_layout_get_info(const skv_layout *layout, skv_layout_info *info)
{
    SKV_REQUIRE_NOT_NULL(layout, "layout");
    SKV_TRY(skv_check_info("info", info, sizeof *info));
    struct skv_layout_info filled = {
        .format_version = SKV_FORMAT_VERSION,
        .dtype = layout->dtype,
        .form = layout->form,
        .head_dim = layout->head_dim,
        .n_kv_heads = layout->n_kv_heads,
        .page_tokens = layout->page_tokens,
        .bitmap_bytes = SKV_BITMAP_BYTES(layout->head_dim),
        .slack_bytes = SKV_POOL_SLACK(layout->head_dim),
        .block_bytes = layout->block_bytes,
        .dense_row_bytes = 2 * (uint64_t)layout->head_dim,
    };
    skv_fill_info(info, &filled, sizeof filled);
    return SKV_OK;
}

skv_status skv_layout_get_head(const skv_layout *layout, uint32_t i_head, skv_layout_head *head)
{
    SKV_REQUIRE_NOT_NULL(layout, "layout");
    SKV_TRY(skv_check_info("head", head, sizeof *head));
    SKV_REQUIRE(i_head < layout->n_kv_heads, SKV_ERROR_OUT_OF_BOUNDS,
                "i_head is %" PRIu32 "; the layout has %" PRIu32 " heads", i_head, layout->n_kv_heads);
    const struct skv_layout_slot *slot = &layout->head[i_head];
    struct skv_layout_head filled = {
        .kept = slot->kept,
        .record_bytes = slot->record_bytes,
        .row_stride = slot->row_stride,
        .page_bytes = slot->page_bytes,
        .page_offset = slot->page_offset,
    };
    skv_fill_info(head, &filled, sizeof filled);
    return SKV_OK;
}

skv_status skv_layout_blocks(const skv_layout *layout, uint64_t n_tokens, uint64_t *n_blocks)
{
    SKV_REQUIRE_NOT_NULL(layout, "layout");
    SKV_REQUIRE_NOT_NULL(n_blocks, "n_blocks");
    *n_blocks = n_tokens / layout->page_tokens + (n_tokens % layout->page_tokens != 0);
    return SKV_OK;
}

skv_status skv_layout_pool_bytes(const skv_layout *layout, uint64_t n_blocks, uint64_t *n_bytes)
{
    SKV_REQUIRE_NOT_NULL(layout, "layout");
    SKV_REQUIRE_NOT_NULL(n_bytes, "n_bytes");
    uint64_t bytes;
    SKV_REQUIRE(skv_mul(n_blocks, layout->block_bytes, &bytes) &&
                    skv_add(bytes, SKV_POOL_SLACK(layout->head_dim), &bytes),
                SKV_ERROR_OVERFLOW, "n_blocks is %" PRIu64 "; blocks of %" PRIu64 " bytes do not fit 64 bits", n_blocks,
                layout->block_bytes);
    *n_bytes = bytes;
    return SKV_OK;
}

skv_status skv_kept_for_sparsity(uint32_t head_dim, double sparsity, uint32_t multiple, uint32_t *kept)
{
    SKV_REQUIRE_NOT_NULL(kept, "kept");
    SKV_TRY(skv_check_head_dim("head_dim", head_dim));
    SKV_REQUIRE(sparsity >= 0 && sparsity < 1, SKV_ERROR_INVALID_ARGUMENT,
                "sparsity is %g; it must be from 0 to below 1", sparsity);
    SKV_REQUIRE(multiple <= head_dim, SKV_ERROR_INVALID_ARGUMENT,
                "multiple is %" PRIu32 "; it must be at most head_dim (%" PRIu32 ")", multiple, head_dim);
    uint32_t step = multiple ? multiple : 1;
    /* (1 - 0.9) * 80 is 8 - 4e-16 or 8 + 2e-15 depending on how the caller wrote it: a hair must not cost a channel. */
    uint32_t least = (uint32_t)ceil((1 - sparsity) * head_dim - 1e-9);
    uint32_t rounded = (uint32_t)skv_round_up(least ? least : 1, step);
    *kept = rounded < head_dim ? rounded : head_dim;
    return SKV_OK;
}

skv_status skv_row_stride_for_banks(uint32_t head_dim, uint32_t kept, uint32_t *row_stride)
{
    SKV_REQUIRE_NOT_NULL(row_stride, "row_stride");
    SKV_TRY(skv_check_head_dim("head_dim", head_dim));
    SKV_REQUIRE(kept >= 1 && kept <= head_dim, SKV_ERROR_INVALID_ARGUMENT,
                "kept is %" PRIu32 "; it must be from 1 to head_dim (%" PRIu32 ")", kept, head_dim);
    uint32_t stride = (uint32_t)skv_round_up(SKV_RECORD_BYTES(head_dim, kept), 16);
    *row_stride = stride % 64 == 0 ? stride + 16 : stride;
    return SKV_OK;
}

skv_status skv_ragged_page_bytes(uint32_t head_dim, uint32_t page_tokens, uint64_t n_survivors, uint32_t *page_bytes)
{
    SKV_REQUIRE_NOT_NULL(page_bytes, "page_bytes");
    SKV_TRY(skv_check_head_dim("head_dim", head_dim));
    SKV_REQUIRE(page_tokens >= 1 && page_tokens % SKV_PAGE_TOKENS_STEP == 0 && page_tokens <= SKV_PAGE_TOKENS_MAX,
                SKV_ERROR_INVALID_ARGUMENT, "page_tokens is %" PRIu32 "; it must be a multiple of %d up to %d",
                page_tokens, SKV_PAGE_TOKENS_STEP, SKV_PAGE_TOKENS_MAX);
    uint64_t most = (uint64_t)page_tokens * head_dim;
    uint64_t survivors = n_survivors < most ? n_survivors : most;
    /* Each row's padding to 8 bytes is at most 6. With all channels kept the rows need none, since head_dim is a
     * multiple of 8. */
    uint64_t padded = skv_round_up(2 * survivors + 6 * (uint64_t)page_tokens, 8);
    uint64_t values = padded < 2 * most ? padded : 2 * most;
    *page_bytes = (uint32_t)((uint64_t)page_tokens * (4 + SKV_BITMAP_BYTES(head_dim)) + values);
    return SKV_OK;
}
