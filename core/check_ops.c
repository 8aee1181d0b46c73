/* SPDX-License-Identifier: Apache-2.0
 *
 * Checks that compress, decompress and prune share: slot mappings and pruning rules.
 */
#include <inttypes.h>
#include <math.h>

#include "core/check.h"

/* Ragged pages are written front to back: within a page each token must follow its neighbour's slot. A call may start a
 * page anywhere, since slots below may have been written before. */
static enum skv_status check_ragged_order(const int64_t *slots, uint64_t i, uint32_t page_tokens)
{
    if (i == 0)
        return SKV_OK;
    int64_t before = slots[i - 1], slot = slots[i];
    bool follows = before >= 0 && slot == before + 1;
    bool same_page = before >= 0 && before / page_tokens == slot / page_tokens;
    SKV_REQUIRE(follows || !same_page, SKV_ERROR_INVALID_ARGUMENT,
                "slot_mapping[%" PRIu64 "] is %" PRId64 " after %" PRId64
                "; the slots of a ragged page must be written in ascending order without a gap",
                i, slot, before);
    return SKV_OK;
}

enum skv_status skv_check_slots(const struct skv_device *device, const struct skv_pool *pool, struct skv_span mapping,
                                uint64_t first_slot, uint64_t n_tokens, bool written)
{
    uint32_t page_tokens = pool->layout->page_tokens;
    uint64_t n_slots;
    SKV_REQUIRE(skv_mul(pool->n_blocks, page_tokens, &n_slots) && n_slots <= INT64_MAX, SKV_ERROR_OVERFLOW,
                "pool.n_blocks is %" PRIu64 "; its slots do not fit 63 bits", pool->n_blocks);
    if (!mapping.buffer) {
        uint64_t end;
        SKV_REQUIRE(skv_add(first_slot, n_tokens, &end) && end <= n_slots, SKV_ERROR_OUT_OF_BOUNDS,
                    "first_slot is %" PRIu64 " and n_tokens %" PRIu64 "; the pool has %" PRIu64 " slots", first_slot,
                    n_tokens, n_slots);
        return SKV_OK;
    }
    SKV_REQUIRE(first_slot == 0, SKV_ERROR_INVALID_ARGUMENT,
                "first_slot is %" PRIu64 "; with a slot_mapping it must be 0", first_slot);
    uint64_t n_bytes;
    SKV_REQUIRE(skv_mul(n_tokens, 8, &n_bytes), SKV_ERROR_OVERFLOW, "n_tokens is %" PRIu64 "; the mapping is too large",
                n_tokens);
    SKV_TRY(skv_check_span(device, "slot_mapping", mapping, 8, n_bytes));
    if (!skv_contents_visible(device))
        return SKV_OK;
    const int64_t *slots = skv_host(mapping);
    for (uint64_t i = 0; i < n_tokens; i++) {
        SKV_REQUIRE(slots[i] < (int64_t)n_slots, SKV_ERROR_OUT_OF_BOUNDS,
                    "slot_mapping[%" PRIu64 "] is %" PRId64 "; the pool has %" PRIu64 " slots", i, slots[i], n_slots);
        if (written && pool->layout->form == SKV_RAGGED && slots[i] >= 0)
            SKV_TRY(check_ragged_order(slots, i, page_tokens));
    }
    return SKV_OK;
}

struct strategy_rule {
    const char *name;
    bool fixed; /* keeps the same count in every row */
    bool uses_kept;
    bool by_channel; /* kept counts tokens of a group */
};

static const struct strategy_rule strategy_rules[] = {
    [SKV_TOKEN_MAGNITUDE] = {"SKV_TOKEN_MAGNITUDE", true, true, false},
    [SKV_TOKEN_WEIGHTED] = {"SKV_TOKEN_WEIGHTED", true, true, false},
    [SKV_CHANNEL_MAGNITUDE] = {"SKV_CHANNEL_MAGNITUDE", false, true, true},
    [SKV_CHANNEL_WEIGHTED] = {"SKV_CHANNEL_WEIGHTED", false, true, true},
    [SKV_CHANNELS] = {"SKV_CHANNELS", true, true, false},
    [SKV_THRESHOLD] = {"SKV_THRESHOLD", false, false, false},
    [SKV_MASK] = {"SKV_MASK", false, false, false},
};

/* The budgets: each in range, and in a fixed layout exactly the layout's. */
static enum skv_status check_kept(const struct skv_select *select, const struct skv_layout *layout, uint32_t limit,
                                  uint32_t n_kv_heads)
{
    bool per_head = select->kept_per_head != NULL;
    for (uint32_t h = 0; h < (per_head ? n_kv_heads : 1); h++) {
        uint32_t kept = skv_select_kept(select, h);
        SKV_REQUIRE(kept >= 1 && kept <= limit, SKV_ERROR_INVALID_ARGUMENT,
                    "select.kept is %" PRIu32 " for head %" PRIu32 "; it must be from 1 to %" PRIu32, kept, h, limit);
    }
    if (!layout || layout->form == SKV_RAGGED)
        return SKV_OK;
    for (uint32_t h = 0; h < n_kv_heads; h++)
        SKV_REQUIRE(skv_select_kept(select, h) == layout->head[h].kept, SKV_ERROR_INVALID_ARGUMENT,
                    "select.kept is %" PRIu32 " for head %" PRIu32 "; the fixed layout keeps %" PRIu32
                    " (0 takes the layout's)",
                    skv_select_kept(select, h), h, layout->head[h].kept);
    return SKV_OK;
}

/* u32/u64/f32 table of n_outer x n_inner entries. */
static enum skv_status check_table(const struct skv_device *device, const char *name, struct skv_span span,
                                   uint64_t n_outer, uint64_t n_inner, uint32_t entry_bytes)
{
    uint64_t n_bytes;
    SKV_REQUIRE(skv_mul(n_outer, n_inner, &n_bytes) && skv_mul(n_bytes, entry_bytes, &n_bytes), SKV_ERROR_OVERFLOW,
                "%s: %" PRIu64 " x %" PRIu64 " entries do not fit 64 bits", name, n_outer, n_inner);
    return skv_check_span(device, name, span, entry_bytes, n_bytes);
}

enum skv_status skv_check_select(const struct skv_device *device, struct skv_select *select,
                                 const struct skv_layout *layout, uint32_t head_dim, uint32_t n_kv_heads,
                                 uint64_t n_tokens)
{
    SKV_REQUIRE(select->strategy < sizeof strategy_rules / sizeof strategy_rules[0], SKV_ERROR_INVALID_ARGUMENT,
                "select.strategy is %" PRIu32 "; it must be an skv_strategy", select->strategy);
    const struct strategy_rule *rule = &strategy_rules[select->strategy];
    SKV_REQUIRE(device->limits.strategies >> select->strategy & 1, SKV_ERROR_UNSUPPORTED,
                "select.strategy is %s; device \"%s\" does not support it", rule->name, device->info.id);
    bool fixed = layout && layout->form == SKV_FIXED;
    SKV_REQUIRE(!fixed || rule->fixed, SKV_ERROR_INVALID_ARGUMENT,
                "select.strategy is %s, whose rows keep different counts; it needs a ragged layout", rule->name);
    SKV_REQUIRE(!fixed || select->protect_tokens == 0, SKV_ERROR_INVALID_ARGUMENT,
                "select.protect_tokens is %" PRIu32 "; it needs a ragged layout", select->protect_tokens);
    SKV_REQUIRE(select->reserved == 0, SKV_ERROR_INVALID_ARGUMENT, "select.reserved is %" PRIu32 "; it must be 0",
                select->reserved);

    if (rule->by_channel) {
        if (select->group_tokens == 0)
            select->group_tokens = 32;
        SKV_REQUIRE(select->group_tokens <= SKV_GROUP_TOKENS_MAX, SKV_ERROR_INVALID_ARGUMENT,
                    "select.group_tokens is %" PRIu32 "; it must be at most %d", select->group_tokens,
                    SKV_GROUP_TOKENS_MAX);
    } else {
        SKV_REQUIRE(select->group_tokens == 0, SKV_ERROR_INVALID_ARGUMENT,
                    "select.group_tokens is %" PRIu32 "; %s does not use it, it must be 0", select->group_tokens,
                    rule->name);
    }
    if (rule->uses_kept) {
        if (fixed && select->kept == 0 && !select->kept_per_head)
            select->kept_per_head = layout->kept;
        SKV_TRY(check_kept(select, layout, rule->by_channel ? select->group_tokens : head_dim, n_kv_heads));
    } else {
        SKV_REQUIRE(select->kept == 0 && !select->kept_per_head, SKV_ERROR_INVALID_ARGUMENT,
                    "select.kept is set; %s does not use it, it must be 0", rule->name);
    }

    switch (select->strategy) {
    case SKV_TOKEN_WEIGHTED:
    case SKV_CHANNELS:
        return check_table(device, "select.weights", select->weights, n_kv_heads, head_dim, 4);
    case SKV_CHANNEL_WEIGHTED:
        return check_table(device, "select.weights", select->weights, n_kv_heads, n_tokens, 4);
    case SKV_THRESHOLD:
        SKV_REQUIRE(isfinite(select->threshold) && select->threshold >= 0, SKV_ERROR_INVALID_ARGUMENT,
                    "select.threshold is %g; it must be finite and at least 0", (double)select->threshold);
        return SKV_OK;
    case SKV_MASK:
        SKV_REQUIRE(n_tokens <= UINT64_MAX / n_kv_heads, SKV_ERROR_OVERFLOW,
                    "n_tokens is %" PRIu64 "; the mask is too large", n_tokens);
        return check_table(device, "select.mask", select->mask, n_tokens * n_kv_heads, SKV_BITMAP_WORDS(head_dim), 8);
    default:
        return SKV_OK;
    }
}
