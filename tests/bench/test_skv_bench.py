#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What skv bench writes: every case is a row, measured or with its reason, and the report takes all of it."""

import json
import subprocess
import unittest
from pathlib import Path

from support import SKV, Case

import cases
from reports import tables, writers
from reports.results import load

SMALL = ["--shape", "2/8/2/100/64", "--seconds", "0.001", "--threads", "1"]
OPS = {"attend", "amortized", "compress", "append", "decompress"}


@unittest.skipUnless(SKV, "SKV_TOOL names no built skv")
class Bench(Case):
    def setUp(self) -> None:
        super().setUp()
        self.out = self.folder / "out.json"

    def skv(self, *options: str) -> subprocess.CompletedProcess:
        return subprocess.run([SKV, "bench", "--device", "cpu", "--json", str(self.out), *options],
                              capture_output=True, text=True)

    def bench(self, *options: str, status: int = 0) -> dict:
        done = self.skv(*options)
        self.assertEqual((done.returncode, done.stderr), (status, ""))
        return json.loads(self.out.read_text())

    def cases_of(self, rows: list[dict]) -> list[tuple]:
        return [(row["op"], row.get("shape"), row.get("dtype"), row.get("kept"), row["threads"]) for row in rows]

    def refused(self, *options: str) -> str:
        done = self.skv(*options)
        self.assertEqual(done.returncode, 2, options)
        self.assertFalse(self.out.exists())
        return done.stderr

    def test_every_case_is_measured(self) -> None:
        found = self.bench(*SMALL)
        self.assertEqual(found["skipped"], [])
        wanted = {(op, "2/8/2/100/64", dtype, kept, 1) for op in OPS for dtype in ("f16", "bf16") for kept in (32, 20)}
        wanted |= {(op, None, None, None, 1) for op in ("read", "copy")}
        self.assertEqual(set(self.cases_of(found["results"])), wanted)
        self.assertEqual(len(found["results"]), len(wanted))

    def test_what_made_it_is_there(self) -> None:
        found = self.bench(*SMALL, "--op", "append", "--dtype", "f16")
        self.assertEqual(found["command"], ["skv", "bench", "--device", "cpu", "--json", str(self.out), *SMALL, "--op",
                                            "append", "--dtype", "f16"])
        for name in ("machine", "driver", "device", "revision", "started", "host"):
            self.assertTrue(found[name], name)
        self.assertIn("1 thread", found["results"][0]["variant"])

    def test_attention_is_judged(self) -> None:
        row = self.bench(*SMALL, "--op", "attend", "--dtype", "f16", "--kept", "64")["results"][0]
        n_rows = 2 * 2 * 100
        self.assertEqual((row["dense_bytes"], row["compressed_bytes"]), (2 * n_rows * 128, 2 * n_rows * (8 + 64)))
        self.assertAlmostEqual(row["byte_limit"], 128 / 72)
        self.assertLess(row["error"], 0.002)
        self.assertGreater(row["error"], 0)
        self.assertGreaterEqual(row["buffer_sets"], 2)
        for name in ("speed_over_dense", "fraction_of_read"):
            self.assertGreater(row[name]["median"], 0)

    def test_records_longer_than_rows(self) -> None:
        """All channels are kept: copies beside the operations must end with the rows, which sanitizers see."""
        found = self.bench(*SMALL, "--op", "compress,decompress", "--kept", "128")
        self.assertEqual(found["skipped"], [])
        self.assertEqual({(row["op"], row["kept"]) for row in found["results"]}, {("compress", 64), ("decompress", 64)})

    def test_amortized_has_its_parts(self) -> None:
        row = self.bench(*SMALL, "--op", "amortized", "--dtype", "f16", "--kept", "64")["results"][0]
        for name in ("amortized", "dense", "prefill"):
            self.assertGreaterEqual(len(row[name]["samples_ns"]), 5)
        saved = row["dense"]["median_ns"] - row["amortized"]["median_ns"]
        if saved > 0:
            self.assertAlmostEqual(row["break_even_tokens"] * saved / row["prefill"]["median_ns"], 1, places=3)
        else:
            self.assertNotIn("break_even_tokens", row)

    def test_a_spent_budget_skips_with_a_reason(self) -> None:
        found = self.bench("--time-budget", "1e-9")
        self.assertEqual(found["results"], [])
        self.assertEqual({row["why"] for row in found["skipped"]}, {"the time budget of 1e-09 s is spent"})
        shapes = cases.preset_shapes(cases.load(cases.SHAPES, "presets")["quick"])
        n_each = 2 + len(shapes) * 2 * 2 * len(OPS)
        self.assertEqual(len(found["skipped"]) % n_each, 0)

    def test_presets_are_those_of_the_file(self) -> None:
        models = cases.load(cases.SHAPES, "models")
        for name, preset in cases.load(cases.SHAPES, "presets").items():
            with self.subTest(name):
                found = self.bench("--preset", name, "--time-budget", "1e-9", "--threads", "1")
                wanted = [(op, cases.parse_shape(text, models).name, dtype) for text in cases.preset_shapes(preset)
                          for op in preset["ops"] if op in OPS for dtype in preset["dtypes"] for _ in preset["kept"]]
                self.assertEqual(sorted(row[:3] for row in self.cases_of(found["skipped"]) if row[0] in OPS),
                                 sorted(wanted))

    def test_models_are_those_of_the_file(self) -> None:
        for name, model in cases.load(cases.SHAPES, "models").items():
            row = self.bench("--shape", f"{name}:1x64", "--op", "append", "--kept", "64", "--dtype", "f16", "--threads",
                             "1", "--seconds", "0.001")["results"][0]
            for field in ("n_q_heads", "n_kv_heads", "head_dim"):
                self.assertEqual(row[field], model[field], name)

    def test_reasons(self) -> None:
        shapes = ["llama-2-7b:1x8k", "llama-3.1-8b:9000x128k", "llama-3.1-8b:1x64", "mistral-7b:1x64"]
        found = self.bench("--shape", ",".join(shapes), "--op", "attend", "--dtype", "f16", "--kept", "64",
                           "--threads", "1", "--seconds", "0.001")
        why = {row["shape"]: (row["outcome"], row["why"]) for row in found["skipped"]}
        self.assertEqual(why["llama-2-7b:1x8k"], ("skipped", "the model's context ends at 4096 tokens"))
        self.assertEqual(why["mistral-7b:1x64"], ("skipped", "the same numbers as llama-3.1-8b:1x64: see there"))
        self.assertRegex(why["llama-3.1-8b:9000x128k"][1], "^needs 9000.0 GiB, and .* GiB may be used$")
        self.assertEqual(self.cases_of(found["results"]), [("attend", "llama-3.1-8b:1x64", "f16", 64, 1)])

    def test_a_case_that_fails_is_a_row_and_the_next_is_measured(self) -> None:
        found = self.bench("--shape", "1/8/8/64/12,1/8/8/64/16", "--op", "attend", "--dtype", "f16", "--kept", "64",
                           "--threads", "1", "--seconds", "0.001", status=1)
        self.assertEqual([(row["shape"], row["outcome"]) for row in found["skipped"]], [("1/8/8/64/12", "failed")])
        self.assertIn("multiple of 8", found["skipped"][0]["why"])
        self.assertEqual([row["shape"] for row in found["results"]], ["1/8/8/64/16"])

    def test_levels_that_are_not_there(self) -> None:
        found = self.bench(*SMALL, "--isa", "all", "--op", "append", "--dtype", "f16", "--kept", "64")
        self.assertEqual(len(found["results"]) + len(found["skipped"]), 7)
        for row in found["skipped"]:
            self.assertRegex(row["what"], "everything at CPU level")
            self.assertEqual(row["outcome"], "unsupported")
        self.assertEqual(len({row["variant"] for row in found["results"]}), len(found["results"]))

    def test_the_report_takes_all_of_it(self) -> None:
        self.bench("--shape", "2/8/2/100/64,llama-2-7b:1x8k", "--seconds", "0.001", "--threads", "1")
        sources = load(str(self.out))
        self.assertEqual(len(sources[0].measurements), 22)
        self.assertEqual(len(sources[0].skipped), 20)
        text = writers.markdown(sources)
        for words in ("Memory", "amortized", "byte limit", "the model's context ends at 4096 tokens"):
            self.assertIn(words, text)
        self.assertEqual(tables.ceilings(sources[0].measurements).rows[0][1], "read")

    def test_wrong_options(self) -> None:
        for options, said in ((["--shape", "llama-3.1-8b:0x8k"], "MODEL:SEQSxTOKENS"), (["--shape", "x:1x1"], "models"),
                              (["--shape", "1/8/8/64/12/3"], "SEQS/QHEADS"), (["--op", "x"], "amortized"),
                              (["--preset", "x"], "standard"), (["--time-budget", "0"], "above 0"),
                              (["--time-budget", "1x"], "above 0"), (["--kept", "-1"], "from 1"),
                              (["--dtype", "f8"], "bf16"), (["--op", "append,append"], "twice"), (["rest"], "rest")):
            with self.subTest(options):
                self.assertIn(said, self.refused(*options))

    def test_a_place_that_cannot_be_written(self) -> None:
        self.out = self.folder / "no" / "out.json"
        self.assertEqual(self.skv(*SMALL, "--op", "append").returncode, 1)
        self.assertEqual(list(Path(self.folder).iterdir()), [])


if __name__ == "__main__":
    unittest.main()
