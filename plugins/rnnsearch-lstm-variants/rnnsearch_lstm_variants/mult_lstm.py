"""The multiplicative LSTM."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import RecurrentCell, State, Value


class MultiplicativeLSTMCell(RecurrentCell):
    """LSTM whose recurrent weights depend on the input, through a product with the state.

        m_t = (W_mx x_t) * (W_mh h_{t-1})
        i, f, o = sigmoid(A [x_t; m_t] + a),  one A and a for each gate
        g = tanh(A_g [x_t; m_t] + a_g)
        c_t = f * c_{t-1} + i * g
        h_t = o * tanh(c_t)

    with `*` elementwise and `h_0 = c_0 = 0`: an LSTM that sees `m_t` in place of `h_{t-1}`.

    Source: Krause, Lu, Murray and Renals, "Multiplicative LSTM for sequence modelling",
    arXiv:1609.07959, with `m_t` as wide as `h_t`. The paper prints no biases; as in the published
    code, each gate has one and the two factors of `m_t` have none. Departure: the bias of the
    forget gate is not raised. Reconstructed from the published code and texts that cite the paper.
    The "mLSTM" of match-LSTM and that of xLSTM are different cells.

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
        self.input_factor = nn.Linear(input_size, hidden_size, bias=False)
        self.hidden_factor = nn.Linear(hidden_size, hidden_size, bias=False)
        self.gates = nn.Linear(input_size + hidden_size, 4 * hidden_size)  # i, f, g, o

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Two factors without a bias, and four affine maps."""
        factors = hidden_size * (input_size + hidden_size)
        return factors + 4 * hidden_size * (input_size + hidden_size + 1)

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
        product = self.input_factor(inputs) * self.hidden_factor(hidden)
        i, f, g, o = self.gates(torch.cat((inputs, product), dim=-1)).chunk(4, dim=-1)
        memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * memory.tanh()
        return hidden, (hidden, memory)
