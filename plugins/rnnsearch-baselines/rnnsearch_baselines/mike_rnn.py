"""The recurrent baseline of the S-NN paper and of the SM-RNN paper's spatial experiment."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import RecurrentCell, State, Value


class MikeRNNCell(RecurrentCell):
    """Recurrent cell with a linear memory and sigmoid units that read it.

        r_t = A_r [x_t; r_{t-1}] + b_r,   r_0 = 0
        h_t = sigmoid(A_h [x_t; r_{t-1}] + b_h)

    The state path has no nonlinearity: `r_t` is an affine function of all past inputs.

    Source: Galatolo, Cimino, Vaglini, "Using stigmergy to incorporate the time into artificial
    neural networks", MIKE 2018, arXiv:1811.10574, the recurrent net of the MNIST experiment, as in
    the published code; also the RNN of spatial MNIST in their ICPRAM 2019 paper, arXiv:1903.01341,
    Table 1. With 28 inputs, 28 units and a linear head to 10 classes it has 3482 parameters, as
    published. Departure: the published net passes its outputs through a sigmoid before the
    cross-entropy; `output: sigmoid` of the head `linear` does that, but it is not the default.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor, `r (batch, hidden_size)`
        output: `(batch, hidden_size)`, `h`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: number of linear units, and also of sigmoid units.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.memory = nn.Linear(input_size + hidden_size, hidden_size)
        self.hidden = nn.Linear(input_size + hidden_size, hidden_size)

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Two affine maps of inputs and memory."""
        return 2 * (input_size + hidden_size + 1) * hidden_size

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (memory,) = state
        joined = torch.cat((inputs, memory), dim=-1)
        return torch.sigmoid(self.hidden(joined)), (self.memory(joined),)
