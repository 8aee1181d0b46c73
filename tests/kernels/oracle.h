/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules of core/FORMAT.md that the kernels implement, once more, as plainly as they can be written.
 */
#ifndef SKV_TESTS_KERNELS_ORACLE_H
#define SKV_TESTS_KERNELS_ORACLE_H

#include <stddef.h>
#include <stdint.h>

/* The numbers that the 65536 codes of a type stand for. */
const double *kt_decoded(int bf16);
/* Section 4: the k largest keys, ties to the lower channel. Bits at and past d are 0. */
void kt_oracle_select(const uint32_t *key, uint32_t d, uint32_t k, uint64_t *bitmap);
/* The same for the magnitudes of a row. */
void kt_oracle_topk(const uint16_t *row, uint32_t d, uint32_t k, uint64_t *bitmap);
/* Section 2: the record of a row; returns its bytes. */
size_t kt_oracle_pack(const uint16_t *row, const uint64_t *bitmap, uint32_t d, uint8_t *record);

#endif
