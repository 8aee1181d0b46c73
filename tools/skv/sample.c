/* SPDX-License-Identifier: Apache-2.0 */
#include "sample.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#if !defined(SKV_DATA_DIR)
#define SKV_DATA_DIR "data"
#endif
#define FILE_NAME "smollm2-135m-kv.safetensors"

/* The installed sample, or the source tree's when the program runs from its build folder. */
static FILE *open_default(char *path, size_t path_bytes)
{
    const char *folders[] = {getenv("SKV_DATA_DIR"), SKV_DATA_DIR, SKV_SOURCE_DATA_DIR};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        if (!folders[i] || !folders[i][0])
            continue;
        snprintf(path, path_bytes, "%s/" FILE_NAME, folders[i]);
        FILE *file = fopen(path, "rb");
        if (file)
            return file;
    }
    tool_die(TOOL_FAILED, "the sample " FILE_NAME " was not found in \"%s\" nor \"%s\"; name it with --sample",
             SKV_DATA_DIR, SKV_SOURCE_DATA_DIR);
}

static uint8_t *read_all(FILE *file, const char *path, size_t *n_bytes)
{
    if (fseek(file, 0, SEEK_END) != 0)
        tool_die(TOOL_FAILED, "%s: %s", path, strerror(errno));
    long end = ftell(file);
    rewind(file);
    uint8_t *bytes = tool_alloc((size_t)end + 1);
    if (end < 0 || fread(bytes, 1, (size_t)end, file) != (size_t)end)
        tool_die(TOOL_FAILED, "%s: cannot be read", path);
    fclose(file);
    *n_bytes = (size_t)end;
    return bytes;
}

static char *copy_text(const cJSON *metadata, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(metadata, name));
    char *copy = tool_alloc(text ? strlen(text) + 1 : 2);
    return strcpy(copy, text ? text : "?");
}

/* One fp16 tensor of three dimensions. */
static const uint16_t *tensor(const cJSON *header, const char *name, const uint8_t *data, size_t data_bytes,
                              uint32_t shape[3], const char *path)
{
    const cJSON *entry = cJSON_GetObjectItemCaseSensitive(header, name);
    const cJSON *dims = cJSON_GetObjectItemCaseSensitive(entry, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    const char *dtype = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "dtype"));
    if (!dtype || strcmp(dtype, "F16") != 0 || cJSON_GetArraySize(dims) != 3 || cJSON_GetArraySize(offsets) != 2)
        tool_die(TOOL_FAILED, "%s: tensor \"%s\" is missing or not F16 with three dimensions", path, name);
    double n = 1;
    for (int i = 0; i < 3; i++) {
        double size = cJSON_GetNumberValue(cJSON_GetArrayItem(dims, i));
        if (!(size >= 1 && size <= 1e6))
            tool_die(TOOL_FAILED, "%s: tensor \"%s\" has a size of %g", path, name, size);
        shape[i] = (uint32_t)size;
        n *= size;
    }
    double from = cJSON_GetNumberValue(cJSON_GetArrayItem(offsets, 0));
    double to = cJSON_GetNumberValue(cJSON_GetArrayItem(offsets, 1));
    if (!(from >= 0 && to <= (double)data_bytes && to - from == 2 * n) || (uint64_t)from % 2)
        tool_die(TOOL_FAILED, "%s: tensor \"%s\" lies outside the file", path, name);
    return (const uint16_t *)(const void *)(data + (size_t)from);
}

static void read_layer(struct sample *sample, const cJSON *header, uint32_t number, const uint8_t *data,
                       size_t data_bytes, const char *path)
{
    struct sample_layer *layer = &sample->layer[sample->n_layers];
    uint32_t k[3], v[3], q[3];
    char name[64];
    layer->number = number;
    snprintf(name, sizeof name, "layers.%u.k", number);
    layer->k = tensor(header, name, data, data_bytes, k, path);
    snprintf(name, sizeof name, "layers.%u.v", number);
    layer->v = tensor(header, name, data, data_bytes, v, path);
    snprintf(name, sizeof name, "layers.%u.q", number);
    layer->q = tensor(header, name, data, data_bytes, q, path);
    if (sample->n_layers == 0) {
        sample->n_kv_heads = k[0];
        sample->n_tokens = k[1];
        sample->head_dim = k[2];
        sample->n_q_heads = q[0];
        sample->n_queries = q[1];
    }
    if (memcmp(k, v, sizeof k) != 0 || k[0] != sample->n_kv_heads || k[1] != sample->n_tokens ||
        k[2] != sample->head_dim || q[2] != k[2] || q[0] != sample->n_q_heads || q[1] != sample->n_queries ||
        q[0] % k[0] != 0 || q[1] > k[1])
        tool_die(TOOL_FAILED, "%s: the tensors of layer %u do not fit each other", path, number);
    sample->n_layers++;
}

void sample_read(const char *path, struct sample *sample)
{
    char default_path[1024];
    FILE *file = path ? fopen(path, "rb") : open_default(default_path, sizeof default_path);
    if (!file)
        tool_die(TOOL_FAILED, "%s: %s", path, strerror(errno));
    path = path ? path : default_path;
    memset(sample, 0, sizeof *sample);
    size_t n_bytes;
    sample->bytes = read_all(file, path, &n_bytes);
    uint64_t header_bytes = 0;
    if (n_bytes >= 8)
        memcpy(&header_bytes, sample->bytes, 8);
    if (n_bytes < 8 || header_bytes > n_bytes - 8 || header_bytes % 2)
        tool_die(TOOL_FAILED, "%s: not a safetensors file", path);
    cJSON *header = cJSON_ParseWithLength((const char *)sample->bytes + 8, (size_t)header_bytes);
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(header, "__metadata__");
    const char *layers = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(metadata, "layers"));
    if (!layers)
        tool_die(TOOL_FAILED, "%s: its header names no layers", path);
    sample->model = copy_text(metadata, "model");
    sample->source = copy_text(metadata, "source");
    sample->license = copy_text(metadata, "license");
    sample->text = copy_text(metadata, "text");
    const uint8_t *data = sample->bytes + 8 + header_bytes;
    while (*layers && sample->n_layers < SAMPLE_LAYERS_MAX) {
        char *end;
        unsigned long number = strtoul(layers, &end, 10);
        if (end == layers)
            tool_die(TOOL_FAILED, "%s: \"%s\" is no list of layers", path, layers);
        read_layer(sample, header, (uint32_t)number, data, n_bytes - 8 - (size_t)header_bytes, path);
        layers = *end == ',' ? end + 1 : end;
    }
    cJSON_Delete(header);
}

void sample_free(struct sample *sample)
{
    free(sample->model);
    free(sample->source);
    free(sample->license);
    free(sample->text);
    free(sample->bytes);
}
