/* SPDX-License-Identifier: Apache-2.0
 *
 * Compression and decompression on trial.
 */
#include <inttypes.h>

#include "backends/opencl/nvidia/probe.h"

#define TOKENS 40
#define SLOTS 64

/* ---- compression */

#define D 128
#define KEPT 40
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
        memset(right, t < TOKENS ? 0 : SKV_PROBE_POISON, sizeof right);
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

static enum skv_status run_compress(struct skv_probe *probe, cl_kernel kernel)
{
    struct compress_case *data = (struct compress_case *)probe->bytes;
    struct skv_layout_slot slot = skv_probe_slot(D, SKV_RECORD_BYTES(D, KEPT), SLOTS);
    struct skv_layout layout = skv_probe_layout(&slot, SKV_F16, D, SLOTS);
    for (uint32_t i = 0; i < TOKENS * D; i++)
        data->rows[i] = row_bits(i / D, i % D);
    SKV_TRY(skv_probe_upload(probe));
    struct skv_compress_params params = {.struct_size = sizeof params,
                                         .n_tokens = TOKENS,
                                         .in = {skv_probe_span(probe, data->rows), D, D},
                                         .pool = {&layout, skv_probe_span(probe, data->pages), 1},
                                         .select = {.strategy = SKV_TOKEN_MAGNITUDE, .kept = KEPT}};
    SKV_TRY(skv_nvidia_compress_launch(probe->queue, &params, kernel));
    SKV_TRY(skv_probe_download(probe));
    return check_records(((const struct compress_case *)probe->got)->pages);
}

enum skv_status skv_nvidia_probe_compress(struct skv_cl_queue *queue, cl_kernel kernel)
{
    struct skv_probe probe;
    enum skv_status status = skv_probe_open(&probe, queue, sizeof(struct compress_case), 0);
    if (status == SKV_OK)
        status = run_compress(&probe, kernel);
    skv_probe_close(&probe);
    return status;
}

/* ---- decompression */

#define D_MAX 256
#define STRIDE_MAX (SKV_BITMAP_BYTES(D_MAX) + 2 * D_MAX)

struct decompress_case {
    uint16_t out[SLOTS * D_MAX];
    unsigned char pages[SLOTS * STRIDE_MAX];
};

/* The value of a channel, 0 where it was pruned. */
static uint16_t value_bits(uint32_t head_dim, uint32_t kept, uint32_t t, uint32_t c)
{
    return (uint16_t)((13 * c + 7 * t) % head_dim < kept ? 0x3800 + 5 * c + 257 * t : 0);
}

static void fill_record(uint32_t head_dim, uint32_t kept, uint32_t t, unsigned char *record)
{
    uint16_t *values = (uint16_t *)(record + SKV_BITMAP_BYTES(head_dim));
    memset(record, 0, SKV_BITMAP_BYTES(head_dim));
    for (uint32_t c = 0; c < head_dim; c++)
        if (value_bits(head_dim, kept, t, c)) {
            record[c / 8] |= (unsigned char)(1u << c % 8);
            *values++ = value_bits(head_dim, kept, t, c);
        }
}

/* Rows past the last token stay as they were. */
static enum skv_status check_rows(const uint16_t *out, uint32_t head_dim, uint32_t kept)
{
    for (uint32_t i = 0; i < SLOTS * head_dim; i++) {
        uint32_t t = i / head_dim, c = i % head_dim;
        uint16_t right = t < TOKENS ? value_bits(head_dim, kept, t, c) : SKV_PROBE_POISON * 0x101;
        if (out[i] != right)
            return skv_fail(SKV_ERROR_DEVICE, "channel %" PRIu32 " of token %" PRIu32 " is 0x%x; it should be 0x%x", c,
                            t, out[i], right);
    }
    return SKV_OK;
}

static enum skv_status run_decompress(struct skv_probe *probe, uint32_t head_dim, cl_kernel kernel)
{
    struct decompress_case *data = (struct decompress_case *)probe->bytes;
    uint32_t row_stride = skv_round_up(SKV_RECORD_BYTES(head_dim, head_dim / 2), 16);
    struct skv_layout_slot slot = skv_probe_slot(head_dim, row_stride, SLOTS);
    struct skv_layout layout = skv_probe_layout(&slot, SKV_F16, head_dim, SLOTS);
    for (uint32_t t = 0; t < TOKENS; t++)
        fill_record(head_dim, slot.kept, t, data->pages + (size_t)t * slot.row_stride);
    SKV_TRY(skv_probe_upload(probe));
    struct skv_decompress_params params = {.struct_size = sizeof params,
                                           .n_tokens = TOKENS,
                                           .pool = {&layout, skv_probe_span(probe, data->pages), 1},
                                           .out = {skv_probe_span(probe, data->out), head_dim, head_dim}};
    SKV_TRY(skv_nvidia_decompress_launch(probe->queue, &params, kernel));
    SKV_TRY(skv_probe_download(probe));
    return check_rows(((const struct decompress_case *)probe->got)->out, head_dim, slot.kept);
}

enum skv_status skv_nvidia_probe_decompress(struct skv_cl_queue *queue, uint32_t head_dim, cl_kernel kernel)
{
    struct skv_probe probe;
    enum skv_status status = skv_probe_open(&probe, queue, sizeof(struct decompress_case), 0);
    if (status == SKV_OK)
        status = run_decompress(&probe, head_dim, kernel);
    skv_probe_close(&probe);
    return status;
}
