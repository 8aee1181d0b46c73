/* SPDX-License-Identifier: Apache-2.0
 *
 * What tensor cores compute, with fragments laid out as in PTX ISA 9.2, section 9.7.14.5, and what AMD's matrix units
 * do.
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

/* AMD's families: how lanes divide the depth of sources and the rows of the result (backends/hip/kernels/matrix.h). */
enum matrix_family { CDNA, RDNA3, RDNA4 };
/* c (16x16) += a (16x16) * b (16x16). CDNA has 2 words of each source in a lane and 4 results, RDNA 4 and 8; RDNA 3
 * takes both halves' words, 8 of them, in either half, which must be the same. */
void multiply_tile(float *c, const uint32_t *a, const uint32_t *b, matrix_family family, bool is_bf16, place at);

} // namespace emulator

#endif
