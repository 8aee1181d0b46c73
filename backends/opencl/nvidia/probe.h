/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernels on trial: small cases with known answers, computed on the host from what FORMAT.md says.
 */
#ifndef SKV_NVIDIA_PROBE_H
#define SKV_NVIDIA_PROBE_H

#include "backends/opencl/nvidia/nvidia.h"

#define SKV_PROBE_POISON 0xa5

/* A case's memory on the host, poisoned, its copy on the device, and what came back from there. */
struct skv_probe {
    struct skv_cl_queue *queue;
    struct skv_buffer *buffer;
    unsigned char *bytes;
    const void *got;
    size_t n_bytes;
};

/* The device has n_more bytes behind the case. To be closed on failure, too. */
enum skv_status skv_probe_open(struct skv_probe *probe, struct skv_cl_queue *queue, size_t n_bytes, uint64_t n_more);
void skv_probe_close(struct skv_probe *probe);

struct skv_span skv_probe_span(const struct skv_probe *probe, const void *at);
enum skv_status skv_probe_upload(const struct skv_probe *probe);
/* Waits for the kernels and gets their faults first. */
enum skv_status skv_probe_download(const struct skv_probe *probe);

/* Records that fill their stride if there are channels for that, of one head. The layout points to the slot. */
struct skv_layout_slot skv_probe_slot(uint32_t head_dim, uint32_t row_stride, uint32_t page_tokens);
struct skv_layout skv_probe_layout(struct skv_layout_slot *slot, uint32_t dtype, uint32_t head_dim,
                                   uint32_t page_tokens);

#endif
