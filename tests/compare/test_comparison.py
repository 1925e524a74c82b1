"""From records to a comparison: which row wins, and with which caveats."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from rnnsearch.report.tables import make_tables
from rnnsearch.spec.margin import Margin

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
        assert "Ranked above gru, but not at the budget: ff_nn." in result.caveats
        assert "| ff_nn † |" in make_tables(result, {})[0].to_markdown()

    def test_where_no_row_is_matched_the_best_wins(self) -> None:
        records = [*confirmed("a", GOOD, matched=False), *confirmed("b", POOR, matched=False)]
        result = comparison(records)
        assert result.winner is not None
        assert result.winner.name == "a"
        assert "of the models at" not in result.headline


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
        failed = [record("gru", s, state="FAIL", reason="nan", number=s) for s in (99, 98)]
        result = comparison(confirmed("gru", GOOD) + confirmed("elman", POOR) + failed)
        assert "gru: failed and left out: seeds 98 and 99." in result.caveats
        assert result.ranked[0].failed_seeds == (98, 99)

    def test_two_seeds_decide_nothing_and_the_row_says_how_many_more_would(self) -> None:
        result = comparison(confirmed("gru", GOOD[:2]) + confirmed("elman", POOR[:2]))
        assert result.verdict(result.ranked[1]) == "undecided (about 4 more seeds)"

    @pytest.mark.parametrize(("direction", "idle"), [("maximize", "elman"), ("minimize", "gru")])
    def test_seeds_that_learned_nothing_are_counted(self, direction: str, idle: str) -> None:
        records = confirmed("gru", GOOD) + confirmed("elman", POOR)
        result = comparison(records, direction=direction, no_skill=0.8)
        (said,) = (caveat for caveat in result.caveats if caveat.startswith("Failed to train"))
        assert said.startswith(
            "Failed to train: seeds no better than ignoring the input (0.8): "
            f"{idle} (8 of 8 seeds, "
        )

    def test_rows_that_get_unequal_seeds_on_purpose_are_no_caveat(self) -> None:
        records = confirmed("gru", GOOD) + confirmed("elman", POOR[:6])
        assert any("unequal" in caveat for caveat in comparison(records).caveats)
        assert comparison(records, until_decided=True).caveats == ()

    def test_rows_that_were_left_out_are_named_with_the_reason(self) -> None:
        why = "study.yaml:5: architectures[1]: architecture `x` failed"
        result = comparison(confirmed("gru", GOOD), left_out={"x": why})
        assert f"Left out, as it cannot run: {why}" in result.caveats


class TestVerdicts:
    def test_a_control_is_what_the_others_are_compared_with(self) -> None:
        records = confirmed("gru", GOOD) + confirmed("elman", POOR) + confirmed("lstm", MIDDLING)
        result = comparison(records, against="elman")
        assert {row.name: row.verdict for row in result.ranked} == {
            "gru": "better",
            "lstm": "better",
            "elman": "control",
        }
        assert result.headline.startswith(
            "The control elman has a median test accuracy of 0.7675 ["
        )
        assert result.headline.endswith("Against it, better: gru and lstm.")

    def test_against_a_control_nobody_is_said_to_win(self) -> None:
        records = confirmed("gru", GOOD) + confirmed("elman", POOR)
        result = comparison(records, against="elman")
        assert result.winner is None
        assert (result.to_dict()["winner"], result.to_dict()["reference"]) == (None, "elman")

    def test_a_control_that_is_not_confirmed_is_said_to_be_missing(self) -> None:
        result = comparison(confirmed("gru", GOOD) + confirmed("elman", POOR), against="lstm")
        assert result.caveats == (
            "The control lstm is not confirmed: compared with the best instead.",
        )
        assert [row.verdict for row in result.ranked] == ["best", "worse"]

    def test_the_margin_is_a_share_of_the_range_or_of_the_best_median(self) -> None:
        records = confirmed("gru", GOOD) + confirmed("elman", POOR)
        percent = Margin(0.01, True)
        assert comparison(records, margin=percent, limits=(0.0, 1.0)).margin == 0.01
        assert comparison(records, margin=percent).margin == pytest.approx(0.01 * 0.9635)
        assert comparison(records, margin=Margin(0.3, False)).margin == 0.3

    def test_every_verdict_is_told_with_its_evidence(self) -> None:
        result = comparison(confirmed("gru", GOOD) + confirmed("elman", POOR))
        told = [result.verdict(row) for row in result.ranked]
        assert told[0] == "best"
        assert re.fullmatch(r"worse \(by 0\.19\d\d to 0\.20\d\d\)", told[1])
        alike = comparison(
            confirmed("gru", GOOD) + confirmed("lstm", [v - 1e-4 for v in GOOD]),
            margin=Margin(0.005, False),
        )
        assert [alike.verdict(row) for row in alike.ranked] == ["best", "as good (within 0.005)"]

    def test_seeds_count_in_the_order_in_which_they_were_drawn(self) -> None:
        # Evidence grows seed by seed: six wins and then losses are not six losses and then wins.
        late = [0.9] * 8 + [0.5] * 8
        records = confirmed("a", late) + confirmed("b", [0.7] * 16)
        forwards = comparison(records, order=range(1, 17))
        backwards = comparison(records, order=range(16, 0, -1))
        assert {row.name: row.verdict for row in forwards.ranked}["b"] == "worse"
        assert {row.name: row.verdict for row in backwards.ranked}["a"] == "worse"


def test_the_headline_says_who_is_best_and_against_whom() -> None:
    headline = comparison(confirmed("gru", GOOD) + confirmed("elman", POOR)).headline
    assert headline.startswith(
        "gru is the best of the models at 3,200 parameters, with a median test accuracy of 0.9635 ["
    )
    assert headline.endswith("over 8 seeds. The others, worse: elman.")
