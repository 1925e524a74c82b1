"""How often comparisons of rows are wrong, and how many seeds they spend, by simulation.

Made-up studies with known answers are compared by our verdicts and by what is done elsewhere, on
values such as training runs have: normal, skewed, two-humped, in steps of a small test split. A
claim is wrong if it contradicts what the method is about: medians and wins for ours, means for the
t-tests. `t, Holm`: paired t-tests against the best mean, corrected for all pairs. `t, Holm, each
round`: the same after every round of seeds, until all rows are told apart. `Games-Howell`: its
simultaneous intervals, at a fixed number. `Kim-Nelson`: the fully sequential procedure of Kim and
Nelson (ACM Transactions on Modeling and Computer Simulation 11, 2001), whose margin is that of
ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations

import numpy as np

from benchmarks.table import Table, Value
from rnnsearch.compare.decision import decide, rounds
from rnnsearch.compare.evidence import median_interval

ERROR = 0.05
MOST_SEEDS = 200
# Test accuracies of `sm_rnn` in studies/mnist.yaml on its first 60 seeds: some hardly train.
SM_RNN = (
    *(0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.554, 0.761, 0.763, 0.795, 0.804, 0.804, 0.813, 0.816, 0.819),
    *(0.819, 0.824, 0.827, 0.83, 0.832, 0.833, 0.838, 0.839, 0.842, 0.845, 0.845, 0.846, 0.847),
    *(0.848, 0.85, 0.851, 0.853, 0.854, 0.855, 0.855, 0.856, 0.857, 0.857, 0.857, 0.859, 0.862),
    *(0.862, 0.863, 0.866, 0.872, 0.873, 0.874, 0.875, 0.881, 0.887, 0.892, 0.892, 0.893, 0.896),
    *(0.896, 0.899, 0.903, 0.906, 0.91, 0.91),
)
_TRUTH = 400_001

Draw = Callable[[np.random.Generator, int, int], np.ndarray]


@dataclass(frozen=True)
class Scenario:
    """Rows of a study, as they are distributed.

    Attributes:
        name: what they are like.
        draw: `(rows, seeds)` values from a generator, larger being better.
        margin: differences up to this are of no interest.
    """

    name: str
    draw: Draw
    margin: float = 0.0


def _shifts(rows: int, step: float) -> np.ndarray:
    return -step * np.arange(rows)[:, None]


def _normal(step: float = 0.0, lead: float = 0.0, spread: float = 1.0) -> Draw:
    def draw(source: np.random.Generator, rows: int, seeds: int) -> np.ndarray:
        scale = np.linspace(1.0, spread, rows)[:, None]
        found = scale * source.normal(size=(rows, seeds)) + _shifts(rows, step)
        found[0] += lead
        return found

    return draw


def _skewed(source: np.random.Generator, rows: int, seeds: int) -> np.ndarray:
    return -np.exp(source.normal(size=(rows, seeds)))


def _skewed_apart(source: np.random.Generator, rows: int, seeds: int) -> np.ndarray:
    return _skewed(source, rows, seeds) + _shifts(rows, 0.3)


def _two_humped(source: np.random.Generator, rows: int, seeds: int) -> np.ndarray:
    return source.choice(np.array(SM_RNN), (rows, seeds)) + source.normal(0, 1e-4, (rows, seeds))


def _some_fail(source: np.random.Generator, rows: int, seeds: int) -> np.ndarray:
    """Every other row fails in 15 % of its seeds, and is better by half a deviation otherwise."""
    found = source.normal(size=(rows, seeds))
    fails = (source.random((rows, seeds)) < 0.15) & (np.arange(rows) % 2 == 1)[:, None]
    return np.where(fails, -8.0, found + 0.5 * (np.arange(rows) % 2 == 1)[:, None])


def _in_steps(source: np.random.Generator, rows: int, seeds: int) -> np.ndarray:
    """Accuracies of a test split of 360 examples."""
    return np.round(360 * (0.95 + source.normal(0, 0.006, (rows, seeds)))) / 360


SCENARIOS = (
    Scenario("equal: normal", _normal()),
    Scenario("equal: normal, spreads 1 to 5", _normal(spread=5.0)),
    Scenario("equal: skewed", _skewed),
    Scenario("equal: two-humped (SM-RNN)", _two_humped),
    Scenario("equal: steps of 1/360, margin 0.005", _in_steps, 0.005),
    Scenario("equal: normal, margin 1", _normal(), 1.0),
    Scenario("best by 1 deviation", _normal(lead=1.0)),
    Scenario("best by 2 deviations, spreads 1 to 5", _normal(lead=2.0, spread=5.0)),
    Scenario("steps of 0.5 deviations, margin 0.25", _normal(step=0.5), 0.25),
    Scenario("skewed, steps of 0.3", _skewed_apart),
    Scenario("every other fails at times", _some_fail, 0.25),
)


@dataclass
class Claims:
    """What a method said of a study.

    Attributes:
        worse: rows that are not the best.
        good: rows that are within the margin of the best.
        intervals: per row, of its typical value.
        differences: per row, of its difference from the reference.
        reference: the row that they are compared with.
        seeds: that were spent.
    """

    worse: set[int] = field(default_factory=set)
    good: set[int] = field(default_factory=set)
    intervals: dict[int, tuple[float, float]] = field(default_factory=dict)
    differences: dict[int, tuple[float, float]] = field(default_factory=dict)
    reference: int = 0
    seeds: int = 0


def by_signs(values: np.ndarray, margin: float, seeds: int | None) -> Claims:
    """Ours: at a fixed number of seeds, or until decided if that is None."""
    rows = len(values)
    counts = dict.fromkeys(range(rows), 0)
    active = list(range(rows))
    numbers = [seeds] if seeds else list(rounds(6, MOST_SEEDS))
    for number in numbers:
        counts |= dict.fromkeys(active, number)
        samples = {r: dict(enumerate(values[r, : counts[r]].tolist())) for r in range(rows)}
        decision = decide(samples, "maximize", margin=margin, order=range(number), level=1 - ERROR)
        active = decision.unsettled
        if not active:
            break
    found = Claims(reference=decision.reference, seeds=sum(counts.values()))
    for row, standing in decision.standings.items():
        if standing.verdict == "worse":
            found.worse.add(row)
        if standing.verdict in ("as good", "best within margin"):
            found.good.add(row)
        if ends := median_interval(values[row, : counts[row]].tolist(), ERROR):
            found.intervals[row] = ends
        if standing.low is not None and standing.high is not None:
            found.differences[row] = standing.low, standing.high
    return found


def by_t(values: np.ndarray, margin: float, seeds: int | None) -> Claims:
    """Paired t-tests against the best mean with Holm's correction for all pairs."""
    from scipy import stats

    rows = len(values)
    for number in [seeds] if seeds else list(rounds(6, MOST_SEEDS)):
        sample = values[:, :number]
        best = int(sample.mean(1).argmax())
        pairs = list(combinations(range(rows), 2))
        first, second = np.array(pairs).T
        differences = sample[first] - sample[second]
        scale = differences.std(1, ddof=1) / math.sqrt(number)
        t = differences.mean(1) / np.where(scale > 0, scale, 1e-300)
        corrected = _holm(2 * stats.t.sf(np.abs(t), number - 1))
        p = dict(zip(pairs, corrected, strict=True))
        worse = {r for r in range(rows) if r != best and p[min(r, best), max(r, best)] <= ERROR}
        if len(worse) == rows - 1:
            break
    found = Claims(worse=worse, reference=best, seeds=rows * number)
    half = float(stats.t.ppf(1 - ERROR / 2, number - 1)) / math.sqrt(number)
    for row in range(rows):
        mean, spread = sample[row].mean(), half * sample[row].std(ddof=1)
        found.intervals[row] = mean - spread, mean + spread
        if row != best:
            apart = sample[row] - sample[best]
            spread = half * apart.std(ddof=1)
            found.differences[row] = apart.mean() - spread, apart.mean() + spread
    return found


def _holm(p: np.ndarray) -> np.ndarray:
    order, corrected = np.argsort(p), np.empty(len(p))
    steps = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    corrected[order] = np.minimum(1.0, steps)
    return corrected


def by_games_howell(values: np.ndarray, margin: float, seeds: int | None) -> Claims:
    """Simultaneous intervals for all pairs of means with unequal variances."""
    rows, number = len(values), seeds or MOST_SEEDS
    sample = values[:, :number]
    best = int(sample.mean(1).argmax())
    found = Claims(reference=best, seeds=rows * number)
    means, variances = sample.mean(1), sample.var(1, ddof=1) / number
    for row in range(rows):
        if row == best:
            continue
        total = variances[row] + variances[best]
        freedom = total**2 / ((variances[row] ** 2 + variances[best] ** 2) / (number - 1))
        width = _studentized_range(rows, round(freedom)) * math.sqrt(total / 2)
        apart = means[row] - means[best]
        found.differences[row] = apart - width, apart + width
        if apart + width < 0:
            found.worse.add(row)
    return found


@lru_cache
def _studentized_range(rows: int, freedom: int) -> float:
    from scipy import stats

    return float(stats.studentized_range.ppf(1 - ERROR, rows, freedom))


def by_kim_nelson(values: np.ndarray, margin: float, seeds: int | None) -> Claims:
    """The fully sequential procedure with an indifference zone, first stage of ten."""
    rows, first = len(values), 10
    indifference = margin or 0.25
    eta = 0.5 * ((2 * ERROR / (rows - 1)) ** (-2 / (first - 1)) - 1)
    h2 = 2 * eta * (first - 1)
    start = values[:, :first]
    variances = (start[:, None] - start[None]).var(-1, ddof=1)
    left, spent, number = set(range(rows)), rows * first, first
    totals = start.sum(1)
    while len(left) > 1 and number < MOST_SEEDS:
        gone = set()
        for a in left:
            for b in left - {a}:
                bound = h2 * variances[a, b] / indifference - indifference * number
                if totals[a] < totals[b] - max(0.0, bound / 2):
                    gone.add(a)
        left -= gone
        if len(left) > 1:
            for row in left:
                totals[row] += values[row, number]
            spent, number = spent + len(left), number + 1
    best = max(left, key=lambda row: totals[row])
    worse = set(range(rows)) - left
    return Claims(worse=worse, reference=best, seeds=spent)


METHODS: dict[str, tuple[Callable[[np.ndarray, float, int | None], Claims], bool]] = {
    "ours": (by_signs, True),
    "t, Holm": (by_t, False),
    "Games-Howell": (by_games_howell, False),
    "Kim-Nelson": (by_kim_nelson, False),
}


@dataclass(frozen=True)
class Truth:
    """What is true of a scenario: of medians and wins, or of means.

    Attributes:
        typical: the median or the mean of each row.
        differences: `[a, b]`, the median or the mean of the difference of a from b.
        ahead: `[a, b]`, whether a is truly better than b.
    """

    typical: np.ndarray
    differences: np.ndarray
    ahead: np.ndarray


@lru_cache
def truth_of(scenario: Scenario, rows: int, *, of_signs: bool) -> Truth:
    """Find out from a very large sample of every row."""
    source = np.random.default_rng(0)
    size = min(_TRUTH, 8_000_001 // rows)
    values = scenario.draw(source, rows, size)
    if not of_signs:
        means = values.mean(1)
        noise = 5 * values.std(1).max() / math.sqrt(size)
        apart = means[:, None] - means[None]
        return Truth(means, apart, apart > noise)
    apart, ahead = np.zeros((rows, rows)), np.zeros((rows, rows), dtype=bool)
    noise = 3 / math.sqrt(size)
    for a in range(rows):
        for b in range(rows):
            found = values[a] - values[b]
            apart[a, b] = np.median(found) if a != b else 0.0
            wins, losses = (found > 0).mean(), (found < 0).mean()
            ahead[a, b] = a != b and wins - losses > noise
    return Truth(np.median(values, axis=1), apart, ahead)


@dataclass
class Score:
    """What became of a method in many studies of a scenario.

    Attributes:
        studies: how many there were.
        wrong: how many had a wrong claim.
        decided: how many had a right verdict on every row.
        covered: intervals of typical values that covered the true one, and how many there were.
        differences: intervals of differences that covered the true one, and how many there were.
        seeds: that were spent, all studies together.
    """

    studies: int = 0
    wrong: int = 0
    decided: int = 0
    covered: tuple[int, int] = (0, 0)
    differences: tuple[int, int] = (0, 0)
    seeds: int = 0

    def add(self, claims: Claims, truth: Truth, margin: float) -> None:
        """Hold the claims on one study against the truth."""
        rows = len(truth.typical)
        best = [r for r in range(rows) if not truth.ahead[:, r].any()]
        good = {r for r in range(rows) if all(truth.differences[b, r] <= margin for b in best)}
        wrong = bool(claims.worse.intersection(best)) or not claims.good <= good
        self.studies += 1
        self.wrong += wrong
        said = claims.worse | claims.good
        self.decided += not wrong and len(said | {claims.reference}) == rows
        covered = [lo <= truth.typical[r] <= hi for r, (lo, hi) in claims.intervals.items()]
        self.covered = self.covered[0] + sum(covered), self.covered[1] + len(covered)
        apart = [
            lo <= truth.differences[r, claims.reference] <= hi
            for r, (lo, hi) in claims.differences.items()
        ]
        self.differences = self.differences[0] + sum(apart), self.differences[1] + len(apart)
        self.seeds += claims.seeds


def simulate(scenario: Scenario, rows: int, method: str, seeds: int | None, studies: int) -> Score:
    """Compare many studies of a scenario by a method, at a fixed number of seeds or until decided.

    Args:
        scenario: how rows are distributed.
        rows: how many there are.
        method: one of `METHODS`.
        seeds: of every row; None for rounds until decided.
        studies: how many.
    """
    run, of_signs = METHODS[method]
    truth = truth_of(scenario, rows, of_signs=of_signs)
    score, source = Score(), np.random.default_rng(1)
    for _ in range(studies):
        values = scenario.draw(source, rows, seeds or MOST_SEEDS)
        score.add(run(values, scenario.margin, seeds), truth, scenario.margin)
    return score


# Numbers of rows, and how many studies of each.
SIZES = ((2, 1000), (5, 200), (41, 20))
CASES: Sequence[tuple[str, str, int | None]] = (
    ("ours, until decided", "ours", None),
    ("ours, 6 seeds", "ours", 6),
    ("ours, 20 seeds", "ours", 20),
    ("ours, 60 seeds", "ours", 60),
    ("t, Holm, 6 seeds", "t, Holm", 6),
    ("t, Holm, 20 seeds", "t, Holm", 20),
    ("t, Holm, 60 seeds", "t, Holm", 60),
    ("t, Holm, each round", "t, Holm", None),
    ("Games-Howell, 20 seeds", "Games-Howell", 20),
    ("Kim-Nelson", "Kim-Nelson", None),
)


def run(*, quick: bool) -> list[Table]:
    """A table for each number of rows."""
    tables = []
    for rows, studies in ((2, 3), (5, 2)) if quick else SIZES:
        lines: list[dict[str, Value]] = []
        for scenario in SCENARIOS:
            for name, method, seeds in CASES:
                score = simulate(scenario, rows, method, seeds, studies)
                lines.append(
                    {
                        "rows are": scenario.name,
                        "method": name,
                        "studies with a wrong claim %": _share(score.wrong, score.studies),
                        "intervals that cover %": _share(*score.covered),
                        "differences that cover %": _share(*score.differences),
                        "all decided, rightly %": _share(score.decided, score.studies),
                        "seeds a row": round(score.seeds / score.studies / rows, 1),
                    }
                )
        tables.append(
            Table(
                f"{rows} rows, {studies} studies of each kind",
                lines,
            )
        )
    return tables


def _share(count: int, of: int) -> float | None:
    return round(100 * count / of, 1) if of else None
