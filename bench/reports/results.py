# SPDX-License-Identifier: Apache-2.0
"""Reads result files, and refuses what cannot be trusted or compared."""

import json
import math
import statistics
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

SCHEMA = "skv-bench"
JOINED = "skv-bench-joined"
SCHEMA_VERSION = 1
CEILINGS = ("read", "copy")
DTYPES = ("f16", "bf16")
OUTCOMES = ("skipped", "unsupported", "failed")
PEER = "peer"
OWN_TIMES = {"attend": "sparse", PEER: "dense"}
NO_DTYPE = "–"


class Unusable(Exception):
    """A file that cannot be reported: says which file, which value and which rule."""

    def __init__(self, where: str, what: str, value: object, rule: str):
        shown = repr(value)
        super().__init__(f"{where}: {what} is {shown if len(shown) <= 80 else shown[:77] + '...'}; {rule}")


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Measurement:
    """One operation in one setting. Ratios are better when larger; times are in nanoseconds."""

    machine: str
    op: str
    device: str
    variant: str
    kernel: str
    shape: str
    n_seqs: int
    n_q_heads: int
    n_kv_heads: int
    head_dim: int
    n_tokens: int
    kept: int
    dtype: str
    threads: int
    bytes_of_dense: float | None
    error: float | None
    bytes_moved: int | None
    break_even_tokens: float | None
    ratios: dict[str, Spread]
    times: dict[str, Spread]

    @property
    def key(self) -> tuple:
        """What makes a measurement: two of one key say the same thing twice."""
        return (self.machine, self.device, self.op, self.shape, self.kept, self.dtype, self.variant, self.threads)

    @property
    def series(self) -> tuple[str, str, str]:
        """What is drawn as one line."""
        return (self.machine, self.device, self.variant)

    @property
    def setting(self) -> tuple:
        """What may be laid side by side."""
        return (self.op, self.shape, self.dtype, self.kept)

    @property
    def dimensions(self) -> tuple[int, ...]:
        return (self.n_seqs, self.n_q_heads, self.n_kv_heads, self.n_tokens, self.head_dim)

    @property
    def own_time(self) -> str | None:
        """The time that the ratios judge."""
        name = OWN_TIMES.get(self.op, self.op)
        return name if name in self.times else None

    @property
    def byte_limit(self) -> float | None:
        """What attention can gain that waits for nothing but memory."""
        return 1 / self.bytes_of_dense if self.bytes_of_dense else None

    @property
    def is_ceiling(self) -> bool:
        """A pass over memory by itself, which has no shape."""
        return self.op in CEILINGS


@dataclass(frozen=True)
class Skipped:
    """A case without a measurement, and its reason."""

    what: str
    outcome: str
    why: str
    fields: dict


@dataclass
class Source:
    """One result file."""

    name: str
    machine: str
    device: str
    driver: str
    revision: str
    command: str | None
    started: str | None
    host: str | None
    skipped: list[Skipped]
    raw: dict
    measurements: list[Measurement] = field(default_factory=list)


def printable(text: str) -> str:
    """Control characters, lone surrogates and marks that reorder text would garble any report."""
    return "".join("\ufffd" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") else char for char in text)


class Object:
    """A JSON object whose fields are checked as they are read."""

    def __init__(self, where: str, value: object):
        if not isinstance(value, dict):
            raise Unusable(where, "it", value, "it must be an object")
        self.where = where
        self.fields = value

    def get(self, name: str) -> object:
        if name not in self.fields:
            raise Unusable(self.where, f'field "{name}"', None, "it must be present")
        return self.fields[name]

    def text(self, name: str) -> str:
        value = self.get(name)
        if not isinstance(value, str):
            raise Unusable(self.where, name, value, "it must be a string")
        return printable(value)

    def number(self, name: str) -> float:
        return check_number(self.where, name, self.get(name))

    def integer(self, name: str, least: int) -> int:
        value = self.number(name)
        if value != int(value) or value < least:
            raise Unusable(self.where, name, value, f"it must be a whole number from {least} up")
        return int(value)

    def items(self, name: str) -> list:
        value = self.get(name)
        if not isinstance(value, list):
            raise Unusable(self.where, name, value, "it must be a list")
        return value


def check_number(where: str, what: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e18:
        raise Unusable(where, what, value, "it must be a finite number")
    if value < 0:
        raise Unusable(where, what, value, "it must not be negative")
    return value


def read_ratio(entry: Object) -> Spread | None:
    """None where the bench had nothing to divide by, which it writes as zeros."""
    found = Spread(entry.number("median"), entry.number("lower_quartile"), entry.number("upper_quartile"))
    if not found.low <= found.median <= found.high:
        raise Unusable(entry.where, "median", found.median, f"it must lie between {found.low} and {found.high}")
    return found if found.median > 0 else None


def read_time(entry: Object) -> Spread:
    """The quartiles are those that the bench takes."""
    samples = sorted(check_number(entry.where, "a sample", sample) for sample in entry.items("samples_ns"))
    if not samples:
        raise Unusable(entry.where, "samples_ns", samples, "it must hold at least one sample")
    median, quarter = entry.number("median_ns"), len(samples) // 4
    if not any(math.isclose(median, middle, rel_tol=1e-6)
               for middle in (statistics.median(samples), samples[len(samples) // 2])):
        raise Unusable(entry.where, "median_ns", median, "it must be the median of samples_ns")
    return Spread(median, min(samples[quarter], median), max(samples[-1 - quarter], median))


def read_bytes(entry: Object) -> float | None:
    if "dense_bytes" not in entry.fields and "compressed_bytes" not in entry.fields:
        return None
    return entry.integer("compressed_bytes", 1) / entry.integer("dense_bytes", 1)


def read_spreads(entry: Object) -> tuple[dict[str, Spread], dict[str, Spread]]:
    """Ratios and times are known by their fields, so that operations that come later need no change here."""
    ratios, times = {}, {}
    for name, value in entry.fields.items():
        if isinstance(value, dict):
            part = Object(f"{entry.where}, {name}", value)
            if "samples_ns" in value or "median_ns" in value:
                times[printable(name)] = read_time(part)
            elif "median" in value and (ratio := read_ratio(part)):
                ratios[printable(name)] = ratio
    return ratios, times


def read_ceiling(entry: Object, machine: str, op: str) -> Measurement:
    """Its place among measurements is filled with ones."""
    moved = entry.integer("bytes", 1)
    entry.get(op)
    ratios, times = read_spreads(entry)
    return Measurement(
        machine, op, entry.text("device"), entry.text("variant"), entry.text("kernel"), f"{moved / 2**20:g} MiB moved",
        1, 1, 1, 1, 1, 1, NO_DTYPE, entry.integer("threads", 0), None, None, moved, None, ratios, times)


def read_measurement(where: str, machine: str, value: object) -> Measurement:
    entry = Object(where, value)
    op = entry.text("op")
    if op in CEILINGS:
        entry.where = f"{where} ({op})"
        return read_ceiling(entry, machine, op)
    dtype = entry.text("dtype")
    entry.where = where = f"{where} ({op} {entry.text('shape')})"
    if dtype not in DTYPES:
        raise Unusable(where, "dtype", dtype, f"it must be one of {', '.join(DTYPES)}")
    if op == "attend":
        for name in ("compressed_bytes", "dense_bytes", "speed_over_dense", "sparse", "dense"):
            entry.get(name)
    elif op in ("amortized", "compress", "append", "decompress"):
        entry.get(op)
    elif op == PEER:
        entry.get("dense")
    ratios, times = read_spreads(entry)
    if not times:
        raise Unusable(where, "op", op, "it must come with at least one time")
    return Measurement(
        machine, op, entry.text("device"), entry.text("variant"), entry.text("kernel"), entry.text("shape"),
        entry.integer("n_seqs", 1), entry.integer("n_q_heads", 1), entry.integer("n_kv_heads", 1),
        entry.integer("head_dim", 1), entry.integer("n_tokens", 1), entry.integer("kept", 1), dtype,
        entry.integer("threads", 0), read_bytes(entry),
        entry.number("error") if "error" in entry.fields else None, None,
        entry.number("break_even_tokens") if "break_even_tokens" in entry.fields else None, ratios, times)


def read_skipped(report: Object) -> list[Skipped]:
    skipped = []
    for i, value in enumerate(report.items("skipped") if "skipped" in report.fields else []):
        entry = Object(f"{report.where}: skipped[{i}]", value)
        outcome = entry.text("outcome") if "outcome" in entry.fields else OUTCOMES[0]
        if outcome not in OUTCOMES:
            raise Unusable(entry.where, "outcome", outcome, f"it must be one of {', '.join(OUTCOMES)}")
        fields = {name: printable(field) if isinstance(field, str) else field for name, field in entry.fields.items()
                  if isinstance(field, str | int | float)}
        skipped.append(Skipped(entry.text("what"), outcome, entry.text("why"), fields))
    return skipped


def read_host(report: Object) -> str | None:
    """The system, and how busy it was: a shared machine shows in its load."""
    if "host" not in report.fields:
        return None
    host = Object(f"{report.where}: host", report.get("host"))
    parts = [host.text("system")] if "system" in host.fields else []
    loads = [f"{host.number(name):.1f}" for name in ("load_before", "load_after") if name in host.fields]
    return ", ".join(parts + ([f"load {' to '.join(loads)}"] if loads else [])) or None


def read_command(report: Object) -> str | None:
    value = report.fields.get("command")
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return printable(" ".join(value))
    return None if value is None else report.text("command")


def read_source(where: str, name: str, value: object) -> Source:
    report = Object(where, value)
    check_schema(report, SCHEMA)
    source = Source(printable(name), report.text("machine"), report.text("device"), report.text("driver"),
                    report.text("revision"), read_command(report),
                    report.text("started") if "started" in report.fields else None, read_host(report),
                    read_skipped(report), report.fields)
    source.measurements = [read_measurement(f"{where}: results[{i}]", source.machine, entry)
                           for i, entry in enumerate(report.items("results"))]
    return source


def check_schema(report: Object, *schemas: str) -> None:
    schema, version = report.get("schema"), report.get("schema_version")
    if schema not in schemas:
        raise Unusable(report.where, "schema", schema, f"it must be {' or '.join(schemas)}")
    if isinstance(version, bool) or version != SCHEMA_VERSION:
        raise Unusable(report.where, "schema_version", version, f"this report reads version {SCHEMA_VERSION}")


def refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def refuse_twice(pairs: list[tuple[str, object]]) -> dict:
    found = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f'field "{name}" is there twice')
        found[name] = value
    return found


def parse(path: str) -> object:
    try:
        text = Path(path).read_text(encoding="utf-8")
        return json.loads(text, parse_constant=refuse_constant, object_pairs_hook=refuse_twice)
    except OSError as error:
        raise Unusable(path, "reading it", error.strerror, "it must be a readable file") from error
    except (ValueError, RecursionError) as error:
        raise Unusable(path, "its text", str(error), "it must be JSON") from error


def load(path: str) -> list[Source]:
    """The files in a result file: one, or as many as were joined."""
    report = Object(path, parse(path))
    check_schema(report, SCHEMA, JOINED)
    if report.fields["schema"] == SCHEMA:
        return [read_source(path, Path(path).name, report.fields)]
    sources = []
    for i, value in enumerate(report.items("files")):
        entry = Object(f"{path}: files[{i}]", value)
        name = entry.text("file")
        sources.append(read_source(f"{path}: {name}", name, entry.get("report")))
    return sources


def measurements(sources: list[Source]) -> list[Measurement]:
    return [measurement for source in sources for measurement in source.measurements]


def check_together(sources: list[Source]) -> list[Source]:
    """Refuses what cannot stand in one report."""
    seen, shapes = {}, {}
    for source in sources:
        for found in source.measurements:
            if found.key in seen:
                raise Unusable(source.name, "a measurement", "/".join(map(str, found.key)),
                               f"it is in {seen[found.key]} already and may be there once; compare shows two runs")
            seen[found.key] = source.name
            named = shapes.setdefault((found.op, found.shape), (found.dimensions, source.name))
            if named[0] != found.dimensions:
                raise Unusable(source.name, f"shape {found.shape}", found.dimensions,
                               f"it is {named[0]} in {named[1]}, and one name must mean one shape")
    return sources


def load_all(paths: list[str]) -> list[Source]:
    return check_together([source for path in paths for source in load(path)])


def join(sources: list[Source]) -> dict:
    files = [{"file": source.name, "report": source.raw} for source in sources]
    return {"schema": JOINED, "schema_version": SCHEMA_VERSION, "files": files}
