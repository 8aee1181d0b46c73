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
STEP = 7


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


def y_ticks(scale: Scale) -> list[float]:
    """1, and round numbers away from it as far apart as their labels need."""
    steps = [mantissa * 10.0 ** power for power in range(-9, 10) for mantissa in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)]
    up = thinned([step for step in steps if 1 <= step <= scale.high], scale, 24)
    down = thinned([1.0] + [step for step in reversed(steps) if scale.low <= step < 1], scale, 24)
    return up + down[1:]


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
    for tick in y_ticks(y):
        parts.append(line("one" if tick == 1 else "grid", LEFT, y.at(tick), WIDTH - RIGHT, y.at(tick)))
        parts.append(text(LEFT - 6, y.at(tick) + 4, f"{tick:g}×", "end"))
    ticks = sorted({point.x for points in plot.lines.values() for point in points} | ({1.0} if plot.limit else set()))
    for tick in thinned(ticks, x, 40):
        parts.append(line("grid", x.at(tick), TOP, x.at(tick), HEIGHT - BOTTOM))
        parts.append(text(x.at(tick), HEIGHT - BOTTOM + 16, tick_text(tick, plot.x_unit)))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, plot.x_label, extra=' class="label"'))
    return parts


def byte_limit(plot: Plot, x: Scale, y: Scale) -> list[str]:
    """Memory-bound attention gains at most what it need not read. Each group of devices has its own piece of it."""
    low = max(x.low, 1 / y.high)
    label_x = low * (1 / low) ** 0.4
    half = min(STEP * len(plot.lines), 56) / 2 + 3
    bars = [line("limit bar", x.at(each) - half, y.at(1 / each), x.at(each) + half, y.at(1 / each))
            for each in sorted({point.x for points in plot.lines.values() for point in points})]
    return [line("limit", x.at(low), y.at(1 / low), x.at(1), y.at(1)), *bars,
            text(x.at(label_x) + 8, y.at(1 / label_x) - 8, "byte limit", "start")]


def draw_point(number: int, point: Point, across: float, y: Scale) -> list[str]:
    style = f"whisker s{number % COLOURS}"
    return [line(style, across, y.at(max(point.spread.low, y.low)), across, y.at(point.spread.high)),
            marker(number, across, y.at(point.spread.median), f"<title>{escape(point.label)}</title>")]


def draw_line(number: int, points: list[Point], x: Scale, y: Scale) -> list[str]:
    points = sorted(points, key=lambda point: point.x)
    path = " ".join(f"{x.at(point.x):.1f},{y.at(point.spread.median):.1f}" for point in points)
    return [f'<polyline class="line s{number % COLOURS}" points="{path}"/>',
            *(part for point in points for part in draw_point(number, point, x.at(point.x), y))]


def draw_group(place: int, of: int, number: int, points: list[Point], x: Scale, y: Scale) -> list[str]:
    """Devices that share an x stand beside each other around it, or one would hide the other."""
    step = min(STEP, 56 / of)
    return [part for point in points
            for part in draw_point(number, point, x.at(point.x) + step * (place - (of - 1) / 2), y)]


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
        parts += byte_limit(plot, x, y)
    for place, (series, points) in enumerate(plot.lines.items()):
        parts += draw_group(place, len(plot.lines), numbers[series], points, x, y) if plot.limit else draw_line(
            numbers[series], points, x, y)
    return "\n".join([*parts, "</svg>"])


def point_of(found: Measurement, x: float) -> Point:
    spread = found.ratios["speed_over_dense"]
    return Point(x, spread, f"{found.shape}, {found.dtype}, {kept_text(found)} kept: {ratio_text('', spread)}")


def speeds(found: list[Measurement]) -> list[Measurement]:
    """An amortized row says once more what the row of its attention says."""
    return [each for each in found if "speed_over_dense" in each.ratios and each.op != "amortized"]


def roofline(found: list[Measurement]) -> Plot | None:
    lines = {}
    for each in speeds(found):
        if each.bytes_of_dense:
            lines.setdefault(each.series, []).append(point_of(each, each.bytes_of_dense))
    return Plot("Speed-up and the byte limit", "compressed bytes of dense", "part", lines, True) if lines else None


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
