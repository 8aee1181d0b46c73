/* SPDX-License-Identifier: Apache-2.0
 *
 * Selection and compression of any number of rows, on the make_planes, search and pack_row of the file that includes
 * it.
 */
#ifndef SKV_CPU_COMPRESS_SELECT_H
#define SKV_CPU_COMPRESS_SELECT_H

static void search_wide(const uint64_t *plane, uint32_t n, uint32_t d, uint32_t k, uint64_t *word)
{
    switch (SKV_BITMAP_WORDS(d)) {
    case 3:
        search(plane, n, 1, 3, d, k, word);
        break;
    case 4:
        search(plane, n, 1, 4, d, k, word);
        break;
    case 5:
        search(plane, n, 1, 5, d, k, word);
        break;
    case 6:
        search(plane, n, 1, 6, d, k, word);
        break;
    case 7:
        search(plane, n, 1, 7, d, k, word);
        break;
    default:
        search(plane, n, 1, 8, d, k, word);
        break;
    }
}

/* Records if record is not NULL, else bitmaps. */
INLINE void select_rows(const uint16_t *const *row, uint32_t n, uint32_t n_ahead, uint32_t d, uint32_t k,
                        uint8_t *const *record, uint64_t *bitmap)
{
    const uint32_t words = SKV_BITMAP_WORDS(d), at_once = words > 2 ? ROWS : 2 * ROWS;
    const uint32_t distance = n_ahead ? SKV_CPU_ROWS_AHEAD : at_once;
    _Alignas(64) uint64_t plane[PLANES * SKV_WORDS_MAX * ROWS];
    _Alignas(64) uint64_t word[SKV_WORDS_MAX * ROWS];
    for (uint32_t first = 0; first < n; first += at_once) {
        uint32_t left = n - first, rows = left < at_once ? left : at_once;
        make_planes(row + first, rows, d, plane);
        if (rows > ROWS)
            make_planes(row + first + ROWS, rows - ROWS, d, plane + PLANES * words * ROWS);
        if (words > 2)
            search_wide(plane, rows, d, k, word);
        else if (words == 2 && rows > ROWS)
            search(plane, rows, 2, 2, d, k, word);
        else if (words == 2)
            search(plane, rows, 1, 2, d, k, word);
        else if (rows > ROWS)
            search(plane, rows, 2, 1, d, k, word);
        else
            search(plane, rows, 1, 1, d, k, word);
        for (uint32_t r = 0; r < rows; r++) {
            const uint64_t *found = word + r / ROWS * words * ROWS + r % ROWS;
            /* The search leaves memory idle and the next rows are far from the last: the hardware does not keep up.
             * Into the second level, since a line of the first one's few misses is taken until its data are there, and
             * not all at once for the same reason. */
            if (first + distance + r < n + n_ahead)
                for (uint32_t i = 0; i < d; i += 32)
                    _mm_prefetch((const char *)(row[first + distance + r] + i), _MM_HINT_T1);
            if (record)
                pack_row(row[first + r], found, ROWS, d, k, record[first + r]);
            else
                for (uint32_t w = 0; w < words; w++)
                    bitmap[(first + r) * words + w] = found[w * ROWS];
        }
    }
}

static void compress_topk(const uint16_t *const *row, uint32_t n, uint32_t n_ahead, uint32_t d, uint32_t k,
                          uint8_t *const *record)
{
    if (d == 128)
        select_rows(row, n, n_ahead, 128, k, record, NULL);
    else if (d == 64)
        select_rows(row, n, n_ahead, 64, k, record, NULL);
    else
        select_rows(row, n, n_ahead, d, k, record, NULL);
}

static void select_topk(const uint16_t *const *row, uint32_t n, uint32_t d, uint32_t k, uint64_t *bitmap)
{
    if (d == 128)
        select_rows(row, n, 0, 128, k, NULL, bitmap);
    else if (d == 64)
        select_rows(row, n, 0, 64, k, NULL, bitmap);
    else
        select_rows(row, n, 0, d, k, NULL, bitmap);
}

#endif
