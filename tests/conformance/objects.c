/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/objects.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/check.h"

#define CANARY_BYTES 128
#define CANARY 0xc5
/* A large finite number in every value type: no result is near it, and no index or count either. */
#define OUTPUT_POISON 0xf7

/* Something to release, newest first. Arrays are known by their buffer. */
struct suite_object {
    struct suite_object *next;
    void *object;
    void (*release)(void *object);
    /* arrays */
    skv_buffer *buffer;
    skv_queue *queue;
    uint64_t start, n_bytes;
    unsigned char *contents; /* of inputs, else NULL */
};

static void *checked(void *memory)
{
    if (!memory) {
        fputs("conformance: out of memory\n", stderr);
        abort();
    }
    return memory;
}

static struct suite_object *add(struct suite_context *t)
{
    struct suite_object *made = checked(calloc(1, sizeof *made));
    made->next = t->objects;
    t->objects = made;
    return made;
}

void suite_own(struct suite_context *t, void *object, void (*release)(void *object))
{
    struct suite_object *made = add(t);
    made->object = object;
    made->release = release;
}

void *suite_host(struct suite_context *t, uint64_t n_bytes)
{
    void *memory = checked(calloc(1, n_bytes ? (size_t)n_bytes : 1));
    suite_own(t, memory, free);
    return memory;
}

void suite_release_all(struct suite_context *t)
{
    while (t->objects) {
        struct suite_object *object = t->objects;
        t->objects = object->next;
        if (object->release)
            object->release(object->object);
        skv_buffer_destroy(object->buffer);
        free(object->contents);
        free(object);
    }
}

static void check_canary(struct suite_context *t, const unsigned char *bytes, uint64_t n, const char *where,
                         uint64_t n_bytes)
{
    for (uint64_t i = 0; i < n; i++)
        if (bytes[i] != CANARY)
            suite_fail(t, "byte %" PRIu64 " of the canary %s an array of %" PRIu64 " bytes is 0x%02x", i, where,
                       n_bytes, bytes[i]);
}

/* Checks what must not have changed; returns the array's contents. */
static unsigned char *check_array(struct suite_context *t, const struct suite_object *array)
{
    uint64_t all = skv_buffer_bytes(array->buffer);
    unsigned char *bytes = suite_host(t, all);
    suite_try(t, "reading an array back", skv_buffer_read(array->queue, bytes, (skv_span){array->buffer, 0}, all));
    check_canary(t, bytes, array->start, "before", array->n_bytes);
    check_canary(t, bytes + array->start + array->n_bytes, all - array->start - array->n_bytes, "after",
                 array->n_bytes);
    if (array->contents)
        suite_equal(t, "an input", bytes + array->start, array->contents, array->n_bytes, 1);
    return bytes + array->start;
}

void suite_reset(struct suite_context *t)
{
    for (struct suite_object *object = t->objects; object; object = object->next)
        if (object->buffer) {
            (void)check_array(t, object);
            /* The copy just read. */
            struct suite_object *copy = t->objects;
            t->objects = copy->next;
            copy->release(copy->object);
            free(copy);
        }
    suite_release_all(t);
}

static struct suite_array make_array(struct suite_context *t, const void *data, uint64_t n_bytes, unsigned alignment,
                                     bool input)
{
    uint64_t start = (CANARY_BYTES + 2 * alignment - 1) / (2 * alignment) * (2 * alignment) + alignment;
    uint64_t all = start + n_bytes + (input ? 0 : CANARY_BYTES);
    struct suite_object *array = add(t);
    skv_buffer_params params = {.struct_size = sizeof params, .bytes = all};
    suite_try(t, "skv_buffer_create", skv_buffer_create(t->device, &params, &array->buffer));
    array->queue = t->queue;
    array->start = start;
    array->n_bytes = n_bytes;

    unsigned char *bytes = checked(malloc((size_t)all));
    memset(bytes, CANARY, (size_t)all);
    if (data)
        memcpy(bytes + start, data, (size_t)n_bytes);
    else
        memset(bytes + start, OUTPUT_POISON, (size_t)n_bytes);
    skv_status status = skv_buffer_write(t->queue, (skv_span){array->buffer, 0}, bytes, all);
    if (input) {
        memmove(bytes, bytes + start, (size_t)n_bytes);
        array->contents = bytes;
    } else {
        free(bytes);
    }
    suite_try(t, "filling an array", status);
    return (struct suite_array){{array->buffer, start}, n_bytes};
}

struct suite_array suite_input(struct suite_context *t, const void *data, uint64_t n_bytes, unsigned alignment)
{
    return make_array(t, data, n_bytes, alignment, true);
}

struct suite_array suite_output(struct suite_context *t, uint64_t n_bytes, unsigned alignment)
{
    return make_array(t, NULL, n_bytes, alignment, false);
}

struct suite_array suite_inout(struct suite_context *t, const void *data, uint64_t n_bytes, unsigned alignment)
{
    return make_array(t, data, n_bytes, alignment, false);
}

static struct suite_object *find(struct suite_context *t, struct suite_array array)
{
    struct suite_object *object = t->objects;
    while (object->buffer != array.span.buffer)
        object = object->next;
    return object;
}

void suite_write(struct suite_context *t, struct suite_array array, const void *data)
{
    struct suite_object *object = find(t, array);
    if (object->contents)
        memcpy(object->contents, data, (size_t)array.n_bytes);
    suite_try(t, "writing an array", skv_buffer_write(object->queue, array.span, data, array.n_bytes));
}

void suite_read(struct suite_context *t, struct suite_array array, void *data)
{
    memcpy(data, check_array(t, find(t, array)), (size_t)array.n_bytes);
}

void suite_output_poison(void *memory, uint64_t n_bytes)
{
    memset(memory, OUTPUT_POISON, (size_t)n_bytes);
}

/* splitmix64 */
static uint64_t next_junk(struct suite_context *t)
{
    uint64_t z = t->junk += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

void suite_poison(struct suite_context *t, void *memory, uint64_t n_bytes)
{
    unsigned char *bytes = memory;
    /* 0xff..: NaN in every value type, -1 in every index. */
    memset(bytes, 0xff, (size_t)n_bytes);
    if (next_junk(t) % 2)
        for (uint64_t i = 0; i < n_bytes; i++)
            bytes[i] = (unsigned char)(next_junk(t) >> 56);
}

/* ---- other devices */

static void release_device(void *device)
{
    skv_device_release(device);
}

skv_device *suite_open_again(struct suite_context *t, unsigned n_threads, const skv_executor *executor)
{
    skv_device_info info = {.struct_size = sizeof info};
    suite_try(t, "skv_device_get_info", skv_device_get_info(t->device, &info));
    skv_device_params params = {.struct_size = sizeof params, .id = info.id};
    if (strcmp(info.backend, "cpu") == 0) {
        /* "avx2, 2 threads" */
        info.variant[strcspn(info.variant, ",")] = '\0';
        params.cpu_isa = info.variant;
        params.cpu_threads = n_threads;
        params.cpu_executor = executor;
    }
    skv_device *device = NULL;
    suite_try(t, "skv_device_open", skv_device_open(&params, &device));
    suite_own(t, device, release_device);
    return device;
}

struct place {
    struct suite_context *t;
    skv_device *device;
    skv_queue *queue;
};

static void go_back(void *object)
{
    struct place *place = object;
    skv_queue_destroy(place->t->queue);
    place->t->device = place->device;
    place->t->queue = place->queue;
    free(place);
}

void suite_switch(struct suite_context *t, skv_device *device)
{
    struct place *before = checked(malloc(sizeof *before));
    skv_queue *queue = NULL;
    *before = (struct place){t, t->device, t->queue};
    skv_status status = skv_queue_create(device, NULL, &queue);
    if (status != SKV_OK)
        free(before);
    suite_try(t, "skv_queue_create", status);
    suite_own(t, before, go_back);
    t->device = device;
    t->queue = queue;
}
