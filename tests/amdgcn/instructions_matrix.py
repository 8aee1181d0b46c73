# SPDX-License-Identifier: Apache-2.0
"""Dot products, and matrix instructions of CDNA (v_mfma_*) and RDNA 3 and 4 (v_wmma_*)."""

import numpy as np

import operands

F16, F32, F64, I32, U32 = np.float16, np.float32, np.float64, np.int32, np.uint32


def halves_of(x, is_bf16):
    """[lanes] of words -> [lanes][2] of binary64."""
    x = np.asarray(x)
    both = np.stack([x & U32(0xFFFF), x >> U32(16)], -1)
    if is_bf16:
        return (both << U32(16)).view(F32).astype(F64)
    return both.astype(np.uint16).view(F16).astype(F64)


def bytes_of(x, dtype):
    return np.ascontiguousarray(np.asarray(x)).reshape(-1, 1).view(dtype).astype(np.int64)


def dot_halves(is_bf16):
    def build(ins):
        a, b, write = *(operands.lanes(ins.operands[i], "u32") for i in (1, 2)), ins.writer(0, "f32")
        c = operands.lanes(ins.operands[3] if len(ins.operands) > 3 else ins.operands[0], "f32")
        return lambda w: write(w, ((halves_of(a(w), is_bf16) * halves_of(b(w), is_bf16)).sum(-1) + c(w)).astype(F32))
    return build


def dot_bytes(types):
    """types: of the two sources, or None where neg_lo says which of them have signs."""
    def build(ins):
        signs = ins.get("neg_lo", [0, 0, 0])
        first, second = types or (np.int8 if signs[0] else np.uint8, np.int8 if signs[1] else np.uint8)
        a, b, write = *(operands.lanes(ins.operands[i], "u32") for i in (1, 2)), ins.writer(0, "u32")
        c = operands.lanes(ins.operands[3] if len(ins.operands) > 3 else ins.operands[0], "u32")

        def run(w):
            total = (bytes_of(a(w), first) * bytes_of(b(w), second)).sum(-1)
            write(w, (total & 0xFFFFFFFF).astype(U32) + c(w))
        return run
    return build


def accumulator(text, n):
    """wave -> n rows of binary32."""
    index = operands.vector_index(text)
    if index is None:
        read = operands.lanes(text, "f32")
        return lambda w: [read(w)] * n
    return lambda w: [w.f[index + i].copy() for i in range(n)]


def fragment(text, n_words, is_bf16, flushes=False):
    index = operands.vector_index(text)
    least = 2.0 ** (-126 if is_bf16 else -14)

    def read(w):
        x = np.concatenate([halves_of(w.u[index + i], is_bf16) for i in range(n_words)], -1)
        return np.where(np.abs(x) < least, 0, x) if flushes else x
    return read


def mfma(size, depth, is_bf16):
    """size x size results, size x depth sources: lane l has row l % size of a source, and of the depth the
    (l / size)-th part. Results: 4 rows of a column at a time. CDNA 2 takes subnormal sources as 0."""
    def build(ins):
        per_lane = depth * size // 64
        n_results = size * size // 64
        a, b = (fragment(ins.operands[i], per_lane // 2, is_bf16, ins.target == "gfx90a") for i in (1, 2))
        c, out = accumulator(ins.operands[3], n_results), operands.vector_index(ins.operands[0])
        lane = np.arange(64)
        k = (lane // size * per_lane)[:, None] + np.arange(per_lane)

        def run(w):
            left, right = np.zeros((size, depth)), np.zeros((size, depth))
            left[(lane % size)[:, None], k] = a(w)
            right[(lane % size)[:, None], k] = b(w)
            product, sums = left @ right.T, c(w)
            for i in range(n_results):
                row = i // 4 * (256 // size) + lane // size * 4 + i % 4
                w.f[out + i][:] = (product[row, lane % size] + sums[i]).astype(F32)
        return run
    return build


def wmma(is_bf16):
    """16x16x16. RDNA 3: both halves of a wave hold all 16 of a row; RDNA 4: 8 each."""
    def build(ins):
        rdna4 = ins.generation >= 12
        n_words = 4 if rdna4 else 8
        a, b = (fragment(ins.operands[i], n_words, is_bf16) for i in (1, 2))
        c, out = accumulator(ins.operands[3], 8), operands.vector_index(ins.operands[0])
        lane = np.arange(32)
        k = (lane // 16 * 8 if rdna4 else 0 * lane)[:, None] + np.arange(2 * n_words)

        def run(w):
            left, right = np.zeros((16, 16)), np.zeros((16, 16))
            left[(lane % 16)[:, None], k] = a(w)
            right[(lane % 16)[:, None], k] = b(w)
            product, sums = left @ right.T, c(w)
            for i in range(8):
                row = lane // 16 * 8 + i if rdna4 else 2 * i + lane // 16
                w.f[out + i][:] = (product[row, lane % 16] + sums[i]).astype(F32)
        return run
    return build


I8, U8 = np.int8, np.uint8
TABLE = {
    "v_dot2_f32_f16": dot_halves(False), "v_dot2c_f32_f16": dot_halves(False), "v_dot2acc_f32_f16": dot_halves(False),
    "v_dot2_f32_bf16": dot_halves(True), "v_dot4_i32_i8": dot_bytes((I8, I8)), "v_dot4c_i32_i8": dot_bytes((I8, I8)),
    "v_dot4_u32_u8": dot_bytes((U8, U8)), "v_dot4_i32_iu8": dot_bytes(None),
    "v_mfma_f32_16x16x16f16": mfma(16, 16, False), "v_mfma_f32_16x16x16_f16": mfma(16, 16, False),
    "v_mfma_f32_32x32x8f16": mfma(32, 8, False), "v_mfma_f32_32x32x8_f16": mfma(32, 8, False),
    "v_mfma_f32_16x16x16bf16_1k": mfma(16, 16, True), "v_mfma_f32_16x16x16_bf16": mfma(16, 16, True),
    "v_mfma_f32_32x32x8bf16_1k": mfma(32, 8, True), "v_mfma_f32_32x32x8_bf16": mfma(32, 8, True),
    "v_wmma_f32_16x16x16_f16": wmma(False), "v_wmma_f32_16x16x16_bf16": wmma(True),
}
