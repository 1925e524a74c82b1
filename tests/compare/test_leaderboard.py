"""Rows: which count, in which order, and which are left out and why."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median

import pytest

from rnnsearch.compare.leaderboard import Row
from rnnsearch.compare.statistics import estimate
from rnnsearch.spec.margin import Margin
from rnnsearch.spec.trial import (
    TrialRecord,
)

from ..trial_records import (
    GOOD,
    MIDDLING,
    POOR,
    comparison,
    confirmed,
    epoch,
    names,
    record,
    searched,
)


class TestRanking:
    def test_the_highest_median_comes_first_where_more_is_better(self) -> None:
        result = comparison(confirmed("elman", POOR) + confirmed("gru", GOOD))
        assert names(result.ranked) == ["gru", "elman"]
        assert [row.verdict for row in result.ranked] == ["best", "worse"]

    def test_the_lowest_median_comes_first_where_less_is_better(self) -> None:
        result = comparison(confirmed("a", GOOD) + confirmed("b", POOR), direction="minimize")
        assert names(result.ranked) == ["b", "a"]
        assert [row.verdict for row in result.ranked] == ["best", "worse"]
        assert "b is the best of" in result.headline

    def test_the_order_of_the_records_does_not_matter(self) -> None:
        records = confirmed("gru", GOOD) + confirmed("elman", POOR) + confirmed("lstm", MIDDLING)
        assert comparison(records).rows == comparison(records[::-1]).rows

    def test_median_interval_and_spread_are_those_of_the_seeds(self) -> None:
        (row,) = comparison(confirmed("gru", GOOD)).rows
        expected = estimate(GOOD)
        assert (row.median, row.low, row.high) == (expected.median, expected.low, expected.high)
        assert (row.mean, row.iqm, row.std) == (expected.mean, expected.iqm, expected.std)
        assert (row.seeds, row.values, row.n) == (tuple(range(1, 9)), tuple(GOOD), 8)

    def test_rows_are_compared_with_the_winner_on_common_seeds(self) -> None:
        records = confirmed("gru", GOOD) + confirmed("elman", POOR)[1:]
        row = comparison(records).ranked[1]
        differences = [poor - good for poor, good in zip(POOR[1:], GOOD[1:], strict=True)]
        assert row.standing is not None
        assert row.standing.n == 7
        assert row.standing.difference == pytest.approx(median(differences))
        assert row.standing.ahead == 0.0

    def test_rows_too_alike_for_their_seeds_are_not_told_apart(self) -> None:
        records = confirmed("gru", GOOD) + confirmed("lstm", MIDDLING)
        result = comparison(records, margin=Margin(0.0, False))
        assert [row.verdict for row in result.ranked] == ["undecided", "undecided"]
        told = "gru is not told apart yet, but leads with a median test accuracy of 0.9635 ["
        assert result.headline.startswith(told)
        assert result.headline.endswith("The others, undecided: lstm.")

    def test_equal_means_share_a_place(self) -> None:
        records = confirmed("a", GOOD) + confirmed("b", GOOD[::-1]) + confirmed("c", POOR)
        assert [row.place for row in comparison(records).ranked] == [1, 1, 3]

    def test_several_configurations_of_a_label_are_rows_of_their_own(self) -> None:
        records = confirmed("gru", POOR) + confirmed("gru", GOOD, rank=1)
        result = comparison(records)
        assert names(result.ranked) == ["gru #2", "gru #1"]
        assert [(row.label, row.rank) for row in result.ranked] == [("gru", 1), ("gru", 0)]

    def test_a_label_that_looks_like_a_configuration_takes_nothing_from_it(self) -> None:
        records = confirmed("gru", POOR) + confirmed("gru", GOOD, rank=1)
        result = comparison(records + confirmed("gru #1", MIDDLING))
        assert sorted(row.mean or 0 for row in result.ranked) == pytest.approx(
            sorted(estimate(values).mean for values in (POOR, GOOD, MIDDLING))
        )

    def test_the_last_complete_confirmation_of_a_seed_counts(self) -> None:
        records = [
            record(seed=1, metric=0.90, number=4),
            record(seed=1, metric=0.91, number=7),
            record(seed=1, state="FAIL", reason="out of memory", number=1),
            record(seed=2, metric=0.92, number=2),
        ]
        (row,) = comparison(records).rows
        assert row.values == (0.91, 0.92)
        assert row.failed_seeds == ()

    def test_search_results_never_enter_the_ranking(self) -> None:
        result = comparison([*searched("gru", 2), record(seed=5, metric=0.9, number=1)])
        assert result.rows[0].values == (0.9,)

    def test_nothing_confirmed_gives_no_winner(self) -> None:
        result = comparison([])
        assert (result.rows, result.winner, result.margin) == ((), None, 0.0)
        assert result.headline == "No configuration is confirmed, so nothing is ranked."


class TestUnrankedRows:
    def test_a_label_whose_confirmations_all_failed_is_listed_with_the_reason(self) -> None:
        records = [
            record("snn", seed, state="FAIL", reason="loss became nan", number=seed)
            for seed in (1, 2)
        ]
        result = comparison(confirmed("gru", GOOD) + records)
        assert names(result.unranked) == ["snn"]
        (row,) = result.unranked
        assert row.reason == "2 confirmations failed: loss became nan"
        assert (row.place, row.verdict, row.mean, row.failed_seeds) == (None, None, None, (1, 2))
        assert result.rows[-1] is row

    def test_a_failure_before_its_specification_was_known_is_listed_too(self) -> None:
        lost = TrialRecord("confirmation", "snn", 0, None, "FAIL", "no plugin provides `snn`")
        (row,) = comparison([lost]).rows
        assert (row.label, row.architecture) == ("snn", "")
        assert row.reason == "1 confirmation failed: no plugin provides `snn`"

    def test_a_label_that_was_only_searched_is_not_confirmed(self) -> None:
        (row,) = comparison(searched("gru", 3, architecture="gated")).rows
        assert (row.reason, row.architecture) == ("not confirmed", "gated")

    def test_a_search_in_which_everything_failed_says_why(self) -> None:
        records = searched("gru", 2, state="FAIL", reason="out of memory")
        (row,) = comparison(records).rows
        assert row.reason == "not confirmed: all 2 search trials failed: out of memory"

    def test_confirmations_that_are_still_running_are_said_to_be(self) -> None:
        result = comparison([record(state="RUNNING")])
        assert result.rows[0].reason == "its confirmations are still running"
        assert result.rows[0].failed_seeds == ()
        assert "Confirmations are still running: gru." in result.caveats

    @pytest.mark.parametrize("metric", [None, math.nan, math.inf])
    def test_a_test_metric_that_is_not_finite_does_not_count(self, metric: float | None) -> None:
        (row,) = comparison([record(metric=metric)]).rows
        assert row.reason == "1 confirmation failed: finished without a finite test metric"
        assert row.failed_seeds == (1,)


class TestDescription:
    def test_costs_that_were_counted_otherwise_are_not_shown_side_by_side(self) -> None:
        one = record(metric=0.9)
        assert one.complexity is not None
        old = replace(one, complexity=replace(one.complexity, flops_counted="products"))
        (row,) = comparison([old]).rows
        assert (row.state_size, row.flops_per_step) == (38, None)

    def test_a_row_tells_what_was_trained(self) -> None:
        (row,) = comparison(confirmed("mine", [0.9], parameters=3264, architecture="gru")).rows
        assert (row.label, row.architecture, row.rank) == ("mine", "gru", 0)
        assert (row.parameters, row.trainable, row.one_bias, row.frozen) == (3264, 3264, 3234, 7)
        assert row.residual == pytest.approx(0.02)
        assert (row.state_size, row.flops_per_step, row.engine) == (38, 6400.0, "eager")
        assert (row.hidden_sizes, row.learning_rate) == ("20, 18", 1e-3)
        assert row.options == (
            "clamp=soft, slope=0.25, tied=true, "
            "optimizer=adam, batch_size=20, epochs=2, gradient_clip=1"
        )

    def test_time_per_step_is_the_median_over_all_epochs_of_complete_confirmations(self) -> None:
        records = [
            record(seed=1, metric=0.9, epochs=[epoch(1, step_ms=90.0), epoch(2, step_ms=4.0)]),
            record(seed=2, metric=0.9, epochs=[epoch(1, step_ms=5.0)], number=1),
            record(seed=3, state="FAIL", epochs=[epoch(1, step_ms=500.0)] * 5, number=2),
            record(seed=4, metric=0.9, epochs=[epoch(1, step_ms=math.nan)], number=3),
        ]
        assert comparison(records).rows[0].step_ms == 5.0

    @pytest.mark.parametrize(
        ("median", "decimals"), [(0.9652, 4), (0.000324, 7), (110.6, 1), (54_321.0, 0), (0.0, 4)]
    )
    def test_decimals_show_four_digits_of_the_median(self, median: float, decimals: int) -> None:
        assert Row("gru", "gru", median=median).decimals == decimals
