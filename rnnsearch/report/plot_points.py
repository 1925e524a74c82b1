"""The rows in a panel of the picture: means, intervals and seeds, each with its name beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rnnsearch.compare.ranking import Row
from rnnsearch.report.drawable_text import drawable, shorten
from rnnsearch.report.label_placement import Boxes, overlapping, place_name, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
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


def draw_points(figure: Figure, axes: Axes, points: Sequence[Point], no_skill: float) -> bool:
    """Draw means, intervals, seeds and names; say whether a row had to be moved sideways.

    The limits of the axes must be final.
    """
    from matplotlib.transforms import ScaledTranslation

    pixel = figure.dpi / 72
    frame = axes.get_window_extent()
    wanted = [float(axes.transData.transform((p.x, p.row.mean or 0.0))[0]) for p in points]
    placed = _move_apart(axes, points, wanted, pixel)
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
    _draw_names(axes, points, placed, no_skill, pixel)
    return moved


def _move_apart(
    axes: Axes, points: Sequence[Point], wanted: Sequence[float], pixel: float
) -> list[float]:
    """Pixels from the left where each row is drawn, so that none covers another."""
    frame = axes.get_window_extent()
    extents = [_extent(axes, point.row) for point in points]
    placed = list(wanted)
    for group in overlapping([(low - 8 * pixel, high + 8 * pixel) for low, high in extents]):
        bounds = frame.x0 + 8 * pixel, frame.x1 - 14 * pixel
        apart = spread([wanted[index] for index in group], 17 * pixel, *bounds)
        for index, x_px in zip(group, apart, strict=True):
            placed[index] = x_px
    return placed


def _draw_names(
    axes: Axes, points: Sequence[Point], placed: Sequence[float], no_skill: float, pixel: float
) -> None:
    """Write each row's name beside its point, with a line to it where there is no room."""
    from matplotlib.patheffects import withStroke
    from matplotlib.text import Text

    extent = axes.get_window_extent()
    frame = Boxes(np.array([extent.extents]))
    line = float(_heights(axes, [no_skill])[0])
    taken = [Boxes(np.array([[extent.x0, line - 2 * pixel, extent.x1, line + 2 * pixel]]))]
    anchors = []
    for point, x in zip(points, placed, strict=True):
        middle, *dots = _heights(axes, [point.row.mean or 0.0, *point.row.values])
        bottom, top = _extent(axes, point.row)
        anchors.append(np.array([[x, middle]]))
        beside = np.array([(x + 5.5 * pixel, dot) for dot in dots])
        taken += [
            Boxes.around(anchors[-1], 6 * pixel, 6 * pixel),
            Boxes(np.array([[x - 4 * pixel, bottom, x + 4 * pixel, top]])),
            Boxes.around(beside, 2.5 * pixel, 2.5 * pixel),
        ]
    for point, anchor in zip(points, anchors, strict=True):
        text = axes.annotate(
            shorten(drawable(point.row.name)),
            xy=(float(axes.transData.inverted().transform(anchor)[0, 0]), point.row.mean or 0.0),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=8.5,
            fontweight="bold" if point.row.verdict == "best mean" else "normal",
            color="black",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.7, "shrinkB": 5},
            path_effects=[withStroke(linewidth=2, foreground="white")],
            zorder=7,
        )
        size = Text.get_window_extent(text)  # Without the line to the point.
        box, linked = place_name(
            anchor,
            _extent(axes, point.row),
            (size.width, size.height),
            frame,
            Boxes.together(taken),
            pixel,
        )
        offset = (box.edges[0, :2] - anchor[0]) / pixel
        text.set_position((float(offset[0]), float(offset[1])))
        if not linked and text.arrow_patch is not None:
            text.arrow_patch.set_visible(False)
        taken.append(box)


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
