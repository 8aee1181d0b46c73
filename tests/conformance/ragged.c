/* SPDX-License-Identifier: Apache-2.0
 *
 * Ragged pages that are too small, and pages whose bytes make no sense. FORMAT.md section 3.2: a reader must survive
 * any bytes, and a damaged row is an empty one.
 */
#include <string.h>

#include "tests/conformance/shapes.h"

static void make_tight_layout(struct suite_context *t, unsigned n_survivors, unsigned n_heads,
                              struct suite_layout *layout)
{
    uint32_t page_bytes = 0;
    suite_try(t, "skv_ragged_page_bytes", skv_ragged_page_bytes(64, 32, n_survivors, &page_bytes));
    suite_layout_make(
        t,
        (skv_layout_params){
            .form = SKV_RAGGED, .head_dim = 64, .n_kv_heads = n_heads, .page_tokens = 32, .page_bytes = page_bytes},
        false, layout);
}

/* A page that cannot hold its rows: an error that names a token, and pages of other blocks and calls unharmed. */
SUITE_CASE(ragged_overflow, "ragged/overflow")
{
    suite_need(t, 0, 1u << SKV_RAGGED, 1u << SKV_TOKEN_MAGNITUDE, 64);
    struct suite_layout layout;
    make_tight_layout(t, 32 * 16, 2, &layout);
    struct suite_pool pool = suite_pool_make(t, &layout, 4);
    uint64_t block_bytes = ref_block_bytes(&layout.ref), n_bytes = pool.array.n_bytes;
    unsigned n_tokens = 64, d = 64;
    struct suite_rows in = suite_rows_input(t, SKV_F16, SUITE_NORMAL, n_tokens, 2, d);

    /* Blocks 0 and 1 fit; 2 and 3 do not. */
    skv_compress_params params = {
        .struct_size = sizeof params, .n_tokens = n_tokens, .in = in.rows, .pool = pool.pool, .select.kept = 16};
    suite_try(t, "skv_compress that fits", skv_compress(t->queue, &params));
    suite_try(t, "skv_queue_finish", skv_queue_finish(t->queue));
    uint8_t *before = suite_host(t, n_bytes), *after = suite_host(t, n_bytes);
    suite_read(t, pool.array, before);

    params.first_slot = n_tokens;
    params.select.kept = 40;
    suite_shape(t, "64 rows of 40 survivors in pages for 16 each");
    skv_status status = skv_compress(t->queue, &params);
    if (!t->limits.synchronous) {
        suite_try(t, "skv_compress", status);
        status = skv_queue_finish(t->queue);
    }
    suite_refuse(t, "skv_compress that does not fit", status, SKV_ERROR_CAPACITY, "token");
    suite_try(t, "skv_queue_finish after the fault was reported", skv_queue_finish(t->queue));
    suite_read(t, pool.array, after);
    suite_equal(t, "byte of blocks 0 and 1", after, before, 2 * block_bytes, 1);
    suite_equal(t, "byte of the slack", after + 4 * block_bytes, before + 4 * block_bytes, n_bytes - 4 * block_bytes,
                1);

    /* What was left behind is undefined but safe to read. */
    struct suite_rows out = suite_rows_output(t, n_tokens, 2, d);
    skv_decompress_params reading = {.struct_size = sizeof reading,
                                     .n_tokens = n_tokens,
                                     .pool = pool.pool,
                                     .first_slot = n_tokens,
                                     .out = out.rows};
    suite_try(t, "skv_decompress of overflowed pages", skv_decompress(t->queue, &reading));
    suite_try(t, "skv_queue_finish", skv_queue_finish(t->queue));

    /* The page serves again from slot 0 on. */
    params.select.kept = 16;
    suite_try(t, "skv_compress into overflowed pages", skv_compress(t->queue, &params));
    reading.first_slot = n_tokens;
    struct suite_rule rule = {.kept = {16, 16}, .ref.kept = rule.kept};
    uint8_t *keep = suite_rule_apply(t, &rule, SKV_F16, &in);
    suite_try(t, "skv_decompress", skv_decompress(t->queue, &reading));
    for (unsigned i = 0; i < n_tokens; i++)
        for (unsigned h = 0; h < 2; h++)
            for (unsigned c = 0; c < d; c++)
                suite_rows_at(&out, i, h)[c] = keep[(2 * i + h) * d + c] ? suite_rows_at(&in, i, h)[c] : 0;
    suite_rows_check(t, "rows of a page that overflowed before", &out);
}

/* Directories by chance: aligned or not, inside or not, falling, huge. */
static void damage(struct suite_context *t, const struct suite_pool *pool, unsigned n_blocks, bool sound_bitmaps)
{
    const struct ref_layout *ref = &pool->layout->ref;
    unsigned d = ref->d, n_words = ref_words(d);
    for (unsigned b = 0; b < n_blocks; b++)
        for (unsigned h = 0; h < ref->n_heads; h++) {
            uint8_t *page = pool->image + b * ref_block_bytes(ref) + ref_page_offset(ref, h);
            uint64_t page_bytes = ref_page_bytes(ref, h);
            for (uint64_t i = 0; i < page_bytes; i++)
                page[i] = (uint8_t)(suite_random(t) >> 40);
            for (unsigned slot = 0; slot < ref->page_tokens; slot++) {
                uint32_t entry = suite_below(t, (unsigned)page_bytes + 16);
                switch (suite_below(t, 8)) {
                case 0:
                    entry = (uint32_t)suite_random(t);
                    break;
                case 1:
                    entry = (uint32_t)page_bytes - 8 * suite_below(t, 2 * n_words + 4);
                    break;
                case 2:
                    entry = 4 * ref->page_tokens - 8 * suite_below(t, 3);
                    break;
                case 3:
                    entry = UINT32_MAX - 7;
                    break;
                default:
                    entry = entry / 8 * 8;
                    break;
                }
                memcpy(page + 4 * slot, &entry, 4);
            }
            if (!sound_bitmaps)
                continue;
            /* Bits beyond head_dim say nothing about channels; where they are excluded, every row has one meaning. */
            for (uint64_t at = 4 * ref->page_tokens + 8 * (n_words - 1); d % 64 && at + 8 <= page_bytes; at += 8)
                memset(page + at + d % 64 / 8, 0, 8 - d % 64 / 8);
        }
}

SUITE_CASE(ragged_damaged, "ragged/damaged_directories")
{
    suite_need(t, 0, 1u << SKV_RAGGED, 0, 0);
    unsigned n = t->quick ? 6 : 72;
    for (unsigned i = 0; i < n; i++) {
        unsigned d = suite_head_dims[i % suite_n_head_dims], n_heads = 1 + suite_below(t, 2);
        if (d > t->limits.head_dim_max)
            continue;
        /* With d <= 64 a bitmap is one word, and high bits can be kept out of any place a record may start. */
        bool exact = d <= 64 || d % 64 == 0;
        struct suite_layout layout;
        suite_layout_draw(t, suite_draw_type(t), SKV_RAGGED, d, n_heads, &layout);
        unsigned n_tokens = 2 * layout.ref.page_tokens;
        struct suite_pool pool = suite_pool_make(t, &layout, 2);
        damage(t, &pool, 2, exact);
        suite_pool_upload(t, &pool);
        suite_shape(t, "ragged %s head_dim %u heads %u page %u", suite_type_name(layout.ref.type), d, n_heads,
                    layout.ref.page_tokens);

        struct suite_rows out = suite_rows_output(t, n_tokens, n_heads, d);
        skv_decompress_params params = {
            .struct_size = sizeof params, .n_tokens = n_tokens, .pool = pool.pool, .out = out.rows};
        suite_try(t, "skv_decompress of damaged pages", skv_decompress(t->queue, &params));
        for (unsigned j = 0; j < n_tokens && exact; j++)
            for (unsigned h = 0; h < n_heads; h++)
                ref_read(&layout.ref, pool.image, j, h, suite_rows_at(&out, j, h), NULL);
        if (exact)
            suite_rows_check(t, "rows of damaged pages", &out);
        suite_reset(t);
    }
}

/* Appending where the directory does not say where: refused or done, but never outside of the page. */
SUITE_CASE(ragged_damaged_append, "ragged/damaged_append")
{
    suite_need(t, 0, 1u << SKV_RAGGED, 1u << SKV_TOKEN_MAGNITUDE, 64);
    unsigned n = t->quick ? 8 : 60, n_refused = 0;
    for (unsigned i = 0; i < n; i++) {
        struct suite_layout layout;
        make_tight_layout(t, 32 * 24, 1, &layout);
        struct suite_pool pool = suite_pool_make(t, &layout, 3);
        damage(t, &pool, 3, false);
        suite_write(t, pool.array, pool.image);
        struct suite_rows in = suite_rows_input(t, SKV_F16, SUITE_ANY, 5, 1, 64);
        unsigned slot = 1 + suite_below(t, 27);
        suite_shape(t, "5 tokens from slot %u of a damaged page", slot);
        skv_compress_params params = {.struct_size = sizeof params,
                                      .n_tokens = 5,
                                      .in = in.rows,
                                      .pool = pool.pool,
                                      .first_slot = 32 + slot,
                                      .select.kept = 24};
        skv_status status = skv_compress(t->queue, &params);
        if (!t->limits.synchronous && status == SKV_OK)
            status = skv_queue_finish(t->queue);
        n_refused += status == SKV_ERROR_CAPACITY;
        if (status != SKV_OK)
            suite_refuse(t, "skv_compress into a damaged page", status, SKV_ERROR_CAPACITY, "token");
        uint8_t *got = suite_host(t, pool.array.n_bytes);
        uint64_t block = ref_block_bytes(&layout.ref);
        suite_read(t, pool.array, got);
        suite_equal(t, "byte of the block before", got, pool.image, block, 1);
        suite_equal(t, "byte behind the block", got + 2 * block, pool.image + 2 * block, pool.array.n_bytes - 2 * block,
                    1);
        suite_reset(t);
    }
    if (n_refused == 0)
        suite_fail(t, "none of %u damaged directories was noticed", n);
}

/* skv_ragged_page_bytes promises room for any distribution of so many survivors. */
SUITE_CASE(ragged_page_bytes, "ragged/page_bytes")
{
    unsigned n = t->quick ? 50 : 1000;
    for (unsigned i = 0; i < n; i++) {
        unsigned d = suite_head_dims[i % suite_n_head_dims], page = 32 * (1 + suite_below(t, 8)), left;
        unsigned n_survivors = suite_below(t, page * d + 1);
        uint32_t page_bytes = 0;
        suite_shape(t, "head_dim %u page %u survivors %u", d, page, n_survivors);
        suite_try(t, "skv_ragged_page_bytes", skv_ragged_page_bytes(d, page, n_survivors, &page_bytes));
        left = n_survivors;
        uint64_t used = 4 * page;
        for (unsigned slot = 0; slot < page; slot++) {
            unsigned fair = left / (page - slot), most = left < d ? left : d, kept = suite_below(t, most + 1);
            /* Now and then what costs most padding: one value more than fills 8 bytes. */
            if (suite_below(t, 2))
                kept = fair / 4 * 4 + 1 <= most ? fair / 4 * 4 + 1 : most;
            left -= kept;
            used += (ref_record_bytes(d, kept) + 7) / 8 * 8;
        }
        if (used > page_bytes)
            suite_fail(t, "%u bytes were promised to do, %llu are needed", page_bytes, (unsigned long long)used);
        if (page_bytes % 8)
            suite_fail(t, "%u bytes are not a multiple of 8", page_bytes);
        if (page_bytes > 4 * page + page * ref_record_bytes(d, d))
            suite_fail(t, "%u bytes are more than full rows need", page_bytes);
    }
}
