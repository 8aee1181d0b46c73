# SPDX-License-Identifier: Apache-2.0
"""Synthetic results, and the command run on them in a folder of its own."""

import contextlib
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import report  # noqa: E402

HOSTILE = "<script>alert('x')</script>&\"|`"


def times(median: float, spread: float = 0.01) -> dict:
    samples = [median * (1 + spread * step) for step in (-2, -1, -1, 0, 0, 0, 1, 1, 2)]
    return {"median_ns": median, "samples_ns": samples}


def ratio(median: float, spread: float = 0.01) -> dict:
    return {"median": median, "lower_quartile": median * (1 - spread), "upper_quartile": median * (1 + spread)}


def ceiling(op: str = "read", moved: int = 1 << 28, median: float = 1e7, **more: object) -> dict:
    return {"op": op, "device": "cpu", "variant": "avx2, 2 threads", "kernel": "the harness", "threads": 2,
            "bytes": moved, op: times(median)} | more


def measurement(op: str = "attend", *, n_tokens: int = 4096, kept: int = 64, **more: object) -> dict:
    found = {"op": op, "device": "cpu", "variant": "avx2, 2 threads", "kernel": "k", "shape": f"1/32/8/{n_tokens}/128",
             "n_seqs": 1, "n_q_heads": 32, "n_kv_heads": 8, "head_dim": 128, "n_tokens": n_tokens, "kept": kept,
             "dtype": "f16", "threads": 2}
    if op == "attend":
        found |= {"compressed_bytes": n_tokens * (kept + 8), "dense_bytes": n_tokens * 128,
                  "speed_over_dense": ratio(1.5), "fraction_of_read": ratio(0.8), "sparse": times(1e6),
                  "dense": times(1.5e6), "read": times(0.8e6)}
    elif op == "peer":
        found |= {"variant": "torch, cuDNN", "kept": 128, "error": 1e-4, "fraction_of_read": ratio(0.9),
                  "dense": times(1.2e6), "read": times(1e6)}
    elif op == "amortized":
        found |= {"compressed_bytes": n_tokens * (kept + 8), "dense_bytes": n_tokens * 128,
                  "speed_over_dense": ratio(1.4), "run_of_256_over_dense": ratio(1.2), "amortized": times(1.1e6),
                  "dense": times(1.5e6), "prefill": times(4e6), "break_even_tokens": 10.0}
    elif op == "compress":
        found |= {"compress": times(2e6), "copy_speed": ratio(0.6), "copy": times(1.2e6)}
    else:
        found[op] = times(3e6)
    return found | more


def results(*found: dict, **more: object) -> dict:
    return {"schema": "skv-bench", "schema_version": 1, "skv_version": 100, "revision": "0abc123", "device": "cpu",
            "machine": "Machine A", "driver": "gcc", "compute_units": 2, "results": list(found)} | more


def sweep_results(**more: object) -> dict:
    return results(*(measurement(n_tokens=n, kept=kept) for n in (1024, 4096) for kept in (40, 64)),
                   measurement("compress"), measurement("append"), measurement("decompress"), **more)


class Case(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def file(self, name: str, content: object) -> str:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return str(path)

    def run_report(self, *arguments: str) -> tuple[int, str, str]:
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            status = report.main(list(arguments))
        return status, out.getvalue(), error.getvalue()

    def good(self, *arguments: str) -> str:
        status, out, error = self.run_report(*arguments)
        self.assertEqual((status, error), (0, ""))
        return out

    def refused(self, content: object, *said: str) -> None:
        """Every command must refuse it the same way."""
        path = self.file("bad.json", content)
        for arguments in (("markdown", path), ("csv", path), ("html", path, str(self.folder / "no.html")),
                          ("join", str(self.folder / "no.json"), path), ("compare", path, path)):
            status, out, error = self.run_report(*arguments)
            self.assertEqual((status, out), (2, ""), arguments)
            for words in ("bad.json", *said):
                self.assertIn(words, error)
        self.assertEqual(sorted(each.name for each in self.folder.glob("no.*")), [])

    def page(self, content: object) -> str:
        path = str(self.folder / "page.html")
        self.good("html", self.file("in.json", content), path)
        return Path(path).read_text(encoding="utf-8")
