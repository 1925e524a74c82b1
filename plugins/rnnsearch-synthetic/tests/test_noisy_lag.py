"""The two-sequence problem."""

from __future__ import annotations

import numpy as np
import pytest

from rnnsearch import Examples
from rnnsearch_synthetic.noisy_lag import NoisyLag

SHA256 = "88240cf8a9b34a9e40719a2b04e6548e624fad48bfe0b657fcc303df9025ddaa"


def examples_of(**options: int | bool) -> Examples:
    task = NoisyLag(train_size=2000, validation_size=2, test_size=2, **options)
    return task.load(task.find(), "train")


def test_the_default_data_stay_what_they_are() -> None:
    assert NoisyLag().find().sha256 == SHA256


@pytest.mark.parametrize("informative", [1, 3])
def test_the_first_steps_and_they_alone_carry_the_class(informative: int) -> None:
    found = examples_of(length=50, informative=informative)
    sign = 2 * found.targets - 1
    assert (found.inputs[:, :informative, 0] == sign[:, None]).all()
    # 2,000 sequences: the standard deviation of the mean noise is 0.01.
    assert np.abs((found.inputs[:, informative:50, 0] * sign[:, None]).mean(axis=0)).max() < 0.05


def test_the_noise_has_mean_0_and_variance_a_fifth() -> None:
    noise = examples_of(length=50).inputs[:, 3:50, 0]
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert noise.var() == pytest.approx(0.2, rel=0.02)
    assert ((noise / 0.2**0.5) ** 4).mean() == pytest.approx(3, rel=0.05)  # Gaussian


def test_the_signal_is_as_noisy_where_that_is_asked_for() -> None:
    found = examples_of(length=50, noisy_signal=True)
    residual = found.inputs[:, :3, 0] - (2 * found.targets - 1)[:, None]
    assert residual.mean() == pytest.approx(0, abs=0.03)
    assert residual.var() == pytest.approx(0.2, rel=0.06)


def test_lengths_run_from_the_length_to_a_tenth_more() -> None:
    counts = np.bincount(examples_of(length=50).lengths)
    assert np.flatnonzero(counts).tolist() == [50, 51, 52, 53, 54, 55]
    assert counts[50:] / 2000 == pytest.approx(np.full(6, 1 / 6), abs=0.03)


def test_both_classes_are_equally_frequent() -> None:
    assert examples_of(length=50).targets.mean() == 0.5
