# SPDX-License-Identifier: Apache-2.0
"""One HTML page that needs neither network nor scripts."""

from html import escape
from pathlib import Path

from . import plots, tables
from .results import Measurement, Source, measurements
from .tables import Table

WRAPPING = ("kernel", "command", "why", "what", "driver", "machine", "by", "host", tables.OVER_PEER)


def style() -> str:
    return (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def mark(number: int) -> str:
    return f'<svg class="key" viewBox="0 0 14 14" aria-hidden="true">{plots.marker(number, 7, 7)}</svg>'


class Marks:
    """Puts the marker of its device before a device's name."""

    def __init__(self, found: list[Measurement]):
        self.names = tables.series_names(found)
        self.numbers = {series: i for i, series in enumerate(self.names)}
        self.of_name = {name: self.numbers[series] for series, name in self.names.items()}

    def html(self, cell: str) -> str:
        return mark(self.of_name[cell]) + escape(cell) if cell in self.of_name else escape(cell)


def cell_html(tag: str, heading: str, cell: str, marks: Marks, extra: str = "") -> str:
    content = marks.html(cell) if heading == "device" else escape(cell)
    wraps = "" if heading in WRAPPING or heading == "device" or heading in marks.of_name else " nowrap"
    quiet = " quiet" if cell in (tables.NOT_MEASURED, tables.NOT_RECORDED) else ""
    none = " none" if cell == tables.NO_SUCH else ""
    return f'<{tag}{extra} class="{(wraps + quiet + none).strip()}" data-label="{escape(heading)}">{content}</{tag}>'


def row_html(table: Table, row: list[str], marks: Marks) -> str:
    first, *rest = zip(table.headings, row)
    cells = [cell_html("th", *first, marks, ' scope="row"'), *(cell_html("td", *each, marks) for each in rest)]
    return f"<tr>{''.join(cells)}</tr>"


def table_html(table: Table, marks: Marks, kind: str) -> str:
    """Cards on a phone where kind is "cards"; otherwise it scrolls sideways inside its frame."""
    heads = "".join(f'<th scope="col">{marks.html(heading)}</th>' for heading in table.headings)
    rows = "\n".join(row_html(table, row, marks) for row in table.rows)
    return (f'<div class="frame" role="region" aria-label="{escape(table.title)}" tabindex="0">'
            f'<table class="{kind}"><thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody></table></div>')


def section(title: str, note: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n<p>{escape(note)}</p>\n{content}</section>"


def table_section(table: Table | None, marks: Marks, kind: str = "cards") -> str:
    return section(table.title, table.note, table_html(table, marks, kind)) if table else ""


def folded(table: Table, marks: Marks, kind: str, unit: str, opened: bool = False) -> str:
    count = f"{len(table.rows)} {unit}{'' if len(table.rows) == 1 else 's'}"
    return (f"<details{' open' if opened else ''}><summary>{escape(table.title)} <small>{count}</small></summary>\n"
            f"{table_html(table, marks, kind)}</details>")


def shown(several: list[Table], ratios_only: bool) -> list[Table]:
    return [table for table in map(tables.without_times, several) if table] if ratios_only else several


def side_section(found: list[Measurement], marks: Marks, ratios_only: bool) -> str:
    sides = shown(tables.side_by_side(found), ratios_only)
    parts = "\n".join(folded(table, marks, "cards", "setting", table is sides[0]) for table in sides)
    return section("Side by side", sides[0].note, parts) if sides else ""


def measurements_section(found: list[Measurement], marks: Marks, ratios_only: bool) -> str:
    several = shown(tables.op_tables(found), ratios_only)
    parts = "\n".join(folded(table, marks, "wide", "measurement") for table in several)
    order = "Ratios only. " if ratios_only else "Ratios first, times second. "
    return section("All measurements", order + tables.SHORT_RULE, parts) if several else ""


def legend(marks: Marks, drawn: list[plots.Plot]) -> str:
    shown = [series for series in marks.names if any(series in plot.lines for plot in drawn)]
    items = "".join(f"<li>{mark(marks.numbers[each])}{escape(marks.names[each])}</li>" for each in shown)
    return f'<ul class="legend">{items}</ul>'


def plots_section(title: str, note: str, drawn: list[plots.Plot], marks: Marks, identity: str) -> str:
    if not drawn:
        return ""
    figures = "\n".join(f"<figure><figcaption>{escape(plot.title)}</figcaption>"
                        f"{plots.draw(plot, marks.names, marks.numbers, f'{identity}{i}')}</figure>"
                        for i, plot in enumerate(drawn))
    lone = " lone" if len(drawn) == 1 else ""
    return section(title, note, f'{legend(marks, drawn)}<div class="plots{lone}">{figures}</div>')


def all_plots(found: list[Measurement], marks: Marks) -> str:
    roofline = plots.roofline(found)
    whiskers = "Whiskers are quartiles."
    return "\n".join([
        plots_section("Speed-up against bytes", "Attention that waits for memory gains at most what it need not read, "
                      "which is the dashed line; a point above it means that dense attention waits for more than "
                      "memory. Devices stand beside each other around their place; the short bar is their limit. "
                      + whiskers,
                      [roofline] if roofline else [], marks, "bytes"),
        plots_section("Context length", "Speed-up over dense as the context grows. " + whiskers,
                      plots.length_sweeps(found), marks, "length"),
        plots_section("Sparsity", "Speed-up over dense as fewer channels are kept. " + whiskers,
                      plots.sparsity_sweeps(found), marks, "kept")])


def heading(sources: list[Source]) -> str:
    measured = [source for source in sources if source.measurements] or sources
    machines = list(dict.fromkeys(source.machine for source in measured))
    revisions = list(dict.fromkeys(source.revision for source in sources))
    return (f"<header><h1>skv bench</h1><p>{escape(', '.join(machines) or 'no files')}; "
            f"revision {escape(', '.join(revisions) or 'unknown')}</p></header>")


def html_report(sources: list[Source], ratios_only: bool = False) -> str:
    found = measurements(sources)
    marks = Marks(found)
    first = shown([table for table in (tables.summary(found), tables.ceilings(found)) if table], ratios_only)
    body = [heading(sources), *(table_section(table, marks) for table in first), all_plots(found, marks),
            side_section(found, marks, ratios_only), measurements_section(found, marks, ratios_only),
            table_section(tables.skipped(sources), marks), table_section(tables.files(sources), marks)]
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark"><title>skv bench</title>\n'
            f"<style>\n{style()}</style></head>\n<body><main>\n" + "\n".join(body) + "\n</main></body></html>\n")
