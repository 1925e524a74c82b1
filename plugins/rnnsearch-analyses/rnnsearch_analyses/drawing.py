"""The look of the figures of these analyses, and the labels of their steps."""

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
    "text.parse_math": False,  # a `$` in a name or text is a dollar sign
}
_MOST_LABELS = 80
# Visible replacements for invisible characters.
_SHOWN = {" ": "\u2423", "\n": "\u21b5", "\t": "\u21e5"}


@contextmanager
def figure_of(
    rows: int, columns: int, width: float, height: float, **options: Any
) -> Iterator[tuple[Figure, Any]]:
    """A figure, its size in inches, and its axes `(rows, columns)` in the common style."""
    # Importing it takes a second. `pyplot` is avoided because its state is global.
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(rows, columns, squeeze=False, **options)


def heat_map(figure: Figure, axes: Axes, values: Any, *, bar: bool = True) -> None:
    """Draw values `(units, time)`: red below zero, blue above, darker for larger magnitudes."""
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
    """Symbols that a sample reads at each step, if its inputs are tokens or one-hot.

    Without symbols from the task, they are numbers.
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
    # The standard font has glyphs for these; matplotlib would warn about others.
    fine = all(c.isprintable() and (ord(c) < 0x250 or c in _SHOWN.values()) for c in shown)
    return shown if fine else "\N{REPLACEMENT CHARACTER}"


def label_steps(axes: Axes, symbols: Sequence[str] | None) -> None:
    """Label the time axis with the symbols read, if they are known and fit."""
    axes.set_xlabel("step")
    if symbols is not None and len(symbols) <= _MOST_LABELS:
        axes.set_xticks(range(1, len(symbols) + 1), symbols, fontsize=7, parse_math=False)
        axes.tick_params(axis="x", length=0)
        axes.set_xlabel("input at each step")


def width_for(steps: int) -> float:
    """Width of a picture with this number of steps, in inches."""
    return min(max(6.0, 2.0 + 0.12 * steps), 13.0)


def named(name: str, key: str) -> str:
    """Name of a finding about one layer."""
    return f"{name}_{key}" if key else name


def who(trained: TrainedModel, title: str = "") -> str:
    """The model and the layer, for a title."""
    return f"{trained.label}, {title}" if title else trained.label


def samples_in_words(count: int) -> str:
    """The number of samples and their split, in words."""
    return f"{count} validation sample{'s' if count != 1 else ''}"
