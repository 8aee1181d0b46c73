/* SPDX-License-Identifier: Apache-2.0
 *
 * What tensor cores compute, with fragments laid out as in PTX ISA 9.2, section 9.7.14.5.
 */
#ifndef SKV_TESTS_MATRICES_H
#define SKV_TESTS_MATRICES_H

#include "tests/gpu/emulator.h"

namespace emulator
{

/* c (16x8) += a (16x16) * b (16x8); products are exact, sums are float in the order of k. */
void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bool is_bf16, place at);
/* d (16x8) = popcount(a (16 x 128 n_halves bits) & b) + c; a has 2 n_halves words, b n_halves. */
void count_bits(uint32_t (&d)[4], const uint32_t *a, const uint32_t *b, unsigned n_halves, const uint32_t (&c)[4],
                place at);

} // namespace emulator

#endif
