"""The statistics, against textbook data, formulas in numpy, and a second library."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from rnnsearch.compare.statistics import (
    PairedComparison,
    compare_paired,
    compare_with_winner,
    conclude,
    estimate,
    holm,
    seeds_needed,
)

# Student's sleep data (Biometrika 6, 1908): extra hours of sleep of ten patients with two drugs.
FIRST_DRUG = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND_DRUG = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]

samples = st.lists(
    st.floats(-100, 100, allow_nan=False).map(lambda value: round(value, 3)),
    min_size=2,
    max_size=12,
)


@pytest.fixture(autouse=True, scope="module")
def little_garbage_to_collect() -> Iterator[None]:
    """Exclude imported objects from garbage collection, which statsmodels' corrections trigger."""
    gc.freeze()
    yield
    gc.unfreeze()


class TestEstimate:
    def test_the_interval_of_one_to_five_is_that_of_the_table_of_t(self) -> None:
        # t(0.975, 4) = 2.776, std = sqrt(2.5).
        result = estimate([1.0, 2.0, 3.0, 4.0, 5.0])
        assert result.mean == 3.0
        assert result.std == pytest.approx(math.sqrt(2.5))
        assert result.low == pytest.approx(3 - 2.776 * math.sqrt(2.5 / 5), abs=1e-3)
        assert result.high == pytest.approx(3 + 2.776 * math.sqrt(2.5 / 5), abs=1e-3)

    def test_a_single_value_has_a_mean_and_no_interval(self) -> None:
        result = estimate([0.9])
        assert (result.n, result.mean) == (1, 0.9)
        assert (result.low, result.high, result.std) == (None, None, None)

    def test_equal_values_have_an_interval_of_width_zero(self) -> None:
        result = estimate([0.1, 0.1, 0.1])
        assert result.low == result.mean == result.high
        assert result.mean == pytest.approx(0.1)
        assert result.std == 0.0

    @pytest.mark.parametrize("values", [[], [0.9, math.nan], [math.inf]], ids=str)
    def test_no_value_and_values_that_are_not_finite_are_refused(self, values: list[float]) -> None:
        with pytest.raises(ValueError, match=r"at least one value|expected finite values"):
            estimate(values)

    @given(samples)
    def test_interval_agrees_with_statsmodels(self, values: list[float]) -> None:
        result = estimate(values)
        described = DescrStatsW(np.array(values))
        assert result.mean == pytest.approx(described.mean, abs=1e-9)
        assert result.std == pytest.approx(np.array(values).std(ddof=1), abs=1e-9)
        if np.ptp(values) > 0:
            assert (result.low, result.high) == pytest.approx(
                described.tconfint_mean(0.05), abs=1e-8
            )

    @given(samples, st.randoms(use_true_random=False))
    def test_the_order_of_the_seeds_does_not_matter_for_the_mean(self, values, random) -> None:
        shuffled = random.sample(values, len(values))
        assert estimate(shuffled).mean == estimate(values).mean

    @pytest.mark.parametrize("level", [0.95, 0.8])
    def test_the_interval_covers_the_truth_as_often_as_it_says(self, level: float) -> None:
        generator = np.random.default_rng(0)
        drawn = generator.normal(0.9, 0.02, (600, 5))
        covered = [
            result.low <= 0.9 <= result.high
            for result in (estimate(list(values), level=level) for values in drawn)
            if result.low is not None and result.high is not None
        ]
        assert len(covered) == 600
        # Four standard errors with 600 draws.
        assert np.mean(covered) == pytest.approx(level, abs=4 * math.sqrt(level * 0.2 / 600))


class TestComparePaired:
    def test_students_sleep_data_give_the_published_result(self) -> None:
        result = compare_paired(FIRST_DRUG, SECOND_DRUG)
        assert result.n == 10
        assert result.difference == pytest.approx(-1.58)
        assert result.p == pytest.approx(0.002833, abs=1e-6)
        assert (result.low, result.high) == pytest.approx((-2.4598858, -0.7001142), abs=1e-7)
        assert result.effect_size == pytest.approx(-4.0621 / math.sqrt(10), abs=1e-4)

    @given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=2, max_size=12))
    def test_result_agrees_with_a_test_of_the_differences_in_the_other_library(
        self, pairs: list[tuple[int, int]]
    ) -> None:
        values, references = np.array(pairs).T / 1000
        differences = values - references
        result = compare_paired(list(values), list(references))
        assert result.difference == pytest.approx(differences.mean(), abs=1e-12)
        if np.ptp(differences) > 1e-9:
            described = DescrStatsW(differences)
            assert result.p == pytest.approx(described.ttest_mean(0)[1], abs=1e-9)
            assert (result.low, result.high) == pytest.approx(
                described.tconfint_mean(0.05), abs=1e-9
            )
            assert result.effect_size == pytest.approx(
                differences.mean() / differences.std(ddof=1), rel=1e-6, abs=1e-9
            )

    def test_swapping_the_two_models_changes_only_signs(self) -> None:
        one, other = (
            compare_paired(FIRST_DRUG, SECOND_DRUG),
            compare_paired(SECOND_DRUG, FIRST_DRUG),
        )
        assert one.difference == pytest.approx(-(other.difference or 0))
        assert one.low == pytest.approx(-(other.high or 0))
        assert one.effect_size == pytest.approx(-(other.effect_size or 0))
        assert (one.p, one.seeds_needed) == (other.p, other.seeds_needed)

    def test_identical_values_have_p_one_and_no_effect(self) -> None:
        result = compare_paired([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
        assert result == PairedComparison(3, 0.0, 0.0, 0.0, p=1.0, effect_size=0.0)

    def test_rounding_of_single_precision_is_no_difference(self) -> None:
        values = [0.91, 0.92, 0.95]
        rounded = [float(np.float32(value)) for value in values]
        assert rounded != values
        assert compare_paired(rounded, values).p == 1.0

    def test_one_difference_in_all_seeds_falls_back_to_the_sign_test(self) -> None:
        values = [0.91, 0.92, 0.95, 0.93, 0.90]
        result = compare_paired([value - 0.02 for value in values], values)
        assert result.difference == pytest.approx(-0.02)
        assert result.low == result.high == result.difference
        assert result.p == pytest.approx(2 / 2**5)
        assert result.effect_size is None
        assert result.seeds_needed == 6  # 2 / 2^6 is the first below 0.05.

    @pytest.mark.parametrize("n", [0, 1])
    def test_fewer_than_two_common_seeds_leave_p_and_interval_open(self, n: int) -> None:
        result = compare_paired([0.9] * n, [0.8] * n)
        assert result.n == n
        assert (result.low, result.high, result.p, result.effect_size) == (None,) * 4

    def test_lists_of_different_length_are_refused(self) -> None:
        with pytest.raises(ValueError, match="one reference each, got 2 and 3"):
            compare_paired([1.0, 2.0], [1.0, 2.0, 3.0])

    def test_values_that_are_not_finite_are_refused(self) -> None:
        with pytest.raises(ValueError, match="expected finite values"):
            compare_paired([1.0, math.nan], [1.0, 2.0])


class TestHolm:
    def test_the_worked_example_comes_out(self) -> None:
        # Sorted: 4 * 0.005, 3 * 0.01, 2 * 0.03, and 0.04, raised to the value before it.
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_a_test_that_was_not_made_stays_open_and_does_not_count(self) -> None:
        assert holm([None, 0.02, None, 0.04]) == [None, pytest.approx(0.04), None, 0.04]
        assert holm([None]) == [None]
        assert holm([]) == []

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
    @settings(max_examples=30, deadline=None)
    def test_correction_agrees_with_the_definition(self, p_values: list[float]) -> None:
        ascending = np.argsort(p_values, kind="stable")
        expected = np.empty(len(p_values))
        largest = 0.0
        for step, index in enumerate(ascending):
            largest = max(largest, min(1.0, (len(p_values) - step) * p_values[index]))
            expected[index] = largest
        assert holm(p_values) == pytest.approx(list(expected))


class TestSeedsNeeded:
    # G*Power 3.1, t tests, difference between two dependent means, two tails, alpha 0.05.
    @pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15), (-0.8, 15)])
    def test_number_is_that_of_the_tables_of_power(self, effect: float, seeds: int) -> None:
        assert seeds_needed(effect) == seeds

    @given(st.floats(0.05, 2.5), st.sampled_from([0.05, 0.05 / 10, 0.05 / 66]))
    @settings(max_examples=40)
    def test_the_number_has_the_power_and_one_less_has_not(self, effect, alpha) -> None:
        def power(seeds: int) -> float:
            # Definition, with the noncentral t distribution.
            critical = stats.t.isf(alpha / 2, seeds - 1)
            return float(stats.nct.sf(critical, seeds - 1, effect * math.sqrt(seeds)))

        seeds = seeds_needed(effect, alpha=alpha)
        assert seeds is not None
        assert power(seeds) >= 0.8
        assert seeds == 3 or power(seeds - 1) < 0.8

    @pytest.mark.parametrize("effect", [0.3, 0.7, 1.1, 1.9])
    def test_number_is_the_solution_of_statsmodels_rounded_up(self, effect: float) -> None:
        solved = TTestPower().solve_power(effect_size=effect, alpha=0.05, power=0.8)
        assert seeds_needed(effect) == math.ceil(solved)

    @pytest.mark.parametrize("effect", [0.0, 1e-9, 0.001, math.nan])
    def test_an_effect_that_no_affordable_number_shows_has_none(self, effect: float) -> None:
        assert seeds_needed(effect) is None

    @pytest.mark.parametrize("effect", [30.0, 1e4, 1e12, math.inf])
    @pytest.mark.parametrize("alpha", [0.05, 0.05 / 66])
    def test_a_huge_effect_needs_a_handful(self, effect: float, alpha: float) -> None:
        assert seeds_needed(effect, alpha=alpha) in (3, 4)

    @pytest.mark.parametrize("alpha", [0.05, 0.05 / 10, 0.05 / 66])
    def test_a_larger_effect_never_needs_more_seeds(self, alpha: float) -> None:
        needed = [seeds_needed(effect, alpha=alpha) for effect in np.geomspace(0.05, 1e3, 60)]
        assert None not in needed
        assert needed == sorted(needed, key=lambda seeds: -(seeds or 0))


def paired(n: int = 5, **fields: object) -> PairedComparison:
    basis = PairedComparison(
        n, -0.01, -0.02, 0.0, p=0.04, p_holm=0.04, effect_size=-1.2, seeds_needed=8
    )
    return replace(basis, **fields)  # type: ignore[arg-type]


class TestConclude:
    def test_a_significant_loss_of_accuracy_is_worse(self) -> None:
        assert conclude(paired(), "maximize") == "worse"

    def test_a_significant_loss_of_error_is_better(self) -> None:
        assert conclude(paired(), "minimize") == "better"

    def test_the_corrected_p_value_decides(self) -> None:
        assert conclude(paired(p_holm=0.08), "maximize") == "too few seeds to tell"

    def test_two_seeds_are_too_few_however_small_p_is(self) -> None:
        assert conclude(paired(n=2, p_holm=1e-6), "maximize") == "too few seeds to tell"

    def test_without_common_seeds_there_are_too_few(self) -> None:
        assert conclude(PairedComparison(0), "maximize") == "too few seeds to tell"

    def test_the_same_metric_in_every_seed_is_no_difference(self) -> None:
        same = compare_paired([0.1] * 3, [0.1] * 3)
        assert conclude(replace(same, p_holm=1.0), "maximize") == "no difference shown"

    @pytest.mark.parametrize(
        ("n", "tests", "expected"),
        [
            (14, 1, "too few seeds to tell"),
            (15, 1, "no difference shown"),
            (24, 10, "too few seeds to tell"),
            (25, 10, "no difference shown"),
        ],
    )
    def test_no_difference_is_shown_once_a_large_one_would_have_been(self, n, tests, expected):
        small = paired(n=n, p_holm=0.6, effect_size=0.1, seeds_needed=787)
        assert conclude(small, "maximize", tests=tests) == expected

    def test_an_effect_of_exactly_zero_on_few_seeds_is_too_few_to_tell(self) -> None:
        result = compare_paired([0.9, 0.8, 0.85], [0.8, 0.9, 0.85])
        assert result.difference == 0.0
        assert result.seeds_needed is None
        assert conclude(replace(result, p_holm=1.0), "maximize") == "too few seeds to tell"


class TestCompareWithWinner:
    def test_every_pair_of_models_counts_in_the_correction(self) -> None:
        generator = np.random.default_rng(1)
        scores = {
            name: dict(enumerate(generator.normal(mean, 0.01, 6)))
            for name, mean in [("a", 0.95), ("b", 0.94), ("c", 0.93), ("d", 0.90)]
        }
        results, tests = compare_with_winner(scores, "a", "maximize")
        assert tests == 6
        raw = [
            stats.ttest_rel(list(scores[x].values()), list(scores[y].values())).pvalue
            for x, y in combinations("abcd", 2)
        ]
        expected = holm([float(p) for p in raw])
        assert [results[name].p_holm for name in "bcd"] == pytest.approx(expected[:3])

    def test_models_keep_their_order_and_the_winner_is_not_compared_with_itself(self) -> None:
        scores = {"b": {1: 0.8, 2: 0.81}, "a": {1: 0.9, 2: 0.92}}
        results, _ = compare_with_winner(scores, "a", "maximize")
        assert list(results) == ["b", "a"]
        assert results["a"] == PairedComparison(2, verdict="best mean")
        assert results["b"].difference == pytest.approx(-0.105)

    def test_pairs_are_formed_by_seed_and_not_by_order(self) -> None:
        scores = {"a": {3: 0.93, 1: 0.91, 2: 0.95}, "b": {1: 0.90, 2: 0.92, 3: 0.91, 9: 0.1}}
        result = compare_with_winner(scores, "a", "maximize")[0]["b"]
        expected = compare_paired([0.90, 0.92, 0.91], [0.91, 0.95, 0.93])
        assert result.n == 3
        assert result.p == expected.p

    def test_a_model_without_common_seeds_costs_the_others_nothing(self) -> None:
        scores = {
            "a": {1: 0.93, 2: 0.91, 3: 0.95},
            "b": {1: 0.90, 2: 0.89, 3: 0.91},
            "c": {7: 0.5},
        }
        results, tests = compare_with_winner(scores, "a", "maximize")
        assert tests == 1
        assert results["b"].p_holm == results["b"].p
        assert results["c"].verdict == "too few seeds to tell"

    def test_a_winner_alone_needs_no_test(self) -> None:
        results, tests = compare_with_winner({"a": {1: 0.9}}, "a", "maximize")
        assert (results["a"].verdict, tests) == ("best mean", 0)

    def test_a_clear_difference_is_found(self) -> None:
        generator = np.random.default_rng(2)
        scores = {
            "good": dict(enumerate(generator.normal(0.96, 0.004, 5))),
            "bad": dict(enumerate(generator.normal(0.77, 0.004, 5))),
        }
        results, _ = compare_with_winner(scores, "good", "maximize")
        assert results["bad"].verdict == "worse"

    def test_equal_models_are_rarely_told_apart_although_the_winner_is_picked(self) -> None:
        generator = np.random.default_rng(3)
        wrong = 0
        for drawn in generator.normal(size=(40, 4, 5)):
            scores = {name: dict(enumerate(values)) for name, values in enumerate(drawn)}
            winner = int(drawn.mean(axis=1).argmax())
            results, _ = compare_with_winner(scores, winner, "maximize")
            wrong += any(r.verdict in ("worse", "better") for r in results.values())
        assert wrong <= 4  # 2 of 40 expected, plus a margin for chance.

    def test_counting_only_tests_with_the_winner_would_make_twice_as_many_wrong_claims(self):
        drawn = np.random.default_rng(4).normal(size=(4000, 8, 10))
        best = drawn.mean(axis=2).argmax(axis=1)
        differences = drawn - drawn[np.arange(4000), best][:, None]
        with np.errstate(invalid="ignore"):  # The winner compared with itself.
            t = differences.mean(axis=2) / (differences.std(axis=2, ddof=1) / math.sqrt(10))
        smallest = np.nanmin(2 * stats.t.sf(np.abs(t), 9), axis=1)
        assert np.mean(smallest <= 0.05 / 7) == pytest.approx(0.12, abs=0.025)
