/* SPDX-License-Identifier: Apache-2.0
 *
 * Selection and compression of any number of rows, on the make_planes, search and pack_row of the file that includes
 * it.
 */
#ifndef SKV_CPU_COMPRESS_SELECT_H
#define SKV_CPU_COMPRESS_SELECT_H

static void search_wide(enum finish finish, const uint64_t *plane, uint32_t n, uint32_t d, uint32_t k, uint64_t *word,
                        const struct found *found)
{
    switch (SKV_BITMAP_WORDS(d)) {
    case 3:
        search(finish, plane, n, 1, 3, d, k, word, found);
        break;
    case 4:
        search(finish, plane, n, 1, 4, d, k, word, found);
        break;
    case 5:
        search(finish, plane, n, 1, 5, d, k, word, found);
        break;
    case 6:
        search(finish, plane, n, 1, 6, d, k, word, found);
        break;
    case 7:
        search(finish, plane, n, 1, 7, d, k, word, found);
        break;
    default:
        search(finish, plane, n, 1, 8, d, k, word, found);
        break;
    }
}

INLINE void select_rows(enum finish finish, const uint16_t *const *row, uint32_t n, uint32_t n_ahead, uint32_t d,
                        uint32_t k, uint8_t *const *record, uint64_t *bitmap)
{
    const uint32_t words = SKV_BITMAP_WORDS(d), at_once = words > 2 ? ROWS : 2 * ROWS;
    const uint32_t distance = n_ahead ? SKV_CPU_ROWS_AHEAD : 2 * at_once;
    _Alignas(64) uint64_t plane[PLANES * SKV_WORDS_MAX * ROWS];
    _Alignas(64) uint64_t word[2][SKV_WORDS_MAX * ROWS];
    struct found found = {.n = 0};
    for (uint32_t first = 0; first < n; first += at_once) {
        uint32_t left = n - first, rows = left < at_once ? left : at_once;
        uint32_t ahead = first + distance < n + n_ahead ? n + n_ahead - first - distance : 0;
        uint64_t *its = word[first / at_once % 2];
        make_planes(row + first, rows, d, plane);
        if (rows > ROWS)
            make_planes(row + first + ROWS, rows - ROWS, d, plane + PLANES * words * ROWS);
        if (words > 2)
            search_wide(finish, plane, rows, d, k, its, &found);
        else if (words == 2 && rows > ROWS)
            search(finish, plane, rows, 2, 2, d, k, its, &found);
        else if (words == 2)
            search(finish, plane, rows, 1, 2, d, k, its, &found);
        else if (rows > ROWS)
            search(finish, plane, rows, 2, 1, d, k, its, &found);
        else
            search(finish, plane, rows, 1, 1, d, k, its, &found);
        found = (struct found){.n = rows,
                               .n_ahead = ahead < at_once ? ahead : at_once,
                               .row = row + first,
                               .ahead = row + first + distance,
                               .record = finish == BITMAPS ? NULL : record + first,
                               .bitmap = finish == BITMAPS ? bitmap + first * words : NULL,
                               .word = its};
    }
    for (uint32_t r = 0; r < found.n; r++)
        finish_row(finish, &found, r, words, d, k);
}

/* Whole lines of `to` past the caches. `from` is as far into a line as `to`. */
INLINE void copy_past_caches(uint8_t *to, const uint8_t *from, uint32_t n_bytes)
{
    uint32_t i = (uint32_t)(-(uintptr_t)to % SKV_CPU_LINE_BYTES);
    i = i < n_bytes ? i : n_bytes;
    memcpy(to, from, i);
    for (; n_bytes - i >= SKV_CPU_LINE_BYTES; i += SKV_CPU_LINE_BYTES) {
#if defined(__AVX512F__)
        _mm512_stream_si512((void *)(to + i), _mm512_load_si512(from + i));
#else
        _mm256_stream_si256((__m256i *)(to + i), _mm256_load_si256((const __m256i *)(from + i)));
        _mm256_stream_si256((__m256i *)(to + i + 32), _mm256_load_si256((const __m256i *)(from + i + 32)));
#endif
    }
    memcpy(to + i, from + i, n_bytes - i);
}

/* A line that is written whole need not be read before, so records become lines in the cache. */
INLINE void stream_rows(const uint16_t *const *row, uint32_t n, uint32_t n_ahead, uint32_t d, uint32_t k, uint8_t *to)
{
    const uint32_t record_bytes = SKV_RECORD_BYTES(d, k);
    _Alignas(SKV_CPU_LINE_BYTES)
        uint8_t stage[SKV_CPU_ROWS_MAX * SKV_RECORD_BYTES(SKV_HEAD_DIM_MAX, SKV_HEAD_DIM_MAX) + 2 * SKV_CPU_LINE_BYTES];
    uint8_t *first = stage + (uintptr_t)to % SKV_CPU_LINE_BYTES, *record[SKV_CPU_ROWS_MAX];
    for (uint32_t i = 0; i < n; i++)
        record[i] = first + i * record_bytes;
    select_rows(LOOSE_RECORDS, row, n, n_ahead, d, k, record, NULL);
    copy_past_caches(to, first, n * record_bytes);
}

INLINE void compress_rows(const uint16_t *const *row, uint32_t n, uint32_t n_ahead, uint32_t d, uint32_t k,
                          uint8_t *const *record, bool stream)
{
    if (stream)
        stream_rows(row, n, n_ahead, d, k, record[0]);
    else
        select_rows(RECORDS, row, n, n_ahead, d, k, record, NULL);
}

static void compress_topk(const uint16_t *const *row, uint32_t n, uint32_t n_ahead, uint32_t d, uint32_t k,
                          uint8_t *const *record, bool stream)
{
    if (d == 128)
        compress_rows(row, n, n_ahead, 128, k, record, stream);
    else if (d == 64)
        compress_rows(row, n, n_ahead, 64, k, record, stream);
    else
        compress_rows(row, n, n_ahead, d, k, record, stream);
}

static void select_topk(const uint16_t *const *row, uint32_t n, uint32_t d, uint32_t k, uint64_t *bitmap)
{
    if (d == 128)
        select_rows(BITMAPS, row, n, 0, 128, k, NULL, bitmap);
    else if (d == 64)
        select_rows(BITMAPS, row, n, 0, 64, k, NULL, bitmap);
    else
        select_rows(BITMAPS, row, n, 0, d, k, NULL, bitmap);
}

#endif
