"""MNIST pixel by pixel."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnnsearch import Dataset, DataSource, Examples, Task
from rnnsearch.testing import TaskConformance
from rnnsearch_mnist import sequential, subset
from rnnsearch_mnist.array_digest import digest_of_arrays
from rnnsearch_mnist.mnist_files import MNIST
from rnnsearch_mnist.sequential import LEVELS, SequentialMNIST, permutation
from rnnsearch_mnist.spatial import SpatialMNIST
from rnnsearch_mnist.splits import MNIST_SIZES

Full = Callable[[Dataset], Path]

# Digests of inputs and targets of the test split; computed once, when the task was made.
TEST_DIGESTS = {
    False: "d6f7fd3589a12fe33cc5908200f95d21ee354ee1f8648303cb398a3a56d094c0",
    True: "da15747e5613c7c5f84354ed99067c99e64f4c3e49fc438bfcfe43bb5212c6ff",
}


def digest(examples: Examples) -> str:
    return digest_of_arrays({"inputs": examples.inputs, "targets": examples.targets})


@pytest.mark.parametrize("permuted", [False, True])
class TestSequentialMNIST(TaskConformance):
    """On the 5,000 digits, which are always available."""

    @pytest.fixture
    def task(self, permuted: bool) -> Task:
        return SequentialMNIST(permuted=permuted)


def test_the_permutation_is_the_one_that_the_documentation_names() -> None:
    found = permutation()
    assert np.array_equal(found, np.random.RandomState(784).permutation(784))
    assert found[:3].tolist() == [124, 90, 280]
    assert np.array_equal(np.sort(found), np.arange(784))
    digest = hashlib.sha256(found.astype("<i8").tobytes()).hexdigest()
    assert digest == "74a7f52bd9778019692300b5b47117dc740ea364a26605d761b5c35f0f5b9a8d"
    assert "RandomState(784).permutation(784)`, whose first elements are 124, 90 and 280" in (
        " ".join((SequentialMNIST.__doc__ or "").split())
    )


def test_pixels_come_row_by_row_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.arange(784).reshape(1, 28, 28) % 256
    read = (image.astype(np.uint8), np.array([7], np.uint8))
    monkeypatch.setattr(sequential, "read_mnist", lambda folder, split: read)
    source = DataSource("MNIST", "test", "", "", {})
    plain = SequentialMNIST().load(source, "train")
    assert plain.inputs.dtype == np.float32
    assert plain.targets.tolist() == [7]
    expected = [((i % 256) / 255 - 0.1307) / 0.3081 for i in range(784)]
    assert plain.inputs[0, :, 0] == pytest.approx(np.array(expected), abs=1e-6)
    permuted = SequentialMNIST(permuted=True).load(source, "train")
    assert np.array_equal(permuted.inputs[0, :, 0], plain.inputs[0, permutation(), 0])


def test_all_256_levels_stay_apart() -> None:
    assert (np.diff(LEVELS) > 0.0127).all()


def test_without_mnist_the_5000_digits_take_its_place_with_a_caveat() -> None:
    source = SequentialMNIST().find()
    assert source == SpatialMNIST().find()
    assert source.dataset == subset.NAME
    assert "not comparable with published MNIST results" in source.caveat


@pytest.mark.parametrize("permuted", [False, True])
def test_the_full_test_split_stays_what_it_is(full: Full, permuted: bool) -> None:
    full(MNIST)
    task = SequentialMNIST(permuted=permuted)
    source = task.find()
    assert source.sizes == MNIST_SIZES
    assert digest(task.load(source, "test")) == TEST_DIGESTS[permuted]


def test_training_pixels_of_mnist_have_mean_0_and_variance_1(full: Full) -> None:
    full(MNIST)
    task = SequentialMNIST()
    inputs = task.load(task.find(), "train").inputs.astype(np.float64)
    assert inputs.mean() == pytest.approx(0, abs=0.001)
    assert inputs.std() == pytest.approx(1, abs=0.001)
