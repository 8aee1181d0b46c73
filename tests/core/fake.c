/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <stdio.h>
#include <string.h>

#include "core/registry.h"

struct fake_record fake;
struct skv_limits fake_limits;

static const struct skv_limits usual_limits = {
    .dtypes = 1u << SKV_F16 | 1u << SKV_BF16,
    .query_dtypes = 1u << SKV_F16 | 1u << SKV_BF16 | 1u << SKV_F32,
    .forms = 1u << SKV_FIXED | 1u << SKV_RAGGED,
    .strategies = 0x7f,
    .head_dim_max = 512,
    .page_tokens_max = 4096,
    .group_max = 64,
    .new_tokens_max = 64,
    .offset_alignment = 16,
    .buffer_bytes_max = 1ull << 40,
};

static skv_status answer(void)
{
    fake.n_calls++;
    skv_status status = fake.fail;
    fake.fail = SKV_OK;
    return status == SKV_OK ? SKV_OK : skv_fail(status, "the fake was told to fail");
}

static void *object(size_t n_bytes)
{
    fake.n_open++;
    return skv_alloc(n_bytes);
}

static void drop(void *memory)
{
    fake.n_open--;
    skv_free(memory);
}

static void close_device(struct skv_device *device)
{
    drop(device);
}

static skv_status buffer_create(struct skv_device *device, const struct skv_buffer_params *params,
                                struct skv_buffer **buffer)
{
    (void)device;
    *buffer = object(sizeof **buffer);
    (*buffer)->native = params->native;
    return SKV_OK;
}

static void buffer_destroy(struct skv_buffer *buffer)
{
    drop(buffer);
}

static skv_status buffer_write(struct skv_queue *queue, struct skv_span to, const void *from, uint64_t n_bytes)
{
    (void)queue, (void)to, (void)from, (void)n_bytes;
    return answer();
}

static skv_status buffer_read(struct skv_queue *queue, void *to, struct skv_span from, uint64_t n_bytes)
{
    (void)queue, (void)to, (void)from, (void)n_bytes;
    return answer();
}

static skv_status buffer_copy(struct skv_queue *queue, struct skv_span to, struct skv_span from, uint64_t n_bytes)
{
    (void)queue, (void)to, (void)from, (void)n_bytes;
    return answer();
}

static skv_status buffer_fill(struct skv_queue *queue, struct skv_span to, uint8_t value, uint64_t n_bytes)
{
    (void)queue, (void)to, (void)value, (void)n_bytes;
    return answer();
}

static skv_status queue_create(struct skv_device *device, const struct skv_queue_params *params,
                               struct skv_queue **queue)
{
    (void)device, (void)params;
    *queue = object(sizeof **queue);
    return SKV_OK;
}

static void queue_destroy(struct skv_queue *queue)
{
    drop(queue);
}

static skv_status queue_finish(struct skv_queue *queue)
{
    (void)queue;
    return answer();
}

static skv_status timer_create(struct skv_device *device, struct skv_timer **timer)
{
    (void)device;
    *timer = object(sizeof **timer);
    return SKV_OK;
}

static void timer_destroy(struct skv_timer *timer)
{
    drop(timer);
}

static skv_status timer_mark(struct skv_timer *timer, struct skv_queue *queue, int is_stop)
{
    (void)timer, (void)queue, (void)is_stop;
    return answer();
}

static skv_status timer_read(struct skv_timer *timer, uint64_t *nanoseconds)
{
    (void)timer;
    *nanoseconds = 7;
    return answer();
}

#define RECORD(NAME, TYPE)                                                     \
    static skv_status NAME(struct skv_queue *queue, const struct TYPE *params) \
    {                                                                          \
        (void)queue;                                                           \
        fake.NAME = *params;                                                   \
        return answer();                                                       \
    }
RECORD(prune, skv_prune_params)
RECORD(weights, skv_channel_weights_params)
RECORD(compress, skv_compress_params)
RECORD(decompress, skv_decompress_params)
RECORD(merge, skv_merge_params)

static skv_status attend(struct skv_queue *queue, const struct skv_attend_params *params,
                         const struct skv_attend_plan *plan)
{
    (void)queue;
    fake.attend = *params;
    fake.plan = *plan;
    return answer();
}

static const struct skv_device_ops ops = {
    .close = close_device,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .buffer_write = buffer_write,
    .buffer_read = buffer_read,
    .buffer_copy = buffer_copy,
    .buffer_fill = buffer_fill,
    .queue_create = queue_create,
    .queue_destroy = queue_destroy,
    .queue_finish = queue_finish,
    .timer_create = timer_create,
    .timer_destroy = timer_destroy,
    .timer_mark = timer_mark,
    .timer_read = timer_read,
    .prune = prune,
    .channel_weights = weights,
    .compress = compress,
    .decompress = decompress,
    .attend = attend,
    .merge = merge,
};

static uint32_t probe(char *reason, size_t reason_bytes)
{
    (void)reason, (void)reason_bytes;
    return 2;
}

/* Device 0 is broken, device 1 works. */
static void describe(uint32_t i_device, struct skv_device_info *info)
{
    snprintf(info->id, sizeof info->id, "fake:%u", i_device);
    snprintf(info->backend, sizeof info->backend, "fake");
    info->usable = i_device == 1;
    if (i_device == 0)
        snprintf(info->reason, sizeof info->reason, "it is broken on purpose");
}

static skv_status open_device(uint32_t i_device, const struct skv_device_params *params, struct skv_device **device)
{
    (void)params;
    *device = object(sizeof **device);
    (*device)->ops = &ops;
    (*device)->limits = fake_limits;
    describe(i_device, &(*device)->info);
    return SKV_OK;
}

const struct skv_backend fake_backend = {"fake", probe, describe, open_device};

static skv_buffer *make_buffer(skv_device *device)
{
    skv_buffer_params params = {.struct_size = sizeof params, .bytes = 1 << 20};
    skv_buffer *buffer;
    assert_int_equal(skv_buffer_create(device, &params, &buffer), SKV_OK);
    return buffer;
}

int fake_open(void **state)
{
    static struct fixture fixture;
    memset(&fake, 0, sizeof fake);
    fake_limits = usual_limits;
    skv_registry_set_test_backend(&fake_backend);
    skv_device_params params = {.struct_size = sizeof params, .id = "fake"};
    skv_layout_params layout = {.struct_size = sizeof layout, .head_dim = 128, .n_kv_heads = 2, .kept = 40};
    assert_int_equal(skv_device_open(&params, &fixture.device), SKV_OK);
    assert_int_equal(skv_queue_create(fixture.device, NULL, &fixture.queue), SKV_OK);
    fixture.buffer = make_buffer(fixture.device);
    assert_int_equal(skv_layout_create(&layout, &fixture.layout), SKV_OK);
    layout.form = SKV_RAGGED;
    layout.kept = 0;
    assert_int_equal(skv_layout_create(&layout, &fixture.ragged), SKV_OK);
    *state = &fixture;
    return 0;
}

int fake_close(void **state)
{
    struct fixture *fixture = *state;
    skv_layout_destroy(fixture->layout);
    skv_layout_destroy(fixture->ragged);
    skv_buffer_destroy(fixture->buffer);
    skv_queue_destroy(fixture->queue);
    skv_device_release(fixture->device);
    skv_registry_set_test_backend(NULL);
    assert_int_equal(fake.n_open, 0);
    return 0;
}

void expect_failure(skv_status got, skv_status want, const char *text)
{
    if (got != want || !strstr(skv_error_message(), text))
        fail_msg("expected %s naming \"%s\", got %s: %s", skv_status_name(want), text, skv_status_name(got),
                 skv_error_message());
    assert_int_equal(fake.n_calls, 0);
}

skv_attend_params fake_attend_params(const struct fixture *fixture)
{
    return (skv_attend_params){.struct_size = sizeof(skv_attend_params),
                               .n_seqs = 2,
                               .n_new = 1,
                               .n_q_heads = 6,
                               .n_kv_heads = 2,
                               .head_dim = 128,
                               .q = {fixture->buffer, 0},
                               .out = {fixture->buffer, 65536},
                               .k_pool = {fixture->layout, {fixture->buffer, 0}, 20},
                               .v_pool = {fixture->layout, {fixture->buffer, 16}, 20},
                               .k_blocks = {fixture->buffer, 4},
                               .max_cache_tokens = 600,
                               .k_tail = {fixture->buffer, 0},
                               .v_tail = {fixture->buffer, 0},
                               .max_tail_tokens = 30,
                               .workspace = {fixture->buffer, 64}};
}
