"""How far back a net remembers its input."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from rnnsearch import (
    Examples,
    GeneratedTask,
    IntRange,
    SequenceShape,
    Split,
    generated_options,
    mean_squared_error,
)

_HIGHEST = 3**0.5  # the uniform distribution from minus this to this has variance 1


class MemoryCapacity(GeneratedTask):
    """Recall the input of each of the last steps, at every step.

    The input u(t) is uniform with mean 0 and variance 1. The target of output k, from 1 to
    `delays`, is u(t - k).

    Source: Jaeger, "Short term memory in echo state networks", GMD report 152, 2001, where the
    capacity is the sum over k of the squared correlation of output k and u(t - k) (reconstructed).
    The metric here is the mean squared error over all outputs, because it can be averaged over
    batches, trained on, and compiled. With targets of variance 1 it gives the capacity as
    `delays (1 - error)`: exactly if the outputs are least-squares fits, as in an echo state
    network, and a lower bound otherwise. Departures: the net is trained by gradient like any other
    unless its architecture freezes the rest; many short sequences; the input's scale.

    A constant prediction has an error of 1, a capacity of 0.

    Shapes:
        inputs: `(samples, length, 1)` float32
        targets: `(samples, length, delays)` float32, NaN where t < k

    Args:
        delays: the longest delay.
        length: steps of a sequence; must exceed `delays` for all of them to count.
        seed: seed of the sequences.
        train_size: sequences to train on.
        validation_size: sequences to validate on.
        test_size: sequences to test on.
    """

    options = {
        "delays": IntRange(1, 200, default=20, searched=False),
        "length": IntRange(2, 10_000, default=100, searched=False),
        **generated_options(1_000, 200, 200),
    }
    needs_causal: ClassVar[bool] = True
    metric: ClassVar[str] = "mean_squared_error"
    direction: ClassVar[Literal["maximize", "minimize"]] = "minimize"
    no_skill: ClassVar[float] = 1.0

    loss = mean_squared_error
    score = mean_squared_error

    @property
    @override
    def shape(self) -> SequenceShape:
        """One number per step, one for each delay at every step."""
        return SequenceShape(1, self.number("delays"), self.number("length"), "every_step")

    @override
    def generate(self, split: Split) -> Examples:
        """Draw inputs and delay them."""
        samples, length, delays = self.size(split), self.number("length"), self.number("delays")
        drawn = self.generator(split).random_sample((samples, length))
        inputs = ((2 * drawn - 1) * _HIGHEST).astype(np.float32)
        targets = np.full((samples, length, delays), np.nan, np.float32)
        for delay in range(1, min(delays, length - 1) + 1):
            targets[:, delay:, delay - 1] = inputs[:, :-delay]
        return Examples(inputs[:, :, None], targets)
