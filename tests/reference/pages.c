/* SPDX-License-Identifier: Apache-2.0
 *
 * FORMAT.md sections 2, 3 and 6: records, pages, blocks and pools, byte by byte.
 */
#include "tests/reference/reference.h"

#include <string.h>

static uint64_t align8(uint64_t n_bytes)
{
    return (n_bytes + 7) / 8 * 8;
}

static uint32_t load_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void store_u32(uint8_t *bytes, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
}

/* ---- section 2 */

unsigned ref_words(unsigned d)
{
    return (d + 63) / 64;
}

uint64_t ref_record_bytes(unsigned d, unsigned n_survivors)
{
    return 8 * (uint64_t)ref_words(d) + 2 * (uint64_t)n_survivors;
}

static unsigned count(const uint8_t *keep, unsigned d)
{
    unsigned n = 0;
    for (unsigned c = 0; c < d; c++)
        n += keep[c] != 0;
    return n;
}

/* Bit i of word w is bit i % 8 of byte 8 w + i / 8, which is bit c % 8 of byte c / 8 for channel c = 64 w + i. */
static void write_record(unsigned d, const uint16_t *row, const uint8_t *keep, uint8_t *record)
{
    uint8_t *values = record + 8 * ref_words(d);
    memset(record, 0, 8 * ref_words(d));
    for (unsigned c = 0; c < d; c++) {
        if (!keep[c])
            continue;
        record[c / 8] |= (uint8_t)(1 << c % 8);
        *values++ = (uint8_t)row[c];
        *values++ = (uint8_t)(row[c] >> 8);
    }
}

static void read_record(unsigned d, const uint8_t *record, uint16_t *row, uint8_t *keep)
{
    const uint8_t *values = record + 8 * ref_words(d);
    for (unsigned c = 0; c < d; c++) {
        int kept = record[c / 8] >> c % 8 & 1;
        row[c] = 0;
        if (kept) {
            row[c] = (uint16_t)(values[0] | values[1] << 8);
            values += 2;
        }
        if (keep)
            keep[c] = (uint8_t)kept;
    }
}

/* ---- section 3 */

uint64_t ref_row_stride(const struct ref_layout *layout, unsigned i_head)
{
    if (layout->form == SKV_RAGGED)
        return 0;
    return layout->row_stride ? layout->row_stride : align8(ref_record_bytes(layout->d, layout->kept[i_head]));
}

uint64_t ref_page_bytes(const struct ref_layout *layout, unsigned i_head)
{
    if (layout->form == SKV_FIXED)
        return layout->page_tokens * ref_row_stride(layout, i_head);
    if (layout->page_bytes)
        return layout->page_bytes;
    return 4 * (uint64_t)layout->page_tokens +
           layout->page_tokens * align8(ref_record_bytes(layout->d, layout->kept[i_head]));
}

uint64_t ref_page_offset(const struct ref_layout *layout, unsigned i_head)
{
    uint64_t offset = 0;
    for (unsigned h = 0; h < i_head; h++)
        offset += ref_page_bytes(layout, h);
    return offset;
}

uint64_t ref_block_bytes(const struct ref_layout *layout)
{
    return ref_page_offset(layout, layout->n_heads);
}

uint64_t ref_pool_bytes(const struct ref_layout *layout, uint64_t n_blocks)
{
    return n_blocks * ref_block_bytes(layout) + 64 + 128 * (uint64_t)ref_words(layout->d);
}

static uint64_t page_start(const struct ref_layout *layout, uint64_t slot, unsigned i_head)
{
    return slot / layout->page_tokens * ref_block_bytes(layout) + ref_page_offset(layout, i_head);
}

/* Section 3.2: where slot t of a ragged page starts. */
static uint64_t ragged_start(const struct ref_layout *layout, const uint8_t *page, uint64_t t)
{
    return t == 0 ? 4 * (uint64_t)layout->page_tokens : load_u32(page + 4 * (t - 1));
}

static int start_is_sound(const struct ref_layout *layout, uint64_t page_bytes, uint64_t start)
{
    return start % 8 == 0 && start >= 4 * (uint64_t)layout->page_tokens &&
           start <= page_bytes - 8 * ref_words(layout->d);
}

int ref_write(const struct ref_layout *layout, uint8_t *pool, uint64_t slot, unsigned i_head, const uint16_t *row,
              const uint8_t *keep)
{
    uint8_t *page = pool + page_start(layout, slot, i_head);
    uint64_t t = slot % layout->page_tokens;
    if (layout->form == SKV_FIXED) {
        write_record(layout->d, row, keep, page + t * ref_row_stride(layout, i_head));
        return 1;
    }
    uint64_t page_bytes = ref_page_bytes(layout, i_head), start = ragged_start(layout, page, t);
    uint64_t end = start + align8(ref_record_bytes(layout->d, count(keep, layout->d)));
    if (!start_is_sound(layout, page_bytes, start) || end > page_bytes)
        return 0;
    write_record(layout->d, row, keep, page + start);
    store_u32(page + 4 * t, (uint32_t)end);
    return 1;
}

void ref_read(const struct ref_layout *layout, const uint8_t *pool, uint64_t slot, unsigned i_head, uint16_t *row,
              uint8_t *keep)
{
    const uint8_t *page = pool + page_start(layout, slot, i_head);
    uint64_t t = slot % layout->page_tokens;
    if (layout->form == SKV_FIXED) {
        read_record(layout->d, page + t * ref_row_stride(layout, i_head), row, keep);
        return;
    }
    static const uint8_t empty[8 * ((REF_HEAD_DIM_MAX + 63) / 64)];
    uint64_t page_bytes = ref_page_bytes(layout, i_head), start = ragged_start(layout, page, t);
    const uint8_t *record = empty;
    if (start_is_sound(layout, page_bytes, start)) {
        unsigned n = 0;
        for (unsigned i = 0; i < 64 * ref_words(layout->d); i++)
            n += page[start + i / 8] >> i % 8 & 1;
        uint64_t end = start + ref_record_bytes(layout->d, n);
        if (end <= load_u32(page + 4 * t) && end <= page_bytes)
            record = page + start;
    }
    read_record(layout->d, record, row, keep);
}
