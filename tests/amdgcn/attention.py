# SPDX-License-Identifier: Apache-2.0
"""Attention problems: made from a seed, as a kernel's arguments and as what binary64 makes of them."""

import numpy as np

import params
import reference
from launches import Pool, divide_up

C = params.CONSTANTS


class Problem:
    """Caches of lengths `cached`, tails of lengths `tails`, one of each for every sequence."""

    def __init__(self, seed, dtype, cached, tails, *, head_dim=64, kept=24, n_kv_heads=2, group=2, n_new=1,
                 ragged=False, window=0, sink_tokens=0, softcap=0.0, sinks=False, n_splits=1,
                 q_dtype=None):
        random = np.random.default_rng(seed)
        self.dtype, self.head_dim, self.kept, self.n_kv_heads, self.group = dtype, head_dim, kept, n_kv_heads, group
        self.n_new, self.n_q_heads, self.n_seqs = n_new, n_kv_heads * group, len(cached)
        self.window, self.sink_tokens, self.softcap, self.n_splits = window, sink_tokens, softcap, n_splits
        self.scale = head_dim ** -0.5
        self.cached, self.tails = cached, tails
        self.sinks = random.normal(size=self.n_q_heads).astype(np.float32) if sinks else None
        self.out_shape = (self.n_seqs, n_new, self.n_q_heads, head_dim)
        q = random.normal(size=self.out_shape).astype(np.float32) * 2
        self.q_dtype = C["SKV_F32"] if q_dtype is None else q_dtype
        self.q = q if q_dtype is None else self._bits(q)
        pages = [max(divide_up(n, 32), 1) for n in cached]
        self.block_stride = max(pages)
        self.pools, self.dense = [], []
        tables = []
        for _ in range(2):
            pool = Pool(n_kv_heads, head_dim, kept, sum(pages) + 1, ragged=ragged)
            order = random.permutation(sum(pages) + 1)[:sum(pages)]
            table = np.full((self.n_seqs, self.block_stride), -1, np.int32)
            expanded = []
            for i_seq, n in enumerate(cached):
                table[i_seq, :pages[i_seq]] = order[sum(pages[:i_seq]):sum(pages[:i_seq + 1])]
                rows = self._rows(random, n)
                keep = random.integers(0, kept + 1, size=n) if ragged else np.full(n, kept)
                scores = reference.magnitudes(rows)
                for t in range(n):
                    slot = int(table[i_seq, t // 32]) * 32 + t % 32
                    for h in range(n_kv_heads):
                        chosen = reference.largest(scores[t, h], keep[t])
                        pool.write(slot, h, reference.record(rows[t, h], chosen))
                        rows[t, h, ~chosen] = 0
                expanded.append(rows)
            self.pools.append(pool)
            tables.append(table)
            self.dense.append(expanded)
        self.k_pages, self.v_pages = self.pools[0].data, self.pools[1].data
        self.k_blocks, self.v_blocks = tables
        self.cache_lens, self.tail_lens = np.array(cached, np.int32), np.array(tails, np.int32)
        self.max_tail = max(max(tails), 1)
        self.k_tail, self.v_tail = (np.full((self.n_seqs, self.max_tail, n_kv_heads, head_dim), 0xFFFF, np.uint16)
                                    for _ in range(2))
        for i_seq, n in enumerate(tails):
            for tail in (self.k_tail, self.v_tail):
                tail[i_seq, :n] = self._rows(random, n)

    def _rows(self, random, n):
        return self._bits(random.normal(size=(n, self.n_kv_heads, self.head_dim)).astype(np.float32))

    def _bits(self, x):
        if self.dtype == C["SKV_BF16"]:
            return (x.view(np.uint32) >> 16).astype(np.uint16)
        return x.astype(np.float16).view(np.uint16)

    def arguments(self):
        """(the kernel's structure, words of a record's place in group memory)"""
        d = self.head_dim
        n_tokens = max(self.cached) + self.max_tail
        row = self.n_kv_heads * d
        pieces = divide_up(2 * self.kept, 8)
        merge = {"out_seq_stride": self.n_new * self.n_q_heads * d, "out_token_stride": self.n_q_heads * d,
                 "out_head_stride": d, "n_parts": self.n_splits, "n_rows": self.n_seqs * self.n_new * self.n_q_heads,
                 "has_lse": 1, "has_sinks": int(self.sinks is not None), "out_dtype": C["SKV_F32"], "head_dim": d,
                 "n_new": self.n_new, "n_q_heads": self.n_q_heads}
        args = params.make(
            "attend", k_pool=self.pools[0].params(), v_pool=self.pools[1].params(), block_stride=self.block_stride,
            max_cache=max(self.cached), max_tail=self.max_tail, q_seq_stride=self.n_new * self.n_q_heads * d,
            q_token_stride=self.n_q_heads * d, q_head_stride=d, tail_seq_stride=self.max_tail * row,
            tail_token_stride=row, tail_head_stride=d, window=self.window, sink_tokens=self.sink_tokens,
            split_tokens=32 * divide_up(n_tokens, 32 * self.n_splits), n_splits=self.n_splits, n_new=self.n_new,
            n_q_heads=self.n_q_heads, group=self.group, dtype=self.dtype, q_dtype=self.q_dtype, has_cache_lens=1,
            has_tail_lens=1, has_softcap=int(self.softcap > 0), pieces=pieces, scale=self.scale, softcap=self.softcap,
            k_heads=self.pools[0].heads(0), v_heads=self.pools[1].heads(0), merge=merge)
        return args, 2 * pieces | 1

    def expected(self):
        """out and lse, then what they may be off by (FORMAT.md section 9)."""
        out, lse = np.zeros(self.out_shape), np.zeros(self.out_shape[:-1])
        out_bound, lse_bound = np.zeros(out.shape), np.zeros(lse.shape)
        queries = self.q.astype(np.float64) if self.q.dtype == np.float32 else reference.values(self.q, self.dtype)
        for i_seq in range(self.n_seqs):
            n = self.tails[i_seq]
            k, v = (np.concatenate([reference.values(dense[i_seq], self.dtype),
                                    reference.values(tail[i_seq, :n], self.dtype)])
                    for dense, tail in zip(self.dense, (self.k_tail, self.v_tail)))
            position = np.arange(len(k))
            for i_new in range(self.n_new):
                query = len(k) - self.n_new + i_new
                seen = position <= query
                if self.window:
                    seen &= (position > query - self.window) | (position < self.sink_tokens)
                for head in range(self.n_q_heads):
                    kv = head // self.group
                    sink = None if self.sinks is None else float(self.sinks[head])
                    at = i_seq, i_new, head
                    out[at], lse[at] = reference.attend(queries[at], k[:, kv], v[:, kv], seen, self.scale, self.softcap,
                                                        sink)
                    out_bound[at], lse_bound[at] = reference.attend_bound(
                        queries[at], k[:, kv], v[:, kv], seen, self.scale, self.softcap, sink, self.dtype, out[at],
                        lse[at])
        return out, lse, out_bound, lse_bound
