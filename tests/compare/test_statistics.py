"""What the seeds of one row say: a typical run, its interval, and how many failed to train."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rnnsearch.compare.statistics import Share, estimate, untrained

VALUES = [0.9, 0.2, 0.91, 0.88, 0.92, 0.895, 0.905]
finite = st.floats(-1e6, 1e6, allow_nan=False)


class TestEstimate:
    def test_it_is_what_scipy_and_numpy_say_of_the_values(self) -> None:
        found = estimate(VALUES)
        assert found.n == 7
        assert found.median == np.median(VALUES)
        assert found.mean == pytest.approx(np.mean(VALUES))
        assert found.iqm == pytest.approx(stats.trim_mean(VALUES, 0.25))
        assert found.std == pytest.approx(np.std(VALUES, ddof=1))
        assert (found.low, found.high) == (0.2, 0.92)

    def test_one_value_has_neither_interval_nor_spread(self) -> None:
        found = estimate([0.5])
        assert (found.median, found.mean, found.iqm) == (0.5, 0.5, 0.5)
        assert (found.low, found.high, found.std) == (None, None, None)

    @given(st.lists(finite, min_size=1, max_size=40))
    def test_no_interval_leaves_the_range_of_the_values(self, values: list[float]) -> None:
        found = estimate(values)
        ends = [end for end in (found.low, found.high) if end is not None]
        assert all(min(values) <= end <= max(values) for end in ends)

    @given(st.lists(st.floats(0.01, 10), min_size=6, max_size=40))
    def test_a_loss_and_its_exponential_have_the_same_interval(self, losses: list[float]) -> None:
        # So perplexity and the loss that it is of cannot disagree.
        loss, perplexity = estimate(losses), estimate([math.exp(value) for value in losses])
        assert loss.low is not None
        assert loss.high is not None
        assert (perplexity.low, perplexity.high) == (math.exp(loss.low), math.exp(loss.high))

    @pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
    def test_what_is_no_sample_is_refused(self, values: list[float]) -> None:
        with pytest.raises(ValueError, match=r"at least one value|finite values"):
            estimate(values)

    @pytest.mark.parametrize("n", [6, 9, 20])
    def test_the_interval_of_two_humped_values_covers_their_median(self, n: int) -> None:
        # Where 15 % of the runs fail, a t-interval over six misses the mean in a third of cases.
        source, hits = np.random.default_rng(n), 0
        for _ in range(2000):
            trained = source.random(n) > 0.15
            values = np.where(trained, source.normal(0.85, 0.02, n), source.normal(0.3, 0.05, n))
            found = estimate(values.tolist())
            assert found.low is not None
            assert found.high is not None
            # Half of all is 0.35 / 0.85 of those that train.
            true = stats.norm.ppf(0.35 / 0.85, 0.85, 0.02)
            hits += found.low <= true <= found.high
        assert hits / 2000 >= 0.95


class TestUntrained:
    def test_seeds_no_better_than_no_skill_count(self) -> None:
        found = untrained([0.1, 0.9, 0.1135, 0.12], 0.1135, "maximize")
        assert (found.count, found.n) == (2, 4)
        assert 0 < found.low < 0.5 < found.high < 1
        assert untrained([0.5, 1.0, 2.0], 1.0, "minimize").count == 2

    def test_none_of_six_may_still_be_half_of_all(self) -> None:
        found = untrained([0.9] * 6, 0.1, "maximize")
        assert found == Share(0, 6, 0.0, pytest.approx(0.526, abs=1e-3))
