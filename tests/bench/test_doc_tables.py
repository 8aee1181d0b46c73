#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/doc_tables.py on synthetic results, and the documents' own tables."""

import contextlib
import io
import json
import unittest

from support import ROOT, Case

import doc_tables


def attend(shape: list, first: float) -> dict:
    kept = {"40": {"over_dense": first}, "64": {"over_dense": first - 0.5}}
    times = {"40": 0.1, "64": 0.2, "read 40": 0.05, "read 64": 0.2}
    return {"op": "attend", "shape": shape, "kept": kept, "milliseconds": times}


class Tables(Case):
    def document(self, kind: str, files: dict, table: str = "") -> None:
        for name, results in files.items():
            (self.folder / name).write_text(json.dumps({"command": f"make {name}", "results": results}))
        self.path = self.folder / "d.md"
        self.path.write_text(f"before\n<!-- table {kind} {' '.join(files)} -->\n{table}<!-- end -->\nafter\n")

    def run_tables(self, *arguments: str) -> int:
        with contextlib.redirect_stderr(io.StringIO()) as self.errors:
            return doc_tables.main([str(self.path), *arguments])

    def test_shapes(self) -> None:
        shape = [2, 8, 4, 512, 128]
        self.document("shapes", {"a.json": [attend(shape, 2.0), attend([1] * 5, 9.0), attend(shape, 7.0)],
                                 "b.json": [attend(shape, 1.75)]}, "stale\n")
        self.assertEqual(self.run_tables("--check"), 1)
        self.assertIn("d.md", self.errors.getvalue())
        self.assertIn("stale", self.path.read_text())
        self.assertEqual(self.run_tables(), 0)
        text = self.path.read_text()
        self.assertIn("| 2, 8, 4, 512 | 2.00x / 1.50x | 100.0 / 200.0 | 50% / 100% | 1.75x / 1.25x |\n", text)
        self.assertNotIn("9.00", text)
        self.assertNotIn("stale", text)
        self.assertIn("`make a.json`", text)
        self.assertTrue(text.startswith("before\n") and text.endswith("<!-- end -->\nafter\n"))
        self.assertEqual(self.run_tables("--check"), 0)

    def test_rows(self) -> None:
        self.document("rows", {"a.json": [{"op": "compress", "kept": 40, "gigabytes_per_second": 30.0,
                                           "copy_gigabytes_per_second": 40.0, "decompress_gigabytes_per_second": 20.0,
                                           "milliseconds": {"append": 0.0075}}]})
        self.run_tables()
        self.assertIn("| 40 | 75% | 7.5 us | 50% |\n", self.path.read_text())

    def bench(self, device: str, op: str, measure: str, factor: float) -> dict:
        def result(dtype: str, kept: int, median: float) -> dict:
            return {"op": op, "shape": "model:1x4k", "threads": 2, "variant": "level, 2 threads", "dtype": dtype,
                    "kept": kept, measure: {"median": median * factor}}
        return {"device": device, "machine": "M", "results": [result("f16", 64, 0.5), result("f16", 40, 0.25),
                                                              result("bf16", 64, 0.75)]}

    def joined(self, kind: str, *reports: dict) -> str:
        self.document(kind, {"a.json": []})
        (self.folder / "a.json").write_text(json.dumps({"files": [{"report": report} for report in reports]}))
        self.assertEqual(self.run_tables(), 0)
        return self.path.read_text()

    def test_cpu(self) -> None:
        text = self.joined("cpu", self.bench("cuda:0", "attend", "speed_over_dense", 9),
                           self.bench("cpu", "attend", "speed_over_dense", 2))
        self.assertIn("| M | 2 (level) | model:1x4k | 1.00x / 0.50x | 1.50x / - |\n", text)
        self.assertNotIn("4.50x", text)

    def test_rivals(self) -> None:
        for op, measure in (("attend", "fraction_of_copy"), ("compress", "copy_speed")):
            text = self.joined("rivals", self.bench("cuda:0", op, measure, 1), self.bench("opencl:0", op, measure, 0.5))
            self.assertIn("| operation | shape | cuda:0, 50 / 31 % kept | opencl:0 |\n", text)
            self.assertIn(f"| {op} | model:1x4k | 50% / 25% | 25% / 12% |\n", text)

    def test_demo(self) -> None:
        printed = "model  m\n\nlayer  error\n    1  0.5\n   19  0.25\n\n9 % is all\n"
        (self.folder / "demo.txt").write_text("$ skv demo\n" + printed)
        self.path = self.folder / "d.md"
        self.path.write_text("<!-- table demo demo.txt 19 -->\n<!-- end -->\n")
        self.run_tables()
        text = printed.replace("    1  0.5\n", "")
        self.assertEqual(self.path.read_text(),
                         f"<!-- table demo demo.txt 19 -->\n```\n{text}```\n\nFrom `skv demo`.\n<!-- end -->\n")

    def test_unknown_kind(self) -> None:
        self.document("heap", {"a.json": []})
        with self.assertRaisesRegex(SystemExit, "table is heap; it must be one of"):
            self.run_tables()

    def test_documents_are_true(self) -> None:
        documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
        marked = [path for path in documents if "<!-- table " in path.read_text()]
        self.assertTrue(marked)
        for path in marked:
            self.path = path
            self.assertEqual(self.run_tables("--check"), 0, self.errors.getvalue())


if __name__ == "__main__":
    unittest.main()
