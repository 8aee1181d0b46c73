/* SPDX-License-Identifier: Apache-2.0 */
#include "core/check.h"

#include <inttypes.h>

enum skv_status skv_check_params(const char *name, const void *params, void *out, size_t known)
{
    SKV_REQUIRE_NOT_NULL(params, name);
    uint32_t size;
    memcpy(&size, params, sizeof size);
    SKV_REQUIRE(size >= known, SKV_ERROR_STRUCT_SIZE, "%s->struct_size is %" PRIu32 "; it must be at least %zu", name,
                size, known);
    const unsigned char *bytes = params;
    for (size_t i = known; i < size; i++)
        SKV_REQUIRE(bytes[i] == 0, SKV_ERROR_STRUCT_SIZE,
                    "%s has a nonzero byte at %zu, in a field this version (%d) does not know", name, i, SKV_VERSION);
    memcpy(out, params, known);
    return SKV_OK;
}

enum skv_status skv_check_info(const char *name, const void *info, size_t known)
{
    SKV_REQUIRE_NOT_NULL(info, name);
    uint32_t size;
    memcpy(&size, info, sizeof size);
    SKV_REQUIRE(size >= known, SKV_ERROR_STRUCT_SIZE, "%s->struct_size is %" PRIu32 "; it must be at least %zu", name,
                size, known);
    return SKV_OK;
}

void skv_fill_info(void *info, const void *filled, size_t known)
{
    uint32_t size;
    memcpy(&size, info, sizeof size);
    memset(info, 0, size);
    memcpy(info, filled, known);
    memcpy(info, &size, sizeof size);
}

enum skv_status skv_check_flags(const char *name, uint32_t flags, uint32_t known)
{
    SKV_REQUIRE((flags & ~known) == 0, SKV_ERROR_INVALID_ARGUMENT,
                "%s is 0x%" PRIx32 "; bits other than 0x%" PRIx32 " must be 0", name, flags, known);
    return SKV_OK;
}

enum skv_status skv_check_span(const struct skv_device *device, const char *name, struct skv_span span,
                               uint64_t alignment, uint64_t n_bytes)
{
    SKV_REQUIRE(span.buffer != NULL, SKV_ERROR_INVALID_ARGUMENT, "%s.buffer is NULL; it must not be", name);
    SKV_REQUIRE(span.buffer->device == device, SKV_ERROR_WRONG_DEVICE,
                "%s.buffer belongs to another device (\"%s\"); it must belong to the queue's (\"%s\")", name,
                span.buffer->device->info.id, device->info.id);
    SKV_REQUIRE(span.offset % alignment == 0, SKV_ERROR_ALIGNMENT,
                "%s.offset is %" PRIu64 "; it must be a multiple of %" PRIu64, name, span.offset, alignment);
    SKV_REQUIRE(!span.buffer->host || (uintptr_t)span.buffer->host % alignment == 0, SKV_ERROR_ALIGNMENT,
                "%s.buffer wraps host memory at %p; its address must be a multiple of %" PRIu64, name,
                span.buffer->host, alignment);
    uint64_t end;
    SKV_REQUIRE(skv_add(span.offset, n_bytes, &end) && end <= span.buffer->bytes, SKV_ERROR_OUT_OF_BOUNDS,
                "%s needs %" PRIu64 " bytes from offset %" PRIu64 "; its buffer has %" PRIu64, name, n_bytes,
                span.offset, span.buffer->bytes);
    return SKV_OK;
}

/* Dimensions in order of ascending stride; with two or three of them an insertion sort is the plain way. */
static void order_by_stride(const struct skv_tensor *tensor, uint32_t order[3])
{
    for (uint32_t i = 0; i < tensor->n_dims; i++) {
        uint32_t j = i;
        for (; j > 0 && *tensor->strides[order[j - 1]] > *tensor->strides[i]; j--)
            order[j] = order[j - 1];
        order[j] = i;
    }
}

enum skv_status skv_check_tensor(const struct skv_device *device, const struct skv_tensor *tensor)
{
    uint64_t contiguous = tensor->inner;
    for (uint32_t i = tensor->n_dims; i-- > 0;) {
        if (*tensor->strides[i] == 0)
            *tensor->strides[i] = contiguous;
        SKV_REQUIRE(tensor->dims[i] == 0 || skv_mul(contiguous, tensor->dims[i], &contiguous), SKV_ERROR_OVERFLOW,
                    "%s: the product of its sizes (%" PRIu64 " in dimension %" PRIu32 ") does not fit 64 bits",
                    tensor->name, tensor->dims[i], i);
    }
    uint64_t extent = tensor->inner;
    uint32_t order[3];
    order_by_stride(tensor, order);
    for (uint32_t i = 0; i < tensor->n_dims; i++) {
        uint64_t n = tensor->dims[order[i]], stride = *tensor->strides[order[i]], reach;
        if (n == 0)
            return SKV_OK;
        if (n == 1)
            continue;
        SKV_REQUIRE(!tensor->written || stride >= extent, SKV_ERROR_INVALID_ARGUMENT,
                    "%s: a stride of %" PRIu64 " elements makes rows overlap; it must be at least %" PRIu64,
                    tensor->name, stride, extent);
        SKV_REQUIRE(skv_mul(n - 1, stride, &reach) && skv_add(extent, reach, &extent), SKV_ERROR_OVERFLOW,
                    "%s: %" PRIu64 " rows at a stride of %" PRIu64 " elements do not fit 64 bits", tensor->name, n,
                    stride);
    }
    uint64_t bytes;
    SKV_REQUIRE(skv_mul(extent, tensor->value_bytes, &bytes), SKV_ERROR_OVERFLOW,
                "%s: %" PRIu64 " elements do not fit 64 bits of bytes", tensor->name, extent);
    return skv_check_span(device, tensor->name, tensor->span, tensor->value_bytes, bytes);
}

enum skv_status skv_check_rows(const struct skv_device *device, const char *name, struct skv_rows *rows,
                               uint64_t n_tokens, uint32_t n_heads, uint32_t head_dim, uint32_t value_bytes,
                               bool written)
{
    struct skv_tensor tensor = {.name = name,
                                .span = rows->data,
                                .value_bytes = value_bytes,
                                .n_dims = 2,
                                .dims = {n_tokens, n_heads},
                                .strides = {&rows->token_stride, &rows->head_stride},
                                .inner = head_dim,
                                .written = written};
    return skv_check_tensor(device, &tensor);
}

enum skv_status skv_check_head_dim(const char *name, uint32_t head_dim)
{
    SKV_REQUIRE(head_dim >= SKV_HEAD_DIM_MIN && head_dim <= SKV_HEAD_DIM_MAX && head_dim % SKV_HEAD_DIM_STEP == 0,
                SKV_ERROR_INVALID_ARGUMENT, "%s is %" PRIu32 "; it must be a multiple of %d from %d to %d", name,
                head_dim, SKV_HEAD_DIM_STEP, SKV_HEAD_DIM_MIN, SKV_HEAD_DIM_MAX);
    return SKV_OK;
}

enum skv_status skv_check_head_dim_on(const struct skv_device *device, uint32_t head_dim)
{
    SKV_TRY(skv_check_head_dim("head_dim", head_dim));
    SKV_REQUIRE(head_dim <= device->limits.head_dim_max, SKV_ERROR_UNSUPPORTED,
                "head_dim is %" PRIu32 "; device \"%s\" supports up to %" PRIu32, head_dim, device->info.id,
                device->limits.head_dim_max);
    return SKV_OK;
}

enum skv_status skv_check_kv_heads(uint32_t n_kv_heads)
{
    SKV_REQUIRE(n_kv_heads >= 1 && n_kv_heads <= SKV_KV_HEADS_MAX, SKV_ERROR_INVALID_ARGUMENT,
                "n_kv_heads is %" PRIu32 "; it must be from 1 to %d", n_kv_heads, SKV_KV_HEADS_MAX);
    return SKV_OK;
}

static const char *dtype_name(uint32_t dtype)
{
    static const char *const names[] = {"default", "f16", "bf16", "f32"};
    return dtype < sizeof names / sizeof names[0] ? names[dtype] : "unknown";
}

enum skv_status skv_check_dtype(const char *name, uint32_t *dtype, uint32_t fallback, uint32_t allowed, uint32_t limits)
{
    if (*dtype == SKV_DTYPE_DEFAULT)
        *dtype = fallback;
    SKV_REQUIRE(*dtype < 32 && (allowed >> *dtype & 1), SKV_ERROR_INVALID_ARGUMENT,
                "%s is %" PRIu32 " (%s); this argument takes%s%s%s", name, *dtype, dtype_name(*dtype),
                allowed >> SKV_F16 & 1 ? " SKV_F16" : "", allowed >> SKV_BF16 & 1 ? " SKV_BF16" : "",
                allowed >> SKV_F32 & 1 ? " SKV_F32" : "");
    SKV_REQUIRE(limits >> *dtype & 1, SKV_ERROR_UNSUPPORTED, "%s is %s; this device does not support it", name,
                dtype_name(*dtype));
    return SKV_OK;
}

enum skv_status skv_check_pool(const struct skv_device *device, const char *name, const struct skv_pool *pool)
{
    const struct skv_layout *layout = pool->layout;
    SKV_REQUIRE(layout != NULL, SKV_ERROR_INVALID_ARGUMENT, "%s.layout is NULL; it must not be", name);
    SKV_REQUIRE(device->limits.dtypes >> layout->dtype & 1, SKV_ERROR_UNSUPPORTED,
                "%s.layout has values of type %s; device \"%s\" does not support them", name, dtype_name(layout->dtype),
                device->info.id);
    SKV_REQUIRE(device->limits.forms >> layout->form & 1, SKV_ERROR_UNSUPPORTED,
                "%s.layout is %s; device \"%s\" does not support that form", name,
                layout->form == SKV_RAGGED ? "ragged" : "fixed", device->info.id);
    SKV_REQUIRE(layout->page_tokens <= device->limits.page_tokens_max, SKV_ERROR_UNSUPPORTED,
                "%s.layout has pages of %" PRIu32 " tokens; device \"%s\" supports up to %" PRIu32, name,
                layout->page_tokens, device->info.id, device->limits.page_tokens_max);
    SKV_TRY(skv_check_head_dim_on(device, layout->head_dim));
    SKV_REQUIRE(pool->n_blocks >= 1, SKV_ERROR_INVALID_ARGUMENT, "%s.n_blocks is 0; it must be at least 1", name);
    uint64_t n_bytes;
    SKV_TRY(skv_layout_pool_bytes(layout, pool->n_blocks, &n_bytes));
    uint64_t alignment = device->limits.offset_alignment > 8 ? device->limits.offset_alignment : 8;
    return skv_check_span(device, name, pool->pages, alignment, n_bytes);
}
