# SPDX-License-Identifier: Apache-2.0
"""The attention kernels against binary64."""

import numpy as np

import loop
from attention import Problem
from launches import C, Device
from support import TargetCase

F16, BF16 = C["SKV_F16"], C["SKV_BF16"]
# The format's bound (section 9) is looser than this for all problems here.
LIMIT = 1e-3


class Attend(TargetCase):
    def check(self, problem, m, schedule="forward"):
        device = Device(self.path("kernels"), schedule)
        out, lse = device.attend(problem, m)
        want_out, want_lse, _, _ = problem.expected()
        np.testing.assert_allclose(out, want_out, rtol=LIMIT, atol=LIMIT)
        np.testing.assert_allclose(lse, want_lse, rtol=LIMIT, atol=LIMIT)
        for kind in ("CACHE_LEN", "TAIL_LEN", "K_BLOCK", "V_BLOCK"):
            self.assertEqual(device.fault(kind), C["SKV_GPU_NO_FAULT"], kind)

    def test_cache_and_tail(self):
        for schedule in ("forward", "reverse", 3):
            self.check(Problem(1, F16, [40], [5]), 4, schedule)

    def test_one_query_row(self):
        self.check(Problem(2, BF16, [33, 64], [0, 1], group=1), 1)

    def test_many_query_rows(self):
        self.check(Problem(3, F16, [35, 7], [9, 9], n_new=3, group=3, n_kv_heads=1), 8)

    def test_window_softcap_and_sinks(self):
        self.check(Problem(4, F16, [70], [6], n_new=2, window=20, sink_tokens=4, softcap=3.0, sinks=True), 4)

    def test_ragged_pages(self):
        self.check(Problem(5, F16, [50], [3], ragged=True, n_kv_heads=1), 4)

    def test_splits_and_merge(self):
        self.check(Problem(6, F16, [90, 20], [5, 2], n_splits=3, sinks=True, group=1), 1)

    def test_no_tokens(self):
        self.check(Problem(7, F16, [0, 3], [0, 0], group=1, n_kv_heads=1), 1)

    def test_other_head_dims(self):
        self.check(Problem(8, F16, [20], [3], head_dim=40, n_kv_heads=1), 4)
        self.check(Problem(9, BF16, [20], [15], head_dim=128, kept=40, n_kv_heads=1), 4)


class Matrix(TargetCase):
    """Kernels for matrix units and dot products, within the bound of FORMAT.md."""

    def check(self, dtype, *problem, schedule="forward", bad_block=None, head_dim=128, rows=C["SKV_HIP_TILE"],
              **options):
        device = Device(self.path("kernels"), schedule)
        if (head_dim, dtype, rows) not in {found[1:] for found in loop.matrix_kernels(self.path("kernels"))}:
            lacks_dots = self.target not in ("gfx906", "gfx1030", "gfx1100")
            lacks_matrices = self.target in ("gfx906", "gfx1030")
            if rows == C["SKV_HIP_TILE"]:
                self.assertTrue(lacks_matrices or (self.target, dtype) == ("gfx90a", F16))
            else:
                self.assertTrue(lacks_dots or (lacks_matrices and dtype == BF16) or
                                (self.target == "gfx1100" and head_dim == 64))
            return
        problem = Problem(*problem[:1], dtype, *problem[1:], head_dim=head_dim, q_dtype=dtype,
                          **options)
        if bad_block is not None:
            for table, dense in zip((problem.k_blocks, problem.v_blocks), problem.dense):
                table[0, bad_block // 32] = 1000
                dense[0][bad_block:bad_block + 32] = 0
        out, lse = device.attend_matrix(problem, rows)
        want_out, want_lse, out_bound, lse_bound = problem.expected()
        excess = np.abs(out - want_out) - out_bound
        self.assertLessEqual(excess.max(), 0, f"out at {np.unravel_index(excess.argmax(), excess.shape)}")
        np.testing.assert_array_less(np.abs(lse - want_lse)[np.isfinite(want_lse)], lse_bound[np.isfinite(want_lse)])
        np.testing.assert_array_equal(np.isfinite(lse), np.isfinite(want_lse))
        for kind in ("CACHE_LEN", "TAIL_LEN", "K_BLOCK", "V_BLOCK"):
            found = bad_block // 32 if bad_block is not None and "BLOCK" in kind else C["SKV_GPU_NO_FAULT"]
            self.assertEqual(device.fault(kind), found, kind)

    def test_cache_and_tail(self):
        for dtype, schedule in ((F16, "forward"), (BF16, 3)):
            self.check(dtype, 21, [70], [5], schedule=schedule, kept=40, group=4, n_kv_heads=1)

    def test_larger_records_and_splits(self):
        self.check(BF16, 22, [100, 0], [9, 0], kept=64, group=2, n_splits=2, sinks=True)

    def test_more_rows_than_a_tile(self):
        self.check(F16, 23, [17], [0], kept=88, group=17, n_kv_heads=1, schedule="reverse")

    def test_a_bad_block_is_empty(self):
        self.check(BF16, 24, [80], [1], bad_block=32, kept=40, group=1, n_kv_heads=1)
        self.check(BF16, 25, [80], [0], bad_block=0, head_dim=256, kept=80, group=1, n_kv_heads=1)

    def test_64_channels(self):
        for dtype, schedule in ((F16, "reverse"), (BF16, 3)):
            self.check(dtype, 26, [70], [12], schedule=schedule, head_dim=64, kept=20, group=4, n_kv_heads=1)
        self.check(BF16, 27, [35], [0], head_dim=64, kept=60, group=2)

    def test_256_channels(self):
        for dtype, schedule in ((F16, 3), (BF16, "reverse")):
            self.check(dtype, 28, [70], [5], schedule=schedule, head_dim=256, kept=80, group=4, n_kv_heads=1)
        self.check(BF16, 29, [35], [0], head_dim=256, kept=170, group=2, n_splits=2, n_kv_heads=1)

    def test_dot_products(self):
        for dtype, schedule in ((F16, 3), (BF16, "reverse")):
            self.check(dtype, 30, [70], [5], rows=4, schedule=schedule, kept=40, group=4, n_kv_heads=1, sinks=True)
            self.check(dtype, 31, [40, 0], [0, 9], rows=1, schedule=schedule, kept=64, group=1)
        self.check(F16, 32, [80], [1], rows=4, bad_block=32, kept=88, group=6, n_kv_heads=1, n_splits=2)

    def test_dot_products_of_64_channels(self):
        self.check(F16, 33, [70], [12], rows=4, head_dim=64, kept=20, group=4, n_kv_heads=1, schedule="reverse")
        self.check(F16, 34, [35], [0], rows=1, head_dim=64, kept=60, group=1)
