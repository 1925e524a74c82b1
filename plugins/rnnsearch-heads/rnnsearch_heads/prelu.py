"""The classification MLP of the SM-RNN paper."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import Choice, Head, Parameters, Value


class PReLUHead(Head):
    """Affine, PReLU, affine, PReLU: the classification MLP of the SM-RNN paper.

    Source: Galatolo, Cimino, Vaglini, ICPRAM 2019, sections 2 (structure) and 3 (sizes).
    The paper counts one slope per neuron (`slopes="per_unit"`) and omits the slopes of the output
    from one of its two totals; the published code has one slope per activation (`slopes="shared"`).
    """

    options: ClassVar[Parameters] = {
        "slopes": Choice(("per_unit", "shared"), default="per_unit", searched=False)
    }
    hidden_ratio: ClassVar[float | None] = 2 / 3

    def __init__(
        self, features: int, output_size: int, hidden_size: int, slopes: str = "per_unit"
    ) -> None:
        super().__init__()
        per_unit = slopes == "per_unit"
        self.hidden = nn.Linear(features, hidden_size)
        self.hidden_slope = nn.PReLU(hidden_size if per_unit else 1)
        self.output = nn.Linear(hidden_size, output_size)
        self.output_slope = nn.PReLU(output_size if per_unit else 1)

    @classmethod
    @override
    def parameter_count(
        cls,
        features: int,
        output_size: int,
        hidden_size: int,
        slopes: Value = "per_unit",
        **options: Value,
    ) -> int:
        affine = (features + 1) * hidden_size + (hidden_size + 1) * output_size
        return affine + (hidden_size + output_size if slopes == "per_unit" else 2)

    @override
    def forward(self, features: Tensor) -> Tensor:
        # nn.PReLU with several slopes expects the channel axis second: flatten the leading axes.
        flat = features.reshape(-1, features.shape[-1])
        logits = self.output_slope(self.output(self.hidden_slope(self.hidden(flat))))
        output: Tensor = logits.reshape(*features.shape[:-1], -1)
        return output
