#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rows beside the measured operations: ceilings, peers, amortized runs, and cases without a measurement."""

import csv
import io
import unittest

from support import Case, ceiling, measurement, ratio, results, times

from reports import tables
from reports.results import Spread, load


class Rows(Case):
    def sources(self, *found: dict, **more: object) -> list:
        return load(self.file("in.json", results(*found, **more)))

    def measured(self, *found: dict) -> list:
        return self.sources(*found)[0].measurements

    def cell(self, table: tables.Table, row: int, heading: str) -> str:
        return table.rows[row][table.headings.index(heading)]


class Ceilings(Rows):
    def test_fields(self) -> None:
        for name in ("bytes", "device", "variant", "kernel", "threads", "read"):
            content = ceiling()
            del content[name]
            self.refused(results(content), name)
        self.refused(results(ceiling(bytes=0)), "bytes")
        self.refused(results(ceiling(), ceiling()), "once")

    def test_have_a_table_of_their_own(self) -> None:
        found = self.measured(ceiling(), ceiling("copy", 1 << 29, 4e7), measurement())
        self.assertEqual(tables.ops(found), ["attend"])
        self.assertEqual([row[1:4] for row in tables.ceilings(found).rows],
                         [["read", "26.8 GB/s (26.6–27.1)", "256 MiB moved"],
                          ["copy", "13.4 GB/s (13.3–13.6)", "512 MiB moved"]])
        self.assertEqual(len(tables.summary(found).rows), 1)
        self.assertIsNone(tables.ceilings(self.measured(measurement())))

    def test_a_slower_one_is_a_slower_machine(self) -> None:
        old, new = (self.file(f"{name}.json", results(ceiling(median=median)))
                    for name, median in (("old", 1e7), ("new", 2e7)))
        self.assertIn("the machine is slower", self.good("compare", old, new, "--fail"))

    def test_a_device_that_only_copies(self) -> None:
        copied = measurement(fraction_of_copy=ratio(0.7), copy=times(7e5))
        del copied["fraction_of_read"], copied["read"]
        found = self.measured(copied)
        self.assertEqual(self.cell(tables.summary(found), 0, "of ceiling"), "70 % (70–70) of copy")
        self.assertEqual(self.cell(tables.op_table(found, "attend"), 0, "of copy ceiling"), "70 % (69–71)")


class Peers(Rows):
    def test_the_fastest_counts(self) -> None:
        found = self.measured(measurement(), measurement("peer"),
                              measurement("peer", variant="torch, math", dense=times(9e6)))
        self.assertEqual(self.cell(tables.op_table(found, "attend"), 0, tables.OVER_PEER),
                         "1.20× (1.18–1.22), torch, cuDNN")
        self.assertIn("not in turns", tables.op_table(found, "attend").note)

    def test_quartiles_are_as_far_apart_as_can_be(self) -> None:
        found = self.measured(measurement(sparse=times(1e6, 0.1)), measurement("peer", dense=times(2e6, 0.1)))
        spread = tables.over_peer(found[0], found)
        self.assertAlmostEqual(spread.low, 1.8 / 1.1)
        self.assertAlmostEqual(spread.high, 2.2 / 0.9)

    def test_only_of_the_same(self) -> None:
        for change in ({"n_tokens": 8192, "shape": "other"}, {"dtype": "bf16"}, {"n_seqs": 2, "shape": "other"}):
            found = self.measured(measurement(), measurement("peer") | change)
            self.assertNotIn(tables.OVER_PEER, tables.op_table(found, "attend").headings)
        one = self.file("one.json", results(measurement()))
        other = self.file("other.json", results(measurement("peer"), machine="Machine B"))
        self.good("join", str(self.folder / "both.json"), one, other)
        self.assertNotIn(tables.OVER_PEER, self.good("markdown", str(self.folder / "both.json")))

    def test_must_have_its_time(self) -> None:
        content = measurement("peer")
        del content["dense"]
        self.refused(results(content), "dense")


class Amortized(Rows):
    def test_columns(self) -> None:
        table = tables.op_table(self.measured(measurement("amortized")), "amortized")
        self.assertEqual(self.cell(table, 0, "even after, tokens"), "10")
        self.assertEqual(self.cell(table, 0, "prefill and 256 steps over dense"), "1.20× (1.19–1.21)")

    def test_never_even(self) -> None:
        content = measurement("amortized")
        del content["break_even_tokens"]
        table = tables.op_table(self.measured(content), "amortized")
        self.assertEqual(self.cell(table, 0, "even after, tokens"), "never")

    def test_byte_limit(self) -> None:
        found = self.measured(measurement(kept=40))
        self.assertAlmostEqual(found[0].byte_limit, 128 / 48)
        self.assertEqual(self.cell(tables.op_table(found, "attend"), 0, "byte limit"), "2.67×")

    def test_an_append_has_a_row_for_each_sequence_and_head(self) -> None:
        self.assertEqual(tables.row_time(self.measured(measurement("append", n_seqs=4))[0]),
                         Spread(3e6 / 32, 3e6 * 0.99 / 32, 3e6 * 1.01 / 32))


class Ratios(Rows):
    def test_no_time_and_no_rate(self) -> None:
        found = [*(measurement(op) for op in ("attend", "amortized", "compress", "append")), ceiling()]
        other = results(*(each | {"variant": "scalar"} for each in found[:4]))
        path = str(self.folder / "both.json")
        self.good("join", path, self.file("a.json", results(*found)), self.file("b.json", other))
        self.good("html", path, str(self.folder / "all.html"))
        self.good("html", "--ratios", path, str(self.folder / "ratios.html"))
        pages = [(self.folder / name).read_text(encoding="utf-8") for name in ("all.html", "ratios.html")]
        texts = [self.good("markdown", path), self.good("markdown", "--ratios", path)]
        for everything, ratios in (pages, texts):
            self.assertRegex(everything, r"\d (ns|µs|ms|s|GB/s) ")
            self.assertNotRegex(ratios, r"\d (ns|µs|ms|s|GB/s) ")
            for words in ("1.50×", "1.40×", "60 %", "byte limit"):
                self.assertIn(words, ratios)


class Skipped(Rows):
    def rows(self, *skipped: dict) -> list[list[str]]:
        return tables.skipped(self.sources(skipped=list(skipped))).rows

    def test_one_reason_is_told_once_and_every_case_is_named(self) -> None:
        rows = self.rows({"what": "a", "why": "late", "outcome": "skipped"}, {"what": "b", "why": "late"},
                         {"what": "c", "why": "late", "outcome": "failed"})
        self.assertEqual([row[1:] for row in rows], [["skipped", "2", "a; b", "late"], ["failed", "1", "c", "late"]])

    def test_outcomes(self) -> None:
        self.refused(results(skipped=[{"what": "a", "why": "b", "outcome": "fine"}]), "outcome", "unsupported")
        self.refused(results(skipped=[{"what": "a", "why": "b", "outcome": 3}]), "outcome")

    def test_csv_has_a_line_for_each(self) -> None:
        text = self.good("csv", self.file("in.json", results(measurement(), skipped=[
            {"what": "=x", "why": "late", "op": "attend", "shape": "s", "threads": 2, "extra": [1]}])))
        rows = list(csv.DictReader(io.StringIO(text)))
        self.assertEqual([row["outcome"] for row in rows], ["measured", "skipped"])
        self.assertEqual([rows[1][name] for name in ("what", "why", "op", "shape", "threads", "kernel", "error")],
                         ["'=x", "late", "attend", "s", "2", "", ""])

    def test_hosts(self) -> None:
        host = {"system": "Linux", "load_before": 1.04, "load_after": 2}
        table = tables.files(self.sources(host=host, started="2026-01-01T00:00:00Z"))
        self.assertEqual(self.cell(table, 0, "host"), "Linux, load 1.0 to 2.0")
        self.assertEqual(self.cell(table, 0, "started"), "2026-01-01T00:00:00Z")
        self.refused(results(host=3), "host")
        self.refused(results(host={"load_before": None}), "load_before")


if __name__ == "__main__":
    unittest.main()
