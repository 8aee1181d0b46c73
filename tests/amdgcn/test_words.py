# SPDX-License-Identifier: Apache-2.0
"""The words of backends/hip/kernels/language.h and the functions of floats.h."""

import struct

import numpy as np

from instructions_float import Hardware
from launches import Device
from machine import MachineError
from support import TargetCase

LANES = 128
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 2.0 ** -126, 2.0 ** -149, -(2.0 ** -149),
                    2.0 ** -130, 3.4e38, -3.4e38, 88.7, 88.8, 89.5, -87.3, -87.4, -100.0, -103.9, -104.5, -150.0, 1e-10,
                    0.624, 0.626, 20.0], np.float32)


def many(seed, n=6000):
    """Numbers of all sizes, and more of usual ones."""
    random = np.random.default_rng(seed)
    bits = random.integers(0, 1 << 32, n, np.uint32).view(np.float32)
    return np.concatenate([SPECIAL, bits, random.normal(size=n).astype(np.float32) * 8,
                           random.uniform(0.5, 2, n).astype(np.float32)])


class Floats(TargetCase):
    def apply(self, kernel, x):
        device = Device(self.path("words"))
        out = device.give("out", np.full(x.shape, -5, np.float32), True)
        device.machine.launch(kernel, (2, 1, 1), LANES, [device.give("in", x), out, struct.pack("<I", len(x))])
        return device.take(out, np.float32)

    def near(self, kernel, function, limit, x=None):
        """Relative errors within the limit, and the same specials; subnormal results may be off by one of the least."""
        x = many(1) if x is None else x
        got = self.apply(kernel, x)
        with np.errstate(all="ignore"):
            want = function(x.astype(np.float64))
            rounded = want.astype(np.float32)
            ordinary = np.isfinite(rounded) & (np.abs(want) >= 2.0 ** -126)
            np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded), f"{kernel}: NaN")
            np.testing.assert_array_equal(got[np.isinf(rounded)], rounded[np.isinf(rounded)], f"{kernel}: infinities")
            error = np.abs(got.astype(np.float64) - want)[ordinary] / np.abs(want[ordinary])
            worst = int(error.argmax())
            self.assertLessEqual(error[worst], limit, f"{kernel}({x[ordinary][worst]!r})")
            small = np.isfinite(rounded) & ~ordinary
            # The hardware may drop a subnormal operand, but a result of 0 has to be near.
            self.assertTrue((np.abs(got[small]) <= 2.0 ** -126).all(), f"{kernel}: subnormal results")

    def tearDown(self):
        Hardware.ulps = 0

    def for_each_error(self):
        for Hardware.ulps in (0, 1, -1):
            yield

    def test_exp(self):
        for _ in self.for_each_error():
            self.near("test_exp", np.exp, 2 ** -21, np.concatenate([many(2), np.linspace(-104, 89, 20000, dtype="f4")]))

    def test_log(self):
        for _ in self.for_each_error():
            x = np.concatenate([many(3), np.geomspace(1e-45, 3e38, 9000).astype(np.float32),
                                1 + np.linspace(-1e-3, 1e-3, 4000, dtype=np.float32)])
            self.near("test_log", np.log, 2 ** -21, x)

    def test_tanh(self):
        for _ in self.for_each_error():
            x = np.concatenate([many(4), np.linspace(-12, 12, 20000, dtype="f4")])
            self.near("test_tanh", np.tanh, 2 ** -21, x)

    def test_sqrt(self):
        self.near("test_sqrt", np.sqrt, 2 ** -24)

    def test_divide(self):
        for _ in self.for_each_error():
            x = many(5)
            with np.errstate(all="ignore"):
                got, want = self.apply("test_divide", x), np.float32(1.5) / x
            wrong = ~((got == want) | np.isnan(got) & np.isnan(want))
            self.assertFalse(wrong.any(), f"1.5 / {x[wrong][:4]}: {got[wrong][:4]}, not {want[wrong][:4]}")

    def test_others(self):
        x = many(6)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(self.apply("test_fabs", x), np.abs(x))
            np.testing.assert_array_equal(self.apply("test_fmax", x), np.fmax(x, np.float32(1)))
            np.testing.assert_array_equal(self.apply("test_isnan", x), np.isnan(x))
            fused = (x.astype(np.float64) * np.float64(np.float32(1.0000001)) - x).astype(np.float32)
            np.testing.assert_array_equal(self.apply("test_fma", x), fused)
            np.testing.assert_array_equal(self.apply("test_unfused", x), x * np.float32(1.0000001) - x)


class Words(TargetCase):
    def test_halves(self):
        device = Device(self.path("words"))
        out = device.give("out", np.zeros(65536, np.float32), True)
        device.machine.launch("test_half_value", (1, 1, 1), LANES, [out])
        every = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
        np.testing.assert_array_equal(device.take(out, np.float32), every)
        finite = every[np.isfinite(every)]
        x = np.concatenate([many(7), finite, np.nextafter(finite, np.float32(np.inf)), finite + finite * 2.0 ** -11])
        x = x.astype(np.float32)
        bits = device.give("bits", np.zeros(len(x), np.uint16), True)
        device.machine.launch("test_half_bits", (1, 1, 1), LANES,
                              [device.give("in", x), bits, struct.pack("<I", len(x))])
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(device.take(bits, np.float16), x.astype(np.float16))

    def test_integers(self):
        random = np.random.default_rng(8)
        x = (random.integers(0, 1 << 32, 999, np.uint32) >> random.integers(0, 32, 999).astype(np.uint32)).astype("u4")
        x[:4] = [0, 1, 0xFFFFFFFF, 0x80000000]
        device = Device(self.path("words"))
        out = device.give("out", np.zeros((len(x), 12), np.uint32), True)
        device.machine.launch("test_integers", (1, 1, 1), LANES, [device.give("in", x), out, struct.pack("<I", len(x))])
        got = device.take(out, np.uint32, (-1, 12)).tolist()
        values = x.tolist()
        for i, a in enumerate(values):
            b = values[(i + 1) % len(values)]
            wide = a << 32 | b
            signed, divisor = (n - (1 << bits) if n >> bits - 1 else n for n, bits in ((wide, 64), (b, 32)))
            divisor |= 1
            quotient = abs(signed) // abs(divisor) * (1 if (signed < 0) == (divisor < 0) else -1)
            want = [bin(a).count("1"), 32 - a.bit_length(), min(a, b), max(a, b), a // (b | 1), a % (b | 1),
                    wide // (b | 1), wide % (a | 1), min(wide, b << 31) >> 7, quotient, signed >> (a & 63), a]
            self.assertEqual(got[i], [n & 0xFFFFFFFF for n in want], f"of {a:#x} and {b:#x}")

    def test_groups(self):
        for schedule in ("forward", "reverse", 1, 2):
            device = Device(self.path("words"), schedule)
            out = device.give("out", np.zeros((12, LANES, 2), np.uint32), True)
            lowest = device.give("lowest", np.array([0xFFFFFFFF], np.uint32), True)
            device.machine.launch("test_groups", (3, 2, 2), LANES, [out, lowest], 4 * LANES)
            got = device.take(out, np.uint32, (12, LANES, 2))
            group, lane = np.arange(12)[:, None], np.arange(LANES)
            np.testing.assert_array_equal(got[:, :, 0], 1000 * group + LANES - 1 - lane)
            bits = np.packbits(lane % 3 == group % 3, axis=1, bitorder="little").view(np.uint32)
            np.testing.assert_array_equal(got[:, :, 1], bits[:, lane // 32])
            self.assertEqual(device.take(lowest, np.uint32)[0], 77)


    def test_constants_beside_the_code(self):
        device, table = Device(self.path("words")), np.array([7, 11, 13, 17, 19, 23, 29, 31], np.uint32)
        out = device.give("out", np.zeros(LANES, np.uint32), True)
        device.machine.launch("test_table", (1, 1, 1), LANES, [out, struct.pack("<I", 5)])
        np.testing.assert_array_equal(device.take(out, np.uint32), table[np.arange(LANES) % 8] * 23)


class Lanes(TargetCase):
    def test_moves_and_dots(self):
        random = np.random.default_rng(9)
        x, y = (random.uniform(-4, 4, 128).astype(np.float16).view(np.uint32) for _ in range(2))
        device = Device(self.path("matrices"))
        out = device.give("out", np.zeros((64, 5), np.uint32), True)
        device.machine.launch("test_lanes", (1, 1, 1), 64, [device.give("in", x), device.give("other", y), out])
        got, lane, n = device.take(out, np.uint32, (64, 5)), np.arange(64), device.machine.lanes
        np.testing.assert_array_equal(got[:, 0], x[lane ^ 1])
        np.testing.assert_array_equal(got[:, 1], np.where(lane % 16 == 0, 0, x[lane - 1]))
        np.testing.assert_array_equal(got[:, 2], x[lane // n * n + (lane * 7 + 3) % 32])
        a, b = (z.view(np.float16).reshape(64, 2) for z in (x, y))
        np.testing.assert_array_equal(got[:, 3].copy().view(np.float16).reshape(64, 2), a * b + a)
        wide = a.astype(np.float64)
        np.testing.assert_array_equal(got[:, 4].copy().view(np.float32),
                                      (wide[:, 0] * b[:, 1] + wide[:, 1]).astype(np.float32))

    def multiply(self, name, a, b):
        device = Device(self.path("matrices"))
        out = device.give("out", np.zeros((16, 16), np.float32), True)
        device.machine.launch(name, (1, 1, 1), device.machine.lanes, [device.give("a", a), device.give("b", b), out])
        return device.take(out, np.float32, (16, 16))

    def test_matrix(self):
        if "test_matrix_f16" not in Device(self.path("matrices")).machine.code.kernels:
            self.skipTest(f"{self.target} has no matrix instructions")
        random = np.random.default_rng(10)
        a, b = (random.normal(size=(16, 16)).astype(np.float16) for _ in range(2))
        np.testing.assert_allclose(self.multiply("test_matrix_f16", a, b), a.astype(float) @ b.T.astype(float),
                                   rtol=1e-6, atol=1e-5)
        tiny = np.full((16, 16), 2.0 ** -20, np.float16)
        want = 0 if self.target == "gfx90a" else b.astype(float).sum(1)[None] * 2.0 ** -20
        np.testing.assert_allclose(self.multiply("test_matrix_f16", tiny, b), want * np.ones((16, 16)), rtol=1e-5,
                                   atol=1e-10)
        a, b = (random.normal(size=(16, 16)).astype(np.float32).view(np.uint32) & 0xFFFF0000 for _ in range(2))
        np.testing.assert_allclose(
            self.multiply("test_matrix_bf16", *((x >> 16).astype(np.uint16) for x in (a, b))),
            a.view(np.float32).astype(float) @ b.view(np.float32).T.astype(float), rtol=1e-6, atol=1e-5)


class Checks(TargetCase):
    """What the machine has to notice."""

    def test_outside_of_a_buffer(self):
        device = Device(self.path("words"))
        out = device.give("out", np.zeros(LANES, np.uint32), True)
        device.machine.launch("test_outside", (1, 1, 1), LANES, [out, struct.pack("<I", 0)])
        with self.assertRaisesRegex(MachineError, "write of 4 bytes at 0x200 of out"):
            device.machine.launch("test_outside", (1, 1, 1), LANES, [out, struct.pack("<I", 1)])
        with self.assertRaisesRegex(MachineError, "in is read-only|into in, which is read-only"):
            device.machine.launch("test_outside", (1, 1, 1), LANES, [device.give("in", np.zeros(LANES, np.uint32)),
                                                                     struct.pack("<I", 0)])
        with self.assertRaisesRegex(MachineError, "in no buffer"):
            device.machine.launch("test_outside", (1, 1, 1), LANES, [0, struct.pack("<I", 0)])

    def test_outside_of_group_memory(self):
        device = Device(self.path("words"))
        out = device.give("out", np.zeros(LANES, np.uint32), True)
        device.machine.launch("test_outside_group", (1, 1, 1), LANES, [out, struct.pack("<I", 0)], 4 * LANES)
        self.assertTrue((device.take(out, np.uint32) == 0xFFFFFFFF).all(), "group memory starts poisoned")
        with self.assertRaisesRegex(MachineError, "of group memory"):
            device.machine.launch("test_outside_group", (1, 1, 1), LANES, [out, struct.pack("<I", 1)], 4 * LANES)

    def test_race_shows_in_some_schedule(self):
        found = []
        for schedule in ("forward", "reverse", 1, 2, 3):
            device = Device(self.path("words"), schedule)
            out = device.give("out", np.zeros(LANES, np.uint32), True)
            device.machine.launch("test_race", (1, 1, 1), LANES, [out], 4 * LANES)
            found.append((device.take(out, np.uint32) == np.arange(LANES) ^ 64).all())
        self.assertFalse(all(found))
