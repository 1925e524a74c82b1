"""How the figures of these analyses look, and how steps are labelled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from rnnsearch import TrainedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIVERGING = "RdBu"  # red for negative, blue for positive, darker for larger
# Okabe and Ito, "Color universal design" (2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a `$` in a name or a text is a dollar
}
_MOST_LABELS = 80
# What has no picture of its own, by one that has.
_SHOWN = {" ": "\u2423", "\n": "\u21b5", "\t": "\u21e5"}


@contextmanager
def figure_of(
    rows: int, columns: int, width: float, height: float, **options: Any
) -> Iterator[tuple[Figure, Any]]:
    """A figure and its axes `(rows, columns)` in the common style, in inches."""
    # It takes a second to import. No `pyplot`: its state is global.
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(rows, columns, squeeze=False, **options)


def heat_map(figure: Figure, axes: Axes, values: Any, *, bar: bool = True) -> None:
    """Draw values `(units, time)`, red below and blue above zero, the same distance as dark."""
    limit = float(abs(values).max()) or 1.0
    image = axes.imshow(
        values,
        aspect="auto",
        interpolation="nearest",
        cmap=DIVERGING,
        vmin=-limit,
        vmax=limit,
        extent=(0.5, values.shape[1] + 0.5, values.shape[0] - 0.5, -0.5),
    )
    if bar:
        figure.colorbar(image, ax=axes, pad=0.01)


def input_symbols(trained: TrainedModel, sample: int) -> list[str] | None:
    """What a sample reads at each step, if that is tokens or one-hot: the task's symbols for them.

    Numbers, where the task has no symbols.
    """
    inputs, lengths = trained.inputs(sample, sample + 1)
    steps = len(inputs) if lengths is None else int(lengths[0])
    sequence, known = inputs[:steps, 0], trained.spec.model.shape.vocabulary
    if known:
        read = [int(step) for step in sequence[:, 0]]
    else:
        known = sequence.shape[1]
        is_bit = bool(((sequence == 0) | (sequence == 1)).all())
        if known < 2 or not is_bit or not bool((sequence.sum(dim=1) == 1).all()):
            return None
        read = [int(step) for step in torch.argmax(sequence, dim=1)]
    names = trained.task.symbols
    return [_drawable(names[i]) if len(names) == known else str(i) for i in read]


def _drawable(symbol: str) -> str:
    shown = _SHOWN.get(symbol, symbol)
    # The standard font has glyphs for these; for others a figure would warn.
    fine = all(c.isprintable() and (ord(c) < 0x250 or c in _SHOWN.values()) for c in shown)
    return shown if fine else "\N{REPLACEMENT CHARACTER}"


def label_steps(axes: Axes, symbols: Sequence[str] | None) -> None:
    """Label the time axis with what is read, if that is known and fits."""
    axes.set_xlabel("step")
    if symbols is not None and len(symbols) <= _MOST_LABELS:
        axes.set_xticks(range(1, len(symbols) + 1), symbols, fontsize=7, parse_math=False)
        axes.tick_params(axis="x", length=0)
        axes.set_xlabel("input at each step")


def width_for(steps: int) -> float:
    """Width of a picture with this many steps, in inches."""
    return min(max(6.0, 2.0 + 0.12 * steps), 13.0)


def named(name: str, key: str) -> str:
    """Name of a finding about one layer."""
    return f"{name}_{key}" if key else name


def who(trained: TrainedModel, title: str = "") -> str:
    """Which model, and which of its layers, in a title."""
    return f"{trained.label}, {title}" if title else trained.label


def samples_in_words(count: int) -> str:
    """How many samples of which split."""
    return f"{count} validation sample{'s' if count != 1 else ''}"
