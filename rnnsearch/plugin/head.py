"""The contract of a head: what turns the features of a recurrent net into outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn
from typing_extensions import override

from rnnsearch.spec.parameters import Parameters, Value


class Head(nn.Module, ABC):
    """Maps features to outputs, the same way wherever it is applied.

    Shapes:
        features: `(..., features)`
        output: `(..., output_size)`

    Args:
        features: width of the features.
        output_size: the task's outputs.
        hidden_size: hidden width, 0 for a head without a hidden layer.

    Attributes:
        options: declared choices of this head; keyword arguments of the constructor.
        hidden_ratio: hidden width as a multiple of the recurrent width where the study fixes none,
            or None for a head without a hidden layer.
        grows_into: name of the head with a hidden layer that may replace this one to meet a
            budget where the study names no head, or an empty string.
    """

    options: ClassVar[Parameters] = {}
    hidden_ratio: ClassVar[float | None] = None
    grows_into: ClassVar[str] = ""

    @classmethod
    def refusal(cls, features: int, output_size: int) -> str | None:
        """Say why this head cannot map the features to the outputs, or return None."""
        return None

    @classmethod
    @abstractmethod
    def parameter_count(
        cls, features: int, output_size: int, hidden_size: int, **options: Value
    ) -> int:
        """Trainable scalars; `hidden_size` is 0 for a head without a hidden layer."""

    @abstractmethod
    @override
    def forward(self, features: Tensor) -> Tensor:
        """Map features to outputs."""
