/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/check.h"

/* xorshift128+ */
uint64_t suite_random(struct suite_context *t)
{
    uint64_t x = t->random[0], y = t->random[1];
    t->random[0] = y;
    x ^= x << 23;
    t->random[1] = x ^ y ^ x >> 17 ^ y >> 26;
    return t->random[1] + y;
}

unsigned suite_below(struct suite_context *t, unsigned n)
{
    return (unsigned)((suite_random(t) >> 32) * n >> 32);
}

double suite_uniform(struct suite_context *t)
{
    return (double)(suite_random(t) >> 11) * 0x1p-53;
}

/* Near enough to a normal distribution: the sum of four uniform ones. */
double suite_normal(struct suite_context *t)
{
    double sum = 0;
    for (int i = 0; i < 4; i++)
        sum += suite_uniform(t);
    return (sum - 2) * 1.7320508;
}

void suite_shuffle(struct suite_context *t, int32_t *values, unsigned n)
{
    for (unsigned i = n; i > 1; i--) {
        unsigned j = suite_below(t, i);
        int32_t value = values[i - 1];
        values[i - 1] = values[j];
        values[j] = value;
    }
}

static uint16_t special_value(struct suite_context *t, unsigned type)
{
    uint16_t infinity = ref_infinity(type);
    const uint16_t values[] = {0,
                               0,
                               1,
                               2,
                               (uint16_t)(infinity - 1), /* the largest finite */
                               infinity,
                               infinity,
                               (uint16_t)(infinity + 1), /* NaN: signalling, quiet, largest */
                               (uint16_t)(infinity | 0x40),
                               0x7fff,
                               ref_round(type, 1),
                               type == SKV_F16 ? 0x0400 : 0x0080, /* the smallest normal */
                               type == SKV_F16 ? 0x03ff : 0x007f};
    uint16_t value = values[suite_below(t, sizeof values / sizeof values[0])];
    return (uint16_t)(value | (suite_below(t, 2) ? 0x8000 : 0));
}

void suite_row(struct suite_context *t, unsigned type, enum suite_kind kind, uint16_t *row, unsigned d)
{
    if (kind == SUITE_FINITE)
        kind = suite_below(t, 4) ? SUITE_NORMAL : (enum suite_kind)suite_below(t, SUITE_FINITE);
    if (kind == SUITE_ANY)
        kind = (enum suite_kind)suite_below(t, SUITE_ANY);
    uint16_t one = ref_round(type, suite_uniform(t) + 0.5), smallest = type == SKV_F16 ? 0x0400 : 0x0080;
    for (unsigned c = 0; c < d; c++) {
        uint16_t sign = suite_below(t, 2) ? 0x8000 : 0, value = 0;
        switch (kind) {
        case SUITE_NORMAL:
            row[c] = ref_round(type, suite_normal(t) * (c % 29 == 3 ? 4 : 1));
            continue;
        case SUITE_TIES:
            value = ref_round(type, 0.5 * suite_below(t, 4));
            break;
        case SUITE_EQUAL:
            value = one;
            break;
        case SUITE_SUBNORMAL:
            value = (uint16_t)suite_below(t, smallest + 3u);
            break;
        case SUITE_BITS:
            value = (uint16_t)suite_random(t);
            break;
        case SUITE_SPECIAL:
            value = special_value(t, type);
            break;
        default:
            break;
        }
        row[c] = value | sign;
    }
}
