"""Common base of the counting languages: one number, repeated for every letter."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from rnnsearch import IntRange, Split, Value
from rnnsearch_languages.next_symbol import NextSymbolTask

COUNTING_OPTIONS = {
    "train_max": IntRange(1, 10_000, default=10, searched=False),
    "validation_max": IntRange(2, 10_000, default=20, searched=False),
    "test_max": IntRange(3, 10_000, default=50, searched=False),
    "train_size": IntRange(1, 10**6, default=1_000, searched=False),
}


class CountingTask(NextSymbolTask):
    """Strings of n copies of each letter, split by n: to generalise, a model must count further.

    Attributes:
        letters: the letters in order.
    """

    options = COUNTING_OPTIONS
    letters: ClassVar[str]

    def __init__(self, **options: Value) -> None:
        super().__init__(**options)
        self.require_growing("train_max", "validation_max", "test_max")

    @property
    @override
    def symbols(self) -> str:  # type: ignore[override]
        """The start and the letters."""
        return self.start + self.letters

    @property
    @override
    def predicted(self) -> str:
        """The letters and the end."""
        return self.letters + self.end

    @override
    def strings(self, split: Split) -> list[str]:
        """Training strings in turn, repeated as needed; each longer string once."""
        most = {name: self.number(f"{name}_max") for name in ("train", "validation", "test")}
        if split == "train":
            counts = [i % most["train"] + 1 for i in range(self.number("train_size"))]
        elif split == "validation":
            counts = list(range(most["train"] + 1, most["validation"] + 1))
        else:
            counts = list(range(most["validation"] + 1, most["test"] + 1))
        return ["".join(letter * n for letter in self.letters) for n in counts]

    @override
    def legal(self, string: str) -> list[str]:
        """The number is open during the first letter; then everything is determined."""
        first, second = self.letters[0], self.letters[1]
        n = string.count(first)
        legal = [first] + [first + second] * n
        for letter, following in zip(self.letters[1:], self.letters[2:] + self.end, strict=True):
            legal += [letter] * (n - 1) + [following]
        return legal

    @override
    def steps(self, split: Split) -> int:
        """The letters for the largest number, and the start."""
        most = "test_max" if split == "test" else "validation_max"
        return self.number(most) * len(self.letters) + 1
