# SPDX-License-Identifier: Apache-2.0
"""Plots as inline SVG. Devices differ by marker as well as by colour."""

import math
from dataclasses import dataclass
from html import escape

from .results import Measurement, Spread
from .tables import kept_text, ratio_text

WIDTH, HEIGHT = 360, 270
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 14, 42
COLOURS = 8


@dataclass(frozen=True)
class Point:
    x: float
    spread: Spread
    label: str


@dataclass(frozen=True)
class Plot:
    title: str
    x_label: str
    x_unit: str
    lines: dict[tuple, list[Point]]
    limit: bool = False
    joined: bool = True


@dataclass(frozen=True)
class Scale:
    """Logarithmic, from data to the picture."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        span = math.log(self.high) - math.log(self.low)
        return self.start + (self.end - self.start) * (math.log(value) - math.log(self.low)) / span


def marker(number: int, x: float, y: float, extra: str = "") -> str:
    """Eight shapes, then the same hollow."""
    size = 4.5
    outlines = ((-1, -1, 1, -1, 1, 1, -1, 1), (0, -1.2, 1.15, 0.9, -1.15, 0.9), (0, -1.3, 1.3, 0, 0, 1.3, -1.3, 0),
                (0, 1.2, 1.15, -0.9, -1.15, -0.9),
                (-.45, -1.2, .45, -1.2, .45, -.45, 1.2, -.45, 1.2, .45, .45, .45, .45, 1.2, -.45, 1.2, -.45, .45,
                 -1.2, .45, -1.2, -.45, -.45, -.45),
                (0, -1.25, 1.2, -.4, .75, 1.05, -.75, 1.05, -1.2, -.4), (-1.3, -.6, 1.3, -.6, 1.3, .6, -1.3, .6))
    style = f"s{number % COLOURS}{' hollow' if number // COLOURS % 2 else ''}"
    if number % COLOURS == 0:
        return f'<circle class="mark {style}" cx="{x:.1f}" cy="{y:.1f}" r="{size}">{extra}</circle>'
    outline = outlines[number % COLOURS - 1]
    points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in zip(outline[::2], outline[1::2]))
    return f'<polygon class="mark {style}" points="{points}">{extra}</polygon>'


def text(x: float, y: float, content: str, anchor: str = "middle", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(content)}</text>'


def line(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def y_ticks(low: float, high: float) -> list[float]:
    steps = [mantissa * 10.0 ** power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
             for mantissa in (1, 2, 5)]
    ticks = [step for step in steps if low <= step <= high]
    if len(ticks) < 3:
        ticks = sorted({1.0, *(round(low * (high / low) ** (i / 4), 2) for i in range(5))})
    return [tick for tick in ticks if low <= tick <= high and (tick == 1 or abs(math.log(tick)) > 0.06)]


def thinned(ticks: list[float], scale: Scale, room: float) -> list[float]:
    """Leaves out labels that would touch."""
    kept = []
    for tick in ticks:
        if not kept or abs(scale.at(tick) - scale.at(kept[-1])) >= room:
            kept.append(tick)
    return kept


def tick_text(value: float, unit: str) -> str:
    if unit == "tokens":
        return f"{value / 1024:g}k" if value >= 1024 and value % 1024 == 0 else f"{value:g}"
    return f"{100 * value:.0f} %"


def scales(plot: Plot) -> tuple[Scale, Scale]:
    """Always shows 1, where the speed is that of dense, and the end of the byte limit."""
    points = [point for points in plot.lines.values() for point in points]
    xs = [point.x for point in points] + ([1.0] if plot.limit else [])
    ys = [value for point in points for value in (point.spread.low, point.spread.high) if value > 0] + [1.0]
    ys += [1 / point.x for point in points] if plot.limit else []
    ys += [point.spread.median for point in points]
    x_room, y_room = 1.15, 1.12
    x = Scale(min(xs) / x_room, max(xs) * x_room, LEFT, WIDTH - RIGHT)
    return x, Scale(min(ys) / y_room, max(ys) * y_room, HEIGHT - BOTTOM, TOP)


def axes(plot: Plot, x: Scale, y: Scale) -> list[str]:
    parts = []
    for tick in thinned(y_ticks(y.low, y.high), y, 16):
        parts.append(line("one" if tick == 1 else "grid", LEFT, y.at(tick), WIDTH - RIGHT, y.at(tick)))
        parts.append(text(LEFT - 6, y.at(tick) + 4, f"{tick:g}×", "end"))
    ticks = sorted({point.x for points in plot.lines.values() for point in points} | ({1.0} if plot.limit else set()))
    for tick in thinned(ticks, x, 40):
        parts.append(line("grid", x.at(tick), TOP, x.at(tick), HEIGHT - BOTTOM))
        parts.append(text(x.at(tick), HEIGHT - BOTTOM + 16, tick_text(tick, plot.x_unit)))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, plot.x_label, extra=' class="label"'))
    return parts


def byte_limit(x: Scale, y: Scale) -> list[str]:
    """Memory-bound attention gains at most what it need not read."""
    low = max(x.low, 1 / y.high)
    label_x = low * (1 / low) ** 0.45
    return [line("limit", x.at(low), y.at(1 / low), x.at(1), y.at(1)),
            text(x.at(label_x) + 6, y.at(1 / label_x) - 6, "byte limit", "start")]


def draw_points(number: int, points: list[Point], x: Scale, y: Scale, joined: bool) -> list[str]:
    points = sorted(points, key=lambda point: point.x)
    parts = []
    if joined:
        path = " ".join(f"{x.at(point.x):.1f},{y.at(point.spread.median):.1f}" for point in points)
        parts.append(f'<polyline class="line s{number % COLOURS}" points="{path}"/>')
    for point in points:
        low = max(point.spread.low, y.low)
        parts.append(line(f"whisker s{number % COLOURS}", x.at(point.x), y.at(low), x.at(point.x),
                          y.at(point.spread.high)))
        parts.append(marker(number, x.at(point.x), y.at(point.spread.median),
                            f"<title>{escape(point.label)}</title>"))
    return parts


def describe(plot: Plot, names: dict[tuple, str]) -> str:
    said = []
    for series, points in plot.lines.items():
        ordered = sorted(points, key=lambda point: point.x)
        values = ", ".join(f"{tick_text(point.x, plot.x_unit)}: {ratio_text('', point.spread)}" for point in ordered)
        said.append(f"{names[series]}: {values}.")
    return f"Speed-up over dense against {plot.x_label}. " + " ".join(said)


def draw(plot: Plot, names: dict[tuple, str], numbers: dict[tuple, int], identity: str) -> str:
    x, y = scales(plot)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{identity}-t {identity}-d">',
             f'<title id="{identity}-t">{escape(plot.title)}</title>',
             f'<desc id="{identity}-d">{escape(describe(plot, names))}</desc>', *axes(plot, x, y)]
    if plot.limit:
        parts += byte_limit(x, y)
    for series, points in plot.lines.items():
        parts += draw_points(numbers[series], points, x, y, plot.joined)
    return "\n".join([*parts, "</svg>"])


def point_of(found: Measurement, x: float) -> Point:
    spread = found.ratios["speed_over_dense"]
    return Point(x, spread, f"{found.shape}, {found.dtype}, {kept_text(found)} kept: {ratio_text('', spread)}")


def speeds(found: list[Measurement]) -> list[Measurement]:
    return [each for each in found if "speed_over_dense" in each.ratios]


def roofline(found: list[Measurement]) -> Plot | None:
    lines = {}
    for each in speeds(found):
        if each.bytes_of_dense:
            lines.setdefault(each.series, []).append(point_of(each, each.bytes_of_dense))
    return Plot("Speed-up and the byte limit", "compressed bytes of dense", "part", lines, True,
                False) if lines else None


def heads_text(found: Measurement) -> str:
    return f"{found.n_seqs} × {found.n_q_heads}/{found.n_kv_heads} heads of {found.head_dim}"


def sweep(found: list[Measurement], fixed, along, title, x_label: str, x_unit: str) -> list[Plot]:
    """A plot for each group that agrees in `fixed` and has a line of several points along `along`."""
    groups = {}
    for each in speeds(found):
        groups.setdefault((each.op, *fixed(each)), []).append(each)
    plots = []
    for group in groups.values():
        lines = {}
        for each in group:
            lines.setdefault(each.series, {})[along(each)] = point_of(each, along(each))
        if max(map(len, lines.values())) > 1:
            plots.append(Plot(title(group[0]), x_label, x_unit,
                              {series: list(points.values()) for series, points in lines.items()}))
    return plots


def length_sweeps(found: list[Measurement]) -> list[Plot]:
    return sweep(found, lambda each: (each.n_seqs, each.n_q_heads, each.n_kv_heads, each.head_dim, each.kept,
                                      each.dtype),
                 lambda each: each.n_tokens,
                 lambda each: f"{heads_text(each)}, {each.dtype}, {kept_text(each)} kept", "context, tokens", "tokens")


def sparsity_sweeps(found: list[Measurement]) -> list[Plot]:
    return sweep(found, lambda each: (*each.dimensions, each.dtype), lambda each: each.kept / each.head_dim,
                 lambda each: f"{heads_text(each)}, {each.n_tokens} tokens, {each.dtype}", "channels kept", "part")
