"""How numbers and lists of names are written for readers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnnsearch.compare.decision import Standing
    from rnnsearch.compare.statistics import Share


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


def percent_of(share: float | None) -> str:
    """A share, such as `83%` for 0.83; nothing for None."""
    return "" if share is None else f"{100 * share:.0f}%"


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


def verdict_text(standing: Standing, margin: float, decimals: int) -> str:
    """A verdict with its evidence, such as `worse (by 0.012 to 0.034)`."""
    verdict, more = standing.verdict, standing.more_seeds
    if verdict == "undecided":
        return f"undecided (about {more:,} more seeds)" if more else "undecided (hardly different)"
    if verdict == "best within margin":
        return f"best (to within {margin:g})"
    if verdict == "as good":
        return f"as good (within {margin:g})"
    if verdict in ("worse", "better") and standing.low is not None and standing.high is not None:
        ends = sorted((abs(standing.low), abs(standing.high)))
        shown = dict.fromkeys(f"{end:.{decimals}f}" for end in ends)
        return f"{verdict} (by {' to '.join(shown)})"
    return verdict


def share_text(share: Share | None) -> str:
    """A share of the seeds with its interval, such as `9 of 60 seeds, 7% to 28%`; nothing for 0."""
    if share is None or share.count == 0:
        return ""
    ends = f"{100 * share.low:.0f}% to {100 * share.high:.0f}%"
    return f"{share.count} of {count(share.n, 'seed')}, {ends}"
