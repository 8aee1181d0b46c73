/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/suite.h"

/* Every case, and whether it belongs to a quick run. */
#define CASES(X)                            \
    X(prune_token_magnitude, 1)             \
    X(prune_token_weighted, 1)              \
    X(prune_channel_magnitude, 1)           \
    X(prune_channel_weighted, 1)            \
    X(prune_channels, 1)                    \
    X(prune_threshold, 1)                   \
    X(prune_mask, 1)                        \
    X(prune_every_value, 0)                 \
    X(prune_empty, 1)                       \
    X(compress_fixed_token_magnitude, 1)    \
    X(compress_fixed_token_weighted, 1)     \
    X(compress_fixed_channels, 1)           \
    X(compress_ragged_token_magnitude, 1)   \
    X(compress_ragged_token_weighted, 1)    \
    X(compress_ragged_channel_magnitude, 1) \
    X(compress_ragged_channel_weighted, 1)  \
    X(compress_ragged_channels, 1)          \
    X(compress_ragged_threshold, 1)         \
    X(compress_ragged_mask, 1)              \
    X(compress_append, 1)                   \
    X(compress_empty, 1)                    \
    X(ragged_overflow, 1)                   \
    X(ragged_damaged, 1)                    \
    X(ragged_damaged_append, 1)             \
    X(ragged_page_bytes, 1)                 \
    X(decompress_fixed, 1)                  \
    X(decompress_ragged, 1)                 \
    X(decompress_round_trip, 1)             \
    X(decompress_damaged, 1)                \
    X(decompress_empty, 1)                  \
    X(attend_fixed, 1)                      \
    X(attend_decode, 1)                     \
    X(attend_ragged, 1)                     \
    X(attend_mixed_layouts, 1)              \
    X(attend_tail_only, 1)                  \
    X(attend_cache_only, 1)                 \
    X(attend_no_tokens, 1)                  \
    X(attend_lengths, 1)                    \
    X(attend_new_tokens, 1)                 \
    X(attend_window, 1)                     \
    X(attend_sink_logits, 1)                \
    X(attend_softcap, 1)                    \
    X(attend_scale, 1)                      \
    X(attend_splits, 1)                     \
    X(attend_groups, 1)                     \
    X(attend_types, 1)                      \
    X(attend_strides, 1)                    \
    X(attend_long, 0)                       \
    X(attend_anything, 1)                   \
    X(repeat_nan, 1)                        \
    X(repeat_bits, 1)                       \
    X(repeat_batch, 1)                      \
    X(merge_parts, 1)                       \
    X(merge_empty, 1)                       \
    X(channel_weights, 1)                   \
    X(faults_attend, 1)                     \
    X(faults_slots, 1)                      \
    X(faults_ragged_order, 1)               \
    X(memory_copies, 1)                     \
    X(memory_wrap, 1)                       \
    X(memory_timer, 1)                      \
    X(memory_devices, 1)                    \
    X(large_compress, 0)                    \
    X(large_offsets, 0)

#define DECLARE(id, is_quick)            \
    extern const char suite_name_##id[]; \
    enum suite_result suite_##id(struct suite_context *context);
CASES(DECLARE)

#define ENTRY(id, is_quick) {suite_name_##id, suite_##id, is_quick},
const struct suite_case suite_cases[] = {CASES(ENTRY)};
const size_t suite_n_cases = sizeof suite_cases / sizeof suite_cases[0];
