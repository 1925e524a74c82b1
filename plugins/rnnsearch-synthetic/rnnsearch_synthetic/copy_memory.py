"""The copying memory problem."""

from __future__ import annotations

import math
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
    cross_entropy,
    generated_options,
)
from rnnsearch_synthetic.generated import draw_apart

COPIED = 10  # symbols to remember
SYMBOLS = 8  # numbered 1 to 8
_BLANK, _RECALL = 0, 9
CLASSES = 10
_DELAY = 100


def no_skill_of(delay: int) -> float:
    """Cross-entropy of predicting the blanks correctly, with equal odds for the symbols."""
    return COPIED * math.log(SYMBOLS) / (delay + 2 * COPIED)


class CopyMemory(GeneratedTask):
    """Repeat ten symbols after a long delay.

    Ten symbols from 1 to 8, then `delay - 1` zeros, then eleven nines, the first of which signals
    the recall: `delay + 20` steps. The targets are zeros, and the ten symbols at the last ten
    steps.

    Source: Hochreiter and Schmidhuber, 1997; Arjovsky, Shah and Bengio, "Unitary evolution
    recurrent neural networks", ICML 2016, arXiv:1511.06464, section 5.1, in the form of Bai,
    Kolter and Koltun, 2018, arXiv:1803.01271: a step is one number, and the loss is the mean
    cross-entropy over all steps, in nats; 10,000 sequences to train, 1,000 to test.
    Departures: additional validation sequences, and no sequence in two splits. Published results
    are for delays up to 1000 and more; the default is the shortest of Arjovsky et al. One published
    version of the problem has `delay` zeros and one step more; here the total is `delay + 20`, as
    in the code.

    Predicting zeros and then guessing among eight symbols has the loss `10 ln 8 / (delay + 20)`;
    that is the no-skill level, so a model with a loss of 0.021 at delay 1000 has learned nothing.
    The loss is also the metric: a task has only one metric, so the accuracy on the last ten steps
    is not recorded.

    Shapes:
        inputs: `(samples, delay + 20, 1)` uint8, the symbol; `one_hot`: `(samples, delay + 20, 10)`
        targets: `(samples, delay + 20)` uint8, 0 to 8, of ten classes

    Args:
        delay: steps from a symbol to its recall, minus ten.
        encoding: `scalar`, a symbol is one number from 0 to 9, or `one_hot`.
        seed: seed of the sequences.
        train_size: sequences to train on.
        validation_size: sequences to validate on.
        test_size: sequences to test on.
    """

    options = {
        "delay": IntRange(1, 10_000, default=_DELAY, searched=False),
        "encoding": Choice(("scalar", "one_hot"), default="scalar", searched=False),
        **generated_options(10_000, 1_000, 1_000),
    }
    needs_causal: ClassVar[bool] = True
    metric: ClassVar[str] = "cross_entropy"
    direction: ClassVar[Literal["maximize", "minimize"]] = "minimize"
    no_skill: ClassVar[float] = no_skill_of(_DELAY)

    loss = cross_entropy
    score = cross_entropy

    def __init__(self, **options: Value) -> None:
        super().__init__(**options)
        self.no_skill = no_skill_of(self.number("delay"))  # type: ignore[misc]

    @property
    @override
    def shape(self) -> SequenceShape:
        """A symbol per step, one of ten classes at every step."""
        features = 1 if self.chosen["encoding"] == "scalar" else CLASSES
        return SequenceShape(features, CLASSES, self.number("delay") + 2 * COPIED, "every_step")

    @override
    def generate(self, split: Split) -> Examples:
        """Draw the symbols."""
        samples, delay = self.size(split), self.number("delay")
        nothing = np.zeros(samples, np.int64)
        copied = draw_apart(_draw_symbols, self.generator(split), nothing, split)
        symbols = np.full((samples, delay + 2 * COPIED), _BLANK, np.uint8)
        targets = symbols.copy()
        symbols[:, :COPIED] = targets[:, -COPIED:] = copied
        symbols[:, -COPIED - 1 :] = _RECALL
        if self.chosen["encoding"] == "scalar":
            return Examples(symbols[:, :, None], targets)
        return Examples(np.eye(CLASSES, dtype=np.uint8)[symbols], targets)


def _draw_symbols(random: RandomState, classes: np.ndarray) -> np.ndarray:
    return random.randint(1, SYMBOLS + 1, (len(classes), COPIED), np.int64).astype(np.uint8)
