"""The copying memory problem."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rnnsearch import Examples
from rnnsearch_synthetic.copy_memory import CopyMemory

SHA256 = "078c7189a1090ae48296faf927971d43a6cc682a59a3b7fe7ba954ace1b62939"


def examples_of(task: CopyMemory) -> Examples:
    return task.load(task.find(), "test")


def test_the_default_data_stay_what_they_are() -> None:
    source = CopyMemory().find()
    assert source.sha256 == SHA256
    assert source.sizes == {"train": 10_000, "validation": 1_000, "test": 1_000}


@pytest.mark.parametrize("delay", [1, 4, 30])
def test_symbols_come_first_and_are_asked_for_at_the_last_ten_steps(delay: int) -> None:
    found = examples_of(CopyMemory(delay=delay, train_size=2, validation_size=2, test_size=50))
    assert found.inputs.shape == (50, delay + 20, 1)
    for sequence, answer in zip(
        found.inputs[:, :, 0].tolist(), found.targets.tolist(), strict=True
    ):
        symbols = sequence[:10]
        assert set(symbols) <= set(range(1, 9))
        assert sequence == symbols + [0] * (delay - 1) + [9] * 11
        assert answer == [0] * (delay + 10) + symbols


def test_the_eight_symbols_are_equally_frequent() -> None:
    found = examples_of(CopyMemory(delay=1, train_size=2, validation_size=2, test_size=4000))
    counts = np.bincount(found.inputs[:, :10, 0].ravel(), minlength=9)
    assert counts[0] == 0
    assert counts[1:] / 40_000 == pytest.approx(np.full(8, 1 / 8), abs=0.01)


def test_one_hot_inputs_show_the_same_symbols() -> None:
    sizes = {"delay": 3, "train_size": 2, "validation_size": 2, "test_size": 20}
    scalar, one_hot = (
        examples_of(CopyMemory(encoding=encoding, **sizes)) for encoding in ("scalar", "one_hot")
    )
    assert one_hot.inputs.sum(axis=2).min() == one_hot.inputs.max() == 1
    assert np.array_equal(one_hot.inputs.argmax(axis=2), scalar.inputs[:, :, 0])
    assert np.array_equal(one_hot.targets, scalar.targets)


@pytest.mark.parametrize(("delay", "level"), [(1000, 0.020387), (100, 0.173287), (1, 0.990210)])
def test_zeros_and_then_guesses_have_the_level_without_skill(delay: int, level: float) -> None:
    task = CopyMemory(delay=delay, train_size=2, validation_size=2, test_size=20)
    targets = torch.from_numpy(examples_of(task).targets).long()
    outputs = torch.full((delay + 20, 20, 10), -1e4)
    outputs[:-10, :, 0] = 0
    outputs[-10:, :, 1:9] = 0
    found = task.score(outputs, targets).item()
    assert found == pytest.approx(task.no_skill, rel=1e-5)
    assert task.no_skill == pytest.approx(level, abs=5e-7)
    assert task.no_skill == pytest.approx(10 * math.log(8) / (delay + 20))


def test_the_loss_is_the_mean_over_all_steps() -> None:
    task = CopyMemory(delay=1, train_size=2, validation_size=2, test_size=2)
    targets = torch.from_numpy(examples_of(task).targets).long()
    outputs = torch.zeros(21, 2, 10)
    outputs[:11, :, 0] = 5.0  # only the blanks are nearly known
    by_hand = (11 * (math.log(math.exp(5) + 9) - 5) + 10 * math.log(10)) / 21
    assert task.loss(outputs, targets).item() == pytest.approx(by_hand, rel=1e-5)
