"""Two classes distinguished by the first steps of a noisy sequence."""

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
    accuracy,
    cross_entropy,
    generated_options,
)
from rnnsearch_synthetic.generated import balanced_classes

_VARIANCE = 0.2


class NoisyLag(GeneratedTask):
    """Remember a sign through a long noise on the same channel.

    The first `informative` steps are +1 in one class and -1 in the other; all later ones are
    Gaussian noise with mean 0 and variance 0.2. A sequence has `length` to 1.1 `length` steps, and
    its class is read at the last step.

    Source: the "two-sequence problem" of Bengio, Simard and Frasconi, "Learning long-term
    dependencies with gradient descent is difficult", IEEE Transactions on Neural Networks 5, 1994,
    as in Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9, 1997, section
    5.3, experiment 3a; with `noisy_signal` 3b, where the first steps are noisy too. Reconstructed
    from common descriptions. Departures: two logits and their cross-entropy, whereas the paper has
    one sigmoid and a squared error; fixed numbers of sequences; equal numbers of both classes.
    Their experiment 3c, with noise on the targets, is not included.

    Shapes:
        inputs: `(samples, length + length // 10, 1)` float32
        targets: `(samples,)` int64, 0 for -1, 1 for +1
        lengths: `(samples,)` int64

    Args:
        length: minimum number of steps of a sequence.
        informative: steps that carry the class.
        noisy_signal: whether noise is added to the informative steps too.
        seed: seed of the sequences.
        train_size: sequences to train on.
        validation_size: sequences to validate on.
        test_size: sequences to test on.
    """

    options = {
        "length": IntRange(10, 10_000, default=100, searched=False),
        "informative": IntRange(1, 10, default=3, searched=False),
        "noisy_signal": Choice((False, True), default=False, searched=False),
        **generated_options(10_000, 1_000, 1_000),
    }
    metric: ClassVar[str] = "accuracy"
    direction: ClassVar[Literal["maximize", "minimize"]] = "maximize"
    no_skill: ClassVar[float] = 0.5

    loss = cross_entropy
    score = accuracy

    @property
    @override
    def shape(self) -> SequenceShape:
        """One number per step, two classes."""
        return SequenceShape(1, 2, None, "masked_step")

    @override
    def generate(self, split: Split) -> Examples:
        """Draw classes, lengths and noise."""
        random, samples, length = self.generator(split), self.size(split), self.number("length")
        informative, longest = self.number("informative"), length + length // 10
        classes = balanced_classes(random, samples, 2)
        lengths = random.randint(length, longest + 1, samples, np.int64)
        noise = random.standard_normal((samples, longest)) * _VARIANCE**0.5
        if not self.chosen["noisy_signal"]:
            noise[:, :informative] = 0
        noise[:, :informative] += 2 * classes[:, None] - 1
        noise[np.arange(longest) >= lengths[:, None]] = 0
        return Examples(noise.astype(np.float32)[:, :, None], classes, lengths)
