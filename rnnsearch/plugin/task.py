"""The contract of a task: its sequences, its fixed splits, its loss and its metric."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from torch import Tensor

from rnnsearch.spec.parameters import Parameters, Value, chosen
from rnnsearch.spec.shape import DataSource, Direction, SequenceShape, Split

if TYPE_CHECKING:
    from rnnsearch.plugin.data import Dataset


@dataclass(frozen=True)
class Examples:
    """One split in memory, samples first, in the most compact dtype.

    Arrays are checked before a study starts (see `Task`), in any byte order and with any strides.
    What follows the end of a sequence counts for nothing: the library reads inputs there as 0 and
    targets at every step as not asked, whatever a task has written.

    Attributes:
        inputs: `(samples, time, input_size)`, numbers or bools, finite; converted to float a batch
            at a time. Tokens are their numbers, integers from 0, with an `input_size` of 1.
        targets: classes, integers `(samples,)`, or `(samples, time)` where the readout is
            `every_step`; or values, floats `(samples, output_size)` or
            `(samples, time, output_size)`. A class of -100 (`rnnsearch.NOT_ASKED`) and a value of
            NaN are not asked: they are left out of losses and metrics.
        lengths: `(samples,)` valid steps of each sequence, integers from 1 to `time`, the rest
            being padding after the end; or None where every sequence fills the time axis.
    """

    inputs: np.ndarray
    targets: np.ndarray
    lengths: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.targets)


class Task(ABC):
    """Something to learn from sequences.

    Train, validation and test are fixed and disjoint. Before a study starts all three are loaded
    once and checked: types, shapes, counts, lengths, classes, and that every number is finite and
    something is asked of every sample. A search sees the first two; `test` is not kept, and is
    loaded again and scored only in the confirmation.

    Where a sample has targets at every step, those that are not asked are -100 for classes
    (`rnnsearch.NOT_ASKED`) and NaN for values. The losses and metrics of rnnsearch leave them out,
    and those of a split are means over the targets that are asked, not over samples, whatever the
    size of the batches.

    Args:
        options: values for the declared `options`; the others take their default.

    Attributes:
        options: declared choices, such as whether images are binarised.
        data: the kind of its data, one of `rnnsearch.plugin.capabilities.DATA`.
        needs_causal: whether an output at a step must not depend on later inputs, as where the
            next input is to be predicted. Models that read backwards are then refused.
        datasets: data sets that `rnnsearch data` fetches and verifies for this task.
        metric: name of the metric, such as `accuracy`.
        direction: `maximize` or `minimize`.
        no_skill: the metric of a predictor that ignores its input.
        best_score: the score of who knows the answers; None is 1 where it is maximized and 0 where
            it is minimized.
        may_repeat: the largest part of a split's sequences that may stand in an earlier split, as
            where a data set has copies.
        symbols: what each token, or each input of a one-hot code, stands for, in their order; for
            pictures. Empty where inputs are neither.
    """

    options: ClassVar[Parameters] = {}
    data: ClassVar[str] = "sequence"
    needs_causal: ClassVar[bool] = False
    datasets: ClassVar[tuple[Dataset, ...]] = ()
    metric: ClassVar[str]
    direction: ClassVar[Direction]
    no_skill: ClassVar[float]
    best_score: ClassVar[float | None] = None
    may_repeat: ClassVar[float] = 0.0
    symbols: Sequence[str] = ()

    def __init__(self, **options: Value) -> None:
        self.chosen = chosen(self.options, options)

    @property
    @abstractmethod
    def shape(self) -> SequenceShape:
        """Sizes of the sequences, known without reading data."""

    @abstractmethod
    def find(self) -> DataSource:
        """Locate and verify the data, fetching it where that is allowed.

        Raises:
            DataError: it is nowhere to be had, or what is there is corrupt.
        """

    @abstractmethod
    def load(self, source: DataSource, split: Split) -> Examples:
        """Read one split from a source that `find` returned; the same every time."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar; `outputs` as the shape's readout says.

        Outputs at every step are `(time, batch, output_size)` and end with the longest sequence of
        the batch; targets lie samples first and do not. A loss of your own is a mean over samples
        or over targets that are asked: the library finds out which, and weighs batches so.

        Where it is one of ours (`losses.py`), say `loss = cross_entropy` in the class: then whole
        training steps can be compiled.
        """

    @abstractmethod
    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean metric of a batch, a scalar; averaged over batches by the caller.

        As `loss`: `score = accuracy` where it is that. See `metric_of` for a metric that is no
        mean.
        """

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value that the metric can take, infinite where that is not known."""
        if self.metric.endswith("accuracy"):
            return 0.0, 1.0
        if self.best_score is not None:
            return -math.inf, math.inf
        return (-math.inf, 1.0) if self.direction == "maximize" else (0.0, math.inf)

    def metric_of(self, score: float) -> float:
        """The metric, from the mean score over a split: the score itself.

        A task overrides it for a metric that is no mean over samples but a function of one, such as
        the perplexity, the exponential of the mean cross-entropy. It has to be monotone.
        """
        return score
