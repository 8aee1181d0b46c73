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

enum { N_TOKENS = 1000, N_BLOCKS = 16, OUT_FLOATS_MAX = 5 * 8 * 512 };

struct shape {
    uint32_t head_dim, n_heads, group;
};

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
static void session(const skv_device_params *device_params, struct shape shape, float out[OUT_FLOATS_MAX])
{
    const size_t out_bytes = (size_t)shape.n_heads * shape.group * shape.head_dim * sizeof *out;
    const size_t n_values = (size_t)N_TOKENS * shape.n_heads * shape.head_dim;
    skv_device *device;
    skv_queue *queue;
    skv_layout *layout;
    uint64_t pool_bytes, workspace_bytes;
    skv_layout_params layout_params = {
        .struct_size = sizeof layout_params, .head_dim = shape.head_dim, .n_kv_heads = shape.n_heads, .kept = 20};
    assert_int_equal(skv_device_open(device_params, &device), SKV_OK);
    assert_int_equal(skv_queue_create(device, NULL, &queue), SKV_OK);
    assert_int_equal(skv_layout_create(&layout_params, &layout), SKV_OK);
    assert_int_equal(skv_layout_pool_bytes(layout, N_BLOCKS, &pool_bytes), SKV_OK);
    skv_buffer *rows = make(device, 2 * n_values), *pages = make(device, pool_bytes);
    skv_buffer *table = make(device, N_BLOCKS * 4), *result = make(device, out_bytes);
    uint16_t *values = skv_buffer_host(rows);
    uint32_t state = 12345;
    for (size_t i = 0; i < n_values; i++) {
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
                                .n_q_heads = shape.n_heads * shape.group,
                                .n_kv_heads = shape.n_heads,
                                .head_dim = shape.head_dim,
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
    memcpy(out, skv_buffer_host(result), out_bytes);
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
    /* The number of threads decides how many heads a task takes; of the second shape not all of them fit one pass. */
    static const struct shape shapes[] = {{64, 3, 2}, {512, 5, 8}};
    static float by_one[OUT_FLOATS_MAX], by_three[OUT_FLOATS_MAX], by_host[OUT_FLOATS_MAX];
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        skv_device_params params = {.struct_size = sizeof params, .id = "cpu", .cpu_threads = 1};
        session(&params, shapes[i], by_one);
        params.cpu_threads = 3;
        session(&params, shapes[i], by_three);
        assert_memory_equal(by_one, by_three, sizeof by_one);
        skv_executor executor = {run_backwards, &n_runs, 5};
        params.cpu_executor = &executor;
        n_runs = n_tasks_seen = 0;
        session(&params, shapes[i], by_host);
        assert_memory_equal(by_one, by_host, sizeof by_one);
        /* compress, attend and its merge; 4 splits of all heads among the tasks */
        assert_true(n_runs >= 2);
        assert_true(n_tasks_seen >= 4 * shapes[i].n_heads);
    }
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
