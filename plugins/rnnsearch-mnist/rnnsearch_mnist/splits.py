"""The fixed splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

Split = Literal["train", "validation", "test"]

# Validation is the last 5,000 of MNIST's 60,000 training images. This needs no random numbers and
# also works for the strokes. Each digit's share there is within 0.9 percentage points of its share
# in the 60,000 (0.8 for the 7, 0.6 for the 1).
MNIST_SIZES: Mapping[str, int] = {"train": 55_000, "validation": 5_000, "test": 10_000}


def mnist_part(split: Split) -> tuple[Literal["train", "test"], slice]:
    """Return the published part of MNIST that holds a split, and the samples of the split in it."""
    if split == "test":
        return "test", slice(0, MNIST_SIZES["test"])
    first = MNIST_SIZES["train"]
    if split == "train":
        return "train", slice(0, first)
    return "train", slice(first, first + MNIST_SIZES["validation"])


def stratified_split(
    labels: np.ndarray, sizes: Mapping[str, int], seed: int
) -> dict[str, np.ndarray]:
    """Divide samples at random, each class in proportion, into exactly the requested sizes.

    Every sample gets its relative position in its shuffled class; the splits are consecutive ranges
    of those positions.

    Args:
        labels: `(samples,)` classes.
        sizes: samples of each split; in total, the number of labels.
        seed: the same seed and labels give the same splits.

    Returns:
        The sorted indices of each split.
    """
    # The stream of RandomState, unlike that of a Generator, never changes (NumPy's NEP 19).
    order = np.random.RandomState(seed).permutation(len(labels))
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    ranked = order[np.argsort(position[order], kind="stable")]
    ends = np.cumsum(list(sizes.values()))
    pieces = np.split(ranked, ends[:-1])
    return {split: np.sort(piece) for split, piece in zip(sizes, pieces, strict=True)}
