"""From records to a ranking: what counts, what is left out, and what is said about it."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from rnnsearch.comparison import Comparison, Row, Spent, compare
from rnnsearch.errors import StoreError
from rnnsearch.model import Complexity, ModelSpec
from rnnsearch.sequence_model import SequenceShape
from rnnsearch.statistics import compare_paired, estimate
from rnnsearch.task import DataSource
from rnnsearch.trial import (
    EpochMetrics,
    Phase,
    TrainingConfig,
    TrialRecord,
    TrialSpec,
    TrialState,
)

SOURCE = DataSource(
    dataset="MNIST",
    origin="cache",
    location="/data/mnist.npz",
    sha256="0f" * 32,
    sizes={"train": 55_000, "validation": 5_000, "test": 10_000},
)
GOOD = [0.961, 0.965, 0.963, 0.966, 0.962]
POOR = [0.770, 0.761, 0.768, 0.764, 0.772]
MIDDLING = [0.960, 0.966, 0.961, 0.965, 0.963]


def epoch(number: int, *, step_ms: float = 4.0, updates: int = 100) -> EpochMetrics:
    return EpochMetrics(
        epoch=number,
        train_loss=0.2,
        train_metric=0.9,
        validation_loss=math.nan,
        validation_metric=math.nan,
        gradient_norm=1.0,
        step_ms=step_ms,
        updates=number * updates,
        seconds=number * 2.0,
    )


def record(
    label: str = "gru",
    seed: int = 1,
    metric: float | None = None,
    *,
    phase: Phase = "confirmation",
    state: TrialState = "COMPLETE",
    reason: str = "",
    number: int = 0,
    rank: int = 0,
    parameters: int = 3200,
    matched: bool = True,
    epochs: Sequence[EpochMetrics] | None = None,
    architecture: str = "",
) -> TrialRecord:
    shape = SequenceShape(input_size=28, output_size=10, length=28, readout="last_step")
    model = ModelSpec(
        architecture or label,
        shape,
        hidden_size=20,
        last_hidden_size=18,
        num_layers=2,
        options={"slope": 0.25, "clamp": "soft", "tied": True},
    )
    spec = TrialSpec(
        phase=phase,
        model=model,
        training=TrainingConfig(epochs=2, batch_size=20, learning_rate=1e-3, gradient_clip=1.0),
        seed=seed,
        task="spatial_mnist",
        task_options={},
        parameters=parameters,
        residual=parameters / 3200 - 1,
        matched=matched,
        rank=rank,
        label=label,
    )
    return TrialRecord(
        phase=phase,
        label=label,
        number=number,
        spec=spec,
        state=state,
        reason=reason,
        epochs=tuple([epoch(1), epoch(2)] if epochs is None else epochs),
        test_metric=metric,
        complexity=Complexity(parameters, parameters - 30, 7, 38, 6400.0),
        engine="eager",
    )


def confirmed(label: str, metrics: Sequence[float], **fields: object) -> list[TrialRecord]:
    return [
        record(label, seed, metric, number=seed, **fields)  # type: ignore[arg-type]
        for seed, metric in enumerate(metrics, 1)
    ]


def searched(label: str, trials: int, **fields: object) -> list[TrialRecord]:
    return [
        record(label, 0, phase="search", number=number, **fields)  # type: ignore[arg-type]
        for number in range(trials)
    ]


def comparison(records: Sequence[TrialRecord], **fields: object) -> Comparison:
    arguments: dict[str, object] = {
        "metric": "accuracy",
        "direction": "maximize",
        "no_skill": 0.1135,
        "source": SOURCE,
        "budget_parameters": 3200,
        "study": "mnist",
    }
    return compare(records, **{**arguments, **fields})  # type: ignore[arg-type]


def names(rows: Sequence[Row]) -> list[str]:
    return [row.name for row in rows]


class TestRanking:
    def test_the_highest_mean_comes_first_where_more_is_better(self) -> None:
        result = comparison(confirmed("elman", POOR) + confirmed("gru", GOOD))
        assert names(result.ranked) == ["gru", "elman"]
        assert [row.verdict for row in result.ranked] == ["winner", "worse"]

    def test_the_lowest_mean_comes_first_where_less_is_better(self) -> None:
        result = comparison(confirmed("a", GOOD) + confirmed("b", POOR), direction="minimize")
        assert names(result.ranked) == ["b", "a"]
        assert [row.verdict for row in result.ranked] == ["winner", "worse"]
        assert "b has the lowest mean" in result.headline

    def test_the_order_of_the_records_does_not_matter(self) -> None:
        records = confirmed("gru", GOOD) + confirmed("elman", POOR) + confirmed("lstm", MIDDLING)
        assert comparison(records).rows == comparison(records[::-1]).rows

    def test_mean_interval_and_spread_are_those_of_the_seeds(self) -> None:
        (row,) = comparison(confirmed("gru", GOOD)).rows
        expected = estimate(GOOD)
        assert (row.mean, row.low, row.high, row.std) == (
            expected.mean,
            expected.low,
            expected.high,
            expected.std,
        )
        assert (row.seeds, row.values, row.n) == ((1, 2, 3, 4, 5), tuple(GOOD), 5)

    def test_rows_are_compared_with_the_winner_on_common_seeds(self) -> None:
        records = confirmed("gru", GOOD) + confirmed("elman", POOR)[1:]
        row = comparison(records).ranked[1]
        expected = compare_paired(POOR[1:], GOOD[1:])
        assert row.against_winner is not None
        assert row.against_winner.n == 4
        assert row.against_winner.p == expected.p
        assert row.against_winner.difference == expected.difference

    def test_rows_too_alike_for_their_seeds_are_not_told_apart(self) -> None:
        result = comparison(confirmed("gru", GOOD) + confirmed("lstm", MIDDLING))
        assert result.ranked[1].verdict == "too few seeds to tell"
        (caveat,) = result.caveats
        assert caveat.startswith("Too few seeds to tell from gru: lstm (5 seeds, about ")

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
        assert (result.rows, result.winner, result.tests) == ((), None, 0)
        assert result.headline == "No configuration is confirmed, so nothing is ranked."


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
        assert "Ranked above the winner, but not at the budget: ff_nn." in result.caveats
        assert "| ff_nn † |" in result.to_markdown()

    def test_where_no_row_is_matched_the_best_wins(self) -> None:
        records = [*confirmed("a", GOOD, matched=False), *confirmed("b", POOR, matched=False)]
        result = comparison(records)
        assert result.winner is not None
        assert result.winner.name == "a"
        assert not result.headline.startswith("Of the models at")


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


class TestLedger:
    def test_it_adds_up_every_trial_whatever_became_of_it(self) -> None:
        records = [
            record(phase="search", number=0),
            record(phase="search", number=1, state="PRUNED", epochs=[epoch(1)]),
            record(phase="search", number=2, state="FAIL", epochs=[]),
            record(phase="search", number=3, state="RUNNING", epochs=[epoch(1)]),
            record(metric=0.9, epochs=[epoch(1), epoch(2), epoch(3)]),
        ]
        (effort,) = comparison(records).ledger
        assert effort.label == "gru"
        assert effort.search == Spent(1, 1, 1, 1, epochs=4, updates=400, seconds=8.0)
        assert effort.confirmation == Spent(complete=1, epochs=3, updates=300, seconds=6.0)

    def test_equal_effort_is_not_flagged(self) -> None:
        records = searched("gru", 3) + searched("elman", 3)
        records += confirmed("gru", GOOD) + confirmed("elman", POOR)
        assert comparison(records).unequal_effort == ()

    def test_fewer_search_trials_of_one_label_are_flagged(self) -> None:
        records = searched("gru", 3) + searched("elman", 2)
        records += searched("elman", 1, state="FAIL", epochs=[epoch(1), epoch(2)])
        result = comparison(records)
        assert result.unequal_effort == (
            "Search trials with a result are unequal: 3 (gru), 2 (elman with 1 trial failed).",
        )
        assert result.unequal_effort[0] in result.caveats

    def test_epochs_that_pruning_saved_are_flagged_with_the_cause(self) -> None:
        records = searched("gru", 3) + searched("elman", 2)
        records += searched("elman", 1, state="PRUNED", epochs=[epoch(1)])
        assert comparison(records).unequal_effort == (
            "Search epochs are unequal: 6 (gru), 5 (elman with 1 trial pruned).",
        )

    def test_epochs_within_a_tenth_are_equal(self) -> None:
        eleven = [epoch(number) for number in range(1, 12)]
        records = searched("gru", 1, epochs=eleven) + searched("elman", 1, epochs=eleven[:10])
        assert comparison(records).unequal_effort == ()

    def test_a_label_without_a_search_among_searched_ones_is_flagged(self) -> None:
        records = [*searched("gru", 2), *confirmed("gru", GOOD), *confirmed("elman", POOR)]
        assert comparison(records).unequal_effort == (
            "Search trials with a result are unequal: 2 (gru), 0 (elman).",
            "Search epochs are unequal: 4 (gru), 0 (elman).",
        )

    def test_an_unequal_number_of_confirmations_is_flagged(self) -> None:
        records = confirmed("gru", GOOD) + confirmed("elman", POOR[:3])
        assert comparison(records).unequal_effort == (
            "Confirmation trials with a result are unequal: 5 (gru), 3 (elman).",
            "Confirmation epochs are unequal: 10 (gru), 6 (elman).",
        )


class TestDescription:
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
        ("mean", "decimals"), [(0.9652, 4), (0.000324, 7), (110.6, 1), (54_321.0, 0), (0.0, 4)]
    )
    def test_decimals_show_four_digits_of_the_mean(self, mean: float, decimals: int) -> None:
        assert Row("gru", "gru", mean=mean).decimals == decimals


class TestOutput:
    records = (
        *confirmed("gru", GOOD),
        *confirmed("elman", POOR),
        record("snn", state="FAIL", reason="loss | became nan"),
        *searched("gru", 2),
    )

    def test_the_headline_says_who_is_best_and_against_whom(self) -> None:
        headline = comparison(self.records).headline
        assert headline.startswith(
            "Of the models at 3,200 parameters, gru has the highest mean test accuracy, 0.9634 ["
        )
        assert headline.endswith("over 5 seeds. Against it, worse: elman.")

    def test_dictionary_is_json_without_nan(self) -> None:
        result = comparison(self.records, no_skill=math.nan)
        read = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert read["no_skill"] is None
        assert read["winner"] == "gru"
        assert [row["name"] for row in read["rows"]] == ["gru", "elman", "snn"]
        assert read["rows"][0]["values"] == GOOD
        assert read["rows"][1]["verdict"] == "worse"
        assert read["rows"][1]["against_winner"]["p_holm"] > 0
        assert read["rows"][2]["mean"] is None
        assert read["ledger"][0]["search"]["complete"] == 2
        assert read["source"]["sizes"]["train"] == 55_000

    def test_dictionary_takes_any_mapping_of_sizes(self) -> None:
        source = replace(SOURCE, sizes=MappingProxyType({"train": 3}))
        assert comparison(self.records, source=source).to_dict()["source"] == {
            "dataset": "MNIST",
            "origin": "cache",
            "location": "/data/mnist.npz",
            "sha256": "0f" * 32,
            "sizes": {"train": 3},
            "caveat": "",
        }

    def test_dataframe_has_a_line_per_row_and_numbers_in_its_columns(self) -> None:
        table = comparison(self.records).to_dataframe()
        assert list(table["name"]) == ["gru", "elman", "snn"]
        assert list(table["place"].dropna()) == [1, 2]
        assert str(table["parameters"].dtype) == "Int64"
        assert table["mean"].dtype == float
        assert math.isnan(table["mean"][2])
        assert table["values"][0] == tuple(GOOD)

    def test_dataframe_of_nothing_has_the_same_columns(self) -> None:
        empty, full = comparison([]).to_dataframe(), comparison(self.records).to_dataframe()
        assert len(empty) == 0
        assert list(empty.columns) == list(full.columns)

    def test_csv_reads_back(self, tmp_path: Path) -> None:
        result = comparison(self.records)
        result.write_csv(tmp_path / "comparison.csv")
        with (tmp_path / "comparison.csv").open(newline="", encoding="utf-8") as file:
            first, second, third = csv.DictReader(file)
        assert list(first) == list(result.to_dataframe().columns)
        assert float(first["mean"]) == result.rows[0].mean
        assert [float(value) for value in first["values"].split()] == GOOD
        assert float(second["p_holm"]) == result.rows[1].against_winner.p_holm
        assert (third["mean"], third["reason"]) == ("", "1 confirmation failed: loss | became nan")

    def test_an_interrupted_csv_leaves_the_old_one(self, tmp_path: Path, monkeypatch) -> None:
        path = tmp_path / "comparison.csv"
        path.write_text("old")

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(StoreError, match=r"cannot write .*csv: No space left on device"):
            comparison(self.records).write_csv(path)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_folder_that_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"cannot write .*absent.*No such file"):
            comparison(self.records).write_csv(tmp_path / "absent" / "comparison.csv")

    def test_markdown_has_ranking_effort_caveats_and_data(self) -> None:
        source = replace(SOURCE, caveat="5,000 of 70,000 digits.")
        text = comparison(self.records, source=source).to_markdown()
        lines = text.splitlines()
        assert lines[0] == "# mnist"
        assert any(line.startswith("| 1 | gru | 0.9634 [") for line in lines)
        assert any(line.startswith("| 2 | elman | 0.7670 [") for line in lines)
        assert "| gru | search | 2 | 0 | 0 | 4 | 400 | 8.0 |" in lines
        assert "- Data: 5,000 of 70,000 digits." in lines
        assert "MNIST (55,000 train, 5,000 validation, 10,000 test), from cache" in text

    def test_a_bar_in_a_name_does_not_break_the_table(self) -> None:
        text = comparison(confirmed("a|b", [0.9])).to_markdown()
        table = [line for line in text.splitlines() if line.startswith("|")]
        cells = {line.replace("\\|", "").count("|") for line in table[:3]}
        assert len(cells) == 1
        assert "a\\|b" in table[2]

    def test_markdown_of_nothing_says_so(self) -> None:
        assert "nothing is ranked" in comparison([]).to_markdown()
