/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernels on trial: small cases with known answers, computed here from what FORMAT.md says.
 */
#include <inttypes.h>
#include <math.h>

#include "backends/opencl/nvidia/nvidia.h"
#include "core/numbers.h"

#define D 128
#define TOKENS 40
#define TAIL 3
#define PAGE 32
#define BLOCKS 2
#define ROWS_MAX 8
#define SCALE 0.125f
/* Weights are rounded to the data type: bf16 has 8 bits. A result that is wrong is further off. */
#define TOLERANCE (1.0 / 64)
#define POISON 0xa5

/* A case's memory on the host, and its copy on the device. */
struct arena {
    struct skv_cl_queue *queue;
    struct skv_buffer *buffer;
    unsigned char *bytes;
    size_t n_bytes;
};

static void arena_close(struct arena *arena)
{
    if (arena->buffer)
        skv_cl_buffer_destroy(arena->buffer);
    skv_free(arena->bytes);
}

/* The device has n_more bytes behind the case. */
static enum skv_status arena_open(struct arena *arena, struct skv_cl_queue *queue, size_t n_bytes, uint64_t n_more)
{
    struct skv_device *device = queue->base.base.device;
    struct skv_buffer_params params = {.struct_size = sizeof params, .bytes = n_bytes + n_more};
    *arena = (struct arena){.queue = queue, .bytes = skv_alloc(n_bytes), .n_bytes = n_bytes};
    if (!arena->bytes)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a kernel's trial");
    memset(arena->bytes, POISON, n_bytes);
    SKV_TRY(skv_cl_buffer_create(device, &params, &arena->buffer));
    arena->buffer->device = device;
    arena->buffer->bytes = params.bytes;
    return SKV_OK;
}

static struct skv_span span_of(const struct arena *arena, const void *at)
{
    return (struct skv_span){arena->buffer, (uint64_t)((const unsigned char *)at - arena->bytes)};
}

static enum skv_status upload(const struct arena *arena)
{
    return skv_cl_buffer_write(&arena->queue->base.base, span_of(arena, arena->bytes), arena->bytes, arena->n_bytes);
}

/* Waits for the kernels and gets their faults first. */
static enum skv_status download(const struct arena *arena, void *to)
{
    SKV_TRY(skv_cl_queue_finish(&arena->queue->base.base));
    return skv_cl_buffer_read(&arena->queue->base.base, to, span_of(arena, arena->bytes), arena->n_bytes);
}

static struct skv_layout_slot slot_of(uint32_t row_stride, uint32_t page_tokens)
{
    /* Records that fill their stride. */
    uint32_t kept = (row_stride - SKV_BITMAP_BYTES(D)) / 2;
    return (struct skv_layout_slot){.kept = kept < D ? kept : D,
                                    .record_bytes = row_stride,
                                    .row_stride = row_stride,
                                    .page_bytes = (uint64_t)row_stride * page_tokens};
}

static struct skv_layout layout_of(struct skv_layout_slot *slot, uint32_t dtype, uint32_t page_tokens)
{
    return (struct skv_layout){.dtype = dtype,
                               .form = SKV_FIXED,
                               .head_dim = D,
                               .n_kv_heads = 1,
                               .page_tokens = page_tokens,
                               .n_words = SKV_BITMAP_WORDS(D),
                               .uniform = 1,
                               .block_bytes = slot->page_bytes,
                               .head = slot,
                               .kept = &slot->kept};
}

/* ---- attention */

/* Of K (0) or V (1): multiples of 1/8, exact in both data types. 13 is odd, so that any 128 channels have all
 * remainders. */
static float value_of(uint32_t which, uint32_t t, uint32_t c, uint32_t kept)
{
    bool is_kept = t >= TOKENS || (13 * c + 7 * t + 5 * which) % D < kept;
    return is_kept ? (float)((int)((5 * c + 11 * t + 3 * which) % 17) - 8) / 8 : 0;
}

static float query_of(uint32_t row, uint32_t c)
{
    return (float)((int)((3 * c + 7 * row) % 9) - 4) / 4;
}

static uint16_t bits_of(float value, uint32_t dtype)
{
    return dtype == SKV_BF16 ? skv_bf16_from_f32(value) : skv_f16_from_f32(value);
}

struct attend_case {
    uint16_t q[ROWS_MAX * D], tail[2][TAIL * D];
    float out[ROWS_MAX * D], lse[16];
    int32_t blocks[16];
    unsigned char pages[2][BLOCKS * PAGE * (SKV_BITMAP_BYTES(D) + 2 * D)];
};

static void fill_case(struct attend_case *data, const struct skv_layout *layout, uint32_t rows)
{
    uint32_t kept = layout->kept[0];
    for (uint32_t i = 0; i < rows * D; i++)
        data->q[i] = bits_of(query_of(i / D, i % D), layout->dtype);
    /* Blocks are not in order. */
    for (int32_t i = 0; i < BLOCKS; i++)
        data->blocks[i] = BLOCKS - 1 - i;
    for (uint32_t which = 0; which < 2; which++) {
        for (uint32_t t = 0; t < TOKENS; t++) {
            uint64_t place = (uint64_t)(BLOCKS - 1 - t / PAGE) * PAGE + t % PAGE;
            unsigned char *record = data->pages[which] + place * layout->head[0].row_stride;
            uint16_t *values = (uint16_t *)(record + SKV_BITMAP_BYTES(D));
            memset(record, 0, SKV_BITMAP_BYTES(D));
            for (uint32_t c = 0; c < D; c++)
                if ((13 * c + 7 * t + 5 * which) % D < kept) {
                    record[c / 8] |= (unsigned char)(1u << c % 8);
                    *values++ = bits_of(value_of(which, t, c, kept), layout->dtype);
                }
        }
        for (uint32_t i = 0; i < TAIL * D; i++)
            data->tail[which][i] = bits_of(value_of(which, TOKENS + i / D, i % D, kept), layout->dtype);
    }
}

static enum skv_status check_row(const struct attend_case *got, uint32_t row, uint32_t kept)
{
    double weight[TOKENS + TAIL], most = -1e30, total = 0;
    for (uint32_t t = 0; t < TOKENS + TAIL; t++) {
        weight[t] = 0;
        for (uint32_t c = 0; c < D; c++)
            weight[t] += SCALE * query_of(row, c) * value_of(0, t, c, kept);
        most = weight[t] > most ? weight[t] : most;
    }
    for (uint32_t t = 0; t < TOKENS + TAIL; t++) {
        weight[t] = exp(weight[t] - most);
        total += weight[t];
    }
    double lse = most + log(total);
    if (!(fabs(got->lse[row] - lse) <= TOLERANCE))
        return skv_fail(SKV_ERROR_DEVICE, "lse[%" PRIu32 "] is %g; it should be %g", row, got->lse[row], lse);
    for (uint32_t c = 0; c < D; c++) {
        double sum = 0;
        for (uint32_t t = 0; t < TOKENS + TAIL; t++)
            sum += weight[t] * value_of(1, t, c, kept);
        if (!(fabs(got->out[row * D + c] - sum / total) <= TOLERANCE))
            return skv_fail(SKV_ERROR_DEVICE, "out[%" PRIu32 "][%" PRIu32 "] is %g; it should be %g", row, c,
                            got->out[row * D + c], sum / total);
    }
    return SKV_OK;
}

/* With a group for the unit, with two that share it, and with two that have parts of the line. */
static enum skv_status run_attend(struct arena *arena, int i_variant, cl_kernel kernel, struct attend_case *got)
{
    const struct skv_tensor_variant *variant = &skv_nvidia_attend_kernels.variants[i_variant];
    struct attend_case *data = (struct attend_case *)arena->bytes;
    struct skv_layout_slot slot = slot_of(variant->stride ? variant->stride : variant->apart == 4 ? 160 : 112, PAGE);
    struct skv_layout layout = layout_of(&slot, variant->dtype, PAGE);
    fill_case(data, &layout, variant->rows);
    SKV_TRY(upload(arena));
    struct skv_attend_params params = {.struct_size = sizeof params,
                                       .n_seqs = 1,
                                       .n_new = 1,
                                       .n_q_heads = variant->rows,
                                       .n_kv_heads = 1,
                                       .head_dim = D,
                                       .dtype = variant->dtype,
                                       .q_dtype = variant->dtype,
                                       .out_dtype = SKV_F32,
                                       .q = span_of(arena, data->q),
                                       .q_head_stride = D,
                                       .out = span_of(arena, data->out),
                                       .out_head_stride = D,
                                       .lse = span_of(arena, data->lse),
                                       .k_pool = {&layout, span_of(arena, data->pages[0]), BLOCKS},
                                       .v_pool = {&layout, span_of(arena, data->pages[1]), BLOCKS},
                                       .k_blocks = span_of(arena, data->blocks),
                                       .v_blocks = span_of(arena, data->blocks),
                                       .block_stride = BLOCKS,
                                       .max_cache_tokens = TOKENS,
                                       .k_tail = span_of(arena, data->tail[0]),
                                       .v_tail = span_of(arena, data->tail[1]),
                                       .tail_seq_stride = (uint64_t)TAIL * D,
                                       .tail_token_stride = D,
                                       .tail_head_stride = D,
                                       .max_tail_tokens = TAIL,
                                       .scale = SCALE,
                                       .workspace = span_of(arena, data + 1)};
    const struct skv_attend_plan plan = {.split_tokens = PAGE * BLOCKS, .n_splits = 1};
    const struct skv_tensor_limits limits = skv_nvidia_attend_limits(arena->queue->base.base.device);
    const struct skv_tensor_cut ways[] = {
        {.n_groups = 1, .groups_of_unit = 1}, {.n_groups = 2, .groups_of_unit = 2}, {.n_groups = 2, .end_chunks = 4}};
    struct skv_tensor_cut cut;
    if (!skv_tensor_cut(&limits, &params, variant, &cut))
        return skv_fail(SKV_ERROR_UNSUPPORTED, "the device has no room for a group of the kernel");
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        cut.n_groups = ways[i].n_groups;
        cut.groups_of_unit = ways[i].groups_of_unit;
        cut.end_chunks = ways[i].end_chunks;
        SKV_TRY(skv_nvidia_attend_launch(arena->queue, &params, &plan, i_variant, &cut, kernel));
        SKV_TRY(download(arena, got));
        for (uint32_t row = 0; row < variant->rows; row++)
            SKV_TRY(check_row(got, row, slot.kept));
        SKV_TRY(upload(arena));
    }
    return SKV_OK;
}

enum skv_status skv_nvidia_probe_attend(struct skv_cl_queue *queue, int i_variant, cl_kernel kernel)
{
    struct arena arena;
    const struct skv_attend_params shape = {.n_new = 1, .head_dim = D};
    uint64_t workspace_bytes = skv_nvidia_attend_workspace(queue->base.base.device, &shape);
    struct attend_case *got = skv_alloc(sizeof *got);
    enum skv_status status = got ? arena_open(&arena, queue, sizeof *got, workspace_bytes)
                                 : skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a kernel's trial");
    if (status == SKV_OK)
        status = run_attend(&arena, i_variant, kernel, got);
    if (got)
        arena_close(&arena);
    skv_free(got);
    return status;
}

/* ---- compression */

#define KEPT 40
#define SLOTS 64
/* A token whose channels are all alike: the lower ones survive. */
#define TIED 7

struct compress_case {
    uint16_t rows[TOKENS * D];
    unsigned char pages[SLOTS * SKV_RECORD_BYTES(D, KEPT)];
};

/* Place of a channel among those of its token, from the least. */
static uint32_t rank_of(uint32_t t, uint32_t c)
{
    return t == TIED ? D - 1 - c : (37 * c + 11 * t) % D;
}

static uint16_t row_bits(uint32_t t, uint32_t c)
{
    return (uint16_t)((t == TIED ? 0x3900 : 0x3800 + rank_of(t, c)) | (c % 3 == 0 ? 0x8000 : 0));
}

static enum skv_status check_records(const unsigned char *pages)
{
    const uint32_t stride = SKV_RECORD_BYTES(D, KEPT);
    for (uint32_t t = 0; t < SLOTS; t++) {
        unsigned char right[SKV_RECORD_BYTES(D, KEPT)];
        unsigned char *values = right + SKV_BITMAP_BYTES(D);
        memset(right, t < TOKENS ? 0 : POISON, sizeof right);
        for (uint32_t c = 0; c < D && t < TOKENS; c++)
            if (rank_of(t, c) >= D - KEPT) {
                uint16_t bits = row_bits(t, c);
                right[c / 8] |= (unsigned char)(1u << c % 8);
                memcpy(values, &bits, sizeof bits);
                values += sizeof bits;
            }
        if (memcmp(pages + (size_t)t * stride, right, stride) != 0)
            return skv_fail(SKV_ERROR_DEVICE, "the record of token %" PRIu32 " is not the right one", t);
    }
    return SKV_OK;
}

static enum skv_status run_compress(struct arena *arena, cl_kernel kernel, struct compress_case *got)
{
    struct compress_case *data = (struct compress_case *)arena->bytes;
    struct skv_layout_slot slot = slot_of(SKV_RECORD_BYTES(D, KEPT), SLOTS);
    struct skv_layout layout = layout_of(&slot, SKV_F16, SLOTS);
    for (uint32_t i = 0; i < TOKENS * D; i++)
        data->rows[i] = row_bits(i / D, i % D);
    SKV_TRY(upload(arena));
    struct skv_compress_params params = {.struct_size = sizeof params,
                                         .n_tokens = TOKENS,
                                         .in = {span_of(arena, data->rows), D, D},
                                         .pool = {&layout, span_of(arena, data->pages), 1},
                                         .select = {.strategy = SKV_TOKEN_MAGNITUDE, .kept = KEPT}};
    SKV_TRY(skv_nvidia_compress_launch(arena->queue, &params, kernel));
    SKV_TRY(download(arena, got));
    return check_records(got->pages);
}

enum skv_status skv_nvidia_probe_compress(struct skv_cl_queue *queue, cl_kernel kernel)
{
    struct arena arena;
    struct compress_case *got = skv_alloc(sizeof *got);
    enum skv_status status = got ? arena_open(&arena, queue, sizeof *got, 0)
                                 : skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a kernel's trial");
    if (status == SKV_OK)
        status = run_compress(&arena, kernel, got);
    if (got)
        arena_close(&arena);
    skv_free(got);
    return status;
}
