/* SPDX-License-Identifier: Apache-2.0
 *
 * Program binaries on disk: one file for each key (source, options, device, driver), in SKV_OPENCL_CACHE, else
 * $XDG_CACHE_HOME/skv, else ~/.cache/skv. A file carries its whole key and a checksum, so that damage and colliding
 * names are noticed; it appears whole or not at all. SKV_OPENCL_CACHE=off switches the cache off.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/opencl/opencl.h"

#define MAGIC "skv-cl-1"
#define PATH_BYTES 1024
#define BINARY_BYTES_MAX (64u << 20)

struct header {
    char magic[8];
    uint64_t key_bytes, binary_bytes, checksum;
};

/* FNV-1a */
static uint64_t hash(uint64_t state, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        state = (state ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3;
    return state;
}

#define HASH_START 0xcbf29ce484222325

/* False when there is no cache. */
static bool folder(char path[PATH_BYTES])
{
    const char *own = getenv("SKV_OPENCL_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (own && own[0])
        n = strcmp(own, "off") ? snprintf(path, PATH_BYTES, "%s", own) : -1;
    else if (xdg && xdg[0] == '/')
        n = snprintf(path, PATH_BYTES, "%s/skv", xdg);
    else if (home && home[0] == '/')
        n = snprintf(path, PATH_BYTES, "%s/.cache/skv", home);
    return n > 0 && n < PATH_BYTES - 64;
}

static bool file_of(const char *key, char path[PATH_BYTES])
{
    if (!folder(path))
        return false;
    size_t used = strlen(path);
    snprintf(path + used, PATH_BYTES - used, "/%016" PRIx64 ".clbin", hash(HASH_START, key, strlen(key)));
    return true;
}

static unsigned char *read_binary(FILE *file, const char *key, size_t *n_bytes)
{
    struct header header;
    size_t key_bytes = strlen(key);
    if (fread(&header, sizeof header, 1, file) != 1 || memcmp(header.magic, MAGIC, sizeof header.magic) != 0 ||
        header.key_bytes != key_bytes || header.binary_bytes == 0 || header.binary_bytes > BINARY_BYTES_MAX)
        return NULL;
    unsigned char *bytes = skv_alloc(key_bytes + header.binary_bytes);
    if (!bytes)
        return NULL;
    if (fread(bytes, key_bytes + header.binary_bytes, 1, file) != 1 || memcmp(bytes, key, key_bytes) != 0 ||
        hash(HASH_START, bytes, key_bytes + header.binary_bytes) != header.checksum) {
        skv_free(bytes);
        return NULL;
    }
    memmove(bytes, bytes + key_bytes, header.binary_bytes);
    *n_bytes = header.binary_bytes;
    return bytes;
}

unsigned char *skv_cl_cache_load(const char *key, size_t *n_bytes)
{
    char path[PATH_BYTES];
    FILE *file = file_of(key, path) ? fopen(path, "rb") : NULL;
    if (!file)
        return NULL;
    unsigned char *binary = read_binary(file, key, n_bytes);
    fclose(file);
    if (!binary)
        skv_log(SKV_LOG_WARN, "the program cache's file %s is damaged and ignored", path);
    return binary;
}

static bool make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool made = mkdir(path, 0777) == 0 || errno == EEXIST;
        *slash = '/';
        if (!made)
            return false;
    }
    return true;
}

void skv_cl_cache_store(const char *key, const unsigned char *binary, size_t n_bytes)
{
    char path[PATH_BYTES], whole[PATH_BYTES];
    size_t key_bytes = strlen(key);
    if (!file_of(key, whole) || n_bytes == 0 || n_bytes > BINARY_BYTES_MAX)
        return;
    snprintf(path, sizeof path, "%.*s.%ld.%p.tmp", PATH_BYTES - 64, whole, (long)getpid(), (const void *)&path);
    FILE *file = make_folders(path) ? fopen(path, "wbx") : NULL;
    if (!file) {
        skv_log(SKV_LOG_DEBUG, "the program cache cannot write %s", path);
        return;
    }
    struct header header = {.key_bytes = key_bytes, .binary_bytes = n_bytes};
    memcpy(header.magic, MAGIC, sizeof header.magic);
    header.checksum = hash(hash(HASH_START, key, key_bytes), binary, n_bytes);
    bool written = fwrite(&header, sizeof header, 1, file) == 1 && fwrite(key, key_bytes, 1, file) == 1 &&
                   fwrite(binary, n_bytes, 1, file) == 1;
    written = fclose(file) == 0 && written;
    if (!written || rename(path, whole) != 0)
        (void)remove(path);
}
