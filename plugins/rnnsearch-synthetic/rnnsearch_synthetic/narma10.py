"""The nonlinear autoregressive moving average of order ten."""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState
from typing_extensions import override

from rnnsearch import IntRange, SequenceShape, Split, generated_options
from rnnsearch_synthetic.series import SeriesTask

ORDER = 10
_HIGHEST = 0.5  # of the input
_BOUND = 1.0  # a series beyond it diverges


class NARMA10(SeriesTask):
    """Follow a nonlinear system that remembers ten steps, given only its random input.

        y(t+1) = 0.3 y(t) + 0.05 y(t) (y(t) + ... + y(t-9)) + 1.5 u(t-9) u(t) + 0.1

    with u uniform in [0, 0.5] and everything 0 before the first step. The input is u(t), the target
    y(t+1).

    Source: Atiya and Parlos, "New results on recurrent network training", IEEE Transactions on
    Neural Networks 11, 2000, as used for echo state networks since Jaeger, "Adaptive nonlinear
    system identification with echo state networks", NIPS 2002 (reconstructed). Some printings sum
    nine past values. Departures: many short series, whereas the source has one long one. The system
    has an unstable region: a series that exceeds 1 is redrawn.

    A constant prediction has the metric 1.

    Shapes:
        inputs: `(samples, length, 1)` float32, u standardised to mean 0 and variance 1
        targets: `(samples, length, 1)` float32, standardised, NaN in the washout

    Args:
        length: steps of a sequence.
        washout: first steps that do not count.
        seed: seed of the sequences.
        train_size: sequences to train on.
        validation_size: sequences to validate on.
        test_size: sequences to test on.
    """

    options = {
        "length": IntRange(20, 10_000, default=200, searched=False),
        "washout": IntRange(0, 1_000, default=50, searched=False),
        **generated_options(1_000, 200, 200),
    }

    @property
    @override
    def shape(self) -> SequenceShape:
        """One number per step, one at every step."""
        return SequenceShape(1, 1, self.number("length"), "every_step")

    @override
    def series(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Draw inputs until the system stays bounded."""
        random, samples, length = self.generator(split), self.size(split), self.number("length")
        inputs, targets = _run(random, samples, length)
        while len(unstable := np.flatnonzero(~(targets <= _BOUND).all(axis=1))):
            inputs[unstable], targets[unstable] = _run(random, len(unstable), length)
        return inputs, targets

    @override
    def scaled(self, inputs: np.ndarray, mean: float, deviation: float) -> np.ndarray:
        """Standardise inputs by the mean and standard deviation of a uniform number."""
        return (inputs - _HIGHEST / 2) / (_HIGHEST / 12**0.5)


def _run(random: RandomState, samples: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    inputs = random.random_sample((samples, length)) * _HIGHEST
    return inputs, narma10(inputs)


def narma10(inputs: np.ndarray) -> np.ndarray:
    """Outputs y(1), y(2), ... of inputs u(0), u(1), ..., `(samples, length)` each."""
    samples, length = inputs.shape
    u = np.concatenate((np.zeros((ORDER - 1, samples)), inputs.T))
    y = np.zeros((ORDER + length, samples))
    for t in range(length):
        last = t + ORDER - 1  # row of y(t) and of u(t)
        total = y[last].copy()
        for past in range(1, ORDER):
            total += y[last - past]
        # A diverging series stops at twice the bound: it will be redrawn.
        following = 0.3 * y[last] + 0.05 * y[last] * total + 1.5 * u[t] * u[last] + 0.1
        y[last + 1] = np.minimum(following, 2 * _BOUND)
    return np.ascontiguousarray(y[ORDER:].T)
