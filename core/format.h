/* SPDX-License-Identifier: Apache-2.0
 *
 * Constants and bit rules of the sparse KV format, version 1. The normative text is core/FORMAT.md.
 * Legal in C11, C++17, CUDA C++, HIP C++ and OpenCL C: macros only, no types, no includes.
 */
#ifndef SKV_CORE_FORMAT_H
#define SKV_CORE_FORMAT_H

#define SKV_FORMAT_VERSION 1

/* FORMAT.md section 2: one bitmap word covers this many channels. */
#define SKV_WORD_CHANNELS 64
#define SKV_WORD_BYTES 8

/* FORMAT.md section 7: limits. */
#define SKV_HEAD_DIM_MIN 8
#define SKV_HEAD_DIM_MAX 512
#define SKV_HEAD_DIM_STEP 8
#define SKV_WORDS_MAX (SKV_HEAD_DIM_MAX / SKV_WORD_CHANNELS)
#define SKV_PAGE_TOKENS_STEP 32
#define SKV_PAGE_TOKENS_MAX 4096
#define SKV_ROW_STRIDE_STEP 8
#define SKV_GROUP_TOKENS_MAX 64
#define SKV_KV_HEADS_MAX 4096

/* FORMAT.md section 6: bytes past the end of a page pool that a backend may read (never write): one wide load, and the
 * values that a damaged bitmap may claim. Past the end of a sound record a kernel reads at most SKV_READ_SLACK bytes.
 */
#define SKV_READ_SLACK 64
#define SKV_POOL_SLACK(head_dim) (SKV_READ_SLACK + 2 * SKV_WORD_CHANNELS * SKV_BITMAP_WORDS(head_dim))

/* FORMAT.md section 4: magnitude order of a 16-bit value: these bits as an unsigned integer. */
#define SKV_MAGNITUDE_BITS 0x7fff
#define SKV_F16_INF_BITS 0x7c00
#define SKV_BF16_INF_BITS 0x7f80

/* FORMAT.md section 4.2: weighted scores are f32 products of operands held in [2^-60, 2^60], so no product is
 * subnormal or overflows and every IEEE multiplier, flushing or not, gives the same bits. */
#define SKV_SCORE_MIN_BITS 0x21800000u /* 2^-60 */
#define SKV_SCORE_MAX_BITS 0x5d800000u /* 2^60  */
#define SKV_SCORE_NAN 0xffffffffu
#define SKV_SCORE_INF 0xfffffffeu

#define SKV_BITMAP_WORDS(head_dim) (((head_dim) + SKV_WORD_CHANNELS - 1) / SKV_WORD_CHANNELS)
#define SKV_BITMAP_BYTES(head_dim) (SKV_BITMAP_WORDS(head_dim) * SKV_WORD_BYTES)
#define SKV_RECORD_BYTES(head_dim, kept) (SKV_BITMAP_BYTES(head_dim) + 2 * (kept))

#endif
