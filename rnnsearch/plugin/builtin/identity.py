"""The head that changes nothing."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from rnnsearch.plugin.head import Head
from rnnsearch.spec.parameters import Value


class IdentityHead(Head):
    """The features are the outputs: for a cell that feeds its own outputs back, as Jordan's."""

    def __init__(self, features: int, output_size: int, hidden_size: int = 0) -> None:
        super().__init__()

    @classmethod
    @override
    def refusal(cls, features: int, output_size: int) -> str | None:
        if features != output_size:
            return f"it maps {features} features to as many outputs, and the task has {output_size}"
        return None

    @classmethod
    @override
    def parameter_count(
        cls, features: int, output_size: int, hidden_size: int, **options: Value
    ) -> int:
        return 0

    @override
    def forward(self, features: Tensor) -> Tensor:
        return features
