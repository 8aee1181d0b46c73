/* SPDX-License-Identifier: Apache-2.0
 *
 * From inlined bodies to table entries, for the files that have the bodies prepare_X, qk_X, pv_X and finish_X, each
 * with the row kind and the number of query rows as first arguments. head_dim 64 and 128 become constants.
 */
#ifndef SKV_CPU_ATTEND_VARIANTS_H
#define SKV_CPU_ATTEND_VARIANTS_H

#include "backends/cpu/kernels/kernels.h"

#define DEFINE_VARIANT(NAME, KIND, BODY, M)                                                                        \
    static void prepare_##NAME##_m##M(const float *q, uint32_t d, void *qp)                                        \
    {                                                                                                              \
        prepare_##BODY(KIND, M, q, d, qp);                                                                         \
    }                                                                                                              \
    static void qk_##NAME##_m##M(const struct skv_cpu_rows *row, uint32_t n, const void *qp, uint32_t d, float *s, \
                                 const struct skv_cpu_ahead *ahead)                                                \
    {                                                                                                              \
        if (d == 128)                                                                                              \
            qk_##BODY(KIND, M, row, n, qp, 128, s, ahead);                                                         \
        else if (d == 64)                                                                                          \
            qk_##BODY(KIND, M, row, n, qp, 64, s, ahead);                                                          \
        else                                                                                                       \
            qk_##BODY(KIND, M, row, n, qp, d, s, ahead);                                                           \
    }                                                                                                              \
    static void pv_##NAME##_m##M(const struct skv_cpu_rows *row, uint32_t n, const float *s, const float *corr,    \
                                 uint32_t d, float *o, const struct skv_cpu_ahead *ahead)                          \
    {                                                                                                              \
        if (d == 128)                                                                                              \
            pv_##BODY(KIND, M, row, n, s, corr, 128, o, ahead);                                                    \
        else if (d == 64)                                                                                          \
            pv_##BODY(KIND, M, row, n, s, corr, 64, o, ahead);                                                     \
        else                                                                                                       \
            pv_##BODY(KIND, M, row, n, s, corr, d, o, ahead);                                                      \
    }                                                                                                              \
    static void finish_##NAME##_m##M(const float *o, uint32_t d, float *out)                                       \
    {                                                                                                              \
        finish_##BODY(KIND, M, o, d, out);                                                                         \
    }
#define DEFINE_VARIANTS(NAME, KIND, BODY) \
    DEFINE_VARIANT(NAME, KIND, BODY, 1)   \
    DEFINE_VARIANT(NAME, KIND, BODY, 2)   \
    DEFINE_VARIANT(NAME, KIND, BODY, 4)   \
    DEFINE_VARIANT(NAME, KIND, BODY, 8)

#define VARIANT(TEXT, NAME, M)                                                                            \
    {                                                                                                     \
        TEXT, prepare_##NAME##_m##M, qk_##NAME##_m##M, pv_##NAME##_m##M, finish_##NAME##_m##M, NULL, NULL \
    }
/* Fills the four entries [0 .. 3] of a row of the table. */
#define FILL_VARIANTS(ENTRIES, TYPE_SOURCE, NAME, ISA)                                  \
    do {                                                                                \
        (ENTRIES)[0] = (struct skv_cpu_attend)VARIANT(TYPE_SOURCE ".m1." ISA, NAME, 1); \
        (ENTRIES)[1] = (struct skv_cpu_attend)VARIANT(TYPE_SOURCE ".m2." ISA, NAME, 2); \
        (ENTRIES)[2] = (struct skv_cpu_attend)VARIANT(TYPE_SOURCE ".m4." ISA, NAME, 4); \
        (ENTRIES)[3] = (struct skv_cpu_attend)VARIANT(TYPE_SOURCE ".m8." ISA, NAME, 8); \
    } while (0)

#endif
