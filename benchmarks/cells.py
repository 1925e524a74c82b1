"""Two cells as a user would write them, to measure what nobody has tuned the engine for."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnsearch import RecurrentCell, State, Value


class IndRNNCell(RecurrentCell):
    """Recurrent cell whose units see only their own past.

        h_t = relu(W x_t + b + u * h_{t-1})

    Source: Li et al., "Independently recurrent neural network (IndRNN)", arXiv:1803.04831.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.read = nn.Linear(input_size, hidden_size)
        self.recurrent = nn.Parameter(torch.empty(hidden_size).uniform_(0, 1))

    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return (input_size + 2) * hidden_size

    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = torch.relu(self.read(inputs) + self.recurrent * state[0])
        return hidden, (hidden,)


class PlainCell(RecurrentCell):
    """A gate, a normalisation and a learned leak: much arithmetic beside few products.

    z = sigmoid(A [x_t; h_{t-1}] + a)
    n = tanh(LayerNorm(B [x_t; z * h_{t-1}] + b))
    h_t = (1 - z) * h_{t-1} + z * n * softplus(tau)
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gate = nn.Linear(input_size + hidden_size, hidden_size)
        self.candidate = nn.Linear(input_size + hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.tau = nn.Parameter(torch.full((hidden_size,), 0.5))

    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return 2 * hidden_size * (input_size + hidden_size + 1) + 3 * hidden_size

    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        z = torch.sigmoid(self.gate(torch.cat((inputs, hidden), dim=-1)))
        n = torch.tanh(self.norm(self.candidate(torch.cat((inputs, z * hidden), dim=-1))))
        hidden = (1 - z) * hidden + z * n * functional.softplus(self.tau)
        return hidden, (hidden,)
