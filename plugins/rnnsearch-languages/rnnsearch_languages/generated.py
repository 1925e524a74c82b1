"""What the tasks here share: data that is generated, with a digest to tell it by."""

from __future__ import annotations

import hashlib
import itertools
from abc import abstractmethod
from typing import Literal, TypeAlias

import numpy as np
from numpy.random import RandomState

from rnnsearch import DataError, DataSource, Examples, IntRange, StudyFileError, Task

Split: TypeAlias = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# Of every five strings three may be drawn for training, one for validation and one for test.
_PARTS: tuple[Split, ...] = ("train", "train", "train", "validation", "test")
MOST_DRAWS = 1000  # for one string


def data_options(train: int, validation: int, test: int) -> dict[str, IntRange]:
    """The options of a task that draws strings: the seed, and how many a split has.

    Args:
        train: default number of training strings.
        validation: default number of validation strings.
        test: default number of test strings.
    """
    sizes = {"train_size": train, "validation_size": validation, "test_size": test}
    return {
        "seed": IntRange(0, 2**32 - 1, default=2001, searched=False),
        **{name: IntRange(2, 10**7, default=n, searched=False) for name, n in sizes.items()},
    }


class GeneratedTask(Task):
    """A task whose data is generated; a subclass gives `generate`."""

    def find(self) -> DataSource:
        """Generate every split once for the digest; nothing is kept."""
        digests, sizes = list[str](), dict[str, int]()
        for split in SPLITS:
            examples = self.generate(split)
            digests.append(digest_of(examples))
            sizes[split] = len(examples)
        recipe = [f"{name} {value}" for name, value in self.chosen.items() if not _is_data(name)]
        return DataSource(
            dataset=f"{type(self).__name__} ({', '.join(recipe)})",
            origin="generated",
            location=f"seed {self.chosen['seed']}" if "seed" in self.chosen else "no seed",
            sha256=hashlib.sha256("\n".join(digests).encode()).hexdigest(),
            sizes=sizes,
        )

    def load(self, source: DataSource, split: Split) -> Examples:
        """Generate one split."""
        return self.generate(split)

    @abstractmethod
    def generate(self, split: Split) -> Examples:
        """Make the strings of a split; the same every time."""

    def number(self, name: str) -> int:
        """The value of an option that is an integer."""
        return int(self.chosen[name])

    def generator(self, split: Split) -> RandomState:
        """The random numbers of a split, from their beginning."""
        # The stream of RandomState, unlike that of a Generator, never changes (NumPy's NEP 19).
        return RandomState([self.number("seed"), SPLITS.index(split)])

    def require_growing(self, *names: str) -> None:
        """Refuse options of which one is not above that before it.

        Raises:
            StudyFileError: names the option.
        """
        for lower, upper in itertools.pairwise(names):
            if self.number(upper) <= self.number(lower):
                msg = (
                    f"expected more than `{lower}`, {self.number(lower)}, got {self.number(upper)}"
                )
                raise StudyFileError(msg, key=upper)


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


def split_of(string: str) -> Split:
    """The one split in which a string may occur, by its digest: whatever the seed."""
    return _PARTS[hashlib.sha256(string.encode()).digest()[0] % len(_PARTS)]


def none_found(split: Split) -> DataError:
    """The error where a split has no string to draw."""
    return DataError(f"too few different strings to keep some apart for {split}: allow longer ones")
