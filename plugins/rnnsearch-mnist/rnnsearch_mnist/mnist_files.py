"""MNIST as published: four compressed IDX files."""

from __future__ import annotations

import gzip
import socket
import zlib
from http.client import HTTPException
from pathlib import Path

import numpy as np

from rnnsearch import DataError, DataFile, Dataset, import_torchvision
from rnnsearch_mnist.splits import Split, mnist_part

FOLDER = "MNIST/raw"
SIDE = 28  # pixels
TIMEOUT_S = 10.0
_FILES = {
    ("train", "images"): "train-images-idx3-ubyte.gz",
    ("train", "labels"): "train-labels-idx1-ubyte.gz",
    ("test", "images"): "t10k-images-idx3-ubyte.gz",
    ("test", "labels"): "t10k-labels-idx1-ubyte.gz",
}
_HEADER_BYTES = {"images": 16, "labels": 8}


def download_mnist(folder: Path) -> None:
    """Download MNIST with torchvision, to `MNIST/raw` below `folder`.

    Raises:
        DataError: torchvision cannot be imported, or no mirror has the files.
    """
    previous = socket.getdefaulttimeout()
    # torchvision sets no timeout itself.
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        import_torchvision().datasets.MNIST(folder, download=True)
    # It raises RuntimeError if all mirrors failed, and passes on errors during a download.
    except (ImportError, RuntimeError, OSError, HTTPException) as error:
        msg = " ".join(str(error).split())
        raise DataError(msg) from error
    finally:
        socket.setdefaulttimeout(previous)


MNIST = Dataset(
    name="MNIST",
    files=(
        DataFile(
            f"{FOLDER}/{_FILES['train', 'images']}",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            9_912_422,
        ),
        DataFile(
            f"{FOLDER}/{_FILES['train', 'labels']}",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            28_881,
        ),
        DataFile(
            f"{FOLDER}/{_FILES['test', 'images']}",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            1_648_877,
        ),
        DataFile(
            f"{FOLDER}/{_FILES['test', 'labels']}",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            4_542,
        ),
    ),
    terms="none in the files; commonly given as CC BY-SA 3.0",
    homepage="http://yann.lecun.com/exdb/mnist/",
    downloader=download_mnist,
)


def read_mnist(folder: Path, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Read one split from the compressed files, unpacking nothing to disk.

    Args:
        folder: the folder that holds the four files.
        split: the split to read.

    Returns:
        Images `(samples, 28, 28)`, 0 for background to 255 for ink, and labels `(samples,)`,
        both uint8.

    Raises:
        DataError: a file is missing or damaged.
    """
    part, chosen = mnist_part(split)
    images = _read_idx(
        folder / _FILES[part, "images"], _HEADER_BYTES["images"], SIDE * SIDE, chosen
    )
    labels = _read_idx(folder / _FILES[part, "labels"], _HEADER_BYTES["labels"], 1, chosen)
    return images.reshape(-1, SIDE, SIDE), labels


def _read_idx(path: Path, header_bytes: int, item_bytes: int, chosen: slice) -> np.ndarray:
    start = header_bytes + chosen.start * item_bytes
    size = (chosen.stop - chosen.start) * item_bytes
    try:
        with gzip.open(path) as file:
            file.seek(start)
            content = file.read(size)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path} cannot be read: {error}"
        raise DataError(msg) from error
    if len(content) != size:
        msg = f"{path} ends early: expected {start + size:,} bytes, unpacked"
        raise DataError(msg)
    return np.frombuffer(content, np.uint8)
