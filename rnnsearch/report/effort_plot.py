"""The picture of effort curves: what more trials of the search would have been worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rnnsearch.compare.effort_curve import EffortCurve
from rnnsearch.report.canvas import new_figure, style
from rnnsearch.report.comparison_plot import COLOURS, STYLE
from rnnsearch.report.curves_plot import DASHES
from rnnsearch.report.drawable_text import drawable, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_effort(curves: Sequence[EffortCurve], metric: str) -> Figure | None:
    """Draw the expected best validation score of every row against trials; None without any."""
    if not curves:
        return None
    with style(STYLE):
        return _draw(curves, metric)


def _draw(curves: Sequence[EffortCurve], metric: str) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(12.0, max(3.2, 0.19 * len(curves)), layout="constrained")
    axes = figure.add_subplot()
    for i, curve in enumerate(curves):
        axes.plot(
            range(1, len(curve.best) + 1),
            curve.best,
            color=COLOURS[i % len(COLOURS)],
            linestyle=DASHES[i // len(COLOURS) % len(DASHES)],
            marker="o",
            markersize=3,
            label=shorten(drawable(curve.label)),
        )
    axes.set_xlabel("trials of the search")
    axes.set_ylabel(f"best validation {drawable(metric)}, expected")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure
