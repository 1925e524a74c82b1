"""From records to a comparison: which row wins, and with which caveats."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from rnnsearch.report.tables import make_tables

from ..trial_records import (
    GOOD,
    MIDDLING,
    POOR,
    SOURCE,
    comparison,
    confirmed,
    names,
    record,
)


class TestUnmatchedRows:
    records = (
        confirmed("gru", MIDDLING)
        + confirmed("elman", POOR)
        + confirmed("ff_nn", [v + 0.02 for v in GOOD], parameters=328_810, matched=False)
    )

    def test_an_unmatched_row_may_stand_first_but_does_not_win(self) -> None:
        result = comparison(self.records)
        assert names(result.ranked) == ["ff_nn", "gru", "elman"]
        assert result.winner is not None
        assert result.winner.name == "gru"
        assert result.ranked[0].verdict == "better"

    def test_it_is_marked_in_the_caveats_and_in_the_table(self) -> None:
        result = comparison(self.records)
        assert (
            "Shown without being held to the budget of 3,200 parameters: ff_nn (328,810)."
            in result.caveats
        )
        assert "Ranked above the best mean, but not at the budget: ff_nn." in result.caveats
        assert "| ff_nn † |" in make_tables(result, {})[0].to_markdown()

    def test_where_no_row_is_matched_the_best_wins(self) -> None:
        records = [*confirmed("a", GOOD, matched=False), *confirmed("b", POOR, matched=False)]
        result = comparison(records)
        assert result.winner is not None
        assert result.winner.name == "a"
        assert not result.headline.startswith("Of the models at")


class TestCaveats:
    def test_a_fair_comparison_has_none(self) -> None:
        result = comparison(confirmed("gru", GOOD) + confirmed("elman", POOR))
        assert result.caveats == ()

    def test_the_caveat_of_the_data_comes_first(self) -> None:
        source = replace(SOURCE, caveat="5,000 of 70,000 digits.")
        result = comparison(confirmed("gru", [0.9]), source=source)
        assert result.caveats[0] == "Data: 5,000 of 70,000 digits."

    def test_a_single_row_has_nothing_to_be_compared_with(self) -> None:
        result = comparison(confirmed("gru", GOOD))
        assert result.caveats == (
            "Only one configuration is confirmed, so there is nothing to compare it with.",
        )

    def test_failed_seeds_are_named(self) -> None:
        failed = [record("gru", s, state="FAIL", reason="nan", number=s) for s in (9, 8)]
        result = comparison(confirmed("gru", GOOD) + confirmed("elman", POOR) + failed)
        assert "gru: failed and left out: seeds 8 and 9." in result.caveats
        assert result.ranked[0].failed_seeds == (8, 9)

    def test_fewer_than_three_seeds_are_too_few(self) -> None:
        result = comparison(confirmed("gru", GOOD[:2]) + confirmed("elman", POOR[:2]))
        assert result.caveats == (
            "Too few seeds to tell from gru: elman (2 seeds in common, at least 3 needed).",
        )

    @pytest.mark.parametrize(("direction", "idle"), [("maximize", "elman"), ("minimize", "gru")])
    def test_a_row_that_learned_nothing_is_named(self, direction: str, idle: str) -> None:
        records = confirmed("gru", GOOD) + confirmed("elman", POOR)
        result = comparison(records, direction=direction, no_skill=0.8)
        assert f"No better than a predictor that ignores its input (0.8): {idle}." in result.caveats

    def test_rows_that_were_left_out_are_named_with_the_reason(self) -> None:
        why = "study.yaml:5: architectures[1]: architecture `x` failed"
        result = comparison(confirmed("gru", GOOD), left_out={"x": why})
        assert f"Left out, as it cannot run: {why}" in result.caveats

    @pytest.mark.parametrize(
        ("values", "limits", "said"),
        [
            ([0.99, 1.0], (0.0, 1.0), "No accuracy lies below 0 or above 1, but these intervals"),
            ([0.05, 0.01], (0.0, 1.0), "No accuracy lies below 0 or above 1, but these intervals"),
            ([0.05, 0.01], (0.0, math.inf), "No accuracy lies below 0, but these intervals"),
            ([0.99, 1.0], (-math.inf, 1.0), "No accuracy lies above 1, but these intervals"),
        ],
    )
    def test_an_interval_beyond_what_the_metric_can_be_is_named_and_not_cut(
        self, values: list[float], limits: tuple[float, float], said: str
    ) -> None:
        result = comparison(confirmed("gru", values), limits=limits)
        (row,) = result.ranked
        assert row.low is not None
        assert row.high is not None
        assert row.low < limits[0] or row.high > limits[1], "as it was computed"
        (note,) = (caveat for caveat in result.caveats if caveat.startswith(said))
        assert f"gru ({row.low:.4g} to {row.high:.4g}, 2 seeds)" in note

    @pytest.mark.parametrize("limits", [(0.0, 1.0), (-math.inf, math.inf)])
    def test_nothing_is_said_of_an_interval_within_the_limits(
        self, limits: tuple[float, float]
    ) -> None:
        result = comparison(confirmed("gru", GOOD) + confirmed("elman", POOR), limits=limits)
        assert result.caveats == ()


def test_the_headline_says_who_is_best_and_against_whom() -> None:
    headline = comparison(confirmed("gru", GOOD) + confirmed("elman", POOR)).headline
    assert headline.startswith(
        "Of the models at 3,200 parameters, gru has the highest mean test accuracy, 0.9634 ["
    )
    assert headline.endswith("over 5 seeds. Against it, worse: elman.")
