#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/peers.py without a GPU: on a stand-in for PyTorch whose launches take a known time."""

import contextlib
import io
import json
import sys
import unittest
from unittest import mock

import fake_torch
from support import Case

import peers
import torch_engine
from reports import tables
from reports.results import load, measurements

GQA, MHA = "1/32/8/4096/128", "1/8/8/4096/128"


class Peers(Case):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(fake_torch.remove)
        fake_torch.install()
        self.out = self.folder / "peers.json"

    def run_peers(self, *options: str) -> tuple[int, str]:
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            status = peers.main(["--out", str(self.out), "--seconds", "0.001", *options])
        return status, error.getvalue()

    def good(self, *options: str) -> dict:
        status, error = self.run_peers(*options)
        self.assertEqual((status, error), (0, ""))
        return json.loads(self.out.read_text())

    def rows(self, found: dict) -> dict[str, dict]:
        return {row["variant"]: row for row in found["results"] if row["op"] == "peer"}

    def test_every_backend_is_measured_or_has_its_reason(self) -> None:
        found = self.good("--shape", GQA, "--dtype", "f16")
        names = {f"torch 2.11.0, {backend} ({form})" for backend in torch_engine.BACKENDS
                 for form in ("enable_gqa", "group as rows")}
        reasons = {row["variant"]: row["why"] for row in found["skipped"]}
        self.assertEqual(set(self.rows(found)) | set(reasons), names)
        self.assertEqual(reasons, {"torch 2.11.0, efficient (enable_gqa)": "No available kernel. Aborting execution."})

    def test_no_forms_without_groups(self) -> None:
        self.assertEqual(set(self.rows(self.good("--shape", MHA, "--dtype", "bf16"))),
                         {f"torch 2.11.0, {backend}" for backend in torch_engine.BACKENDS})

    def test_times_are_those_of_the_device(self) -> None:
        for graphs in (True, False):
            fake_torch.state.graphs = graphs
            row = self.rows(self.good("--shape", MHA, "--dtype", "f16"))["torch 2.11.0, cuDNN"]
            self.assertAlmostEqual(row["dense"]["median_ns"], 1e6)
            self.assertEqual(row["dense"]["clock"], "device")
            self.assertAlmostEqual(row["fraction_of_read"]["median"], 0.5)
            self.assertGreaterEqual(row["buffer_sets"] * row["kv_bytes"], 4 * 50 << 20)

    def test_a_wrong_result_has_no_speed(self) -> None:
        fake_torch.state.wrong = {"FLASH_ATTENTION"}
        found = self.good("--shape", MHA, "--dtype", "f16")
        self.assertNotIn("torch 2.11.0, FlashAttention", self.rows(found))
        self.assertEqual([(row["outcome"], row["variant"]) for row in found["skipped"]],
                         [("failed", "torch 2.11.0, FlashAttention")])

    def test_memory(self) -> None:
        fake_torch.state.free = 1 << 24
        found = self.good("--shape", MHA, "--dtype", "f16")
        self.assertRegex(found["skipped"][0]["why"], "needs .* GiB")

    def test_a_spent_budget_skips_with_a_reason(self) -> None:
        found = self.good("--time-budget", "1e-9")
        self.assertEqual(self.rows(found), {})
        self.assertEqual({row["why"] for row in found["skipped"]}, {"the time budget of 1e-09 s is spent"})
        self.assertEqual(len(found["skipped"]), 6)

    def test_context_and_twins(self) -> None:
        found = self.good("--shape", "llama-2-7b:1x8k,llama-3.1-8b:1x1k,mistral-7b:1x1k", "--dtype", "f16")
        self.assertEqual([row["why"] for row in found["skipped"] if row["shape"] != "llama-3.1-8b:1x1k"],
                         ["the model's context ends at 4096 tokens",
                          "the same numbers as llama-3.1-8b:1x1k: see there"])

    def test_the_report_takes_it(self) -> None:
        self.good("--shape", GQA)
        found = measurements(load(str(self.out)))
        self.assertEqual({each.op for each in found}, {"peer", "read", "copy"})
        self.assertEqual(tables.ceilings(found).rows[0][1:3], ["read", "2147 GB/s (2147–2147)"])

    def test_without_torch(self) -> None:
        fake_torch.remove()
        with mock.patch.dict(sys.modules, {"torch": None}):
            status, error = self.run_peers()
        self.assertEqual(status, 2)
        self.assertIn("PyTorch is needed", error)
        self.assertFalse(self.out.exists())

    def test_without_a_gpu(self) -> None:
        fake_torch.install(gpu=False)
        status, error = self.run_peers()
        self.assertEqual(status, 2)
        self.assertIn("sees no GPU", error)
        self.assertFalse(self.out.exists())

    def test_on_the_processor(self) -> None:
        fake_torch.install(gpu=False)
        found = self.good("--device", "cpu", "--shape", MHA, "--dtype", "f16")
        self.assertEqual({row["dense"]["clock"] for row in self.rows(found).values()}, {"host"})

    def test_options(self) -> None:
        for options in (("--preset", "other"), ("--dtype", "f8"), ("--dtype", "f16,f16"), ("--shape", "x")):
            self.assertEqual(self.run_peers(*options)[0], 2, options)


if __name__ == "__main__":
    unittest.main()
