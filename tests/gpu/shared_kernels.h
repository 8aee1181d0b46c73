/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernels of backends/gpu/kernels, for the emulator; to be included behind their definitions.
 */
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
