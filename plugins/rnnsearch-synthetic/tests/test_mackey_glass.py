"""The Mackey-Glass series."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import RandomState

from rnnsearch import StudyFileError
from rnnsearch_synthetic.mackey_glass import MackeyGlass, integrate

SHA256 = "43d8dc2966a70b54c9aa136b52ff8384e4393059f7ab880c9517eb88fd00fff8"
SIZES = {"train_size": 60, "validation_size": 2, "test_size": 20}


def test_the_default_data_stay_what_they_are() -> None:
    source = MackeyGlass().find()
    assert source.sha256 == SHA256
    assert source.dataset == "MackeyGlass (tau 17, horizon 84, length 200, washout 50)"


def test_a_series_is_that_of_the_equation_written_down_plainly() -> None:
    start = 0.5 + RandomState(3).random_sample(2)[1]
    x = [start] * 171  # x at -17.0, -16.9, ... 0
    for _ in range(10 * 520):
        late = x[-171]
        x.append(x[-1] + 0.1 * (0.2 * late / (1 + late**10) - 0.1 * x[-1]))
    found = integrate(RandomState(3), 2, 20, 17)[1]
    assert found == pytest.approx(np.array(x[170 + 5000 :: 10])[:20], rel=1e-6)


def test_a_short_delay_settles_at_the_fixed_point_and_17_does_not() -> None:
    # 0.2 x / (1 + x^10) = 0.1 x has the root 1, stable for delays below about 4.5.
    assert integrate(RandomState(0), 5, 10, 2) == pytest.approx(np.ones((5, 10)), abs=1e-9)
    wandering = integrate(RandomState(0), 200, 50, 17)
    assert wandering.min() > 0.2
    assert wandering.max() < 1.4
    assert 0.2 < wandering.std() < 0.25


def test_series_of_a_split_are_as_different_as_times_of_one() -> None:
    found = integrate(RandomState(0), 200, 300, 17)
    assert found.std(axis=0).mean() == pytest.approx(found.std(axis=1).mean(), rel=0.05)


@pytest.mark.parametrize("horizon", [1, 30])
def test_the_target_is_the_input_of_so_many_steps_later(horizon: int) -> None:
    task = MackeyGlass(horizon=horizon, length=60, washout=7, **SIZES)
    found = task.load(task.find(), "test")
    assert np.isnan(found.targets[:, :7]).all()
    later = found.inputs[:, horizon + 7 :]
    assert found.targets[:, 7 : 60 - horizon] == pytest.approx(later, abs=1e-6)


def test_targets_of_training_have_mean_0_and_variance_1() -> None:
    task = MackeyGlass(length=40, washout=5, **SIZES)
    targets = task.load(task.find(), "train").targets
    assert np.nanmean(targets.astype(np.float64)) == pytest.approx(0, abs=1e-6)
    assert np.nanvar(targets.astype(np.float64)) == pytest.approx(1, abs=1e-6)


def test_a_washout_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(StudyFileError, match="expected less than the length, 40, got 40") as error:
        MackeyGlass(length=40, washout=40)
    assert error.value.key == "washout"
