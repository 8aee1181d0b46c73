#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What bench/report.py refuses, joins, prints and compares."""

import copy
import csv
import io
import json
import re
import unittest
from pathlib import Path

from support import HOSTILE, Case, measurement, ratio, results, sweep_results, times

from reports import tables
from reports.results import Spread, load, measurements


class Refusals(Case):
    def test_malformed(self) -> None:
        self.refused("{", "JSON")
        self.refused("[]", "object")
        self.refused("[" * 100000, "JSON")
        self.refused('{"schema": "skv-bench", "schema": "skv-bench"}', "twice")

    def test_bytes_that_are_no_text(self) -> None:
        path = self.folder / "bytes.json"
        path.write_bytes(b'{"schema": "\xff"}')
        self.assertEqual(self.run_report("csv", str(path))[0], 2)

    def test_missing_file(self) -> None:
        status, _, error = self.run_report("csv", str(self.folder / "none.json"))
        self.assertEqual(status, 2)
        self.assertIn("none.json", error)

    def test_other_schema(self) -> None:
        self.refused(results(schema="other"), "schema", "'other'", "skv-bench")
        self.refused(results(schema=["skv-bench"]), "schema")
        self.refused(results(schema_version=2), "schema_version", "2", "version 1")
        self.refused(results(schema_version=True), "schema_version")

    def test_missing_fields(self) -> None:
        for name in ("schema", "schema_version", "revision", "device", "machine", "driver", "results"):
            content = results(measurement())
            del content[name]
            self.refused(content, name, "present")
        for name in measurement():
            if name not in ("fraction_of_read", "read"):
                content = measurement()
                del content[name]
                self.refused(results(content), name)

    def test_numbers(self) -> None:
        for name, value in (("kept", 0), ("kept", 1.5), ("n_tokens", -1), ("n_seqs", "1"), ("head_dim", None),
                            ("threads", True), ("n_tokens", 10**400), ("dense_bytes", 0), ("error", -1)):
            self.refused(results(measurement(**{name: value})), name)

    def test_not_a_number(self) -> None:
        for constant in ("NaN", "Infinity", "-Infinity", "1e999"):
            content = json.dumps(results(measurement(error=12345.5))).replace("12345.5", constant)
            self.refused(content)
        self.refused(results(measurement(speed_over_dense=ratio(1) | {"median": None})), "median", "finite")

    def test_not_a_number_in_a_field_that_nobody_reads(self) -> None:
        self.refused(json.dumps(results(later=12345.5)).replace("12345.5", "NaN"), "NaN")

    def test_samples(self) -> None:
        self.refused(results(measurement(sparse={"median_ns": 1, "samples_ns": []})), "samples_ns", "at least one")
        self.refused(results(measurement(sparse={"median_ns": 1, "samples_ns": [-1]})), "negative")
        self.refused(results(measurement(sparse={"median_ns": 7, "samples_ns": [1, 2, 3]})), "median_ns", "7")
        self.refused(results(measurement(sparse={"median_ns": 7})), "samples_ns")

    def test_quartiles_out_of_order(self) -> None:
        self.refused(results(measurement(speed_over_dense=ratio(1, -0.5))), "median", "between")

    def test_types(self) -> None:
        self.refused(results(measurement(dtype="int4")), "dtype", "int4", "bf16")
        self.refused(results(measurement(op=3)), "op", "string")
        self.refused(results("text"), "object")
        self.refused(results() | {"results": {}}, "results", "list")
        self.refused(results(skipped=[{"what": "x"}]), "why")
        self.refused(results(command=7), "command")

    def test_measured_twice(self) -> None:
        self.refused(results(measurement(), measurement()), "once", "Machine A")

    def test_long_values_are_cut(self) -> None:
        _, _, error = self.run_report("csv", self.file("long.json", results(schema="x" * 9999)))
        self.assertLess(len(error), 400)


class Join(Case):
    def test_side_by_side(self) -> None:
        out = str(self.folder / "out.json")
        a = self.file("a.json", results(measurement()))
        b = self.file("b.json", results(measurement(speed_over_dense=ratio(2.5)), machine="Machine B"))
        self.good("join", out, a, b)
        text = self.good("markdown", out)
        row = next(line for line in text.splitlines() if line.startswith("| 1/32/8/4096/128, f16"))
        self.assertIn("1.50×", row)
        self.assertIn("2.50×", row)

    def test_a_row_mixes_no_ratio_with_a_time(self) -> None:
        bare = measurement("compress")
        del bare["copy_speed"], bare["copy"]
        sources = [self.file("a.json", results(measurement("compress"))),
                   self.file("b.json", results(bare, machine="B"))]
        for order in (sources, sources[::-1]):
            self.good("join", str(self.folder / "out.json"), *order)
            row = tables.side_by_side(measurements(load(str(self.folder / "out.json"))))[0].rows[0]
            self.assertEqual(row[1:], ["2.00 ms (1.98–2.02)"] * 2)

    def test_joins_of_joins_are_flat(self) -> None:
        ab, abc = (str(self.folder / name) for name in ("ab.json", "abc.json"))
        a, b, c = (self.file(f"{name}.json", results(measurement(), machine=name)) for name in "abc")
        self.good("join", ab, a, b)
        self.good("join", abc, ab, c)
        self.assertEqual([source.name for source in load(abc)], ["a.json", "b.json", "c.json"])

    def test_keeps_every_sample(self) -> None:
        out, content = str(self.folder / "out.json"), results(measurement())
        self.good("join", out, self.file("a.json", content))
        self.assertEqual(json.loads(Path(out).read_text())["files"][0]["report"], content)

    def test_refuses_the_same_measurement_of_two_files(self) -> None:
        a, b = (self.file(name, results(measurement())) for name in ("a.json", "b.json"))
        status, _, error = self.run_report("join", str(self.folder / "out.json"), a, b)
        self.assertEqual(status, 2)
        for words in ("a.json", "b.json", "Machine A", "1/32/8/4096/128"):
            self.assertIn(words, error)
        self.assertFalse((self.folder / "out.json").exists())

    def test_each_part_of_the_key_tells_apart(self) -> None:
        a = self.file("a.json", results(measurement()))
        for change in ({"device": "hip:0"}, {"variant": "avx2, 1 thread"}, {"kept": 40}, {"dtype": "bf16"},
                       {"shape": "other"}):
            b = self.file("b.json", results(measurement() | change))
            self.good("join", str(self.folder / "out.json"), a, b)

    def test_one_name_must_mean_one_shape(self) -> None:
        a = self.file("a.json", results(measurement(shape="g1")))
        b = self.file("b.json", results(measurement(shape="g1", n_tokens=8192), machine="B"))
        status, _, error = self.run_report("join", str(self.folder / "out.json"), a, b)
        self.assertEqual(status, 2)
        self.assertIn("g1", error)

    def test_measurements_are_never_overwritten(self) -> None:
        a, b = (self.file(f"{name}.json", results(measurement(), machine=name)) for name in "ab")
        before = Path(a).read_bytes()
        self.assertEqual(self.run_report("join", a, b)[0], 2)
        self.assertEqual(self.run_report("html", b, a)[0], 2)
        self.assertEqual(Path(a).read_bytes(), before)

    def test_output_that_cannot_be_written(self) -> None:
        status, _, error = self.run_report("join", str(self.folder / "no" / "out.json"),
                                           self.file("a.json", results(measurement())))
        self.assertEqual(status, 2)
        self.assertIn("out.json", error)


class Text(Case):
    def test_markdown_escapes(self) -> None:
        text = self.good("markdown", self.file("a.json", results(measurement(kernel=HOSTILE))))
        self.assertIn(r"\<script\>", text)

    def test_markdown_rows_are_as_wide_as_headings(self) -> None:
        text = self.good("markdown", self.file("a.json", sweep_results(driver=HOSTILE, command=HOSTILE)))
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            self.assertEqual(len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}), 1)

    def test_ratios_come_before_times(self) -> None:
        found = load(self.file("a.json", results(measurement())))[0].measurements
        headings = tables.op_table(found, "attend").headings
        order = [headings.index(name) for name in ("speed-up over dense", "of read ceiling", "error", "sparse time",
                                                   "dense time", "read ceiling")]
        self.assertEqual(order, sorted(order))

    def test_unknown_op_is_shown(self) -> None:
        path = self.file("a.json", results(measurement("merge", merge_gain=ratio(3))))
        self.assertIn("3.00×", self.good("markdown", path))
        self.assertIn("merge_gain_median", self.good("csv", path))

    def test_unknown_op_without_times_is_refused(self) -> None:
        content = measurement("merge")
        del content["merge"]
        self.refused(results(content), "merge", "time")

    def test_rounding(self) -> None:
        self.assertEqual(tables.ratio_text("x", Spread(1.234, 1.2, 12.34)), "1.23× (1.20–12.3)")
        self.assertEqual(tables.ratio_text("copy_speed", Spread(0.5, 0.4, 1.2)), "50 % (40–120)")
        self.assertEqual(tables.time_text(Spread(1500, 1400, 2e6)), "1.50 µs (1.40–2000)")

    def test_quartiles_are_those_of_the_bench(self) -> None:
        samples = [float(value) for value in range(1, 12)]
        found = load(self.file("a.json", results(measurement(sparse={"median_ns": 6, "samples_ns": samples}))))
        self.assertEqual(found[0].measurements[0].times["sparse"], Spread(6, 3, 9))

    def test_csv_reads_back(self) -> None:
        text = self.good("csv", self.file("a.json", results(measurement(error=0.5), measurement("append"))))
        rows = list(csv.DictReader(io.StringIO(text)))
        self.assertEqual([row["op"] for row in rows], ["attend", "append"])
        self.assertEqual(float(rows[0]["speed_over_dense_median"]), 1.5)
        self.assertEqual((rows[0]["error"], rows[1]["error"]), ("0.5", ""))
        self.assertEqual(float(rows[1]["append_median_ns"]), 3e6)

    def test_csv_cells_are_no_formulas(self) -> None:
        text = self.good("csv", self.file("a.json", results(measurement(kernel="=1+1,\"x\""), machine="@m")))
        row = next(csv.DictReader(io.StringIO(text)))
        self.assertEqual((row["kernel"], row["machine"]), ("'=1+1,\"x\"", "'@m"))


class Compare(Case):
    def compare(self, old: dict, new: dict, *options: str) -> tuple[int, str]:
        status, out, error = self.run_report("compare", self.file("old.json", old), self.file("new.json", new),
                                             *options)
        self.assertEqual(error, "")
        return status, out

    def changed(self, op: str = "append", **more: object) -> tuple[int, str]:
        return self.compare(results(measurement(op)), results(measurement(op, **more)), "--fail")

    def test_nothing(self) -> None:
        status, out = self.compare(sweep_results(), sweep_results(), "--fail")
        self.assertEqual(status, 0)
        self.assertIn("0 changes", out)

    def test_slower_fails(self) -> None:
        status, out = self.changed(append=times(3.3e6))
        self.assertEqual(status, 1)
        self.assertIn("slower", out)
        self.assertIn("+10.0 %", out)

    def test_slower_passes_unless_asked(self) -> None:
        old, new = results(measurement("append")), results(measurement("append", append=times(4e6)))
        self.assertEqual(self.compare(old, new)[0], 0)

    def test_faster_is_shown_and_passes(self) -> None:
        status, out = self.changed(append=times(2e6))
        self.assertEqual(status, 0)
        self.assertIn("faster", out)

    def test_overlapping_quartiles_are_noise(self) -> None:
        status, out = self.changed(append=times(3.3e6, 0.2))
        self.assertEqual(status, 0)
        self.assertIn("0 changes", out)

    def test_least(self) -> None:
        old, new = (results(measurement("append", append=times(median, 0.001))) for median in (3e6, 3.06e6))
        self.assertEqual(self.compare(old, new, "--fail")[0], 0)
        self.assertEqual(self.compare(old, new, "--fail", "--least", "1")[0], 1)

    def test_a_slower_machine_is_no_slower_library(self) -> None:
        status, out = self.changed("compress", compress=times(3e6), copy=times(1.8e6))
        self.assertEqual(status, 0)
        self.assertIn("as much as the machine", out)
        self.assertEqual(self.changed("compress", compress=times(4e6), copy=times(1.8e6))[0], 1)

    def test_a_ratio_that_falls(self) -> None:
        self.assertEqual(self.changed("attend", speed_over_dense=ratio(1.2))[0], 1)
        status, out = self.changed("attend", speed_over_dense=ratio(1.2), dense=times(1.2e6))
        self.assertEqual(status, 0)
        self.assertIn("measured against is faster", out)
        _, out = self.changed("attend", speed_over_dense=ratio(1.1), dense=times(1.2e6), sparse=times(1.1e6))
        self.assertIn("2 of them slower", out)

    def test_a_clock_that_stands_still(self) -> None:
        zero = {"median_ns": 0, "samples_ns": [0, 0, 0]}
        self.assertEqual(self.compare(results(measurement("append", append=zero)), results(measurement("append")),
                                      "--fail")[0], 0)

    def test_nothing_in_common(self) -> None:
        old, new = results(measurement()), results(measurement(), machine="Machine B")
        for one, other in ((old, new), (old, results()), (results(), results())):
            status, _, error = self.run_report("compare", self.file("old.json", one), self.file("new.json", other))
            self.assertEqual(status, 2)
            self.assertIn("machine", error)

    def test_other_shape_of_the_same_name(self) -> None:
        one, other = (results(measurement(shape="g1", n_tokens=n)) for n in (1024, 2048))
        status, _, error = self.run_report("compare", self.file("old.json", one), self.file("new.json", other))
        self.assertEqual(status, 2)
        self.assertIn("g1", error)

    def test_what_only_one_has_is_counted(self) -> None:
        shared = measurement()
        _, out = self.compare(results(shared, measurement("append")), results(copy.deepcopy(shared)))
        self.assertIn("1 measurements in both files, 1 only in the old one, 0 only in the new one", out)


if __name__ == "__main__":
    unittest.main()
