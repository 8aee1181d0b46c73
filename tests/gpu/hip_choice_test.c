/* SPDX-License-Identifier: Apache-2.0
 *
 * Which attention kernel the HIP backend takes for a call, on a device of its own fake driver. What kernels compute is
 * left to the conformance suite.
 */
#include <stdlib.h>

#include "tests/gpu/hip_choice_test.h"

#include "backends/hip/hip.h"

enum { N_BYTES = 1 << 20, N_TOKENS = 64, N_TAIL = 16 };

/* A call that the matrix kernels serve, but for what is changed. */
struct call {
    skv_layout_params layout;
    skv_attend_params params;
};

static struct call plain(unsigned dtype)
{
    return (struct call){.layout = {.struct_size = sizeof(skv_layout_params),
                                    .dtype = dtype,
                                    .head_dim = 128,
                                    .n_kv_heads = 1,
                                    .kept = 40},
                         .params = {.struct_size = sizeof(skv_attend_params),
                                    .n_seqs = 1,
                                    .n_new = 1,
                                    .n_q_heads = 4,
                                    .n_kv_heads = 1,
                                    .head_dim = 128,
                                    .dtype = dtype,
                                    .max_cache_tokens = N_TOKENS,
                                    .max_tail_tokens = N_TAIL}};
}

/* Everything in it is 0. */
static skv_buffer *zeros(skv_device *device, skv_queue *queue)
{
    skv_buffer *buffer = NULL;
    skv_buffer_params params = {.struct_size = sizeof params, .bytes = N_BYTES};
    assert_int_equal(skv_buffer_create(device, &params, &buffer), SKV_OK);
    assert_int_equal(skv_buffer_fill(queue, (skv_span){buffer, 0}, 0, N_BYTES), SKV_OK);
    return buffer;
}

/* Runs the call and checks which kernel did. */
static void check(struct call c, const char *kernel)
{
    skv_device *device = NULL;
    skv_queue *queue = NULL;
    skv_layout *layout = NULL;
    skv_device_params device_params = {.struct_size = sizeof device_params, .id = "hip:0"};
    skv_queue_params queue_params = {.struct_size = sizeof queue_params};
    assert_int_equal(skv_device_open(&device_params, &device), SKV_OK);
    assert_int_equal(skv_queue_create(device, &queue_params, &queue), SKV_OK);
    c.layout.head_dim = c.params.head_dim;
    assert_int_equal(skv_layout_create(&c.layout, &layout), SKV_OK);
    skv_buffer *in = zeros(device, queue), *out = zeros(device, queue), *workspace = zeros(device, queue);
    skv_attend_params *p = &c.params;
    p->k_pool = p->v_pool = (skv_pool){layout, {in, 0}, 1};
    p->k_blocks = p->q = (skv_span){in, 0};
    p->k_tail = (skv_span){in, p->k_tail.offset};
    p->v_tail = (skv_span){in, 0};
    p->out = (skv_span){out, 0};
    p->workspace = (skv_span){workspace, 0};
    assert_int_equal(skv_attend(queue, p), SKV_OK);
    assert_string_equal(skv_queue_last_kernel(queue), kernel);
    assert_int_equal(skv_queue_finish(queue), SKV_OK);
    skv_buffer_destroy(in);
    skv_buffer_destroy(out);
    skv_buffer_destroy(workspace);
    skv_layout_destroy(layout);
    skv_queue_destroy(queue);
    skv_device_release(device);
}

static void check_waves(bool has_dots)
{
    struct call c = plain(SKV_F16);
    c.params.n_q_heads = 5;
    check(c, "attend hip matrix.d128_f16");
    check(plain(SKV_BF16), has_dots ? "attend hip dot.d128_m4_bf16" : "attend hip matrix.d128_bf16");
    check(plain(SKV_F16), has_dots ? "attend hip dot.d128_m4_f16" : "attend hip matrix.d128_f16");
    c.params.n_q_heads = 1;
    check(c, has_dots ? "attend hip dot.d128_m1_f16" : "attend hip matrix.d128_f16");
    c.params.n_q_heads = 17;
    check(c, "attend hip matrix.d128_f16");
    c.params.split_tokens = 32;
    check(c, "attend hip matrix.d128_f16 + merge");
    c.layout.kept = 88;
    check(c, "attend hip matrix.d128_f16 + merge");
    c = plain(SKV_F16);
    c.params.n_q_heads = 8;
    c.params.max_cache_tokens = 0;
    check(c, "attend hip matrix.d128_f16");
    c = plain(SKV_BF16);
    c.params.head_dim = 64;
    c.layout.kept = 60;
    check(c, "attend hip matrix.d64_bf16");
    c = plain(SKV_F16);
    c.params.head_dim = 256;
    c.layout.kept = 176;
    check(c, "attend hip matrix.d256_f16");

    c = plain(SKV_F16);
    c.params.k_tail.offset = 2;
    check(c, "attend hip portable.d128.m4");
    c = plain(SKV_F16);
    c.layout.kept = 89;
    check(c, "attend hip portable.d128.m4");
    c.params.head_dim = 64;
    c.layout.kept = 61;
    check(c, "attend hip portable.d64.m4");
    c.params.head_dim = 256;
    c.layout.kept = 177;
    check(c, "attend hip portable.d256.m4");
    c = plain(SKV_F16);
    c.layout.form = SKV_RAGGED;
    check(c, "attend hip portable.d128.m4");
    c = plain(SKV_F16);
    c.params.n_new = 2;
    check(c, "attend hip portable.d128.m8");
    c = plain(SKV_F16);
    c.params.q_dtype = SKV_F32;
    check(c, "attend hip portable.d128.m4");
    c = plain(SKV_F16);
    c.params.window = 8;
    check(c, "attend hip portable.d128.m4");
    c = plain(SKV_F16);
    c.params.softcap = 1;
    check(c, "attend hip portable.d128.m4");
    c = plain(SKV_F16);
    c.params.scale = -1;
    check(c, "attend hip portable.d128.m4");
    c = plain(SKV_F16);
    c.params.head_dim = 120;
    check(c, "attend hip portable.d128.m4");
}

static void check_without_matrices(void)
{
    struct call c = plain(SKV_F16);
    check(c, "attend hip dot.d128_m4_f16");
    c.params.n_q_heads = 1;
    c.params.split_tokens = 32;
    check(c, "attend hip dot.d128_m1_f16 + merge");
    c.params.n_q_heads = 17;
    c.params.head_dim = 64;
    check(c, "attend hip dot.d64_m4_f16 + merge");
    c.params.head_dim = 256;
    check(c, "attend hip portable.d256.m8 + merge");
    check(plain(SKV_BF16), "attend hip portable.d128.m4");
    c = plain(SKV_F16);
    c.layout.kept = 89;
    check(c, "attend hip portable.d128.m4");
}

/* A device that says what it is, if there is code for it. */
static void check_on(const char *gfx, void (*check_device)(void))
{
    size_t n_bytes = (size_t)(skv_hip_image_end - skv_hip_image);
    if (n_bytes > 64 && !skv_hip_targets_fit(skv_hip_image, n_bytes, gfx))
        return;
    setenv("SKV_FAKE_GFX", gfx, 1);
    check_device();
    unsetenv("SKV_FAKE_GFX");
}

static void check_matrices(void)
{
    check_waves(false);
}

void test_choice(void **state)
{
    (void)state;
    check_waves(false);
    check_on("gfx906", check_without_matrices);
    setenv("SKV_FAKE_WAVE", "32", 1);
    check_waves(true);
    check_on("gfx1030", check_without_matrices);
    check_on("gfx1201", check_matrices);
    unsetenv("SKV_FAKE_WAVE");
}
