"""Tomita's seven regular languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.random import RandomState
from typing_extensions import override

from rnnsearch import (
    Choice,
    Examples,
    IntRange,
    SequenceShape,
    Split,
    Value,
    accuracy,
    cross_entropy,
)
from rnnsearch_languages.generated import StringTask, data_options, none_found


@dataclass(frozen=True)
class Automaton:
    """A deterministic finite automaton over 0 and 1 that starts in state 0.

    Attributes:
        after: for each state, the states that 0 and 1 lead to.
        accepting: the accepting states.
    """

    after: tuple[tuple[int, int], ...]
    accepting: frozenset[int]

    def accepts(self, string: str) -> bool:
        """Whether a string is in the language."""
        state = 0
        for symbol in string:
            state = self.after[state][int(symbol)]
        return state in self.accepting


GRAMMARS: dict[int, Automaton] = {
    1: Automaton(((1, 0), (1, 1)), frozenset({0})),
    2: Automaton(((2, 1), (0, 2), (2, 2)), frozenset({0})),
    # 0: an even run of 1, or zeros without restriction; 1: an odd run of 1; 2 and 3: an odd and an
    # even run of 0 after it; 4: an odd run of 0 that has ended.
    3: Automaton(((0, 1), (2, 0), (3, 4), (2, 1), (4, 4)), frozenset({0, 1, 3})),
    4: Automaton(((1, 0), (2, 0), (3, 0), (3, 3)), frozenset({0, 1, 2})),
    5: Automaton(((1, 2), (0, 3), (3, 0), (2, 1)), frozenset({0})),
    6: Automaton(((1, 2), (2, 0), (0, 1)), frozenset({0})),
    7: Automaton(((0, 1), (2, 1), (2, 3), (4, 3), (4, 4)), frozenset({0, 1, 2, 3})),
}


class Tomita(StringTask):
    """Decide whether a string of 0 and 1 belongs to one of Tomita's languages.

    1: only 1. 2: 10 repeated. 3: no odd run of 0 right after an odd run of 1. 4: no 000. 5: an even
    number of 0 and an even number of 1. 6: equal numbers of 0 and 1, modulo 3. 7: 0*1*0*1*.

    Each length that has both kinds of strings is equally likely. At each length, half of the
    strings belong and half do not, uniform within each kind, so the length reveals nothing.
    Training has the lengths up to `train_max`, validation the next up to `validation_max`, test the
    next up to `test_max`. Where few strings belong (grammars 1, 2, 7), strings recur often.

    Source: Tomita, "Dynamic construction of finite-state automata from examples using
    hill-climbing", 1982, in the form used since Giles et al., "Learning and extracting finite state
    automata with second-order recurrent neural networks", Neural Computation 4, 1992
    (reconstructed). They train on all strings up to some length and test on longer ones; sizes and
    balance are ours.

    Shapes:
        inputs: `(samples, steps, 2)` uint8, one-hot
        targets: `(samples,)` int64, 1 for a string that belongs
        lengths: `(samples,)` int64

    Args:
        grammar: 1 to 7.
        train_max: longest string in training.
        validation_max: longest string in validation.
        test_max: longest string in test.
        seed: seed of the strings.
        train_size: strings to train on.
        validation_size: strings to validate on.
        test_size: strings to test on.
    """

    options = {
        "grammar": Choice(tuple(GRAMMARS), default=4, searched=False),
        "train_max": IntRange(2, 1_000, default=15, searched=False),
        "validation_max": IntRange(4, 1_000, default=20, searched=False),
        "test_max": IntRange(6, 1_000, default=40, searched=False),
        **data_options(2_000, 500, 1_000),
    }
    metric: ClassVar[str] = "accuracy"
    direction: ClassVar[Literal["maximize", "minimize"]] = "maximize"
    no_skill: ClassVar[float] = 0.5

    loss = cross_entropy
    score = accuracy

    def __init__(self, **options: Value) -> None:
        super().__init__(**options)
        self.require_growing("train_max", "validation_max", "test_max")

    @property
    @override
    def shape(self) -> SequenceShape:
        """0 or 1 per step; in the language or not."""
        return SequenceShape(2, 2, None, "masked_step")

    @override
    def generate(self, split: Split) -> Examples:
        """Draw lengths, and for each a string of one kind."""
        strings = self.strings(split)
        automaton = GRAMMARS[self.number("grammar")]
        longest = self.number("test_max" if split == "test" else "validation_max")
        lengths = np.array([len(string) for string in strings], np.int64)
        inputs = np.zeros((len(strings), longest, 2), np.uint8)
        symbols = np.array(list(map(int, "".join(strings))))
        inputs[np.arange(longest) < lengths[:, None]] = np.eye(2, dtype=np.uint8)[symbols]
        targets = np.array([automaton.accepts(string) for string in strings], np.int64)
        return Examples(inputs, targets, lengths)

    def strings(self, split: Split) -> list[str]:
        """Draw the strings of a split, alternating between members and non-members."""
        before = {"train": 0, "validation": self.number("train_max")}.get(
            split, self.number("validation_max")
        )
        longest = self.number(f"{split}_max")
        automaton = GRAMMARS[self.number("grammar")]
        tables = [ways(automaton, longest, belonging=kind) for kind in (True, False)]
        lengths = [n for n in range(before + 1, longest + 1) if all(t[n][0] for t in tables)]
        if not lengths:
            raise none_found(split)
        random, count = self.generator(split), self.number(f"{split}_size")
        drawn = random.randint(0, len(lengths), (count + 1) // 2, "int64").tolist()
        pairs = [(table, lengths[i]) for i in drawn for table in tables]
        return [_draw(random, automaton, table, n) for table, n in pairs[:count]]


def ways(automaton: Automaton, longest: int, *, belonging: bool) -> list[list[int]]:
    """Number of strings by length and state that lead from the state to a wanted end.

    Args:
        automaton: the automaton.
        longest: the largest length.
        belonging: whether an accepting state is wanted, or a rejecting one.
    """
    states = range(len(automaton.after))
    table = [[int((state in automaton.accepting) == belonging) for state in states]]
    for _ in range(longest):
        table.append([sum(table[-1][after] for after in automaton.after[s]) for s in states])
    return table


def _draw(random: RandomState, automaton: Automaton, table: list[list[int]], length: int) -> str:
    string, state = "", 0
    for left, chance in zip(reversed(range(length)), random.random_sample(length), strict=True):
        zero, one = automaton.after[state]
        # Exactly 0 or 1 if only one way is open: the counts are integers of any size.
        takes_zero = chance < table[left][zero] / (table[left][zero] + table[left][one])
        string += "0" if takes_zero else "1"
        state = zero if takes_zero else one
    return string
