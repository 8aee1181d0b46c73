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

SKV_EMULATED_KERNEL(skv_kernel_prune);
SKV_EMULATED_KERNEL(skv_kernel_compress_fixed);
SKV_EMULATED_KERNEL(skv_kernel_compress_ragged);
SKV_EMULATED_KERNEL(skv_kernel_decompress);
SKV_EMULATED_KERNEL(skv_kernel_channel_weights);
SKV_EMULATED_KERNEL(skv_kernel_merge);
SKV_EMULATED_KERNEL(skv_kernel_attend_d64_m1);
SKV_EMULATED_KERNEL(skv_kernel_attend_d64_m4);
SKV_EMULATED_KERNEL(skv_kernel_attend_d64_m8);
SKV_EMULATED_KERNEL(skv_kernel_attend_d128_m1);
SKV_EMULATED_KERNEL(skv_kernel_attend_d128_m4);
SKV_EMULATED_KERNEL(skv_kernel_attend_d128_m8);
SKV_EMULATED_KERNEL(skv_kernel_attend_d256_m1);
SKV_EMULATED_KERNEL(skv_kernel_attend_d256_m4);
SKV_EMULATED_KERNEL(skv_kernel_attend_d256_m8);
SKV_EMULATED_KERNEL(skv_kernel_attend_d512_m1);
SKV_EMULATED_KERNEL(skv_kernel_attend_d512_m4);
SKV_EMULATED_KERNEL(skv_kernel_attend_d512_m8);
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
