/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/opencl/nvidia/probe.h"

void skv_probe_close(struct skv_probe *probe)
{
    if (probe->buffer)
        skv_cl_buffer_destroy(probe->buffer);
    skv_free(probe->bytes);
}

enum skv_status skv_probe_open(struct skv_probe *probe, struct skv_cl_queue *queue, size_t n_bytes, uint64_t n_more)
{
    struct skv_device *device = queue->base.base.device;
    struct skv_buffer_params params = {.struct_size = sizeof params, .bytes = n_bytes + n_more};
    *probe = (struct skv_probe){.queue = queue, .bytes = skv_alloc(2 * n_bytes), .n_bytes = n_bytes};
    if (!probe->bytes)
        return skv_fail(SKV_ERROR_OUT_OF_MEMORY, "no memory for a kernel's trial");
    probe->got = probe->bytes + n_bytes;
    memset(probe->bytes, SKV_PROBE_POISON, n_bytes);
    SKV_TRY(skv_cl_buffer_create(device, &params, &probe->buffer));
    probe->buffer->device = device;
    probe->buffer->bytes = params.bytes;
    return SKV_OK;
}

struct skv_span skv_probe_span(const struct skv_probe *probe, const void *at)
{
    return (struct skv_span){probe->buffer, (uint64_t)((const unsigned char *)at - probe->bytes)};
}

enum skv_status skv_probe_upload(const struct skv_probe *probe)
{
    return skv_cl_buffer_write(&probe->queue->base.base, skv_probe_span(probe, probe->bytes), probe->bytes,
                               probe->n_bytes);
}

enum skv_status skv_probe_download(const struct skv_probe *probe)
{
    SKV_TRY(skv_cl_queue_finish(&probe->queue->base.base));
    return skv_cl_buffer_read(&probe->queue->base.base, probe->bytes + probe->n_bytes,
                              skv_probe_span(probe, probe->bytes), probe->n_bytes);
}

struct skv_layout_slot skv_probe_slot(uint32_t head_dim, uint32_t row_stride, uint32_t page_tokens)
{
    uint32_t kept = (row_stride - SKV_BITMAP_BYTES(head_dim)) / 2;
    return (struct skv_layout_slot){.kept = kept < head_dim ? kept : head_dim,
                                    .record_bytes = row_stride,
                                    .row_stride = row_stride,
                                    .page_bytes = (uint64_t)row_stride * page_tokens};
}

struct skv_layout skv_probe_layout(struct skv_layout_slot *slot, uint32_t dtype, uint32_t head_dim,
                                   uint32_t page_tokens)
{
    return (struct skv_layout){.dtype = dtype,
                               .form = SKV_FIXED,
                               .head_dim = head_dim,
                               .n_kv_heads = 1,
                               .page_tokens = page_tokens,
                               .n_words = SKV_BITMAP_WORDS(head_dim),
                               .uniform = 1,
                               .block_bytes = slot->page_bytes,
                               .head = slot,
                               .kept = &slot->kept};
}
