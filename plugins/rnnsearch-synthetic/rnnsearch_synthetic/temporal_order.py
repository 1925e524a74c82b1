"""Classes that differ in the order of widely separated symbols."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import numpy as np
from numpy.random import RandomState
from typing_extensions import override

from rnnsearch import (
    Choice,
    Examples,
    GeneratedTask,
    IntRange,
    SequenceShape,
    Split,
    Value,
    accuracy,
    cross_entropy,
    generated_options,
)
from rnnsearch_synthetic.generated import balanced_classes, draw_apart

ALPHABET = "abcdXYEB"
_DISTRACTORS, _MARKER, _START, _END, _PADDING = 4, 4, 6, 7, 8
# Range of positions of each marker, in hundredths of the length.
_PLACES = {2: ((10, 20), (50, 60)), 3: ((10, 20), (33, 43), (66, 76))}


class TemporalOrder(GeneratedTask):
    """Tell the order of X and Y, far apart among distractors.

    A sequence starts with E, ends with B and otherwise consists of random symbols from a to d,
    except for two (or three) steps that hold X or Y. With a length of 100, these are at steps 10 to
    20 and 50 to 60 (or 10 to 20, 33 to 43 and 66 to 76, counting E as step 0), for other lengths in
    proportion, and a sequence has 100 to 110 symbols. There is a class for each order: XX, XY, YX,
    YY (or XXX to YYY), read at the last step.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9, 1997,
    section 5.6, experiments 6a and 6b. Departures: cross-entropy, whereas the paper has a squared
    error; fixed numbers of sequences; equally frequent classes, and no sequence in two splits.

    Shapes:
        inputs: `(samples, length + length // 10, 8)` uint8, one-hot in the order `abcdXYEB`
        targets: `(samples,)` int64; the markers as binary digits, X 0 and Y 1, the first highest
        lengths: `(samples,)` int64

    Args:
        length: minimum number of symbols of a sequence.
        markers: 2 or 3.
        seed: seed of the sequences.
        train_size: sequences to train on.
        validation_size: sequences to validate on.
        test_size: sequences to test on.
    """

    options = {
        "length": IntRange(20, 10_000, default=100, searched=False),
        "markers": Choice((2, 3), default=2, searched=False),
        **generated_options(10_000, 1_000, 1_000),
    }
    metric: ClassVar[str] = "accuracy"
    direction: ClassVar[Literal["maximize", "minimize"]] = "maximize"
    no_skill: ClassVar[float] = 1 / 4

    loss = cross_entropy
    score = accuracy

    def __init__(self, **options: Value) -> None:
        super().__init__(**options)
        self.no_skill = 1 / self.shape.output_size  # type: ignore[misc]

    @property
    @override
    def shape(self) -> SequenceShape:
        """One symbol per step, one class for each order of the markers."""
        return SequenceShape(len(ALPHABET), 2 ** self.number("markers"), None, "masked_step")

    @override
    def generate(self, split: Split) -> Examples:
        """Draw classes and symbols."""
        random = self.generator(split)
        classes = balanced_classes(random, self.size(split), self.shape.output_size)
        draw = partial(_draw_symbols, length=self.number("length"), markers=self.number("markers"))
        symbols = draw_apart(draw, random, classes, split)
        one_hot = np.eye(_PADDING + 1, len(ALPHABET), dtype=np.uint8)
        return Examples(one_hot[symbols], classes, (symbols != _PADDING).sum(axis=1))


def _draw_symbols(
    random: RandomState, classes: np.ndarray, *, length: int, markers: int
) -> np.ndarray:
    samples, longest = len(classes), length + length // 10
    lengths = random.randint(length, longest + 1, samples, np.int64)
    symbols = random.randint(0, _DISTRACTORS, (samples, longest), np.int64).astype(np.uint8)
    every = np.arange(samples)
    symbols[:, 0] = _START
    for digit, (first, last) in enumerate(_PLACES[markers]):
        places = random.randint(first * length // 100, last * length // 100 + 1, samples, np.int64)
        symbols[every, places] = _MARKER + (classes >> (markers - 1 - digit) & 1)
    symbols[every, lengths - 1] = _END
    symbols[np.arange(longest) >= lengths[:, None]] = _PADDING
    return symbols
