"""MNIST images read pixel by pixel."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from rnnsearch import Choice, DataSource, Examples, SequenceShape
from rnnsearch_mnist.classification import CLASSES
from rnnsearch_mnist.mnist_files import SIDE, read_mnist
from rnnsearch_mnist.spatial import SpatialMNIST
from rnnsearch_mnist.splits import Split
from rnnsearch_mnist.subset import NAME as SUBSET
from rnnsearch_mnist.subset import read_subset

PIXELS = SIDE * SIDE
# Mean and standard deviation of MNIST's training pixels, from 0 to 1, rounded as usual.
MEAN, DEVIATION = 0.1307, 0.3081
PERMUTATION_SEED = 784


class SequentialMNIST(SpatialMNIST):
    """Read an MNIST image one pixel per step, 784 steps from the top left to the bottom right.

    Source: Le, Jaitly and Hinton, "A simple way to initialize recurrent networks of rectified
    linear units", 2015, arXiv:1504.00941, with the normalisation of Bai, Kolter and Koltun, 2018,
    arXiv:1803.01271: a pixel from 0 to 1, minus 0.1307, divided by 0.3081. Departure: the last
    5,000 training images are held out for validation, as in `spatial_mnist`.

    `permuted` shuffles the pixels of every image in the same way, drawn once:
    `numpy.random.RandomState(784).permutation(784)`, whose first elements are 124, 90 and 280; step
    t shows the pixel with the t-th of these numbers, counted row by row. Publications that do not
    give their permutation used a different one.

    The images are found as in `spatial_mnist`, with the same substitute and caveat.

    Shapes:
        inputs: `(samples, 784, 1)` float32
        targets: `(samples,)` int64

    Args:
        permuted: whether the pixels are in the fixed random order.
    """

    may_repeat: ClassVar[float] = 0.0
    options = {"permuted": Choice((False, True), default=False, searched=False)}

    @property
    @override
    def shape(self) -> SequenceShape:
        """784 pixels, ten classes."""
        return SequenceShape(1, CLASSES, PIXELS, "last_step")

    @override
    def load(self, source: DataSource, split: Split) -> Examples:
        """Read one split."""
        read = read_subset if source.dataset == SUBSET else read_mnist
        images, labels = read(Path(source.location), split)
        pixels = images.reshape(len(images), PIXELS)
        if self.chosen["permuted"]:
            pixels = pixels[:, permutation()]
        return Examples(LEVELS[pixels][:, :, None], labels.astype(np.int64))


# The compiled engine reads float32 but not float16: 172 MB for the training images.
LEVELS = ((np.arange(256) / 255 - MEAN) / DEVIATION).astype(np.float32)


def permutation() -> np.ndarray:
    """The fixed order of the pixels: the same on every machine and for every study."""
    # The stream of RandomState, unlike that of a Generator, never changes (NumPy's NEP 19).
    return np.random.RandomState(PERMUTATION_SEED).permutation(PIXELS)
