/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes of format version 1, worked out by hand from core/FORMAT.md. They pin the format: when one of these fails,
 * either the library broke or the format version must rise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <skv/skv.h>

#define POISON 0xa5

struct fixture {
    skv_device *device;
    skv_queue *queue;
};

static int open_cpu(void **state)
{
    static struct fixture fixture;
    skv_device_params params = {.struct_size = sizeof params, .id = "cpu"};
    assert_int_equal(skv_device_open(&params, &fixture.device), SKV_OK);
    assert_int_equal(skv_queue_create(fixture.device, NULL, &fixture.queue), SKV_OK);
    *state = &fixture;
    return 0;
}

static int close_cpu(void **state)
{
    struct fixture *fixture = *state;
    skv_queue_destroy(fixture->queue);
    skv_device_release(fixture->device);
    return 0;
}

/* Compresses rows [n_tokens][head_dim] of one head from slot 0 on and compares the start of the pool with `want`; a
 * byte of POISON in `want` must not have been written. */
static void check(struct fixture *fixture, const skv_layout_params *layout_params, const skv_select *select,
                  const uint16_t *rows, uint32_t n_tokens, const uint8_t *want, size_t n_want)
{
    skv_layout *layout;
    uint64_t pool_bytes;
    assert_int_equal(skv_layout_create(layout_params, &layout), SKV_OK);
    assert_int_equal(skv_layout_pool_bytes(layout, 1, &pool_bytes), SKV_OK);
    skv_buffer_params rows_params = {.struct_size = sizeof rows_params,
                                     .bytes = (uint64_t)n_tokens * layout_params->head_dim * 2};
    skv_buffer_params pool_params = {.struct_size = sizeof pool_params, .bytes = pool_bytes};
    skv_buffer *in, *pages;
    assert_int_equal(skv_buffer_create(fixture->device, &rows_params, &in), SKV_OK);
    assert_int_equal(skv_buffer_create(fixture->device, &pool_params, &pages), SKV_OK);
    assert_int_equal(skv_buffer_write(fixture->queue, (skv_span){in, 0}, rows, rows_params.bytes), SKV_OK);
    assert_int_equal(skv_buffer_fill(fixture->queue, (skv_span){pages, 0}, POISON, pool_bytes), SKV_OK);
    skv_compress_params params = {.struct_size = sizeof params,
                                  .n_tokens = n_tokens,
                                  .in = {{in, 0}, 0, 0},
                                  .pool = {layout, {pages, 0}, 1},
                                  .select = *select};
    assert_int_equal(skv_compress(fixture->queue, &params), SKV_OK);
    uint8_t got[2048];
    assert_true(n_want <= sizeof got && n_want <= pool_bytes);
    assert_int_equal(skv_buffer_read(fixture->queue, got, (skv_span){pages, 0}, n_want), SKV_OK);
    assert_memory_equal(got, want, n_want);
    skv_buffer_destroy(in);
    skv_buffer_destroy(pages);
    skv_layout_destroy(layout);
}

/* Magnitudes 1, 3, 2, 3 (as -3), 0, NaN, inf, 2: NaN first, then inf, then the 3s; of the 2s the lower channel. */
static void fixed_d8(void **state)
{
    static const uint16_t rows[2][8] = {
        {0x3c00, 0x4200, 0x4000, 0xc200, 0x0000, 0x7e01, 0xfc00, 0x4000},
        /* all equal in magnitude, -0 among +0: the lowest channels are kept, bits unchanged */
        {0x8000, 0x0000, 0x8000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000},
    };
    static const uint8_t want[] = {/* channels 1, 2, 3, 5, 6 */
                                   0x6e, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x42, 0x00, 0x40, 0x00, 0xc2, 0x01, 0x7e, 0x00,
                                   0xfc,
                                   /* 18 bytes, so the stride is 24 and 6 bytes are nobody's */
                                   POISON, POISON, POISON, POISON, POISON, POISON,
                                   /* channels 0 .. 4 */
                                   0x1f, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x80, 0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00,
                                   0x00, POISON, POISON, POISON, POISON, POISON, POISON,
                                   /* the next slot */
                                   POISON, POISON};
    skv_layout_params layout = {.struct_size = sizeof layout, .head_dim = 8, .n_kv_heads = 1, .kept = 5};
    check(*state, &layout, &(skv_select){0}, rows[0], 2, want, sizeof want);
}

/* bf16: 0x3f80 is 1, 0x4000 is 2, 0xc040 is -3, 0x0001 the least subnormal. */
static void fixed_bf16(void **state)
{
    static const uint16_t row[8] = {0x3f80, 0x0001, 0x8000, 0xc040, 0x4000, 0x0000, 0x7f80, 0x3f80};
    /* inf (6), 3 (3), 2 (4), then the first of the ones (0): channels 0, 3, 4, 6 */
    static const uint8_t want[] = {0x59, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x3f, 0x40, 0xc0, 0x00, 0x40, 0x80, 0x7f};
    skv_layout_params layout = {
        .struct_size = sizeof layout, .dtype = SKV_BF16, .head_dim = 8, .n_kv_heads = 1, .kept = 4};
    check(*state, &layout, &(skv_select){0}, row, 1, want, sizeof want);
}

/* head_dim 72 has two bitmap words, the second with 8 channels. */
static void fixed_d72(void **state)
{
    uint16_t row[72] = {0};
    row[0] = 0x3c00;
    row[63] = 0xbc00;
    row[64] = 0x4400;
    row[71] = 0x3800;
    static const uint8_t want[] = {0x01, 0,    0,    0,    0,    0,    0,    0x80, /* channels 0 and 63 */
                                   0x81, 0,    0,    0,    0,    0,    0,    0,    /* channels 64 and 71 */
                                   0x00, 0x3c, 0x00, 0xbc, 0x00, 0x44, 0x00, 0x38};
    skv_layout_params layout = {.struct_size = sizeof layout, .head_dim = 72, .n_kv_heads = 1, .kept = 4};
    check(*state, &layout, &(skv_select){0}, row, 1, want, sizeof want);
}

/* 1 to 128: k = 40 keeps channels 88 .. 127, in 96 bytes; k = 64 takes 144. */
static void fixed_d128(void **state)
{
    uint16_t row[128];
    uint8_t want[144] = {0};
    static const struct {
        uint32_t kept;
        uint8_t bitmap[16];
    } cases[] = {{40, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff}},
                 {64, {0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}};
    for (uint32_t c = 0; c < 128; c++)
        row[c] = (uint16_t)(0x3000 + c);
    for (size_t i = 0; i < 2; i++) {
        uint32_t kept = cases[i].kept;
        memcpy(want, cases[i].bitmap, 16);
        for (uint32_t j = 0; j < kept; j++) {
            uint32_t value = 0x3000 + 128 - kept + j;
            want[16 + 2 * j] = (uint8_t)value;
            want[17 + 2 * j] = (uint8_t)(value >> 8);
        }
        skv_layout_params layout = {.struct_size = sizeof layout, .head_dim = 128, .n_kv_heads = 1, .kept = kept};
        skv_layout_head head = {.struct_size = sizeof head};
        skv_layout *made;
        assert_int_equal(skv_layout_create(&layout, &made), SKV_OK);
        assert_int_equal(skv_layout_get_head(made, 0, &head), SKV_OK);
        assert_int_equal(head.row_stride, kept == 40 ? 96 : 144);
        assert_int_equal(head.page_bytes, 64 * head.row_stride);
        skv_layout_destroy(made);
        check(*state, &layout, &(skv_select){0}, row, 1, want, 16 + 2 * kept);
    }
}

/* A threshold of 2 keeps 3, 0 and 1 channels of three rows: ends 144, 152 and 168 behind a directory of 32 entries. */
static void ragged(void **state)
{
    static const uint16_t rows[3][8] = {
        {0x4000, 0x3c00, 0xc200, 0x3bff, 0x4000, 0x0000, 0x0000, 0x0000},
        {0x3fff, 0x3c00, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0xbfff},
        {0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0xc000},
    };
    uint8_t want[168];
    memset(want, POISON, sizeof want);
    static const uint8_t ends[12] = {144, 0, 0, 0, 152, 0, 0, 0, 168, 0, 0, 0};
    static const uint8_t first[14] = {0x15, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x40, 0x00, 0xc2, 0x00, 0x40};
    static const uint8_t second[8] = {0};
    static const uint8_t third[10] = {0x80, 0, 0, 0, 0, 0, 0, 0, 0x00, 0xc0};
    memcpy(want, ends, sizeof ends);
    memcpy(want + 128, first, sizeof first); /* two bytes of padding follow */
    memcpy(want + 144, second, sizeof second);
    memcpy(want + 152, third, sizeof third); /* six bytes of padding follow */
    skv_layout_params layout = {
        .struct_size = sizeof layout, .form = SKV_RAGGED, .head_dim = 8, .n_kv_heads = 1, .page_tokens = 32};
    skv_select select = {.strategy = SKV_THRESHOLD, .threshold = 2};
    check(*state, &layout, &select, rows[0], 3, want, sizeof want);
}

/* Whether this machine has the level that SKV_CPU_ISA asks for, if it asks. */
static bool level_is_here(void)
{
    skv_device_params params = {.struct_size = sizeof params, .id = "cpu"};
    skv_device *device;
    skv_status status = skv_device_open(&params, &device);
    if (status == SKV_OK)
        skv_device_release(device);
    return status != SKV_ERROR_UNSUPPORTED;
}

int main(void)
{
    if (!level_is_here()) {
        printf("1..0 # SKIP %s\n", skv_error_message());
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fixed_d8, open_cpu, close_cpu),
        cmocka_unit_test_setup_teardown(fixed_bf16, open_cpu, close_cpu),
        cmocka_unit_test_setup_teardown(fixed_d72, open_cpu, close_cpu),
        cmocka_unit_test_setup_teardown(fixed_d128, open_cpu, close_cpu),
        cmocka_unit_test_setup_teardown(ragged, open_cpu, close_cpu),
    };
    return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
