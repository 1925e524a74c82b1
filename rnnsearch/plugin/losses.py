"""Losses and scores by name: what a task may use and every engine knows.

Class targets of -100 (`NOT_ASKED`) and float targets that are not a number are left out of the
mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from rnnsearch.engine.program import LEFT_OUT

NOT_ASKED = LEFT_OUT
"""A class target where nothing is asked; of targets that are values it is NaN."""

# What the targets of a loss or a score are; `own` where only it knows.
Targets: TypeAlias = Literal["classes", "values", "own"]


class Objective(Protocol):
    """What is trained on and what is reported; a task is one."""

    @property
    def loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Mean loss of a batch, from outputs and targets."""

    @property
    def score(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Mean metric of a batch, from outputs and targets."""


class Measure:
    """A loss or a score: `(outputs, targets)` to a scalar, the mean over what is counted.

    Shapes:
        outputs: `(batch, output_size)`, or `(time, batch, output_size)` at every step
        targets: classes `(batch,)` or `(batch, time)`; values `(batch, output_size)` or
            `(batch, time, output_size)`

    Attributes:
        compiled_as: its name in the engine.
        takes: what its targets are.
    """

    def __init__(
        self, name: str, function: Callable[[Tensor, Tensor], Tensor], takes: Targets = "own"
    ) -> None:
        self.compiled_as, self._function, self.takes = name, function, takes
        self.__doc__ = function.__doc__

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.dim() == 3:  # time first; targets lie samples first
            outputs = outputs.transpose(0, 1)[:, : targets.shape[1]]
            targets = targets[:, : outputs.shape[1]]
        return self._function(outputs, targets)

    @override
    def __repr__(self) -> str:
        return self.compiled_as


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits against classes, in nats."""
    return functional.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))


# Sums over what is counted, not elements picked by a mask: neither vmap nor a CUDA graph takes
# shapes that depend on values.


def _accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of the largest logits that are at the right class."""
    counted = targets != NOT_ASKED
    right = (outputs.argmax(dim=-1) == targets) & counted
    return right.sum() / counted.sum()


def _mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error."""
    counted = ~targets.isnan()
    errors = outputs - torch.where(counted, targets, outputs.detach())
    return errors.square().sum() / counted.sum()


def _binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits against probabilities or bits, in nats."""
    counted = ~targets.isnan()
    known = torch.where(counted, targets, torch.zeros_like(targets))
    losses = functional.binary_cross_entropy_with_logits(outputs, known, reduction="none")
    return (losses * counted).sum() / counted.sum()


def asked(targets: Tensor) -> Tensor:
    """Which targets count, as bools of their shape."""
    return ~targets.isnan() if targets.is_floating_point() else targets != NOT_ASKED


def count_targets(targets: Tensor) -> int:
    """How many targets count."""
    return int(asked(targets).sum())


def is_mean_over_targets(
    measure: Callable[[Tensor, Tensor], Tensor], targets: Tensor, outputs: int
) -> bool:
    """Whether a task's own loss or score is a mean over targets, and not over samples.

    It is asked about two samples together and each alone, on outputs that are right for one of
    them: the mean that is nearer to what it says of both is the one that it takes.

    Args:
        measure: the loss or the score, of outputs at every step.
        targets: of two samples that do not have as many that count.
        outputs: outputs of a step.
    """
    counts = asked(targets).flatten(1).sum(dim=1).double()
    generator = torch.Generator().manual_seed(0)
    if targets.is_floating_point():
        right = targets.nan_to_num()
    else:
        right = 9.0 * functional.one_hot(targets.clamp(0, outputs - 1), outputs)
    right = right.reshape(2, targets.shape[1], -1).transpose(0, 1)
    off = torch.zeros(2, dtype=torch.float64)  # from the mean over samples, over targets
    for known in (0, 1):
        found = torch.randn(targets.shape[1], 2, outputs, generator=generator)
        if right.shape == found.shape:
            found[:, known] = right[:, known]
        both = measure(found, targets).double()
        each = torch.stack([measure(found[:, [i]], targets[[i]]) for i in (0, 1)]).double()
        off += torch.stack((each.mean() - both, each @ counts / counts.sum() - both)).abs()
    return bool(off[1] < off[0])


cross_entropy = Measure("cross_entropy", _cross_entropy, "classes")
accuracy = Measure("accuracy", _accuracy, "classes")
mean_squared_error = Measure("mean_squared_error", _mean_squared_error, "values")
binary_cross_entropy = Measure("binary_cross_entropy", _binary_cross_entropy, "values")


class StandIn:
    """An objective that any outputs and targets fit: to time and to compare engines."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean square of the outputs."""
        return outputs.square().mean()

    score = loss

    def metric_of(self, score: float) -> float:
        """The score is a mean already."""
        return score


class Classification:
    """Cross-entropy and accuracy."""

    @property
    def loss(self) -> Measure:
        """Mean cross-entropy."""
        return cross_entropy

    @property
    def score(self) -> Measure:
        """Accuracy."""
        return accuracy

    def metric_of(self, score: float) -> float:
        """Accuracy is a mean already."""
        return score


def fitting_random_targets(objective: Objective) -> Objective:
    """The objective itself if its loss is one of these by name, else a stand-in."""
    return objective if isinstance(objective.loss, Measure) else StandIn()


__all__ = [
    "Measure",
    "NOT_ASKED",
    "Objective",
    "Classification",
    "StandIn",
    "accuracy",
    "asked",
    "binary_cross_entropy",
    "count_targets",
    "cross_entropy",
    "fitting_random_targets",
    "is_mean_over_targets",
    "mean_squared_error",
]
