/* SPDX-License-Identifier: Apache-2.0
 *
 * Bad arguments, one at a time: a valid call is spoiled in one field, and the status, the argument's name in the
 * message and the silence of the backend are checked.
 */
#include "fake.h"

#include <math.h>
#include <string.h>

/* A field of a struct and the value that spoils it, as raw bytes. */
#define FIELD(TYPE, MEMBER) offsetof(struct TYPE, MEMBER), sizeof(((struct TYPE *)0)->MEMBER)
struct spoil {
    size_t offset, bytes;
    uint64_t value;
    skv_status status;
    const char *text;
};

static void spoil(void *params, const struct spoil *how)
{
    memcpy((char *)params + how->offset, &how->value, how->bytes);
}

#define F32(BITS) (BITS)
#define BUFFER_OF(TYPE, SPAN) offsetof(struct TYPE, SPAN) + offsetof(struct skv_span, buffer), sizeof(void *)
#define OFFSET_OF(TYPE, SPAN) offsetof(struct TYPE, SPAN) + offsetof(struct skv_span, offset), sizeof(uint64_t)

static const struct spoil attend_spoils[] = {
    {FIELD(skv_attend_params, struct_size), 8, SKV_ERROR_STRUCT_SIZE, "params->struct_size"},
    {FIELD(skv_attend_params, flags), 0x80, SKV_ERROR_INVALID_ARGUMENT, "params->flags"},
    {FIELD(skv_attend_params, n_new), 0, SKV_ERROR_INVALID_ARGUMENT, "n_new"},
    {FIELD(skv_attend_params, n_new), 65, SKV_ERROR_UNSUPPORTED, "n_new"},
    {FIELD(skv_attend_params, n_q_heads), 0, SKV_ERROR_INVALID_ARGUMENT, "n_q_heads"},
    {FIELD(skv_attend_params, n_q_heads), 7, SKV_ERROR_INVALID_ARGUMENT, "n_q_heads"},
    {FIELD(skv_attend_params, n_q_heads), 200, SKV_ERROR_UNSUPPORTED, "n_q_heads / n_kv_heads"},
    {FIELD(skv_attend_params, n_kv_heads), 0, SKV_ERROR_INVALID_ARGUMENT, "n_kv_heads"},
    {FIELD(skv_attend_params, n_kv_heads), 3, SKV_ERROR_INVALID_ARGUMENT, "k_pool.layout has n_kv_heads"},
    {FIELD(skv_attend_params, head_dim), 0, SKV_ERROR_INVALID_ARGUMENT, "head_dim"},
    {FIELD(skv_attend_params, head_dim), 100, SKV_ERROR_INVALID_ARGUMENT, "head_dim"},
    {FIELD(skv_attend_params, head_dim), 1024, SKV_ERROR_INVALID_ARGUMENT, "head_dim"},
    {FIELD(skv_attend_params, head_dim), 64, SKV_ERROR_INVALID_ARGUMENT, "k_pool.layout has head_dim"},
    {FIELD(skv_attend_params, dtype), SKV_F32, SKV_ERROR_INVALID_ARGUMENT, "dtype"},
    {FIELD(skv_attend_params, dtype), 40, SKV_ERROR_INVALID_ARGUMENT, "dtype"},
    {FIELD(skv_attend_params, dtype), SKV_BF16, SKV_ERROR_INVALID_ARGUMENT, "k_pool.layout has dtype"},
    {FIELD(skv_attend_params, q_dtype), SKV_BF16, SKV_ERROR_INVALID_ARGUMENT, "q_dtype"},
    {FIELD(skv_attend_params, out_dtype), 9, SKV_ERROR_INVALID_ARGUMENT, "out_dtype"},
    {BUFFER_OF(skv_attend_params, q), 0, SKV_ERROR_INVALID_ARGUMENT, "q.buffer"},
    {OFFSET_OF(skv_attend_params, q), 1, SKV_ERROR_ALIGNMENT, "q.offset"},
    {OFFSET_OF(skv_attend_params, q), 1 << 20, SKV_ERROR_OUT_OF_BOUNDS, "q needs"},
    {OFFSET_OF(skv_attend_params, q), UINT64_MAX - 1, SKV_ERROR_OUT_OF_BOUNDS, "q needs"},
    {FIELD(skv_attend_params, q_seq_stride), UINT64_MAX, SKV_ERROR_OVERFLOW, "q"},
    {FIELD(skv_attend_params, q_seq_stride), UINT64_MAX / 2, SKV_ERROR_OVERFLOW, "q"},
    {FIELD(skv_attend_params, out_head_stride), 100, SKV_ERROR_INVALID_ARGUMENT, "out: a stride"},
    {BUFFER_OF(skv_attend_params, out), 0, SKV_ERROR_INVALID_ARGUMENT, "out.buffer"},
    {FIELD(skv_attend_params, k_pool.layout), 0, SKV_ERROR_INVALID_ARGUMENT, "k_pool.layout"},
    {FIELD(skv_attend_params, v_pool.layout), 0, SKV_ERROR_INVALID_ARGUMENT, "v_pool.layout"},
    {FIELD(skv_attend_params, k_pool.n_blocks), 0, SKV_ERROR_INVALID_ARGUMENT, "k_pool.n_blocks"},
    {FIELD(skv_attend_params, k_pool.n_blocks), 10000, SKV_ERROR_OUT_OF_BOUNDS, "k_pool needs"},
    {FIELD(skv_attend_params, k_pool.n_blocks), UINT64_MAX, SKV_ERROR_OVERFLOW, "n_blocks"},
    {OFFSET_OF(skv_attend_params, k_pool.pages), 8, SKV_ERROR_ALIGNMENT, "k_pool.offset"},
    {BUFFER_OF(skv_attend_params, k_blocks), 0, SKV_ERROR_INVALID_ARGUMENT, "k_blocks.buffer"},
    {OFFSET_OF(skv_attend_params, k_blocks), 2, SKV_ERROR_ALIGNMENT, "k_blocks.offset"},
    {FIELD(skv_attend_params, block_stride), 9, SKV_ERROR_INVALID_ARGUMENT, "block_stride"},
    {FIELD(skv_attend_params, block_stride), UINT64_MAX, SKV_ERROR_OVERFLOW, "block_stride"},
    {FIELD(skv_attend_params, max_cache_tokens), 1ull << 31, SKV_ERROR_OVERFLOW, "max_cache_tokens"},
    {FIELD(skv_attend_params, max_tail_tokens), 1ull << 31, SKV_ERROR_OVERFLOW, "max_tail_tokens"},
    {BUFFER_OF(skv_attend_params, k_tail), 0, SKV_ERROR_INVALID_ARGUMENT, "k_tail.buffer"},
    {BUFFER_OF(skv_attend_params, v_tail), 0, SKV_ERROR_INVALID_ARGUMENT, "v_tail.buffer"},
    {FIELD(skv_attend_params, scale), F32(0x7f800000), SKV_ERROR_INVALID_ARGUMENT, "scale"},
    {FIELD(skv_attend_params, softcap), F32(0xbf800000), SKV_ERROR_INVALID_ARGUMENT, "softcap"},
    {FIELD(skv_attend_params, softcap), F32(0x7fc00000), SKV_ERROR_INVALID_ARGUMENT, "softcap"},
    {FIELD(skv_attend_params, sink_tokens), 4, SKV_ERROR_INVALID_ARGUMENT, "sink_tokens"},
    {FIELD(skv_attend_params, split_tokens), 33, SKV_ERROR_INVALID_ARGUMENT, "split_tokens"},
    {FIELD(skv_attend_params, reserved), 1, SKV_ERROR_INVALID_ARGUMENT, "reserved"},
    {BUFFER_OF(skv_attend_params, workspace), 0, SKV_ERROR_INVALID_ARGUMENT, "workspace.buffer"},
    {OFFSET_OF(skv_attend_params, workspace), 32, SKV_ERROR_ALIGNMENT, "workspace.offset"},
};

static void attend_errors(void **state)
{
    struct fixture *fixture = *state;
    const skv_attend_params valid = fake_attend_params(fixture);
    for (size_t i = 0; i < sizeof attend_spoils / sizeof attend_spoils[0]; i++) {
        skv_attend_params params = valid;
        spoil(&params, &attend_spoils[i]);
        expect_failure(skv_attend(fixture->queue, &params), attend_spoils[i].status, attend_spoils[i].text);
    }
    expect_failure(skv_attend(NULL, &valid), SKV_ERROR_INVALID_ARGUMENT, "queue");
    expect_failure(skv_attend(fixture->queue, NULL), SKV_ERROR_INVALID_ARGUMENT, "params");
    assert_int_equal(skv_attend(fixture->queue, &valid), SKV_OK);
}

static const struct spoil compress_spoils[] = {
    {FIELD(skv_compress_params, flags), 0x10, SKV_ERROR_INVALID_ARGUMENT, "params->flags"},
    {FIELD(skv_compress_params, flags), SKV_COMPRESS_MEASURE, SKV_ERROR_INVALID_ARGUMENT, "row_bytes.buffer"},
    {BUFFER_OF(skv_compress_params, in.data), 0, SKV_ERROR_INVALID_ARGUMENT, "in.buffer"},
    {FIELD(skv_compress_params, n_tokens), 100000, SKV_ERROR_OUT_OF_BOUNDS, "in needs"},
    {FIELD(skv_compress_params, n_tokens), UINT64_MAX, SKV_ERROR_OVERFLOW, "in"},
    {FIELD(skv_compress_params, first_slot), 62, SKV_ERROR_OUT_OF_BOUNDS, "first_slot"},
    {FIELD(skv_compress_params, first_slot), UINT64_MAX, SKV_ERROR_OUT_OF_BOUNDS, "first_slot"},
    {OFFSET_OF(skv_compress_params, pool.pages), 4, SKV_ERROR_ALIGNMENT, "pool.offset"},
    {FIELD(skv_compress_params, select.strategy), 7, SKV_ERROR_INVALID_ARGUMENT, "select.strategy"},
    {FIELD(skv_compress_params, select.strategy), SKV_THRESHOLD, SKV_ERROR_INVALID_ARGUMENT, "ragged layout"},
    {FIELD(skv_compress_params, select.strategy), SKV_TOKEN_WEIGHTED, SKV_ERROR_INVALID_ARGUMENT, "select.weights"},
    {FIELD(skv_compress_params, select.kept), 39, SKV_ERROR_INVALID_ARGUMENT, "select.kept"},
    {FIELD(skv_compress_params, select.kept), 129, SKV_ERROR_INVALID_ARGUMENT, "select.kept"},
    {FIELD(skv_compress_params, select.group_tokens), 32, SKV_ERROR_INVALID_ARGUMENT, "select.group_tokens"},
    {FIELD(skv_compress_params, select.protect_tokens), 1, SKV_ERROR_INVALID_ARGUMENT, "select.protect_tokens"},
    {FIELD(skv_compress_params, select.reserved), 1, SKV_ERROR_INVALID_ARGUMENT, "select.reserved"},
};

static void compress_errors(void **state)
{
    struct fixture *fixture = *state;
    const skv_compress_params valid = {.struct_size = sizeof valid,
                                       .n_tokens = 5,
                                       .in = {{fixture->buffer, 0}, 0, 0},
                                       .pool = {fixture->layout, {fixture->buffer, 0}, 1}};
    for (size_t i = 0; i < sizeof compress_spoils / sizeof compress_spoils[0]; i++) {
        skv_compress_params params = valid;
        spoil(&params, &compress_spoils[i]);
        expect_failure(skv_compress(fixture->queue, &params), compress_spoils[i].status, compress_spoils[i].text);
    }
    skv_compress_params ragged = valid;
    ragged.pool.layout = fixture->ragged;
    expect_failure(skv_compress(fixture->queue, &ragged), SKV_ERROR_INVALID_ARGUMENT, "select.kept");
    ragged.select = (skv_select){.strategy = SKV_CHANNEL_MAGNITUDE, .kept = 33};
    expect_failure(skv_compress(fixture->queue, &ragged), SKV_ERROR_INVALID_ARGUMENT, "select.kept");
    ragged.select = (skv_select){.strategy = SKV_CHANNEL_MAGNITUDE, .kept = 3, .group_tokens = 65};
    expect_failure(skv_compress(fixture->queue, &ragged), SKV_ERROR_INVALID_ARGUMENT, "select.group_tokens");
    ragged.select = (skv_select){.strategy = SKV_THRESHOLD, .threshold = -1};
    expect_failure(skv_compress(fixture->queue, &ragged), SKV_ERROR_INVALID_ARGUMENT, "select.threshold");
    ragged.select = (skv_select){.strategy = SKV_MASK};
    expect_failure(skv_compress(fixture->queue, &ragged), SKV_ERROR_INVALID_ARGUMENT, "select.mask");
}

static const struct spoil layout_spoils[] = {
    {FIELD(skv_layout_params, flags), 1, SKV_ERROR_INVALID_ARGUMENT, "params->flags"},
    {FIELD(skv_layout_params, dtype), SKV_F32, SKV_ERROR_INVALID_ARGUMENT, "params->dtype"},
    {FIELD(skv_layout_params, form), 2, SKV_ERROR_INVALID_ARGUMENT, "params->form"},
    {FIELD(skv_layout_params, head_dim), 12, SKV_ERROR_INVALID_ARGUMENT, "params->head_dim"},
    {FIELD(skv_layout_params, head_dim), 520, SKV_ERROR_INVALID_ARGUMENT, "params->head_dim"},
    {FIELD(skv_layout_params, n_kv_heads), 0, SKV_ERROR_INVALID_ARGUMENT, "n_kv_heads"},
    {FIELD(skv_layout_params, n_kv_heads), 5000, SKV_ERROR_INVALID_ARGUMENT, "n_kv_heads"},
    {FIELD(skv_layout_params, kept), 0, SKV_ERROR_INVALID_ARGUMENT, "params->kept"},
    {FIELD(skv_layout_params, kept), 129, SKV_ERROR_INVALID_ARGUMENT, "params->kept"},
    {FIELD(skv_layout_params, page_tokens), 48, SKV_ERROR_INVALID_ARGUMENT, "params->page_tokens"},
    {FIELD(skv_layout_params, page_tokens), 8192, SKV_ERROR_INVALID_ARGUMENT, "params->page_tokens"},
    {FIELD(skv_layout_params, row_stride), 88, SKV_ERROR_INVALID_ARGUMENT, "params->row_stride"},
    {FIELD(skv_layout_params, row_stride), 100, SKV_ERROR_ALIGNMENT, "params->row_stride"},
    {FIELD(skv_layout_params, row_stride), 0x80000000, SKV_ERROR_OVERFLOW, "params->row_stride"},
    {FIELD(skv_layout_params, page_bytes), 8, SKV_ERROR_INVALID_ARGUMENT, "params->page_bytes"},
};

static void object_errors(void **state)
{
    struct fixture *fixture = *state;
    const skv_layout_params valid = {.struct_size = sizeof valid, .head_dim = 128, .n_kv_heads = 2, .kept = 40};
    skv_layout *layout;
    for (size_t i = 0; i < sizeof layout_spoils / sizeof layout_spoils[0]; i++) {
        skv_layout_params params = valid;
        spoil(&params, &layout_spoils[i]);
        expect_failure(skv_layout_create(&params, &layout), layout_spoils[i].status, layout_spoils[i].text);
    }
    skv_layout_params ragged = valid;
    ragged.form = SKV_RAGGED;
    ragged.page_bytes = 1272; /* 64 directory entries and 64 empty rows need 1280 */
    expect_failure(skv_layout_create(&ragged, &layout), SKV_ERROR_INVALID_ARGUMENT, "params->page_bytes");
    ragged.page_bytes = 1284;
    expect_failure(skv_layout_create(&ragged, &layout), SKV_ERROR_ALIGNMENT, "params->page_bytes");
    uint64_t n;
    uint32_t n32;
    expect_failure(skv_layout_create(&valid, NULL), SKV_ERROR_INVALID_ARGUMENT, "layout");
    expect_failure(skv_layout_pool_bytes(NULL, 1, &n), SKV_ERROR_INVALID_ARGUMENT, "layout");
    expect_failure(skv_kept_for_sparsity(128, 1.0, 0, &n32), SKV_ERROR_INVALID_ARGUMENT, "sparsity");
    expect_failure(skv_kept_for_sparsity(128, NAN, 0, &n32), SKV_ERROR_INVALID_ARGUMENT, "sparsity");
    expect_failure(skv_row_stride_for_banks(128, 0, &n32), SKV_ERROR_INVALID_ARGUMENT, "kept");

    skv_buffer *buffer;
    skv_buffer_params params = {.struct_size = sizeof params};
    expect_failure(skv_buffer_create(fixture->device, &params, &buffer), SKV_ERROR_INVALID_ARGUMENT, "params->bytes");
    params.bytes = 1ull << 41;
    expect_failure(skv_buffer_create(fixture->device, &params, &buffer), SKV_ERROR_OVERFLOW, "params->bytes");
    params.bytes = 8;
    params.host = &params;
    expect_failure(skv_buffer_create(fixture->device, &params, &buffer), SKV_ERROR_UNSUPPORTED, "params->host");
    params.native = 1;
    expect_failure(skv_buffer_create(fixture->device, &params, &buffer), SKV_ERROR_INVALID_ARGUMENT, "at most one");
    uint64_t word = 0;
    skv_span span = {fixture->buffer, (1 << 20) - 4};
    expect_failure(skv_buffer_write(fixture->queue, span, &word, 8), SKV_ERROR_OUT_OF_BOUNDS, "to needs");
    expect_failure(skv_buffer_read(fixture->queue, NULL, span, 4), SKV_ERROR_INVALID_ARGUMENT, "to");
    expect_failure(skv_buffer_copy(fixture->queue, (skv_span){fixture->buffer, 0}, (skv_span){fixture->buffer, 4}, 8),
                   SKV_ERROR_INVALID_ARGUMENT, "overlap");
    skv_timer *timer;
    assert_int_equal(skv_timer_create(fixture->device, &timer), SKV_OK);
    expect_failure(skv_timer_stop(timer, fixture->queue), SKV_ERROR_INVALID_ARGUMENT, "timer was not started");
    expect_failure(skv_timer_read(timer, &word), SKV_ERROR_INVALID_ARGUMENT, "timer was not started");
    skv_timer_destroy(timer);
}

static void other_device(void **state)
{
    struct fixture *fixture = *state;
    skv_device_params params = {.struct_size = sizeof params, .id = "fake"};
    skv_device *device;
    skv_queue *queue;
    assert_int_equal(skv_device_open(&params, &device), SKV_OK);
    assert_int_equal(skv_queue_create(device, NULL, &queue), SKV_OK);
    skv_decompress_params decompress = {.struct_size = sizeof decompress,
                                        .n_tokens = 1,
                                        .pool = {fixture->layout, {fixture->buffer, 0}, 1},
                                        .out = {{fixture->buffer, 0}, 0, 0}};
    expect_failure(skv_decompress(queue, &decompress), SKV_ERROR_WRONG_DEVICE, "pool.buffer");
    expect_failure(skv_buffer_fill(queue, (skv_span){fixture->buffer, 0}, 0, 1), SKV_ERROR_WRONG_DEVICE, "to.buffer");
    skv_queue_destroy(queue);
    skv_device_release(device);
}

/* Limits are what a device says, and the message says which. */
static void unsupported(void **state)
{
    struct fixture *fixture = *state;
    fake_limits.head_dim_max = 64;
    fake_limits.forms = 1u << SKV_FIXED;
    fake_limits.dtypes = 1u << SKV_F16;
    fake_limits.strategies = 1u << SKV_TOKEN_MAGNITUDE;
    skv_device_params device_params = {.struct_size = sizeof device_params, .id = "fake"};
    skv_buffer_params buffer_params = {.struct_size = sizeof buffer_params, .bytes = 1 << 20};
    skv_device *device;
    skv_queue *queue;
    skv_buffer *buffer;
    assert_int_equal(skv_device_open(&device_params, &device), SKV_OK);
    assert_int_equal(skv_queue_create(device, NULL, &queue), SKV_OK);
    assert_int_equal(skv_buffer_create(device, &buffer_params, &buffer), SKV_OK);
    skv_prune_params prune = {.struct_size = sizeof prune,
                              .flags = SKV_OP_CHECK,
                              .head_dim = 128,
                              .n_kv_heads = 1,
                              .n_tokens = 1,
                              .in = {{buffer, 0}, 0, 0},
                              .mask = {buffer, 0},
                              .select = {.kept = 3}};
    expect_failure(skv_prune(queue, &prune), SKV_ERROR_UNSUPPORTED, "supports up to 64");
    prune.head_dim = 64;
    prune.dtype = SKV_BF16;
    expect_failure(skv_prune(queue, &prune), SKV_ERROR_UNSUPPORTED, "dtype is bf16");
    prune.dtype = SKV_F16;
    prune.select.strategy = SKV_CHANNELS;
    expect_failure(skv_prune(queue, &prune), SKV_ERROR_UNSUPPORTED, "SKV_CHANNELS");
    skv_decompress_params decompress = {.struct_size = sizeof decompress,
                                        .n_tokens = 1,
                                        .pool = {fixture->ragged, {buffer, 0}, 1},
                                        .out = {{buffer, 0}, 0, 0}};
    expect_failure(skv_decompress(queue, &decompress), SKV_ERROR_UNSUPPORTED, "ragged");
    skv_buffer_destroy(buffer);
    skv_queue_destroy(queue);
    skv_device_release(device);
}

#define FAKE_TEST(function) cmocka_unit_test_setup_teardown(function, fake_open, fake_close)

const struct CMUnitTest error_tests[] = {FAKE_TEST(attend_errors), FAKE_TEST(compress_errors), FAKE_TEST(object_errors),
                                         FAKE_TEST(other_device), FAKE_TEST(unsupported)};
const size_t n_error_tests = sizeof error_tests / sizeof error_tests[0];
