# SPDX-License-Identifier: Apache-2.0
"""The tables that all reports share: ratios first, times second, an error beside each speed."""

import statistics
from dataclasses import dataclass

from .results import CEILINGS, PEER, Measurement, Skipped, Source, Spread, measurements

NOT_MEASURED = "not measured"
NOT_RECORDED = "not recorded"
NO_SUCH = "–"
PERCENT = ("fraction_of_read", "fraction_of_copy", "copy_speed")
RATIO_NAMES = {"speed_over_dense": "speed-up over dense", "fraction_of_read": "of read ceiling",
               "fraction_of_copy": "of copy ceiling", "copy_speed": "of copy ceiling",
               "run_of_256_over_dense": "prefill and 256 steps over dense"}
TIME_NAMES = {"read": "read ceiling", "copy": "copy ceiling", "prefill": "compression of the prefill"}
OPS = ("attend", "amortized", PEER, "compress", "append", "decompress")
OVER_PEER = "over best dense peer"
PEER_RULE = (" The best dense peer is the fastest attention of another library on the same machine, shape and type; it "
             "ran by itself, not in turns.")
SHORT_RULE = "Median, quartiles in brackets."
SIDE_RULE = ("The same setting on several devices: the speed-up over dense, or else the first ratio that all of them "
             "have, or else the time. " + SHORT_RULE)


@dataclass(frozen=True)
class Table:
    title: str
    note: str
    headings: list[str]
    rows: list[list[str]]
    absolute: tuple[str, ...] = ()  # columns of times and rates; with the first one among them the whole table is


def without_times(table: Table | None) -> Table | None:
    """Ratios carry over to other machines of the kind, and say less about one that was busy with other work."""
    if table is None or table.headings[0] in table.absolute:
        return None
    kept = [i for i, heading in enumerate(table.headings) if heading not in table.absolute]
    return Table(table.title, table.note, [table.headings[i] for i in kept],
                 [[row[i] for i in kept] for row in table.rows])


def short(value: float) -> str:
    """Three figures, never an exponent where people read ratios and times."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio_text(name: str, spread: Spread | None) -> str:
    if spread is None:
        return NOT_MEASURED
    if name in PERCENT:
        return f"{100 * spread.median:.0f} % ({100 * spread.low:.0f}–{100 * spread.high:.0f})"
    return f"{short(spread.median)}× ({short(spread.low)}–{short(spread.high)})"


def time_text(spread: Spread | None) -> str:
    if spread is None:
        return NOT_MEASURED
    unit, scale = next(((unit, scale) for unit, scale in (("s", 1e9), ("ms", 1e6), ("µs", 1e3))
                        if spread.median >= scale), ("ns", 1))
    return f"{short(spread.median / scale)} {unit} ({short(spread.low / scale)}–{short(spread.high / scale)})"


def error_text(found: Measurement) -> str:
    return NOT_MEASURED if found.error is None else "0" if found.error == 0 else f"{found.error:.1e}"


def ratio_name(name: str) -> str:
    return RATIO_NAMES.get(name, name.replace("_", " "))


def time_name(name: str) -> str:
    return TIME_NAMES.get(name, name.replace("_", " ") + " time")


def bytes_text(found: Measurement) -> str:
    return NOT_MEASURED if found.bytes_of_dense is None else f"{100 * found.bytes_of_dense:.0f} %"


def kept_text(found: Measurement) -> str:
    return f"{found.kept} of {found.head_dim}"


def limit_text(found: Measurement) -> str:
    return NOT_MEASURED if found.byte_limit is None else f"{short(found.byte_limit)}×"


def break_even_text(found: Measurement) -> str:
    return "never" if found.break_even_tokens is None else f"{found.break_even_tokens:.0f}"


def setting_text(found: Measurement) -> str:
    if found.is_ceiling:
        return found.shape
    return f"{found.shape}, {found.dtype}, {kept_text(found)} kept"


def row_time(found: Measurement) -> Spread | None:
    """Per row of one token and head; attention reads a key and a value row for each."""
    own, rows = found.times.get(found.own_time or ""), {"append": found.n_kv_heads * found.n_seqs}.get(
        found.op, found.n_tokens * found.n_seqs * found.n_kv_heads)
    return Spread(own.median / rows, own.low / rows, own.high / rows) if own and found.op in OPS else None


def series_names(found: list[Measurement]) -> dict[tuple, str]:
    """Names of devices; the machine is left out where it is the same for all."""
    series = list(dict.fromkeys(each.series for each in found))
    several = len({machine for machine, _, _ in series}) > 1
    return {each: " · ".join(each if several else each[1:]) for each in series}


def op_order(op: str) -> tuple:
    return (OPS.index(op) if op in OPS else len(OPS), op)


def ops(found: list[Measurement]) -> list[str]:
    """Ceilings have a table of their own."""
    return sorted({each.op for each in found if not each.is_ceiling}, key=op_order)


def best_peer(each: Measurement, found: list[Measurement]) -> Measurement | None:
    """The fastest dense attention of another library that was measured for the same thing."""
    peers = [peer for peer in found if peer.op == PEER and (peer.machine, peer.dimensions, peer.dtype) ==
             (each.machine, each.dimensions, each.dtype)]
    return min(peers, key=lambda peer: peer.times["dense"].median, default=None)


def over_peer(each: Measurement, found: list[Measurement]) -> Spread | None:
    """Of two medians that were not taken in turns: the quartiles are as far apart as they can be."""
    peer, own = best_peer(each, found), each.times.get(each.own_time or "")
    if not peer or not own or not own.low:
        return None
    theirs = peer.times["dense"]
    return Spread(theirs.median / own.median, theirs.low / own.high, theirs.high / own.low)


def over_peer_text(each: Measurement, found: list[Measurement]) -> str:
    ratio = over_peer(each, found)
    return f"{ratio_text('', ratio)}, {best_peer(each, found).variant}" if ratio else NOT_MEASURED


def has_peers(found: list[Measurement], op: str) -> bool:
    return op in ("attend", "amortized") and any(each.op == op and best_peer(each, found) for each in found)


def names_of(spreads: list[dict[str, Spread]], last: tuple = ()) -> list[str]:
    names = list(dict.fromkeys(name for each in spreads for name in each))
    return [name for name in names if name not in last] + [name for name in names if name in last]


def over_settings(found: list[Measurement], name: str, suffix: str = "") -> str:
    """One figure for all settings: their middle, the lowest and the highest in brackets."""
    medians = [each.ratios[name].median for each in found if name in each.ratios]
    if not medians:
        return NOT_MEASURED
    return ratio_text(name, Spread(statistics.median(medians), min(medians), max(medians))) + suffix


def worst_error(found: list[Measurement]) -> str:
    measured = [each for each in found if each.error is not None]
    return error_text(max(measured, key=lambda each: each.error)) if measured else NOT_MEASURED


def summary_row(name: str, found: list[Measurement], possible: set[str]) -> list[str]:
    """`possible` are the ratios that this operation has on some device."""
    ceiling = next((name for name in PERCENT if name in possible and any(name in each.ratios for each in found)), None)
    lost = not ceiling and any(name in possible for name in PERCENT)
    rows = [time.median for each in found if (time := row_time(each))]
    return [name, found[0].op,
            over_settings(found, "speed_over_dense") if "speed_over_dense" in possible else NO_SUCH,
            worst_error(found),
            over_settings(found, ceiling, ceiling_suffix(ceiling)) if ceiling else NOT_MEASURED if lost else NO_SUCH,
            time_text(Spread(statistics.median(rows), min(rows), max(rows))) if rows else NO_SUCH, str(len(found))]


def ceiling_suffix(name: str) -> str:
    return " of read" if name == "fraction_of_read" else " of copy"


def summary(found: list[Measurement]) -> Table:
    possible = {op: {name for each in found if each.op == op for name in each.ratios} for op in ops(found)}
    rows = []
    for series, name in series_names(found).items():
        for op in ops(found):
            chosen = [each for each in found if each.series == series and each.op == op]
            if chosen:
                rows.append(summary_row(name, chosen, possible[op]))
    return Table("Summary", "The middle of all settings, the lowest and the highest in brackets; the largest error. "
                 "A ceiling is the fastest plain pass over memory that the same run saw on the same device and "
                 "threads.",
                 ["device", "operation", "speed-up over dense", "error", "of ceiling", "time per row", "settings"],
                 rows, ("time per row",))


def rate_text(found: Measurement) -> str:
    """Bytes per nanosecond are GB/s."""
    time = found.times[found.op]
    if not time.low:
        return NOT_MEASURED
    rates = [short(found.bytes_moved / part) for part in (time.median, time.high, time.low)]
    return f"{rates[0]} GB/s ({rates[1]}–{rates[2]})"


def ceilings(found: list[Measurement]) -> Table | None:
    """What this memory gives to whoever only reads it, or only copies."""
    names = series_names(found)
    rows = [[names[each.series], each.op, rate_text(each), each.shape, each.kernel]
            for each in found if each.is_ceiling]
    return Table("Memory", "Plain passes over buffers larger than the caches; a copy counts what it reads and what it "
                 "writes. " + SHORT_RULE, ["device", "pass", "rate", "size", "by"], rows, ("device",)) if rows else None


def extra_columns(found: list[Measurement], chosen: list[Measurement], op: str) -> tuple[list[str], list]:
    """Headings, and what makes their cells, of what only some operations have."""
    columns = []
    if has_peers(found, op):
        columns.append((OVER_PEER, lambda each: over_peer_text(each, found)))
    columns.append(("error", error_text))
    if op == "amortized":
        columns.append(("even after, tokens", break_even_text))
    if any(each.bytes_of_dense for each in chosen):
        columns += [("bytes of dense", bytes_text), ("byte limit", limit_text)]
    return [heading for heading, _ in columns], [text for _, text in columns]


def op_table(found: list[Measurement], op: str) -> Table:
    """Every measurement of one operation."""
    names, chosen = series_names(found), [each for each in found if each.op == op]
    ratios = names_of([each.ratios for each in chosen])
    times = names_of([each.times for each in chosen], CEILINGS)
    extra, extra_texts = extra_columns(found, chosen, op)
    headings = ["device", "shape", "type", "kept", *map(ratio_name, ratios), *extra, *map(time_name, times), "kernel"]
    rows = [[names[each.series], each.shape, each.dtype, kept_text(each),
             *(ratio_text(name, each.ratios.get(name)) for name in ratios), *(text(each) for text in extra_texts),
             *(time_text(each.times.get(name)) for name in times), each.kernel]
            for each in chosen]
    return Table(op, SHORT_RULE + (PEER_RULE if OVER_PEER in extra else ""), headings, rows,
                 tuple(map(time_name, times)) if ratios else tuple(headings))


def op_tables(found: list[Measurement]) -> list[Table]:
    return [op_table(found, op) for op in ops(found)]


def leading(found: Measurement, ratio: str | None, errors: bool) -> str:
    """The one figure of a measurement, with its error."""
    if ratio:
        speed = ratio_text(ratio, found.ratios[ratio]) + (ceiling_suffix(ratio) if ratio in PERCENT else "")
    else:
        speed = time_text(found.times.get(found.own_time or next(iter(found.times))))
    return f"{speed}; error {error_text(found)}" if errors else speed


def shared_ratio(found: list[Measurement]) -> str | None:
    """The first ratio that all of them have: a row must not mix ratios with times."""
    return next((name for name in found[0].ratios if all(name in each.ratios for each in found)), None)


def side_row(by: dict[tuple, Measurement], columns: list[tuple], errors: bool) -> list[str]:
    found = list(by.values())
    ratio = shared_ratio(found)
    return [setting_text(found[0]),
            *(leading(by[series], ratio, errors) if series in by else NOT_MEASURED for series in columns)]


def side_table(found: list[Measurement], op: str, names: dict[tuple, str]) -> Table | None:
    """Settings of one operation that several devices ran, a device a column; None where no two share one."""
    settings = {}
    for each in found:
        if each.op == op:
            settings.setdefault(each.setting, {})[each.series] = each
    shared = [by for by in settings.values() if len(by) > 1]
    if not shared:
        return None
    columns = [series for series in names if any(series in by for by in shared)]
    errors = any(each.error is not None for by in shared for each in by.values())
    note = SIDE_RULE if errors else SIDE_RULE + " Errors: not measured."
    timed = any(shared_ratio(list(by.values())) is None for by in shared)
    return Table(f"{op}, side by side", note, ["setting", *(names[series] for series in columns)],
                 [side_row(by, columns, errors) for by in shared], ("setting",) if timed else ())


def side_by_side(found: list[Measurement]) -> list[Table]:
    names = series_names(found)
    return [table for op in ops(found) if (table := side_table(found, op, names))]


def skipped_rows(source: Source) -> list[list[str]]:
    """Cases that share outcome and reason share a row, where each is still named."""
    groups: dict[tuple[str, str], list[Skipped]] = {}
    for each in source.skipped:
        groups.setdefault((each.outcome, each.why), []).append(each)
    return [[source.name, outcome, str(len(group)), "; ".join(dict.fromkeys(each.what for each in group)), why]
            for (outcome, why), group in groups.items()]


def skipped(sources: list[Source]) -> Table | None:
    rows = [row for source in sources for row in skipped_rows(source)]
    return Table("Skipped", "What was not measured, and why.", ["file", "outcome", "cases", "what", "why"],
                 rows) if rows else None


def files(sources: list[Source]) -> Table:
    rows = [[source.name, source.machine, source.device, source.driver, source.revision,
             source.command or NOT_RECORDED, source.host or NOT_RECORDED, source.started or NOT_RECORDED,
             str(len(source.measurements)), str(len(source.skipped))] for source in sources]
    return Table("Files", "What made each file.",
                 ["file", "machine", "device", "driver", "revision", "command", "host", "started", "measured",
                  "not measured"], rows)


def all_tables(sources: list[Source], ratios_only: bool = False) -> list[Table]:
    found = measurements(sources)
    tables = [summary(found), ceilings(found), *side_by_side(found), *op_tables(found), skipped(sources),
              files(sources)]
    if ratios_only:
        tables = [without_times(table) for table in tables]
    return [table for table in tables if table]
