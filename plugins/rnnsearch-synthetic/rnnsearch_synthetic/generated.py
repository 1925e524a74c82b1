"""What the tasks here share: sequences drawn from a seed, in splits that have none in common."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from numpy.random import RandomState

from rnnsearch import DataError, DataSource, Examples, IntRange, Task

Split: TypeAlias = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# Of every five sequences three may be drawn for training, one for validation and one for test.
_PARTS: tuple[Split, ...] = ("train", "train", "train", "validation", "test")
_MOST_DRAWS = 200


def data_options(train: int, validation: int, test: int) -> dict[str, IntRange]:
    """The options that every task here has: the seed, and how many sequences a split has.

    Args:
        train: default number of training sequences.
        validation: default number of validation sequences.
        test: default number of test sequences.
    """
    sizes = {"train_size": train, "validation_size": validation, "test_size": test}
    return {
        "seed": IntRange(0, 2**32 - 1, default=1997, searched=False),
        **{name: IntRange(2, 10**7, default=n, searched=False) for name, n in sizes.items()},
    }


class GeneratedTask(Task):
    """A task whose sequences are drawn from a seed, each split from a generator of its own.

    A subclass gives `generate`, and takes `data_options` among its options.
    """

    def find(self) -> DataSource:
        """Generate every split once for the digest; nothing is kept."""
        digests = [digest_of(self.generate(split)) for split in SPLITS]
        recipe = [f"{name} {value}" for name, value in self.chosen.items() if not _is_data(name)]
        return DataSource(
            dataset=f"{type(self).__name__} ({', '.join(recipe)})",
            origin="generated",
            location=f"seed {self.chosen['seed']}",
            sha256=hashlib.sha256("\n".join(digests).encode()).hexdigest(),
            sizes={split: self.size(split) for split in SPLITS},
        )

    def load(self, source: DataSource, split: Split) -> Examples:
        """Generate one split."""
        return self.generate(split)

    @abstractmethod
    def generate(self, split: Split) -> Examples:
        """Draw the sequences of a split; the same every time."""

    def size(self, split: Split) -> int:
        """Sequences in a split."""
        return int(self.chosen[f"{split}_size"])

    def number(self, name: str) -> int:
        """The value of an option that is an integer."""
        return int(self.chosen[name])

    def generator(self, split: Split) -> RandomState:
        """The random numbers of a split, from their beginning."""
        # The stream of RandomState, unlike that of a Generator, never changes (NumPy's NEP 19).
        return RandomState([self.number("seed"), SPLITS.index(split)])


def _is_data(name: str) -> bool:
    return name == "seed" or name.endswith("_size")


def digest_of(examples: Examples) -> str:
    r"""Return a sha256, in hexadecimal, of the arrays of a split: inputs, lengths, targets.

    Each contributes the line `name dtype shape\n`, then its elements in C order.
    """
    digest = hashlib.sha256()
    arrays = {"inputs": examples.inputs, "lengths": examples.lengths, "targets": examples.targets}
    for name, array in arrays.items():
        if array is not None:
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def balanced_classes(random: RandomState, count: int, classes: int) -> np.ndarray:
    """Classes in random order, each as often as every other (or once more): int64 `(count,)`."""
    return random.permutation(np.arange(count, dtype=np.int64) % classes)


def split_of(row: np.ndarray) -> Split:
    """The one split in which a sequence may occur, by its digest: whatever the seed."""
    return _PARTS[hashlib.sha256(row.tobytes()).digest()[0] % len(_PARTS)]


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
    wrong = np.flatnonzero([split_of(row) != split for row in rows])
    for _ in range(_MOST_DRAWS):
        if not len(wrong):
            return rows
        rows[wrong] = drawn = draw(random, classes[wrong])
        wrong = wrong[[split_of(row) != split for row in drawn]]
    msg = f"too few different sequences to keep some apart for {split}: make them longer"
    raise DataError(msg)
