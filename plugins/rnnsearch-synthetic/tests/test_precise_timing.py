"""Measuring spike delays."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from rnnsearch import DataError, Examples
from rnnsearch_synthetic.precise_timing import PreciseTiming, no_skill_of

SHA256 = "a1b359d9cf49d78fefb4ba9a4f48e15d783b3eaec4e815cd6e0bf1a275119346"


def examples_of(**options: int) -> Examples:
    task = PreciseTiming(train_size=500, validation_size=2, test_size=2, **options)
    return task.load(task.find(), "train")


def test_the_default_data_stay_what_they_are() -> None:
    assert PreciseTiming().find().sha256 == SHA256


def test_the_answer_at_each_spike_is_the_delay_since_the_one_before() -> None:
    found = examples_of(shortest=7, delays=3, intervals=8)
    assert found.inputs.shape == (500, 7 + 8 * 9, 1)
    for train, answers in zip(found.inputs[:, :, 0], found.targets, strict=True):
        before = None
        spikes = 0
        for step, (spike, answer) in enumerate(zip(train, answers, strict=True)):
            if not spike or before is None:
                assert answer == -100
            else:
                assert answer == step - before - 7
            if spike:
                before, spikes = step, spikes + 1
        assert spikes == 9


def test_delays_and_first_spikes_have_equal_odds() -> None:
    found = examples_of(shortest=5, delays=3, intervals=20)
    answers = found.targets[found.targets != -100]
    assert np.bincount(answers) / len(answers) == pytest.approx(np.full(3, 1 / 3), abs=0.02)
    first = found.inputs[:, :, 0].argmax(axis=1)
    assert np.bincount(first, minlength=5) / 500 == pytest.approx(np.full(5, 1 / 5), abs=0.07)


@pytest.mark.parametrize(
    ("shortest", "delays", "intervals"), [(1, 2, 3), (3, 2, 4), (2, 3, 5)], ids=str
)
def test_no_skill_is_what_the_best_answer_to_each_step_gets(
    shortest: int, delays: int, intervals: int
) -> None:
    steps = shortest + intervals * (shortest + delays - 1)
    counts = np.zeros((steps, delays))
    for onset, *drawn in product(range(shortest), *[range(delays)] * intervals):
        step = onset
        for delay in drawn:
            step += shortest + delay
            counts[step, delay] += 1
    best = counts.max(axis=1).sum() / counts.sum()
    assert no_skill_of(shortest, delays, intervals) == pytest.approx(best)
    assert best > 1 / delays


def test_too_few_different_sequences_are_an_error_that_says_what_to_do() -> None:
    task = PreciseTiming(shortest=1, delays=2, intervals=2)
    with pytest.raises(DataError, match=r"too few different sequences .* for .*: make them longer"):
        task.find()
