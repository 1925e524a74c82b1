"""The gated recurrent unit that resets the state before the product with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import RecurrentCell, State, Value


class ResetBeforeGRUCell(RecurrentCell):
    """GRU whose reset gate acts on the state before the candidate's weights.

        r, z = sigmoid(W x_t + U h_{t-1} + b),  one W, U and b for each gate
        n = tanh(W_n x_t + U_n (r * h_{t-1}) + b_n)
        h_t = (1 - z) * h_{t-1} + z * n,   h_0 = 0

    with `*` elementwise. `torch.nn.GRU`, and so the architecture `gru`, resets after the product,
    `r * (U_n h_{t-1} + b'_n)`. With more than one unit this is a different function, unless `U_n`
    is diagonal or `r` is one.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014,
    arXiv:1406.1078, Sec. 2.3, in the form of Chung et al., "Empirical evaluation of gated recurrent
    neural networks on sequence modeling", arXiv:1412.3555, Sec. 3.2. The two differ in the effect
    of an open `z`: in Chung et al. and here it writes, in Cho et al. (and in `torch.nn.GRU`) it
    keeps. Negating the weights and the bias of `z` turns one into the other. Departure: both papers
    print the equations without biases; each affine map has one here.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor, `h (batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `h`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gates = nn.Linear(input_size + hidden_size, 2 * hidden_size)  # r, z
        self.candidate = nn.Linear(input_size + hidden_size, hidden_size)

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Two gates and the candidate, each one affine map of inputs and state."""
        return 3 * hidden_size * (input_size + hidden_size + 1)

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        r, z = self.gates(torch.cat((inputs, hidden), dim=-1)).sigmoid().chunk(2, dim=-1)
        n = self.candidate(torch.cat((inputs, r * hidden), dim=-1)).tanh()
        hidden = (1 - z) * hidden + z * n
        return hidden, (hidden,)
