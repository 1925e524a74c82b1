"""What the tasks here share: balanced classes, and sequences that no two splits have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import RandomState

from rnnsearch import DataError, Split, split_of

_MOST_DRAWS = 200


def balanced_classes(random: RandomState, count: int, classes: int) -> np.ndarray:
    """Classes in random order, each as often as every other (or once more): int64 `(count,)`."""
    return random.permutation(np.arange(count, dtype=np.int64) % classes)


def draw_apart(
    draw: Callable[[RandomState, np.ndarray], np.ndarray],
    random: RandomState,
    classes: np.ndarray,
    split: Split,
) -> np.ndarray:
    """Draw a sequence of each class, only such as `split_of` gives to a split.

    Where sequences are made of few symbols, chance would put some into two splits.

    Args:
        draw: draws one row of symbols for each class; rows with the same symbols are equal.
        random: where it draws from.
        classes: `(count,)`.
        split: the split.

    Returns:
        Symbols `(count, ...)`.

    Raises:
        DataError: there are too few different sequences.
    """
    rows = draw(random, classes)
    wrong = np.flatnonzero([split_of(row.tobytes()) != split for row in rows])
    for _ in range(_MOST_DRAWS):
        if not len(wrong):
            return rows
        rows[wrong] = drawn = draw(random, classes[wrong])
        wrong = wrong[[split_of(row.tobytes()) != split for row in drawn]]
    msg = f"too few different sequences to keep some apart for {split}: make them longer"
    raise DataError(msg)
