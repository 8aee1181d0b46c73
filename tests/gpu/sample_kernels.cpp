/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernels that the emulator's and the fake driver's own tests launch.
 */
#include "tests/gpu/samples.h"

SKV_EMULATED_KERNEL(sample_add);
SKV_EMULATED_KERNEL(sample_reduce);
SKV_EMULATED_KERNEL(sample_warp);
SKV_EMULATED_KERNEL(sample_matrices);
SKV_EMULATED_KERNEL(sample_copies);
SKV_EMULATED_KERNEL(sample_bulk);
SKV_EMULATED_KERNEL(sample_last);
SKV_EMULATED_KERNEL(wrong_copies);
SKV_EMULATED_KERNEL(wrong_copy_end);
SKV_EMULATED_KERNEL(wrong_bulk_wait);
SKV_EMULATED_KERNEL(wrong_bulk_fence);
SKV_EMULATED_KERNEL(wrong_bulk_reuse);
SKV_EMULATED_KERNEL(wrong_bulk_parity);
SKV_EMULATED_KERNEL(wrong_no_barrier);
SKV_EMULATED_KERNEL(wrong_no_trailing_barrier);
SKV_EMULATED_KERNEL(wrong_divergence);
SKV_EMULATED_KERNEL(wrong_collective);
SKV_EMULATED_KERNEL(wrong_exit);
SKV_EMULATED_KERNEL(wrong_exit_at_barrier);
SKV_EMULATED_KERNEL(wrong_deadlock);
SKV_EMULATED_KERNEL(wrong_late_store);
SKV_EMULATED_KERNEL(wrong_bounds);
SKV_EMULATED_KERNEL(wrong_alignment);
SKV_EMULATED_KERNEL(wrong_scratch_overrun);
SKV_EMULATED_KERNEL(wrong_fresh);
