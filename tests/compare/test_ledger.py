"""The effort ledger: its sums, and the differences it flags."""

from __future__ import annotations

from rnnsearch.compare.ledger import Spent

from ..trial_records import (
    GOOD,
    POOR,
    comparison,
    confirmed,
    epoch,
    record,
    searched,
)


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
            "Confirmation trials with a result are unequal: 8 (gru), 3 (elman).",
            "Confirmation epochs are unequal: 16 (gru), 6 (elman).",
        )
