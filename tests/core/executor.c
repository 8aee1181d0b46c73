/* SPDX-License-Identifier: Apache-2.0
 *
 * The host application's own threads: every task runs exactly once whatever the order, and results do not depend on it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <skv/skv.h>

enum { HEAD_DIM = 64, N_HEADS = 3, GROUP = 2, N_TOKENS = 1000, N_BLOCKS = 16 };
enum { ROWS_BYTES = N_TOKENS * N_HEADS * HEAD_DIM * 2, OUT_FLOATS = N_HEADS * GROUP * HEAD_DIM };

static size_t n_runs, n_tasks_seen;

/* Last task first. */
static void run_backwards(void *user, void (*task)(void *context, size_t i_task), void *context, size_t n_tasks)
{
    assert_ptr_equal(user, &n_runs);
    n_runs++;
    n_tasks_seen += n_tasks;
    while (n_tasks > 0)
        task(context, --n_tasks);
}

static skv_buffer *make(skv_device *device, uint64_t n_bytes)
{
    skv_buffer_params params = {.struct_size = sizeof params, .bytes = n_bytes};
    skv_buffer *buffer;
    assert_int_equal(skv_buffer_create(device, &params, &buffer), SKV_OK);
    return buffer;
}

/* Compresses and attends fixed inputs on a device opened with these parameters. */
static void session(const skv_device_params *device_params, float out[OUT_FLOATS])
{
    skv_device *device;
    skv_queue *queue;
    skv_layout *layout;
    uint64_t pool_bytes, workspace_bytes;
    skv_layout_params layout_params = {
        .struct_size = sizeof layout_params, .head_dim = HEAD_DIM, .n_kv_heads = N_HEADS, .kept = 20};
    assert_int_equal(skv_device_open(device_params, &device), SKV_OK);
    assert_int_equal(skv_queue_create(device, NULL, &queue), SKV_OK);
    assert_int_equal(skv_layout_create(&layout_params, &layout), SKV_OK);
    assert_int_equal(skv_layout_pool_bytes(layout, N_BLOCKS, &pool_bytes), SKV_OK);
    skv_buffer *rows = make(device, ROWS_BYTES), *pages = make(device, pool_bytes);
    skv_buffer *table = make(device, N_BLOCKS * 4), *result = make(device, OUT_FLOATS * 4);
    uint16_t *values = skv_buffer_host(rows);
    uint32_t state = 12345;
    for (size_t i = 0; i < ROWS_BYTES / 2; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = (uint16_t)((state >> 16 & 0x8000) | (0x3000 + (state >> 20)));
    }
    for (int32_t i = 0; i < N_BLOCKS; i++)
        ((int32_t *)skv_buffer_host(table))[i] = i;
    skv_pool pool = {layout, {pages, 0}, N_BLOCKS};
    skv_compress_params compress = {
        .struct_size = sizeof compress, .n_tokens = N_TOKENS, .in = {{rows, 0}, 0, 0}, .pool = pool};
    assert_int_equal(skv_compress(queue, &compress), SKV_OK);
    skv_attend_params attend = {.struct_size = sizeof attend,
                                .n_seqs = 1,
                                .n_new = 1,
                                .n_q_heads = N_HEADS * GROUP,
                                .n_kv_heads = N_HEADS,
                                .head_dim = HEAD_DIM,
                                .out_dtype = SKV_F32,
                                .q = {rows, 0},
                                .out = {result, 0},
                                .k_pool = pool,
                                .v_pool = pool,
                                .k_blocks = {table, 0},
                                .max_cache_tokens = N_TOKENS};
    assert_int_equal(skv_attend_workspace(device, &attend, &workspace_bytes), SKV_OK);
    assert_true(workspace_bytes > 0);
    attend.workspace.buffer = make(device, workspace_bytes);
    assert_int_equal(skv_attend(queue, &attend), SKV_OK);
    memcpy(out, skv_buffer_host(result), OUT_FLOATS * sizeof *out);
    skv_buffer *const buffers[] = {rows, pages, table, result, attend.workspace.buffer};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        skv_buffer_destroy(buffers[i]);
    skv_layout_destroy(layout);
    skv_queue_destroy(queue);
    skv_device_release(device);
}

static void same_bits_on_any_threads(void **state)
{
    (void)state;
    static float by_one[OUT_FLOATS], by_three[OUT_FLOATS], by_host[OUT_FLOATS];
    skv_device_params params = {.struct_size = sizeof params, .id = "cpu", .cpu_threads = 1};
    session(&params, by_one);
    params.cpu_threads = 3;
    session(&params, by_three);
    assert_memory_equal(by_one, by_three, sizeof by_one);
    skv_executor executor = {run_backwards, &n_runs, 5};
    params.cpu_executor = &executor;
    session(&params, by_host);
    assert_memory_equal(by_one, by_host, sizeof by_one);
    /* compress, attend and its merge; 4 splits of 3 heads among the tasks */
    assert_true(n_runs >= 2);
    assert_true(n_tasks_seen >= 12);
}

static void bad_executors(void **state)
{
    (void)state;
    skv_device *device;
    skv_executor executor = {NULL, NULL, 1};
    skv_device_params params = {.struct_size = sizeof params, .id = "cpu", .cpu_executor = &executor};
    assert_int_equal(skv_device_open(&params, &device), SKV_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(skv_error_message(), "cpu_executor->run"));
    executor = (skv_executor){run_backwards, NULL, 0};
    assert_int_equal(skv_device_open(&params, &device), SKV_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(skv_error_message(), "n_threads"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits_on_any_threads), cmocka_unit_test(bad_executors)};
    return cmocka_run_group_tests_name("executor", tests, NULL, NULL);
}
