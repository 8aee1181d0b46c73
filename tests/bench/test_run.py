#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/run.py on stand-ins for skv that measure nothing: what they lack or do wrong must be in the report."""

import contextlib
import io
import json
import unittest
from unittest import mock

from support import Case

import run

INFO = {"backends": [{"name": "cuda", "built": False, "devices": 0, "reason": "not built"},
                     {"name": "cpu", "built": True, "devices": 1, "reason": ""}],
        "devices": [{"id": "cpu", "name": "Fake CPU", "kind": "cpu", "driver": "gcc", "usable": True, "reason": ""},
                    {"id": "opencl:0", "name": "Fake GPU", "kind": "gpu", "driver": "d", "usable": True, "reason": ""},
                    {"id": "hip:0", "name": "Old GPU", "kind": "gpu", "driver": "d", "usable": False,
                     "reason": "too old"}]}
GOOD = '''printf '{"schema": "skv-bench", "schema_version": 1, "revision": "r", "device": "%s", "machine": "m",
    "driver": "d", "command": ["skv"], "results": [], "skipped": []}' "$device" >"$json"'''


class Run(Case):
    def fake_skv(self, bench: str) -> str:
        """A script whose `bench` does as told; $device and $json are those of its command line."""
        (self.folder / "info.json").write_text(json.dumps(INFO))
        path = self.folder / "skv"
        path.write_text(f"""#!/bin/sh
[ "$1" = info ] && exec cat "{self.folder}/info.json"
while [ $# -gt 0 ]; do
    case $1 in --device) device=$2 ;; --json) json=$2 ;; esac
    shift
done
{bench}
""")
        path.chmod(0o755)
        return str(path)

    def run_all(self, bench: str, *options: str) -> tuple[int, str]:
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            status = run.main(["--skv", self.fake_skv(bench), "--out", str(self.folder / "out"), "--no-peers",
                               *options])
        return status, out.getvalue() + error.getvalue()

    def report(self, end: str) -> str:
        return (self.folder / "out" / f"report.{end}").read_text(encoding="utf-8")

    def test_everything_is_written_and_named(self) -> None:
        status, out = self.run_all(GOOD)
        self.assertEqual(status, 0)
        for end in ("html", "md", "csv", "json"):
            self.assertIn(f"report.{end}", out)
            self.assertTrue(self.report(end))

    def test_what_is_missing_is_said(self) -> None:
        self.run_all(GOOD)
        for words in ("everything on cuda", "not built", "hip:0 (Old GPU)", "too old", "PyTorch"):
            self.assertIn(words, self.report("md"))

    def test_a_program_that_dies(self) -> None:
        status, _ = self.run_all('[ "$device" = cpu ] || kill -SEGV $$\n' + GOOD)
        self.assertEqual(status, 0)
        self.assertIn("it was ended by SIGSEGV", self.report("md"))
        self.assertIn("the rest of opencl-0", self.report("md"))

    def test_a_program_that_dies_keeps_what_it_measured(self) -> None:
        measured = GOOD.replace('"skipped": []', '"skipped": [{"what": "kept row", "why": "w"}]')
        self.run_all(measured + "\nkill -SEGV $$")
        for words in ("kept row", "SIGSEGV"):
            self.assertIn(words, self.report("md"))

    def test_a_program_that_writes_nothing(self) -> None:
        self.run_all("exit 1")
        self.assertIn("it exited with status 1", self.report("md"))

    def test_failed_cases_are_no_death(self) -> None:
        self.run_all(GOOD + "\nexit 1")
        self.assertNotIn("the rest of", self.report("md"))

    def test_a_program_that_never_ends(self) -> None:
        with mock.patch.object(run, "GRACE_S", 0):
            self.run_all("exec sleep 100", "--time-budget", "0.2")
        self.assertIn("after its time budget", self.report("md"))

    def test_peers_say_why_they_measured_nothing(self) -> None:
        job = run.Job("peers", "peers", "cuda:0", "m", "d", ["sh", "-c", "echo first >&2; echo no GPU >&2; exit 2"])
        with contextlib.redirect_stdout(io.StringIO()):
            found = json.loads(run.run_job(job, self.folder, 1).read_text())
        self.assertEqual([row["why"] for row in found["skipped"]], ["no GPU"])

    def test_budgets_add_up(self) -> None:
        jobs = run.skv_jobs("skv", INFO, "quick")
        self.assertEqual([job.name for job in jobs], ["opencl-0", "cpu", "cpu-levels"])
        self.assertAlmostEqual(sum(run.shares(jobs, 150)), 150)

    def test_no_preset_has_the_levels_shape(self) -> None:
        models = run.cases.load(run.HERE / "shapes", "models")
        text = run.LEVEL_OPTIONS[run.LEVEL_OPTIONS.index("--shape") + 1]
        shape = run.cases.parse_shape(text, models).name
        for preset in run.cases.load(run.HERE / "shapes", "presets").values():
            self.assertNotIn(shape, [run.cases.parse_shape(each, models).name
                                     for each in run.cases.preset_shapes(preset)])

    def test_no_tool(self) -> None:
        error = io.StringIO()
        with contextlib.redirect_stderr(error):
            status = run.main(["--skv", str(self.folder / "none"), "--out", str(self.folder / "out")])
        self.assertEqual(status, 2)
        self.assertIn("none", error.getvalue())


if __name__ == "__main__":
    unittest.main()
