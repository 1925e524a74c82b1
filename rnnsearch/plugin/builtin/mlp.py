"""The head with a hidden layer of rectifiers."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from typing_extensions import override

from rnnsearch.plugin.head import Head
from rnnsearch.spec.parameters import Value


class MLPHead(Head):
    """Affine, ReLU, affine."""

    hidden_ratio: ClassVar[float | None] = 1.0

    def __init__(self, features: int, output_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, hidden_size)
        self.output = nn.Linear(hidden_size, output_size)

    @classmethod
    @override
    def parameter_count(
        cls, features: int, output_size: int, hidden_size: int, **options: Value
    ) -> int:
        return (features + 1) * hidden_size + (hidden_size + 1) * output_size

    @override
    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.output(self.hidden(features).relu())
        return output
