/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention on trial.
 */
#include <inttypes.h>
#include <math.h>

#include "backends/opencl/nvidia/probe.h"
#include "core/numbers.h"

#define D_MAX 256
#define TOKENS 40
#define TAIL 3
#define PAGE 32
#define BLOCKS 2
#define ROWS_MAX 16
#define SCALE 0.125f
/* Weights are rounded to the data type: bf16 has 8 bits. A result that is wrong is further off. */
#define TOLERANCE (1.0 / 64)

/* What a case is made of. */
struct shape {
    uint32_t head_dim, rows, dtype, kept;
};

/* Of K (0) or V (1): multiples of 1/8, exact in both data types. 13 is odd, so that all channels have all remainders.
 */
static float value_of(const struct shape *shape, uint32_t which, uint32_t t, uint32_t c)
{
    bool is_kept = t >= TOKENS || (13 * c + 7 * t + 5 * which) % shape->head_dim < shape->kept;
    return is_kept ? (float)((int)((5 * c + 11 * t + 3 * which) % 17) - 8) / 8 : 0;
}

static float query_of(uint32_t row, uint32_t c)
{
    return (float)((int)((3 * c + 7 * row) % 17) - 8) / 8;
}

static uint16_t bits_of(float value, uint32_t dtype)
{
    return dtype == SKV_BF16 ? skv_bf16_from_f32(value) : skv_f16_from_f32(value);
}

struct attend_case {
    uint16_t q[ROWS_MAX * D_MAX], tail[2][TAIL * D_MAX];
    float out[ROWS_MAX * D_MAX], lse[ROWS_MAX];
    int32_t blocks[16];
    unsigned char pages[2][BLOCKS * PAGE * (SKV_BITMAP_BYTES(D_MAX) + 2 * D_MAX)];
};

static void fill_record(const struct shape *shape, uint32_t which, uint32_t t, unsigned char *record)
{
    uint16_t *values = (uint16_t *)(record + SKV_BITMAP_BYTES(shape->head_dim));
    memset(record, 0, SKV_BITMAP_BYTES(shape->head_dim));
    for (uint32_t c = 0; c < shape->head_dim; c++)
        if ((13 * c + 7 * t + 5 * which) % shape->head_dim < shape->kept) {
            record[c / 8] |= (unsigned char)(1u << c % 8);
            *values++ = bits_of(value_of(shape, which, t, c), shape->dtype);
        }
}

static void fill_case(struct attend_case *data, const struct shape *shape, uint32_t row_stride)
{
    uint32_t d = shape->head_dim;
    for (uint32_t i = 0; i < shape->rows * d; i++)
        data->q[i] = bits_of(query_of(i / d, i % d), shape->dtype);
    /* Blocks are not in order. */
    for (int32_t i = 0; i < BLOCKS; i++)
        data->blocks[i] = BLOCKS - 1 - i;
    for (uint32_t which = 0; which < 2; which++) {
        for (uint32_t t = 0; t < TOKENS; t++)
            fill_record(shape, which, t, data->pages[which] + ((BLOCKS - 1 - t / PAGE) * PAGE + t % PAGE) * row_stride);
        for (uint32_t i = 0; i < TAIL * d; i++)
            data->tail[which][i] = bits_of(value_of(shape, which, TOKENS + i / d, i % d), shape->dtype);
    }
}

static enum skv_status check_row(const struct attend_case *got, const struct shape *shape, uint32_t row)
{
    double weight[TOKENS + TAIL], most = -1e30, total = 0;
    for (uint32_t t = 0; t < TOKENS + TAIL; t++) {
        weight[t] = 0;
        for (uint32_t c = 0; c < shape->head_dim; c++)
            weight[t] += SCALE * query_of(row, c) * value_of(shape, 0, t, c);
        most = weight[t] > most ? weight[t] : most;
    }
    for (uint32_t t = 0; t < TOKENS + TAIL; t++) {
        weight[t] = exp(weight[t] - most);
        total += weight[t];
    }
    double lse = most + log(total);
    if (!(fabs(got->lse[row] - lse) <= TOLERANCE))
        return skv_fail(SKV_ERROR_DEVICE, "lse[%" PRIu32 "] is %g; it should be %g", row, got->lse[row], lse);
    for (uint32_t c = 0; c < shape->head_dim; c++) {
        double sum = 0, out = got->out[row * shape->head_dim + c];
        for (uint32_t t = 0; t < TOKENS + TAIL; t++)
            sum += weight[t] * value_of(shape, 1, t, c);
        if (!(fabs(out - sum / total) <= TOLERANCE))
            return skv_fail(SKV_ERROR_DEVICE, "out[%" PRIu32 "][%" PRIu32 "] is %g; it should be %g", row, c, out,
                            sum / total);
    }
    return SKV_OK;
}

/* The stride of a kernel's records: its own, or one that starts its lanes' tokens in different banks. */
static uint32_t stride_of(const struct skv_tensor_variant *variant)
{
    uint32_t apart4 = variant->head_dim == 64 ? 96 : 160;
    return variant->stride ? variant->stride : variant->apart == 4 ? apart4 : 112;
}

/* With a group for the unit, with two that share it, and with two that have parts of the line. */
static enum skv_status run_attend(struct skv_probe *probe, int i_variant, cl_kernel kernel)
{
    const struct skv_tensor_variant *variant = &skv_nvidia_attend_kernels.variants[i_variant];
    struct attend_case *data = (struct attend_case *)probe->bytes;
    uint32_t d = variant->head_dim, row_stride = stride_of(variant);
    struct skv_layout_slot slot = skv_probe_slot(d, row_stride, PAGE);
    struct skv_layout layout = skv_probe_layout(&slot, variant->dtype, d, PAGE);
    const struct shape shape = {d, variant->rows, variant->dtype, slot.kept};
    fill_case(data, &shape, row_stride);
    SKV_TRY(skv_probe_upload(probe));
    struct skv_attend_params params = {.struct_size = sizeof params,
                                       .n_seqs = 1,
                                       .n_new = 1,
                                       .n_q_heads = variant->rows,
                                       .n_kv_heads = 1,
                                       .head_dim = d,
                                       .dtype = variant->dtype,
                                       .q_dtype = variant->dtype,
                                       .out_dtype = SKV_F32,
                                       .q = skv_probe_span(probe, data->q),
                                       .q_head_stride = d,
                                       .out = skv_probe_span(probe, data->out),
                                       .out_head_stride = d,
                                       .lse = skv_probe_span(probe, data->lse),
                                       .k_pool = {&layout, skv_probe_span(probe, data->pages[0]), BLOCKS},
                                       .v_pool = {&layout, skv_probe_span(probe, data->pages[1]), BLOCKS},
                                       .k_blocks = skv_probe_span(probe, data->blocks),
                                       .v_blocks = skv_probe_span(probe, data->blocks),
                                       .block_stride = BLOCKS,
                                       .max_cache_tokens = TOKENS,
                                       .k_tail = skv_probe_span(probe, data->tail[0]),
                                       .v_tail = skv_probe_span(probe, data->tail[1]),
                                       .tail_seq_stride = (uint64_t)TAIL * d,
                                       .tail_token_stride = d,
                                       .tail_head_stride = d,
                                       .max_tail_tokens = TAIL,
                                       .scale = SCALE,
                                       .workspace = skv_probe_span(probe, data + 1)};
    const struct skv_attend_plan plan = {.split_tokens = PAGE * BLOCKS, .n_splits = 1};
    const struct skv_tensor_limits limits = skv_nvidia_attend_limits(probe->queue->base.base.device);
    const struct skv_tensor_cut ways[] = {
        {.n_groups = 1, .groups_of_unit = 1}, {.n_groups = 2, .groups_of_unit = 2}, {.n_groups = 2, .end_chunks = 4}};
    struct skv_tensor_cut cut;
    if (!skv_tensor_cut(&limits, &params, variant, &cut))
        return skv_fail(SKV_ERROR_UNSUPPORTED, "the device has no room for a group of the kernel");
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        cut.n_groups = ways[i].n_groups;
        cut.groups_of_unit = ways[i].groups_of_unit;
        cut.end_chunks = ways[i].end_chunks;
        SKV_TRY(skv_nvidia_attend_launch(probe->queue, &params, &plan, i_variant, &cut, kernel));
        SKV_TRY(skv_probe_download(probe));
        for (uint32_t row = 0; row < variant->rows; row++)
            SKV_TRY(check_row(probe->got, &shape, row));
        SKV_TRY(skv_probe_upload(probe));
    }
    return SKV_OK;
}

enum skv_status skv_nvidia_probe_attend(struct skv_cl_queue *queue, int i_variant, cl_kernel kernel)
{
    struct skv_probe probe;
    const struct skv_attend_params shape = {.n_new = 1,
                                            .head_dim = skv_nvidia_attend_kernels.variants[i_variant].head_dim};
    uint64_t workspace_bytes = skv_nvidia_attend_workspace(queue->base.base.device, &shape);
    enum skv_status status = skv_probe_open(&probe, queue, sizeof(struct attend_case), workspace_bytes);
    if (status == SKV_OK)
        status = run_attend(&probe, i_variant, kernel);
    skv_probe_close(&probe);
    return status;
}
