"""The small digits of scikit-learn, read row by row."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from rnnsearch import DataError, DataSource, Examples, SequenceShape
from rnnsearch_mnist.array_digest import digest_of_arrays
from rnnsearch_mnist.classification import CLASSES, DigitTask
from rnnsearch_mnist.splits import Split, stratified_split

SIDE = 8  # pixels
SIZES: dict[str, int] = {"train": 1_077, "validation": 360, "test": 360}
# `digest_of_arrays` of `images` (1797, 8, 8) and `labels` (1797,), both uint8.
SHA256 = "91b82400d0d87fa6d660f6ef3f75811805bd5a80be41eece273f94291279a6fa"
_SEED = 1797


class Digits(DigitTask):
    """Read an 8 by 8 image of a digit row by row: small, and always available.

    Source: "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, UCI, CC BY 4.0),
    its test part, as distributed with scikit-learn. The split is ours: stratified by digit, fixed.

    Shapes:
        inputs: `(samples, 8, 8)` float32, a row of pixels per step, from 0 to 1
        targets: `(samples,)` int64
    """

    # Always answering 3, the most frequent digit in training, is right for 37 of 360.
    no_skill: ClassVar[float] = 37 / 360

    @property
    @override
    def shape(self) -> SequenceShape:
        """8 rows of 8 pixels, ten classes."""
        return SequenceShape(SIDE, CLASSES, SIDE, "last_step")

    @override
    def find(self) -> DataSource:
        """Verify scikit-learn's digits.

        Raises:
            DataError: scikit-learn is missing, or its digits are not the expected ones.
        """
        spec = find_spec("sklearn")
        if spec is None or spec.origin is None:
            msg = "scikit-learn, which comes with the digits, is not installed"
            raise DataError(msg)
        path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
        origin = f"scikit-learn {version('scikit-learn')}"
        images, labels = _read()
        found = digest_of_arrays({"images": images, "labels": labels})
        if found != SHA256:
            msg = (
                f"the digits of {origin} ({path}) are corrupt: expected sha256 {SHA256}, found "
                f"{found}. Install scikit-learn anew."
            )
            raise DataError(msg)
        return DataSource("digits", origin, str(path), SHA256, dict(SIZES))

    @override
    def load(self, source: DataSource, split: Split) -> Examples:
        """Read one split."""
        images, labels = _read()
        chosen = stratified_split(labels, SIZES, _SEED)[split]
        # The levels are 0 to 16, so sixteenths are exact; the arrays are small.
        return Examples(images[chosen] / np.float32(16), labels[chosen].astype(np.int64))


def _read() -> tuple[np.ndarray, np.ndarray]:
    # Importing scikit-learn takes a second.
    from sklearn.datasets import load_digits

    try:
        digits = load_digits()
    except (OSError, EOFError, ValueError) as error:
        msg = f"the digits of scikit-learn cannot be read: {error}"
        raise DataError(msg) from error
    return digits.images.astype(np.uint8), digits.target.astype(np.uint8)
