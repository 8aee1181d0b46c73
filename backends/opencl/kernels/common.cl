/* SPDX-License-Identifier: Apache-2.0
 *
 * Values, faults, and where rows and records lie. The host puts core/format.h, the public enumerators it needs and
 * params.h in front.
 */
#pragma OPENCL FP_CONTRACT OFF

/* ---- values */

inline float value_f32(uint bits, uint dtype, const __global ushort *at)
{
    return dtype == SKV_BF16 ? as_float(bits << 16) : vload_half(0, (const __global half *)at);
}

/* 16-bit or binary32 element i of a tensor. */
inline float load_element(const __global uchar *base, ulong i, uint dtype)
{
    if (dtype == SKV_F32)
        return ((const __global float *)base)[i];
    const __global ushort *at = (const __global ushort *)base + i;
    return value_f32(*at, dtype, at);
}

inline uint bf16_bits(float value)
{
    uint bits = as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return bits >> 16 | 0x40u;
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

inline void store_element(__global uchar *base, ulong i, uint dtype, float value)
{
    if (dtype == SKV_F32)
        ((__global float *)base)[i] = value;
    else if (dtype == SKV_BF16)
        ((__global ushort *)base)[i] = (ushort)bf16_bits(value);
    else
        vstore_half_rte(value, i, (__global half *)base);
}

/* ---- faults */

inline void report(volatile __global uint *faults, uint kind, ulong index)
{
    atomic_min(faults + kind, (uint)min(index, (ulong)0xfffffffe));
}

/* ---- heads, pages, records */

inline const struct skv_cl_head head_of(const struct skv_cl_heads *heads, uint i_head)
{
    struct skv_cl_head head = heads->head[0];
    /* Constant indices: a variable one would move the parameters to memory of the work-item's own. */
#pragma unroll
    for (uint i = 1; i < SKV_CL_HEADS; i++)
        if (!heads->alike && i_head - heads->first == i)
            head = heads->head[i];
    if (heads->alike)
        head.page_offset = (ulong)i_head * head.page_offset;
    return head;
}

inline ulong page_at(const struct skv_cl_pool *pool, const struct skv_cl_head *head, ulong i_block)
{
    return pool->offset + i_block * pool->block_bytes + head->page_offset;
}

/* The bits of 32-channel word w of a bitmap, without those of channels past head_dim. */
inline uint word_bits(uint bits, uint head_dim, uint w)
{
    uint left = head_dim - 32 * w;
    return left < 32 ? bits & ((1u << left) - 1) : bits;
}

inline uint record_word(const __global uchar *record, uint head_dim, uint w)
{
    return word_bits(((const __global uint *)record)[w], head_dim, w);
}

/* The bytes of a slot's record, or ~0 where FORMAT.md section 3.2 calls it damaged, which makes the row empty. */
#define NO_RECORD 0xffffffffffffffffUL

inline ulong record_at(const __global uchar *pages, const struct skv_cl_pool *pool, const struct skv_cl_head *head,
                       ulong i_block, uint i_slot, uint head_dim)
{
    ulong page = page_at(pool, head, i_block);
    if (pool->form == SKV_FIXED)
        return page + (ulong)i_slot * head->row_stride;
    const __global uint *ends = (const __global uint *)(pages + page);
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
