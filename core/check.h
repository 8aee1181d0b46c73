/* SPDX-License-Identifier: Apache-2.0
 *
 * The checks that public calls are built from. Each returns SKV_OK, or sets the message (argument, value, rule) and
 * returns the status, so that a call reads as a list of SKV_TRY lines.
 */
#ifndef SKV_CORE_CHECK_H
#define SKV_CORE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "core/backend.h"

#define SKV_TRY(call)                     \
    do {                                  \
        enum skv_status status_ = (call); \
        if (status_ != SKV_OK)            \
            return status_;               \
    } while (0)

#define SKV_REQUIRE(condition, status, ...)         \
    do {                                            \
        if (!(condition))                           \
            return skv_fail((status), __VA_ARGS__); \
    } while (0)

#define SKV_REQUIRE_NOT_NULL(argument, name) \
    SKV_REQUIRE((argument) != NULL, SKV_ERROR_INVALID_ARGUMENT, "%s is NULL; it must not be", (name))

/* False when the result does not fit; *result is then untouched. */
static inline bool skv_mul(uint64_t a, uint64_t b, uint64_t *result)
{
    if (b != 0 && a > UINT64_MAX / b)
        return false;
    *result = a * b;
    return true;
}

static inline bool skv_add(uint64_t a, uint64_t b, uint64_t *result)
{
    if (a > UINT64_MAX - b)
        return false;
    *result = a + b;
    return true;
}

static inline uint64_t skv_round_up(uint64_t value, uint64_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

/* Copies the caller's parameter struct into `out` of `known` bytes: shorter than `known` is refused (there is one
 * version so far), longer is accepted when the unknown rest is zero. `name` is the argument's name. */
enum skv_status skv_check_params(const char *name, const void *params, void *out, size_t known);
/* Checks an info struct to be filled: at least `known` bytes. */
enum skv_status skv_check_info(const char *name, const void *info, size_t known);
/* Fills it: `filled` has `known` bytes; the caller's struct_size is kept and a longer rest is zeroed. */
void skv_fill_info(void *info, const void *filled, size_t known);

enum skv_status skv_check_flags(const char *name, uint32_t flags, uint32_t known);

/* A span that must be there: device, alignment (a power of two), bounds. */
enum skv_status skv_check_span(const struct skv_device *device, const char *name, struct skv_span span,
                               uint64_t alignment, uint64_t n_bytes);

/* A dense tensor of rows of `inner` contiguous values of value_bytes. dims and strides (elements) are outermost first;
 * a stride of 0 is filled with the contiguous one. Written tensors must not have rows that overlap. */
struct skv_tensor {
    const char *name;
    struct skv_span span;
    uint32_t value_bytes;
    uint32_t n_dims;
    uint64_t dims[3];
    uint64_t *strides[3];
    uint64_t inner;
    bool written;
};
enum skv_status skv_check_tensor(const struct skv_device *device, const struct skv_tensor *tensor);

/* Fills rows' default strides and checks them. */
enum skv_status skv_check_rows(const struct skv_device *device, const char *name, struct skv_rows *rows,
                               uint64_t n_tokens, uint32_t n_heads, uint32_t head_dim, uint32_t value_bytes,
                               bool written);

enum skv_status skv_check_head_dim(const char *name, uint32_t head_dim);
/* head_dim and storage type against a device's limits. */
enum skv_status skv_check_head_dim_on(const struct skv_device *device, uint32_t head_dim);
enum skv_status skv_check_kv_heads(uint32_t n_kv_heads);
/* Replaces SKV_DTYPE_DEFAULT by `fallback` and checks the result against a mask of 1u << skv_dtype; `limits` is what
 * the device adds to the rule. */
enum skv_status skv_check_dtype(const char *name, uint32_t *dtype, uint32_t fallback, uint32_t allowed,
                                uint32_t limits);

enum skv_status skv_check_pool(const struct skv_device *device, const char *name, const struct skv_pool *pool);

/* The slots of a compress or decompress call. `written`: also what writing needs: the order that ragged pages demand.
 */
enum skv_status skv_check_slots(const struct skv_device *device, const struct skv_pool *pool, struct skv_span mapping,
                                uint64_t first_slot, uint64_t n_tokens, bool written);

/* A pruning rule for rows of head_dim channels of n_kv_heads heads; fills kept and group_tokens. `layout` is NULL for
 * prune. */
enum skv_status skv_check_select(const struct skv_device *device, struct skv_select *select,
                                 const struct skv_layout *layout, uint32_t head_dim, uint32_t n_kv_heads,
                                 uint64_t n_tokens);

/* True when the device's memory can be read here and now, so that contents can be checked too. */
static inline bool skv_contents_visible(const struct skv_device *device)
{
    return device->limits.host_memory && device->limits.synchronous;
}

#endif
