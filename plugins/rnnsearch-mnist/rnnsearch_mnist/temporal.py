"""MNIST digits read as the movements of a pen."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from rnnsearch import Dataset, DataSource, Examples, SequenceShape, locate
from rnnsearch_mnist.classification import CLASSES, DigitTask
from rnnsearch_mnist.splits import MNIST_SIZES, Split, mnist_part
from rnnsearch_mnist.strokes import FILE, LENGTH, STROKES, read_strokes


class TemporalMNIST(DigitTask):
    """Follow the pen strokes of a digit, one movement per step, to the step that ends it.

    A step is `dx, dy, end of stroke, end of digit`: pixels to the right and downward, then two
    flags. The first movement leads from the corner to the start of the digit; the last step is
    `0 0 1 1`. Sequences have 13 to 117 steps, 40 on average, and are padded with zeros after their
    end; only the output at the last step counts.

    Source: E. D. de Jong's stroke sequences of MNIST (CC BY-SA 3.0), and for their use the
    "temporal MNIST" of Galatolo, Cimino, Vaglini, "Using stigmergy as a computational memory in
    the design of recurrent neural networks", ICPRAM 2019, arXiv:1903.01341. Departure: the last
    5,000 training sequences are held out for validation, as in `spatial_mnist`; sequence `i`
    belongs to image `i`.

    Shapes:
        inputs: `(samples, 117, 4)` int8
        targets: `(samples,)` int64
        lengths: `(samples,)` int64, the steps before the padding
    """

    datasets: ClassVar[tuple[Dataset, ...]] = (STROKES,)
    # Always answering 1, the most frequent digit, is right for 1,135 of the 10,000 test sequences.
    no_skill: ClassVar[float] = 0.1135
    # 44 of the 5,000 validation sequences, and 108 of the 10,000 test sequences, are also in an
    # earlier split.
    may_repeat: ClassVar[float] = 0.011

    @property
    @override
    def shape(self) -> SequenceShape:
        """A varying number of movements, ten classes."""
        return SequenceShape(4, CLASSES, None, "masked_step")

    @override
    def find(self) -> DataSource:
        """Locate and verify the sequences."""
        found = locate(STROKES)
        path = str(found.folder / FILE)
        return DataSource(STROKES.name, found.origin, path, STROKES.sha256, dict(MNIST_SIZES))

    @override
    def load(self, source: DataSource, split: Split) -> Examples:
        """Read one split."""
        part, chosen = mnist_part(split)
        rows, offsets, labels = read_strokes(Path(source.location), part)
        inputs, lengths = pad(rows, offsets[chosen.start : chosen.stop + 1])
        return Examples(inputs, labels[chosen].astype(np.int64), lengths)


def pad(rows: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lay sequences side by side, padded with zeros after their end.

    Args:
        rows: `(all steps, features)`, sequences one after the other.
        offsets: `(samples + 1,)`; sequence `i` is `rows[offsets[i]:offsets[i + 1]]`.

    Returns:
        inputs: `(samples, 117, features)`.
        lengths: int64 `(samples,)`.
    """
    lengths = np.diff(offsets).astype(np.int64)
    inputs = np.zeros((len(lengths), LENGTH, rows.shape[1]), rows.dtype)
    inputs[np.arange(LENGTH) < lengths[:, None]] = rows[offsets[0] : offsets[-1]]
    return inputs, lengths
