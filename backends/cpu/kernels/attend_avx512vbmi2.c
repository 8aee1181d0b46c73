/* SPDX-License-Identifier: Apache-2.0
 *
 * Records by vpexpandw: the bitmap's bits are the expansion's mask as stored.
 */
#include "backends/cpu/kernels/attend_avx512.h"

DEFINE_VARIANTS(f16_records, EXPAND16_F16, any)
DEFINE_VARIANTS(f16_halves, EXPAND16_F16_HALVES, any)
DEFINE_VARIANTS(bf16_records, EXPAND16_BF16, any)

void skv_cpu_attend_avx512vbmi2(struct skv_cpu_kernels *table)
{
    table->isa = "avx512vbmi2";
    if (table->habits.halves)
        FILL_VARIANTS(table->attend[SKV_CPU_F16][SKV_CPU_RECORDS], "f16.records", f16_halves, "avx512vbmi2");
    else
        FILL_VARIANTS(table->attend[SKV_CPU_F16][SKV_CPU_RECORDS], "f16.records", f16_records, "avx512vbmi2");
    FILL_VARIANTS(table->attend[SKV_CPU_BF16][SKV_CPU_RECORDS], "bf16.records", bf16_records, "avx512vbmi2");
}
