"""Elman's simple recurrent network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from rnnsearch import Choice, RecurrentCell, State, Value


class ElmanCell(RecurrentCell):
    """Recurrent cell whose units see all their own previous values.

        h_t = f(W x_t + b + U h_{t-1} + c),   h_0 = 0

    with `f` tanh or the rectifier.

    Source: Elman, "Finding structure in time", Cognitive Science 14, 1990, Fig. 2. Departures: the
    gradient runs through all steps, whereas Elman cut it at the copied context; `f` is tanh,
    whereas his units were logistic; and as in `nn.RNN` there are two bias vectors, one of which is
    redundant.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor, `h (batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `h`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units.
        nonlinearity: `tanh` or `relu`.
    """

    hyperparameters = {"nonlinearity": Choice(("tanh", "relu"), default="tanh", searched=False)}

    def __init__(self, input_size: int, hidden_size: int, nonlinearity: str = "tanh") -> None:
        super().__init__(input_size, hidden_size)
        self.activation = torch.tanh if nonlinearity == "tanh" else torch.relu
        self.rnn = nn.RNN(input_size, hidden_size, nonlinearity=nonlinearity)

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Weights of inputs and state, and two biases."""
        return hidden_size * (input_size + hidden_size + 2)

    @classmethod
    @override
    def redundant_biases(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return hidden_size

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        input_weight, hidden_weight, input_bias, hidden_bias = self.rnn.all_weights[0]
        from_inputs = functional.linear(inputs, input_weight, input_bias)
        from_hidden = functional.linear(hidden, hidden_weight, hidden_bias)
        hidden = self.activation(from_inputs + from_hidden)
        return hidden, (hidden,)

    @override
    def as_torch(self) -> nn.RNNBase:
        return self.rnn
