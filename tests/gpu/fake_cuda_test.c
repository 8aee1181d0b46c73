/* SPDX-License-Identifier: Apache-2.0
 *
 * fake-cuda-test LIBRARY: drives the fake CUDA driver as a program does that opens libcuda.so.1: work from the first
 * call to the last, recorded work, what a driver refuses, and a failure at each call.
 */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FUNCTIONS(X)                                                                                       \
    X(cuInit, "cuInit", int, (unsigned))                                                                   \
    X(cuDriverGetVersion, "cuDriverGetVersion", int, (int *))                                              \
    X(cuDeviceGetCount, "cuDeviceGetCount", int, (int *))                                                  \
    X(cuDeviceGet, "cuDeviceGet", int, (int *, int))                                                       \
    X(cuDeviceGetName, "cuDeviceGetName", int, (char *, int, int))                                         \
    X(cuDeviceGetAttribute, "cuDeviceGetAttribute", int, (int *, int, int))                                \
    X(cuDeviceTotalMem, "cuDeviceTotalMem_v2", int, (size_t *, int))                                       \
    X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", int, (void **, int))                           \
    X(cuDevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", int, (int))                               \
    X(cuCtxPushCurrent, "cuCtxPushCurrent_v2", int, (void *))                                              \
    X(cuCtxPopCurrent, "cuCtxPopCurrent_v2", int, (void **))                                               \
    X(cuCtxGetDevice, "cuCtxGetDevice", int, (int *))                                                      \
    X(cuModuleLoadData, "cuModuleLoadData", int, (void **, const void *))                                  \
    X(cuModuleUnload, "cuModuleUnload", int, (void *))                                                     \
    X(cuModuleGetFunction, "cuModuleGetFunction", int, (void **, void *, const char *))                    \
    X(cuFuncSetAttribute, "cuFuncSetAttribute", int, (void *, int, int))                                   \
    X(cuFuncGetAttribute, "cuFuncGetAttribute", int, (int *, int, void *))                                 \
    X(cuOccupancy, "cuOccupancyMaxActiveBlocksPerMultiprocessor", int, (int *, void *, int, size_t))       \
    X(cuLaunchKernelEx, "cuLaunchKernelEx", int, (const struct launch_config *, void *, void **, void **)) \
    X(cuMemAlloc, "cuMemAlloc_v2", int, (uint64_t *, size_t))                                              \
    X(cuMemFree, "cuMemFree_v2", int, (uint64_t))                                                          \
    X(cuMemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2", int, (uint64_t, const void *, size_t, void *))            \
    X(cuMemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2", int, (void *, uint64_t, size_t, void *))                  \
    X(cuMemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2", int, (uint64_t, uint64_t, size_t, void *))                \
    X(cuMemsetD8Async, "cuMemsetD8Async", int, (uint64_t, unsigned char, size_t, void *))                  \
    X(cuMemsetD32Async, "cuMemsetD32Async", int, (uint64_t, unsigned, size_t, void *))                     \
    X(cuStreamCreate, "cuStreamCreate", int, (void **, unsigned))                                          \
    X(cuStreamDestroy, "cuStreamDestroy_v2", int, (void *))                                                \
    X(cuStreamSynchronize, "cuStreamSynchronize", int, (void *))                                           \
    X(cuStreamGetCtx, "cuStreamGetCtx", int, (void *, void **))                                            \
    X(cuStreamGetCaptureInfo, "cuStreamGetCaptureInfo", int, (void *, int *, uint64_t *))                  \
    X(cuStreamBeginCapture, "cuStreamBeginCapture_v2", int, (void *, int))                                 \
    X(cuStreamEndCapture, "cuStreamEndCapture", int, (void *, void **))                                    \
    X(cuGraphInstantiate, "cuGraphInstantiateWithFlags", int, (void **, void *, unsigned long long))       \
    X(cuGraphLaunch, "cuGraphLaunch", int, (void *, void *))                                               \
    X(cuGraphExecDestroy, "cuGraphExecDestroy", int, (void *))                                             \
    X(cuGraphDestroy, "cuGraphDestroy", int, (void *))                                                     \
    X(cuEventCreate, "cuEventCreate", int, (void **, unsigned))                                            \
    X(cuEventDestroy, "cuEventDestroy_v2", int, (void *))                                                  \
    X(cuEventRecord, "cuEventRecord", int, (void *, void *))                                               \
    X(cuEventSynchronize, "cuEventSynchronize", int, (void *))                                             \
    X(cuEventElapsedTime, "cuEventElapsedTime_v2", int, (float *, void *, void *))                         \
    X(cuEventElapsedTime_v1, "cuEventElapsedTime", int, (float *, void *, void *))                         \
    X(cuGetErrorName, "cuGetErrorName", int, (int, const char **))                                         \
    X(cuGetErrorString, "cuGetErrorString", int, (int, const char **))                                     \
    X(cuPointerGetAttribute, "cuPointerGetAttribute", int, (void *, int, uint64_t))                        \
    X(fail_at, "skv_fake_fail_at", void, (long))                                                           \
    X(n_calls, "skv_fake_calls", long, (void))                                                             \
    X(n_live, "skv_fake_live", long, (void))

struct launch_config {
    unsigned grid[3], block[3], shared_bytes;
    void *stream;
    const void *attributes;
    unsigned n_attributes;
};

#define DECLARE(name, symbol, type, parameters) static type(*name) parameters;
FUNCTIONS(DECLARE)

enum { N = 100, LANES = 64 };

struct objects {
    void *context, *popped, *module, *add, *stream, *graph, *exec, *start, *end;
    uint64_t a, b, sum;
    int n_retained, n_pushed;
};

#define TRY(call)         \
    do {                  \
        int code_ = call; \
        if (code_)        \
            return code_; \
    } while (0)

static int launch(void *function, unsigned grid_x, unsigned grid_y, unsigned lanes, unsigned shared_bytes, void *stream,
                  void **params)
{
    const struct launch_config config = {{grid_x, grid_y, 1}, {lanes, 1, 1}, shared_bytes, stream, NULL, 0};
    return cuLaunchKernelEx(&config, function, params, NULL);
}

static int launch_add(struct objects *o)
{
    unsigned n = N;
    void *params[] = {&o->a, &o->b, &o->sum, &n};
    return launch(o->add, (N + LANES - 1) / LANES, 1, LANES, 0, o->stream, params);
}

/* Adds two arrays, at once and by a graph. */
static int work(struct objects *o, float *out)
{
    float in[N];
    int n_devices, device, n_blocks;
    for (int i = 0; i < N; i++)
        in[i] = (float)i;
    TRY(cuInit(0));
    TRY(cuDeviceGetCount(&n_devices));
    TRY(cuDeviceGet(&device, 0));
    TRY(cuDevicePrimaryCtxRetain(&o->context, device));
    o->n_retained++;
    TRY(cuCtxPushCurrent(o->context));
    o->n_pushed++;
    TRY(cuModuleLoadData(&o->module, "image"));
    TRY(cuModuleGetFunction(&o->add, o->module, "sample_add"));
    TRY(cuOccupancy(&n_blocks, o->add, LANES, 0));
    TRY(cuStreamCreate(&o->stream, 1));
    TRY(cuEventCreate(&o->start, 0));
    TRY(cuEventCreate(&o->end, 0));
    TRY(cuMemAlloc(&o->a, sizeof in));
    TRY(cuMemAlloc(&o->b, sizeof in));
    TRY(cuMemAlloc(&o->sum, sizeof in));
    TRY(cuMemcpyHtoDAsync(o->a, in, sizeof in, o->stream));
    TRY(cuMemcpyDtoDAsync(o->b, o->a, sizeof in, o->stream));
    TRY(cuEventRecord(o->start, o->stream));
    TRY(launch_add(o));
    TRY(cuEventRecord(o->end, o->stream));
    TRY(cuMemcpyDtoHAsync(out, o->sum, sizeof in, o->stream));
    TRY(cuStreamSynchronize(o->stream));
    float milliseconds;
    TRY(cuEventElapsedTime(&milliseconds, o->start, o->end));
    TRY(cuStreamBeginCapture(o->stream, 0));
    TRY(cuMemsetD32Async(o->b, 0x3f800000, N, o->stream));
    TRY(launch_add(o));
    TRY(cuStreamEndCapture(o->stream, &o->graph));
    TRY(cuGraphInstantiate(&o->exec, o->graph, 0));
    TRY(cuGraphLaunch(o->exec, o->stream));
    TRY(cuMemcpyDtoHAsync(out + N, o->sum, sizeof in, o->stream));
    TRY(cuStreamSynchronize(o->stream));
    return 0;
}

/* Gives everything back; the first failure. */
static int clean_up(struct objects *o)
{
    int first = 0;
#define GIVE(condition, call)         \
    if (condition) {                  \
        int code = call;              \
        first = first ? first : code; \
    }
    GIVE(o->stream, cuStreamDestroy(o->stream));
    GIVE(o->exec, cuGraphExecDestroy(o->exec));
    GIVE(o->graph, cuGraphDestroy(o->graph));
    GIVE(o->start, cuEventDestroy(o->start));
    GIVE(o->end, cuEventDestroy(o->end));
    GIVE(o->a, cuMemFree(o->a));
    GIVE(o->b, cuMemFree(o->b));
    GIVE(o->sum, cuMemFree(o->sum));
    GIVE(o->module, cuModuleUnload(o->module));
    GIVE(o->n_pushed, cuCtxPopCurrent(&o->popped));
    GIVE(o->n_retained, cuDevicePrimaryCtxRelease(0));
    return first;
}

static void check_sums(const float *out)
{
    for (int i = 0; i < N; i++) {
        assert_true(out[i] == 2 * (float)i);
        assert_true(out[N + i] == (float)i + 1);
    }
}

static void test_order(void **state)
{
    (void)state;
    int n;
    void *context;
    uint64_t at;
    assert_int_equal(cuDeviceGetCount(&n), 3);
    assert_int_equal(cuInit(1), 1);
    assert_int_equal(cuInit(0), 0);
    assert_int_equal(cuMemAlloc(&at, 4), 201);
    assert_int_equal(cuCtxGetDevice(&n), 201);
    assert_int_equal(cuDevicePrimaryCtxRetain(&context, 2), 101);
    assert_int_equal(cuDevicePrimaryCtxRelease(0), 201);
    assert_int_equal(cuCtxPopCurrent(&context), 201);
    assert_int_equal(n_live(), 0);
}

static void test_device(void **state)
{
    (void)state;
    int n, value;
    char name[64];
    size_t n_bytes;
    assert_int_equal(cuInit(0), 0);
    assert_int_equal(cuDriverGetVersion(&n), 0);
    assert_true(n >= 12000);
    assert_int_equal(cuDeviceGetCount(&n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(cuDeviceGetName(name, sizeof name, 1), 0);
    assert_string_equal(name, "Emulated GPU 1");
    assert_int_equal(cuDeviceGetAttribute(&value, 10, 0), 0);
    assert_int_equal(value, 32);
    assert_int_equal(cuDeviceGetAttribute(&value, 75, 0), 0);
    assert_int_equal(value, 9);
    assert_int_equal(cuDeviceGetAttribute(&value, 97, 0), 0);
    assert_int_equal(value, 227 * 1024);
    assert_int_equal(cuDeviceGetAttribute(&value, 12345, 0), 1);
    assert_int_equal(cuDeviceTotalMem(&n_bytes, 0), 0);
    const char *text;
    assert_int_equal(cuGetErrorName(2, &text), 0);
    assert_string_equal(text, "CUDA_ERROR_OUT_OF_MEMORY");
    assert_int_equal(cuGetErrorString(0, &text), 0);
    assert_int_equal(cuGetErrorName(-1, &text), 1);
    assert_null(text);
}

static void test_life(void **state)
{
    (void)state;
    struct objects o = {0};
    float out[2 * N];
    assert_int_equal(work(&o, out), 0);
    check_sums(out);
    assert_true(n_live() == 11);
    assert_int_equal(clean_up(&o), 0);
    assert_int_equal(n_live(), 0);
}

static void test_refusals(void **state)
{
    (void)state;
    struct objects o = {0};
    float out[2 * N], x;
    void *function, *params[1] = {NULL};
    int value;
    uint64_t at;
    assert_int_equal(work(&o, out), 0);
    assert_int_equal(cuModuleGetFunction(&function, o.module, "no_such_kernel"), 500);
    assert_int_equal(cuModuleGetFunction(&function, o.stream, "sample_add"), 400);
    assert_int_equal(launch(o.add, 1, 65536, LANES, 0, o.stream, params), 1);
    assert_int_equal(launch(o.add, 0, 1, LANES, 0, o.stream, params), 1);
    assert_int_equal(launch(o.add, 1, 1, LANES / 2, 0, o.stream, params), 1);
    assert_int_equal(launch(o.add, 1, 1, LANES, (48 << 10) + 1, o.stream, params), 1);
    assert_int_equal(cuFuncSetAttribute(o.add, 8, (227 << 10) + 1), 1);
    assert_int_equal(cuFuncSetAttribute(o.add, 8, 100 << 10), 0);
    assert_int_equal(cuFuncGetAttribute(&value, 8, o.add), 0);
    assert_int_equal(value, 100 << 10);
    assert_int_equal(cuOccupancy(&value, o.add, LANES, 100 << 10), 0);
    assert_int_equal(value, 2);
    assert_int_equal(launch(o.module, 1, 1, LANES, 0, o.stream, params), 400);
    assert_int_equal(cuMemcpyDtoHAsync(out, o.a + 4, N * 4, o.stream), 1);
    assert_int_equal(cuMemsetD8Async(o.a, 0, N * 4 + 1, o.stream), 1);
    assert_int_equal(cuMemsetD8Async(o.a, 0, 1, &x), 400);
    assert_int_equal(cuMemFree(o.a + 4), 1);
    assert_int_equal(cuMemAlloc(&at, (size_t)1 << 50), 2);
    assert_int_equal(cuMemAlloc(&at, 0), 1);
    assert_int_equal(cuPointerGetAttribute(&value, 9, o.a + 8), 0);
    assert_int_equal(value, 0);
    assert_int_equal(cuPointerGetAttribute(&value, 9, (uint64_t)(uintptr_t)out), 1);
    assert_int_equal(clean_up(&o), 0);
    assert_int_equal(n_live(), 0);
}

static void test_capture(void **state)
{
    (void)state;
    struct objects o = {0};
    float out[2 * N], x;
    uint64_t at;
    int status;
    uint64_t recording = 0, next = 0;
    void *graph;
    assert_int_equal(work(&o, out), 0);
    assert_int_equal(cuStreamBeginCapture(NULL, 0), 900);
    assert_int_equal(cuStreamBeginCapture(o.stream, 0), 0);
    assert_int_equal(cuStreamGetCaptureInfo(o.stream, &status, &recording), 0);
    assert_int_equal(status, 1);
    assert_int_not_equal(recording, 0);
    assert_int_equal(launch_add(&o), 0);
    assert_int_equal(cuMemsetD8Async(o.a, 0, 4, NULL), 906);
    assert_int_equal(cuEventRecord(o.start, o.stream), 0);
    assert_int_equal(cuEventSynchronize(o.start), 907);
    /* What waits is refused, and the recording is lost. */
    assert_int_equal(cuMemAlloc(&at, 4), 900);
    assert_int_equal(cuStreamGetCaptureInfo(o.stream, &status, &next), 0);
    assert_int_equal(status, 2);
    assert_int_equal(next, recording);
    assert_int_equal(launch_add(&o), 901);
    assert_int_equal(cuStreamEndCapture(o.stream, &graph), 901);
    assert_null(graph);
    assert_int_equal(cuEventElapsedTime(&x, o.start, o.end), 907);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cuStreamBeginCapture(o.stream, 0), 0);
        assert_int_equal(cuStreamGetCaptureInfo(o.stream, &status, &next), 0);
        assert_int_not_equal(next, recording);
        assert_int_equal(i == 0   ? cuStreamSynchronize(o.stream)
                         : i == 1 ? cuMemFree(o.a)
                                  : cuEventSynchronize(o.end),
                         900);
        assert_int_equal(cuStreamEndCapture(o.stream, &graph), 901);
    }
    /* In relaxed mode others go on, and what is recorded does not run. */
    assert_int_equal(cuStreamBeginCapture(o.stream, 2), 0);
    assert_int_equal(cuMemAlloc(&at, 4), 0);
    assert_int_equal(cuMemFree(at), 0);
    assert_int_equal(cuMemsetD8Async(o.sum, 0, 4, o.stream), 0);
    assert_int_equal(cuMemcpyDtoHAsync(&x, o.sum, 4, NULL), 0);
    assert_true(x == 1);
    assert_int_equal(cuStreamEndCapture(o.stream, &graph), 0);
    assert_int_equal(cuGraphDestroy(graph), 0);
    assert_int_equal(cuGraphDestroy(graph), 400);
    assert_int_equal(clean_up(&o), 0);
    assert_int_equal(n_live(), 0);
}

static void test_failures(void **state)
{
    (void)state;
    struct objects o = {0};
    float out[2 * N];
    fail_at(0);
    assert_int_equal(work(&o, out), 0);
    long n_work = n_calls();
    assert_int_equal(clean_up(&o), 0);
    long n_all = n_calls();
    for (long n = 1; n <= n_all; n++) {
        memset(&o, 0, sizeof o);
        fail_at(n);
        int code = work(&o, out);
        assert_int_equal(code != 0, n <= n_work);
        if (n <= n_work)
            assert_true(code == 999 || code == 2);
        assert_int_equal(clean_up(&o) != 0, n > n_work);
        assert_int_equal(n_live(), 0);
    }
    fail_at(0);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: fake-cuda-test LIBRARY\n");
        return 2;
    }
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
#define GET(name, symbol, type, parameters)          \
    *(void **)&name = dlsym(library, symbol);        \
    if (!name) {                                     \
        fprintf(stderr, "no function %s\n", symbol); \
        return 2;                                    \
    }
    FUNCTIONS(GET)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),    cmocka_unit_test(test_device),  cmocka_unit_test(test_life),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_capture), cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests_name("fake-cuda", tests, NULL, NULL);
}
