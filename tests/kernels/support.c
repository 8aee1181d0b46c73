/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/mman.h>
#include <unistd.h>

#include "tests/kernels/kernels_test.h"

struct kt_case kt_now;
struct kt_options kt_options;

const uint32_t kt_d[KT_D_COUNT] = {8, 16, 24, 40, 64, 72, 80, 96, 112, 128, 136, 160, 192, 256, 384, 512};
const uint32_t kt_n[KT_N_COUNT] = {1, 2, 7, 15, 16, 17, 31, 33, 63, 64};
const struct skv_cpu_ahead kt_nothing_ahead = {{NULL, NULL, 0}, 0, 0};
const char *const kt_math_name[SKV_CPU_MATH_COUNT] = {"f16", "bf16", "bf16dot"};
const char *const kt_source_name[SKV_CPU_SOURCE_COUNT] = {"records", "dense"};

uint32_t kt_kept(uint32_t d, uint32_t kept[6])
{
    const uint32_t all[6] = {1, 2, d / 3, d / 2, d - 1, d};
    uint32_t count = 0;
    for (uint32_t i = 0; i < 6; i++)
        if (count == 0 || all[i] > kept[count - 1])
            kept[count++] = all[i];
    return count;
}

/* splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. */
uint64_t kt_random(struct kt_rng *rng)
{
    uint64_t z = rng->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint32_t kt_below(struct kt_rng *rng, uint32_t n)
{
    return (uint32_t)((kt_random(rng) >> 32) * n >> 32);
}

double kt_normal(struct kt_rng *rng)
{
    /* The sum of four uniform numbers is close enough to a bell, and much cheaper than a logarithm. */
    uint64_t bits = kt_random(rng);
    double sum = 0;
    for (int i = 0; i < 4; i++, bits >>= 16)
        sum += (double)(bits & 0xffff) / 65536 - 0.5;
    return sum * sqrt(3.0) + 0x1p-20;
}

struct kt_rng kt_begin(const char *level, const char *entry, uint32_t d, uint32_t k, uint32_t n, uint32_t m,
                       uint32_t variant)
{
    kt_now = (struct kt_case){level, entry, d, k, n, m, variant};
    const uint32_t part[] = {d, k, n, m, variant};
    struct kt_rng rng = {kt_options.seed};
    for (; *entry; entry++)
        rng.state = kt_random(&rng) ^ (uint8_t)*entry;
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++)
        rng.state = kt_random(&rng) ^ part[i];
    return rng;
}

int kt_fail(const char *format, ...)
{
    fprintf(stderr, "FAIL %s/%s d=%u k=%u n=%u m=%u variant=%u seed=%" PRIu64 ": ", kt_now.level, kt_now.entry,
            kt_now.d, kt_now.k, kt_now.n, kt_now.m, kt_now.variant, kt_options.seed);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n  repeat: %s --level %s --seed %" PRIu64 " --filter %s\n", kt_options.program, kt_now.level,
            kt_options.seed, kt_now.entry);
    return 0;
}

int kt_take(const char *level, const char *entry, int changed)
{
    char name[128];
    snprintf(name, sizeof name, "%s/%s", level, entry);
    if (!changed || (kt_options.filter && !strstr(name, kt_options.filter)))
        return 0;
    kt_options.n_taken++;
    if (kt_options.listing)
        printf("%s\n", name);
    return !kt_options.counting;
}

struct kt_pen kt_pen_open(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    bytes = (bytes + page - 1) / page * page;
    uint8_t *memory = mmap(NULL, bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + page, bytes, PROT_READ | PROT_WRITE)) {
        perror("pen");
        exit(2);
    }
    return (struct kt_pen){memory + page, memory + page + bytes};
}

#define APRON 128

static uint8_t *up_to(const struct kt_pen *pen, const uint8_t *at, size_t bytes)
{
    return (size_t)(pen->end - at) < bytes ? pen->end : pen->begin + (at - pen->begin) + bytes;
}

static uint8_t *down_to(const struct kt_pen *pen, const uint8_t *at, size_t bytes)
{
    return (size_t)(at - pen->begin) < bytes ? pen->begin : pen->begin + (at - pen->begin) - bytes;
}

uint8_t *kt_pen_place(struct kt_pen pen, size_t bytes, size_t align, size_t shift, size_t slack, uint8_t fill)
{
    uintptr_t last = (uintptr_t)pen.end - slack - bytes - shift;
    uint8_t *at = pen.begin + ((last & ~(uintptr_t)(align - 1)) - (uintptr_t)pen.begin);
    uint8_t *from = down_to(&pen, at, APRON), *to = up_to(&pen, at, bytes + slack + APRON);
    memset(from, fill, (size_t)(to - from));
    return at;
}

static int is_fill(const uint8_t *from, const uint8_t *to, const uint8_t *at, uint8_t fill, const char *name)
{
    for (; from < to; from++)
        if (*from != fill)
            return kt_fail("%s: byte %td is outside and was written: 0x%02x, was 0x%02x", name, from - at, *from, fill);
    return 1;
}

int kt_pen_intact(struct kt_pen pen, const uint8_t *at, size_t bytes, uint8_t fill, const char *name)
{
    return is_fill(down_to(&pen, at, APRON), at, at, fill, name) &&
           is_fill(at + bytes, up_to(&pen, at, bytes + APRON), at, fill, name);
}

void kt_rows_open(struct kt_rows *rows)
{
    for (uint32_t i = 0; i < KT_ROWS; i++)
        rows->pen[i] = kt_pen_open(KT_ROW_BYTES + 512);
    rows->pool = kt_pen_open(KT_ROWS * (KT_ROW_BYTES + 64));
    rows->list = kt_pen_open(KT_ROWS * sizeof(uint8_t *));
}

void kt_rows_place(struct kt_rows *rows, struct kt_rng *rng, enum kt_place place, uint32_t n, size_t bytes,
                   size_t align, size_t slack, uint8_t fill)
{
    rows->n = n;
    rows->bytes = bytes;
    rows->place = place;
    rows->fill = fill;
    if (place == KT_ALONE || place == KT_ALONE_SHIFTED) {
        for (uint32_t i = 0; i < n; i++) {
            size_t shift = place == KT_ALONE ? 0 : align * (1 + kt_below(rng, 31));
            rows->at[i] = rows->slot[i] = kt_pen_place(rows->pen[i], bytes, align, shift, slack, fill);
        }
        return;
    }
    size_t gap = place == KT_POOL ? 0 : align * (1 + kt_below(rng, 5));
    rows->stride = (bytes + align - 1) / align * align + gap;
    uint8_t *base = kt_pen_place(rows->pool, (n - 1) * rows->stride + bytes, align, 0, slack, fill);
    for (uint32_t i = 0; i < n; i++)
        rows->at[i] = rows->slot[i] = base + i * rows->stride;
    for (uint32_t i = n, shuffle = kt_below(rng, 2); shuffle && i > 1; i--) {
        uint32_t other = kt_below(rng, i);
        uint8_t *row = rows->at[i - 1];
        rows->at[i - 1] = rows->at[other];
        rows->at[other] = row;
    }
}

uint8_t *const *kt_rows_list(const struct kt_rows *rows)
{
    size_t bytes = rows->n * sizeof(uint8_t *);
    uint8_t **list = (uint8_t **)(void *)kt_pen_place(rows->list, bytes, sizeof(uint8_t *), 0, 0, KT_POISON);
    for (uint32_t i = 0; i < rows->n; i++)
        list[i] = rows->at[i];
    return list;
}

struct skv_cpu_rows kt_rows_any(const struct kt_rows *rows)
{
    int strided = rows->place == KT_POOL || rows->place == KT_POOL_GAPS;
    for (uint32_t i = 1; i < rows->n; i++)
        strided = strided && rows->at[i] == rows->at[0] + i * rows->stride;
    return strided ? (struct skv_cpu_rows){NULL, rows->at[0], rows->stride}
                   : (struct skv_cpu_rows){(const uint8_t *const *)kt_rows_list(rows), NULL, 0};
}

const uint16_t *const *kt_rows_list16(const struct kt_rows *rows)
{
    size_t bytes = rows->n * sizeof(uint16_t *);
    const uint16_t **list =
        (const uint16_t **)(void *)kt_pen_place(rows->list, bytes, sizeof(uint16_t *), 0, 0, KT_POISON);
    for (uint32_t i = 0; i < rows->n; i++)
        list[i] = (const uint16_t *)(const void *)rows->at[i];
    return list;
}

int kt_rows_intact(const struct kt_rows *rows, const char *name)
{
    if (rows->place == KT_ALONE || rows->place == KT_ALONE_SHIFTED) {
        for (uint32_t i = 0; i < rows->n; i++)
            if (!kt_pen_intact(rows->pen[i], rows->slot[i], rows->bytes, rows->fill, name))
                return 0;
        return 1;
    }
    for (uint32_t i = 0; i + 1 < rows->n; i++)
        if (!is_fill(rows->slot[i] + rows->bytes, rows->slot[i + 1], rows->slot[i], rows->fill, name))
            return 0;
    return kt_pen_intact(rows->pool, rows->slot[0], (rows->n - 1) * rows->stride + rows->bytes, rows->fill, name);
}

/* Rounds toward zero; which way does not matter for test data. */
static uint16_t encode(double number, int bf16)
{
    uint16_t sign = signbit(number) ? 0x8000 : 0;
    int fraction_bits = bf16 ? 7 : 10, bias = bf16 ? 127 : 15, exponent;
    double fraction = frexp(fabs(number), &exponent);
    if (fraction == 0 || exponent - 1 < 1 - bias)
        return (uint16_t)(sign | (uint16_t)ldexp(fabs(number), bias - 1 + fraction_bits));
    uint32_t code = (uint32_t)(exponent - 1 + bias) << fraction_bits;
    return (uint16_t)(sign | (code + (uint32_t)ldexp(2 * fraction - 1, fraction_bits)));
}

void kt_row(struct kt_rng *rng, enum kt_kind kind, int bf16, uint32_t d, uint16_t *row)
{
    uint16_t infinity = bf16 ? SKV_BF16_INF_BITS : SKV_F16_INF_BITS, smallest = bf16 ? 0x0080 : 0x0400;
    uint16_t one = encode(1 + fabs(kt_normal(rng)), bf16);
    uint32_t n_levels = 1 + kt_below(rng, 5);
    for (uint32_t c = 0; c < d; c++) {
        uint64_t bits = kt_random(rng);
        uint16_t sign = (uint16_t)(bits & 0x8000), magnitude = (uint16_t)(bits >> 16 & 0x7fff);
        row[c] = kind == KT_NORMAL || kind == KT_SPECIAL ? encode(kt_normal(rng), bf16) : (uint16_t)(sign | magnitude);
        if (kind == KT_TIED)
            row[c] = (uint16_t)(sign | (uint16_t)(one + magnitude % n_levels * 3));
        else if (kind == KT_EQUAL)
            row[c] = sign | one;
        else if (kind == KT_ZEROS)
            row[c] = (uint16_t)(sign | (magnitude % 8 ? 0 : one));
        else if (kind == KT_SUBNORMAL)
            row[c] = (uint16_t)(sign | magnitude % (smallest + 3u));
        else if (kind == KT_FINITE)
            row[c] = (uint16_t)(sign | magnitude % infinity);
        else if (kind == KT_SPECIAL && magnitude % 8 == 0)
            row[c] = (uint16_t)(sign | (infinity + (magnitude & 8 ? 0 : (uint16_t)(bits >> 40) % (0x8000 - infinity))));
    }
}
