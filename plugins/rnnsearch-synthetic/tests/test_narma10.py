"""NARMA-10."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import RandomState

from rnnsearch import StudyFileError
from rnnsearch_synthetic.narma10 import NARMA10, narma10

SHA256 = "c79a5b5011686649fa28d2d57eced48335fdbb05c5352920fb268c61ab164eb6"


def test_the_default_data_stay_what_they_are() -> None:
    assert NARMA10().find().sha256 == SHA256


def test_the_series_is_that_of_the_equation_written_down_plainly() -> None:
    u = RandomState(0).random_sample(60) * 0.5
    y = {t: 0.0 for t in range(-9, 1)}
    for t in range(60):
        past = sum(y[t - i] for i in range(10))
        early = u[t - 9] if t >= 9 else 0.0
        y[t + 1] = 0.3 * y[t] + 0.05 * y[t] * past + 1.5 * early * u[t] + 0.1
    assert narma10(u[None])[0] == pytest.approx([y[t] for t in range(1, 61)], rel=1e-12)


def test_a_constant_input_leads_to_the_fixed_point() -> None:
    # y = 0.3 y + 0.5 y^2 + 1.5 u^2 + 0.1, the lower root.
    for u in (0.0, 0.2):
        root = 0.7 - (0.49 - 2 * (1.5 * u * u + 0.1)) ** 0.5
        assert narma10(np.full((1, 200), u))[0, -1] == pytest.approx(root)


def test_a_series_that_runs_off_is_drawn_anew() -> None:
    options = {"length": 2000, "train_size": 200, "validation_size": 2, "test_size": 2}
    task = NARMA10(**options)
    first = narma10(RandomState([1997, 0]).random_sample((200, 2000)) * 0.5)
    unstable = (first > 1).any(axis=1)
    assert 0 < unstable.sum() < 40
    inputs, targets = task.series("train")
    assert targets.max() <= 1
    assert np.array_equal(targets[~unstable], first[~unstable])
    assert np.array_equal(narma10(inputs), targets)


def test_inputs_are_standardised_by_the_moments_of_a_uniform_number() -> None:
    task = NARMA10(length=100, train_size=500, validation_size=2, test_size=2)
    inputs = task.load(task.find(), "train").inputs
    assert inputs.mean() == pytest.approx(0, abs=0.02)
    assert inputs.std() == pytest.approx(1, abs=0.02)
    assert np.abs(inputs).max() <= 3**0.5 + 1e-6


def test_a_washout_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(StudyFileError, match="expected less than the length, 40, got 50"):
        NARMA10(length=40)
