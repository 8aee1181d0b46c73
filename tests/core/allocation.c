/* SPDX-License-Identifier: Apache-2.0
 *
 * Every allocation of a whole session fails once: the call that needed it says so, and nothing leaks
 * (AddressSanitizer).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <skv/skv.h>

#include "core/alloc.h"

/* Opens, makes and frees one of everything; the status of the first call that failed. */
static skv_status session(void)
{
    skv_device_params device_params = {.struct_size = sizeof device_params, .id = "cpu", .cpu_threads = 2};
    skv_buffer_params buffer_params = {.struct_size = sizeof buffer_params, .bytes = 8 << 20};
    skv_layout_params layout_params = {.struct_size = sizeof layout_params, .head_dim = 64, .n_kv_heads = 2, .kept = 9};
    skv_device *device = NULL;
    skv_queue *queue = NULL;
    skv_buffer *buffer = NULL;
    skv_timer *timer = NULL;
    skv_layout *layout = NULL;
    skv_status status = skv_device_open(&device_params, &device);
    if (status == SKV_OK)
        status = skv_queue_create(device, NULL, &queue);
    if (status == SKV_OK)
        status = skv_buffer_create(device, &buffer_params, &buffer);
    if (status == SKV_OK)
        status = skv_timer_create(device, &timer);
    if (status == SKV_OK)
        status = skv_layout_create(&layout_params, &layout);
    skv_layout_destroy(layout);
    skv_timer_destroy(timer);
    skv_buffer_destroy(buffer);
    skv_queue_destroy(queue);
    skv_device_release(device);
    return status;
}

static void each_fails_once(void **state)
{
    (void)state;
    long n = 0;
    for (;; n++) {
        skv_alloc_fail_after(n);
        skv_status status = session();
        skv_alloc_fail_after(-1);
        if (status == SKV_OK)
            break;
        assert_int_equal(status, SKV_ERROR_OUT_OF_MEMORY);
        assert_string_not_equal(skv_error_message(), "");
    }
    /* device, pool, queue, buffer object, its memory, timer, layout */
    assert_int_equal(n, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_fails_once)};
    return cmocka_run_group_tests_name("allocation", tests, NULL, NULL);
}
