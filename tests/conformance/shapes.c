/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/shapes.h"

#include <string.h>

const unsigned suite_head_dims[] = {8, 64, 80, 96, 112, 128, 192, 256, 512, 72, 24, 136};
const unsigned suite_n_head_dims = sizeof suite_head_dims / sizeof suite_head_dims[0];

unsigned suite_draw_kept(struct suite_context *t, unsigned d)
{
    const unsigned counts[] = {1, (d + 2) / 3, d / 2, d, 1 + suite_below(t, d), d - 1};
    return counts[suite_below(t, sizeof counts / sizeof counts[0])];
}

unsigned suite_draw_type(struct suite_context *t)
{
    unsigned type = suite_below(t, 2) ? SKV_BF16 : SKV_F16;
    return t->limits.dtypes >> type & 1 ? type : SKV_F16;
}

const char *suite_type_name(unsigned type)
{
    static const char *const names[] = {"default", "f16", "bf16", "f32"};
    return type < 4 ? names[type] : "?";
}

const char *suite_strategy_name(unsigned strategy)
{
    static const char *const names[] = {
        "token_magnitude", "token_weighted", "channel_magnitude", "channel_weighted", "channels", "threshold", "mask"};
    return strategy < SUITE_N_STRATEGIES ? names[strategy] : "?";
}

/* ---- dense rows */

static uint64_t draw_strides(struct suite_context *t, struct suite_rows *rows)
{
    uint64_t token_gap = 2 * suite_below(t, 4) + 1, head_gap = 2 * suite_below(t, 4) + 1;
    switch (suite_below(t, 3)) {
    case 0: /* contiguous, by default */
        rows->ref.head_stride = rows->d;
        rows->ref.token_stride = (uint64_t)rows->n_heads * rows->d;
        return rows->n_tokens * rows->ref.token_stride;
    case 1: /* token by token */
        rows->ref.head_stride = rows->d + head_gap;
        rows->ref.token_stride = rows->n_heads * rows->ref.head_stride + token_gap;
        break;
    default: /* head by head */
        rows->ref.token_stride = rows->d + token_gap;
        rows->ref.head_stride = (rows->n_tokens ? rows->n_tokens : 1) * rows->ref.token_stride + head_gap;
        break;
    }
    rows->rows.token_stride = rows->ref.token_stride;
    rows->rows.head_stride = rows->ref.head_stride;
    if (rows->n_tokens == 0)
        return 0;
    /* Up to the last row's end and no further. */
    return (rows->n_tokens - 1) * rows->ref.token_stride + (rows->n_heads - 1) * rows->ref.head_stride + rows->d;
}

uint16_t *suite_rows_at(const struct suite_rows *rows, uint64_t i_token, unsigned i_head)
{
    return rows->image + i_token * rows->ref.token_stride + i_head * rows->ref.head_stride;
}

struct suite_rows suite_rows_input(struct suite_context *t, unsigned type, enum suite_kind kind, uint64_t n_tokens,
                                   unsigned n_heads, unsigned d)
{
    struct suite_rows rows = {.n_tokens = n_tokens, .n_heads = n_heads, .d = d};
    uint64_t n_bytes = 2 * draw_strides(t, &rows);
    rows.image = suite_host(t, n_bytes);
    rows.ref.values = rows.image;
    suite_poison(t, rows.image, n_bytes);
    for (uint64_t i = 0; i < n_tokens; i++)
        for (unsigned h = 0; h < n_heads; h++)
            suite_row(t, type, kind, suite_rows_at(&rows, i, h), d);
    rows.array = suite_input(t, rows.image, n_bytes, 2);
    rows.rows.data = rows.array.span;
    return rows;
}

struct suite_rows suite_rows_output(struct suite_context *t, uint64_t n_tokens, unsigned n_heads, unsigned d)
{
    struct suite_rows rows = {.n_tokens = n_tokens, .n_heads = n_heads, .d = d};
    uint64_t n_bytes = 2 * draw_strides(t, &rows);
    rows.image = suite_host(t, n_bytes);
    rows.ref.values = rows.image;
    suite_output_poison(rows.image, n_bytes);
    rows.array = suite_output(t, n_bytes, 2);
    rows.rows.data = rows.array.span;
    return rows;
}

/* Row by row first, so that a failure names the token and the channel; then the gaps. */
void suite_rows_check(struct suite_context *t, const char *what, const struct suite_rows *rows)
{
    uint16_t *got = suite_host(t, rows->array.n_bytes);
    suite_read(t, rows->array, got);
    for (uint64_t i = 0; i < rows->n_tokens; i++)
        for (unsigned h = 0; h < rows->n_heads; h++) {
            const uint16_t *expected = suite_rows_at(rows, i, h), *row = got + (expected - rows->image);
            for (unsigned c = 0; c < rows->d; c++)
                if (row[c] != expected[c])
                    suite_fail(t, "%s: token %llu, head %u, channel %u is 0x%04x, expected 0x%04x", what,
                               (unsigned long long)i, h, c, row[c], expected[c]);
        }
    suite_equal(t, "gaps between rows", got, rows->image, rows->array.n_bytes, 2);
}

/* ---- layouts */

static void release_layout(void *layout)
{
    skv_layout_destroy(layout);
}

static void check_number(struct suite_context *t, const char *what, uint64_t got, uint64_t expected)
{
    if (got != expected)
        suite_fail(t, "layout: %s is %llu, expected %llu", what, (unsigned long long)got, (unsigned long long)expected);
}

static void check_layout(struct suite_context *t, const struct suite_layout *layout)
{
    const struct ref_layout *ref = &layout->ref;
    skv_layout_info info = {.struct_size = sizeof info};
    suite_try(t, "skv_layout_get_info", skv_layout_get_info(layout->layout, &info));
    check_number(t, "format_version", info.format_version, 1);
    check_number(t, "dtype", info.dtype, ref->type);
    check_number(t, "form", info.form, ref->form);
    check_number(t, "head_dim", info.head_dim, ref->d);
    check_number(t, "n_kv_heads", info.n_kv_heads, ref->n_heads);
    check_number(t, "page_tokens", info.page_tokens, ref->page_tokens);
    check_number(t, "bitmap_bytes", info.bitmap_bytes, 8 * ref_words(ref->d));
    check_number(t, "slack_bytes", info.slack_bytes, ref_pool_bytes(ref, 0));
    check_number(t, "block_bytes", info.block_bytes, ref_block_bytes(ref));
    check_number(t, "dense_row_bytes", info.dense_row_bytes, 2 * ref->d);
    for (unsigned h = 0; h < ref->n_heads; h++) {
        skv_layout_head head = {.struct_size = sizeof head};
        suite_try(t, "skv_layout_get_head", skv_layout_get_head(layout->layout, h, &head));
        check_number(t, "kept", head.kept, ref->kept[h]);
        check_number(t, "record_bytes", head.record_bytes, ref_record_bytes(ref->d, ref->kept[h]));
        check_number(t, "row_stride", head.row_stride, ref_row_stride(ref, h));
        check_number(t, "page_bytes", head.page_bytes, ref_page_bytes(ref, h));
        check_number(t, "page_offset", head.page_offset, ref_page_offset(ref, h));
    }
    for (uint64_t n = 0; n < 3; n++) {
        uint64_t n_bytes = 0, n_blocks = 99;
        suite_try(t, "skv_layout_pool_bytes", skv_layout_pool_bytes(layout->layout, n, &n_bytes));
        check_number(t, "pool bytes", n_bytes, ref_pool_bytes(ref, n));
        suite_try(t, "skv_layout_blocks", skv_layout_blocks(layout->layout, n * ref->page_tokens, &n_blocks));
        check_number(t, "blocks of whole pages", n_blocks, n);
        suite_try(t, "skv_layout_blocks", skv_layout_blocks(layout->layout, n * ref->page_tokens + 1, &n_blocks));
        check_number(t, "blocks of a page and a token", n_blocks, n + 1);
    }
}

void suite_layout_make(struct suite_context *t, skv_layout_params params, bool per_head, struct suite_layout *layout)
{
    memset(layout, 0, sizeof *layout);
    params.struct_size = sizeof params;
    for (unsigned h = 0; h < params.n_kv_heads; h++) {
        unsigned kept = params.kept ? params.kept : params.head_dim;
        if (per_head && h > 0)
            kept = suite_draw_kept(t, kept);
        layout->kept[h] = kept ? kept : 1;
    }
    if (per_head)
        params.kept_per_head = layout->kept;
    suite_try(t, "skv_layout_create", skv_layout_create(&params, &layout->layout));
    suite_own(t, layout->layout, release_layout);
    layout->ref = (struct ref_layout){.type = params.dtype ? params.dtype : SKV_F16,
                                      .form = params.form,
                                      .d = params.head_dim,
                                      .n_heads = params.n_kv_heads,
                                      .page_tokens = params.page_tokens ? params.page_tokens : 64,
                                      .kept = layout->kept,
                                      .row_stride = params.row_stride,
                                      .page_bytes = params.page_bytes};
    check_layout(t, layout);
}

void suite_layout_draw(struct suite_context *t, unsigned type, unsigned form, unsigned d, unsigned n_heads,
                       struct suite_layout *layout)
{
    static const unsigned page_tokens[] = {32, 64, 96, 256, 0};
    skv_layout_params params = {.dtype = type,
                                .form = form,
                                .head_dim = d,
                                .n_kv_heads = n_heads,
                                .kept = suite_draw_kept(t, d),
                                .page_tokens = page_tokens[suite_below(t, 5)]};
    if (form == SKV_RAGGED && suite_below(t, 2))
        params.kept = 0;
    if (form == SKV_FIXED && suite_below(t, 3) == 0)
        params.row_stride = (uint32_t)(ref_record_bytes(d, params.kept) + 7) / 8 * 8 + 8 * suite_below(t, 4);
    suite_layout_make(t, params, n_heads > 1 && suite_below(t, 3) == 0, layout);
}

/* ---- pools */

struct suite_pool suite_pool_make(struct suite_context *t, const struct suite_layout *layout, uint64_t n_blocks)
{
    struct suite_pool pool = {.layout = layout, .pool = {.layout = layout->layout, .n_blocks = n_blocks}};
    uint64_t n_bytes = ref_pool_bytes(&layout->ref, n_blocks);
    pool.image = suite_host(t, n_bytes);
    suite_poison(t, pool.image, n_bytes);
    unsigned alignment = t->limits.offset_alignment > 8 ? t->limits.offset_alignment : 8;
    pool.array = suite_inout(t, pool.image, n_bytes, alignment);
    pool.pool.pages = pool.array.span;
    return pool;
}

void suite_pool_upload(struct suite_context *t, struct suite_pool *pool)
{
    unsigned alignment = t->limits.offset_alignment > 8 ? t->limits.offset_alignment : 8;
    pool->array = suite_input(t, pool->image, pool->array.n_bytes, alignment);
    pool->pool.pages = pool->array.span;
}

void suite_pool_check(struct suite_context *t, const char *what, const struct suite_pool *pool)
{
    uint8_t *got = suite_host(t, pool->array.n_bytes);
    suite_read(t, pool->array, got);
    suite_equal(t, what, got, pool->image, pool->array.n_bytes, 1);
}
