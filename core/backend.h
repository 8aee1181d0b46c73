/* SPDX-License-Identifier: Apache-2.0
 *
 * What a backend implements. The front end (core/) validates every public call once, against the limits and the
 * layouts, fills in all defaults, and then makes one indirect call through these tables. Backends therefore never
 * validate arguments; they return an error only for what a driver or the data does at run time. A new backend is one
 * folder and one line in core/registry.c.
 */
#ifndef SKV_CORE_BACKEND_H
#define SKV_CORE_BACKEND_H

#include <stdatomic.h>

#include <skv/skv.h>

#include "core/format.h"

struct skv_device_ops;

/* A backend allocates the object it derives from these (first member) in open / *_create. The front end fills the
 * fields marked F right after, and owns the reference count. */
struct skv_device {
    const struct skv_backend *backend;
    const struct skv_device_ops *ops;
    struct skv_limits limits;    /* filled by open */
    struct skv_device_info info; /* filled by open */
    atomic_int references;       /* F */
};

struct skv_buffer {
    struct skv_device *device; /* F */
    uint64_t bytes;            /* F */
    void *host;                /* set by buffer_create where limits.host_memory, else NULL */
    uint64_t native;           /* set by buffer_create */
};

struct skv_queue {
    struct skv_device *device; /* F */
    char last_kernel[96];      /* written by the ops */
};

struct skv_timer {
    struct skv_device *device; /* F */
    int started, stopped;      /* F */
};

/* The public parameter structs are handed on with every default filled in: dtypes, strides, page sizes, block_stride,
 * v_blocks = k_blocks, scale, group_tokens, kept. The types below carry what the front end derived besides. */

/* One head's share of a block. */
struct skv_layout_slot {
    uint32_t kept, record_bytes, row_stride;
    uint32_t reserved;
    uint64_t page_bytes, page_offset;
};

/* A layout, resolved. Immutable. */
struct skv_layout {
    uint32_t dtype, form, head_dim, n_kv_heads, page_tokens, n_words;
    uint32_t uniform; /* 1: all heads have the same `kept` */
    uint64_t block_bytes;
    struct skv_layout_slot *head; /* [n_kv_heads] */
    uint32_t *kept;               /* [n_kv_heads], head[].kept once more, as skv_select::kept_per_head takes it */
};

/* How a sequence is split, and where the partial results go. Depends on shapes only. Split p of query row r, with
 * r = (seq * n_new + i) * n_q_heads + head, goes to part_out[p][r] ([head_dim] f32, normalised) and part_lse[p][r]: the
 * form that skv_merge takes. */
struct skv_attend_plan {
    uint32_t split_tokens; /* multiple of 32 */
    uint32_t n_splits;     /* ceil((max_cache_tokens + max_tail_tokens) / split_tokens), at least 1 */
    uint64_t part_out_offset, part_lse_offset; /* bytes from workspace.offset; unused when n_splits is 1 */
    uint64_t workspace_bytes;
};

/* The budget of head h under a rule whose `kept` was filled in. */
static inline uint32_t skv_select_kept(const struct skv_select *select, uint32_t i_head)
{
    return select->kept_per_head ? select->kept_per_head[i_head] : select->kept;
}

struct skv_device_ops {
    /* life */
    void (*close)(struct skv_device *device);

    /* memory; host pointers are valid during the call only */
    enum skv_status (*buffer_create)(struct skv_device *device, const struct skv_buffer_params *params,
                                     struct skv_buffer **buffer);
    void (*buffer_destroy)(struct skv_buffer *buffer);
    enum skv_status (*buffer_write)(struct skv_queue *queue, struct skv_span to, const void *from, uint64_t n_bytes);
    enum skv_status (*buffer_read)(struct skv_queue *queue, void *to, struct skv_span from, uint64_t n_bytes);
    enum skv_status (*buffer_copy)(struct skv_queue *queue, struct skv_span to, struct skv_span from, uint64_t n_bytes);
    enum skv_status (*buffer_fill)(struct skv_queue *queue, struct skv_span to, uint8_t value, uint64_t n_bytes);

    /* order */
    enum skv_status (*queue_create)(struct skv_device *device, const struct skv_queue_params *params,
                                    struct skv_queue **queue);
    void (*queue_destroy)(struct skv_queue *queue);
    enum skv_status (*queue_finish)(struct skv_queue *queue);

    /* timing; the device's clock */
    enum skv_status (*timer_create)(struct skv_device *device, struct skv_timer **timer);
    void (*timer_destroy)(struct skv_timer *timer);
    enum skv_status (*timer_mark)(struct skv_timer *timer, struct skv_queue *queue, int is_stop);
    enum skv_status (*timer_read)(struct skv_timer *timer, uint64_t *nanoseconds);

    /* the operations; NULL: the device does not have it, and the front end says so */
    enum skv_status (*prune)(struct skv_queue *queue, const struct skv_prune_params *params);
    enum skv_status (*channel_weights)(struct skv_queue *queue, const struct skv_channel_weights_params *params);
    enum skv_status (*compress)(struct skv_queue *queue, const struct skv_compress_params *params);
    enum skv_status (*decompress)(struct skv_queue *queue, const struct skv_decompress_params *params);
    enum skv_status (*attend)(struct skv_queue *queue, const struct skv_attend_params *params,
                              const struct skv_attend_plan *plan);
    enum skv_status (*merge)(struct skv_queue *queue, const struct skv_merge_params *params);

    /* Optional: why this device cannot do a valid call. NULL: it can do whatever its limits allow. The message is set
     * with skv_fail. Called before the operation and for SKV_OP_CHECK. */
    enum skv_status (*attend_check)(struct skv_device *device, const struct skv_attend_params *params);
    /* Optional: the device's own choice of split_tokens for these shapes, a multiple of 32. NULL: the front end's. */
    uint32_t (*attend_split)(const struct skv_device *device, const struct skv_attend_params *params);
    /* Optional: the least workspace for these shapes, whatever the plan needs. The plan's parts need not be used. */
    uint64_t (*attend_workspace)(const struct skv_device *device, const struct skv_attend_params *params);
};

struct skv_backend {
    const char *name;
    /* How many devices this machine has for it; with 0, a reason. Loads the driver on first use; thread-safe. */
    uint32_t (*probe)(char *reason, size_t reason_bytes);
    /* Describes device i < probe(): all fields but struct_size. */
    void (*describe)(uint32_t i_device, struct skv_device_info *info);
    /* Opens device i. The params are checked; defaults that come from the environment are the backend's to read. */
    enum skv_status (*open)(uint32_t i_device, const struct skv_device_params *params, struct skv_device **device);
};

/* ------------------------------------------------------------------------------------- services of the core to
 * backends */

/* Sets the thread's error message, logs it, and returns status: `return skv_fail(SKV_ERROR_DEVICE, "...", ...)`. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
enum skv_status
skv_fail(enum skv_status status, const char *format, ...);

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void skv_log(enum skv_log_level level, const char *format, ...);

/* All memory of the library comes from these, so that a test can make the n-th allocation fail. skv_alloc's is zeroed
 * and 64-byte aligned; skv_alloc_raw's is neither touched nor zeroed, and aligned to a power of two. */
void *skv_alloc(size_t n_bytes);
void *skv_alloc_raw(size_t n_bytes, size_t alignment);
void skv_free(void *memory);

/* The host address of a span in host memory, NULL for an absent one. */
static inline void *skv_host(struct skv_span span)
{
    return span.buffer ? (char *)span.buffer->host + span.offset : NULL;
}

#endif
