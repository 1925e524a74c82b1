"""The picture of a comparison: the metric against parameters, and against time."""

from __future__ import annotations

import io
import math
import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnsearch.comparison import Comparison, Row, write_whole
from rnnsearch.errors import StoreError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# matplotlib takes a second to import, so the functions that need it do it. No `pyplot`: its global
# state would clash with that of a notebook or a thread that plots too.

FORMATS = ("png", "svg", "pdf")

# Okabe and Ito, "Color universal design" (2008), without its yellow, which is faint on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "text.parse_math": False,  # A `$` in a name is a dollar.
    "svg.hashsalt": "rnnsearch",  # The same comparison gives the same file.
}
_WIDTH_IN = 12.0
_NAME_LENGTH = 28
_FOOTER_LINES = 12


@dataclass(frozen=True)
class _Point:
    """A row in a panel.

    Attributes:
        row: what is drawn.
        x: where it belongs, in the units of the axis.
        colour: of everything that is drawn of it.
        marker: matplotlib's name of the shape at its mean.
    """

    row: Row
    x: float
    colour: str
    marker: str


@dataclass(frozen=True)
class _Box:
    """A rectangle on the canvas, in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: _Box) -> float:
        """Area shared with another box, in square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.top - self.bottom)


def plot_comparison(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Draw the ranked rows of a comparison: mean, 95 % interval and every seed.

    The left panel has the parameters on its axis: close up around the budget, with the band that
    meets it, and in a strip of its own what is far from the budget. The right panel has the time
    of one update. Rows that would cover each other are moved sideways, and ticks at the bottom
    then mark where they belong.

    Args:
        comparison: with or without ranked rows.
        path: file to write, ending in `.png`, `.svg` or `.pdf`; replaced as a whole.

    Raises:
        StoreError: the file cannot be written, or its ending is none of these.
    """
    kind = Path(path).suffix.lstrip(".").lower()
    if kind not in FORMATS:
        endings = ", ".join(f".{ending}" for ending in FORMATS)
        msg = f"cannot draw {path}: expected a file name that ends in one of {endings}"
        raise StoreError(msg)
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context(_STYLE):
        figure = _draw(comparison)
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        figure.savefig(content, format=kind, dpi=150, metadata=undated)
    write_whole(path, content.getvalue())


def _draw(comparison: Comparison) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = comparison.ranked
    title = textwrap.wrap(comparison.headline, 150)
    near, far, timed = _panels(comparison)
    footer = _footer(comparison, len(timed) < len(rows))
    top_in, bottom_in = 0.62 + 0.17 * len(title), 0.72 + 0.15 * len(footer)
    height_in = top_in + 4.3 + bottom_in
    figure = Figure(figsize=(_WIDTH_IN, height_in), facecolor="white")
    FigureCanvasAgg(figure)
    left = 0.065
    figure.text(
        left,
        1 - 0.3 / height_in,
        f"{comparison.study}: test {comparison.metric} at a budget of "
        f"{comparison.budget_parameters:,} parameters",
        fontsize=13,
        fontweight="bold",
        va="center",
    )
    figure.text(left, 1 - 0.5 / height_in, "\n".join(title), va="top", color="#333333")
    figure.text(
        left, 0.12 / height_in, "\n".join(footer), fontsize=7.5, va="bottom", color="#555555"
    )
    grid = figure.add_gridspec(
        1,
        2,
        left=left,
        right=0.985,
        top=1 - top_in / height_in,
        bottom=bottom_in / height_in,
        wspace=0.07,
        width_ratios=[1.3 if near and far else 1, 1],
    )
    if not rows:
        axes = figure.add_subplot(grid[:])
        axes.set_axis_off()
        axes.text(0.5, 0.5, "nothing is confirmed yet", ha="center", va="center", fontsize=12)
        return figure
    panels: list[tuple[Axes, list[_Point]]] = []
    parts = grid[0].subgridspec(1, 2, width_ratios=[3, 1], wspace=0.04) if near and far else grid
    first: Axes | None = None
    if near:
        first = figure.add_subplot(parts[0])
        _budget_axis(first, comparison, near)
        panels.append((first, near))
    if far:
        axes = figure.add_subplot(parts[1] if near else parts[0], sharey=first)
        _far_axis(axes, comparison, far)
        panels.append((axes, far))
    axes = figure.add_subplot(grid[1], sharey=panels[0][0])
    _time_axis(axes, timed)
    panels.append((axes, timed))
    low, high, skill = _metric_range(comparison)
    better = "higher" if comparison.direction == "maximize" else "lower"
    panels[0][0].set_ylabel(f"test {comparison.metric} ({better} is better)")
    for number, (axes, points) in enumerate(panels):
        axes.set_ylim(low, high)
        if number:
            axes.tick_params(labelleft=False)
        if skill:
            axes.axhline(comparison.no_skill, color="#888888", linestyle=(0, (4, 3)), zorder=1)
        _draw_points(axes, points)
    if skill:
        panels[0][0].annotate(
            "no skill",
            (0.006, comparison.no_skill),
            (0, 2),
            xycoords=panels[0][0].get_yaxis_transform(),
            textcoords="offset points",
            color="#666666",
            fontsize=8,
        )
    return figure


# What goes where


def _panels(comparison: Comparison) -> tuple[list[_Point], list[_Point], list[_Point]]:
    """Points near the budget, far from it, and with a time."""
    budget, tolerance = comparison.budget_parameters, comparison.budget_tolerance
    near, far, timed = [], [], []
    for index, row in enumerate(comparison.ranked):
        look = _COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)]
        if row.parameters is not None:
            point = _Point(row, row.parameters, *look)
            close = abs(row.parameters / budget - 1) <= max(3 * tolerance, 0.05)
            (near if close else far).append(point)
        if row.step_ms is not None and row.step_ms > 0:
            timed.append(_Point(row, row.step_ms, *look))
    return near, far, timed


def _metric_range(comparison: Comparison) -> tuple[float, float, bool]:
    """Ends of the metric's axis, and whether the no-skill line is on it."""
    rows = comparison.ranked
    seeds = [value for row in rows for value in row.values]
    low, high = min(seeds), max(seeds)
    span = high - low or 0.1 * abs(high) or 1.0
    # The interval of two seeds may be many times their distance: it may run off the axis.
    ends = [end for row in rows for end in (row.low, row.high) if end is not None]
    low = max(min([low, *ends]), low - 0.75 * span)
    high = min(max([high, *ends]), high + 0.75 * span)
    skill, span = comparison.no_skill, high - low or span
    shown = math.isfinite(skill) and low - 0.35 * span <= skill <= high + 0.35 * span
    if shown:
        low, high = min(low, skill), max(high, skill)
    margin = 0.07 * (high - low or span)
    return low - margin, high + margin, shown


def _footer(comparison: Comparison, untimed: bool) -> list[str]:
    source = comparison.source
    sizes = ", ".join(f"{count:,} {split}" for split, count in source.sizes.items())
    notes = [
        "Large marks: means with 95 % t-intervals; small dots: seeds; hollow: not held to the "
        "budget. Rows that would cover each other are moved sideways; ticks at the bottom mark "
        "where they belong.",
        f"{source.dataset} ({sizes or 'sizes unknown'}) from {source.origin}.",
        *comparison.caveats,
    ]
    if untimed:
        notes.append("Rows without a measured time are missing on the right.")
    if comparison.unranked:
        left_out = "; ".join(f"{row.name} ({row.reason})" for row in comparison.unranked)
        notes.append(f"Not ranked: {left_out}.")
    lines = [line for note in notes for line in textwrap.wrap(note, 190)]
    if len(lines) > _FOOTER_LINES:
        lines = [*lines[: _FOOTER_LINES - 1], "More caveats stand in the table."]
    return lines


# Axes


def _budget_axis(axes: Axes, comparison: Comparison, points: Sequence[_Point]) -> None:
    """A linear axis close up around the budget, with the band that meets it."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    budget, tolerance = comparison.budget_parameters, comparison.budget_tolerance
    reach = max([1.35 * tolerance * budget, *(1.25 * abs(p.x - budget) for p in points), 1.5])
    axes.set_xlim(budget - reach, budget + reach)
    band = f"{100 * tolerance:g} %"
    axes.axvspan(
        budget * (1 - tolerance), budget * (1 + tolerance), color="#f1f1ea", linewidth=0, zorder=0
    )
    axes.axvline(budget, color="#999999", linewidth=0.9, zorder=1)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.set_xlabel(f"parameters (line: the budget of {budget:,}; band: within {band} of it)")


def _far_axis(axes: Axes, comparison: Comparison, points: Sequence[_Point]) -> None:
    """An axis for what is far from the budget."""
    from matplotlib.ticker import FixedLocator, NullLocator

    _free_axis(axes, [point.x for point in points])
    if len(counts := {point.x for point in points}) < 3:
        axes.xaxis.set_major_locator(FixedLocator(sorted(counts)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("far from it")


def _time_axis(axes: Axes, points: Sequence[_Point]) -> None:
    logarithmic = _free_axis(axes, [point.x for point in points])
    axes.set_xlabel("time per update (ms" + (", logarithmic)" if logarithmic else ")"))


def _free_axis(axes: Axes, xs: Sequence[float]) -> bool:
    """Set an axis up for positive values, logarithmic where they spread wide; say whether."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = (min(xs), max(xs)) if xs else (0.0, 1.0)
    logarithmic = bool(xs) and high / low > 5
    if logarithmic:
        axes.set_xscale("log")
        decades = math.log10(high / low)
        margin = 10 ** (0.15 * decades)
        axes.set_xlim(low / margin, high * margin)
        subs = (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.2 * (high - low) or 0.5 * high
        axes.set_xlim(max(0.0, low - margin), high + margin)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
    return logarithmic


# Points and their names


def _draw_points(axes: Axes, points: Sequence[_Point]) -> None:
    """Draw means, intervals, seeds and names; the limits of the axes must be final."""
    if not points:
        axes.text(0.5, 0.5, "no time measured", ha="center", transform=axes.transAxes)
        return
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure(root=True)
    assert figure is not None, "the axes were made by a figure"
    pixel = figure.dpi / 72
    wanted = [float(axes.transData.transform((point.x, 0.0))[0]) for point in points]
    frame = axes.get_window_extent()
    placed = spread(wanted, 17 * pixel, frame.x0 + 8 * pixel, frame.x1 - 14 * pixel)
    beside = axes.transData + ScaledTranslation(5.5 / 72, 0, figure.dpi_scale_trans)
    for point, belongs, x_px in zip(points, wanted, placed, strict=True):
        row, colour = point.row, point.colour
        x = float(axes.transData.inverted().transform((x_px, 0.0))[0])
        mean = row.mean or 0.0
        if row.low is not None and row.high is not None:
            error = [[mean - row.low], [row.high - mean]]
            axes.errorbar(x, mean, error, color=colour, elinewidth=1.4, capsize=3, zorder=3)
        axes.plot(
            *(x, mean),
            marker=point.marker,
            markersize=7,
            color=colour if row.matched else "white",
            markeredgecolor=colour,
            markeredgewidth=1.5,
            linestyle="none",
            zorder=5,
        )
        axes.plot(
            [x] * row.n,
            row.values,
            marker="o",
            markersize=3,
            color=colour,
            alpha=0.55,
            markeredgewidth=0,
            linestyle="none",
            transform=beside,
            zorder=4,
        )
        if abs(x_px - belongs) > 1.5 * pixel:
            ends = [(belongs, frame.y0), (belongs, frame.y0 + 6 * pixel)]
            tick = axes.transAxes.inverted().transform(ends)
            axes.plot(tick[:, 0], tick[:, 1], color=colour, transform=axes.transAxes, zorder=6)
    _draw_names(axes, points, placed)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions apart by as little as possible (least squares), keeping their order.

    Args:
        wanted: where each would be, in any order; equal ones keep the order they are given in.
        gap: smallest distance between two; less where they would not all fit.
        low: nothing is moved below this, save what is already there.
        high: nothing is moved above this, save what is already there.
    """
    low, high = min([low, *wanted]), max([high, *wanted])
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    # Without the gaps, neighbours that are too close are out of order: pool them to their mean.
    pools: list[tuple[float, int]] = []
    for number, index in enumerate(order):
        mean, size = wanted[index] - number * gap, 1
        while pools and pools[-1][0] > mean:
            before, count = pools.pop()
            mean = (mean * size + before * count) / (size + count)
            size += count
        pools.append((mean, size))
    last = high - (len(wanted) - 1) * gap
    flat = [min(max(mean, low), last) for mean, size in pools for _ in range(size)]
    result = list(wanted)
    for number, index in enumerate(order):
        result[index] = flat[number] + number * gap
    return result


def _draw_names(axes: Axes, points: Sequence[_Point], placed: Sequence[float]) -> None:
    """Write each row's name beside its point, with a line to it where there is no room."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.patheffects import withStroke

    figure = axes.get_figure(root=True)
    assert figure is not None, "the axes were made by a figure"
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg), "the figure is drawn by Agg"
    pixel = figure.dpi / 72
    extent = axes.get_window_extent()
    frame = _Box(extent.x0, extent.y0, extent.x1, extent.y1)
    anchors, taken = [], []
    for point, x in zip(points, placed, strict=True):
        row = point.row
        anchors.append((x, _height(axes, row.mean or 0.0)))
        low, high = (row.mean if end is None else end for end in (row.low, row.high))
        bottom, top = _height(axes, low or 0.0), _height(axes, high or 0.0)
        taken.append(_around(x, anchors[-1][1], 6 * pixel, 6 * pixel))
        taken.append(_Box(x - 4 * pixel, bottom, x + 4 * pixel, top))
        dots = [_height(axes, value) for value in row.values]
        taken += [_around(x + 5.5 * pixel, dot, 2.5 * pixel, 2.5 * pixel) for dot in dots]
    for point, x, anchor in zip(points, placed, anchors, strict=True):
        text = axes.annotate(
            _shorten(point.row.name),
            xy=(float(axes.transData.inverted().transform((x, 0.0))[0]), point.row.mean or 0.0),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=8.5,
            fontweight="bold" if point.row.verdict == "winner" else "normal",
            color="black",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.7, "shrinkB": 5},
            path_effects=[withStroke(linewidth=2, foreground="white")],
            zorder=7,
        )
        size = text.get_window_extent(canvas.get_renderer())
        box = _place(anchor, size.width, size.height, frame, taken, pixel)
        text.set_position(((box.left - anchor[0]) / pixel, (box.bottom - anchor[1]) / pixel))
        if _distance(anchor, box) < 13 * pixel and text.arrow_patch is not None:
            text.arrow_patch.set_visible(False)
        taken.append(box)


def _place(
    anchor: tuple[float, float],
    width: float,
    height: float,
    frame: _Box,
    taken: Sequence[_Box],
    pixel: float,
) -> _Box:
    """Box for a name near its point that covers the least of what is taken, then the nearest."""
    x, y = anchor
    best, least = None, math.inf
    for away in (9, 14, 20, 28, 38, 50, 64, 80, 100, 125):
        for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):
            dx, dy = math.cos(angle), math.sin(angle)
            box = _around(
                x + dx * (away * pixel + width / 2),
                y + dy * (away * pixel + height / 2),
                width / 2,
                height / 2,
            )
            covered = sum(box.overlap(other) for other in taken)
            outside = width * height - box.overlap(frame)
            line = sum(_crosses(anchor, box, other) for other in taken)
            cost = covered + 5 * outside + (away + 4 * line + 3 * (dx < 0)) * pixel**2
            if cost < least:
                best, least = box, cost
    assert best is not None, "some place has a finite cost"
    return best


def _crosses(anchor: tuple[float, float], box: _Box, other: _Box) -> bool:
    """Whether the line from a point to its name runs through something else on the way."""
    x, y = anchor
    steps = np.linspace(0.0, 1.0, 12)[1:]
    xs = x + steps * ((box.left + box.right) / 2 - x)
    ys = y + steps * ((box.bottom + box.top) / 2 - y)
    if other.left <= x <= other.right and other.bottom <= y <= other.top:
        return False
    inside = (other.left < xs) & (xs < other.right) & (other.bottom < ys) & (ys < other.top)
    return bool(inside.any())


def _distance(anchor: tuple[float, float], box: _Box) -> float:
    x, y = anchor
    return math.hypot(max(box.left - x, 0.0, x - box.right), max(box.bottom - y, 0.0, y - box.top))


def _around(x: float, y: float, half_width: float, half_height: float) -> _Box:
    return _Box(x - half_width, y - half_height, x + half_width, y + half_height)


def _height(axes: Axes, value: float) -> float:
    """Where a metric lies on the canvas, in pixels from its bottom."""
    return float(axes.transData.transform((axes.get_xlim()[0], value))[1])


def _shorten(name: str) -> str:
    """A name that fits; what tells long ones apart is often at their end."""
    half = _NAME_LENGTH // 2
    return name if len(name) <= _NAME_LENGTH else f"{name[:half]}…{name[1 - half :]}"
