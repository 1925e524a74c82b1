"""The adding problem."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from rnnsearch import (
    Choice,
    Examples,
    GeneratedTask,
    IntRange,
    SequenceShape,
    Split,
    generated_options,
    mean_squared_error,
)

_ROWS = 1000  # rows drawn at once: the generator gives float64


class Adding(GeneratedTask):
    """Add the two marked numbers of a long sequence.

    A step is a number, uniform in [0, 1], and a mark, which is 1 at two different steps and 0
    elsewhere. The target, at the last step, is the sum of the two numbers.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9, 1997,
    section 5.4, in the form of Bai, Kolter and Koltun, "An empirical evaluation of generic
    convolutional and recurrent networks for sequence modeling", 2018, arXiv:1803.01271: fixed
    length, numbers from 0 to 1, both marks anywhere; 50,000 sequences to train, 1,000 to test.
    `marks="halves"` is the form of Le, Jaitly and Hinton, 2015, arXiv:1504.00941: one mark in each
    half. Departure: additional validation sequences. Some papers say that the last two steps are
    marked; their code does not do that, and it would need no memory.

    Always answering 1 has a mean squared error of 1/6, the variance of the sum; the published value
    of 0.1767 is wrong.

    Shapes:
        inputs: `(samples, length, 2)` float32
        targets: `(samples, 1)` float32

    Args:
        length: steps of a sequence.
        marks: `anywhere`, or `halves` for one mark in each half.
        seed: seed of the sequences.
        train_size: sequences to train on.
        validation_size: sequences to validate on.
        test_size: sequences to test on.
    """

    options = {
        "length": IntRange(2, 10_000, default=200, searched=False),
        "marks": Choice(("anywhere", "halves"), default="anywhere", searched=False),
        **generated_options(50_000, 1_000, 1_000),
    }
    metric: ClassVar[str] = "mean_squared_error"
    direction: ClassVar[Literal["maximize", "minimize"]] = "minimize"
    no_skill: ClassVar[float] = 1 / 6

    loss = mean_squared_error
    score = mean_squared_error

    @property
    @override
    def shape(self) -> SequenceShape:
        """A number and a mark per step, one sum."""
        return SequenceShape(2, 1, self.number("length"), "last_step")

    @override
    def generate(self, split: Split) -> Examples:
        """Draw numbers and marks."""
        random, samples, length = self.generator(split), self.size(split), self.number("length")
        inputs = np.zeros((samples, length, 2), np.float32)
        for start in range(0, samples, _ROWS):
            rows = inputs[start : start + _ROWS, :, 0]
            rows[:] = random.random_sample(rows.shape)
        if self.chosen["marks"] == "halves":
            first = random.randint(0, length // 2, samples, np.int64)
            second = random.randint(length // 2, length, samples, np.int64)
        else:
            first = random.randint(0, length, samples, np.int64)
            second = random.randint(0, length - 1, samples, np.int64)
            second += second >= first
        every = np.arange(samples)
        inputs[every, first, 1] = inputs[every, second, 1] = 1
        sums = inputs[every, first, 0] + inputs[every, second, 0]
        return Examples(inputs, sums[:, None])
