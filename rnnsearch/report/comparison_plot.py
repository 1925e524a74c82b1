"""The picture of a comparison: the metric against parameters, and against time."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnsearch.compare.comparison import Comparison
from rnnsearch.config.home import write_whole
from rnnsearch.errors import StoreError
from rnnsearch.report.canvas import new_figure, style
from rnnsearch.report.drawable_text import drawable
from rnnsearch.report.plot_axes import scale_budget, scale_far, scale_metric, scale_time
from rnnsearch.report.plot_points import Point, draw_points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")

# Okabe and Ito, "Color universal design" (2008), without its yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "text.parse_math": False,  # A `$` in a name is a dollar.
    "text.usetex": False,
    "svg.hashsalt": "rnnsearch",  # The same comparison gives the same file.
}
_WIDTH_IN = 12.0
_LEFT = 0.065
_FOOTER_LINES = 12


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
        StoreError: the file cannot be written, or its suffix is none of these.
    """
    kind = Path(path).suffix.lstrip(".").lower()
    if kind not in FORMATS:
        endings = ", ".join(f".{ending}" for ending in FORMATS)
        msg = f"cannot draw {path}: expected a file name that ends in one of {endings}"
        raise StoreError(msg)
    write_whole(path, picture_of(draw_comparison(comparison), kind))


def picture_of(figure: Figure, kind: str) -> bytes:
    """The content of a picture file of one of `FORMATS`; the same figure gives the same file."""
    content = io.BytesIO()
    with style(STYLE):
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        figure.savefig(content, format=kind, dpi=150, metadata=undated)
    return content.getvalue()


def draw_comparison(comparison: Comparison) -> Figure:
    """Draw what `plot_comparison` writes, without writing it; for notebooks."""
    with style(STYLE):
        return _draw(comparison)


def _draw(comparison: Comparison) -> Figure:
    subtitle = _wrap([comparison.headline], 165)
    footer = _footer(comparison, moved=True)
    top_in, bottom_in = 0.62 + 0.17 * len(subtitle), 0.72 + 0.15 * len(footer)
    height_in = top_in + 4.3 + bottom_in
    figure = new_figure(_WIDTH_IN, height_in)
    title = (
        f"{drawable(comparison.study)}: test {drawable(comparison.metric)} at a budget of "
        f"{comparison.budget_parameters:,} parameters"
    )
    figure.text(_LEFT, 1 - 0.3 / height_in, title, fontsize=13, fontweight="bold", va="center")
    figure.text(_LEFT, 1 - 0.5 / height_in, "\n".join(subtitle), va="top", color="#333333")
    if comparison.ranked:
        moved = _draw_panels(figure, comparison, bottom_in / height_in, 1 - top_in / height_in)
        footer = _footer(comparison, moved=moved)
    else:
        figure.text(0.5, 0.5, "nothing is confirmed yet", ha="center", va="center", fontsize=12)
    small: dict[str, Any] = {"fontsize": 7.5, "color": "#555555"}
    figure.text(_LEFT, 0.12 / height_in, "\n".join(footer), va="bottom", **small)
    return figure


def _draw_panels(figure: Figure, comparison: Comparison, bottom: float, top: float) -> bool:
    """Draw the panels between two heights of the figure; say whether a row was moved sideways."""
    near, far, timed = _points(comparison)
    panels = [points for points in (near, far) if points] + [timed]
    left = [0.975, 0.325] if near and far else [1.0] * (len(panels) - 1)
    every = figure.subplots(
        1,
        len(panels),
        sharey=True,
        squeeze=False,
        gridspec_kw={
            "left": _LEFT,
            "right": 0.985,
            "top": top,
            "bottom": bottom,
            "wspace": 0.07,
            "width_ratios": [*left, 1.0],
        },
    )[0]
    for axes, points in zip(every, panels, strict=True):
        xs = [point.x for point in points]
        if points is near:
            scale_budget(axes, comparison, xs)
        elif points is far:
            scale_far(axes, xs, beside_budget=bool(near))
        else:
            scale_time(axes, xs)
    scale_metric(every, comparison)
    if not timed:
        every[-1].text(0.5, 0.5, "no time measured", ha="center", transform=every[-1].transAxes)
    return any(
        [
            draw_points(figure, axes, points, comparison.no_skill)
            for axes, points in zip(every, panels, strict=True)
        ]
    )


def _points(comparison: Comparison) -> tuple[list[Point], list[Point], list[Point]]:
    """Points near the budget, far from it, and with a time."""
    budget, tolerance = comparison.budget_parameters, comparison.budget_tolerance
    near: list[Point] = []
    far: list[Point] = []
    timed: list[Point] = []
    for index, row in enumerate(comparison.ranked):
        look = COLOURS[index % len(COLOURS)], _MARKERS[index % len(_MARKERS)]
        if row.parameters is not None:
            close = abs(row.parameters / budget - 1) <= max(3 * tolerance, 0.05)
            (near if close else far).append(Point(row, row.parameters, *look))
        if row.step_ms:
            timed.append(Point(row, row.step_ms, *look))
    return near, far, timed


def _footer(comparison: Comparison, *, moved: bool) -> list[str]:
    """Lines below the panels: what the marks mean, the data, and the caveats."""
    source, ranked = comparison.source, comparison.ranked
    marks, notes = [], []
    if ranked:
        marks.append("Large marks: means with 95 % t-intervals; small dots: seeds.")
    if not all(row.matched for row in ranked):
        marks.append("Hollow: not held to the budget.")
    if ranked and moved:
        marks.append("Rows too close to tell apart are moved sideways from the ticks below them.")
    if not all(row.step_ms for row in ranked):
        notes.append("Rows without a measured time are missing on the right.")
    if comparison.unranked:
        left_out = "; ".join(f"{row.name} ({row.reason})" for row in comparison.unranked)
        notes.append(f"Not ranked: {left_out}.")
    sizes = ", ".join(f"{count:,} {split}" for split, count in source.sizes.items())
    data = f"{source.dataset} ({sizes or 'sizes unknown'}) from {source.origin}."
    lines = _wrap([" ".join(marks), data, *comparison.caveats, *notes], 190)
    if len(lines) > _FOOTER_LINES:
        lines = [*lines[: _FOOTER_LINES - 1], "More caveats stand in the table."]
    return lines


def _wrap(texts: Sequence[str], width: int) -> list[str]:
    return [line for text in texts for line in textwrap.wrap(drawable(text), width)]
