"""The statistics of a comparison: intervals over seeds, paired tests and what they allow to say."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:
    from rnnsearch.spec.shape import Direction

# scipy and statsmodels take seconds to import, so the functions that need them do it.

LEVEL = 0.95
POWER = 0.8
LARGE_EFFECT = 0.8
FEWEST_SEEDS = 3
MOST_SEEDS = 10_000
# Metrics are averaged in single precision: differences below this share of them are rounding.
_ROUNDING = 1e-6

Verdict: TypeAlias = Literal[
    "best mean", "worse", "better", "no difference shown", "too few seeds to tell"
]
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and how sure it is.

    Attributes:
        n: values.
        mean: their mean.
        low: lower end of the t-interval, None for a single value.
        high: upper end of the t-interval, None for a single value.
        std: standard deviation with `n - 1` degrees of freedom, None for a single value.
    """

    n: int
    mean: float
    low: float | None = None
    high: float | None = None
    std: float | None = None


@dataclass(frozen=True)
class PairedComparison:
    """One model against another, the reference, on the same seeds.

    Attributes:
        n: seeds that both have.
        difference: mean over those seeds of `value - reference`; None without a common seed.
        low: lower end of the difference's t-interval; None for fewer than two seeds.
        high: upper end of the difference's t-interval; None for fewer than two seeds.
        p: two-sided p-value; None for fewer than two seeds.
        p_holm: `p` corrected for every test made with it; None where `p` is.
        effect_size: Cohen's d_z, `difference` over the standard deviation of the differences.
            None for fewer than two seeds, and where all seeds differ by one nonzero amount, which
            makes it infinite.
        seeds_needed: seeds at which an effect of this size would be shown, after correction, with
            a probability of 80 %; None where there is no effect or 10,000 seeds are too few.
        verdict: what may be said of the model, by the rule of `conclude`.
    """

    n: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    effect_size: float | None = None
    seeds_needed: int | None = None
    verdict: Verdict = "too few seeds to tell"


def estimate(values: Sequence[float], *, level: float = LEVEL) -> Estimate:
    """Return the mean with Student's t-interval, `mean ± t(n - 1) · std / √n`.

    A single value has no interval; equal values have one of width zero.

    Args:
        values: `(n,)` finite metrics, one per seed; at least one.
        level: probability that the interval covers the mean.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    from scipy import stats

    sample = _finite(values)
    n = len(sample)
    if n == 0:
        msg = "a mean needs at least one value, got none"
        raise ValueError(msg)
    # `fsum` makes the mean independent of the order of the seeds.
    mean = math.fsum(sample) / n
    if n == 1:
        return Estimate(1, mean)
    if np.ptp(sample) == 0:
        return Estimate(n, mean, mean, mean, 0.0)
    low, high = stats.t.interval(level, n - 1, loc=mean, scale=stats.sem(sample))
    return Estimate(n, mean, float(low), float(high), float(np.std(sample, ddof=1)))


def compare_paired(
    values: Sequence[float],
    references: Sequence[float],
    *,
    level: float = LEVEL,
    tests: int = 1,
) -> PairedComparison:
    """Compare a model with a reference over the same seeds, by the paired t-test.

    Where all seeds differ by one amount, the t-test has no variance to divide by. Then `p` is 1 if
    that amount is zero (up to the rounding of single precision), and else that of the exact sign
    test, `2 / 2^n`.

    Leaves `p_holm` None and the verdict open; `holm` and `conclude` fill them in.

    Args:
        values: `(n,)` finite metrics, one per seed.
        references: `(n,)` metrics of the reference, in the same order of seeds.
        level: probability that the interval covers the difference; a test's error is `1 - level`.
        tests: how many tests `p` will be corrected for; `seeds_needed` allows for it.

    Raises:
        ValueError: the lists differ in length, or hold a value that is not finite.
    """
    from scipy import stats

    sample, reference = _finite(values), _finite(references)
    n = len(sample)
    if n != len(reference):
        msg = f"paired values need one reference each, got {n} and {len(reference)}"
        raise ValueError(msg)
    if n == 0:
        return PairedComparison(0)
    differences = sample - reference
    mean = math.fsum(differences) / n
    if n == 1:
        return PairedComparison(1, mean)
    alpha = (1 - level) / tests
    rounding = _ROUNDING * float(np.abs([sample, reference]).max())
    if np.abs(differences).max() <= rounding:
        return PairedComparison(n, 0.0, 0.0, 0.0, p=1.0, effect_size=0.0)
    if np.ptp(differences) <= rounding:
        return PairedComparison(
            n, mean, mean, mean, p=_sign_test(n), seeds_needed=_fewest(_sign_test, alpha)
        )
    test = stats.ttest_rel(sample, reference)
    low, high = test.confidence_interval(level)
    effect_size = float(test.statistic) / math.sqrt(n)
    return PairedComparison(
        n,
        mean,
        float(low),
        float(high),
        p=float(test.pvalue),
        effect_size=effect_size,
        seeds_needed=seeds_needed(effect_size, alpha=alpha),
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for having made all of these tests, by Holm's step-down method.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
    of Statistics 6 (1979).

    Args:
        p_values: one per test; None for a test that could not be made, which stays None and does
            not count.
    """
    from statsmodels.stats.multitest import multipletests

    made = [p for p in p_values if p is not None]
    if not made:
        return [None] * len(p_values)
    corrected = iter(multipletests(made, method="holm")[1])
    return [None if p is None else float(next(corrected)) for p in p_values]


def seeds_needed(
    effect_size: float, *, alpha: float = 1 - LEVEL, power: float = POWER
) -> int | None:
    """Return how many seeds a two-sided paired t-test needs to show an effect.

    An effect that was itself measured on few seeds is uncertain, and so is the number.

    Args:
        effect_size: Cohen's d_z; its sign does not matter.
        alpha: error of the test.
        power: probability with which the test is to show the effect.

    Returns:
        the smallest number of seeds, at least `FEWEST_SEEDS`; None if it exceeds `MOST_SEEDS`.
    """
    from statsmodels.stats.power import TTestPower

    effect = abs(effect_size)
    if effect == 0 or math.isnan(effect):
        return None
    # An infinite effect is shown by the fewest seeds; so is one of this size, with every alpha.
    effect = min(effect, 1e6)
    solver = TTestPower()

    def suffices(seeds: int) -> bool:
        # One tail at half of alpha: the other tail adds nothing at such a power, and scipy cannot
        # compute it for large effects. NaN is left only where the power is 1.
        reached = solver.power(effect, seeds, alpha / 2, alternative="larger")
        return not reached < power

    candidates = range(FEWEST_SEEDS, MOST_SEEDS + 1)
    first = bisect_left(candidates, True, key=suffices)
    return candidates[first] if first < len(candidates) else None


def conclude(
    comparison: PairedComparison,
    direction: Direction,
    *,
    level: float = LEVEL,
    tests: int = 1,
) -> Verdict:
    """Say what a comparison allows to say of a model, seen from the reference.

    The first rule that applies:

    1. fewer than three common seeds: `too few seeds to tell`;
    2. `p_holm` at most `1 - level`: `worse` or `better`, by the sign of the difference;
    3. the same metric in every seed: `no difference shown`;
    4. fewer seeds than show the observed effect, and fewer than show a large one (d_z = 0.8), each
       with a probability of 80 % after correction: `too few seeds to tell`;
    5. otherwise `no difference shown`.

    Rule 4 asks for a large effect too because the observed one is no guide alone: whenever a test
    comes out insignificant, its observed effect would have needed more seeds (Hoenig and Heisey,
    "The abuse of power", The American Statistician 55, 2001). Cohen, "Statistical power analysis
    for the behavioral sciences" (1988), Sec. 2.2, calls 0.8 large; a single test needs 15 seeds
    to show it.

    Args:
        comparison: with `p_holm` filled in.
        direction: whether a larger metric is better.
        level: one minus the error of all tests together.
        tests: how many tests `p_holm` was corrected for.
    """
    difference, p_holm = comparison.difference, comparison.p_holm
    if comparison.n < FEWEST_SEEDS or difference is None or p_holm is None:
        return "too few seeds to tell"
    alpha = 1 - level
    if p_holm <= alpha:
        return "better" if (difference > 0) == (direction == "maximize") else "worse"
    if difference == comparison.low == comparison.high == 0:
        return "no difference shown"
    enough = [
        seeds
        for seeds in (comparison.seeds_needed, seeds_needed(LARGE_EFFECT, alpha=alpha / tests))
        if seeds is not None
    ]
    if comparison.n < min(enough, default=MOST_SEEDS):
        return "too few seeds to tell"
    return "no difference shown"


def compare_with_winner(
    samples: Mapping[Name, Mapping[int, float]],
    winner: Name,
    direction: Direction,
    *,
    level: float = LEVEL,
) -> tuple[dict[Name, PairedComparison], int]:
    """Compare every model with the winner, seed by seed.

    The correction counts the tests between all pairs of models, not only those with the winner:
    the winner is picked by the same numbers that are then tested, and the wrong claims that this
    invites (some 12 % of studies with 8 equal models and 10 seeds) would go uncorrected.

    Args:
        samples: `{seed: metric}` of each model.
        winner: name of the model to compare with.
        direction: whether a larger metric is better.
        level: one minus the error of all tests together; level of each interval.

    Returns:
        a comparison for each model, the winner's own with only its seeds and its verdict;
        and how many tests were made, which is how many `p_holm` is corrected for.
    """
    pairs = [
        (b, a) if a == winner else (a, b)  # The winner is always the reference.
        for a, b in combinations(samples, 2)
    ]
    common = {(a, b): sorted(samples[a].keys() & samples[b].keys()) for a, b in pairs}
    tests = sum(len(seeds) > 1 for seeds in common.values())
    compared = {
        (a, b): compare_paired(
            [samples[a][seed] for seed in seeds],
            [samples[b][seed] for seed in seeds],
            level=level,
            tests=max(1, tests),
        )
        for (a, b), seeds in common.items()
    }
    corrected = holm([comparison.p for comparison in compared.values()])
    results = {winner: PairedComparison(len(samples[winner]), verdict="best mean")}
    for ((name, reference), comparison), p_holm in zip(compared.items(), corrected, strict=True):
        if reference == winner:
            comparison = replace(comparison, p_holm=p_holm)
            verdict = conclude(comparison, direction, level=level, tests=max(1, tests))
            results[name] = replace(comparison, verdict=verdict)
    return {name: results[name] for name in samples}, tests


def _finite(values: Sequence[float]) -> np.ndarray:
    sample = np.asarray(values, dtype=float)
    if not np.isfinite(sample).all():
        msg = f"expected finite values, got {list(values)}"
        raise ValueError(msg)
    return sample


def _sign_test(n: int) -> float:
    """Two-sided p-value of `n` differences that all have one sign."""
    from scipy import stats

    return float(stats.binomtest(n, n).pvalue)


def _fewest(test: Callable[[int], float], alpha: float) -> int:
    candidates = range(FEWEST_SEEDS, MOST_SEEDS)
    return candidates[bisect_left(candidates, True, key=lambda n: test(n) <= alpha)]
