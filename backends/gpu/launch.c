/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "backends/gpu/gpu.h"

const char *const skv_gpu_kernel_names[SKV_GPU_ROW_KERNELS] = {
    [SKV_GPU_PRUNE] = "skv_kernel_prune",
    [SKV_GPU_COMPRESS_FIXED] = "skv_kernel_compress_fixed",
    [SKV_GPU_COMPRESS_RAGGED] = "skv_kernel_compress_ragged",
    [SKV_GPU_DECOMPRESS] = "skv_kernel_decompress",
    [SKV_GPU_WEIGHTS] = "skv_kernel_channel_weights",
    [SKV_GPU_MERGE] = "skv_kernel_merge",
};

struct skv_gpu_launch skv_gpu_launch_begin(struct skv_queue *queue, enum skv_gpu_kernel kernel)
{
    return (struct skv_gpu_launch){.queue = (struct skv_gpu_queue *)queue, .kernel = kernel};
}

static void add(struct skv_gpu_launch *launch, struct skv_gpu_arg arg)
{
    assert(launch->n_args < SKV_GPU_ARGS_MAX);
    launch->args[launch->n_args++] = arg;
}

void skv_gpu_arg_value(struct skv_gpu_launch *launch, const void *value, size_t n_bytes)
{
    add(launch, (struct skv_gpu_arg){.value = value, .n_bytes = n_bytes});
}

void skv_gpu_arg_buffer(struct skv_gpu_launch *launch, struct skv_span span)
{
    add(launch, (struct skv_gpu_arg){.span = span});
}

void skv_gpu_arg_faults(struct skv_gpu_launch *launch)
{
    launch->queue->faults_likely = true;
    add(launch, (struct skv_gpu_arg){.is_faults = true});
}

enum skv_status skv_gpu_enqueue(struct skv_gpu_launch *launch, uint32_t lanes, uint64_t n_x, uint64_t n_y, uint64_t n_z)
{
    launch->lanes = lanes;
    launch->groups[0] = n_x;
    launch->groups[1] = n_y;
    launch->groups[2] = n_z;
    return launch->queue->enqueue(launch);
}

struct skv_gpu_pool skv_gpu_pool_of(const struct skv_pool *pool)
{
    return (struct skv_gpu_pool){.offset = pool->pages.offset,
                                 .block_bytes = pool->layout->block_bytes,
                                 .n_blocks = pool->n_blocks,
                                 .form = pool->layout->form,
                                 .page_tokens = pool->layout->page_tokens};
}

static struct skv_gpu_head head_of(const struct skv_layout *layout, const struct skv_select *rule, uint32_t i_head)
{
    struct skv_gpu_head head = {0};
    if (rule)
        head.selected = rule->kept || rule->kept_per_head ? skv_select_kept(rule, i_head) : 0;
    if (layout) {
        const struct skv_layout_slot *slot = &layout->head[i_head];
        head.kept = slot->kept;
        head.row_stride = slot->row_stride;
        head.page_bytes = (uint32_t)slot->page_bytes;
        head.page_offset = slot->page_offset;
    }
    return head;
}

uint32_t skv_gpu_heads_of(const struct skv_layout *layout, const struct skv_select *rule, uint32_t n_heads,
                          uint32_t first, struct skv_gpu_heads *heads)
{
    memset(heads, 0, sizeof *heads);
    bool alike = !layout || layout->uniform;
    for (uint32_t h = 1; alike && rule && rule->kept_per_head && h < n_heads; h++)
        alike = rule->kept_per_head[h] == rule->kept_per_head[0];
    if (alike) {
        heads->alike = 1;
        heads->head[0] = head_of(layout, rule, 0);
        heads->head[0].page_offset = heads->head[0].page_bytes;
        return n_heads;
    }
    uint32_t n = n_heads - first < SKV_GPU_HEADS ? n_heads - first : SKV_GPU_HEADS;
    heads->first = first;
    for (uint32_t i = 0; i < n; i++)
        heads->head[i] = head_of(layout, rule, first + i);
    return n;
}

enum skv_status skv_gpu_report_faults(const struct skv_gpu_queue *queue, const uint32_t faults[SKV_GPU_FAULTS])
{
    static const struct {
        uint32_t kind;
        const char *what;
    } entries[] = {
        {SKV_GPU_FAULT_CACHE_LEN, "cache_lens[%" PRIu32 "] is not from 0 to max_cache_tokens"},
        {SKV_GPU_FAULT_TAIL_LEN, "tail_lens[%" PRIu32 "] is not from 0 to max_tail_tokens"},
        {SKV_GPU_FAULT_K_BLOCK, "k_blocks: entry %" PRIu32 " is not a block of k_pool"},
        {SKV_GPU_FAULT_V_BLOCK, "v_blocks: entry %" PRIu32 " is not a block of v_pool"},
    };
    if (faults[SKV_GPU_FAULT_CAPACITY] != SKV_GPU_NO_FAULT)
        return skv_fail(SKV_ERROR_CAPACITY,
                        "token %" PRIu32 " does not fit its ragged page; pages of this layout are too small for these "
                        "rows, or the slots below were not written",
                        faults[SKV_GPU_FAULT_CAPACITY]);
    if (faults[SKV_GPU_FAULT_SLOT] != SKV_GPU_NO_FAULT)
        return skv_fail(SKV_ERROR_OUT_OF_BOUNDS, "slot_mapping[%" PRIu32 "] is not one of the pool's %" PRIu64 " slots",
                        faults[SKV_GPU_FAULT_SLOT], queue->n_slots);
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++)
        if (faults[entries[i].kind] != SKV_GPU_NO_FAULT) {
            char text[128];
            snprintf(text, sizeof text, entries[i].what, faults[entries[i].kind]);
            return skv_fail(SKV_ERROR_OUT_OF_BOUNDS, "%s; such entries were ignored", text);
        }
    return SKV_OK;
}
