#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the dense decode attention of PyTorch for the shapes of `skv bench`: what skv should be compared with.

Each backend of scaled_dot_product_attention that takes a shape is sampled in turns with the others and with a read of
the same bytes; the others are reported with their reason. bench/report.py joins the result with those of skv bench on
the same machine, and shows how skv's attention compares with the fastest."""

import argparse
import math
import os
import sys
import time
from pathlib import Path

import cases
from cases import Refused, Shape

ERROR_MAX = 0.02
FEWEST_ROUNDS, USUAL_ROUNDS = 3, 5


class Clock:
    """The time budget, shared out among the cases that are left."""

    def __init__(self, budget: float | None, seconds: float, n_cases: int):
        self.budget, self.seconds, self.left = budget, seconds, n_cases
        self.deadline = time.monotonic() + budget if budget else math.inf

    def spent(self) -> bool:
        return time.monotonic() >= self.deadline

    def share(self) -> float:
        share = (self.deadline - time.monotonic()) / max(self.left, 1) / 2
        self.left -= 1
        return min(self.seconds, max(share, 0.02))


def in_turns(samplers: list, seconds: float, clock: Clock) -> list[list[float]]:
    """Samples of each, in nanoseconds, taken one after the other until the time is up."""
    taken: list[list[float]] = [[] for _ in samplers]
    end = time.monotonic() + seconds
    while len(taken[0]) < cases.ROUNDS_MAX and (len(taken[0]) < USUAL_ROUNDS or time.monotonic() < end):
        if clock.spent() and len(taken[0]) >= FEWEST_ROUNDS:
            break
        for sampler, samples in zip(samplers, taken):
            samples.append(sampler.sample())
    return taken


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def identity(engine, shape: Shape, dtype: str, variant: str) -> dict:
    return {"op": "peer", "device": engine.device, "variant": variant, "kernel": variant, "shape": shape.name,
            "n_seqs": shape.n_seqs, "n_q_heads": shape.n_q_heads, "n_kv_heads": shape.n_kv_heads,
            "head_dim": shape.head_dim, "n_tokens": shape.n_tokens, "kept": shape.head_dim, "dtype": dtype,
            "threads": engine.threads}


def what(shape: Shape, dtype: str, variant: str = "peers") -> str:
    return f"{variant} {shape.name}, {dtype}"


def prepare(engine, report: dict, shape: Shape, dtype: str, sets: list) -> list[tuple]:
    """Variant, error and sampler of what can run the shape and gives the right result."""
    ready = []
    for variant, run in engine.candidates(shape):
        row = identity(engine, shape, dtype, variant)
        try:
            error = engine.error(shape, sets[0], run)
            if not error <= ERROR_MAX:
                cases.add_skipped(report, what(shape, dtype, variant), "failed",
                                  f"its result is wrong: relative error {error:.3g}", **row)
                continue
            ready.append((row, error, engine.sampler(run, sets)))
        except (RuntimeError, ValueError, TypeError) as reason:
            cases.add_skipped(report, what(shape, dtype, variant), "unsupported", first_line(reason), **row)
    return ready


def measure(engine, report: dict, shape: Shape, dtype: str, clock: Clock) -> None:
    sets = engine.make_sets(shape, dtype)
    ready = prepare(engine, report, shape, dtype, sets)
    if not ready:
        return
    read = engine.sampler(engine.read, sets)
    *taken, reads = in_turns([sampler for _, _, sampler in ready] + [read], clock.share(), clock)
    for (row, error, sampler), nanoseconds in zip(ready, taken):
        report["results"].append(row | {
            "error": error, "kv_bytes": shape.kv_bytes, "buffer_sets": len(sets),
            "fraction_of_read": cases.ratio([min(reads) / each for each in nanoseconds]),
            "dense": cases.samples(nanoseconds, sampler.launches, sampler.clock),
            "read": cases.samples(reads, read.launches, read.clock)})
        print(f"{row['shape']:22} {dtype:4}  {100 * min(reads) / sorted(nanoseconds)[len(nanoseconds) // 2]:4.0f} % of "
              f"read  {row['variant']}", flush=True)


def measure_streams(engine, report: dict, clock: Clock) -> None:
    for op, moved, sampler in engine.streams():
        nanoseconds, = in_turns([sampler], clock.share(), clock)
        report["results"].append({
            "op": op, "device": engine.device, "variant": engine.version, "kernel": engine.version, "bytes": moved,
            "threads": engine.threads, op: cases.samples(nanoseconds, sampler.launches, sampler.clock)})


def reason_against(shape: Shape, done: dict, clock: Clock) -> str | None:
    if clock.spent():
        return f"the time budget of {clock.budget:g} s is spent"
    if shape.max_tokens and shape.n_tokens > shape.max_tokens:
        return f"the model's context ends at {shape.max_tokens} tokens"
    if shape.numbers in done:
        return f"the same numbers as {done[shape.numbers]}: see there"
    return None


def measure_all(engine, report: dict, shapes: list[Shape], dtypes: list[str], clock: Clock, save) -> None:
    measure_streams(engine, report, clock)
    for dtype in dtypes:
        done: dict[tuple, str] = {}
        for shape in shapes:
            reason, outcome = reason_against(shape, done, clock), "skipped"
            if not reason:
                try:
                    measure(engine, report, shape, dtype, clock)
                except Refused as refused:
                    reason = str(refused)
                except (RuntimeError, MemoryError) as error:
                    reason, outcome = first_line(error), "failed"
            if reason:
                cases.add_skipped(report, what(shape, dtype), outcome, reason, shape=shape.name, dtype=dtype, op="peer")
            else:
                done[shape.numbers] = shape.name
            save()


def above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError(text)
    return value


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="peers.py", description=__doc__.split("\n\n")[0])
    top.add_argument("--out", required=True, type=Path, metavar="FILE", help="every sample, for bench/report.py")
    top.add_argument("--device", default="cuda:0", help="of PyTorch: cuda:0 (the default), or cpu")
    top.add_argument("--shapes", default=cases.SHAPES, type=Path, metavar="FOLDER",
                     help="of models.json and presets.json (default: bench/shapes)")
    top.add_argument("--shape", metavar="LIST", help="as skv bench takes it; default: those of the preset")
    top.add_argument("--preset", default="quick")
    top.add_argument("--dtype", metavar="LIST", help="f16,bf16; default: those of the preset")
    top.add_argument("--seconds", type=above_zero, metavar="S", help="for each shape and type")
    top.add_argument("--time-budget", type=above_zero, metavar="S", help="for all; what does not fit is skipped")
    return top


def run(asked: argparse.Namespace, command: list[str], new_engine) -> int:
    folder = asked.shapes if asked.shapes.is_dir() else asked.shapes.parent
    presets = cases.load(folder, "presets")
    if asked.preset not in presets:
        raise Refused(f'preset is "{asked.preset}"; there are {" ".join(presets)}')
    preset, models = presets[asked.preset], cases.load(folder, "models")
    texts = asked.shape.split(",") if asked.shape else cases.preset_shapes(preset)
    shapes = [cases.parse_shape(text, models) for text in texts]
    dtypes = asked.dtype.split(",") if asked.dtype else preset["dtypes"]
    if not set(dtypes) <= {"f16", "bf16"} or len(set(dtypes)) < len(dtypes):
        raise Refused(f'dtype is "{asked.dtype}"; it must be f16, bf16 or both')
    engine = new_engine(asked.device)
    report = cases.new_report(command, engine.device, engine.machine, engine.driver)
    clock = Clock(asked.time_budget, asked.seconds or preset["seconds"], len(shapes) * len(dtypes) + 2)
    print(f"{engine.device}: {engine.machine}, {engine.driver}")
    measure_all(engine, report, shapes, dtypes, clock, lambda: cases.write(report, asked.out))
    report["host"]["load_after"] = os.getloadavg()[0]
    cases.write(report, asked.out)
    print(f"{len(report['results'])} measured, {len(report['skipped'])} not")
    return 0


def main(arguments: list[str] | None = None, new_engine=None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if new_engine is None:
            from torch_engine import TorchEngine as new_engine
        return run(parser().parse_args(arguments), ["bench/peers.py", *arguments], new_engine)
    except (Refused, OSError) as reason:
        print(f"peers.py: {reason}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
