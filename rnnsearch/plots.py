"""The picture of a comparison: the metric against parameters, and against time."""

from __future__ import annotations

import io
import math
import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
_STYLE: dict[Any, Any] = {
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
_SMALL: dict[str, Any] = {"fontsize": 7.5, "color": "#555555"}
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
class _Boxes:
    """Rectangles on the canvas, in pixels.

    Attributes:
        edges: `(boxes, 4)`: left, bottom, right, top.
    """

    edges: np.ndarray

    @classmethod
    def around(cls, centres: np.ndarray, half_width: float, half_height: float) -> _Boxes:
        """Boxes of one size around centres, `(boxes, 2)`."""
        half = np.array([half_width, half_height])
        return cls(np.concatenate([centres - half, centres + half], axis=1))

    def overlap(self, others: _Boxes) -> np.ndarray:
        """Areas shared with each of other boxes, `(boxes, others)`, in square pixels."""
        mine, theirs = self.edges[:, None], others.edges[None]
        sides = np.minimum(mine[..., 2:], theirs[..., 2:]) - np.maximum(
            mine[..., :2], theirs[..., :2]
        )
        areas: np.ndarray = np.prod(np.maximum(sides, 0.0), axis=-1)
        return areas


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
    figure = draw_comparison(comparison)
    with rc_context(_STYLE):
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        figure.savefig(content, format=kind, dpi=150, metadata=undated)
    write_whole(path, content.getvalue())


def draw_comparison(comparison: Comparison) -> Figure:
    """Draw what `plot_comparison` writes, without writing it; for notebooks."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        return _draw(comparison)


def _draw(comparison: Comparison) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = comparison.ranked
    title = textwrap.wrap(comparison.headline, 165)
    near, far, timed = _panels(comparison)
    untimed = len(timed) < len(rows)
    footer = _footer(comparison, moved=True, untimed=untimed)
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
        footer = _footer(comparison, moved=False, untimed=False)
        figure.text(left, 0.12 / height_in, "\n".join(footer), va="bottom", **_SMALL)
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
        _far_axis(axes, far, beside_budget=bool(near))
        panels.append((axes, far))
    axes = figure.add_subplot(grid[1], sharey=panels[0][0] if panels else None)
    _time_axis(axes, timed)
    panels.append((axes, timed))
    _draw_metric(comparison, panels)
    moved = [_draw_points(axes, points, comparison.no_skill) for axes, points in panels]
    footer = _footer(comparison, moved=any(moved), untimed=untimed)
    figure.text(left, 0.12 / height_in, "\n".join(footer), va="bottom", **_SMALL)
    return figure


# What goes where


def _panels(comparison: Comparison) -> tuple[list[_Point], list[_Point], list[_Point]]:
    """Points near the budget, far from it, and with a time."""
    budget, tolerance = comparison.budget_parameters, comparison.budget_tolerance
    near: list[_Point] = []
    far: list[_Point] = []
    timed: list[_Point] = []
    for index, row in enumerate(comparison.ranked):
        look = _COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)]
        if row.parameters is not None:
            point = _Point(row, row.parameters, *look)
            close = abs(row.parameters / budget - 1) <= max(3 * tolerance, 0.05)
            (near if close else far).append(point)
        if row.step_ms is not None and row.step_ms > 0:
            timed.append(_Point(row, row.step_ms, *look))
    return near, far, timed


@dataclass(frozen=True)
class _MetricAxis:
    """The axis that the panels share.

    Attributes:
        low: lower end.
        high: upper end.
        logarithmic: whether the metric is so unequal that only its logarithm shows all rows.
        skill: whether the no-skill line is on it.
    """

    low: float
    high: float
    logarithmic: bool
    skill: bool


def _metric_axis(comparison: Comparison) -> _MetricAxis:
    rows = comparison.ranked
    seeds = [value for row in rows for value in row.values]
    low, high = min(seeds), max(seeds)
    logarithmic = low > 0 and high / low > 30
    to, back = (math.log10, lambda y: 10.0**y) if logarithmic else (float, float)
    # Intervals of few seeds may be many times the distance between them, and on a logarithmic axis
    # end below zero: they may run off the axis.
    ends = [end for row in rows for end in (row.low, row.high) if end is not None]
    shown = [to(end) for end in ends if end > 0 or not logarithmic]
    low, high = to(low), to(high)
    span = high - low or 0.1 * abs(high) or 1.0
    low, high = (
        max(min([low, *shown]), low - 0.75 * span),
        min(max([high, *shown]), high + 0.75 * span),
    )
    skill, span = False, high - low or span
    if math.isfinite(comparison.no_skill) and (comparison.no_skill > 0 or not logarithmic):
        line = to(comparison.no_skill)
        skill = low - 0.35 * span <= line <= high + 0.35 * span
        if skill:
            low, high = min(low, line), max(high, line)
    margin = 0.07 * (high - low or span)
    return _MetricAxis(back(low - margin), back(high + margin), logarithmic, skill)


def _footer(comparison: Comparison, *, moved: bool, untimed: bool) -> list[str]:
    """Lines below the panels: what the marks mean, the data, and the caveats."""
    source = comparison.source
    sizes = ", ".join(f"{count:,} {split}" for split, count in source.sizes.items())
    marks = ["Large marks: means with 95 % t-intervals; small dots: seeds."]
    if any(not row.matched for row in comparison.ranked):
        marks.append("Hollow: not held to the budget.")
    if moved:
        marks.append("Rows too close to tell apart are moved sideways from the ticks below them.")
    notes = [
        " ".join(marks) if comparison.ranked else "",
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


def _far_axis(axes: Axes, points: Sequence[_Point], *, beside_budget: bool) -> None:
    """An axis for what is far from the budget."""
    from matplotlib.ticker import FixedLocator, NullLocator

    _free_axis(axes, [point.x for point in points])
    if len(counts := {point.x for point in points}) < 3:
        axes.xaxis.set_major_locator(FixedLocator(sorted(counts)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("far from the budget" if beside_budget else "parameters, far from the budget")


def _time_axis(axes: Axes, points: Sequence[_Point]) -> None:
    logarithmic = _free_axis(axes, [point.x for point in points])
    axes.set_xlabel("time per update (ms" + (", logarithmic)" if logarithmic else ")"))


def _free_axis(axes: Axes, xs: Sequence[float]) -> bool:
    """Set an axis up for positive values, logarithmic where they spread wide; say whether."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    low, high = (min(xs), max(xs)) if xs else (0.0, 1.0)
    if xs and high / low > 5:
        margin = (high / low) ** 0.15
        _logarithmic_ticks(axes, "x", high / low)
        axes.set_xlim(low / margin, high * margin)
        return True
    margin = max(0.2 * (high - low), 0.3 * high)
    axes.set_xlim(max(0.0, low - margin), high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    return False


def _logarithmic_ticks(axes: Axes, name: Literal["x", "y"], ratio: float) -> None:
    """Make an axis logarithmic, with plain numbers at its ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    (axes.set_xscale if name == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if ratio < 300 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


# Points and their names


def _draw_metric(comparison: Comparison, panels: Sequence[tuple[Axes, list[_Point]]]) -> None:
    """Set up the axis that the panels share, with the no-skill line."""
    scale = _metric_axis(comparison)
    first = panels[0][0]
    better = "higher" if comparison.direction == "maximize" else "lower"
    first.set_ylabel(f"test {comparison.metric} ({better} is better)")
    for axes, _ in panels:
        if scale.logarithmic:
            _logarithmic_ticks(axes, "y", scale.high / scale.low)
        axes.set_ylim(scale.low, scale.high)
        axes.tick_params(labelleft=axes is first)
        if scale.skill:
            axes.axhline(comparison.no_skill, color="#888888", linestyle=(0, (4, 3)), zorder=1)
    if scale.skill:
        first.annotate(
            "no skill",
            (0.006, comparison.no_skill),
            (0, 2),
            xycoords=first.get_yaxis_transform(),
            textcoords="offset points",
            color="#666666",
            fontsize=8,
        )


def _draw_points(axes: Axes, points: Sequence[_Point], no_skill: float) -> bool:
    """Draw means, intervals, seeds and names; say whether a row had to be moved sideways.

    The limits of the axes must be final.
    """
    if not points:
        axes.text(0.5, 0.5, "no time measured", ha="center", transform=axes.transAxes)
        return False
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure(root=True)
    assert figure is not None, "the axes were made by a figure"
    pixel = figure.dpi / 72
    extents = [_extent(axes, point.row) for point in points]
    wanted = [float(axes.transData.transform((p.x, p.row.mean or 0.0))[0]) for p in points]
    frame = axes.get_window_extent()
    placed = list(wanted)
    for group in overlapping([(low - 8 * pixel, high + 8 * pixel) for low, high in extents]):
        apart = spread(
            [wanted[i] for i in group], 17 * pixel, frame.x0 + 8 * pixel, frame.x1 - 14 * pixel
        )
        for index, x_px in zip(group, apart, strict=True):
            placed[index] = x_px
    beside = axes.transData + ScaledTranslation(5.5 / 72, 0, figure.dpi_scale_trans)
    moved = False
    for point, belongs, x_px in zip(points, wanted, placed, strict=True):
        row, colour, mean = point.row, point.colour, point.row.mean or 0.0
        x = float(axes.transData.inverted().transform((x_px, frame.y0))[0])
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
            moved = True
            ends = [(belongs, frame.y0), (belongs, frame.y0 + 6 * pixel)]
            tick = axes.transAxes.inverted().transform(ends)
            axes.plot(tick[:, 0], tick[:, 1], color=colour, transform=axes.transAxes, zorder=6)
    _draw_names(axes, points, placed, no_skill)
    return moved


def _extent(axes: Axes, row: Row) -> tuple[float, float]:
    """Bottom and top of what is drawn of a row, in pixels from the canvas's bottom."""
    shown = [end for end in (row.mean, row.low, row.high, *row.values) if end is not None]
    frame = axes.get_window_extent()
    # On a logarithmic axis what is not positive lies infinitely deep.
    bottom, top = np.clip(_heights(axes, [min(shown), max(shown)]), frame.y0, frame.y1)
    return float(bottom), float(top)


def _heights(axes: Axes, values: Sequence[float]) -> np.ndarray:
    """Where metrics lie on the canvas, in pixels from its bottom."""
    left = axes.get_xlim()[0]
    heights: np.ndarray = axes.transData.transform([(left, value) for value in values])[:, 1]
    return heights


def overlapping(intervals: Sequence[tuple[float, float]]) -> list[list[int]]:
    """Group intervals that overlap, directly or through others; indices in the order given."""
    groups: list[list[int]] = []
    reach = -math.inf
    for index in sorted(range(len(intervals)), key=lambda i: intervals[i]):
        low, high = intervals[index]
        if low < reach:
            groups[-1].append(index)
        else:
            groups.append([index])
        reach = max(reach, high)
    return [sorted(group) for group in groups]


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


def _draw_names(
    axes: Axes, points: Sequence[_Point], placed: Sequence[float], no_skill: float
) -> None:
    """Write each row's name beside its point, with a line to it where there is no room."""
    from matplotlib.patheffects import withStroke
    from matplotlib.text import Text

    figure = axes.get_figure(root=True)
    assert figure is not None, "the axes were made by a figure"
    pixel = figure.dpi / 72
    extent = axes.get_window_extent()
    frame = _Boxes(np.array([[extent.x0, extent.y0, extent.x1, extent.y1]]))
    line = float(_heights(axes, [no_skill])[0])
    taken = [np.array([[extent.x0, line - 2 * pixel, extent.x1, line + 2 * pixel]])]
    anchors = []
    for point, x in zip(points, placed, strict=True):
        middle, *dots = _heights(axes, [point.row.mean or 0.0, *point.row.values])
        anchors.append(np.array([[x, middle]]))
        bottom, top = _extent(axes, point.row)
        taken.append(_Boxes.around(anchors[-1], 6 * pixel, 6 * pixel).edges)
        taken.append(np.array([[x - 4 * pixel, bottom, x + 4 * pixel, top]]))
        beside = np.array([(x + 5.5 * pixel, dot) for dot in dots])
        taken.append(_Boxes.around(beside, 2.5 * pixel, 2.5 * pixel).edges)
    for point, anchor in zip(points, anchors, strict=True):
        text = axes.annotate(
            _shorten(point.row.name),
            xy=(float(axes.transData.inverted().transform(anchor)[0, 0]), point.row.mean or 0.0),
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
        size = Text.get_window_extent(text)  # Without the line to the point.
        box, linked = _place(
            anchor,
            _extent(axes, point.row),
            (size.width, size.height),
            frame,
            _Boxes(np.concatenate(taken)),
            pixel,
        )
        offset = (box.edges[0, :2] - anchor[0]) / pixel
        text.set_position((float(offset[0]), float(offset[1])))
        if not linked and text.arrow_patch is not None:
            text.arrow_patch.set_visible(False)
        taken.append(box.edges)


def _place(
    anchor: np.ndarray,
    extent: tuple[float, float],
    size: tuple[float, float],
    frame: _Boxes,
    taken: _Boxes,
    pixel: float,
) -> tuple[_Boxes, bool]:
    """Find a box for a name, near its point or at an end of what is drawn of it.

    Args:
        anchor: `(1, 2)`, the point, in pixels.
        extent: bottom and top of what is drawn of the row, in pixels.
        size: width and height of the name, in pixels.
        frame: the panel, which the name had better not leave.
        taken: what the name had better not cover.
        pixel: pixels per typographic point.

    Returns:
        the box that covers least and is nearest, and whether it takes a line to tell whose it is.
    """
    half = np.array(size) / 2
    distance, angle = np.meshgrid(
        [9.0, 14, 20, 28, 38, 50, 64, 80, 100, 125], np.linspace(0, 2 * np.pi, 24, endpoint=False)
    )
    away, toward = (
        distance.ravel(),
        np.stack([np.cos(angle), np.sin(angle)], axis=-1).reshape(-1, 2),
    )
    around = anchor + toward * (away[:, None] * pixel + half)
    gap = 4 * pixel + half[1]
    ends = np.array([[anchor[0, 0], extent[1] + gap], [anchor[0, 0], extent[0] - gap]])
    centres = np.concatenate([ends, around])
    linked = np.concatenate([[False, False], away > 12])
    # A name at an end of its interval is as clear as one a few points from the mean.
    effort = np.concatenate([[16.0, 17.0], away + 3 * (toward[:, 0] < 0)])
    boxes = _Boxes.around(centres, *half)
    covered = boxes.overlap(taken).sum(axis=1)
    outside = 4 * half.prod() - boxes.overlap(frame)[:, 0]
    # Where the line to the name passes through other things, seen at a few points along it.
    along = np.linspace(0.1, 1.0, 12)[:, None, None]
    steps = _Boxes.around((anchor + along * (centres - anchor)).reshape(-1, 2), 0.5, 0.5)
    own = _Boxes.around(anchor, 1, 1).overlap(taken)[0] > 0
    crossed = (steps.overlap(taken)[:, ~own] > 0).reshape(len(along), len(centres), -1)
    crossings = crossed.any(axis=0).sum(axis=1) * linked
    cost = covered + 5 * outside + (effort + 20 * crossings) * pixel**2
    best = int(np.argmin(cost))
    return _Boxes(boxes.edges[best : best + 1]), bool(linked[best])


def _shorten(name: str) -> str:
    """A name that fits; what tells long ones apart is often at their end."""
    half = _NAME_LENGTH // 2
    return name if len(name) <= _NAME_LENGTH else f"{name[:half]}…{name[1 - half :]}"
