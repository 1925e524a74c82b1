"""Pen strokes: how they are repacked, padded and read."""

from __future__ import annotations

import functools
import io
import tarfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rnnsearch import DataError, DataFile, Dataset, Examples, MissingDataError, locate, sha256_of
from rnnsearch_mnist.array_digest import digest_of_arrays
from rnnsearch_mnist.mnist_files import MNIST, read_mnist
from rnnsearch_mnist.splits import MNIST_SIZES, Split, mnist_part
from rnnsearch_mnist.strokes import (
    ARCHIVES,
    FILE,
    LENGTH,
    STROKES,
    download_strokes,
    npz_digest,
    read_strokes,
    repack,
)
from rnnsearch_mnist.temporal import TemporalMNIST, pad

Full = Callable[[Dataset], Path]
Serving = Callable[[Path], AbstractContextManager[str]]

END = [0, 0, 1, 1]
ONE = [[3, 5, 0, 0], [0, -1, 0, 0], END]
TWO = [[9, 9, 0, 0], END]
# Digests of inputs, lengths and targets; computed once, when the splits were fixed.
DIGESTS: dict[Split, str] = {
    "train": "95aa29e9bef98100b1b01be63bbc3258e0cdfc2fc6f549f8a82bce66977aff0f",
    "validation": "9a9841f8e411ccb767221e7df7cf8b29df8d93f391e3cc53e0cac18491cf67c6",
    "test": "16bff24ef71fb5d41e1f198fcb93b281b4ccebbc2d57096b916ab505db463a7b",
}


def digest(examples: Examples) -> str:
    assert examples.lengths is not None
    arrays = {
        "inputs": examples.inputs,
        "targets": examples.targets,
        "lengths": examples.lengths,
    }
    return digest_of_arrays(arrays)


def after_zeros(*sequences: list[list[int]], steps: int = 5) -> np.ndarray:
    """Lay out sequences as published: float64, with rows of zeros before them."""
    padded = np.zeros((len(sequences), steps, 4))
    for row, sequence in zip(padded, sequences, strict=True):
        row[steps - len(sequence) :] = np.reshape(sequence, (-1, 4))
    return padded


def test_repacking_drops_the_zeros_before_a_sequence_and_nothing_else() -> None:
    rows, offsets = repack(after_zeros(ONE, TWO))
    assert rows.dtype == np.int8
    assert offsets.dtype == np.int32
    assert rows.tolist() == ONE + TWO
    assert offsets.tolist() == [0, 3, 5]


@pytest.mark.parametrize(
    ("padded", "problem"),
    [
        pytest.param(after_zeros(ONE) + 0.5, "not an integer from -128 to 127", id="fraction"),
        pytest.param(after_zeros(ONE) * 100, "not an integer from -128 to 127", id="too large"),
        pytest.param(after_zeros(ONE) * np.nan, "not an integer from -128 to 127", id="nan"),
        pytest.param(after_zeros(ONE, []), "is empty or has a row of zeros", id="empty"),
        pytest.param(after_zeros([*TWO, [0] * 4, END]), "a row of zeros inside", id="gap"),
        pytest.param(np.flip(after_zeros(ONE), 1), "is empty or has a row of", id="zeros after"),
        pytest.param(after_zeros(ONE[:2]), "end-of-digit flag", id="no end"),
        pytest.param(after_zeros([END, *ONE]), "end-of-digit flag", id="two ends"),
        pytest.param(after_zeros(ONE)[..., :3], r"\(samples, steps, 4\), got \(1, 5, 3\)", id="3"),
    ],
)
def test_repacking_refuses_what_it_could_not_restore(padded: np.ndarray, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        repack(padded)


def test_padding_comes_after_the_end_and_lengths_count_the_flag_rows() -> None:
    rows, offsets = repack(after_zeros(ONE, TWO, ONE))
    inputs, lengths = pad(rows, offsets[1:])
    assert inputs.shape == (2, LENGTH, 4)
    assert inputs.dtype == np.int8
    assert lengths.tolist() == [2, 3]
    assert inputs[0, :2].tolist() == TWO
    assert inputs[1, :3].tolist() == ONE
    assert not inputs[0, 2:].any()
    assert not inputs[1, 3:].any()


def test_the_digest_is_of_the_arrays_and_not_of_the_file(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray] = {
        "b": np.arange(3, dtype=np.int32),
        "a": np.zeros((2, 2), np.uint8),
    }
    np.savez_compressed(tmp_path / "one.npz", allow_pickle=False, **arrays)
    np.savez(tmp_path / "two.npz", allow_pickle=False, **dict(reversed(arrays.items())))
    assert sha256_of(tmp_path / "one.npz") != sha256_of(tmp_path / "two.npz")
    assert npz_digest(tmp_path / "one.npz") == npz_digest(tmp_path / "two.npz")
    assert npz_digest(tmp_path / "one.npz") == digest_of_arrays(arrays)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"a": np.arange(4, dtype=np.int16)}, id="dtype"),
        pytest.param({"a": np.arange(4, dtype=np.int32).reshape(2, 2)}, id="shape"),
        pytest.param({"a": np.array([0, 1, 2, 4], np.int32)}, id="value"),
        pytest.param({"b": np.arange(4, dtype=np.int32)}, id="name"),
    ],
)
def test_the_digest_sees_every_property_of_an_array(change: dict[str, np.ndarray]) -> None:
    assert digest_of_arrays(change) != digest_of_arrays({"a": np.arange(4, dtype=np.int32)})


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"], ids=repr)
def test_a_damaged_file_is_called_corrupt(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_bytes(content)
    monkeypatch.setenv("RNNSEARCH_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match=r"mnist_strokes\.npz \(MNIST-strokes\) is corrupt: "):
        TemporalMNIST().find()


def test_other_arrays_than_expected_are_corrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILE).parent.mkdir()
    np.savez(tmp_path / FILE, allow_pickle=False, train_rows=np.zeros(3))
    monkeypatch.setenv("RNNSEARCH_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match="is corrupt: expected sha256 338abaf2"):
        TemporalMNIST().find()


def test_without_the_strokes_the_error_says_which_file_goes_where() -> None:
    with pytest.raises(MissingDataError) as caught:
        TemporalMNIST().find()
    text = str(caught.value)
    assert "MNIST-strokes was not found" in text
    assert f"set RNNSEARCH_DATA_DIR to that folder:\n  {FILE}\n" in text
    assert "https://github.com/edwin-de-jong/mnist-digits-stroke-sequence-data" in text


def test_a_file_that_is_gone_when_it_is_read_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read: .*No such file"):
        read_strokes(tmp_path / "gone.npz", "test")


def write_archive(path: Path, array: np.ndarray) -> None:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("array.npy")
        member.size = content.tell()
        content.seek(0)
        archive.addfile(member, content)


def test_the_published_archives_are_downloaded_repacked_and_kept(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, serving: Serving
) -> None:
    monkeypatch.delenv("RNNSEARCH_OFFLINE")
    served = tmp_path / "served"
    served.mkdir()
    for part, sequences in (("train", (ONE, TWO, ONE)), ("test", (TWO,))):
        write_archive(served / f"{part}-padded-leading.tar.gz", after_zeros(*sequences))
        labels = np.arange(len(sequences)).astype(np.float64)
        write_archive(served / f"{part}-labels.tar.gz", labels)
    expected: dict[str, np.ndarray] = {
        "train_rows": np.array(ONE + TWO + ONE, np.int8),
        "train_offsets": np.array([0, 3, 5, 8], np.int32),
        "train_labels": np.array([0, 1, 2], np.uint8),
        "test_rows": np.array(TWO, np.int8),
        "test_offsets": np.array([0, 2], np.int32),
        "test_labels": np.array([0], np.uint8),
    }
    with serving(served) as url:
        archives = tuple(
            DataFile(archive.path, sha256_of(served / archive.path), url=f"{url}/{archive.path}")
            for archive in ARCHIVES
        )
        small = replace(
            STROKES,
            files=(replace(STROKES.files[0], sha256=digest_of_arrays(expected)),),
            downloader=functools.partial(download_strokes, archives=archives),
        )
        assert locate(small).origin == "download"
    assert [p for p in (home / "data").rglob("*") if p.is_file()] == [home / "data" / FILE]
    with np.load(home / "data" / FILE, allow_pickle=False) as found:
        assert set(found.files) == set(expected)
        assert all((found[name] == expected[name]).all() for name in expected)
    assert locate(small).origin == "cache"


@pytest.mark.parametrize(
    ("sequences", "labels", "problem"),
    [
        pytest.param(after_zeros(ONE[:2]), np.zeros(1), "end-of-digit flag", id="no end"),
        pytest.param(after_zeros(ONE), np.zeros(2), "one small integer for each", id="too many"),
        pytest.param(after_zeros(ONE), np.full(1, 0.5), "one small integer for each", id="half"),
    ],
)
def test_archives_with_something_else_are_refused(
    sequences: np.ndarray, labels: np.ndarray, problem: str, tmp_path: Path, serving: Serving
) -> None:
    served, target = tmp_path / "served", tmp_path / "target"
    served.mkdir()
    for part in ("train", "test"):
        write_archive(served / f"{part}-padded-leading.tar.gz", sequences)
        write_archive(served / f"{part}-labels.tar.gz", labels)
    with serving(served) as url:
        archives = tuple(
            DataFile(archive.path, sha256_of(served / archive.path), url=f"{url}/{archive.path}")
            for archive in ARCHIVES
        )
        with pytest.raises(DataError, match=f"sequences are not as expected: .*{problem}"):
            download_strokes(target, archives)


def test_the_full_splits_stay_what_they_are_and_end_where_their_flag_is(full: Full) -> None:
    folder = full(STROKES)
    task = TemporalMNIST()
    source = task.find()
    assert (source.origin, source.location) == ("RNNSEARCH_DATA_DIR", str(folder / FILE))
    longest = {}
    for split, expected in DIGESTS.items():
        examples = task.load(source, split)
        inputs, lengths = examples.inputs, examples.lengths
        assert lengths is not None
        assert inputs.shape == (MNIST_SIZES[split], LENGTH, task.shape.input_size)
        assert inputs.dtype == np.int8
        assert (inputs[np.arange(len(inputs)), lengths - 1] == END).all()
        assert (inputs[:, :, 3].sum(axis=1) == 1).all()
        assert not inputs[np.arange(LENGTH) >= lengths[:, None]].any()
        assert digest(examples) == expected
        longest[split] = int(lengths.max())
    assert max(longest.values()) == LENGTH


def test_sequence_i_belongs_to_image_i(full: Full) -> None:
    full(MNIST)
    folder = full(STROKES)
    for split in DIGESTS:
        images, labels = read_mnist(folder / "MNIST" / "raw", split)
        part, chosen = mnist_part(split)
        rows, offsets, stroke_labels = read_strokes(folder / FILE, part)
        assert (stroke_labels[chosen] == labels).all()
        inputs, lengths = pad(rows, offsets[chosen.start : chosen.stop + 1])
        # Positions count from 1; the positions reached are on ink.
        x, y = inputs[:100, :, :2].astype(int).cumsum(axis=1).transpose(2, 0, 1) - 1
        inside = np.arange(LENGTH) < lengths[:100, None]
        assert (images[np.arange(100)[:, None], y, x] > 0)[inside].all()


def test_repacking_the_padded_test_part_restores_it(full: Full) -> None:
    rows, offsets, _ = read_strokes(full(STROKES) / FILE, "test")
    lengths = np.diff(offsets)
    padded = np.zeros((len(lengths), LENGTH, 4))
    padded[np.arange(LENGTH) >= LENGTH - lengths[:, None]] = rows
    again, again_offsets = repack(padded)
    assert (again == rows).all()
    assert (again_offsets == offsets).all()
