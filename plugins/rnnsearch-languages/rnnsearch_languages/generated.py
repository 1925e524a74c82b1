"""Shared by the tasks of this plugin: options that grow from split to split, disjoint splits."""

from __future__ import annotations

import itertools

from rnnsearch import DataError, GeneratedTask, IntRange, Split, StudyFileError, generated_options

MOST_DRAWS = 1000  # for one string


def data_options(train: int, validation: int, test: int) -> dict[str, IntRange]:
    """The options of a task that draws strings: the seed and the size of each split."""
    return generated_options(train, validation, test, seed=2001)


class StringTask(GeneratedTask):
    """A task of strings."""

    def require_growing(self, *names: str) -> None:
        """Refuse options that do not increase from one to the next.

        Raises:
            StudyFileError: names the option.
        """
        for lower, upper in itertools.pairwise(names):
            if self.number(upper) <= self.number(lower):
                msg = (
                    f"expected more than `{lower}`, {self.number(lower)}, got {self.number(upper)}"
                )
                raise StudyFileError(msg, key=upper)


def none_found(split: Split) -> DataError:
    """The error for a split that has no string to draw."""
    return DataError(f"too few different strings to keep some apart for {split}: allow longer ones")
