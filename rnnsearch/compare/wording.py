"""How numbers and lists of names are written for readers."""

from __future__ import annotations

from collections.abc import Iterable


def interval(middle: float | None, low: float | None, high: float | None, decimals: int) -> str:
    """A mean or a difference with its interval, such as `0.9652 [0.9601, 0.9703]`."""
    if middle is None:
        return ""
    if low is None or high is None:
        return f"{middle:.{decimals}f}"
    return f"{middle:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def number(value: float | None, digits: int = 4) -> str:
    """A number to so many significant digits; nothing for None."""
    return "" if value is None else f"{value:.{digits}g}"


def whole(value: float | None) -> str:
    """A number without decimals, such as `3,200`; nothing for None."""
    return "" if value is None else f"{value:,.0f}"


def enumerate_names(names: Iterable[str]) -> str:
    """`a`, `a and b` or `a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def count(amount: int, noun: str) -> str:
    """`1 seed` or `2 seeds`."""
    return f"{amount:,} {noun}{'s' * (amount != 1)}"
