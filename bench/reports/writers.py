# SPDX-License-Identifier: Apache-2.0
"""Markdown and CSV."""

import csv
import io
import re

from .results import CEILINGS, Measurement, Skipped, Source, Spread, measurements
from .tables import Table, all_tables, names_of

IDENTITY = ("machine", "device", "op", "variant", "kernel", "shape", "n_seqs", "n_q_heads", "n_kv_heads", "head_dim",
            "n_tokens", "kept", "dtype", "threads")
FIGURES = ("bytes_of_dense", "byte_limit", "bytes_moved", "break_even_tokens", "error")


def markdown_cell(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#~&$!])", r"\\\1", text)


def markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(map(markdown_cell, cells))} |"


def markdown_table(table: Table) -> str:
    rows = [markdown_row(table.headings), "|" + "---|" * len(table.headings), *map(markdown_row, table.rows)]
    return "\n".join([f"## {markdown_cell(table.title)}", "", table.note, "", *rows])


def markdown(sources: list[Source], ratios_only: bool = False) -> str:
    return "\n\n".join(["# skv bench", *map(markdown_table, all_tables(sources, ratios_only))]) + "\n"


def csv_text(text: str) -> str:
    """Spreadsheets run a cell that starts like a formula."""
    return "'" + text if text[:1] in ("=", "+", "-", "@") else text


def spread_cells(spread: Spread | None) -> list[object]:
    return [spread.median, spread.low, spread.high] if spread else ["", "", ""]


def csv_row(source: Source, found: Measurement, ratios: list[str], times: list[str]) -> list[object]:
    cells = [source.name, source.revision, source.driver, "measured", "", "",
             *(getattr(found, name) for name in IDENTITY), *(getattr(found, name) for name in FIGURES)]
    for name in ratios:
        cells += spread_cells(found.ratios.get(name))
    for name in times:
        cells += spread_cells(found.times.get(name))
    return [csv_text(cell) if isinstance(cell, str) else cell for cell in cells]


def skipped_row(source: Source, skipped: Skipped) -> list[object]:
    cells = [source.name, source.revision, source.driver, skipped.outcome, skipped.what, skipped.why, source.machine,
             *(skipped.fields.get(name, "") for name in IDENTITY[1:])]
    return [csv_text(cell) if isinstance(cell, str) else cell for cell in cells]


def csv_report(sources: list[Source]) -> str:
    """One line a measurement, then one for each case without; an empty cell is what was not measured."""
    found = measurements(sources)
    ratios = names_of([each.ratios for each in found])
    times = names_of([each.times for each in found], CEILINGS)
    headings = ["file", "revision", "driver", "outcome", "what", "why", *IDENTITY, *FIGURES]
    headings += [f"{name}_{part}" for name in ratios for part in ("median", "lower_quartile", "upper_quartile")]
    headings += [f"{name}_{part}_ns" for name in times for part in ("median", "lower_quartile", "upper_quartile")]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(csv_text, headings))
    writer.writerows(csv_row(source, each, ratios, times) for source in sources for each in source.measurements)
    for source in sources:
        writer.writerows(row + [""] * (len(headings) - len(row))
                         for row in (skipped_row(source, each) for each in source.skipped))
    return out.getvalue()
