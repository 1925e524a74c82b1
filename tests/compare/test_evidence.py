"""Evidence from signs: how strong it is, and that it does not mislead however often it is read."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from rnnsearch.compare.evidence import (
    log_evidence,
    median_interval,
    outside,
    share_interval,
    tosses_needed,
)

TOSSES = 120


def _ever(crosses: np.ndarray, rate: float) -> float:
    """The probability that a coin's count of heads ever reaches a place where `crosses[n, k]`."""
    alive = np.zeros(TOSSES + 2)
    alive[0], reached = 1.0, 0.0
    for n in range(1, TOSSES + 1):
        alive = (1 - rate) * alive + rate * np.concatenate([[0.0], alive[:-1]])
        hit = crosses[n, : len(alive)]
        reached += float(alive[hit].sum())
        alive = np.where(hit, 0.0, alive)
    return reached


def _crossings(error: float) -> np.ndarray:
    found = np.zeros((TOSSES + 1, TOSSES + 2), dtype=bool)
    for n in range(1, TOSSES + 1):
        strong = log_evidence(np.arange(n + 1), np.full(n + 1, n)) >= -math.log(error)
        found[n, : n + 1] = strong
    return found


class TestEvidence:
    @pytest.mark.parametrize(("heads", "tosses"), [(0, 1), (3, 5), (7, 9), (30, 41), (12, 60)])
    def test_it_is_the_mixture_of_likelihood_ratios_that_it_says(
        self, heads: int, tosses: int
    ) -> None:
        def ratio(rate: float) -> float:
            return 2 * (2 * rate) ** heads * (2 * (1 - rate)) ** (tosses - heads)

        even, _ = integrate.quad(ratio, 0.5, 1)
        found = float(np.exp(log_evidence(np.array(heads), np.array(tosses))))
        assert found == pytest.approx(0.4 * even, rel=1e-6)

    @pytest.mark.parametrize("n", [1, 4, 17, 60])
    def test_the_even_part_is_that_of_the_beta_binomial_distribution(self, n: int) -> None:
        k = np.arange(1, n)
        both = np.exp(log_evidence(k, np.full(len(k), n)))
        both += np.exp(log_evidence(n - k, np.full(len(k), n)))
        fair = stats.binom.pmf(k, n, 0.5)
        assert both == pytest.approx(0.8 * stats.betabinom.pmf(k, n, 1, 1) / fair, rel=1e-9)

    @pytest.mark.parametrize("n", [1, 2, 10, 100])
    def test_of_a_fair_coin_it_is_one_on_average(self, n: int) -> None:
        k = np.arange(n + 1)
        mean = np.exp(log_evidence(k, np.full(n + 1, n))) @ stats.binom.pmf(k, n, 0.5)
        assert mean == pytest.approx(1.0, rel=1e-9)

    @pytest.mark.parametrize("error", [0.05, 0.01, 0.001])
    @pytest.mark.parametrize("rate", [0.5, 0.4])
    def test_a_fair_coin_or_a_worse_one_ever_convinces_no_more_often_than_promised(
        self, error: float, rate: float
    ) -> None:
        assert 0 < _ever(_crossings(error), rate) <= error

    def test_looking_after_every_toss_at_an_ordinary_test_would_mislead(self) -> None:
        ordinary = np.zeros((TOSSES + 1, TOSSES + 2), dtype=bool)
        for n in range(1, TOSSES + 1):
            ordinary[n, : n + 1] = stats.binom.sf(np.arange(n + 1) - 1, n, 0.5) <= 0.05
        assert _ever(ordinary, 0.5) > 0.15

    def test_eight_matches_that_are_all_lost_tell_a_row_from_the_best_of_five(self) -> None:
        seven, eight = log_evidence(np.array([7, 8]), np.array([7, 8]))
        assert seven < math.log(5 / 0.05) < eight


class TestMedianInterval:
    def test_six_values_are_the_fewest_with_an_interval_of_95_percent(self) -> None:
        assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0], 0.05) is None
        assert median_interval([6.0, 2.0, 3.0, 1.0, 5.0, 4.0], 0.05) == (1.0, 6.0)
        assert median_interval([], 0.05) is None

    @pytest.mark.parametrize("n", [6, 10, 25, 60, 200])
    def test_it_holds_the_exact_interval_for_one_look(self, n: int) -> None:
        values = np.random.default_rng(n).normal(size=n).tolist()
        exact = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
        low, high = median_interval(values, 0.05) or (math.nan, math.nan)
        assert min(values) <= low <= exact.low
        assert exact.high <= high <= max(values)
        assert high - low < 2.2 * (exact.high - exact.low) or n < 10

    def test_with_many_values_it_closes_in_on_the_median(self) -> None:
        assert outside(10_000, 0.025) / 10_000 > 0.47

    @pytest.mark.parametrize("error", [0.05, 0.2])
    def test_it_ever_misses_the_median_no_more_often_than_promised(self, error: float) -> None:
        below = np.zeros((TOSSES + 1, TOSSES + 2), dtype=bool)
        for n in range(1, TOSSES + 1):
            cut = outside(n, error / 2)
            k = np.arange(n + 1)  # values below the median
            below[n, : n + 1] = (n - k < cut) | (k < cut)
        assert 0 < _ever(below, 0.5) <= error


class TestShareInterval:
    @pytest.mark.parametrize("rate", [0.02, 0.15, 0.5, 0.9])
    def test_it_ever_misses_the_rate_no_more_often_than_promised(self, rate: float) -> None:
        misses = np.zeros((TOSSES + 1, TOSSES + 2), dtype=bool)
        for n in range(1, TOSSES + 1):
            for k in range(n + 1):
                low, high = share_interval(k, n, 0.05)
                misses[n, k] = not low <= rate <= high
        assert _ever(misses, rate) <= 0.05

    def test_it_holds_the_exact_interval_for_one_look(self) -> None:
        for hits, n in ((0, 6), (2, 20), (9, 60), (60, 60)):
            exact = stats.binomtest(hits, n).proportion_ci(0.95)
            low, high = share_interval(hits, n, 0.05)
            assert 0 <= low <= exact.low
            assert exact.high <= high <= 1

    def test_of_nothing_nothing_is_known(self) -> None:
        assert share_interval(0, 0, 0.05) == (0.0, 1.0)


class TestTossesNeeded:
    @given(st.floats(0.55, 1.0), st.integers(1, 50), st.sampled_from([40.0, 100.0, 1600.0]))
    def test_as_many_do_and_one_fewer_does_not(
        self, rate: float, tosses: int, needed: float
    ) -> None:
        found = tosses_needed(rate, tosses, math.log(needed), 10_000)
        assert found is not None
        assert found >= tosses
        n = np.arange(max(tosses, found - 1), found + 1)
        enough = log_evidence(rate * n, n) >= math.log(needed)
        assert enough[-1]
        assert len(n) == 1 or not enough[0]

    def test_a_coin_that_does_not_favour_heads_never_does(self) -> None:
        assert tosses_needed(0.5, 10, math.log(20), 10_000) is None
        assert tosses_needed(0.501, 10, math.log(20), 10_000) is None
