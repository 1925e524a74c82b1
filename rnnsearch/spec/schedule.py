"""Learning-rate schedules: what an epoch's step size is of the one that a study configures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from typing_extensions import override

Kind: TypeAlias = Literal["constant", "step", "plateau"]


@dataclass(frozen=True)
class Schedule:
    """How the learning rate falls.

    `step` multiplies it by `factor` after every `epochs` epochs, as
    `torch.optim.lr_scheduler.StepLR`. `plateau` multiplies it after an epoch whose validation loss
    is not below the largest of the `epochs` before it (Bai, Kolter, Koltun, "An empirical
    evaluation of generic convolutional and recurrent networks for sequence modeling", 2018, in its
    language models).

    Attributes:
        kind: `constant`, `step` or `plateau`.
        epochs: of one step, or looked back on.
        factor: what the rate is multiplied by.
    """

    kind: Kind = "constant"
    epochs: int = 1
    factor: float = 1.0

    def rate(self, validation_losses: Sequence[float]) -> float:
        """What the next epoch's rate is, as a share of the configured one.

        Args:
            validation_losses: of all epochs so far, in their order.
        """
        done = len(validation_losses)
        if self.kind == "step":
            falls = done // self.epochs
        else:
            falls = sum(
                validation_losses[e] >= max(validation_losses[e - self.epochs : e])
                for e in range(self.epochs, done)
                if self.kind == "plateau"
            )
        return float(self.factor**falls)

    @override
    def __str__(self) -> str:
        if self.kind == "step":
            return f"x {self.factor:g} every {self.epochs} epochs"
        if self.kind == "plateau":
            return f"x {self.factor:g} on a plateau of {self.epochs} epochs"
        return self.kind


CONSTANT = Schedule()
