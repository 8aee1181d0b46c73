/* SPDX-License-Identifier: Apache-2.0
 *
 * Values, faults, and where rows and records lie. The language's words, core/format.h, the public enumerators and
 * params.h come before.
 */

/* ---- values */

DEVICE float value_f32(uint dtype, const GLOBAL ushort *at)
{
    return dtype == SKV_BF16 ? as_float((uint)*at << 16) : global_half(at);
}

/* 16-bit or binary32 element i of a tensor. */
DEVICE float load_element(const GLOBAL uchar *base, ulong i, uint dtype)
{
    if (dtype == SKV_F32)
        return ((const GLOBAL float *)base)[i];
    return value_f32(dtype, (const GLOBAL ushort *)base + i);
}

DEVICE uint bf16_bits(float value)
{
    uint bits = as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return bits >> 16 | 0x40u;
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

DEVICE void store_element(GLOBAL uchar *base, ulong i, uint dtype, float value)
{
    if (dtype == SKV_F32)
        ((GLOBAL float *)base)[i] = value;
    else if (dtype == SKV_BF16)
        ((GLOBAL ushort *)base)[i] = (ushort)bf16_bits(value);
    else
        store_half((GLOBAL ushort *)base + i, value);
}

/* ---- faults */

DEVICE void report(volatile GLOBAL uint *faults, uint kind, ulong index)
{
    atomic_min_global(faults + kind, (uint)min(index, (ulong)0xfffffffe));
}

/* ---- heads, pages, records */

DEVICE struct skv_gpu_head head_of(const struct skv_gpu_heads *heads, uint i_head)
{
    struct skv_gpu_head head = heads->head[0];
    /* Constant indices: a variable one would move the parameters to memory of the lane's own. */
#pragma unroll
    for (uint i = 1; i < SKV_GPU_HEADS; i++)
        if (!heads->alike && i_head - heads->first == i)
            head = heads->head[i];
    if (heads->alike)
        head.page_offset = (ulong)i_head * head.page_offset;
    return head;
}

DEVICE ulong page_at(const struct skv_gpu_pool *pool, const struct skv_gpu_head *head, ulong i_block)
{
    return pool->offset + i_block * pool->block_bytes + head->page_offset;
}

/* The bits of 32-channel word w of a bitmap, without those of channels past head_dim. */
DEVICE uint word_bits(uint bits, uint head_dim, uint w)
{
    uint left = head_dim - 32 * w;
    return left < 32 ? bits & ((1u << left) - 1) : bits;
}

DEVICE uint record_word(const GLOBAL uchar *record, uint head_dim, uint w)
{
    return word_bits(((const GLOBAL uint *)record)[w], head_dim, w);
}

/* The bytes of a slot's record, or ~0 where FORMAT.md section 3.2 calls it damaged, which makes the row empty. */
#define NO_RECORD (~(ulong)0)

DEVICE ulong record_at(const GLOBAL uchar *pages, const struct skv_gpu_pool *pool, const struct skv_gpu_head *head,
                       ulong i_block, uint i_slot, uint head_dim)
{
    ulong page = page_at(pool, head, i_block);
    if (pool->form == SKV_FIXED)
        return page + (ulong)i_slot * head->row_stride;
    const GLOBAL uint *ends = (const GLOBAL uint *)(pages + page);
    uint start = i_slot == 0 ? 4 * pool->page_tokens : ends[i_slot - 1], end = ends[i_slot], n = 0;
    uint bitmap_bytes = SKV_BITMAP_BYTES(head_dim);
    if (start % 8 != 0 || start < 4 * pool->page_tokens || (ulong)start + bitmap_bytes > head->page_bytes)
        return NO_RECORD;
    for (uint w = 0; w < (head_dim + 31) / 32; w++)
        n += popcount(record_word(pages + page + start, head_dim, w));
    if ((ulong)start + bitmap_bytes + 2 * n > min(end, head->page_bytes))
        return NO_RECORD;
    return page + start;
}
