# SPDX-License-Identifier: Apache-2.0
"""What the scripts share: shapes and presets from bench/shapes, and the result file that bench/report.py reads."""

import datetime
import json
import os
import platform
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

SHAPES = Path(__file__).resolve().parent / "shapes"
ROUNDS_MAX = 101


class Refused(Exception):
    """What was asked for cannot be: the message says why."""


@dataclass(frozen=True)
class Shape:
    """n_seqs sequences of n_tokens tokens, one layer."""

    name: str
    n_seqs: int
    n_q_heads: int
    n_kv_heads: int
    head_dim: int
    n_tokens: int
    max_tokens: int = 0

    @property
    def kv_bytes(self) -> int:
        """Of dense keys and values of two bytes."""
        return 4 * self.n_seqs * self.n_kv_heads * self.n_tokens * self.head_dim

    @property
    def numbers(self) -> tuple[int, ...]:
        return (self.n_seqs, self.n_q_heads, self.n_kv_heads, self.n_tokens, self.head_dim)


def load(folder: Path, of: str) -> dict[str, dict]:
    """Models or presets by name."""
    path = folder / f"{of}.json"
    try:
        return {each["name"]: each for each in json.loads(path.read_text(encoding="utf-8"))[of]}
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(f'{path}: it must be JSON with a list "{of}" of things with a name: {error!r}') from error


def counted(text: str) -> int:
    """k means 1024."""
    return int(text[:-1]) * 1024 if text.endswith("k") else int(text)


def parse_shape(text: str, models: dict[str, dict]) -> Shape:
    """As skv bench takes it, and with the same name."""
    try:
        if ":" not in text:
            numbers = [counted(part) for part in text.split("/")]
            n_seqs, n_q_heads, n_kv_heads, n_tokens, head_dim = numbers
            if min(numbers) < 1 or n_q_heads % n_kv_heads:
                raise ValueError
            return Shape(text, n_seqs, n_q_heads, n_kv_heads, head_dim, n_tokens)
        name, size = text.split(":")
        n_seqs, n_tokens = (counted(part) for part in size.split("x"))
        if n_seqs < 1 or n_tokens < 1:
            raise ValueError
        model = models[name]
    except (ValueError, KeyError) as error:
        raise Refused(f'shape is "{text}"; it must be MODEL:SEQSxTOKENS or SEQS/QHEADS/KVHEADS/TOKENS/HEADDIM; '
                      f"models: {' '.join(models)}") from error
    shown = f"{n_tokens // 1024}k" if n_tokens % 1024 == 0 else str(n_tokens)
    return Shape(f"{name}:{n_seqs}x{shown}", n_seqs, model["n_q_heads"], model["n_kv_heads"], model["head_dim"],
                 n_tokens, model["max_tokens"])


def preset_shapes(preset: dict) -> list[str]:
    return [f"{model}:{n_seqs}x{n_tokens}" for sweep in preset["sweeps"] for model in sweep["models"]
            for n_seqs in sweep["n_seqs"] for n_tokens in sweep["n_tokens"]]


def ratio(values: list[float]) -> dict:
    """Middle and the quartiles that skv bench takes."""
    values = sorted(values)
    quarter = len(values) // 4
    return {"median": statistics.median(values), "lower_quartile": values[quarter],
            "upper_quartile": values[-1 - quarter]}


def samples(nanoseconds: list[float], launches: int, clock: str) -> dict:
    return {"median_ns": statistics.median(nanoseconds), "samples_ns": nanoseconds, "launches_per_sample": launches,
            "clock": clock}


def load_average() -> dict:
    return {"load_before": os.getloadavg()[0]}


def revision() -> str:
    try:
        found = subprocess.run(["git", "-C", str(SHAPES), "describe", "--always", "--dirty"], capture_output=True,
                               text=True, check=True)
        return found.stdout.strip() or "unknown"
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def new_report(command: list[str], device: str, machine: str, driver: str) -> dict:
    started = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"schema": "skv-bench", "schema_version": 1, "revision": revision(), "command": command, "device": device,
            "machine": machine, "driver": driver, "started": started,
            "host": {"system": f"{platform.system()} {platform.machine()}"} | load_average(),
            "results": [], "skipped": []}


def add_skipped(report: dict, what: str, outcome: str, why: str, **identity: object) -> None:
    report["skipped"].append(identity | {"what": what, "outcome": outcome, "why": why})


def write(report: dict, path: Path) -> None:
    """Beside the file and then in its place: whatever ends the program, what was measured is there."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
