/* SPDX-License-Identifier: Apache-2.0
 *
 * Byte shuffles that pack and unpack eight values, indexed by the bitmap's byte; for files that include it once.
 */
#ifndef SKV_CPU_COMPRESS_SHUFFLE_H
#define SKV_CPU_COMPRESS_SHUFFLE_H

#include <stdint.h>

/* clang-format off */
/* A to D select a value of four, Z nothing. A nibble of the bitmap: the values that it keeps, in order; the kept value
 * that each of its channels takes; how many. */
#define FOUR(a, b, c, d) ((uint64_t)(a) | (uint64_t)(b) << 16 | (uint64_t)(c) << 32 | (uint64_t)(d) << 48)
#define A 0x0100
#define B 0x0302
#define C 0x0504
#define D 0x0706
#define Z 0x8080
#define N0 FOUR(0, 0, 0, 0), FOUR(Z, Z, Z, Z), 0
#define N1 FOUR(A, 0, 0, 0), FOUR(A, Z, Z, Z), 1
#define N2 FOUR(B, 0, 0, 0), FOUR(Z, A, Z, Z), 1
#define N3 FOUR(A, B, 0, 0), FOUR(A, B, Z, Z), 2
#define N4 FOUR(C, 0, 0, 0), FOUR(Z, Z, A, Z), 1
#define N5 FOUR(A, C, 0, 0), FOUR(A, Z, B, Z), 2
#define N6 FOUR(B, C, 0, 0), FOUR(Z, A, B, Z), 2
#define N7 FOUR(A, B, C, 0), FOUR(A, B, C, Z), 3
#define N8 FOUR(D, 0, 0, 0), FOUR(Z, Z, Z, A), 1
#define N9 FOUR(A, D, 0, 0), FOUR(A, Z, Z, B), 2
#define N10 FOUR(B, D, 0, 0), FOUR(Z, A, Z, B), 2
#define N11 FOUR(A, B, D, 0), FOUR(A, B, Z, C), 3
#define N12 FOUR(C, D, 0, 0), FOUR(Z, Z, A, B), 2
#define N13 FOUR(A, C, D, 0), FOUR(A, Z, B, C), 3
#define N14 FOUR(B, C, D, 0), FOUR(Z, A, B, C), 3
#define N15 FOUR(A, B, C, D), FOUR(A, B, C, D), 4
#define CALL(f, ...) f(__VA_ARGS__)
#define LOW_NIBBLES(f, ...) \
    CALL(f, __VA_ARGS__, N0), CALL(f, __VA_ARGS__, N1), CALL(f, __VA_ARGS__, N2), CALL(f, __VA_ARGS__, N3), \
    CALL(f, __VA_ARGS__, N4), CALL(f, __VA_ARGS__, N5), CALL(f, __VA_ARGS__, N6), CALL(f, __VA_ARGS__, N7), \
    CALL(f, __VA_ARGS__, N8), CALL(f, __VA_ARGS__, N9), CALL(f, __VA_ARGS__, N10), CALL(f, __VA_ARGS__, N11), \
    CALL(f, __VA_ARGS__, N12), CALL(f, __VA_ARGS__, N13), CALL(f, __VA_ARGS__, N14), CALL(f, __VA_ARGS__, N15)
#define ALL_BYTES(f) \
    LOW_NIBBLES(f, N0), LOW_NIBBLES(f, N1), LOW_NIBBLES(f, N2), LOW_NIBBLES(f, N3), \
    LOW_NIBBLES(f, N4), LOW_NIBBLES(f, N5), LOW_NIBBLES(f, N6), LOW_NIBBLES(f, N7), \
    LOW_NIBBLES(f, N8), LOW_NIBBLES(f, N9), LOW_NIBBLES(f, N10), LOW_NIBBLES(f, N11), \
    LOW_NIBBLES(f, N12), LOW_NIBBLES(f, N13), LOW_NIBBLES(f, N14), LOW_NIBBLES(f, N15)
/* By n values, 16 bits each; in two halves, for a shift by all 64 bits is undefined. */
#define UP(x, n) ((x) << 8 * (n) << 8 * (n))
#define DOWN(x, n) ((x) >> 8 * (n) >> 8 * (n))
/* h of the high nibble, l of the low one. */
#define PACK(hk, hx, hn, lk, lx, ln) \
    {UP(UP(lk, 4 - ln), 4 - hn), UP((hk) + UINT64_C(0x0808080808080808), 4 - hn) | DOWN(UP(lk, 4 - ln), hn)}
#define UNPACK(hk, hx, hn, lk, lx, ln) {lx, (hx) + ln * UINT64_C(0x0202020202020202)}

/* The kept values at the high end of the register; what lies below them is any of the eight values. */
static const _Alignas(64) uint64_t pack_shuffle[256][2] = {ALL_BYTES(PACK)};
/* From the kept values at the low end; a channel that is not kept has an index past the register, with bit 7 set. */
static const _Alignas(64) uint64_t unpack_shuffle[256][2] = {ALL_BYTES(UNPACK)};

#undef FOUR
#undef A
#undef B
#undef C
#undef D
#undef Z
#undef N0
#undef N1
#undef N2
#undef N3
#undef N4
#undef N5
#undef N6
#undef N7
#undef N8
#undef N9
#undef N10
#undef N11
#undef N12
#undef N13
#undef N14
#undef N15
#undef CALL
#undef LOW_NIBBLES
#undef ALL_BYTES
#undef UP
#undef DOWN
#undef PACK
#undef UNPACK
/* clang-format on */

#endif
