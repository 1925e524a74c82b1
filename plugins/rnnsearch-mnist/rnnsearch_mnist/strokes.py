"""MNIST digits as pen strokes: the published and the stored format."""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from rnnsearch import DataError, DataFile, Dataset
from rnnsearch_mnist.array_digest import digest_of_arrays

FILE = "strokes/mnist_strokes.npz"
LENGTH = 117  # steps of the longest sequence
_END = (0, 0, 1, 1)  # last step of a sequence: end of stroke, end of digit
_SOURCE = (
    "https://raw.githubusercontent.com/clvcooke/mnist-digits-stroke-sequence-data/"
    "7724f8eff8502027f7c4d1a9e9bbbf69e5f3cd3a/numpy-encoded"
)
# The test sequences must come from the encoding with leading zeros: in the other one,
# `test-padded-trailing` holds training sequences.
ARCHIVES = tuple(
    DataFile(name, sha256, url=f"{_SOURCE}/{name}")
    for name, sha256 in {
        "train-padded-leading.tar.gz": (
            "7ad3a368e3608d9adf3e7bd6105ff609f760c5d8a60a6cc74bcf79d84db28250"
        ),
        "test-padded-leading.tar.gz": (
            "0beaf9be441f4efa5497f0accd0c0423eaad9f6ad353f991a28ec99f5c71b404"
        ),
        "train-labels.tar.gz": "7f9d2c4c69dcb98ce0cdbc9b7255e8e660ad005ef3fe286efae8315c593e3b61",
        "test-labels.tar.gz": "2fe59743940ee6dc3c69c847504d380f603666a621bb81235b900f8c4f4dba86",
    }.items()
)


def npz_digest(path: Path) -> str:
    """Return `digest_of_arrays` of an .npz file, independent of how its arrays are compressed.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not an .npz file, or is damaged.
    """
    try:
        # Given a path, np.load leaves the file open when it turns out to be damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return digest_of_arrays({name: archive[name] for name in archive.files})
    except (
        AttributeError,  # a plain .npy file
        EOFError,
        NotImplementedError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        msg = f"it cannot be read as an .npz file: {error}"
        raise ValueError(msg) from error


def repack(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop the padding of sequences without losing data.

    Args:
        padded: `(samples, steps, 4)`, each sequence at the end, after rows of zeros.

    Returns:
        rows: int8 `(all steps, 4)`, the sequences one after the other, columns `dx, dy` (pixels,
            right and down), end of stroke, end of digit.
        offsets: int32 `(samples + 1,)`; sequence `i` is `rows[offsets[i]:offsets[i + 1]]`.

    Raises:
        ValueError: a value is not a small integer, a sequence has a row of zeros inside or is
            empty, or its end is not marked.
    """
    if padded.ndim != 3 or padded.shape[2] != len(_END):
        msg = f"expected the shape (samples, steps, 4), got {padded.shape}"
        raise ValueError(msg)
    with np.errstate(invalid="ignore"):
        small = padded.astype(np.int8)
    if not np.array_equal(small, padded):
        msg = "a value is not an integer from -128 to 127"
        raise ValueError(msg)
    filled: np.ndarray = (small != 0).any(axis=2)
    if not filled[:, -1].all() or (filled[:, :-1] & ~filled[:, 1:]).any():
        msg = "a sequence is empty or has a row of zeros inside"
        raise ValueError(msg)
    rows = small[filled]
    offsets = np.concatenate([[0], np.cumsum(filled.sum(axis=1))]).astype(np.int32)
    ends = offsets[1:] - 1
    if not (rows[ends] == _END).all() or np.count_nonzero(rows[:, 3]) != len(ends):
        msg = "a sequence does not have its end-of-digit flag on its last row, and only there"
        raise ValueError(msg)
    return rows, offsets


def download_strokes(folder: Path, archives: tuple[DataFile, ...] = ARCHIVES) -> None:
    """Download the published sequences and store them, without padding, as one .npz file.

    Raises:
        DataError: a download failed, or an archive has unexpected contents.
        OSError: `folder` is not writable.
    """
    arrays: dict[str, np.ndarray] = {}
    paths = {archive.path: archive.download(folder) for archive in archives}
    try:
        for part in ("train", "test"):
            padded = _only_array(paths[f"{part}-padded-leading.tar.gz"])
            labels = _only_array(paths[f"{part}-labels.tar.gz"])
            arrays[f"{part}_rows"], arrays[f"{part}_offsets"] = repack(padded)
            arrays[f"{part}_labels"] = labels.astype(np.uint8)
            if not np.array_equal(arrays[f"{part}_labels"], labels) or len(labels) != len(padded):
                msg = "the labels are not one small integer for each sequence"
                raise ValueError(msg)
    except (ValueError, EOFError, tarfile.TarError, zlib.error) as error:
        msg = f"the published stroke sequences are not as expected: {error}"
        raise DataError(msg) from error
    target = folder / FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(target, allow_pickle=False, **arrays)


def _only_array(path: Path) -> np.ndarray:
    with tarfile.open(path, "r:gz") as archive:
        (member,) = (member for member in archive if member.isfile())
        content = archive.extractfile(member)
        assert content is not None  # a plain file has content
        # np.load needs a file with a descriptor, which an archive member does not have.
        array: np.ndarray = np.load(io.BytesIO(content.read()), allow_pickle=False)
        return array


STROKES = Dataset(
    name="MNIST-strokes",
    files=(
        DataFile(
            FILE,
            "338abaf20f55f2a262ca1c719155c5163923d8bf210288ca8b6779d7c838f40c",
            digest=npz_digest,
        ),
    ),
    terms="CC BY-SA 3.0, E. D. de Jong",
    homepage="https://github.com/edwin-de-jong/mnist-digits-stroke-sequence-data",
    downloader=download_strokes,
)


def read_strokes(path: Path, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the rows, offsets and labels of one published part, `train` or `test`.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return archive[f"{part}_rows"], archive[f"{part}_offsets"], archive[f"{part}_labels"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        msg = f"{path} cannot be read: {error}"
        raise DataError(msg) from error
