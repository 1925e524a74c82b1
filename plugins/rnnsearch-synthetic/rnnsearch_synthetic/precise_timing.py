"""Distinguishing delays that differ by one step."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import numpy as np
from numpy.random import RandomState
from typing_extensions import override

from rnnsearch import (
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
from rnnsearch_synthetic.generated import draw_apart

_NOT_COUNTED = -100
_SHORTEST, _DELAYS, _INTERVALS = 10, 2, 10


def no_skill_of(shortest: int, delays: int, intervals: int) -> float:
    """Accuracy of the most frequent delay at each step, without looking at the spikes."""
    spike = np.full(shortest, 1 / shortest)  # distribution of the last spike so far over its steps
    ending = np.zeros((delays, shortest + intervals * (shortest + delays - 1)))
    for _ in range(intervals):
        following = np.zeros(len(spike) + shortest + delays - 1)
        for delay in range(delays):
            steps = slice(shortest + delay, shortest + delay + len(spike))
            ending[delay, steps] += spike / delays
            following[steps] += spike / delays
        spike = following
    return float(ending.max(axis=0).sum() / intervals)


class PreciseTiming(GeneratedTask):
    """At each spike of a train, tell how many steps ago the previous spike was.

    The input is 1 at a spike and 0 elsewhere. The first spike comes within the first `shortest`
    steps; each later one comes `shortest`, `shortest + 1`, ... or `shortest + delays - 1` steps
    after the previous one, all equally likely. At every spike except the first, the class is the
    index of the delay; no other step counts.

    The time alone gives some information: early scored spikes come after short delays. The no-skill
    level is that of the best constant answer for each step, slightly above one in `delays`.

    Source: Gers, Schraudolph and Schmidhuber, "Learning precise timing with LSTM recurrent
    networks", Journal of Machine Learning Research 3, 2002, the task of measuring spike delays
    (reconstructed from the abstract and from common descriptions). Departures: classes and their
    cross-entropy, whereas the paper has a number; sequences of a fixed length, each with its own
    start, whereas the paper's stream continues until the first error; no sequence in two splits.
    The paper's other tasks, generating spikes and periodic functions, are not included.

    Shapes:
        inputs: `(samples, steps, 1)` uint8, `steps = shortest + intervals (shortest + delays - 1)`
        targets: `(samples, steps)` int8, from 0 to `delays - 1`; -100 where no answer is scored

    Args:
        shortest: the shortest delay.
        delays: number of different delays.
        intervals: delays in a sequence.
        seed: seed of the sequences.
        train_size: sequences to train on.
        validation_size: sequences to validate on.
        test_size: sequences to test on.
    """

    options = {
        "shortest": IntRange(1, 1_000, default=_SHORTEST, searched=False),
        "delays": IntRange(2, 20, default=_DELAYS, searched=False),
        "intervals": IntRange(2, 100, default=_INTERVALS, searched=False),
        **generated_options(2_000, 500, 500),
    }
    needs_causal: ClassVar[bool] = True
    metric: ClassVar[str] = "accuracy"
    direction: ClassVar[Literal["maximize", "minimize"]] = "maximize"
    no_skill: ClassVar[float] = no_skill_of(_SHORTEST, _DELAYS, _INTERVALS)

    loss = cross_entropy
    score = accuracy

    def __init__(self, **options: Value) -> None:
        super().__init__(**options)
        sizes = (self.number(name) for name in ("shortest", "delays", "intervals"))
        self.no_skill = no_skill_of(*sizes)  # type: ignore[misc]

    @property
    @override
    def shape(self) -> SequenceShape:
        """Spike or no spike per step, one of the delays at every step."""
        shortest, delays = self.number("shortest"), self.number("delays")
        steps = shortest + self.number("intervals") * (shortest + delays - 1)
        return SequenceShape(1, delays, steps, "every_step")

    @override
    def generate(self, split: Split) -> Examples:
        """Draw the first spike and the delays."""
        samples, shortest, steps = self.size(split), self.number("shortest"), self.shape.length
        draw = partial(
            _draw_delays,
            shortest=shortest,
            delays=self.number("delays"),
            intervals=self.number("intervals"),
        )
        drawn = draw_apart(draw, self.generator(split), np.zeros(samples, np.int64), split)
        spikes = np.cumsum(drawn, axis=1)
        every = np.arange(samples)[:, None]
        inputs = np.zeros((samples, steps or 0, 1), np.uint8)
        inputs[every, spikes, 0] = 1
        targets = np.full((samples, steps or 0), _NOT_COUNTED, np.int8)
        targets[every, spikes[:, 1:]] = drawn[:, 1:] - shortest
        return Examples(inputs, targets)


def _draw_delays(
    random: RandomState, classes: np.ndarray, *, shortest: int, delays: int, intervals: int
) -> np.ndarray:
    """Draw the step of the first spike, then the delays, `(samples, 1 + intervals)`."""
    onsets = random.randint(0, shortest, (len(classes), 1), np.int64)
    between = random.randint(shortest, shortest + delays, (len(classes), intervals), np.int64)
    return np.concatenate((onsets, between), axis=1)
