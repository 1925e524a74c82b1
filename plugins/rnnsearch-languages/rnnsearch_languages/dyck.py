"""The language of balanced brackets."""

from __future__ import annotations

from functools import partial

from numpy.random import RandomState
from typing_extensions import override

from rnnsearch import IntRange, Split, StudyFileError, Value
from rnnsearch_languages.generated import data_options
from rnnsearch_languages.next_symbol import NextSymbolTask, draw_apart

OPENING, CLOSING = "([{<", ")]}>"


class Dyck(NextSymbolTask):
    """Predict the next symbols of balanced brackets: a stack, or a counter for one kind.

    Any opening bracket may come at any time, and so may the closing bracket of the innermost open
    bracket, or the end if all are closed. A string has an even length, each equally likely, and is
    uniform among the balanced strings of its length. Training and validation have lengths up to
    `train_max`; test has the next lengths, up to `test_max`.

    Source: Suzgun, Gehrmann, Belinkov and Shieber, "LSTM networks can perform dynamic counting",
    Workshop on Deep Learning and Formal Languages 2019, arXiv:1906.03648: the legal next symbols as
    targets, a string is accepted if all its predictions are right, lengths 2 to 50 and 52 to 100.
    Departures: strings are uniform within a length, whereas the source draws from a random grammar;
    cross-entropy instead of the squared error; validation strings of the training lengths, none of
    which are in training.

    Shapes:
        inputs: `(samples, steps, 2 kinds + 1)` uint8, one-hot: the start, opening, closing
        targets: `(samples, steps, 2 kinds + 1)` float32, 1 where legal: opening, closing, the end;
            NaN after the end
        lengths: `(samples,)` int64, symbols and the start

    Args:
        kinds: number of bracket types.
        train_max: longest string in training, even.
        test_max: longest string in test, even.
        seed: seed of the strings.
        train_size: strings to train on.
        validation_size: strings to validate on.
        test_size: strings to test on.
    """

    options = {
        "kinds": IntRange(1, len(OPENING), default=2, searched=False),
        "train_max": IntRange(2, 10_000, default=50, searched=False),
        "test_max": IntRange(4, 10_000, default=100, searched=False),
        **data_options(5_000, 1_000, 1_000),
    }

    def __init__(self, **options: Value) -> None:
        super().__init__(**options)
        for name in ("train_max", "test_max"):
            if self.number(name) % 2:
                msg = f"expected an even length, got {self.number(name)}"
                raise StudyFileError(msg, key=name)
        self.require_growing("train_max", "test_max")

    @property
    def _brackets(self) -> str:
        kinds = self.number("kinds")
        return OPENING[:kinds] + CLOSING[:kinds]

    @property
    @override
    def symbols(self) -> str:  # type: ignore[override]
        """The start and the brackets."""
        return self.start + self._brackets

    @property
    @override
    def predicted(self) -> str:
        """The brackets and the end."""
        return self._brackets + self.end

    @override
    def strings(self, split: Split) -> list[str]:
        """Draw lengths and strings."""
        random, count = self.generator(split), self.number(f"{split}_size")
        shortest, longest = 2, self.number("train_max")
        if split == "test":
            shortest, longest = longest + 2, self.number("test_max")
        draw = partial(draw_balanced, random, shortest // 2, longest // 2, self.number("kinds"))
        if split == "test":  # apart from the others by length
            return [draw() for _ in range(count)]
        return draw_apart(draw, count, split)

    @override
    def legal(self, string: str) -> list[str]:
        """Every opening bracket, and the closing bracket of the innermost, or the end."""
        opening = OPENING[: self.number("kinds")]
        expected: list[str] = []
        legal = [opening + self.end]
        for symbol in string:
            if symbol in opening:
                expected.append(CLOSING[opening.index(symbol)])
            else:
                expected.pop()
            legal.append(opening + (expected[-1] if expected else self.end))
        return legal

    @override
    def steps(self, split: Split) -> int:
        """The longest string, and the start."""
        return self.number("test_max" if split == "test" else "train_max") + 1


def draw_balanced(random: RandomState, fewest: int, most: int, kinds: int) -> str:
    """Draw a balanced string: first a uniform length, then a uniform string of that length.

    Args:
        random: random state to draw from.
        fewest: minimum number of bracket pairs.
        most: maximum number of bracket pairs.
        kinds: number of bracket types.
    """
    pairs = int(random.randint(fewest, most + 1, dtype="int64"))
    chances = random.random_sample(2 * pairs)
    chosen = iter(random.randint(0, kinds, pairs, "int64").tolist())
    string, open_kinds = "", list[int]()
    for step, chance in enumerate(chances.tolist()):
        left, depth = 2 * pairs - step, len(open_kinds)
        # Share of the paths from this depth to 0 that begin with an opening bracket.
        if chance * 2 * left * (depth + 1) < (left - depth) * (depth + 2):
            kind = next(chosen)
            open_kinds.append(kind)
            string += OPENING[kind]
        else:
            string += CLOSING[open_kinds.pop()]
    return string
