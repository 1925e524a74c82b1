"""What the seeds of one row say of it: a typical run, how sure that is, and how many runs failed.

The typical run is the median. Training runs are skewed and two-humped (a few seeds hardly train),
and errors spread over decades; of the mean of such values no interval is right at every number of
seeds unless it is too wide to be of use (Bahadur and Savage, Annals of Mathematical Statistics 27,
1956). That of the median is right for every distribution, never leaves the range of the metric,
and is the same for a loss and its exponential. What the median does not see, the share of runs
that failed to train, is a result of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnsearch.compare.evidence import median_interval, share_interval
from rnnsearch.spec.shape import Direction

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A row's values over seeds.

    Attributes:
        n: values.
        median: their median, a typical run.
        low: lower end of its interval, None for fewer than six values; right at all `n` together.
        high: upper end of its interval.
        mean: their mean.
        iqm: their interquartile mean: without the lowest and the highest quarter (Agarwal et al.,
            "Deep reinforcement learning at the edge of the statistical precipice", 2021).
        std: standard deviation with `n - 1` degrees of freedom, None for a single value.
    """

    n: int
    median: float
    low: float | None
    high: float | None
    mean: float
    iqm: float
    std: float | None


@dataclass(frozen=True)
class Share:
    """A share of the seeds, and its 95 % interval, which is right at all numbers of them together.

    Attributes:
        count: seeds of which something is true.
        n: all seeds.
        low: lower end of the interval of the probability.
        high: upper end of the interval of the probability.
    """

    count: int
    n: int
    low: float
    high: float


def estimate(values: Sequence[float], *, level: float = LEVEL) -> Estimate:
    """Say what values over seeds are like.

    Args:
        values: `(n,)` finite metrics, one per seed; at least one.
        level: probability that the interval covers the median of all seeds there could be.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    sample = np.sort(np.asarray(values, dtype=float))
    if len(sample) == 0:
        msg = "a median needs at least one value, got none"
        raise ValueError(msg)
    if not np.isfinite(sample).all():
        msg = f"expected finite values, got {list(values)}"
        raise ValueError(msg)
    n = len(sample)
    low, high = median_interval(sample.tolist(), 1 - level) or (None, None)
    middle = sample[n // 4 : n - n // 4]
    # `fsum` makes the means independent of the order of the seeds.
    return Estimate(
        n,
        float(np.median(sample)),
        low,
        high,
        math.fsum(sample) / n,
        math.fsum(middle) / len(middle),
        float(np.std(sample, ddof=1)) if n > 1 else None,
    )


def untrained(
    values: Sequence[float], no_skill: float, direction: Direction, *, level: float = LEVEL
) -> Share:
    """The share of seeds that ended no better than a predictor that ignores its input."""
    sign = 1 if direction == "maximize" else -1
    idle = sum(sign * value <= sign * no_skill for value in values)
    return Share(idle, len(values), *share_interval(idle, len(values), 1 - level))
