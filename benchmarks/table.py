"""A table of measurements: Markdown to read, plain values for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, TypeAlias

import numpy as np


@dataclass(frozen=True)
class Spread:
    """A quantity that was measured several times.

    Attributes:
        median: of all rounds.
        low: the 10 % quantile.
        high: the 90 % quantile.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Median and quantiles of values."""
        low, high = np.quantile(values, [0.1, 0.9])
        return cls(median(values), float(low), float(high))


Value: TypeAlias = str | int | float | Spread | None


@dataclass(frozen=True)
class Table:
    """Rows of measurements.

    Attributes:
        title: what was measured.
        rows: one value a column, the columns in the order of the first row.
        notes: what a reader has to know.
    """

    title: str
    rows: Sequence[dict[str, Value]]
    notes: Sequence[str] = ()

    def to_markdown(self) -> str:
        """The title, the table, the notes."""
        lines = [f"### {self.title}", ""]
        if self.rows:
            columns = list(self.rows[0])
            lines += [_line(columns), _line("---" for _ in columns)]
            lines += [_line(_shown(row.get(column)) for column in columns) for row in self.rows]
            lines.append("")
        lines += [f"* {note}" for note in self.notes]
        return "\n".join(lines).rstrip() + "\n"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(value: Value) -> str:
    if isinstance(value, Spread):
        return f"{_number(value.median)} ({_number(value.low)} to {_number(value.high)})"
    return _number(value) if isinstance(value, float) else "" if value is None else str(value)


def _number(value: float) -> str:
    """Three significant digits, without an exponent where that is short."""
    if not math.isfinite(value) or value == 0 or not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"
