"""The long short-term memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from rnnsearch import RecurrentCell, State, Value


class LSTMCell(RecurrentCell):
    """Recurrent cell with a memory, whose gates decide what to write, keep and output.

        i, f, o = sigmoid(W x_t + b + U h_{t-1} + b'),  one W, U, b, b' for each gate
        g = tanh(W_g x_t + b_g + U_g h_{t-1} + b'_g)
        c_t = f * c_{t-1} + i * g
        h_t = o * tanh(c_t)

    with `*` elementwise and `h_0 = c_0 = 0`.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9, 1997, with
    the forget gate of Gers, Schmidhuber and Cummins, "Learning to forget", Neural Computation 12,
    2000; no peepholes. Departures, all shared with `torch.nn.LSTM`, which this cell equals: `g` and
    the squashing of `c` are tanh, the gradient is not truncated, and there are two bias vectors,
    one of which is redundant.

    Shapes:
        inputs: `(batch, input_size)`
        state: `h (batch, hidden_size)` and `c (batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `h`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.lstm = nn.LSTM(input_size, hidden_size)

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Four gates, each with weights of inputs and state and two biases."""
        return 4 * hidden_size * (input_size + hidden_size + 2)

    @classmethod
    @override
    def redundant_biases(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return 4 * hidden_size

    @classmethod
    @override
    def state_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return 2 * hidden_size

    @override
    def initial_state(self, batch_size: int) -> State:
        zeros = self.zeros(batch_size, self.hidden_size)
        return zeros, zeros

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, memory = state
        weight_inputs, weight_hidden, bias_inputs, bias_hidden = self.lstm.all_weights[0]
        from_inputs = linear(inputs, weight_inputs, bias_inputs)
        from_hidden = linear(hidden, weight_hidden, bias_hidden)
        i, f, g, o = (from_inputs + from_hidden).chunk(4, dim=-1)
        memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * torch.tanh(memory)
        return hidden, (hidden, memory)

    @override
    def as_torch(self) -> nn.RNNBase:
        return self.lstm
