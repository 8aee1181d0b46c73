# SPDX-License-Identifier: Apache-2.0
"""The shared kernels' launches, as the backends' host sides make them (backends/gpu/rows.c, attend.c)."""

import numpy as np

import params
from machine import Machine

C = params.CONSTANTS
LANES = C["SKV_GPU_ROW_LANES"]
POISON16 = 0xFFEE
TILE_BYTES_MAX = 16384


def divide_up(a, b):
    return -(-a // b)


class Device:
    """A machine, and buffers that tests give and look at as numpy arrays."""

    def __init__(self, path, schedule="forward"):
        self.machine = Machine(path, schedule)
        self.faults = self.give("faults", np.full(C["SKV_GPU_FAULTS"], C["SKV_GPU_NO_FAULT"], np.uint32), True)

    def give(self, name, data, writable=False):
        return self.machine.memory.add(name, data, writable)

    def give_optional(self, name, data):
        return 0 if data is None else self.give(name, data)

    def take(self, address, dtype, shape=None):
        found = self.machine.memory.bytes_of(address).view(dtype)
        return found.copy() if shape is None else found.reshape(shape).copy()

    def fault(self, kind):
        return int(self.take(self.faults, np.uint32)[C[f"SKV_GPU_FAULT_{kind}"]])

    # ---- operations; rows are [tokens][heads][channels] of 16-bit units

    @staticmethod
    def _select(rows, rule, heads):
        n_tokens, n_heads, d = rows.shape
        name = rule["strategy"]
        staged = name in ("token_magnitude", "token_weighted", "threshold")
        chunk = LANES // rule["group"] * rule["group"] if name.startswith("channel_") else LANES
        while staged and chunk * (d + 2) * 2 > TILE_BYTES_MAX:
            chunk //= 2
        tile_words = chunk * (d + 2) // 2 if staged else 1
        select = {"in": {"token_stride": n_heads * d, "head_stride": d}, "n_tokens": n_tokens,
                  "strategy": C[f"SKV_{name.upper()}"], "dtype": rule["dtype"], "head_dim": d, "n_heads": n_heads,
                  "group_tokens": rule.get("group", 0), "protect_tokens": rule.get("protect", 0),
                  "threshold_bits": rule.get("threshold_bits", 0), "chunk_tokens": chunk, "staged": int(staged),
                  "capped": int("cap" in rule), "tile_words": tile_words, "heads": heads}
        return select, 4 * tile_words + chunk * 8 * divide_up(d, 64), divide_up(n_tokens, chunk)

    def _rule_buffers(self, rows, rule):
        mask = None if rule.get("mask_words") is None else rule["mask_words"]
        weights = None if "weights" not in rule else rule["weights"].astype(np.float32)
        return [self.give("rows", rows), self.give_optional("weights", weights), self.give_optional("mask", mask)]

    def prune(self, rows, rule):
        """(rows with what did not survive as 0, bitmap bytes [tokens][heads][..])"""
        n_tokens, n_heads, d = rows.shape
        heads = {"first": 0, "alike": 1, "head": [{"kept": rule.get("k", d), "selected": rule.get("k", 0)}]}
        select, scratch, n_chunks = self._select(rows, rule, heads)
        args = params.make("prune", select=select, out={"token_stride": n_heads * d, "head_stride": d}, has_out=1,
                           has_mask=1)
        out = self.give("out", np.full(rows.shape, POISON16, np.uint16), True)
        mask = self.give("out mask", np.full((n_tokens, n_heads, divide_up(d, 64)), -1, np.int64), True)
        self.machine.launch("skv_kernel_prune", (n_chunks, n_heads, 1), LANES,
                            [args, *self._rule_buffers(rows, rule), out, mask], scratch)
        return self.take(out, np.uint16, rows.shape), self.take(mask, np.uint8, (n_tokens, n_heads, -1))

    def compress(self, rows, rule, pool, slots=None, first_slot=0):
        """pool: a Pool; returns its bytes and each row's."""
        n_tokens, n_heads, d = rows.shape
        select, scratch, n_chunks = self._select(rows, rule, pool.heads(rule.get("k", 0)))
        args = params.make("compress", select=select, pool=pool.params(), first_slot=first_slot,
                           has_slots=int(slots is not None), has_row_bytes=1)
        pages = self.give("pages", pool.data, True)
        row_bytes = self.give("row bytes", np.full((n_tokens, n_heads), 0xEEEEEEEE, np.uint32), True)
        kernel = "skv_kernel_compress_ragged" if pool.ragged else "skv_kernel_compress_fixed"
        self.machine.launch(kernel, (n_chunks, n_heads, 1), LANES,
                            [args, *self._rule_buffers(rows, rule), self.give_optional("slots", slots), pages,
                             row_bytes, self.faults], scratch)
        return self.take(pages, np.uint8), self.take(row_bytes, np.uint32, (n_tokens, n_heads))

    def decompress(self, pool, n_tokens, slots=None, first_slot=0):
        d, n_heads = pool.head_dim, pool.n_heads
        args = params.make("decompress", out={"token_stride": n_heads * d, "head_stride": d}, pool=pool.params(),
                           n_tokens=n_tokens, first_slot=first_slot, has_slots=int(slots is not None), head_dim=d,
                           n_heads=n_heads, heads=pool.heads(0))
        out = self.give("out", np.full((n_tokens, n_heads, d), POISON16, np.uint16), True)
        n_groups = divide_up(n_tokens * divide_up(d, 32), LANES)
        self.machine.launch("skv_kernel_decompress", (n_groups, n_heads, 1), LANES,
                            [args, self.give("pages", pool.data), self.give_optional("slots", slots), out,
                             self.faults])
        return self.take(out, np.uint16, (n_tokens, n_heads, d))

    def attend(self, problem, m):
        """problem: an attention.Problem; returns out and lse."""
        d = problem.head_dim
        variant = next(limit for limit in (64, 128, 256, 512) if d <= limit)
        lanes = 64 if variant <= 64 else 128
        tile = 32 if variant <= 128 else 16 if variant <= 256 else 8
        args, scratch_words = problem.arguments()
        n_chunks = divide_up(problem.n_new * problem.group, m)
        return self._attend(problem, f"skv_kernel_attend_d{variant}_m{m}", n_chunks, lanes, args, args,
                            2 * tile * scratch_words * 4)

    def attend_matrix(self, problem, rows=C["SKV_HIP_TILE"]):
        """The same by the kernel for matrix units, or for fewer rows that of dot products (backends/hip/attend.c)."""
        d, lanes, tile = problem.head_dim, self.machine.lanes, C["SKV_HIP_TILE"]
        args, _ = problem.arguments()
        pieces = divide_up(d // 8 + 8 * args.pieces, C["SKV_HIP_PIECE"])
        records, dense_stride, empty = tile * (16 * pieces + 8), d // 8 + 2 * d | 8, d // 8 + 8
        most = C["SKV_HIP_DENSE_ROWS_MAX"]
        dense_rows = most if d < 128 or dense_stride * most + empty <= records else most // 2
        area = 16 * divide_up(max(records, dense_stride * dense_rows + empty), 16)
        waves = C["SKV_HIP_WAVES"]
        is_dot = rows < tile
        areas = waves * (1 if d == 256 or is_dot else 2) * area + 2 * d + 32
        sums = waves * tile * 8 + tile * (d + 1) * 4
        queries = tile * (2 * d + 16) if lanes == 32 else 0
        whole = params.make("attend", "hip", shared=args, area_bytes=area, dense_rows=dense_rows)
        unit, m = (f"dot_w{lanes}", f"m{rows}_") if is_dot else (f"w{lanes}", "")
        name = f"skv_kernel_attend_{unit}_d{d}_{m}{'bf16' if problem.dtype == C['SKV_BF16'] else 'f16'}"
        return self._attend(problem, name, divide_up(problem.group, rows),
                            waves * lanes, whole, args, C["SKV_HIP_TABLE_BYTES"] + queries + max(areas, sums))

    def _attend(self, problem, kernel, n_chunks, lanes, args, shared, scratch_bytes):
        out = self.give("out", np.full(problem.out_shape, np.nan, np.float32), True)
        lse = self.give("lse", np.full(problem.out_shape[:-1], np.nan, np.float32), True)
        n_rows = problem.n_seqs * problem.n_new * problem.n_q_heads
        split = problem.n_splits > 1
        part_out, part_lse = 0, 0
        if split:
            part_out = self.give("partial out", np.full((problem.n_splits, n_rows, problem.head_dim), np.nan,
                                                        np.float32), True)
            part_lse = self.give("partial lse", np.full((problem.n_splits, n_rows), np.nan, np.float32), True)
        sinks = self.give_optional("sinks", problem.sinks)
        given = [self.give(name, getattr(problem, name)) for name in ("q", "k_pages", "v_pages", "k_blocks", "v_blocks",
                                                                      "cache_lens", "tail_lens", "k_tail", "v_tail")]
        self.machine.launch(kernel, (problem.n_kv_heads * n_chunks, problem.n_splits, problem.n_seqs), lanes,
                            [args, *given, sinks, part_out, part_lse, out, lse, self.faults], scratch_bytes)
        if split:
            self.machine.launch("skv_kernel_merge", (n_rows, 1, 1), LANES,
                                [shared.merge, part_out, part_lse, sinks, out, lse])
        return (self.take(out, np.float32, problem.out_shape).astype(np.float64),
                self.take(lse, np.float32, problem.out_shape[:-1]).astype(np.float64))


class Pool:
    """Pages of one K or V, poisoned, with the slack that readers may read."""

    def __init__(self, n_heads, head_dim, kept, n_blocks, page_tokens=32, ragged=False):
        self.n_heads, self.head_dim, self.kept, self.ragged = n_heads, head_dim, kept, ragged
        self.n_blocks, self.page_tokens = n_blocks, page_tokens
        words = divide_up(head_dim, 64)
        self.stride = 8 * divide_up(8 * words + 2 * kept, 8)
        self.page_bytes = page_tokens * self.stride + (4 * page_tokens if ragged else 0)
        self.block_bytes = n_heads * self.page_bytes
        self.data = np.full(n_blocks * self.block_bytes + 64 + 128 * words, 0xFF, np.uint8)

    def params(self):
        return {"block_bytes": self.block_bytes, "n_blocks": self.n_blocks, "form": int(self.ragged),
                "page_tokens": self.page_tokens}

    def heads(self, selected):
        return {"first": 0, "alike": 1, "head": [
            {"kept": self.kept, "selected": selected, "row_stride": self.stride, "page_bytes": self.page_bytes,
             "page_offset": self.page_bytes}]}

    def page(self, slot, head):
        return slot // self.page_tokens * self.block_bytes + head * self.page_bytes

    def write(self, slot, head, record):
        """A record at its place; a ragged page's slots are written in ascending order."""
        page, i = self.page(slot, head), slot % self.page_tokens
        start = i * self.stride
        if self.ragged:
            ends = self.data[page:page + 4 * self.page_tokens].view("<u4")
            start = int(ends[i - 1]) if i else 4 * self.page_tokens
            ends[i] = start + 8 * divide_up(len(record), 8)
        self.data[page + start:page + start + len(record)] = np.frombuffer(record, np.uint8)
