/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/opencl/opencl.h"

struct skv_cl_launch skv_cl_launch_begin(struct skv_queue *queue, enum skv_cl_kernel kernel)
{
    struct skv_cl_queue *own = (struct skv_cl_queue *)queue;
    return (struct skv_cl_launch){.queue = own, .kernel = own->kernels[kernel]};
}

static void set(struct skv_cl_launch *launch, const void *value, size_t n_bytes)
{
    cl_int code =
        skv_cl_device_of(&launch->queue->base)->cl->clSetKernelArg(launch->kernel, launch->n_args, n_bytes, value);
    launch->n_args++;
    if (launch->code == CL_SUCCESS)
        launch->code = code;
}

void skv_cl_arg_value(struct skv_cl_launch *launch, const void *value, size_t n_bytes)
{
    set(launch, value, n_bytes);
}

void skv_cl_arg_buffer(struct skv_cl_launch *launch, struct skv_span span)
{
    /* Some drivers refuse NULL; what stands in is not read, since the parameters say that the span is absent. */
    cl_mem memory = span.buffer ? skv_cl_memory(span.buffer) : launch->queue->faults;
    set(launch, &memory, sizeof memory);
}

void skv_cl_arg_faults(struct skv_cl_launch *launch)
{
    launch->queue->faults_likely = true;
    set(launch, &launch->queue->faults, sizeof launch->queue->faults);
}

void skv_cl_arg_local(struct skv_cl_launch *launch, size_t n_bytes)
{
    set(launch, NULL, n_bytes);
}

enum skv_status skv_cl_launch(struct skv_cl_launch *launch, size_t lanes, size_t n_x, size_t n_y, size_t n_z)
{
    if (launch->code != CL_SUCCESS)
        return skv_cl_fail("clSetKernelArg", launch->code);
    const size_t local[3] = {lanes, 1, 1}, global[3] = {lanes * n_x, n_y, n_z};
    SKV_CL_TRY(
        skv_cl_device_of(&launch->queue->base)
            ->cl->clEnqueueNDRangeKernel(launch->queue->queue, launch->kernel, 3, NULL, global, local, 0, NULL, NULL),
        "clEnqueueNDRangeKernel");
    return SKV_OK;
}

struct skv_cl_pool skv_cl_pool_of(const struct skv_pool *pool)
{
    return (struct skv_cl_pool){.offset = pool->pages.offset,
                                .block_bytes = pool->layout->block_bytes,
                                .n_blocks = pool->n_blocks,
                                .form = pool->layout->form,
                                .page_tokens = pool->layout->page_tokens};
}

static struct skv_cl_head head_of(const struct skv_layout *layout, const struct skv_select *rule, uint32_t i_head)
{
    struct skv_cl_head head = {0};
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

uint32_t skv_cl_heads_of(const struct skv_layout *layout, const struct skv_select *rule, uint32_t n_heads,
                         uint32_t first, struct skv_cl_heads *heads)
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
    uint32_t n = n_heads - first < SKV_CL_HEADS ? n_heads - first : SKV_CL_HEADS;
    heads->first = first;
    for (uint32_t i = 0; i < n; i++)
        heads->head[i] = head_of(layout, rule, first + i);
    return n;
}
