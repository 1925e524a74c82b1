"""The Mackey-Glass series."""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState
from typing_extensions import override

from rnnsearch import IntRange, SequenceShape, Split, generated_options
from rnnsearch_synthetic.series import SeriesTask

_SUBSTEPS = 10  # integration steps per unit of time
_TRANSIENT = 500  # units of time before a series is recorded


class MackeyGlass(SeriesTask):
    """Predict a chaotic series, the concentration of a blood cell, some steps ahead.

        dx/dt = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x(t)

    integrated by Euler's method in steps of 0.1 and sampled once per unit of time. The input is
    x(t), the target x(t + horizon). Every sequence is a separate trajectory: it starts from a
    constant history, uniform from 0.5 to 1.5, and is recorded after 500 units of time.

    Source: Mackey and Glass, "Oscillation and chaos in physiological control systems", Science 197,
    1977. The discretisation and the horizon of 84 are those of Jaeger and Haas, "Harnessing
    nonlinearity", Science 304, 2004 (reconstructed). Departures: many short series, whereas the
    source has one long one; standardised, whereas the source squashes with tanh; the metric is the
    normalised mean squared error over all steps after the washout, whereas the source gives the
    root of the error at one step.

    For tau of 17 or more, the series is chaotic. A constant prediction has the metric 1.

    Shapes:
        inputs: `(samples, length, 1)` float32, standardised like the targets
        targets: `(samples, length, 1)` float32, NaN in the washout

    Args:
        tau: the delay in the equation.
        horizon: steps ahead to predict.
        length: steps of a sequence.
        washout: first steps that do not count.
        seed: seed of the sequences.
        train_size: sequences to train on.
        validation_size: sequences to validate on.
        test_size: sequences to test on.
    """

    options = {
        "tau": IntRange(6, 100, default=17, searched=False),
        "horizon": IntRange(1, 1_000, default=84, searched=False),
        "length": IntRange(10, 10_000, default=200, searched=False),
        "washout": IntRange(0, 1_000, default=50, searched=False),
        **generated_options(1_000, 200, 200),
    }

    @property
    @override
    def shape(self) -> SequenceShape:
        """One number per step, one predicted at every step."""
        return SequenceShape(1, 1, self.number("length"), "every_step")

    @override
    def series(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Integrate the equation from random histories."""
        length, horizon = self.number("length"), self.number("horizon")
        random = self.generator(split)
        whole = integrate(random, self.size(split), length + horizon, self.number("tau"))
        return whole[:, :length], whole[:, horizon:]

    @override
    def scaled(self, inputs: np.ndarray, mean: float, deviation: float) -> np.ndarray:
        """Standardise inputs like the targets: they are the same series."""
        return (inputs - mean) / deviation


def integrate(random: RandomState, samples: int, length: int, tau: int) -> np.ndarray:
    """Integrate from constant histories: float64 `(samples, length)`.

    Args:
        random: random state to draw the histories from.
        samples: trajectories.
        length: units of time to record.
        tau: the delay.
    """
    now = 0.5 + random.random_sample(samples)
    block = np.tile(now, (tau * _SUBSTEPS, 1))  # the last tau of time, which the next block needs
    recorded = np.empty((_TRANSIENT + length, samples))
    for unit in range(0, len(recorded), tau):
        # Products only: the last bit of a power may differ between processors, and chaos grows it.
        second = block * block
        fourth = second * second
        drive = 0.2 * block / (1 + fourth * fourth * second)
        for step, driven in enumerate(drive):
            block[step] = now
            now = now + (driven - 0.1 * now) / _SUBSTEPS
        recorded[unit : unit + tau] = block[::_SUBSTEPS][: len(recorded) - unit]
    return np.ascontiguousarray(recorded[_TRANSIENT:].T)
