"""The picture of a comparison: each row a line, with its seeds, and how it stands to the others."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnsearch.compare.comparison import Comparison
from rnnsearch.compare.decision import Verdict
from rnnsearch.compare.leaderboard import Row
from rnnsearch.config.home import write_whole
from rnnsearch.errors import StoreError
from rnnsearch.report.canvas import new_figure, style
from rnnsearch.report.drawable_text import drawable, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")

# Okabe and Ito, "Color universal design" (2008), without its yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LOOKS: dict[Verdict | None, str] = {
    "best": "#009E73",
    "best within margin": "#009E73",
    "as good": "#56B4E9",
    "better": "#009E73",
    "control": "#000000",
    "worse": "#D55E00",
    "undecided": "#777777",
    None: "#777777",
}
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
_LEFT = 0.02
_ROW_IN = 0.27
_FOOTER_LINES = 12


def plot_comparison(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Draw the ranked rows of a comparison as a forest plot, the best at the top.

    The left panel has every seed as a dot, and the median with its interval; the right one the
    difference from the reference with its interval, and the margin as a band. Beside them stand
    the parameters, the time of one update and the verdict.

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
    ranked = comparison.ranked
    subtitle, footer = _wrap([comparison.headline], 165), _footer(comparison)
    top_in, bottom_in = 0.85 + 0.17 * len(subtitle), 0.72 + 0.15 * len(footer)
    height_in = top_in + max(1.0, _ROW_IN * (len(ranked) + 0.6)) + bottom_in
    figure = new_figure(_WIDTH_IN, height_in)
    title = (
        f"{drawable(comparison.study)}: test {drawable(comparison.metric)} at a budget of "
        f"{comparison.budget_parameters:,} parameters"
    )
    figure.text(_LEFT, 1 - 0.3 / height_in, title, fontsize=13, fontweight="bold", va="center")
    figure.text(_LEFT, 1 - 0.5 / height_in, "\n".join(subtitle), va="top", color="#333333")
    if ranked:
        _draw_panels(figure, comparison, bottom_in / height_in, 1 - top_in / height_in)
    else:
        figure.text(0.5, 0.5, "nothing is confirmed yet", ha="center", va="center", fontsize=12)
    small: dict[str, Any] = {"fontsize": 7.5, "color": "#555555"}
    figure.text(_LEFT, 0.12 / height_in, "\n".join(footer), va="bottom", **small)
    return figure


def _draw_panels(figure: Figure, comparison: Comparison, bottom: float, top: float) -> None:
    ranked = comparison.ranked
    scores = figure.add_axes((0.19, bottom, 0.33, top - bottom))
    differences = figure.add_axes((0.64, bottom, 0.15, top - bottom))
    for axes in (scores, differences):
        axes.set_ylim(len(ranked) - 0.4, -0.6)
        axes.set_yticks(range(len(ranked)), [""] * len(ranked))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    _draw_scores(scores, comparison)
    _draw_differences(differences, comparison)
    columns = {
        (-0.02, "right"): ("", [_name(row) for row in ranked]),
        (1.16, "right"): ("parameters", [f"{row.parameters or 0:,}" for row in ranked]),
        (1.33, "right"): (
            "ms/update",
            [f"{row.step_ms:.3g}" if row.step_ms else "" for row in ranked],
        ),
    }
    for (x, side), (heading, texts) in columns.items():
        _write(scores, x, heading, texts, ranked, side)
    _write(differences, 1.05, "verdict", [comparison.verdict(r) for r in ranked], ranked, "left")


def _write(
    axes: Axes, x: float, heading: str, texts: Sequence[str], rows: Sequence[Row], side: str
) -> None:
    """Write a column of texts beside a panel, one a row."""
    place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": side, "va": "center"}
    axes.text(x, -0.95, heading, color="#666666", fontsize=8, **place)
    for line, (text, row) in enumerate(zip(texts, rows, strict=True)):
        weight = "bold" if row.verdict in ("best", "best within margin", "control") else "normal"
        axes.text(x, line, drawable(text), fontsize=8.5, fontweight=weight, **place)


def _name(row: Row) -> str:
    return f"{shorten(row.name)}{'' if row.matched else ' †'}"


def _draw_scores(axes: Axes, comparison: Comparison) -> None:
    """Every seed, the median and its interval."""
    better = "higher" if comparison.direction == "maximize" else "lower"
    axes.set_xlabel(f"test {drawable(comparison.metric)} ({better} is better)")
    values = [value for row in comparison.ranked for value in row.values]
    low, high, skill = min(values), max(values), comparison.no_skill
    if low > 0 and high / low > 30:
        _make_logarithmic(axes, high / low)
        low, high = low / (high / low) ** 0.04, high * (high / low) ** 0.04
        near = low / 3 <= skill <= high * 3
    else:
        span = high - low or 0.1 * abs(high) or 1.0
        near = low - 0.35 * span <= skill <= high + 0.35 * span
        low, high = low - 0.04 * span, high + 0.04 * span
    if near:
        low, high = min(low, skill), max(high, skill)
        axes.axvline(skill, color="#888888", linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            "no skill",
            (skill, 0),
            (2, 2),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            color="#666666",
            fontsize=7.5,
        )
    axes.set_xlim(low, high)
    for line, row in enumerate(comparison.ranked):
        colour = _LOOKS[row.verdict]
        axes.plot(
            row.values,
            [line + 0.16] * row.n,
            marker="o",
            markersize=2.8,
            color=colour,
            alpha=max(0.15, min(0.6, 6 / row.n)),
            markeredgewidth=0,
            linestyle="none",
            zorder=2,
        )
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [line - 0.1] * 2, color=colour, linewidth=2.2, zorder=3)
        axes.plot(
            [row.median or 0.0],
            [line - 0.1],
            marker="D",
            markersize=5.5,
            color=colour if row.matched else "white",
            markeredgecolor=colour,
            markeredgewidth=1.4,
            linestyle="none",
            zorder=4,
        )


def _draw_differences(axes: Axes, comparison: Comparison) -> None:
    """Differences from the reference, paired by seed, with the margin as a band."""
    axes.set_xlabel(f"difference from {shorten(drawable(comparison.reference or ''))}")
    margin = comparison.margin
    axes.axvspan(-margin, margin, color="#eeeee6", linewidth=0, zorder=0)
    axes.axvline(0, color="#999999", linewidth=0.9, zorder=1)
    standings = [(line, row.standing, row) for line, row in enumerate(comparison.ranked)]
    drawn = [(line, s, row) for line, s, row in standings if s and s.difference is not None]
    middles = [s.difference or 0.0 for _, s, _ in drawn]
    reach = max([margin, *map(abs, middles)], default=0.0) or 1.0
    ends = [end for _, s, _ in drawn for end in (s.low, s.high) if end is not None]
    # Intervals of few seeds may be many times as long as what they are about: they run off.
    low = max(min([-1.3 * margin, *middles, *ends]), -2 * reach)
    high = min(max([1.3 * margin, *middles, *ends]), 2 * reach)
    axes.set_xlim(low - 0.05 * (high - low or 1.0), high + 0.05 * (high - low or 1.0))
    axes.locator_params(axis="x", nbins=4)
    for line, standing, row in drawn:
        colour = _LOOKS[row.verdict]
        if standing.low is not None and standing.high is not None:
            ends = [standing.low, standing.high]
            axes.plot(ends, [line] * 2, color=colour, linewidth=2.2, zorder=3)
        axes.plot([standing.difference or 0.0], [line], marker="D", markersize=5, color=colour)


def _make_logarithmic(axes: Axes, ratio: float) -> None:
    """Make the axis logarithmic, with plain numbers at its ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if ratio < 300 else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _footer(comparison: Comparison) -> list[str]:
    """Lines below the panels: what the marks mean, the data, and the caveats."""
    source, ranked = comparison.source, comparison.ranked
    marks, notes = [], []
    if ranked:
        marks.append("Diamonds: medians with 95 % intervals; dots: seeds; band: the margin.")
    if not all(row.matched for row in ranked):
        marks.append("Hollow, †: not held to the budget.")
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
