# SPDX-License-Identifier: Apache-2.0
"""Prune, compress, decompress: bit for bit what core/FORMAT.md says."""

import numpy as np

import reference
from launches import C, Device, Pool, divide_up
from support import TargetCase

F16, BF16 = C["SKV_F16"], C["SKV_BF16"]


def hostile_rows(seed, n_tokens, n_heads, head_dim):
    """Any bits, and stretches with many ties, zeros of both signs, NaN and infinities."""
    random = np.random.default_rng(seed)
    rows = random.integers(0, 65536, (n_tokens, n_heads, head_dim)).astype(np.uint16)
    few = np.array([0, 0x8000, 0x3C00, 0xBC00, 0x7C00, 0xFF80, 0x7E01, 1], np.uint16)
    rows[1::3] = few[random.integers(0, len(few), rows[1::3].shape)]
    return rows


def rules(seed, rows):
    random = np.random.default_rng(seed)
    n_tokens, n_heads, d = rows.shape
    mask = random.integers(0, 2, rows.shape).astype(bool)
    weights = random.normal(size=(n_heads, d)).astype(np.float32)
    weights.flat[:6] = [0, np.inf, np.nan, 1e-30, 1e30, -0.0]
    k = max(d // 3, 1)
    yield {"strategy": "token_magnitude", "k": k, "dtype": F16}
    yield {"strategy": "token_magnitude", "k": d, "dtype": BF16, "protect": 3}
    yield {"strategy": "token_weighted", "k": k, "dtype": F16, "weights": weights}
    yield {"strategy": "token_weighted", "k": k, "dtype": BF16, "weights": weights, "protect": 70}
    yield {"strategy": "channel_magnitude", "k": 5, "dtype": F16, "group": 12}
    yield {"strategy": "channel_weighted", "k": 3, "dtype": BF16, "group": 8,
           "weights": random.normal(size=(n_heads, n_tokens)).astype(np.float32)}
    yield {"strategy": "channels", "k": k, "dtype": F16, "weights": np.nan_to_num(weights)}
    yield {"strategy": "threshold", "dtype": F16, "threshold_bits": 0x3C00}
    words = np.zeros((n_tokens, n_heads, 8 * divide_up(d, 64)), np.uint8)
    words[:] = reference.bitmap(mask)
    if d % 64:
        words[..., -1] |= 0x80
    yield {"strategy": "mask", "dtype": F16, "mask": mask, "mask_words": words}


class Rows(TargetCase):
    def check_prune(self, rows, rule, schedule="forward"):
        chosen = reference.select(rows, rule)
        out, mask = Device(self.path("kernels"), schedule).prune(rows, rule)
        np.testing.assert_array_equal(mask, reference.bitmap(chosen), f"bitmap, {rule['strategy']}")
        np.testing.assert_array_equal(out, np.where(chosen, rows, 0), f"rows, {rule['strategy']}")

    def test_prune_by_every_strategy(self):
        rows = hostile_rows(1, 37, 2, 40)
        for rule in rules(1, rows):
            self.check_prune(rows, rule)

    def test_prune_in_several_chunks(self):
        rows = hostile_rows(2, 131, 1, 64)
        for schedule in ("reverse", 7):
            self.check_prune(rows, {"strategy": "token_magnitude", "k": 24, "dtype": F16}, schedule)
        self.check_prune(hostile_rows(3, 9, 1, 256), {"strategy": "token_magnitude", "k": 40, "dtype": F16})
        self.check_prune(hostile_rows(4, 1, 3, 8), {"strategy": "token_magnitude", "k": 1, "dtype": F16})

    def test_fixed_slots(self):
        n_tokens, n_heads, d, kept = 69, 2, 64, 24
        rows, rule = hostile_rows(5, n_tokens, n_heads, d), {"strategy": "token_magnitude", "k": kept, "dtype": F16}
        chosen = reference.select(rows, rule)
        random = np.random.default_rng(5)
        pool = Pool(n_heads, d, kept, 4)
        slots = random.permutation(4 * 32)[:n_tokens].astype(np.int64)
        slots[[3, 40]] = -1
        for given, first in ((None, 17), (slots, 0)):
            device = Device(self.path("kernels"))
            pages, row_bytes = device.compress(rows, rule, pool, given, first)
            want = Pool(n_heads, d, kept, 4)
            where = np.arange(first, first + n_tokens) if given is None else given
            for t, slot in enumerate(where):
                for h in range(n_heads):
                    if slot >= 0:
                        want.write(int(slot), h, reference.record(rows[t, h], chosen[t, h]))
            # All bytes: those that no record owns must stay as they were.
            np.testing.assert_array_equal(pages, want.data)
            np.testing.assert_array_equal(row_bytes, np.where(where < 0, 0, 8 + 2 * kept)[:, None].repeat(n_heads, 1))
            self.assertEqual(device.fault("SLOT"), C["SKV_GPU_NO_FAULT"])
            got = device.decompress(want, n_tokens, given, first)
            expanded = np.where(chosen & (where >= 0)[:, None, None], rows, 0)
            np.testing.assert_array_equal(got, expanded)

    def test_slot_beyond_the_pool(self):
        rows, rule = hostile_rows(6, 40, 1, 8), {"strategy": "token_magnitude", "k": 2, "dtype": F16}
        pool = Pool(1, 8, 2, 1)
        device = Device(self.path("kernels"))
        slots = np.arange(40, dtype=np.int64)
        slots[7] = 1 << 40
        device.compress(rows, rule, pool, slots)
        self.assertEqual(device.fault("SLOT"), 7)

    def test_ragged_pages(self):
        n_tokens, n_heads, d, cap = 75, 2, 64, 30
        rows = hostile_rows(7, n_tokens, n_heads, d)
        rule = {"strategy": "threshold", "dtype": F16, "threshold_bits": 0x4000, "cap": cap}
        chosen = reference.select(rows, rule)
        pool, want = Pool(n_heads, d, cap, 3, ragged=True), Pool(n_heads, d, cap, 3, ragged=True)
        device = Device(self.path("kernels"))
        pages, row_bytes = device.compress(rows, rule, pool)
        for t in range(n_tokens):
            for h in range(n_heads):
                want.write(t, h, reference.record(rows[t, h], chosen[t, h]))
        np.testing.assert_array_equal(pages, want.data)
        np.testing.assert_array_equal(row_bytes, 8 + 2 * chosen.sum(-1))
        np.testing.assert_array_equal(device.decompress(want, n_tokens), np.where(chosen, rows, 0))

    def test_damaged_ragged_pages_read_as_empty(self):
        """No byte of a page may make a reader leave its memory."""
        random = np.random.default_rng(8)
        pool = Pool(1, 64, 20, 2, ragged=True)
        pool.data[:] = random.integers(0, 256, pool.data.shape)
        ends = pool.data[:128].view("<u4")
        ends[::2] = random.integers(16, 60, 16) * 8
        Device(self.path("kernels")).decompress(pool, 64)
