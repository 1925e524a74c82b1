"""Tasks whose data is generated: from a seed, in splits that have nothing in common."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import override

from rnnsearch.plugin.data_contract import plain
from rnnsearch.plugin.task import Examples, Task
from rnnsearch.spec.parameters import IntRange
from rnnsearch.spec.shape import DataSource, Split

if TYPE_CHECKING:
    from numpy.random import RandomState

_SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# Of every five samples three may be drawn for training, one for validation and one for test.
_PARTS: tuple[Split, ...] = ("train", "train", "train", "validation", "test")


def generated_options(
    train: int, validation: int, test: int, *, seed: int = 1997
) -> dict[str, IntRange]:
    """The options `seed`, `train_size`, `validation_size` and `test_size`.

    Args:
        train: default number of training samples.
        validation: default number of validation samples.
        test: default number of test samples.
        seed: default seed.
    """
    sizes = {"train_size": train, "validation_size": validation, "test_size": test}
    return {
        "seed": IntRange(0, 2**32 - 1, default=seed, searched=False),
        **{name: IntRange(2, 10**7, default=n, searched=False) for name, n in sizes.items()},
    }


class GeneratedTask(Task):
    """A task whose data is generated; a subclass gives `generate`.

    One that draws at random takes `generated_options` among its options, and each split from its
    own `generator`.
    """

    @override
    def find(self) -> DataSource:
        """Generate every split once for the digest; nothing is kept.

        Raises:
            DataError: `generate` returns something else than arrays of numbers.
        """
        digests, sizes = list[str](), dict[str, int]()
        for split in _SPLITS:
            examples = self.generate(split)
            plain(examples, split)  # what is no array has no digest
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

    @override
    def load(self, source: DataSource, split: Split) -> Examples:
        """Generate one split."""
        return self.generate(split)

    @abstractmethod
    def generate(self, split: Split) -> Examples:
        """Make the samples of a split; the same every time."""

    def size(self, split: Split) -> int:
        """Samples in a split."""
        return self.number(f"{split}_size")

    def number(self, name: str) -> int:
        """The value of an option that is an integer."""
        return int(self.chosen[name])

    def generator(self, split: Split) -> RandomState:
        """The random numbers of a split, from their beginning."""
        # The stream of RandomState, unlike that of a Generator, never changes (NumPy's NEP 19).
        return np.random.RandomState([self.number("seed"), _SPLITS.index(split)])


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


def split_of(content: bytes) -> Split:
    """The one split in which a sample may occur, by the digest of its content: whatever the seed.

    Where samples are made of few symbols, chance would put some into two splits.
    """
    return _PARTS[hashlib.sha256(content).digest()[0] % len(_PARTS)]
