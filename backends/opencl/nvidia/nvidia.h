/* SPDX-License-Identifier: Apache-2.0
 *
 * The CUDA backend's kernels on NVIDIA's OpenCL driver, which takes PTX as a program's binary. Whether a kernel is used
 * is found by running it, when it is first wanted: a case with a known answer must come out right. Where it does not,
 * or the driver does not take it, the portable kernels do the work, and the log says why.
 */
#ifndef SKV_NVIDIA_H
#define SKV_NVIDIA_H

#include "backends/gpu/tensor.h"
#include "backends/opencl/nvidia/params.h"
#include "backends/opencl/opencl.h"

/* ---- made by tools/opencl_ptx.py: programs one after the other, packed; an entry without a name ends them */

struct skv_nvidia_program {
    const char *name; /* of its kernel */
    uint32_t offset, n_bytes;
};
extern const struct skv_nvidia_program skv_nvidia_programs[];
extern const unsigned char skv_nvidia_packed[];
extern const size_t skv_nvidia_bytes; /* of all, unpacked */

/* ---- programs.c */

/* A kernel's program: its text, NUL-terminated, which the caller frees with skv_free; or NULL. */
char *skv_nvidia_text(const char *name, size_t *n_bytes);
/* Whether programs for NVIDIA were built in, and the device says that it can run them. */
bool skv_nvidia_is_likely(const struct skv_cl_functions *cl, cl_device_id id);
/* The queue's kernel of that number, or NULL: a portable one has to do. Builds and tries it at its first use. */
enum skv_status skv_nvidia_kernel(struct skv_cl_queue *queue, int i_kernel, cl_kernel *kernel);

/* ---- attend.c, rows.c: the operations, and their launches for kernels on trial */

extern const struct skv_tensor_kernels skv_nvidia_attend_kernels;
extern const uint32_t skv_nvidia_decompress_dims[SKV_NVIDIA_DECOMPRESS_KERNELS]; /* their head_dims */

/* To 16 bytes. */
bool skv_nvidia_is_aligned(struct skv_span span);
struct skv_tensor_limits skv_nvidia_attend_limits(const struct skv_device *device);

enum skv_status skv_nvidia_attend(struct skv_queue *queue, const struct skv_attend_params *params,
                                  const struct skv_attend_plan *plan);
uint64_t skv_nvidia_attend_workspace(const struct skv_device *device, const struct skv_attend_params *params);
enum skv_status skv_nvidia_attend_launch(struct skv_cl_queue *queue, const struct skv_attend_params *params,
                                         const struct skv_attend_plan *plan, int i_variant,
                                         const struct skv_tensor_cut *cut, cl_kernel kernel);

enum skv_status skv_nvidia_compress(struct skv_queue *queue, const struct skv_compress_params *params);
enum skv_status skv_nvidia_compress_launch(struct skv_cl_queue *queue, const struct skv_compress_params *params,
                                           cl_kernel kernel);
enum skv_status skv_nvidia_decompress(struct skv_queue *queue, const struct skv_decompress_params *params);
enum skv_status skv_nvidia_decompress_launch(struct skv_cl_queue *queue, const struct skv_decompress_params *params,
                                             cl_kernel kernel);

/* ---- probe.c, probe_attend.c, probe_rows.c: SKV_OK when a kernel's answers are right; the queue is one for trials */

enum skv_status skv_nvidia_probe_attend(struct skv_cl_queue *queue, int i_variant, cl_kernel kernel);
enum skv_status skv_nvidia_probe_compress(struct skv_cl_queue *queue, cl_kernel kernel);
enum skv_status skv_nvidia_probe_decompress(struct skv_cl_queue *queue, uint32_t head_dim, cl_kernel kernel);

#endif
