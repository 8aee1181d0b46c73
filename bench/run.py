#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures every device of this machine with a built `skv`, and writes one report of all of them.

What cannot run here, or dies, is in the report with its reason."""

import argparse
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cases
import report

HERE = Path(__file__).resolve().parent
# A level of the CPU is measured on less than the best one is, and on a shape that no preset has: a report refuses what
# was measured twice.
LEVEL_OPTIONS = ["--threads", "all", "--shape", "1/32/8/4096/128", "--dtype", "f16", "--kept", "64,40", "--op",
                 "attend,compress,decompress"]
# What an OpenCL driver makes of a processor is for tests: small shapes, or a case would take seconds.
EMULATED_OPTIONS = ["--shape", "llama-3.1-8b:1x4k", "--dtype", "f16,bf16", "--kept", "64,40"]
# Of the time budget, where a run has them all.
WEIGHTS = {"best": 5, "levels": 2, "device": 3, "peers": 3}
# What a run may take beyond its budget: a driver that compiles, a case that had begun.
GRACE_S = 120


@dataclass
class Job:
    """A program that writes a result file."""

    name: str
    kind: str
    device: str
    machine: str
    driver: str
    command: list[str]


def skv_jobs(skv: str, info: dict, preset: str) -> list[Job]:
    """Accelerators first, then the processor, then what a driver makes of it."""
    jobs = []
    for found in sorted(info["devices"], key=lambda found: (found["kind"] == "cpu", found["id"] != "cpu")):
        if not found["usable"]:
            continue
        what = found["id"], found["name"], found["driver"]
        base = [skv, "bench", "--device", found["id"]]
        name = found["id"].replace(":", "-")
        if found["id"] == "cpu":
            jobs.append(Job("cpu", "best", *what, [*base, "--preset", preset]))
            jobs.append(Job("cpu-levels", "levels", *what, [*base, "--isa", "all", *LEVEL_OPTIONS]))
        else:
            emulated = found["kind"] == "cpu"
            jobs.append(Job(name, "device", *what, [*base, *(EMULATED_OPTIONS if emulated else ["--preset", preset])]))
    return jobs


def peer_jobs(preset: str, wanted: bool) -> list[Job]:
    """None where PyTorch is not there, which the report says."""
    if not wanted or not importlib.util.find_spec("torch"):
        return []
    command = [sys.executable, str(HERE / "peers.py"), "--preset", preset]
    return [Job("peers", "peers", "cuda:0", "unknown", "PyTorch", [*command, "--device", "cuda:0"]),
            Job("peers-cpu", "peers", "cpu", "unknown", "PyTorch", [*command, "--device", "cpu"])]


def not_run(info: dict, peers: bool) -> dict:
    """A result file of what this machine lacks."""
    report_of = cases.new_report(["bench/run.py"], "none", platform.machine(), "none")
    for backend in info["backends"]:
        if not backend["devices"]:
            cases.add_skipped(report_of, f"everything on {backend['name']}", "unsupported", backend["reason"])
    for found in info["devices"]:
        if not found["usable"]:
            cases.add_skipped(report_of, f"everything on {found['id']} ({found['name']})", "unsupported",
                              found["reason"])
    if not peers:
        cases.add_skipped(report_of, "peers: the dense attention of PyTorch", "skipped",
                          "PyTorch is not installed for this Python, or was not asked for")
    return report_of


def how_it_ended(status: int) -> str:
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name}"
    return f"it exited with status {status}"


def run_job(job: Job, folder: Path, budget: float) -> Path:
    """The result file, whatever happens: one of a program that died says so."""
    path = folder / f"{job.name}.json"
    path.unlink(missing_ok=True)
    command = [*job.command, "--time-budget", f"{budget:.1f}", "--out" if job.kind == "peers" else "--json", str(path)]
    print(f"\n== {job.name}, up to {budget:.0f} s", flush=True)
    try:
        # Progress goes to the terminal; what peers.py says instead of measuring goes to the report.
        done = subprocess.run(command, timeout=budget + GRACE_S, text=True,
                              stderr=subprocess.PIPE if job.kind == "peers" else None)
        said = (done.stderr or "").strip().splitlines()
        status, ended = done.returncode, said[-1] if said else how_it_ended(done.returncode)
    except subprocess.TimeoutExpired:
        status, ended = 1, f"it was ended {GRACE_S} s after its time budget"
    except OSError as error:
        status, ended = 1, f"it could not be started: {error.strerror}"
    if status == 0 and path.exists():
        return path
    # 1 with a file is a run that finished and counts failed cases, each of them a row.
    if not path.exists() or status != 1 or ended.startswith("it was ended"):
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else cases.new_report(
            ["bench/run.py"], job.device, job.machine, job.driver)
        cases.add_skipped(found, f"the rest of {job.name}", "failed", ended)
        cases.write(found, path)
    return path


def shares(jobs: list[Job], budget: float) -> list[float]:
    whole = sum(WEIGHTS[job.kind] for job in jobs)
    return [budget * WEIGHTS[job.kind] / whole for job in jobs]


def write_reports(paths: list[Path], folder: Path) -> list[Path]:
    joined, html, markdown, table = (folder / f"report.{end}" for end in ("json", "html", "md", "csv"))
    sources = report.load_all([str(path) for path in paths])
    joined.write_text(json.dumps(report.join(sources), indent=1) + "\n", encoding="utf-8")
    html.write_text(report.page.html_report(sources), encoding="utf-8")
    markdown.write_text(report.writers.markdown(sources), encoding="utf-8")
    table.write_text(report.writers.csv_report(sources), encoding="utf-8")
    return [html, markdown, table, joined]


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="run.py", description=__doc__.split("\n\n")[0])
    top.add_argument("--skv", default="build/tools/skv/skv", metavar="PROGRAM")
    top.add_argument("--out", default="build/bench", type=Path, metavar="FOLDER")
    top.add_argument("--preset", default="quick")
    top.add_argument("--time-budget", default=120.0, type=float, metavar="S", help="for everything (default: 120)")
    top.add_argument("--no-peers", action="store_true", help="leave PyTorch out")
    return top


def find_devices(skv: str) -> dict:
    try:
        found = subprocess.run([skv, "info", "--json"], capture_output=True, text=True)
        return json.loads(found.stdout)
    except OSError as error:
        raise cases.Refused(f"{skv}: {error.strerror}") from error
    except ValueError as error:
        raise cases.Refused(f"{skv} info --json: {found.stderr.strip() or error}") from error


def main(arguments: list[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    try:
        info = find_devices(asked.skv)
        asked.out.mkdir(parents=True, exist_ok=True)
        peers = peer_jobs(asked.preset, not asked.no_peers)
        jobs = skv_jobs(asked.skv, info, asked.preset) + peers
        rest = asked.out / "not-run.json"
        cases.write(not_run(info, bool(peers)), rest)
        paths = [run_job(job, asked.out, share) for job, share in zip(jobs, shares(jobs, asked.time_budget))]
        written = write_reports([*paths, rest], asked.out)
    except (cases.Refused, report.Unusable, OSError) as reason:
        print(f"run.py: {reason}", file=sys.stderr)
        return 2
    if os.cpu_count() and os.getloadavg()[0] > 1.5 * os.cpu_count():
        print("\nThe machine was busy with other work: expect wide quartiles.")
    print("\nThe report:", *(f"\n  {path}" for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
