"""Who is better, as good, or not yet told apart: verdicts that may be looked at after every seed.

**A contest for the best.** Every seed of a row is a match against the row that led before that seed
(the one of the highest running median, the row itself apart); of the first seed, only where there
is one other row. If no other row beats a row in more than half of their untied matches, its matches
are tosses of a coin that is fair or better, whoever led; so the evidence of `evidence.log_evidence`
against that says that the row is *worse* than the best. A row whose runs are shown to be within the
margin of those of every row that may still be the best, in more than half of their common seeds, is
*as good*; if it also has the best median of them, it is *best within margin*. A row that alone is
left is *best*.

Of the two claims, at most one can be false of a row. All of them together, at all numbers of seeds
together, hold with 95 %: each needs the evidence of as many claims as there are rows, `rows / 5 %`
(Bonferroni, over rows and not over pairs of rows). Nothing is assumed of the distributions, nor
that rows are independent of each other; only that there is a row which no other one beats more
often than not.

**Against a control**, rows are *better*, *worse* or *as good* by the signs of their differences
from it, each needing the evidence of two claims a row.
"""

from __future__ import annotations

import math
import sys
from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

import numpy as np

from rnnsearch.compare.evidence import log_evidence, median_interval, tosses_needed
from rnnsearch.compare.statistics import LEVEL
from rnnsearch.spec.shape import Direction

Verdict: TypeAlias = Literal[
    "best", "best within margin", "as good", "better", "worse", "undecided", "control"
]
Name = TypeVar("Name", str, int)

MOST_SEEDS = 10_000
# Metrics are averaged in single precision: differences below this share of them are rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Standing:
    """What may be said of a row.

    Attributes:
        verdict: the first that was reached.
        n: seeds that it has in common with the reference.
        difference: median over these of `value - reference`; None of the reference itself.
        low: lower end of its 95 % interval, right at all numbers of seeds together; None where the
            seeds are too few.
        high: its upper end.
        ahead: share of the common seeds in which it was better than the reference; a tie is half.
        p: error at which the verdict `worse` (against a control, the likelier of `worse` and
            `better`) could just be given, all rows and looks allowed for; None of the reference.
        more_seeds: how many more seeds would give a verdict, if they were like those there are;
            None where it has one, or where 10,000 would not do.
    """

    verdict: Verdict
    n: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    ahead: float | None = None
    p: float | None = None
    more_seeds: int | None = None

    @property
    def is_decided(self) -> bool:
        """Whether more seeds are of no use."""
        return self.verdict != "undecided"


@dataclass(frozen=True)
class Decision(Generic[Name]):
    """What may be said of rows.

    Attributes:
        reference: the control, or the row of the best median among those that may be the best.
        standings: of every row, by name.
        margin: the margin that they were made with, in the unit of the metric.
    """

    reference: Name
    standings: Mapping[Name, Standing]
    margin: float

    @property
    def is_reached(self) -> bool:
        """Whether every row has a verdict."""
        return all(standing.is_decided for standing in self.standings.values())

    @property
    def unsettled(self) -> list[Name]:
        """The rows of which more seeds are of use; empty if all have a verdict."""
        if self.is_reached:
            return []
        useful = ("undecided", "best", "best within margin", "as good", "control")
        return [name for name, found in self.standings.items() if found.verdict in useful]


def decide(
    samples: Mapping[Name, Mapping[int, float]],
    direction: Direction,
    *,
    margin: float = 0.0,
    order: Sequence[int] | None = None,
    contenders: Sequence[Name] | None = None,
    against: Name | None = None,
    level: float = LEVEL,
) -> Decision[Name]:
    """Say which rows are the best, as good or worse.

    Args:
        samples: `{seed: metric}` of each row; at least one row with one seed.
        direction: whether a larger metric is better.
        margin: differences up to this are of no interest, in the unit of the metric.
        order: the seeds in the order in which they were drawn; that of `samples` if absent.
        contenders: rows that may be the best, all if absent; the others are compared with these.
        against: a control that all rows are compared with, instead of a contest for the best.
        level: probability that all verdicts are right.

    Raises:
        ValueError: a value is not finite.
    """
    # Who meets whom first, where no seed is known yet, must not depend on the scores; nor may it on
    # the order of the rows, which are sorted by them.
    names = sorted(samples)
    if order is None:
        order = list(dict.fromkeys(seed for values in samples.values() for seed in values))
    sign = 1 if direction == "maximize" else -1
    values = np.full((len(names), len(order)), np.nan)
    for i, name in enumerate(names):
        for j, seed in enumerate(order):
            if (value := samples[name].get(seed)) is not None:
                if not math.isfinite(value):
                    msg = f"expected finite values, got {value} of {name}"
                    raise ValueError(msg)
                values[i, j] = sign * value
    scale = float(np.nanmax(np.abs(values), initial=0.0))
    field = _Field(values, margin + _ROUNDING * scale, _ROUNDING * scale, 1 - level)
    if against is not None:
        standings = field.against(names.index(against))
        reference = names.index(against)
    else:
        may_win = [i for i, name in enumerate(names) if contenders is None or name in contenders]
        reference, standings = field.contest(may_win or list(range(len(names))))
    return Decision(
        names[reference],
        {name: _signed(standings[names.index(name)], sign) for name in samples},
        margin,
    )


def rounds(first: int, most: int) -> Iterator[int]:
    """How many seeds the rows that are not decided yet have in each round: a third more each."""
    seeds = first
    while seeds < most:
        yield seeds
        seeds = max(seeds + 3, math.ceil(4 * seeds / 3))
    yield most


def _signed(standing: Standing, sign: int) -> Standing:
    """The standing in the unit of the metric, where it was found for values that are maximised."""
    if sign == 1 or standing.difference is None:
        return standing
    low, high = standing.low, standing.high
    return Standing(
        standing.verdict,
        standing.n,
        0.0 - standing.difference,
        None if high is None else 0.0 - high,
        None if low is None else 0.0 - low,
        standing.ahead,
        standing.p,
        standing.more_seeds,
    )


class _Field:
    """Rows on common seeds, larger being better.

    Args:
        values: `(rows, seeds)`, NaN where a row lacks a seed.
        margin: differences up to this are of no interest.
        rounding: differences up to this are none.
        error: probability that any verdict is wrong.
    """

    def __init__(self, values: np.ndarray, margin: float, rounding: float, error: float) -> None:
        self._values, self._margin, self._rounding = values, margin, rounding
        self._error = error
        self._rows = len(values)
        self._medians = np.array([_running_medians(row) for row in values])

    def contest(self, contenders: Sequence[int]) -> tuple[int, dict[int, Standing]]:
        """Find who may be the best among contenders, and how the others stand to these."""
        claims = {row: 1 if row in contenders else 2 for row in range(self._rows)}
        lost = {row: self._lost(row, contenders) for row in range(self._rows)}
        verdicts: dict[int, Verdict] = {}
        left, candidates = set(claims), list(contenders)
        needed = self._needed(sum(claims.values()))
        while True:
            worse = {row for row in left if _best(lost[row]) >= needed}
            if len(worse.intersection(candidates)) == len(candidates) > 0:
                worse.discard(max(candidates, key=lambda row: self._median(row)))
            verdicts |= dict.fromkeys(worse, "worse")
            candidates = [row for row in candidates if row not in worse]
            new = dict(self._by_margin(left - worse, candidates, contenders, needed))
            verdicts |= new
            if not worse and not new:
                break
            left -= worse | new.keys()
        leader = max(candidates, key=lambda row: (self._median(row), -row))
        if len(candidates) == 1:
            verdicts[leader] = "best"
            left.discard(leader)
        elif verdicts.get(leader) == "as good":
            verdicts[leader] = "best within margin"
        total = sum(claims.values())
        for row in [row for row, verdict in verdicts.items() if verdict == "worse"]:
            # Worse, and by so little that nobody who stated this margin cares.
            if all(_best(near) >= needed for near in self._near(row, candidates)):
                verdicts[row] = "as good"
        standings: dict[int, Standing] = {}
        for row in range(self._rows):
            verdict = verdicts.get(row, "undecided")
            others = [other for other in candidates if other != row]
            more = None
            if verdict == "undecided":
                more = _fewest([[lost[row]], self._near(row, others)], needed)
            if row == leader:
                standings[row] = Standing(verdict, self._count(row), more_seeds=more)
                continue
            p = min(1.0, total * math.exp(-max(0.0, _best(lost[row]))))
            standings[row] = self._standing(row, leader, verdict, p, more)
        return leader, standings

    def against(self, control: int) -> dict[int, Standing]:
        """Compare every row with a control."""
        others = [row for row in range(self._rows) if row != control]
        signs = {row: self._signs(row, control) for row in others}
        verdicts: dict[int, Verdict] = {}
        needed = self._needed(2 * len(others) or 1)
        for row in others:
            below, above = signs[row]
            if min(map(_best, self._within(row, control))) >= needed:
                verdicts[row] = "as good"
            elif _best(below) >= needed:
                verdicts[row] = "worse"
            elif _best(above) >= needed:
                verdicts[row] = "better"
        standings = {control: Standing("control", self._count(control))}
        for row in others:
            verdict = verdicts.get(row, "undecided")
            more = None
            if verdict == "undecided":
                ways = [[signs[row][0]], [signs[row][1]], self._within(row, control)]
                more = _fewest(ways, needed)
            p = min(1.0, 2 * len(others) * math.exp(-max(0.0, *map(_best, signs[row]))))
            standings[row] = self._standing(row, control, verdict, p, more)
        return standings

    def _needed(self, claims: int) -> float:
        return math.log(claims / self._error)

    def _count(self, row: int) -> int:
        return int(np.isfinite(self._values[row]).sum())

    def _median(self, row: int) -> float:
        found = self._values[row][np.isfinite(self._values[row])]
        return float(np.median(found)) if len(found) else -math.inf

    def _lost(self, row: int, contenders: Sequence[int]) -> np.ndarray:
        """Of a row's untied matches with whoever led before each, which it lost."""
        rivals = np.array([other for other in contenders if other != row], dtype=int)
        seeds = np.flatnonzero(np.isfinite(self._values[row]))
        here = np.isfinite(self._values[np.ix_(rivals, seeds)])
        seeds, here = seeds[here.any(0)], here[:, here.any(0)]
        if seeds.size == 0:
            return np.zeros(0, dtype=bool)
        if len(rivals) > 1:  # nobody leads before the first one
            seeds, here = seeds[1:], here[:, 1:]
        led = np.where(here, self._medians[np.ix_(rivals, seeds)], -np.inf).argmax(0)
        differences = self._values[rivals[led], seeds] - self._values[row, seeds]
        return np.asarray(differences[np.abs(differences) > self._rounding] > 0)

    def _differences(self, row: int, other: int) -> np.ndarray:
        found = self._values[row] - self._values[other]
        return np.asarray(found[np.isfinite(found)])

    def _signs(self, row: int, other: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the untied common seeds, in which a row ended below another one; and above."""
        found = self._differences(row, other)
        found = found[np.abs(found) > self._rounding]
        return np.asarray(found < 0), np.asarray(found > 0)

    def _within(self, row: int, other: int) -> list[np.ndarray]:
        """In which common seeds a row is not better by more than the margin; and not worse."""
        found = self._differences(row, other)
        return [found <= self._margin, found >= -self._margin]

    def _near(self, row: int, candidates: Sequence[int]) -> list[np.ndarray]:
        """In which seeds common with each candidate that one is not better by more than it."""
        return [self._within(row, other)[1] for other in candidates]

    def _by_margin(
        self,
        rows: set[int],
        candidates: Sequence[int],
        contenders: Sequence[int],
        needed: float,
    ) -> list[tuple[int, Verdict]]:
        found: list[tuple[int, Verdict]] = []
        for row in rows:
            others = [other for other in candidates if other != row]
            if row not in contenders and all(
                _best(self._signs(row, other)[1]) >= needed for other in others
            ):
                found.append((row, "better"))
            elif others and all(_best(near) >= needed for near in self._near(row, others)):
                found.append((row, "as good"))
        return found

    def _standing(
        self,
        row: int,
        reference: int,
        verdict: Verdict,
        p: float,
        more: int | None,
    ) -> Standing:
        """How a row stands to a reference."""
        found = self._differences(row, reference)
        if len(found) == 0:
            return Standing(verdict, 0, more_seeds=more)
        low, high = median_interval(found.tolist(), self._error) or (None, None)
        if verdict == "worse" and high is not None:
            high = min(high, 0.0)  # it is not the best: that is known from its matches
        if verdict == "better" and low is not None:
            low = max(low, 0.0)
        ties = np.abs(found) <= self._rounding
        ahead = float(((found > 0) & ~ties).mean() + ties.mean() / 2)
        difference = float(np.median(found))
        return Standing(verdict, len(found), difference, low, high, ahead, p, more)


def _running_medians(values: np.ndarray) -> list[float]:
    """The median of what stands before each place; the lowest number where nothing does."""
    known: list[float] = []
    medians = []
    for value in values.tolist():
        n = len(known)
        middle = (known[(n - 1) // 2] + known[n // 2]) / 2 if n else -sys.float_info.max
        medians.append(middle)
        if math.isfinite(value):
            insort(known, value)
    return medians


def _best(tosses: np.ndarray) -> float:
    """The most that tosses have ever been worth as evidence for heads, as a logarithm."""
    if len(tosses) == 0:
        return 0.0
    return float(log_evidence(np.cumsum(tosses), np.arange(1, len(tosses) + 1)).max())


def _fewest(ways: Sequence[Sequence[np.ndarray]], needed: float) -> int | None:
    """How many more seeds would do for all of the tosses on one of several ways to a verdict."""
    found = []
    for way in ways:
        more = []
        for tosses in way:
            n = len(tosses)
            enough = tosses_needed(float(tosses.mean()), n, needed, MOST_SEEDS) if n else None
            more.append(None if enough is None else max(1, enough - n))
        if more and None not in more:
            found.append(max(number for number in more if number is not None))
    return min(found, default=None)
