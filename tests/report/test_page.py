#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The page that bench/report.py makes, and its plots."""

import json
import re
import unittest
from html.parser import HTMLParser

from support import HOSTILE, Case, ceiling, measurement, ratio, results, sweep_results, times

from reports import plots
from reports.results import load

VOID = {"meta", "circle", "line", "polyline", "polygon"}


class Balance(HTMLParser):
    """Fails where a tag is not closed, and gathers tags, attributes and text."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(page)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open[-1] == tag, (self.open, tag)
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


class Html(Case):
    def measured(self, *found: dict) -> list:
        return load(self.file("in.json", results(*found)))[0].measurements

    def test_is_well_formed_and_alone(self) -> None:
        page = self.page(sweep_results())
        tags = Balance(page).tags
        self.assertEqual([tag for tag, _ in tags if tag in ("script", "link", "img", "iframe", "object")], [])
        self.assertEqual([attrs for _, attrs in tags if attrs.keys() & {"src", "href"}], [])
        self.assertNotRegex(page, r"https?://|url\(|@import")
        self.assertIn("prefers-color-scheme: dark", page)
        self.assertIn("width=device-width", page)

    def test_plots_are_titled_and_described(self) -> None:
        found = Balance(self.page(sweep_results()))
        pictures = [attrs for tag, attrs in found.tags if tag == "svg" and attrs.get("role") == "img"]
        self.assertEqual(len(pictures), 5)
        identities = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
        self.assertEqual(len(identities), len(set(identities)))
        for attrs in pictures:
            for identity in attrs["aria-labelledby"].split():
                self.assertIn(identity, identities)

    def test_hostile_names(self) -> None:
        found = measurement(variant=HOSTILE, kernel=HOSTILE, shape=HOSTILE, device=HOSTILE)
        other = measurement(op=HOSTILE, **{HOSTILE: times(5)})
        page = self.page(results(found, other, machine=HOSTILE, driver=HOSTILE, revision=HOSTILE, command=HOSTILE,
                                 skipped=[{"what": HOSTILE, "why": HOSTILE}]))
        parsed = Balance(page)
        self.assertNotIn("script", [tag for tag, _ in parsed.tags])
        self.assertIn(HOSTILE, parsed.text)
        for _, attrs in parsed.tags:
            for name in attrs:
                self.assertRegex(name, r"^[a-z][a-z0-9-]*$")

    def test_characters_that_garble(self) -> None:
        page = self.page(json.dumps(results(measurement(kernel="a\x00b\u202ec\ud800d"))))
        self.assertIn("a\ufffdb\ufffdc\ufffdd", page)

    def test_error_column(self) -> None:
        self.assertIn("not measured", Balance(self.page(results(measurement()))).text)
        heads = re.findall(r'<th scope="col">([^<]*)</th>', self.page(results(measurement(error=0.00025))))
        self.assertEqual(heads.count("error"), 2)
        self.assertIn("2.5e-04", self.page(results(measurement(error=0.00025))))

    def test_skipped_and_command(self) -> None:
        plain = Balance(self.page(results(measurement()))).text
        self.assertNotIn("Skipped", plain)
        self.assertIn("not recorded", plain)
        full = Balance(self.page(results(measurement(), command=["skv", "bench"],
                                         skipped=[{"what": "attend g8", "why": "out of memory"}]))).text
        for words in ("Skipped", "attend g8", "out of memory", "skv bench", "0abc123", "Machine A"):
            self.assertIn(words, full)

    def test_memory_and_amortized(self) -> None:
        found = Balance(self.page(results(ceiling(), measurement(), measurement("amortized"))))
        for words in ("Memory", "26.8 GB/s (26.6–27.1)", "256 MiB moved", "even after, tokens", "byte limit"):
            self.assertIn(words, found.text)
        self.assertNotIn("Memory", Balance(self.page(results(measurement()))).text)

    def test_amortized_is_not_drawn_over_its_attention(self) -> None:
        self.assertEqual(len(plots.speeds(self.measured(measurement(), measurement("amortized")))), 1)

    def test_no_results(self) -> None:
        Balance(self.page(results()))
        Balance(self.page({"schema": "skv-bench-joined", "schema_version": 1, "files": []}))

    def test_one_length_is_no_sweep(self) -> None:
        self.assertNotIn("Context length", self.page(results(measurement())))
        self.assertIn("Context length", self.page(results(measurement(), measurement(n_tokens=8192))))

    def test_extremes(self) -> None:
        for value in (0, 1e-12, 1e17):
            Balance(self.page(results(measurement(speed_over_dense=ratio(value)))))

    def test_no_read_ceiling_is_not_zero_per_cent(self) -> None:
        page = self.page(results(measurement(fraction_of_read=ratio(0))))
        self.assertNotIn("0 % (0–0)", page)


class Plots(Case):
    def measured(self, *found: dict) -> list:
        return load(self.file("in.json", results(*found)))[0].measurements

    def test_limit_is_the_inverse_of_bytes(self) -> None:
        found = self.measured(measurement(compressed_bytes=500, dense_bytes=1000, speed_over_dense=ratio(2, 0)))
        plot = plots.roofline(found)
        x, y = plots.scales(plot)
        limit = plots.byte_limit(plot, x, y)[0]
        x1, y1, x2, y2 = (float(re.search(rf'{name}="([\d.]+)"', limit)[1]) for name in ("x1", "y1", "x2", "y2"))
        at_half = y1 + (y2 - y1) * (x.at(0.5) - x1) / (x2 - x1)
        self.assertAlmostEqual(at_half, y.at(2), delta=0.3)
        self.assertAlmostEqual(y2, y.at(1), delta=0.1)

    def test_devices_differ_by_shape(self) -> None:
        drawn = {re.sub(r"s\d", "", plots.marker(number, 0, 0)) for number in range(16)}
        self.assertEqual(len(drawn), 16)

    def test_sweeps_group_only_what_agrees(self) -> None:
        found = self.measured(measurement(), measurement(n_tokens=8192), measurement(n_tokens=8192, dtype="bf16"))
        self.assertEqual([len(next(iter(plot.lines.values()))) for plot in plots.length_sweeps(found)], [2])
        self.assertEqual(plots.sparsity_sweeps(found), [])


if __name__ == "__main__":
    unittest.main()
