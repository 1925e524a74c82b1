"""The scales of the picture: parameters around the budget or far from it, time, and the metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from rnnsearch.compare.comparison import Comparison
from rnnsearch.report.drawable_text import drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def scale_budget(axes: Axes, comparison: Comparison, counts: Sequence[float]) -> None:
    """A linear axis of parameters close up around the budget, with the band that meets it."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    budget, tolerance = comparison.budget_parameters, comparison.budget_tolerance
    reach = max([1.35 * tolerance * budget, *(1.25 * abs(count - budget) for count in counts), 1.5])
    axes.set_xlim(budget - reach, budget + reach)
    band = budget * (1 - tolerance), budget * (1 + tolerance)
    axes.axvspan(*band, color="#f1f1ea", linewidth=0, zorder=0)
    axes.axvline(budget, color="#999999", linewidth=0.9, zorder=1)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    within = f"{100 * tolerance:g} %"
    axes.set_xlabel(f"parameters (line: the budget of {budget:,}; band: within {within} of it)")


def scale_far(axes: Axes, counts: Sequence[float], *, beside_budget: bool) -> None:
    """An axis of parameters far from the budget."""
    from matplotlib.ticker import FixedLocator, NullLocator

    _scale_freely(axes, counts)
    if len(set(counts)) < 3:
        axes.xaxis.set_major_locator(FixedLocator(sorted(set(counts))))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("far from the budget" if beside_budget else "parameters, far from the budget")


def scale_time(axes: Axes, times_ms: Sequence[float]) -> None:
    """An axis of the time of one update."""
    logarithmic = _scale_freely(axes, times_ms)
    axes.set_xlabel("time per update (ms" + (", logarithmic)" if logarithmic else ")"))


def scale_metric(panels: Sequence[Axes], comparison: Comparison) -> None:
    """Set up the axis that the panels share, with the no-skill line where it is near the rows."""
    first = panels[0]
    better = "higher" if comparison.direction == "maximize" else "lower"
    first.set_ylabel(f"test {drawable(comparison.metric)} ({better} is better)")
    low, high, logarithmic = _metric_range(comparison)
    skill = comparison.no_skill
    for axes in panels:
        if logarithmic:
            _logarithmic_ticks(axes, "y", high / low)
        axes.set_ylim(low, high)
        if low <= skill <= high:
            axes.axhline(skill, color="#888888", linestyle=(0, (4, 3)), zorder=1)
    if low <= skill <= high:
        first.annotate(
            "no skill",
            (0.006, skill),
            (0, 2),
            xycoords=first.get_yaxis_transform(),
            textcoords="offset points",
            color="#666666",
            fontsize=8,
        )


def _metric_range(comparison: Comparison) -> tuple[float, float, bool]:
    """Ends of the axis, and whether only the logarithm shows rows as unequal as these."""
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
    span = high - low or span
    if comparison.no_skill > 0 or not logarithmic:
        skill = to(comparison.no_skill)
        if low - 0.35 * span <= skill <= high + 0.35 * span:
            low, high = min(low, skill), max(high, skill)
    margin = 0.07 * (high - low or span)
    return back(low - margin), back(high + margin), logarithmic


def _scale_freely(axes: Axes, xs: Sequence[float]) -> bool:
    """Set an axis up for positive values, logarithmic where they spread wide; say whether."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    low, high = (min(xs), max(xs)) if xs else (0.0, 1.0)
    if low > 0 and high / low > 5:
        margin = (high / low) ** 0.15
        _logarithmic_ticks(axes, "x", high / low)
        axes.set_xlim(low / margin, high * margin)
        return True
    margin = max(0.2 * (high - low), 0.3 * high) or 1.0
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
