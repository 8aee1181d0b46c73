/* SPDX-License-Identifier: Apache-2.0
 *
 * The CPU backend's kernel table: every instruction-set level fills in what it does better than the level below.
 *
 * Conventions shared by all kernels:
 *   - Work arrives as rows: a first one and a stride, or a list of addresses. A row is either a record (core/FORMAT.md:
 * bitmap words, then the kept values in channel order) or a dense row of head_dim 16-bit values. So one kernel serves
 * fixed slots, ragged pages, strided dense tensors and scattered tokens alike.
 *   - Record pointers are 8-byte aligned and may be read up to SKV_READ_SLACK bytes past the record's end; dense rows
 * are 2-byte aligned and exactly head_dim values of them may be read. A record or row is written exactly, never past
 * its end.
 *   - d (head_dim) is a multiple of 8 in [8, 512]; 1 <= k <= d; n >= 1 rows.
 *   - Kernels allocate nothing, validate nothing and hold no policy. All are pure functions of their arguments.
 */
#ifndef SKV_CPU_KERNELS_H
#define SKV_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/format.h"

/* Tokens of one attention tile: the most rows an attend kernel is given at once. */
#define SKV_CPU_TILE 64
/* Rows a compress kernel is given at once at most. */
#define SKV_CPU_ROWS_MAX 64
/* How many rows before its turn a compress kernel asks for a row. */
#define SKV_CPU_ROWS_AHEAD 64
/* Query rows a kernel variant takes: index i of the table takes 1 << i rows. */
#define SKV_CPU_M_COUNT 4
#define SKV_CPU_M_MAX 8
/* Channels of one row of private query and accumulator storage: head_dim rounded up. */
#define SKV_CPU_D_PAD(d) (((d) + 63u) & ~63u)

/* What is multiplied, and how. */
enum skv_cpu_math {
    SKV_CPU_F16,      /* fp16 values, f32 products and sums */
    SKV_CPU_BF16,     /* bf16 values, f32 products and sums; any query */
    SKV_CPU_BF16_DOT, /* bf16 values and bf16 queries, products by a bf16 dot instruction, f32 sums; the softmax weights
                         are rounded to bf16 */
    SKV_CPU_MATH_COUNT
};

enum skv_cpu_source {
    SKV_CPU_RECORDS, /* rows are records */
    SKV_CPU_DENSE,   /* rows are dense */
    SKV_CPU_SOURCE_COUNT
};

/* Rows at equal distances, or where a list says. A list is lines of memory besides the rows', which is what attention
 * from memory can afford least (docs/cpu.md); so it is for rows that have no order. */
struct skv_cpu_rows {
    const uint8_t *const *list; /* NULL: row i is at first + i * stride */
    const uint8_t *first;
    size_t stride;
};

static inline const uint8_t *skv_cpu_row(const struct skv_cpu_rows *rows, uint32_t i)
{
    return rows->list ? rows->list[i] : rows->first + i * rows->stride;
}

/* Rows that the next call will read: a kernel asks for row i of them beside its own row i, so that memory works while
 * it computes. n is 0 where that would not pay. */
struct skv_cpu_ahead {
    struct skv_cpu_rows rows;
    uint32_t n, row_bytes;
};

#define SKV_CPU_LINE_BYTES 64

/* Always inlined: GCC takes a function that only prefetches for one without effects, and drops calls of it. */
static inline __attribute__((always_inline)) void skv_cpu_prefetch(const struct skv_cpu_ahead *ahead, uint32_t i)
{
    if (i >= ahead->n)
        return;
    const uint8_t *row = skv_cpu_row(&ahead->rows, i);
    for (uint32_t byte = 0; byte < ahead->row_bytes; byte += SKV_CPU_LINE_BYTES)
        __builtin_prefetch(row + byte, 0, 2);
}

/* One attention variant for exactly m query rows of one KV head.
 *
 * The caller runs, for a list of tiles: prepare once; then per tile qk on the K rows, softmax (table entry below) on
 * the scores, pv on the V rows; finish once. Buffers are 64-byte aligned:
 *
 * - qp: prepared queries, m * SKV_CPU_D_PAD(d) floats of storage in an order private to the variant;
 * - s: scores and then weights, [m][SKV_CPU_TILE] floats; entries at and past n are neither read nor written by qk and
 *   pv (qk may write them, with any value);
 * - o: accumulators, m * SKV_CPU_D_PAD(d) floats in an order private to the variant; all-zero bits is the zero state.
 *
 * A variant must not let a row at or past n, or channels past d, influence a result: they may hold NaN. */
struct skv_cpu_attend {
    const char *name; /* "f16.records.m4.avx512vbmi2": math, source, m, instruction set */
    /* q: [m][d] floats (bf16-exact for SKV_CPU_BF16_DOT). */
    void (*prepare)(const float *q, uint32_t d, void *qp);
    /* s[i][t] = dot(q_i, row_t) for t < n, f32 sums in an order fixed by (d, variant) alone. */
    void (*qk)(const struct skv_cpu_rows *row, uint32_t n, const void *qp, uint32_t d, float *s,
               const struct skv_cpu_ahead *ahead);
    /* o_i = o_i * corr[i] + sum over t < n of s[i][t] * row_t. */
    void (*pv)(const struct skv_cpu_rows *row, uint32_t n, const float *s, const float *corr, uint32_t d, float *o,
               const struct skv_cpu_ahead *ahead);
    /* out[i][c], [m][d] floats, from o; not scaled. */
    void (*finish)(const float *o, uint32_t d, float *out);
    /* NULL, or what a thread calls before qk and pv, unless it did so last for a variant of the same `enter`; and what
     * it calls once they are done. */
    void (*enter)(void);
    void (*leave)(void);
};

/* Where cores differ though their instructions do not: measured on AMD's Zen 4, which does both, and on Intel's Emerald
 * Rapids, which does neither. */
struct skv_cpu_habits {
    bool streams; /* its own prefetchers follow a stream of records better than requests of a program do */
    bool halves;  /* vpexpandw of 16 lanes takes half as long as of 32 */
};

struct skv_cpu_kernels {
    /* Name of the highest level that filled anything in: "scalar", "avx2", "avx512", "avx512vbmi2", "avx512bf16",
     * "amx", "neon". */
    const char *isa;
    struct skv_cpu_habits habits; /* there before the levels fill anything in */

    /* One step of the online softmax, for each of m query rows (FORMAT.md section 8):
     *   x_t = s[i][t] * scale for t < n;  mx' = max(mx[i], max x_t);  s[i][t] = exp(x_t - mx');
     *   corr[i] = exp(mx[i] - mx');  sum[i] = sum[i] * corr[i] + sum_t s[i][t];  mx[i] = mx'.
     * -inf scores weigh 0; while mx' is -inf all weights are 0 and corr is 1. A NaN or +inf score makes s, sum or both
     * NaN. exp is right to 2 ulp + 1e-38. s at and past n is left as it is or set to 0. */
    void (*softmax)(float *s, uint32_t n, uint32_t m, float scale, float *mx, float *sum, float *corr);

    /* [math][source][log2 m]; a missing variant has qk == NULL. SKV_CPU_F16 and SKV_CPU_BF16 are complete at every
     * level. */
    struct skv_cpu_attend attend[SKV_CPU_MATH_COUNT][SKV_CPU_SOURCE_COUNT][SKV_CPU_M_COUNT];

    /* Exact top-k by magnitude (FORMAT.md section 4.1) of n <= SKV_CPU_ROWS_MAX dense rows, written as whole records.
     * row: [n + n_ahead], where those from n on are what the next calls take, for a kernel to ask memory for.
     * stream: the records lie one behind the other, and a kernel may write them past the caches; other threads see them
     * after a store fence. */
    void (*compress_topk)(const uint16_t *const *row, uint32_t n, uint32_t n_ahead, uint32_t d, uint32_t k,
                          uint8_t *const *record, bool stream);
    /* The selection alone: bitmap is [n][SKV_BITMAP_WORDS(d)]. */
    void (*select_topk)(const uint16_t *const *row, uint32_t n, uint32_t d, uint32_t k, uint64_t *bitmap);
    /* Exact top-k of one row of d u32 scores, larger first, ties to the lower index. */
    void (*select_scores)(const uint32_t *score, uint32_t d, uint32_t k, uint64_t *bitmap);
    /* One row and its bitmap -> one record of SKV_RECORD_BYTES(d, popcount) bytes. */
    void (*pack)(const uint16_t *row, const uint64_t *bitmap, uint32_t d, uint8_t *record);
    /* One record -> one dense row, zeros where the bitmap has none. */
    void (*unpack)(const uint8_t *record, uint32_t d, uint16_t *row);
};

/* The fillers, one per family and instruction set, in kernels/<family>_<isa>.c. Each overwrites the entries that it
 * does better in a table that already holds the levels below; backends/cpu/ladder.c calls them lowest first. */
void skv_cpu_attend_scalar(struct skv_cpu_kernels *table);
void skv_cpu_compress_scalar(struct skv_cpu_kernels *table);
void skv_cpu_attend_avx2(struct skv_cpu_kernels *table); /* AVX2, FMA, F16C, BMI1/2 */
void skv_cpu_compress_avx2(struct skv_cpu_kernels *table);
void skv_cpu_attend_avx512(struct skv_cpu_kernels *table); /* + AVX-512 F, BW, CD, DQ, VL */
void skv_cpu_compress_avx512(struct skv_cpu_kernels *table);
void skv_cpu_attend_avx512vbmi2(struct skv_cpu_kernels *table); /* + VBMI, VBMI2, VPOPCNTDQ, GFNI */
void skv_cpu_compress_avx512vbmi2(struct skv_cpu_kernels *table);
void skv_cpu_attend_avx512bf16(struct skv_cpu_kernels *table); /* + BF16 */
void skv_cpu_attend_amx(struct skv_cpu_kernels *table);        /* + AMX-TILE, AMX-BF16 */
void skv_cpu_attend_neon(struct skv_cpu_kernels *table);       /* AArch64 base */
void skv_cpu_compress_neon(struct skv_cpu_kernels *table);

#endif
