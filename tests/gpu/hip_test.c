/* SPDX-License-Identifier: Apache-2.0
 *
 * hip-test LIBRARY: what the HIP backend does besides computing, over the fake driver: devices, streams, memory and
 * recordings of the caller's, and devices for which there is no code.
 */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/hip/hip.h"
#include "tests/gpu/hip_choice_test.h"

#define FUNCTIONS(X)                                                       \
    X(hipInit, (unsigned))                                                 \
    X(hipGetDevice, (int *))                                               \
    X(hipSetDevice, (int))                                                 \
    X(hipMalloc, (void **, size_t))                                        \
    X(hipFree, (void *))                                                   \
    X(hipMemcpyAsync, (void *, const void *, size_t, int, void *))         \
    X(hipStreamCreateWithFlags, (void **, unsigned))                       \
    X(hipStreamDestroy, (void *))                                          \
    X(hipStreamSynchronize, (void *))                                      \
    X(hipStreamBeginCapture, (void *, int))                                \
    X(hipStreamEndCapture, (void *, void **))                              \
    X(hipGraphInstantiateWithFlags, (void **, void *, unsigned long long)) \
    X(hipGraphLaunch, (void *, void *))                                    \
    X(hipGraphDestroy, (void *))                                           \
    X(hipGraphExecDestroy, (void *))
#define DECLARE(name, parameters) static int(*name) parameters;
FUNCTIONS(DECLARE)
static long (*n_live)(void);

enum { D = 64, KEPT = 24, N_TOKENS = 40, TO_DEVICE = 1, TO_HOST = 2 };

static skv_device *open_device(const char *id)
{
    skv_device *device = NULL;
    skv_device_params params = {.struct_size = sizeof params, .id = id};
    assert_int_equal(skv_device_open(&params, &device), SKV_OK);
    return device;
}

static skv_buffer *wrap(skv_device *device, void *memory, uint64_t n_bytes)
{
    skv_buffer *buffer = NULL;
    skv_buffer_params params = {.struct_size = sizeof params, .bytes = n_bytes, .native = (uintptr_t)memory};
    assert_int_equal(skv_buffer_create(device, &params, &buffer), SKV_OK);
    return buffer;
}

static skv_status wrap_stream(skv_device *device, void *stream, skv_queue **queue)
{
    skv_queue_params params = {.struct_size = sizeof params, .native = (uintptr_t)stream};
    return skv_queue_create(device, &params, queue);
}

static int current(void)
{
    int device = -1;
    assert_int_equal(hipGetDevice(&device), 0);
    return device;
}

/* Rows in memory of the caller's, and what compressing and decompressing them on its stream makes of them. */
struct work {
    void *stream, *memory[3];
    skv_device *device;
    skv_queue *queue;
    skv_layout *layout;
    skv_buffer *rows, *pages, *out;
    uint16_t in[N_TOKENS * D];
};

static void make_work(struct work *w, const char *id, int device)
{
    uint64_t pool_bytes;
    const skv_layout_params shape = {.struct_size = sizeof shape, .head_dim = D, .n_kv_heads = 1, .kept = KEPT};
    memset(w, 0, sizeof *w);
    for (int i = 0; i < N_TOKENS * D; i++)
        w->in[i] = (uint16_t)(0x3000 + i * 37 % 1021);
    assert_int_equal(skv_layout_create(&shape, &w->layout), SKV_OK);
    assert_int_equal(skv_layout_pool_bytes(w->layout, 1, &pool_bytes), SKV_OK);
    w->device = open_device(id);
    assert_int_equal(hipSetDevice(device), 0);
    assert_int_equal(hipStreamCreateWithFlags(&w->stream, 1), 0);
    assert_int_equal(hipMalloc(&w->memory[0], sizeof w->in), 0);
    assert_int_equal(hipMalloc(&w->memory[1], pool_bytes), 0);
    assert_int_equal(hipMalloc(&w->memory[2], sizeof w->in), 0);
    w->rows = wrap(w->device, w->memory[0], sizeof w->in);
    w->pages = wrap(w->device, w->memory[1], pool_bytes);
    w->out = wrap(w->device, w->memory[2], sizeof w->in);
    assert_int_equal(wrap_stream(w->device, w->stream, &w->queue), SKV_OK);
}

static void enqueue(struct work *w)
{
    const skv_pool pool = {w->layout, {w->pages, 0}, 1};
    const skv_compress_params put = {
        .struct_size = sizeof put, .n_tokens = N_TOKENS, .in = {{w->rows, 0}, 0, 0}, .pool = pool};
    const skv_decompress_params get = {
        .struct_size = sizeof get, .n_tokens = N_TOKENS, .out = {{w->out, 0}, 0, 0}, .pool = pool};
    assert_int_equal(skv_compress(w->queue, &put), SKV_OK);
    assert_int_equal(skv_decompress(w->queue, &get), SKV_OK);
}

static void check_out(struct work *w)
{
    uint16_t out[N_TOKENS * D];
    assert_int_equal(hipMemcpyAsync(out, w->memory[2], sizeof out, TO_HOST, w->stream), 0);
    assert_int_equal(hipStreamSynchronize(w->stream), 0);
    for (int token = 0; token < N_TOKENS; token++) {
        int n_kept = 0;
        for (int i = token * D; i < (token + 1) * D; i++) {
            assert_true(out[i] == w->in[i] || out[i] == 0);
            n_kept += out[i] != 0;
        }
        assert_int_equal(n_kept, KEPT);
    }
}

static void end_work(struct work *w)
{
    skv_queue_destroy(w->queue);
    skv_buffer_destroy(w->rows);
    skv_buffer_destroy(w->pages);
    skv_buffer_destroy(w->out);
    skv_layout_destroy(w->layout);
    skv_device_release(w->device);
    assert_int_equal(hipStreamDestroy(w->stream), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(hipFree(w->memory[i]), 0);
    assert_int_equal(hipSetDevice(0), 0);
    assert_int_equal(n_live(), 0);
}

/* Calls work on their own device, and leave the thread with the one it had. */
static void test_devices(void **state)
{
    (void)state;
    struct work w;
    make_work(&w, "hip:1", 1);
    assert_int_equal(hipSetDevice(0), 0);
    assert_int_equal(skv_buffer_write(w.queue, (skv_span){w.rows, 0}, w.in, sizeof w.in), SKV_OK);
    enqueue(&w);
    assert_int_equal(skv_queue_finish(w.queue), SKV_OK);
    assert_int_equal(current(), 0);
    assert_int_equal(hipSetDevice(1), 0);
    check_out(&w);
    skv_device_info info = {.struct_size = sizeof info};
    assert_int_equal(skv_device_get_info(w.device, &info), SKV_OK);
    assert_string_equal(info.name, "Emulated AMD GPU 1");
    assert_string_equal(info.variant, "gfx9.0, waves of 64");
    assert_string_equal(info.driver, "HIP 6.3.42134");
    assert_true(info.native == 1);
    end_work(&w);
}

static void test_strangers(void **state)
{
    (void)state;
    struct work w;
    skv_queue *queue = NULL;
    skv_device *device = open_device("hip:1");
    make_work(&w, "hip:0", 0);
    assert_int_equal(wrap_stream(device, w.stream, &queue), SKV_ERROR_WRONG_DEVICE);
    assert_null(queue);
    skv_device_release(device);
    skv_device_params params = {.struct_size = sizeof params, .id = "hip", .native_context = 1};
    device = NULL;
    assert_int_equal(skv_device_open(&params, &device), SKV_ERROR_INVALID_ARGUMENT);
    assert_null(device);
    assert_non_null(strstr(skv_error_message(), "params->native_context"));
    end_work(&w);
}

/* Work that is recorded runs when its graph is launched, and not before. */
static void test_capture(void **state)
{
    (void)state;
    struct work w;
    void *graph, *exec;
    uint64_t recording = 0;
    make_work(&w, "hip:0", 0);
    assert_int_equal(hipStreamBeginCapture(w.stream, 0), 0);
    assert_int_equal(skv_hip_driver.stream_recording(w.stream, &recording), 0);
    assert_int_not_equal(recording, 0);
    enqueue(&w);
    assert_int_equal(hipStreamEndCapture(w.stream, &graph), 0);
    assert_int_equal(skv_hip_driver.stream_recording(w.stream, &recording), 0);
    assert_int_equal(recording, 0);
    assert_int_equal(hipGraphInstantiateWithFlags(&exec, graph, 0), 0);
    assert_int_equal(hipMemcpyAsync(w.memory[0], w.in, sizeof w.in, TO_DEVICE, w.stream), 0);
    assert_int_equal(hipGraphLaunch(exec, w.stream), 0);
    check_out(&w);
    assert_int_equal(hipGraphDestroy(graph), 0);
    assert_int_equal(hipGraphExecDestroy(exec), 0);
    end_work(&w);
}

/* A table as tools/bundle.py writes it. */
static size_t make_bundle(unsigned char *bundle, const char *const *targets, size_t n_targets)
{
    size_t at = 32;
    memset(bundle, 0, 1024);
    memcpy(bundle, "__CLANG_OFFLOAD_BUNDLE__", 24);
    bundle[24] = (unsigned char)n_targets;
    for (size_t i = 0; i < n_targets; i++) {
        bundle[at + 16] = (unsigned char)strlen(targets[i]);
        memcpy(bundle + at + 24, targets[i], strlen(targets[i]));
        at += 24 + strlen(targets[i]);
    }
    return at;
}

static void test_targets(void **state)
{
    (void)state;
    static const char *const targets[] = {"host-x86_64-unknown-linux-gnu-", "hipv4-amdgcn-amd-amdhsa--gfx90a",
                                          "hipv4-amdgcn-amd-amdhsa--gfx1201", "hipv4-amdgcn-amd-amdhsa--gfx11-generic"};
    unsigned char bundle[1024];
    char text[64];
    size_t n_bytes = make_bundle(bundle, targets, 4);
    skv_hip_targets(bundle, n_bytes, text, sizeof text);
    assert_string_equal(text, "gfx90a, gfx1201, gfx11-generic");
    skv_hip_targets(bundle, n_bytes, text, 18);
    assert_string_equal(text, "gfx90a, gfx1201");
    assert_true(skv_hip_targets_fit(bundle, n_bytes, "gfx90a:sramecc+:xnack-"));
    assert_true(skv_hip_targets_fit(bundle, n_bytes, "gfx1201"));
    assert_true(skv_hip_targets_fit(bundle, n_bytes, "gfx1103"));
    assert_false(skv_hip_targets_fit(bundle, n_bytes, "gfx120"));
    assert_false(skv_hip_targets_fit(bundle, n_bytes, "gfx1030"));
    assert_false(skv_hip_targets_fit(bundle, n_bytes, "gfx906:xnack-"));
    /* Cut short anywhere. The last entry is the first to go. */
    for (size_t n = 0; n < n_bytes; n++) {
        skv_hip_targets(bundle, n, text, sizeof text);
        assert_null(strstr(text, "generic"));
        assert_false(skv_hip_targets_fit(bundle, n, "gfx1103"));
    }
    bundle[0] = '-';
    assert_false(skv_hip_targets_fit(bundle, n_bytes, "gfx90a"));
}

static uint64_t number_at(const unsigned char *at)
{
    uint64_t x = 0;
    for (int i = 0; i < 8; i++)
        x |= (uint64_t)at[i] << 8 * i;
    return x;
}

static bool has_text(const unsigned char *bytes, size_t n_bytes, const char *text)
{
    size_t length = strlen(text) + 1;
    for (size_t i = 0; i + length <= n_bytes; i++)
        if (bytes[i] == (unsigned char)text[0] && memcmp(bytes + i, text, length) == 0)
            return true;
    return false;
}

static void check_kernel(const unsigned char *code, size_t n_bytes, const char *name)
{
    char descriptor[80];
    snprintf(descriptor, sizeof descriptor, "%s.kd", name);
    if (!has_text(code, n_bytes, descriptor))
        fail_msg("a code object has no %s", name);
}

/* Each code object has each kernel that the host asks for. Needs code objects. */
static void test_image(void **state)
{
    (void)state;
    const unsigned char *at = skv_hip_image + 32;
    uint64_t n = number_at(skv_hip_image + 24);
    assert_true(n >= 2);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t offset = number_at(at), n_bytes = number_at(at + 8);
        assert_true(offset + n_bytes <= (size_t)(skv_hip_image_end - skv_hip_image));
        at += 24 + number_at(at + 16);
        if (i == 0) { /* the host's */
            assert_int_equal(n_bytes, 0);
            continue;
        }
        for (int k = 0; k < SKV_GPU_ROW_KERNELS; k++)
            check_kernel(skv_hip_image + offset, (size_t)n_bytes, skv_gpu_kernel_names[k]);
        for (int d = 64; d <= 512; d *= 2)
            for (int m = 1; m <= 8; m = m == 1 ? 4 : 2 * m) {
                char name[64];
                snprintf(name, sizeof name, "skv_kernel_attend_d%d_m%d", d, m);
                check_kernel(skv_hip_image + offset, (size_t)n_bytes, name);
            }
    }
}

/* A device says its architecture where its driver does. */
static void test_architecture(void **state)
{
    (void)state;
    struct skv_driver_facts facts;
    setenv("SKV_FAKE_GFX", "gfx90a", 1);
    assert_int_equal(skv_hip_driver.device_facts(0, &facts), 0);
    assert_string_equal(facts.architecture, "gfx90a:sramecc+:xnack-");
    assert_int_equal(facts.version, 910);
    setenv("SKV_FAKE_GFX", "gfx1151", 1);
    assert_int_equal(skv_hip_driver.device_facts(0, &facts), 0);
    assert_int_equal(facts.version, 1151);
    unsetenv("SKV_FAKE_GFX");
    assert_int_equal(skv_hip_driver.device_facts(0, &facts), 0);
    assert_string_equal(facts.architecture, "gfx9.0");
    assert_int_equal(facts.version, 900);
}

/* A device that no code object fits says so, and is not opened. Needs code objects. */
static void test_unfit(void **state)
{
    (void)state;
    skv_device *device = NULL;
    skv_device_params params = {.struct_size = sizeof params, .id = "hip:0"};
    setenv("SKV_FAKE_GFX", "gfx803", 1);
    assert_int_equal(skv_device_open(&params, &device), SKV_ERROR_NOT_FOUND);
    unsetenv("SKV_FAKE_GFX");
    assert_null(device);
    assert_non_null(strstr(skv_error_message(), "it is a gfx803; this library has code for gfx"));
    assert_int_equal(n_live(), 0);
}

int main(int argc, char **argv)
{
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library) {
        print_error("usage: hip-test LIBRARY (%s)\n", argc == 2 ? dlerror() : "one argument");
        return 2;
    }
    setenv("SKV_HIP_LIBRARY", argv[1], 1);
#define GET(name, parameters)                   \
    *(void **)&name = dlsym(library, #name);    \
    if (!name) {                                \
        print_error("no function %s\n", #name); \
        return 2;                               \
    }
    FUNCTIONS(GET)
    *(void **)&n_live = dlsym(library, "skv_fake_live");
    if (hipInit(0) != 0)
        return 2;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_devices),      cmocka_unit_test(test_strangers),
                                       cmocka_unit_test(test_capture),      cmocka_unit_test(test_targets),
                                       cmocka_unit_test(test_architecture), cmocka_unit_test(test_choice),
                                       cmocka_unit_test(test_image),        cmocka_unit_test(test_unfit)};
    size_t n_tests = sizeof tests / sizeof tests[0];
    if (skv_hip_image_end - skv_hip_image <= 64) {
        print_message("# without test_image and test_unfit: this build has no code objects\n");
        n_tests -= 2;
    }
    return _cmocka_run_group_tests("hip", tests, n_tests, NULL, NULL);
}
