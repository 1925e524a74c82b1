"""Effort curves: what a search of any length would have found."""

from __future__ import annotations

import itertools
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnsearch.compare.effort_curve import effort_curves, expected_best

from ..trial_records import epoch, record, searched


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=6))
def test_it_is_the_mean_over_all_orders_of_the_trials(scores: list[float]) -> None:
    orders = list(itertools.permutations(scores))
    for direction, best in (("maximize", max), ("minimize", min)):
        found = expected_best(scores, direction)  # type: ignore[arg-type]
        wanted = [fmean(best(order[:k]) for order in orders) for k in range(1, len(scores) + 1)]
        assert found == pytest.approx(wanted)


def test_it_ends_at_the_best_and_begins_at_the_mean() -> None:
    found = expected_best([0.5, 0.9, 0.7], "maximize")
    assert (found[0], found[-1]) == (pytest.approx(0.7), 0.9)


def test_a_thousand_trials_overflow_nothing() -> None:
    found = expected_best([i / 1000 for i in range(1000)], "maximize")
    assert found[-1] == pytest.approx(0.999)
    assert all(a <= b for a, b in itertools.pairwise(found))


def test_only_searches_of_two_trials_or_more_with_scores_have_one() -> None:
    from dataclasses import replace

    scored = [replace(epoch(1), validation_metric=0.5), replace(epoch(2), validation_metric=0.8)]
    records = [
        *searched("gru", 2, epochs=scored),
        *searched("elman", 1, epochs=scored),
        *searched("lstm", 2),
        record("gru", metric=0.9),
    ]
    (curve,) = effort_curves(records, "maximize")
    assert (curve.label, curve.best) == ("gru", pytest.approx((0.8, 0.8)))
