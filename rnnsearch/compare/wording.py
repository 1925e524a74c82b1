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
    """A number to a number of significant digits; nothing for None."""
    return "" if value is None else f"{value:.{digits}g}"


def whole(value: float | None) -> str:
    """A number without decimals, such as `3,200`; nothing for None."""
    return "" if value is None else f"{value:,.0f}"


def percent(share: float | None) -> str:
    """A signed relative deviation, such as `+0.31%` for 0.0031; nothing for None."""
    return "" if share is None else f"{100 * share:+.2f}%"


def p_value(p: float | None) -> str:
    """A p-value to three decimals, or `<0.001`; nothing for None."""
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """A time in the unit in which it is easiest to read: `12.5 s`, `4.0 minutes`, `3.1 hours`."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:,.1f} minutes" if seconds < 7200 else f"{seconds / 3600:,.1f} hours"


def enumerate_names(names: Iterable[str]) -> str:
    """`a`, `a and b` or `a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def count(amount: int, noun: str) -> str:
    """`1 seed` or `2 seeds`."""
    return f"{amount:,} {noun}{'s' * (amount != 1)}"
