"""Shared by the tasks of this plugin: balanced classes, and sequences of disjoint splits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import RandomState

from rnnsearch import DataError, Split, split_of

_MOST_DRAWS = 200


def balanced_classes(random: RandomState, count: int, classes: int) -> np.ndarray:
    """Classes in random order, equally frequent up to a difference of one: int64 `(count,)`."""
    return random.permutation(np.arange(count, dtype=np.int64) % classes)


def draw_apart(
    draw: Callable[[RandomState, np.ndarray], np.ndarray],
    random: RandomState,
    classes: np.ndarray,
    split: Split,
) -> np.ndarray:
    """Draw a sequence of each class, keeping only those that `split_of` assigns to a split.

    If sequences have few symbols, independent draws would put some into two splits.

    Args:
        draw: draws one row of symbols for each class; rows with the same symbols are equal.
        random: random state to draw from.
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
