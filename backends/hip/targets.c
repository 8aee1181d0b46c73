/* SPDX-License-Identifier: Apache-2.0
 *
 * The table at the start of a "Clang Offload Bundler" file (clang.llvm.org/docs/ClangOffloadBundler.html): a magic
 * text, the number of entries, and {offset, size, length of id, id} of each. An id ends in "--gfx90a".
 */
#include <stdio.h>

#include "backends/hip/hip.h"

#define MAGIC "__CLANG_OFFLOAD_BUNDLE__"
#define MAGIC_BYTES (sizeof MAGIC - 1)
#define NAME_BYTES 32

struct reader {
    const unsigned char *at, *end;
    uint64_t n_left; /* entries */
};

static bool take(struct reader *reader, uint64_t *value)
{
    if (reader->end - reader->at < 8)
        return false;
    *value = 0;
    for (int i = 0; i < 8; i++)
        *value |= (uint64_t)reader->at[i] << 8 * i;
    reader->at += 8;
    return true;
}

static struct reader read_table(const unsigned char *image, size_t n_bytes)
{
    struct reader reader = {image, image + n_bytes, 0};
    if (n_bytes < MAGIC_BYTES || memcmp(image, MAGIC, MAGIC_BYTES) != 0)
        return reader;
    reader.at += MAGIC_BYTES;
    if (!take(&reader, &reader.n_left))
        reader.n_left = 0;
    return reader;
}

/* The next target's name; false at the end of the table, or of what can be read of it. */
static bool next_target(struct reader *reader, char name[NAME_BYTES])
{
    uint64_t offset, size, length;
    while (reader->n_left > 0) {
        reader->n_left--;
        if (!take(reader, &offset) || !take(reader, &size) || !take(reader, &length) ||
            length > (uint64_t)(reader->end - reader->at))
            return false;
        const char *id = (const char *)reader->at;
        size_t start = (size_t)length;
        reader->at += length;
        while (start > 1 && (id[start - 1] != '-' || id[start - 2] != '-'))
            start--;
        /* The host's entry has no target. */
        if (start > 1 && length > start && length - start < NAME_BYTES) {
            memcpy(name, id + start, (size_t)length - start);
            name[length - start] = '\0';
            return true;
        }
    }
    return false;
}

void skv_hip_targets(const unsigned char *image, size_t n_bytes, char *text, size_t text_bytes)
{
    struct reader reader = read_table(image, n_bytes);
    char name[NAME_BYTES];
    size_t used = 0;
    text[0] = '\0';
    while (next_target(&reader, name) && used + strlen(name) + 3 <= text_bytes)
        used += (size_t)snprintf(text + used, text_bytes - used, "%s%s", used ? ", " : "", name);
}

/* The generic target whose code a device can run, from "Generic Processors" of llvm.org/docs/AMDGPUUsage.html. */
static const char *family_of(const char *target)
{
    static const struct {
        const char *family, *members;
    } families[] = {
        {"gfx9-generic", " gfx900 gfx902 gfx904 gfx906 gfx909 gfx90c "},
        {"gfx9-4-generic", " gfx942 gfx950 "},
        {"gfx10-1-generic", " gfx1010 gfx1011 gfx1012 gfx1013 "},
        {"gfx10-3-generic", " gfx1030 gfx1031 gfx1032 gfx1033 gfx1034 gfx1035 gfx1036 "},
        {"gfx11-generic", " gfx1100 gfx1101 gfx1102 gfx1103 gfx1150 gfx1151 gfx1152 gfx1153 "},
        {"gfx12-generic", " gfx1200 gfx1201 "},
    };
    char word[NAME_BYTES + 2];
    snprintf(word, sizeof word, " %s ", target);
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strstr(families[i].members, word))
            return families[i].family;
    return "";
}

bool skv_hip_targets_fit(const unsigned char *image, size_t n_bytes, const char *architecture)
{
    struct reader reader = read_table(image, n_bytes);
    char target[NAME_BYTES], name[NAME_BYTES];
    /* Code is built for either setting of the features that follow the colon. */
    snprintf(target, sizeof target, "%.*s", (int)strcspn(architecture, ":"), architecture);
    const char *family = family_of(target);
    while (next_target(&reader, name))
        if (strcmp(name, target) == 0 || strcmp(name, family) == 0)
            return true;
    return false;
}
