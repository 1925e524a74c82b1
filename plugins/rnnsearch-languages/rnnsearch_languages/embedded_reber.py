"""The embedded Reber grammar."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from numpy.random import RandomState
from typing_extensions import override

from rnnsearch import IntRange, Split
from rnnsearch_languages.generated import data_options
from rnnsearch_languages.next_symbol import NextSymbolTask, draw_apart

# For each state, the legal symbols and the states they lead to. The inner grammar is Reber's; the
# outer symbol, T or P, must be repeated after it.
_REBER = {
    0: {"B": 1},
    1: {"T": 2, "P": 3},
    2: {"S": 2, "X": 4},
    3: {"T": 3, "V": 5},
    4: {"X": 3, "S": 6},
    5: {"P": 4, "V": 6},
    6: {"E": 7},
    7: {},
}


class EmbeddedReber(NextSymbolTask):
    """Predict the next symbols of a string of Reber's grammar, framed by a repeated symbol.

    A string is B, then T or P, then a string of the Reber grammar (such as BTXSE), then the same T
    or P again, then E. Where two symbols are legal, both are equally likely. The symbol of the
    frame must be remembered through the inner string, whatever its length.

    Source: Cleeremans, Servan-Schreiber and McClelland, "Finite state automata and simple recurrent
    networks", Neural Computation 1, 1989; Hochreiter and Schmidhuber, "Long short-term memory",
    Neural Computation 9, 1997, section 5.1: 256 strings to train and 256 to test. Departures: the
    targets are all legal symbols, whereas the paper has the symbol that comes next; a string is
    right if exactly the legal symbols have a positive logit, whereas the paper requires the
    largest activations; validation strings; no string in two splits; and no string longer than
    `longest`.

    Shapes:
        inputs: `(samples, longest - 1, 7)` uint8, one-hot in the order `BTPSXVE`; the last E is not
            read
        targets: `(samples, longest - 1, 7)` float32, 1 where legal, in the same order; NaN after
            the end
        lengths: `(samples,)` int64

    Args:
        longest: symbols of the longest string.
        seed: seed of the strings.
        train_size: strings to train on.
        validation_size: strings to validate on.
        test_size: strings to test on.
    """

    options = {
        "longest": IntRange(12, 1_000, default=50, searched=False),
        **data_options(256, 256, 256),
    }
    start: ClassVar[str] = "B"
    end: ClassVar[str] = "E"

    @property
    @override
    def symbols(self) -> str:  # type: ignore[override]
        """All seven symbols."""
        return "BTPSXVE"

    @property
    @override
    def predicted(self) -> str:
        """All seven symbols."""
        return self.symbols

    @override
    def strings(self, split: Split) -> list[str]:
        """Draw strings by walking through the grammar."""
        draw = partial(_draw, self.generator(split), self.number("longest"))
        return draw_apart(draw, self.number(f"{split}_size"), split)

    @override
    def legal(self, string: str) -> list[str]:
        """The frame's symbols around those of the Reber grammar."""
        outer, inner = string[0], string[1:-1]
        legal, state = ["TP"], 0
        for symbol in inner:
            legal.append("".join(_REBER[state]))
            state = _REBER[state][symbol]
        return [*legal, outer, self.end]

    @override
    def steps(self, split: Split) -> int:
        """The longest string without its last symbol."""
        return self.number("longest") - 1


def _draw(random: RandomState, longest: int) -> str:
    """Draw a string without the frame's B and E."""
    while True:
        outer = "TP"[random.randint(0, 2, dtype="int64")]
        inner, state = "", 0
        while _REBER[state]:
            symbols = list(_REBER[state])
            symbol = symbols[random.randint(0, len(symbols), dtype="int64")]
            inner, state = inner + symbol, _REBER[state][symbol]
        if len(inner) + 4 <= longest:
            return outer + inner + outer
