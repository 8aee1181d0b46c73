/* SPDX-License-Identifier: Apache-2.0
 *
 * What the front end hands to a backend, and what it keeps to itself.
 */
#include "fake.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void attend_defaults(void **state)
{
    struct fixture *fixture = *state;
    skv_attend_params params = fake_attend_params(fixture);
    assert_int_equal(skv_attend(fixture->queue, &params), SKV_OK);
    const skv_attend_params *got = &fake.attend;
    assert_int_equal(got->dtype, SKV_F16);
    assert_int_equal(got->q_dtype, SKV_F16);
    assert_int_equal(got->out_dtype, SKV_F16);
    assert_int_equal(got->q_head_stride, 128);
    assert_int_equal(got->q_token_stride, 6 * 128);
    assert_int_equal(got->q_seq_stride, 6 * 128);
    assert_int_equal(got->out_token_stride, 6 * 128);
    assert_int_equal(got->tail_head_stride, 128);
    assert_int_equal(got->tail_token_stride, 2 * 128);
    assert_int_equal(got->tail_seq_stride, 30 * 2 * 128);
    assert_int_equal(got->block_stride, 10);
    assert_ptr_equal(got->v_blocks.buffer, fixture->buffer);
    assert_int_equal(got->v_blocks.offset, 4);
    assert_true(fabsf(got->scale - 0.088388348f) < 1e-8f);
    /* 630 tokens in splits of 256: 3 parts of 12 rows */
    assert_int_equal(fake.plan.split_tokens, 256);
    assert_int_equal(fake.plan.n_splits, 3);
    assert_int_equal(fake.plan.part_out_offset, 0);
    assert_int_equal(fake.plan.part_lse_offset, 3 * 12 * 128 * 4);
    assert_int_equal(fake.plan.workspace_bytes, 3 * 12 * 128 * 4 + 3 * 12 * 4);
    uint64_t n_bytes;
    assert_int_equal(skv_attend_workspace(fixture->device, &params, &n_bytes), SKV_OK);
    assert_int_equal(n_bytes, fake.plan.workspace_bytes);
    params.max_cache_tokens = 0;
    params.cache_lens = (skv_span){fixture->buffer, 0};
    assert_int_equal(skv_attend(fixture->queue, &params), SKV_OK);
    assert_null(fake.attend.cache_lens.buffer);
    assert_int_equal(fake.plan.n_splits, 1);
    assert_int_equal(fake.plan.workspace_bytes, 0);
}

static void other_defaults(void **state)
{
    struct fixture *fixture = *state;
    skv_compress_params compress = {.struct_size = sizeof compress,
                                    .n_tokens = 5,
                                    .in = {{fixture->buffer, 0}, 0, 0},
                                    .pool = {fixture->layout, {fixture->buffer, 0}, 1}};
    assert_int_equal(skv_compress(fixture->queue, &compress), SKV_OK);
    assert_int_equal(fake.compress.in.head_stride, 128);
    assert_int_equal(fake.compress.in.token_stride, 256);
    assert_int_equal(skv_select_kept(&fake.compress.select, 1), 40);
    compress.pool.layout = fixture->ragged;
    compress.select = (skv_select){.strategy = SKV_CHANNEL_MAGNITUDE, .kept = 16};
    assert_int_equal(skv_compress(fixture->queue, &compress), SKV_OK);
    assert_int_equal(fake.compress.select.group_tokens, 32);
    skv_decompress_params decompress = {.struct_size = sizeof decompress,
                                        .n_tokens = 5,
                                        .pool = {fixture->layout, {fixture->buffer, 0}, 1},
                                        .out = {{fixture->buffer, 0}, 0, 1280}};
    assert_int_equal(skv_decompress(fixture->queue, &decompress), SKV_OK);
    assert_int_equal(fake.decompress.out.head_stride, 1280);
    assert_int_equal(fake.decompress.out.token_stride, 256);
    skv_prune_params prune = {.struct_size = sizeof prune,
                              .head_dim = 64,
                              .n_kv_heads = 3,
                              .n_tokens = 2,
                              .in = {{fixture->buffer, 0}, 0, 0},
                              .mask = {fixture->buffer, 8},
                              .select = {.kept = 7}};
    assert_int_equal(skv_prune(fixture->queue, &prune), SKV_OK);
    assert_int_equal(fake.prune.dtype, SKV_F16);
    assert_int_equal(fake.prune.in.token_stride, 192);
    skv_merge_params merge = {.struct_size = sizeof merge,
                              .head_dim = 64,
                              .n_parts = 2,
                              .n_rows = 3,
                              .part_out = {fixture->buffer, 0},
                              .part_lse = {fixture->buffer, 0},
                              .out = {fixture->buffer, 0}};
    assert_int_equal(skv_merge(fixture->queue, &merge), SKV_OK);
    assert_int_equal(fake.merge.out_dtype, SKV_F32);
}

/* Asking whether, and asking for nothing, reach no backend. */
static void nothing_is_enqueued(void **state)
{
    struct fixture *fixture = *state;
    skv_attend_params attend = fake_attend_params(fixture);
    attend.flags = SKV_OP_CHECK;
    assert_int_equal(skv_attend(fixture->queue, &attend), SKV_OK);
    attend.flags = 0;
    attend.n_seqs = 0;
    assert_int_equal(skv_attend(fixture->queue, &attend), SKV_OK);
    skv_compress_params compress = {.struct_size = sizeof compress,
                                    .flags = SKV_OP_CHECK,
                                    .n_tokens = 5,
                                    .in = {{fixture->buffer, 0}, 0, 0},
                                    .pool = {fixture->layout, {fixture->buffer, 0}, 1}};
    assert_int_equal(skv_compress(fixture->queue, &compress), SKV_OK);
    compress.flags = 0;
    compress.n_tokens = 0;
    assert_int_equal(skv_compress(fixture->queue, &compress), SKV_OK);
    assert_int_equal(skv_buffer_write(fixture->queue, (skv_span){fixture->buffer, 0}, NULL, 0), SKV_OK);
    assert_int_equal(fake.n_calls, 0);
}

static void failure_passes_through(void **state)
{
    struct fixture *fixture = *state;
    skv_attend_params attend = fake_attend_params(fixture);
    fake.fail = SKV_ERROR_DEVICE_LOST;
    assert_int_equal(skv_attend(fixture->queue, &attend), SKV_ERROR_DEVICE_LOST);
    assert_string_equal(skv_error_message(), "the fake was told to fail");
    fake.fail = SKV_ERROR_DEVICE;
    assert_int_equal(skv_queue_finish(fixture->queue), SKV_ERROR_DEVICE);
}

/* A caller compiled against a later header: unknown fields are fine while they are zero. */
static void struct_growth(void **state)
{
    struct fixture *fixture = *state;
    struct {
        skv_attend_params now;
        uint64_t later;
    } grown = {fake_attend_params(fixture), 0};
    grown.now.struct_size = sizeof grown;
    assert_int_equal(skv_attend(fixture->queue, &grown.now), SKV_OK);
    fake.n_calls = 0;
    grown.later = 1;
    expect_failure(skv_attend(fixture->queue, &grown.now), SKV_ERROR_STRUCT_SIZE, "does not know");
    grown.now.struct_size = sizeof grown.now - 1;
    expect_failure(skv_attend(fixture->queue, &grown.now), SKV_ERROR_STRUCT_SIZE, "params->struct_size");
    struct {
        skv_limits now;
        uint64_t later;
    } info = {{.struct_size = sizeof info}, 99};
    assert_int_equal(skv_device_get_limits(fixture->device, &info.now), SKV_OK);
    assert_int_equal(info.now.group_max, 64);
    assert_int_equal(info.now.struct_size, sizeof info);
    assert_int_equal(info.later, 0);
}

/* Objects keep their device alive. */
static void references(void **state)
{
    struct fixture *fixture = *state;
    skv_device_params params = {.struct_size = sizeof params, .id = "fake:1"};
    skv_buffer_params buffer_params = {.struct_size = sizeof buffer_params, .bytes = 1};
    skv_device *device;
    skv_buffer *buffer;
    skv_timer *timer;
    unsigned before = fake.n_open;
    (void)fixture;
    assert_int_equal(skv_device_open(&params, &device), SKV_OK);
    assert_int_equal(skv_buffer_create(device, &buffer_params, &buffer), SKV_OK);
    assert_int_equal(skv_timer_create(device, &timer), SKV_OK);
    skv_device_release(device);
    assert_int_equal(fake.n_open, before + 3);
    skv_timer_destroy(timer);
    assert_int_equal(fake.n_open, before + 2);
    skv_buffer_destroy(buffer);
    assert_int_equal(fake.n_open, before);
}

static void devices(void **state)
{
    (void)state;
    skv_backend_info backend = {.struct_size = sizeof backend};
    assert_int_equal(skv_backend_get_info(skv_backend_count() - 1, &backend), SKV_OK);
    assert_string_equal(backend.name, "fake");
    assert_int_equal(backend.n_devices, 2);
    skv_device_info info = {.struct_size = sizeof info};
    assert_int_equal(skv_device_find(skv_device_count() - 2, &info), SKV_OK);
    assert_string_equal(info.id, "fake:0");
    assert_int_equal(info.usable, 0);
    skv_device_params params = {.struct_size = sizeof params, .id = "fake:0"};
    skv_device *device;
    expect_failure(skv_device_open(&params, &device), SKV_ERROR_NOT_FOUND, "it is broken on purpose");
    params.id = "fake:7";
    expect_failure(skv_device_open(&params, &device), SKV_ERROR_NOT_FOUND, "fake:7");
    params.id = NULL;
    setenv("SKV_DEVICE", "nothing", 1);
    expect_failure(skv_device_open(&params, &device), SKV_ERROR_NOT_FOUND, "SKV_DEVICE is \"nothing\"");
    setenv("SKV_DEVICE", "fake:1", 1);
    assert_int_equal(skv_device_open(&params, &device), SKV_OK);
    unsetenv("SKV_DEVICE");
    assert_int_equal(skv_device_get_info(device, &info), SKV_OK);
    assert_string_equal(info.id, "fake:1");
    skv_device_release(device);
}

static struct {
    unsigned n[5];
    char last[640];
} logged;

static void on_log(void *user, skv_log_level level, const char *message)
{
    assert_ptr_equal(user, &logged);
    logged.n[level]++;
    strncpy(logged.last, message, sizeof logged.last - 1);
}

static void log_levels(void **state)
{
    struct fixture *fixture = *state;
    memset(&logged, 0, sizeof logged);
    skv_log_set(on_log, &logged, SKV_LOG_ERROR);
    assert_int_equal(skv_queue_finish(NULL), SKV_ERROR_INVALID_ARGUMENT);
    assert_int_equal(logged.n[SKV_LOG_ERROR], 1);
    assert_string_equal(logged.last, skv_error_message());
    skv_device_params params = {.struct_size = sizeof params, .id = "fake"};
    skv_device *device;
    assert_int_equal(skv_device_open(&params, &device), SKV_OK);
    skv_device_release(device);
    assert_int_equal(logged.n[SKV_LOG_INFO], 0);
    skv_log_set(on_log, &logged, SKV_LOG_DEBUG);
    assert_int_equal(skv_device_open(&params, &device), SKV_OK);
    skv_device_release(device);
    assert_int_equal(logged.n[SKV_LOG_INFO], 1);
    skv_log_set(NULL, NULL, SKV_LOG_DEBUG);
    assert_int_equal(skv_queue_finish(NULL), SKV_ERROR_INVALID_ARGUMENT);
    assert_int_equal(logged.n[SKV_LOG_ERROR], 1);
    (void)fixture;
}

static void *fail_elsewhere(void *argument)
{
    assert_string_equal(skv_error_message(), "");
    (void)skv_device_find(123456, argument);
    assert_non_null(strstr(skv_error_message(), "123456"));
    return NULL;
}

static void messages_are_per_thread(void **state)
{
    (void)state;
    skv_device_info info = {.struct_size = sizeof info};
    assert_int_equal(skv_queue_finish(NULL), SKV_ERROR_INVALID_ARGUMENT);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, &info), 0);
    pthread_join(thread, NULL);
    assert_string_equal(skv_error_message(), "queue is NULL; it must not be");
}

static void statuses_have_names(void **state)
{
    (void)state;
    for (int status = 0; status <= SKV_ERROR_DEVICE_LOST; status++)
        assert_string_not_equal(skv_status_name((skv_status)status), "unknown status");
    assert_string_equal(skv_status_name((skv_status)99), "unknown status");
    assert_int_equal(skv_version(), SKV_VERSION);
    assert_int_equal(skv_dtype_bytes(SKV_BF16), 2);
    assert_int_equal(skv_dtype_bytes((skv_dtype)77), 0);
}

#define FAKE_TEST(function) cmocka_unit_test_setup_teardown(function, fake_open, fake_close)

const struct CMUnitTest front_end_tests[] = {
    FAKE_TEST(attend_defaults),
    FAKE_TEST(other_defaults),
    FAKE_TEST(nothing_is_enqueued),
    FAKE_TEST(failure_passes_through),
    FAKE_TEST(struct_growth),
    FAKE_TEST(references),
    FAKE_TEST(devices),
    FAKE_TEST(log_levels),
    FAKE_TEST(messages_are_per_thread),
    FAKE_TEST(statuses_have_names),
};
const size_t n_front_end_tests = sizeof front_end_tests / sizeof front_end_tests[0];
