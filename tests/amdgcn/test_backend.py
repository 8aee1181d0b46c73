#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The whole HIP backend: its host code launches the machine code that it carries, on interpreters.

test_backend.py LIBSKV CALLED_HIP TARGET...
Runs those of the library's targets that the interpreter knows. Ends with 77, which is "skipped", where a tool or the
code objects are missing."""

import ctypes
import os
import sys
import tempfile
import unittest
from pathlib import Path

SKIPPED = 77
try:
    import numpy as np
except ImportError:
    print("skipped: no numpy for", sys.executable)
    sys.exit(SKIPPED)
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

import called_driver  # noqa: E402
import reference  # noqa: E402
import skv  # noqa: E402
import toolchain  # noqa: E402
from launches import Pool  # noqa: E402

driver = None
N_TOKENS, N_HEADS, GROUP, PAGE, TAIL = 40, 2, 2, 32, 5


class Backend(unittest.TestCase):
    def check(self, i_device, head_dim, kept, q_dtype, kernel):
        memory, target = driver.devices[i_device].memory, driver.devices[i_device].target
        random = np.random.default_rng(i_device)
        lib = skv.Library(sys.argv[1])
        device = lib.device(f"hip:{i_device}")
        queue = lib.queue(device)
        before = driver.n_launches
        places = {}

        def give(data):
            """A span over a copy in the device's memory."""
            data = np.ascontiguousarray(data)
            address = memory.add("given", data)
            span = lib.wrap(device, address, data.nbytes)
            places[span.buffer] = address
            return span

        def take(span, dtype, shape):
            return memory.bytes_of(places[span.buffer]).view(dtype).reshape(shape)

        layout = lib.layout(head_dim=head_dim, n_kv_heads=N_HEADS, kept=kept, page_tokens=PAGE)
        pools, expanded = [], []
        for _ in range(2):
            rows = random.normal(size=(N_TOKENS, N_HEADS, head_dim)).astype(np.float16).view(np.uint16)
            want = Pool(N_HEADS, head_dim, kept, 2, PAGE)
            chosen = reference.largest(reference.magnitudes(rows), kept)
            for token in range(N_TOKENS):
                for head in range(N_HEADS):
                    want.write(token, head, reference.record(rows[token, head], chosen[token, head]))
            n_bytes = lib.pool_bytes(layout, 2)
            span = give(np.full(n_bytes, 0xFF, np.uint8))
            pools.append(skv.Pool(layout=layout, pages=span, n_blocks=2))
            lib.call("compress", queue, ctypes.byref(skv.CompressParams(
                n_tokens=N_TOKENS, rows=skv.Rows(data=give(rows)), pool=pools[-1])))
            n = want.n_blocks * want.block_bytes
            np.testing.assert_array_equal(take(span, np.uint8, -1)[:n], want.data[:n], target)
            out = give(np.zeros(rows.shape, np.uint16))
            lib.call("decompress", queue, ctypes.byref(skv.DecompressParams(
                n_tokens=N_TOKENS, pool=pools[-1], out=skv.Rows(data=out))))
            np.testing.assert_array_equal(take(out, np.uint16, rows.shape), np.where(chosen, rows, 0), target)
            tail = random.normal(size=(TAIL, N_HEADS, head_dim)).astype(np.float16).view(np.uint16)
            expanded.append((reference.values(np.concatenate([np.where(chosen, rows, 0), tail]), 1), give(tail)))

        q = random.normal(size=(N_HEADS * GROUP, head_dim)).astype(np.float32 if q_dtype == skv.F32 else np.float16)
        out, lse = give(np.zeros(q.shape, np.float32)), give(np.zeros(len(q), np.float32))
        params = skv.AttendParams(
            n_seqs=1, n_new=1, n_q_heads=N_HEADS * GROUP, n_kv_heads=N_HEADS, head_dim=head_dim, q_dtype=q_dtype,
            out_dtype=skv.F32, q=give(q), out=out, lse=lse, k_pool=pools[0], v_pool=pools[1],
            k_blocks=give(np.arange(2, dtype=np.int32)), max_cache_tokens=N_TOKENS, k_tail=expanded[0][1],
            v_tail=expanded[1][1], max_tail_tokens=TAIL, split_tokens=32)
        params.workspace = give(np.zeros(lib.attend_workspace(device, params), np.uint8))
        lib.call("attend", queue, ctypes.byref(params))
        lib.call("queue_finish", queue)
        self.assertEqual(f"attend hip {kernel} + merge", lib.last_kernel(queue), target)
        for head, row in enumerate(q.astype(np.float64)):
            want_out, want_lse = reference.attend(row, expanded[0][0][:, head // GROUP],
                                                  expanded[1][0][:, head // GROUP], np.ones(N_TOKENS + TAIL, bool),
                                                  head_dim ** -0.5)
            np.testing.assert_allclose(take(out, np.float32, q.shape)[head], want_out, rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(take(lse, np.float32, -1)[head], want_lse, rtol=1e-3, atol=1e-3)
        # Two each of compress and decompress, then attend and merge.
        self.assertEqual(driver.n_launches - before, 6)

    def test_every_device(self):
        for i_device, device in enumerate(driver.devices):
            with self.subTest(device.target):
                self.check(i_device, 64, 24, skv.F32, "portable.d64.m4")
                kernel = "matrix.d128_f16"
                if device.target in ("gfx906", "gfx1030", "gfx1100"):
                    kernel = "dot.d128_m4_f16"
                elif device.target == "gfx90a":  # CDNA 2 takes subnormal fp16 as 0.
                    kernel = "portable.d128.m4"
                self.check(i_device, 128, 40, skv.F16, kernel)


def main():
    global driver
    try:
        toolchain.tool_folder()
    except toolchain.Missing as missing:
        print("skipped:", missing)
        return SKIPPED
    targets = [target for target in sys.argv[3:] if target in toolchain.TARGETS]
    if not targets:
        print("skipped: none of", *toolchain.TARGETS, "is among the library's targets")
        return SKIPPED
    os.environ["SKV_HIP_LIBRARY"] = sys.argv[2]
    with tempfile.TemporaryDirectory() as folder:
        driver = called_driver.Driver(targets, folder)
        driver.give_to(ctypes.CDLL(sys.argv[2]))
        result = unittest.TextTestRunner(sys.stdout).run(unittest.TestLoader().loadTestsFromTestCase(Backend))
    print("devices:", *targets)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
