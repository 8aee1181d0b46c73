/* SPDX-License-Identifier: Apache-2.0 */
#include "shapes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/skv/tool.h"

/* Made of bench/shapes/ *.json by tools/embed.py. */
extern const char bench_models_json[];
extern const char bench_presets_json[];

/* The list of that name. Each item has a "name". */
static cJSON *load(const char *of)
{
    cJSON *file = cJSON_Parse(strcmp(of, "models") == 0 ? bench_models_json : bench_presets_json);
    cJSON *list = cJSON_DetachItemFromObject(file, of);
    cJSON_Delete(file);
    if (!cJSON_IsArray(list))
        tool_die(TOOL_FAILED, "bench: bench/shapes/%s.json holds no \"%s\"", of, of);
    return list;
}

static cJSON *find(cJSON *list, const char *name, size_t name_length)
{
    cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        const char *is = cJSON_GetStringValue(cJSON_GetObjectItem(item, "name"));
        if (is && strlen(is) == name_length && strncmp(is, name, name_length) == 0)
            return item;
    }
    return NULL;
}

void bench_list_names(char *to, size_t n_bytes, const char *of)
{
    cJSON *list = load(of), *item;
    size_t used = 0;
    to[0] = '\0';
    cJSON_ArrayForEach(item, list) if (used < n_bytes) used += (size_t)snprintf(
        to + used, n_bytes - used, "%s%s", used ? " " : "", cJSON_GetStringValue(cJSON_GetObjectItem(item, "name")));
    cJSON_Delete(list);
}

static uint64_t field(const cJSON *item, const char *name)
{
    double value = cJSON_GetNumberValue(cJSON_GetObjectItem(item, name));
    if (!(value >= 1 && value <= 1e9))
        tool_die(TOOL_FAILED, "bench: \"%s\" is missing in bench/shapes", name);
    return (uint64_t)value;
}

static void refuse(const char *text)
{
    char names[512];
    bench_list_names(names, sizeof names, "models");
    tool_die(TOOL_USAGE,
             "bench: shape is \"%s\"; it must be MODEL:SEQSxTOKENS or SEQS/QHEADS/KVHEADS/TOKENS/HEADDIM\n"
             "     models: %s",
             text, names);
}

/* Digits, and k for 1024. Moves *text behind it; 0 where there is none. */
static uint64_t counted(const char **text)
{
    char *end;
    if (**text < '0' || **text > '9')
        return 0;
    uint64_t value = strtoull(*text, &end, 10);
    bool thousands = *end == 'k';
    *text = end + thousands;
    return value > UINT32_MAX ? 0 : thousands ? value * 1024 : value;
}

static bool parse_model(const char *text, const char *colon, struct bench_shape *shape)
{
    cJSON *models = load("models"), *model = find(models, text, (size_t)(colon - text));
    const char *rest = colon + 1;
    if (model) {
        uint64_t n_seqs = counted(&rest);
        rest += *rest == 'x';
        shape->n_tokens = counted(&rest);
        shape->n_seqs = n_seqs > UINT32_MAX ? 0 : (uint32_t)n_seqs;
        shape->n_q_heads = (uint32_t)field(model, "n_q_heads");
        shape->n_kv_heads = (uint32_t)field(model, "n_kv_heads");
        shape->head_dim = (uint32_t)field(model, "head_dim");
        shape->max_tokens = field(model, "max_tokens");
        /* One way to write it, so that results of one shape have one name. */
        bool whole = shape->n_tokens % 1024 == 0;
        snprintf(shape->name, sizeof shape->name, "%.*s:%ux%" PRIu64 "%s", (int)(colon - text), text, shape->n_seqs,
                 whole ? shape->n_tokens / 1024 : shape->n_tokens, whole ? "k" : "");
    }
    cJSON_Delete(models);
    return model && *rest == '\0' && shape->n_seqs > 0 && shape->n_tokens > 0;
}

void bench_parse_shape(const char *text, struct bench_shape *shape)
{
    uint32_t *const to[] = {&shape->n_seqs, &shape->n_q_heads, &shape->n_kv_heads, NULL, &shape->head_dim};
    const char *colon = strchr(text, ':');
    memset(shape, 0, sizeof *shape);
    if (colon || strlen(text) >= sizeof shape->name) {
        if (!colon || !parse_model(text, colon, shape))
            refuse(text);
        return;
    }
    snprintf(shape->name, sizeof shape->name, "%s", text);
    for (int i = 0; i < 5; i++) {
        uint64_t value = counted(&text);
        if (value == 0 || *text != (i < 4 ? '/' : '\0') || (to[i] && value > UINT32_MAX))
            refuse(shape->name);
        if (to[i])
            *to[i] = (uint32_t)value;
        else
            shape->n_tokens = value;
        text++;
    }
}

static void add_shapes(cJSON *shapes, const cJSON *sweep)
{
    const cJSON *model, *n_seqs, *n_tokens;
    cJSON_ArrayForEach(model, cJSON_GetObjectItem(sweep, "models"))
        cJSON_ArrayForEach(n_seqs, cJSON_GetObjectItem(sweep, "n_seqs"))
            cJSON_ArrayForEach(n_tokens, cJSON_GetObjectItem(sweep, "n_tokens"))
    {
        char text[64];
        snprintf(text, sizeof text, "%s:%.0fx%.0f", cJSON_GetStringValue(model), cJSON_GetNumberValue(n_seqs),
                 cJSON_GetNumberValue(n_tokens));
        cJSON_AddItemToArray(shapes, cJSON_CreateString(text));
    }
}

cJSON *bench_preset(const char *name)
{
    cJSON *presets = load("presets"), *preset = find(presets, name, strlen(name));
    const cJSON *sweep;
    if (preset) {
        cJSON_DetachItemViaPointer(presets, preset);
        cJSON *shapes = cJSON_AddArrayToObject(preset, "shapes");
        cJSON_ArrayForEach(sweep, cJSON_GetObjectItem(preset, "sweeps")) add_shapes(shapes, sweep);
    }
    cJSON_Delete(presets);
    return preset;
}
