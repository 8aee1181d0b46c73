/* SPDX-License-Identifier: Apache-2.0
 *
 * nvidia-test LIBRARY: kernels for NVIDIA on a driver that looks like NVIDIA's and runs them on the CPU
 * (tests/opencl/nvidia.cpp). They serve where they are right, and the portable ones where the driver refuses them,
 * fails to build or launch them, or runs them wrongly; the results are the same in all cases. Every case has a process
 * of its own, since drivers and what the library knows of them live as long as one.
 */
#include <dlfcn.h>
#include <math.h>
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

#include "backends/opencl/nvidia/nvidia.h"

#define D_MAX 256
#define GROUP_MAX 16
#define HEADS 2
#define TOKENS 150
#define TAIL 5
#define BLOCKS 3
#define SEQS 2

static const char *library_path;

struct call {
    uint32_t head_dim, dtype, kept, group, row_stride;
};

struct outcome {
    char compress[96], decompress[96], attend[96], warnings[4096];
    float out[SEQS * GROUP_MAX * HEADS * D_MAX];
    uint16_t rows[BLOCKS * 64 * HEADS * D_MAX];
    unsigned char pages[1 << 19];
};

static void keep_warning(void *user, skv_log_level level, const char *message)
{
    struct outcome *outcome = user;
    size_t used = strlen(outcome->warnings);
    if (level == SKV_LOG_WARN)
        snprintf(outcome->warnings + used, sizeof outcome->warnings - used, "%s\n", message);
}

/* Ends the process: cmocka's checks are for its own. */
static void try(skv_status status, const char *what)
{
    if (status == SKV_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, skv_error_message());
    _exit(3);
}

#define TRY(call) try((call), #call)

static skv_span upload(skv_device *device, skv_queue *queue, const void *from, uint64_t n_bytes)
{
    skv_buffer_params params = {.struct_size = sizeof params, .bytes = n_bytes};
    skv_span span = {NULL, 0};
    TRY(skv_buffer_create(device, &params, &span.buffer));
    if (from)
        TRY(skv_buffer_write(queue, span, from, n_bytes));
    else
        TRY(skv_buffer_fill(queue, span, 0, n_bytes));
    return span;
}

/* Bits of fp16 or bf16 between 0.5 and 2 in magnitude. */
static uint16_t bits_of(uint32_t dtype, uint32_t seed)
{
    uint32_t mixed = seed * 2654435761u >> 8, one = dtype == SKV_BF16 ? 0x3f00 : 0x3800;
    return (uint16_t)((mixed & 0x8000) | (one + mixed % (dtype == SKV_BF16 ? 0x100 : 0x800)));
}

static const char *last_kernel(const skv_queue *queue, char *name)
{
    snprintf(name, 96, "%s", skv_queue_last_kernel(queue));
    return name;
}

/* Compresses rows, decompresses them and attends to them and to a tail; twice, so that counters must have been left as
 * they were found. */
static void work(const char *id, const struct call *call, struct outcome *outcome)
{
    skv_device *device;
    skv_queue *queue;
    skv_layout *layout;
    static uint16_t rows[BLOCKS * 64 * HEADS * D_MAX], q[SEQS * GROUP_MAX * HEADS * D_MAX];
    static uint16_t tail[SEQS * TAIL * HEADS * D_MAX];
    const int32_t lens[SEQS] = {TOKENS, 77};
    int32_t table[SEQS * BLOCKS];
    uint64_t pool_bytes, workspace_bytes;
    skv_log_set(keep_warning, outcome, SKV_LOG_WARN);
    for (int32_t i = 0; i < SEQS * BLOCKS; i++)
        table[i] = 2 * i % BLOCKS;
    for (uint32_t i = 0; i < sizeof rows / 2; i++)
        rows[i] = bits_of(call->dtype, i);
    for (uint32_t i = 0; i < sizeof q / 2; i++)
        q[i] = bits_of(call->dtype, i + 99);
    for (uint32_t i = 0; i < sizeof tail / 2; i++)
        tail[i] = bits_of(call->dtype, i + 7777);
    skv_device_params params = {.struct_size = sizeof params, .id = id};
    TRY(skv_device_open(&params, &device));
    TRY(skv_queue_create(device, NULL, &queue));
    skv_layout_params shape = {.struct_size = sizeof shape,
                               .dtype = call->dtype,
                               .head_dim = call->head_dim,
                               .n_kv_heads = HEADS,
                               .kept = call->kept,
                               .row_stride = call->row_stride};
    TRY(skv_layout_create(&shape, &layout));
    TRY(skv_layout_pool_bytes(layout, BLOCKS, &pool_bytes));
    skv_compress_params put = {.struct_size = sizeof put,
                               .n_tokens = BLOCKS * 64,
                               .in = {upload(device, queue, rows, sizeof rows), 0, 0},
                               .pool = {layout, upload(device, queue, NULL, pool_bytes), BLOCKS}};
    TRY(skv_compress(queue, &put));
    last_kernel(queue, outcome->compress);
    skv_decompress_params get = {.struct_size = sizeof get,
                                 .n_tokens = BLOCKS * 64,
                                 .pool = put.pool,
                                 .out = {upload(device, queue, NULL, sizeof rows), 0, 0}};
    TRY(skv_decompress(queue, &get));
    last_kernel(queue, outcome->decompress);
    skv_attend_params attend = {.struct_size = sizeof attend,
                                .n_seqs = SEQS,
                                .n_new = 1,
                                .n_q_heads = HEADS * call->group,
                                .n_kv_heads = HEADS,
                                .head_dim = call->head_dim,
                                .dtype = call->dtype,
                                .out_dtype = SKV_F32,
                                .q = upload(device, queue, q, sizeof q),
                                .out = upload(device, queue, NULL, sizeof outcome->out),
                                .k_pool = put.pool,
                                .v_pool = put.pool,
                                .k_blocks = upload(device, queue, table, sizeof table),
                                .cache_lens = upload(device, queue, lens, sizeof lens),
                                .max_cache_tokens = TOKENS,
                                .k_tail = upload(device, queue, tail, sizeof tail),
                                .v_tail = upload(device, queue, tail, sizeof tail),
                                .max_tail_tokens = TAIL};
    TRY(skv_attend_workspace(device, &attend, &workspace_bytes));
    if (workspace_bytes)
        attend.workspace = upload(device, queue, NULL, workspace_bytes);
    for (int i = 0; i < 2; i++) {
        TRY(skv_attend(queue, &attend));
        TRY(skv_queue_finish(queue));
    }
    last_kernel(queue, outcome->attend);
    TRY(skv_buffer_read(queue, outcome->out, attend.out, sizeof outcome->out));
    TRY(skv_buffer_read(queue, outcome->pages, put.pool.pages, pool_bytes));
    TRY(skv_buffer_read(queue, outcome->rows, get.out.data, sizeof outcome->rows));
    const skv_span spans[] = {put.in.data,     put.pool.pages,    get.out.data,  attend.q,      attend.out,
                              attend.k_blocks, attend.cache_lens, attend.k_tail, attend.v_tail, attend.workspace};
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
        skv_buffer_destroy(spans[i].buffer);
    skv_layout_destroy(layout);
    skv_queue_destroy(queue);
    skv_device_release(device);
}

/* In a process of its own, on a device of the fake driver, or on the CPU where `wrong` is NULL. */
static void run(const char *wrong, const struct call *call, struct outcome *outcome)
{
    int ends[2], status;
    fflush(NULL);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        memset(outcome, 0, sizeof *outcome);
        setenv("SKV_OPENCL_LIBRARY", library_path, 1);
        setenv("SKV_FAKE_NVIDIA", wrong ? wrong : "", 1);
        work(wrong ? "opencl:0" : "cpu", call, outcome);
        long (*n_live)(void);
        void *library = dlopen(library_path, RTLD_NOW | RTLD_LOCAL);
        *(void **)&n_live = library ? dlsym(library, "skv_fake_live") : NULL;
        const char *at = (const char *)outcome;
        for (size_t sent = 0; sent < sizeof *outcome;) {
            ssize_t n = write(ends[1], at + sent, sizeof *outcome - sent);
            if (n <= 0)
                _exit(4);
            sent += (size_t)n;
        }
        _exit(n_live && n_live() == 0 ? 0 : 5);
    }
    close(ends[1]);
    char *at = (char *)outcome;
    size_t got = 0;
    for (ssize_t n; got < sizeof *outcome && (n = read(ends[0], at + got, sizeof *outcome - got)) > 0;)
        got += (size_t)n;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("with \"%s\": exit %d (3: a call failed, 5: objects left behind), signal %d", wrong ? wrong : "cpu",
                 WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    assert_int_equal(got, sizeof *outcome);
}

/* Kernels that are to run: of compression, decompression, attention. */
static void check(const char *wrong, const struct call *call, const char *compress, const char *decompress,
                  const char *attend, const char *warning)
{
    static struct outcome right, got;
    run(NULL, call, &right);
    run(wrong, call, &got);
    assert_string_equal(got.compress, compress);
    assert_string_equal(got.decompress, decompress);
    assert_string_equal(got.attend, attend);
    if (warning ? !strstr(got.warnings, warning) : got.warnings[0] != '\0')
        fail_msg("with \"%s\" the log says: %s", wrong, got.warnings);
    assert_memory_equal(got.pages, right.pages, sizeof got.pages);
    assert_memory_equal(got.rows, right.rows, sizeof got.rows);
    for (size_t i = 0; i < sizeof right.out / sizeof right.out[0]; i++)
        if (!(fabsf(got.out[i] - right.out[i]) < 0.02f))
            fail_msg("out[%zu] is %g; on the CPU it is %g", i, got.out[i], right.out[i]);
}

/* PoCL's device remains one for CPUs. */
#define PORTABLE_COMPRESS "compress opencl serial"
#define PORTABLE_DECOMPRESS "decompress opencl portable"
#define PORTABLE_ATTEND "attend opencl portable.d128.m4 + merge"
#define COMPRESS "compress opencl ptx.rows"
#define DECOMPRESS "decompress opencl ptx.rows"
#define ATTEND(variant) "attend opencl ptx." variant

static void serves(void **state)
{
    (void)state;
    check("", &(struct call){128, SKV_F16, 40, 4, 0}, COMPRESS, DECOMPRESS, ATTEND("d128_m4_f16_x_a4"), NULL);
    check("", &(struct call){128, SKV_BF16, 64, 7, 0}, COMPRESS, DECOMPRESS, ATTEND("d128_m8_bf16_x_a1"), NULL);
    check("", &(struct call){128, SKV_F16, 72, 4, 0}, COMPRESS, DECOMPRESS, ATTEND("d128_m4_f16_x_a4"), NULL);
    check("", &(struct call){128, SKV_F16, 48, 8, 0}, COMPRESS, DECOMPRESS, ATTEND("d128_m8_f16_x_a1"), NULL);
    check("", &(struct call){128, SKV_F16, 64, 16, 0}, COMPRESS, DECOMPRESS, ATTEND("d128_m16_f16_x_a1"), NULL);
}

/* Each kernel's trial, one after the other. */
static void trials(void **state)
{
    (void)state;
    int status;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("SKV_OPENCL_LIBRARY", library_path, 1);
        setenv("SKV_FAKE_NVIDIA", "", 1);
        skv_device *device;
        skv_queue *queue;
        skv_device_params params = {.struct_size = sizeof params, .id = "opencl:0"};
        TRY(skv_device_open(&params, &device));
        TRY(skv_queue_create(device, NULL, &queue));
        for (int i = 0; i < SKV_NVIDIA_KERNELS; i++) {
            cl_kernel kernel = NULL;
            TRY(skv_nvidia_kernel((struct skv_cl_queue *)queue, i, &kernel));
            if (!kernel)
                _exit(10 + i);
        }
        skv_queue_destroy(queue);
        skv_device_release(device);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) != 0)
        fail_msg("exit %d; 10 + i: kernel i failed its trial", WEXITSTATUS(status));
}

/* Compression has 128 channels only. A row of 32 values has 72 bytes. */
static void serves_others(void **state)
{
    (void)state;
    check("", &(struct call){64, SKV_F16, 20, 4, 0}, PORTABLE_COMPRESS, DECOMPRESS, ATTEND("d64_m4_f16_x_a1"), NULL);
    check("", &(struct call){64, SKV_BF16, 32, 8, 80}, PORTABLE_COMPRESS, DECOMPRESS, ATTEND("d64_m8_bf16_x_a1"), NULL);
    check("", &(struct call){64, SKV_F16, 44, 12, 0}, PORTABLE_COMPRESS, DECOMPRESS, ATTEND("d64_m16_f16_x_a4"), NULL);
    check("", &(struct call){256, SKV_BF16, 80, 2, 0}, PORTABLE_COMPRESS, DECOMPRESS, ATTEND("d256_m4_bf16_x_a1"),
          NULL);
    /* In two passes of 4 query rows. */
    check("", &(struct call){256, SKV_F16, 128, 8, 0}, PORTABLE_COMPRESS, DECOMPRESS, ATTEND("d256_m4_f16_x_a4"), NULL);
}

/* Records of 88 bytes: not what these kernels take. */
static void unfit(void **state)
{
    (void)state;
    check("", &(struct call){128, SKV_F16, 36, 4, 0}, PORTABLE_COMPRESS, PORTABLE_DECOMPRESS, PORTABLE_ATTEND, NULL);
}

static void old_device(void **state)
{
    (void)state;
    check("old", &(struct call){128, SKV_F16, 40, 4, 0}, PORTABLE_COMPRESS, PORTABLE_DECOMPRESS, PORTABLE_ATTEND, NULL);
}

static void refused(void **state)
{
    (void)state;
    const struct call call = {128, SKV_F16, 40, 4, 0};
    check("refused", &call, PORTABLE_COMPRESS, PORTABLE_DECOMPRESS, PORTABLE_ATTEND, "clCreateProgramWithBinary");
    check("unbuilt", &call, PORTABLE_COMPRESS, PORTABLE_DECOMPRESS, PORTABLE_ATTEND, "as the test wishes");
    check("unlaunched", &call, PORTABLE_COMPRESS, PORTABLE_DECOMPRESS, PORTABLE_ATTEND, "clEnqueueNDRangeKernel");
    check("wrong", &call, PORTABLE_COMPRESS, PORTABLE_DECOMPRESS, PORTABLE_ATTEND, "the record of token 0");
}

/* One kernel's failure does not concern the others. */
static void one_refused(void **state)
{
    (void)state;
    const struct call call = {128, SKV_F16, 40, 4, 0};
    check("wrong:decompress", &call, COMPRESS, PORTABLE_DECOMPRESS, ATTEND("d128_m4_f16_x_a4"), "it should be 0x");
    check("wrong:attend", &call, COMPRESS, DECOMPRESS, PORTABLE_ATTEND, "it should be");
    check("unbuilt:d128_m4_f16_x_a4", &call, COMPRESS, DECOMPRESS, PORTABLE_ATTEND, "as the test wishes");
    check("unbuilt:d128_m4_f16_s144", &call, COMPRESS, DECOMPRESS, ATTEND("d128_m4_f16_x_a4"), NULL);
}

static void switched_off(void **state)
{
    (void)state;
    setenv("SKV_OPENCL_PTX", "off", 1);
    check("", &(struct call){128, SKV_F16, 40, 4, 0}, PORTABLE_COMPRESS, PORTABLE_DECOMPRESS, PORTABLE_ATTEND, NULL);
    unsetenv("SKV_OPENCL_PTX");
}

/* What GPUs run, on a CPU. */
static void without_serial(void **state)
{
    (void)state;
    setenv("SKV_OPENCL_SERIAL", "off", 1);
    check("", &(struct call){128, SKV_F16, 36, 4, 0}, "compress opencl portable", PORTABLE_DECOMPRESS, PORTABLE_ATTEND,
          NULL);
    unsetenv("SKV_OPENCL_SERIAL");
}

/* In a process of its own: what the first OpenCL device says about itself under the given variables. */
static void describe(const char *version, const char *method, skv_device_info *info)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("SKV_OPENCL_LIBRARY", library_path, 1);
        setenv("SKV_FAKE_DRIVER_VERSION", version, 1);
        unsetenv("POCL_WORK_GROUP_METHOD");
        if (method)
            setenv("POCL_WORK_GROUP_METHOD", method, 1);
        bool found = false;
        for (uint32_t i = 0; i < skv_device_count() && !found; i++) {
            *info = (skv_device_info){.struct_size = sizeof *info};
            TRY(skv_device_find(i, info));
            found = strcmp(info->id, "opencl:0") == 0;
        }
        skv_device *device = NULL;
        skv_device_params params = {.struct_size = sizeof params, .id = "opencl:0"};
        bool opened = skv_device_open(&params, &device) == SKV_OK;
        skv_device_release(device);
        _exit(found && opened == (info->usable != 0) && write(ends[1], info, sizeof *info) == sizeof *info ? 0 : 6);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], info, sizeof *info), sizeof *info);
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* PoCL 5.0, which ends processes, is not opened unless told to compile in another way. */
static void quirks(void **state)
{
    (void)state;
    skv_device_info info;
    describe("5.0+debian", NULL, &info);
    assert_false(info.usable);
    assert_non_null(strstr(info.reason, "PoCL 5.0"));
    describe("5.0+debian", "loopvec", &info);
    assert_false(info.usable);
    describe("5.0+debian", "cbs", &info);
    assert_true(info.usable);
    describe("5.1+debian", NULL, &info);
    assert_true(info.usable);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: nvidia-test LIBRARY\n", stderr);
        return 2;
    }
    library_path = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(serves),         cmocka_unit_test(serves_others),
                                       cmocka_unit_test(trials),         cmocka_unit_test(unfit),
                                       cmocka_unit_test(refused),        cmocka_unit_test(one_refused),
                                       cmocka_unit_test(old_device),     cmocka_unit_test(switched_off),
                                       cmocka_unit_test(without_serial), cmocka_unit_test(quirks)};
    return cmocka_run_group_tests_name("nvidia", tests, NULL, NULL);
}
