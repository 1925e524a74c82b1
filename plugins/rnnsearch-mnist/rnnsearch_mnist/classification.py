"""What the three tasks share: one of ten digits for a sequence, cross-entropy and accuracy."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor
from torch.nn import functional

from rnnsearch import Task

CLASSES = 10


class DigitTask(Task):
    """Tell which digit a sequence shows.

    Shapes:
        outputs: `(batch, 10)` logits
        targets: `(batch,)` integers 0 to 9
    """

    metric: ClassVar[str] = "accuracy"
    direction: ClassVar[Literal["maximize", "minimize"]] = "maximize"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats, a scalar."""
        return functional.cross_entropy(outputs, targets)

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Share of samples whose largest logit is the right one, a scalar."""
        return (outputs.argmax(dim=-1) == targets).float().mean()
