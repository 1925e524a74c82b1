"""The language of palindromes with a marked middle."""

from __future__ import annotations

from functools import partial

from numpy.random import RandomState
from typing_extensions import override

from rnnsearch import IntRange, Split
from rnnsearch_languages.generated import data_options
from rnnsearch_languages.next_symbol import NextSymbolTask, draw_apart

LETTERS, MIDDLE = "abcdefgh", "#"


class Palindrome(NextSymbolTask):
    """Predict the next symbols of w # reversed(w): remember a word, repeat it in reverse.

    Before the middle any letter is legal, and the middle after at least one letter; then come the
    letters of the word from its last to its first; then the end. The length of the word is uniform
    from 1 to `longest`, its letters are uniform. Every word belongs to one split, three of five to
    training; a short word may be drawn more than once there.

    Source: the marked palindrome is the textbook example of a deterministic context-free language
    (Hopcroft and Ullman, "Introduction to automata theory, languages, and computation", 1979). As a
    task for recurrent nets with a stack, see Sun, Giles, Chen and Lee, "The neural network pushdown
    automaton", 1993; for next symbols see `anbn`. Sizes are ours.

    Shapes:
        inputs: `(samples, 2 longest + 2, symbols + 2)` uint8, one-hot: the start, letters, middle
        targets: `(samples, 2 longest + 2, symbols + 2)` float32, 1 where legal: letters, middle,
            the end; NaN after the end
        lengths: `(samples,)` int64, symbols and the start

    Args:
        symbols: number of different letters.
        longest: letters of the longest word.
        seed: seed of the words.
        train_size: strings to train on.
        validation_size: strings to validate on.
        test_size: strings to test on.
    """

    options = {
        "symbols": IntRange(2, len(LETTERS), default=2, searched=False),
        "longest": IntRange(2, 1_000, default=10, searched=False),
        **data_options(2_000, 500, 500),
    }

    @property
    def _letters(self) -> str:
        return LETTERS[: self.number("symbols")]

    @property
    @override
    def symbols(self) -> str:  # type: ignore[override]
        """The start, the letters and the middle."""
        return self.start + self._letters + MIDDLE

    @property
    @override
    def predicted(self) -> str:
        """The letters, the middle and the end."""
        return self._letters + MIDDLE + self.end

    @override
    def strings(self, split: Split) -> list[str]:
        """Draw words."""
        draw = partial(_draw, self.generator(split), self._letters, self.number("longest"))
        return draw_apart(draw, self.number(f"{split}_size"), split)

    @override
    def legal(self, string: str) -> list[str]:
        """Everything but the end before the middle; after it, everything is determined."""
        word, _, mirrored = string.partition(MIDDLE)
        open_end = [self._letters] + [self._letters + MIDDLE] * len(word)
        return [*open_end, *mirrored, self.end]

    @override
    def steps(self, split: Split) -> int:
        """The longest word twice, the middle and the start."""
        return 2 * self.number("longest") + 2


def _draw(random: RandomState, letters: str, longest: int) -> str:
    length = int(random.randint(1, longest + 1, dtype="int64"))
    drawn = random.randint(0, len(letters), length, "int64")
    word = "".join(letters[i] for i in drawn.tolist())
    return word + MIDDLE + word[::-1]
