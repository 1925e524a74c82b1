"""The recurrent baseline of the SM-RNN paper's temporal experiment."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import Choice, FloatRange, IntRange, RecurrentCell, State, Value


class PReLURNNCell(RecurrentCell):
    """Recurrent cell made of a two-layer PReLU network whose output is fed back to its input.

        r_t = prelu(V prelu(U [x_t; r_{t-1}] + u) + v),   r_0 = 0

    Source: Galatolo, Cimino, Vaglini, "Using stigmergy as a computational memory in the design of
    recurrent neural networks", ICPRAM 2019, arXiv:1903.01341, section 3, the RNN of temporal
    MNIST: 4 inputs, 30 units, `mlp_size` 50, and the head `prelu` with 50 hidden units. With one
    slope per neuron (`slopes="per_unit"`, the paper's count) it has 5480 parameters; with one
    slope per activation (`slopes="shared"`, the published code) 5344.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor, `r (batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `r`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units that are fed back.
        mlp_ratio: width of the first layer as a multiple of `hidden_size`, rounded half up.
        mlp_size: width of the first layer; 0 takes it from `mlp_ratio`.
        slopes: `per_unit` or `shared` PReLU slopes.
    """

    structure = {
        "mlp_ratio": FloatRange(0.5, 2.0, default=5 / 3),
        "mlp_size": IntRange(0, 4096, default=0, searched=False),
        "slopes": Choice(("per_unit", "shared"), default="per_unit", searched=False),
    }
    head = "prelu"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        mlp_ratio: float = 5 / 3,
        mlp_size: int = 0,
        slopes: str = "per_unit",
    ) -> None:
        super().__init__(input_size, hidden_size)
        width = _mlp_width(hidden_size, mlp_ratio, mlp_size)
        per_unit = slopes == "per_unit"
        self.network = nn.Sequential(
            nn.Linear(input_size + hidden_size, width),
            nn.PReLU(width if per_unit else 1),
            nn.Linear(width, hidden_size),
            nn.PReLU(hidden_size if per_unit else 1),
        )

    @classmethod
    @override
    def parameter_count(
        cls,
        input_size: int,
        hidden_size: int,
        mlp_ratio: Value = 5 / 3,
        mlp_size: Value = 0,
        slopes: Value = "per_unit",
        **structure: Value,
    ) -> int:
        """Two affine maps and their slopes."""
        width = _mlp_width(hidden_size, mlp_ratio, mlp_size)
        affine = (input_size + hidden_size + 1) * width + (width + 1) * hidden_size
        return affine + (width + hidden_size if slopes == "per_unit" else 2)

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (recurrent,) = state
        recurrent = self.network(torch.cat((inputs, recurrent), dim=-1))
        return recurrent, (recurrent,)


def _mlp_width(hidden_size: int, mlp_ratio: Value, mlp_size: Value) -> int:
    return int(mlp_size) or max(1, math.floor(float(mlp_ratio) * hidden_size + 0.5))
