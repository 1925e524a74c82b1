"""scikit-learn's digits."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.datasets
import torch

from rnnsearch import DataError, Examples
from rnnsearch_mnist.array_digest import digest_of_arrays
from rnnsearch_mnist.digits import Digits
from rnnsearch_mnist.splits import Split

# Digests of inputs and targets; computed once, when the split was fixed.
DIGESTS: dict[Split, str] = {
    "train": "3eca82ad45ce510c58e4232d0df6cec6dc84c477b0b8c197ce4d2a122abd5de0",
    "validation": "b5deec336cdaebdb9e74ea066fda86d80d69250b7ec1aab086ff4fc9a7efc72f",
    "test": "29fc35b3f974b6913fc8300719c1e61a3b70d1cf96e1c48a414f41d2b0aab4d8",
}


def digest(examples: Examples) -> str:
    return digest_of_arrays({"inputs": examples.inputs, "targets": examples.targets})


def test_the_splits_stay_what_they_are() -> None:
    task = Digits()
    source = task.find()
    for split, expected in DIGESTS.items():
        examples = task.load(source, split)
        assert len(examples) == source.sizes[split]
        assert digest(examples) == expected


def test_the_source_names_scikit_learn_and_has_no_caveat() -> None:
    source = Digits().find()
    assert source.origin == f"scikit-learn {sklearn.__version__}"
    assert source.location.endswith("digits.csv.gz")
    assert source.caveat == ""


def test_inputs_are_the_rows_of_the_image_in_sixteenths() -> None:
    task = Digits()
    examples = task.load(task.find(), "test")
    published = {(image / 16).tobytes() for image in sklearn.datasets.load_digits().images}
    assert examples.inputs.shape == (360, task.shape.length, task.shape.input_size)
    assert examples.inputs.dtype == np.float32
    assert all(image.astype(np.float64).tobytes() in published for image in examples.inputs)


def test_no_skill_is_the_score_of_the_digit_most_frequent_in_training() -> None:
    task = Digits()
    source = task.find()
    answer = np.bincount(task.load(source, "train").targets).argmax()
    assert (task.load(source, "test").targets == answer).mean() == pytest.approx(task.no_skill)


def test_other_digits_than_expected_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = SimpleNamespace(images=np.zeros((1797, 8, 8)), target=np.zeros(1797))
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: other)
    with pytest.raises(DataError, match=r"are corrupt: expected sha256 91b824\w+, found \w+\. Ins"):
        Digits().find()


def test_loss_and_score_of_two_samples_are_those_computed_by_hand() -> None:
    outputs = torch.zeros(2, 10)
    outputs[0, 3] = 1.0
    targets = torch.tensor([3, 5])
    task = Digits()
    by_hand = ((math.log(9 + math.e) - 1) + math.log(10)) / 2
    assert task.loss(outputs, targets).item() == pytest.approx(by_hand, abs=1e-6)
    assert task.score(outputs, targets).item() == 0.5
