"""The adding problem."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rnnsearch_synthetic.adding import Adding

# Digest of the default data: 50,000, 1,000 and 1,000 sequences of 200 steps.
SHA256 = "625cd151e880411f0dd736751fcb551cb44311a2e80913286566fe5649323ca8"


def drawn(**options: int | str) -> tuple[np.ndarray, np.ndarray]:
    task = Adding(train_size=5000, validation_size=2, test_size=2, **options)
    examples = task.load(task.find(), "train")
    return examples.inputs, examples.targets


def test_the_default_data_stay_what_they_are() -> None:
    source = Adding().find()
    assert source.sha256 == SHA256
    assert source.sizes == {"train": 50_000, "validation": 1_000, "test": 1_000}
    assert (source.origin, source.location) == ("generated", "seed 1997")
    assert source.dataset == "Adding (length 200, marks anywhere)"


@pytest.mark.parametrize("marks", ["anywhere", "halves"])
def test_the_target_is_the_sum_of_exactly_two_marked_numbers(marks: str) -> None:
    inputs, targets = drawn(length=11, marks=marks)
    for sequence, target in zip(inputs[:200], targets[:200], strict=True):
        marked = [value for value, mark in sequence if mark == 1]
        assert len(marked) == 2
        assert sum(mark == 0 for _, mark in sequence) == 9
        assert target == pytest.approx([sum(marked)])


def test_the_marks_lie_anywhere_with_equal_odds() -> None:
    inputs, _ = drawn(length=10)
    shares = inputs[:, :, 1].mean(axis=0)
    assert shares == pytest.approx(np.full(10, 2 / 10), abs=0.025)
    first, second = np.nonzero(inputs[:, :, 1])[1].reshape(-1, 2).T
    pairs = np.bincount(10 * first + second, minlength=100).reshape(10, 10)[np.triu_indices(10, 1)]
    assert pairs / 5000 == pytest.approx(np.full(45, 1 / 45), abs=0.01)


def test_one_mark_lies_in_each_half_where_that_is_asked_for() -> None:
    inputs, _ = drawn(length=9, marks="halves")
    assert (inputs[:, :4, 1].sum(axis=1) == 1).all()
    assert (inputs[:, 4:, 1].sum(axis=1) == 1).all()
    assert inputs[:, :4, 1].mean(axis=0) == pytest.approx(np.full(4, 1 / 4), abs=0.025)
    assert inputs[:, 4:, 1].mean(axis=0) == pytest.approx(np.full(5, 1 / 5), abs=0.025)


def test_the_numbers_are_uniform_from_0_to_1() -> None:
    values = np.sort(drawn(length=20)[0][:, :, 0].ravel())
    expected = (np.arange(len(values)) + 0.5) / len(values)
    assert np.abs(values - expected).max() < 0.01  # Kolmogorov-Smirnov: 5e-5 % by chance


def test_always_answering_1_has_the_level_without_skill() -> None:
    task = Adding(length=2, train_size=2, validation_size=2, test_size=100_000)
    targets = torch.from_numpy(task.load(task.find(), "test").targets)
    found = task.score(torch.ones_like(targets), targets).item()
    assert task.no_skill == 1 / 6
    assert found == pytest.approx(1 / 6, rel=0.02)


def test_two_steps_are_both_marked() -> None:
    assert (drawn(length=2)[0][:, :, 1] == 1).all()
