/* SPDX-License-Identifier: Apache-2.0
 *
 * faults DEVICE LIBRARY: what a backend does when its driver fails. The library, which the backend opens in place of
 * its driver, fails the n-th call, for every n that a piece of real work reaches; each time skv must report it, leave
 * no object behind, and not crash. Every n runs in a process of its own, since drivers and what the library knows of
 * them live as long as one.
 */
#include <ctype.h>
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <skv/skv.h>

/* Ends of a child. */
enum outcome { DONE, REPORTED, NO_DEVICE, NO_MESSAGE, LEAK, NOT_REPORTED, WRONG_RESULT, DIED, NO_LIBRARY };

static const char *device_id, *library_path;
/* The variable that names it. */
static char variable[32];

#define D 128
#define KEPT 40
#define N_TOKENS 40

static skv_status make_buffer(skv_device *device, uint64_t n_bytes, skv_buffer **buffer)
{
    skv_buffer_params params = {.struct_size = sizeof params, .bytes = n_bytes};
    return skv_buffer_create(device, &params, buffer);
}

struct objects {
    skv_device *device;
    skv_queue *queue;
    skv_layout *layout;
    skv_timer *timer;
    skv_buffer *rows, *pages, *table, *q, *out, *workspace[2];
};

#define TRY(call)                    \
    do {                             \
        skv_status status_ = (call); \
        if (status_ != SKV_OK)       \
            return status_;          \
    } while (0)

/* Compresses rows, attends to them in parts and as the device likes, times it and reads the result. */
static skv_status work(struct objects *o, float *out)
{
    static uint16_t rows[N_TOKENS * D], q[D];
    const int32_t table = 0;
    uint64_t pool_bytes, workspace_bytes, nanoseconds;
    for (int i = 0; i < N_TOKENS * D; i++)
        rows[i] = (uint16_t)(0x3800 + i % 257);
    for (int i = 0; i < D; i++)
        q[i] = 0x3800;
    TRY(skv_queue_create(o->device, NULL, &o->queue));
    skv_layout_params shape = {.struct_size = sizeof shape, .head_dim = D, .n_kv_heads = 1, .kept = KEPT};
    TRY(skv_layout_create(&shape, &o->layout));
    TRY(skv_layout_pool_bytes(o->layout, 1, &pool_bytes));
    TRY(make_buffer(o->device, sizeof rows, &o->rows));
    TRY(make_buffer(o->device, pool_bytes, &o->pages));
    TRY(make_buffer(o->device, sizeof table, &o->table));
    TRY(make_buffer(o->device, sizeof q, &o->q));
    TRY(make_buffer(o->device, D * sizeof *out, &o->out));
    TRY(skv_buffer_write(o->queue, (skv_span){o->rows, 0}, rows, sizeof rows));
    TRY(skv_buffer_write(o->queue, (skv_span){o->table, 0}, &table, sizeof table));
    TRY(skv_buffer_fill(o->queue, (skv_span){o->q, 0}, 0x38, sizeof q));
    TRY(skv_timer_create(o->device, &o->timer));
    TRY(skv_timer_start(o->timer, o->queue));
    skv_compress_params put = {.struct_size = sizeof put,
                               .n_tokens = N_TOKENS,
                               .in = {{o->rows, 0}, 0, 0},
                               .pool = {o->layout, {o->pages, 0}, 1}};
    TRY(skv_compress(o->queue, &put));
    skv_attend_params attend = {.struct_size = sizeof attend,
                                .n_seqs = 1,
                                .n_new = 1,
                                .n_q_heads = 1,
                                .n_kv_heads = 1,
                                .head_dim = D,
                                .out_dtype = SKV_F32,
                                .q = {o->q, 0},
                                .out = {o->out, 0},
                                .k_pool = put.pool,
                                .v_pool = put.pool,
                                .k_blocks = {o->table, 0},
                                .max_cache_tokens = N_TOKENS,
                                .split_tokens = 32};
    for (int i = 0; i < 2; i++) {
        TRY(skv_attend_workspace(o->device, &attend, &workspace_bytes));
        if (workspace_bytes)
            TRY(make_buffer(o->device, workspace_bytes, &o->workspace[i]));
        attend.workspace.buffer = o->workspace[i];
        TRY(skv_attend(o->queue, &attend));
        attend.split_tokens = 0;
    }
    TRY(skv_timer_stop(o->timer, o->queue));
    TRY(skv_timer_read(o->timer, &nanoseconds));
    TRY(skv_queue_finish(o->queue));
    return skv_buffer_read(o->queue, out, (skv_span){o->out, 0}, D * sizeof *out);
}

static void destroy(struct objects *o)
{
    skv_buffer *const buffers[] = {o->rows, o->pages, o->table, o->q, o->out, o->workspace[0], o->workspace[1]};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        skv_buffer_destroy(buffers[i]);
    skv_timer_destroy(o->timer);
    skv_queue_destroy(o->queue);
    skv_layout_destroy(o->layout);
    skv_device_release(o->device);
}

/* In the child: does the work with the n-th call failing. */
static enum outcome run(int n)
{
    void (*fail_at)(long n);
    long (*n_calls)(void), (*n_live)(void);
    setenv(variable, library_path, 1);
    void *library = dlopen(library_path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return NO_LIBRARY;
    *(void **)&fail_at = dlsym(library, "skv_fake_fail_at");
    *(void **)&n_calls = dlsym(library, "skv_fake_calls");
    *(void **)&n_live = dlsym(library, "skv_fake_live");
    fail_at(n);
    struct objects objects = {0};
    float out[D];
    skv_device_params params = {.struct_size = sizeof params, .id = device_id};
    skv_status status = skv_device_open(&params, &objects.device);
    bool no_device = status == SKV_ERROR_NOT_FOUND && n == 0;
    if (status == SKV_OK)
        status = work(&objects, out);
    bool has_message = skv_error_message()[0] != '\0', right = true;
    if (status == SKV_OK) {
        /* Of each row's channels, all between 0.5 and 0.63, KEPT survive. */
        float sum = 0;
        for (int i = 0; i < D; i++)
            sum += out[i];
        right = sum > 0.5f * KEPT && sum < 0.63f * KEPT;
    }
    long n_before = n_calls();
    destroy(&objects);
    if (no_device)
        return NO_DEVICE;
    /* What a queue, a timer or a device holds stays where the driver does not let its context be entered to free it. */
    if (n_live() > (n > n_before ? 2 : 0))
        return LEAK;
    if (!right)
        return WRONG_RESULT;
    if (status != SKV_OK)
        return has_message ? REPORTED : NO_MESSAGE;
    return n_calls() < n || n == 0 ? DONE : NOT_REPORTED;
}

static int outcome_of(int n)
{
    fflush(NULL);
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit((int)run(n));
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return DIED;
    return WEXITSTATUS(status);
}

static void every_call(void **state)
{
    (void)state;
    int outcome, n_reported = 0, n = 1;
    assert_int_equal(outcome_of(0), DONE);
    for (; (outcome = outcome_of(n)) != DONE; n++) {
        /* A failing question about a device, or a failing cache, costs a word of a description and no more. */
        if (outcome != REPORTED && outcome != NOT_REPORTED)
            fail_msg("call %d failing: outcome %d (3: no message, 4: objects left behind, 6: a wrong result, 7: died)",
                     n, outcome);
        n_reported += outcome == REPORTED;
        assert_true(n < 2000);
    }
    print_message("# %d calls, %d of them reported when they fail\n", n - 1, n_reported);
    assert_true(n_reported > 40);
}

static void no_driver(void **state)
{
    (void)state;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        skv_device *device = NULL;
        skv_device_params params = {.struct_size = sizeof params, .id = device_id};
        setenv(variable, "/nonexistent/driver.so", 1);
        skv_status status = skv_device_open(&params, &device);
        _exit(status == SKV_ERROR_NOT_FOUND && strstr(skv_error_message(), "/nonexistent/driver.so") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: faults DEVICE LIBRARY\n", stderr);
        return 2;
    }
    device_id = argv[1];
    library_path = argv[2];
    snprintf(variable, sizeof variable, "SKV_%.*s_LIBRARY", (int)strcspn(device_id, ":"), device_id);
    for (char *c = variable; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    if (outcome_of(0) == NO_DEVICE) {
        fprintf(stderr, "faults: skipped: no device \"%s\"\n", device_id);
        return 77;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_driver), cmocka_unit_test(every_call)};
    return cmocka_run_group_tests_name(device_id, tests, NULL, NULL);
}
