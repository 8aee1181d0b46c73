#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns result files of `skv bench --json FILE` into reports. Exits 2 for files that cannot be reported or compared."""

import argparse
import json
import sys
from pathlib import Path

from reports import compare, page, writers
from reports.results import SCHEMA, Unusable, join, load_all, parse


def write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Unusable(path, "writing it", error.strerror, "it must be a file that can be written") from error


def refuse_measurements(path: str) -> None:
    """A forgotten output name would make the first input the output."""
    if not Path(path).exists():
        return
    try:
        old = parse(path)
    except Unusable:
        return
    if isinstance(old, dict) and old.get("schema") == SCHEMA:
        raise Unusable(path, "the output", SCHEMA, "a file of measurements is never overwritten")


def run_join(asked: argparse.Namespace) -> int:
    refuse_measurements(asked.output)
    write(asked.output, json.dumps(join(load_all(asked.inputs)), indent=1) + "\n")
    return 0


def run_html(asked: argparse.Namespace) -> int:
    refuse_measurements(asked.output)
    write(asked.output, page.html_report(load_all([asked.input]), asked.ratios))
    return 0


def run_markdown(asked: argparse.Namespace) -> int:
    sys.stdout.write(writers.markdown(load_all([asked.input]), asked.ratios))
    return 0


def run_csv(asked: argparse.Namespace) -> int:
    sys.stdout.write(writers.csv_report(load_all([asked.input])))
    return 0


def run_compare(asked: argparse.Namespace) -> int:
    old, new, least = load_all([asked.old]), load_all([asked.new]), asked.least / 100
    found = compare.changes(old, new, least)
    slower = sum(change.verdict == compare.SLOWER for change in found)
    if found:
        print(writers.markdown_table(compare.table(found, least)) + "\n")
    print(compare.only_in_one(old, new))
    print(f"{len(found)} changes beyond noise, {slower} of them slower.")
    return 1 if asked.fail and slower else 0


def per_cent(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1000:
        raise ValueError(text)
    return value


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="report.py", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("join", help="lay files of several machines side by side in one")
    command.add_argument("output", metavar="OUT.json")
    command.add_argument("inputs", metavar="IN.json", nargs="+")
    command.set_defaults(run=run_join)
    command = commands.add_parser("html", help="one page that needs no network")
    command.add_argument("input", metavar="IN.json")
    command.add_argument("output", metavar="OUT.html")
    command.add_argument("--ratios", action="store_true", help="leave out times and rates")
    command.set_defaults(run=run_html)
    for name, run in (("markdown", run_markdown), ("csv", run_csv)):
        command = commands.add_parser(name, help="to the standard output")
        command.add_argument("input", metavar="IN.json")
        if run is run_markdown:
            command.add_argument("--ratios", action="store_true", help="leave out times and rates")
        command.set_defaults(run=run)
    command = commands.add_parser("compare", help="changes beyond noise")
    command.add_argument("old", metavar="OLD.json")
    command.add_argument("new", metavar="NEW.json")
    command.add_argument("--least", type=per_cent, default=3, metavar="PERCENT", help="ignore less (default: 3)")
    command.add_argument("--fail", action="store_true", help="exit 1 when something became slower")
    command.set_defaults(run=run_compare)
    return top


def main(arguments: list[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    try:
        return asked.run(asked)
    except Unusable as error:
        print(f"report.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    sys.exit(main())
