"""Evidence from signs, which may be looked at after every seed without spending anything.

Whether one run ended above another is the toss of a coin whose bias is unknown. What is said here
of such coins holds for whatever the values are distributed like, skewed, two-humped or spread over
decades, and holds at all numbers of tosses together: whoever looks after each of them, and stops
when they like what they see, errs no more often than promised.

Sources: Ville (1939) for the inequality; Robbins, "Statistical methods related to the law of the
iterated logarithm", Annals of Mathematical Statistics 41 (1970), for mixtures; Howard, Ramdas,
McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of
Statistics 49 (2021); Howard and Ramdas, "Sequential estimation of quantiles with applications to
A/B testing and best-arm identification", Bernoulli 28 (2022), for medians.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

# scipy takes a second to import, so the functions that need it do it.

# Half and more of the bets are on rows that always win, as few seeds show only those apart: with
# this share, 6 seeds are enough for an interval and 9 tell five clearly different rows apart. The
# rest is spread evenly over all rates above one half.
_ALWAYS = 0.6


def log_evidence(heads: np.ndarray, tosses: np.ndarray) -> np.ndarray:
    """The natural logarithm of the evidence that a coin shows heads more often than tails.

    It is an e-value: for a coin that does not, the probability that it ever reaches `log(1 / a)` is
    at most `a`. It mixes the likelihood ratios against a fair coin: `_ALWAYS` of a coin that always
    shows heads, the rest of all rates between one half and one, evenly.

    Args:
        heads: how often it showed heads; of any shape, not necessarily whole.
        tosses: how often it was tossed, of the same shape.
    """
    from scipy import special

    k, n = np.asarray(heads, dtype=float), np.asarray(tosses, dtype=float)
    # P(Beta(k + 1, n - k + 1) > 1/2), by symmetry.
    above = special.betainc(n - k + 1, k + 1, 0.5)
    with np.errstate(divide="ignore"):
        even = (n + 1) * math.log(2) + special.betaln(k + 1, n - k + 1) + np.log(above)
    always = np.where(k >= n, n * math.log(2), -np.inf)
    found = np.logaddexp(math.log(_ALWAYS) + always, math.log(1 - _ALWAYS) + even)
    return np.asarray(found)


@lru_cache(maxsize=4096)
def outside(n: int, error: float) -> int:
    """How many of `n` sorted values lie below an interval that misses the median rarely enough.

    As many lie above it. 0 where all of them are too few for an interval.

    Args:
        n: how many values there are.
        error: probability that the interval, at any `n`, misses the median on one side.
    """
    tosses = np.full(n // 2 + 1, n)
    strong = log_evidence(n - np.arange(n // 2 + 1), tosses) >= -math.log(error)
    # With `r` values outside, the median lies beyond the interval only if `n - r + 1` or more of
    # the values lie on its one side.
    return int(strong.sum())


def median_interval(values: Sequence[float], error: float) -> tuple[float, float] | None:
    """Two of the values that enclose the median; None where there are too few.

    Args:
        values: independent values of one distribution, in any order.
        error: probability that the interval, at any number of values, misses the median.
    """
    found, n = sorted(values), len(values)
    left = outside(n, error / 2) if n else 0
    return (found[left - 1], found[n - left]) if left else None


def share_interval(hits: int, n: int, error: float) -> tuple[float, float]:
    """An interval for a probability, from how often something happened.

    All rates `p` against which the mixture of Jeffreys, Beta(1/2, 1/2), is not worth `1 / error`.

    Args:
        hits: how often.
        n: out of how many.
        error: probability that the interval, at any `n`, misses.
    """
    from scipy import optimize, special

    if n == 0:
        return 0.0, 1.0
    mixture = special.betaln(hits + 0.5, n - hits + 0.5) - special.betaln(0.5, 0.5)

    def excess(p: float) -> float:
        likelihood = special.xlogy(hits, p) + special.xlog1py(n - hits, -p)
        return float(mixture - likelihood + math.log(error))

    rate = hits / n
    low = 0.0 if hits == 0 else optimize.brentq(excess, 1e-300, rate)
    high = 1.0 if hits == n else optimize.brentq(excess, rate, 1 - 1e-16)
    return float(low), float(high)


def tosses_needed(rate: float, tosses: int, log_needed: float, most: int) -> int | None:
    """After how many tosses the evidence would do, if heads kept coming at a rate.

    Args:
        rate: share of heads.
        tosses: how many were made; the answer is no smaller.
        log_needed: the logarithm of the evidence that is needed.
        most: None is returned above.
    """
    if rate <= 0.5:
        return None

    def suffices(n: int) -> bool:
        return bool(log_evidence(np.array(rate * n), np.array(n)) >= log_needed)

    # At a rate above one half, evidence that falls at first rises ever after.
    numbers = range(max(1, tosses), most + 1)
    first = bisect_left(numbers, True, key=suffices)
    return numbers[first] if first < len(numbers) else None
