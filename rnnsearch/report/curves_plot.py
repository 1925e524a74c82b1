"""The learning curves of a study's confirmed rows, with bands over their seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from rnnsearch.compare.comparison import Comparison
from rnnsearch.report.canvas import new_figure, style
from rnnsearch.report.comparison_plot import COLOURS, STYLE
from rnnsearch.report.drawable_text import drawable, shorten
from rnnsearch.spec.trial import EpochMetrics, TrialRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Dash: TypeAlias = Literal["-", "--", ":"]
DASHES: tuple[Dash, ...] = ("-", "--", ":")  # the later ones for rows beyond the colours
_WIDTH_IN, _PANEL_IN = 12.0, 2.9
# Above this ratio only the logarithm shows where a curve ends.
_WIDE = 30


@dataclass(frozen=True)
class Curve:
    """What the confirmed runs of a row measured while they trained.

    Attributes:
        name: of the row.
        runs: by seed, every epoch of the run that counts.
    """

    name: str
    runs: dict[int, tuple[EpochMetrics, ...]]

    def values(self, quantity: str) -> np.ndarray:
        """A quantity `(seeds, epochs)`, up to the last epoch that all seeds have."""
        epochs = min(map(len, self.runs.values()))
        return np.array(
            [[getattr(epoch, quantity) for epoch in run[:epochs]] for run in self.runs.values()]
        )


def curves_of(records: Sequence[TrialRecord], comparison: Comparison) -> tuple[Curve, ...]:
    """The curves of the ranked rows, in their order; of several runs of a seed, the last.

    Args:
        records: the settled trials of the study.
        comparison: its comparison.
    """
    found = []
    for row in comparison.ranked:
        runs = {
            record.spec.seed: record.epochs
            for record in sorted(records, key=lambda record: record.number)
            if record.phase == "confirmation"
            and record.stands
            and record.label == row.label
            and record.spec is not None
            and (record.spec.rank, record.state) == (row.rank, "COMPLETE")
            and record.spec.seed in row.seeds
            and record.epochs
        }
        if runs:
            found.append(Curve(row.name, dict(sorted(runs.items()))))
    return tuple(found)


def draw_curves(curves: Sequence[Curve], metric: str) -> Figure | None:
    """Draw metric and loss of training and validation against the number of updates.

    A line is the mean over a row's seeds; its band reaches from the lowest seed to the highest.
    Panels of what was not measured are left out; None if nothing was.
    """
    quantities = [
        [f"{split}_{kind}" for split in ("train", "validation")] for kind in ("metric", "loss")
    ]
    shown = [[q for q in row if _is_known(curves, q)] for row in quantities]
    if shown[0] and _are_equal(curves, shown[0], shown[1]):
        shown[1] = []  # the loss is the metric
    panels = [row for row in shown if row]
    if not panels:
        return None
    with style(STYLE):
        return _draw(curves, metric, panels)


def _is_known(curves: Sequence[Curve], quantity: str) -> bool:
    return any(np.isfinite(curve.values(quantity)).any() for curve in curves)


def _are_equal(curves: Sequence[Curve], some: Sequence[str], others: Sequence[str]) -> bool:
    return len(some) == len(others) and all(
        np.allclose(curve.values(a), curve.values(b), equal_nan=True)
        for curve in curves
        for a, b in zip(some, others, strict=True)
    )


def _draw(curves: Sequence[Curve], metric: str, panels: list[list[str]]) -> Figure:
    from matplotlib.lines import Line2D

    looks = [(COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % 3]) for i in range(len(curves))]
    columns = max(map(len, panels))
    per_line = 7
    legend_in = 0.25 * math.ceil(len(curves) / per_line) + 0.1
    height_in = _PANEL_IN * len(panels) + legend_in
    figure = new_figure(_WIDTH_IN, height_in, layout="constrained")
    every = figure.subplots(len(panels), columns, squeeze=False, sharex=True, sharey="row")
    for axes_row, quantities in zip(every, panels, strict=True):
        for axes, quantity in zip(axes_row, quantities, strict=False):
            _draw_panel(axes, curves, looks, quantity)
        _scale(axes_row[0], curves, quantities)
        axes_row[0].set_ylabel("loss" if quantities[0].endswith("loss") else drawable(metric))
    for axes, quantity in zip(every[0], panels[0], strict=False):
        axes.set_title(quantity.partition("_")[0], fontsize=10)
    for axes in every[-1]:
        axes.set_xlabel("updates")
    names = [
        Line2D([], [], color=colour, linestyle=dash, label=shorten(drawable(curve.name)))
        for curve, (colour, dash) in zip(curves, looks, strict=True)
    ]
    figure.legend(handles=names, loc="outside upper left", ncols=per_line, frameon=False)
    return figure


def _draw_panel(
    axes: Axes, curves: Sequence[Curve], looks: Sequence[tuple[str, Dash]], quantity: str
) -> None:
    for curve, (colour, dash) in zip(curves, looks, strict=True):
        values = curve.values(quantity)
        if not np.isfinite(values).all():
            continue
        updates = curve.values("updates")[0]
        marker = "o" if len(updates) == 1 else ""
        look: dict[str, Any] = {"color": colour, "linestyle": dash, "marker": marker}
        axes.plot(updates, values.mean(0), linewidth=1.3, zorder=3, **look)
        if len(values) > 1:
            ends = values.min(0), values.max(0)
            axes.fill_between(updates, *ends, color=colour, alpha=0.18, linewidth=0, zorder=2)


def _scale(axes: Axes, curves: Sequence[Curve], quantities: Sequence[str]) -> None:
    every = np.concatenate([c.values(q).ravel() for c in curves for q in quantities])
    every = every[np.isfinite(every)]
    if len(every) and every.min() > 0 and every.max() / every.min() > _WIDE:
        axes.set_yscale("log")
