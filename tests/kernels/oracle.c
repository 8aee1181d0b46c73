/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kernels/oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double decode(uint32_t code, int exponent_bits, int fraction_bits)
{
    int bias = (1 << (exponent_bits - 1)) - 1, all_ones = (1 << exponent_bits) - 1;
    int exponent = (int)(code >> fraction_bits) & all_ones;
    double fraction = ldexp((double)(code & ((1u << fraction_bits) - 1)), -fraction_bits);
    double sign = code >> (exponent_bits + fraction_bits) & 1 ? -1 : 1;
    if (exponent == all_ones)
        return fraction != 0 ? (double)NAN : sign * (double)INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, 1 - bias);
    return sign * ldexp(1 + fraction, exponent - bias);
}

const double *kt_decoded(int bf16)
{
    static double number[2][65536];
    static int ready;
    for (uint32_t code = 0; !ready && code < 65536; code++) {
        number[0][code] = decode(code, 5, 10);
        number[1][code] = decode(code, 8, 7);
    }
    ready = 1;
    return number[bf16 != 0];
}

struct candidate {
    uint32_t key, channel;
};

static int before(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (a->key != b->key)
        return a->key > b->key ? -1 : 1;
    return a->channel < b->channel ? -1 : 1;
}

void kt_oracle_select(const uint32_t *key, uint32_t d, uint32_t k, uint64_t *bitmap)
{
    struct candidate candidate[512];
    for (uint32_t c = 0; c < d; c++)
        candidate[c] = (struct candidate){key[c], c};
    qsort(candidate, d, sizeof candidate[0], before);
    memset(bitmap, 0, (d + 63) / 64 * sizeof *bitmap);
    for (uint32_t i = 0; i < k; i++)
        bitmap[candidate[i].channel / 64] |= (uint64_t)1 << candidate[i].channel % 64;
}

void kt_oracle_topk(const uint16_t *row, uint32_t d, uint32_t k, uint64_t *bitmap)
{
    uint32_t key[512];
    for (uint32_t c = 0; c < d; c++)
        key[c] = row[c] & 0x7fffu;
    kt_oracle_select(key, d, k, bitmap);
}

size_t kt_oracle_pack(const uint16_t *row, const uint64_t *bitmap, uint32_t d, uint8_t *record)
{
    size_t bytes = 0;
    for (uint32_t w = 0; 64 * w < d; w++)
        for (uint32_t byte = 0; byte < 8; byte++)
            record[bytes++] = (uint8_t)(bitmap[w] >> 8 * byte);
    for (uint32_t c = 0; c < d; c++)
        if (bitmap[c / 64] >> c % 64 & 1) {
            record[bytes++] = (uint8_t)row[c];
            record[bytes++] = (uint8_t)(row[c] >> 8);
        }
    return bytes;
}
