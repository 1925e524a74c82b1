"""The linear head."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from typing_extensions import override

from rnnsearch.plugin.head import Head
from rnnsearch.spec.parameters import Choice, Parameters, Value


class LinearHead(Head):
    """One affine map.

    `output="sigmoid"` squashes the logits, as the baselines of Galatolo et al. (2018) do before
    the cross-entropy; that caps the loss from below at about 1.46 for ten classes. Only for
    re-running them as published.
    """

    options: ClassVar[Parameters] = {
        "output": Choice(("identity", "sigmoid"), default="identity", searched=False)
    }
    grows_into: ClassVar[str] = "mlp"

    def __init__(
        self, features: int, output_size: int, hidden_size: int = 0, output: str = "identity"
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(features, output_size)
        self.squash = nn.Sigmoid() if output == "sigmoid" else nn.Identity()

    @classmethod
    @override
    def parameter_count(
        cls, features: int, output_size: int, hidden_size: int, **options: Value
    ) -> int:
        return (features + 1) * output_size

    @override
    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.squash(self.linear(features))
        return output
