# SPDX-License-Identifier: Apache-2.0
"""What the tests stand on: all instructions are known, and budgets and bundles are right."""

import subprocess
import sys

import numpy as np

import loop
import support
import toolchain
from launches import C, Device
from machine import TABLE, Machine, MachineError
from support import TargetCase

sys.path.insert(0, str(toolchain.ROOT / "tools"))

import budget  # noqa: E402
import bundle  # noqa: E402


class Instructions(TargetCase):
    def test_all_of_the_shared_kernels_are_known(self):
        """Those, too, that no test here runs."""
        machine = Machine(self.path("kernels"))
        for kernel in machine.code.kernels:
            self.assertEqual(machine.program(kernel).unknown(), [], f"{self.target} {kernel}")

    def test_an_unknown_one_is_named(self):
        device = Device(self.path("words"))
        out = device.give("out", np.zeros(65536, np.float32), True)
        missing = TABLE.pop("v_cvt_f32_f16")
        try:
            with self.assertRaisesRegex(MachineError, f"{self.target} test_half_value at 0x.* v_cvt_f32_f16$"):
                device.machine.launch("test_half_value", (1, 1, 1), 128, [out])
        finally:
            TABLE["v_cvt_f32_f16"] = missing


class Budgets(TargetCase):
    def test_shared_kernels_stay_in_registers(self):
        for target, kernel, numbers in budget.rows_of(self.path("kernels")):
            self.assertEqual(budget.complaints(numbers, budget.ALLOWABLE) + budget.matrix_complaints(kernel, numbers),
                             [], f"{target} {kernel}")

    def test_kernels_of_hip_alone_stay_short(self):
        """Matrix units: 1.3 times what CUDA's take for 4 query rows, but RDNA 3 has to have all operands twice."""
        limits = {64: 6.6, 128: 5.6, 256: 5.6} if self.target == "gfx1100" else {64: 5.5, 128: 4.5, 256: 4.0}
        dot_limits = {1: 5.1, 4: 7.4}
        kernels = loop.matrix_kernels(self.path("kernels"))
        for kernel in kernels:
            _, head_dim, dtype, rows = kernel
            if dtype == C["SKV_BF16"] if rows == C["SKV_HIP_TILE"] else dtype == C["SKV_F16"] and head_dim == 128:
                vectors = loop.per_channel(self.path("kernels"), *kernel)[-1]
                self.assertLess(vectors, dot_limits.get(rows, limits[head_dim]), kernel[0])
        expected = {"gfx906": 4, "gfx1030": 4, "gfx90a": 3, "gfx1100": 10}
        self.assertEqual(len(kernels), expected.get(self.target, 6))

    def test_most_is_the_largest(self):
        rows = list(budget.rows_of(self.path("kernels")))
        (target, name, most), = budget.most_of(rows)
        self.assertEqual((target, name), (self.target, f"{len(rows)} kernels"))
        for column, number in most.items():
            self.assertEqual(number, sorted(numbers[column] for _, _, numbers in rows)[-1], column)

    def test_spills_are_seen(self):
        source = support.folder() / "spill.hip"
        source.write_text('#include "backends/hip/kernels/language.h"\n'
                          "KERNEL(spill, 64)(uint *x, uint n) { uint a[64];\n"
                          "for (uint i = 0; i < 64; i++) a[i] = x[i];\n"
                          "for (uint i = 0; i < n; i++) a[x[i] % 64] += x[i + 1];\n"
                          "x[local_id()] = a[n % 64]; }\n")
        path = toolchain.compile_hip(source, self.target, support.folder() / f"spill-{self.target}.o")
        (_, name, numbers), = budget.rows_of(path)
        self.assertEqual(name, "spill")
        self.assertGreater(numbers["private memory"], 0)
        self.assertEqual(len(budget.complaints(numbers, budget.ALLOWABLE)), 2)
        # Such memory is each lane's own, and poisoned like all other.
        device = Device(path)
        x = np.arange(100, 200, dtype=np.uint32)
        at = device.give("x", x, True)
        device.machine.launch("spill", (1, 1, 1), 64, [at, (9).to_bytes(4, "little")])
        a = x[:64].copy()
        for i in range(9):
            a[x[i] % 64] += x[i + 1]
        self.assertEqual(device.take(at, np.uint32)[0], a[9])


class Bundles(TargetCase):
    def test_what_is_put_in_comes_out(self):
        out = support.folder() / f"bundle-{self.target}"
        subprocess.run([sys.executable, toolchain.ROOT / "tools" / "bundle.py", out, self.path("words")], check=True)
        entries = bundle.read_bundle(out.read_bytes())
        name = f"hipv4-amdgcn-amd-amdhsa--{self.target}"
        self.assertEqual(entries, [(bundle.HOST, b""), (name, self.path("words").read_bytes())])
        reader = toolchain.tool_folder() / "clang-offload-bundler"
        if reader.exists():
            text = subprocess.run([reader, "--list", "--type=o", f"--input={out}"], check=True, text=True,
                                  capture_output=True).stdout
            self.assertIn(name, text.split())
