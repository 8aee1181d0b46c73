/* SPDX-License-Identifier: Apache-2.0
 *
 * The CUDA backend's kernels, for the emulator. Every kernel is listed: a macro in front of its parameters cannot know
 * their types.
 */
/* First, so that the kernels' own includes of these names find them already there. */
/* clang-format off */
#include "tests/gpu/emulated/primitives.h"
#include "backends/cuda/kernels/kernels.cu"
/* clang-format on */

#include "tests/gpu/shared_kernels.h"

SKV_EMULATED_KERNEL(skv_kernel_attend_m4_f16_s96_a4);
SKV_EMULATED_KERNEL(skv_kernel_attend_m4_f16_s144_a1);
SKV_EMULATED_KERNEL(skv_kernel_attend_m4_f16_x_a4);
SKV_EMULATED_KERNEL(skv_kernel_attend_m4_f16_x_a1);
SKV_EMULATED_KERNEL(skv_kernel_attend_m4_bf16_s96_a4);
SKV_EMULATED_KERNEL(skv_kernel_attend_m4_bf16_s144_a1);
SKV_EMULATED_KERNEL(skv_kernel_attend_m4_bf16_x_a4);
SKV_EMULATED_KERNEL(skv_kernel_attend_m4_bf16_x_a1);
SKV_EMULATED_KERNEL(skv_kernel_attend_m8_f16_s96_a4);
SKV_EMULATED_KERNEL(skv_kernel_attend_m8_f16_s144_a1);
SKV_EMULATED_KERNEL(skv_kernel_attend_m8_f16_x_a4);
SKV_EMULATED_KERNEL(skv_kernel_attend_m8_f16_x_a1);
SKV_EMULATED_KERNEL(skv_kernel_attend_m8_bf16_x_a4);
SKV_EMULATED_KERNEL(skv_kernel_attend_m8_bf16_x_a1);
SKV_EMULATED_KERNEL(skv_kernel_attend_m16_f16_x_a4);
SKV_EMULATED_KERNEL(skv_kernel_attend_m16_f16_x_a1);
SKV_EMULATED_KERNEL(skv_kernel_attend_m16_bf16_x_a4);
SKV_EMULATED_KERNEL(skv_kernel_attend_m16_bf16_x_a1);
SKV_EMULATED_KERNEL(skv_kernel_compress_rows);
