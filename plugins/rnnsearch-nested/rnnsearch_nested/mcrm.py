"""The mother compact recurrent memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from rnnsearch import Choice, RecurrentCell, State, Value


class MCRMCell(RecurrentCell):
    """LSTM whose memory is the state of a GRU that reads the two terms an LSTM would add.

        i, f, o = sigmoid(A [x_t; h_{t-1}] + a),  one A and a for each gate
        g = tanh(A_g [x_t; h_{t-1}] + a_g)
        u = [f * c_{t-1}; i * g]
        r, z = sigmoid(W u + b + U c_{t-1} + b'),  one W, U, b, b' for each gate
        n = tanh(W_n u + b_n + r * (U_n c_{t-1} + b'_n))
        c_t = (1 - z) * c_{t-1} + z * n
        h_t = o * tanh(c_t)

    with `*` elementwise and `h_0 = c_0 = 0`.

    Source: Mohamed and Claudel, "MCRM: Mother Compact Recurrent Memory", arXiv:1808.02016, eqs. 3
    to 5. Interpretations, where the text leaves a choice:

    * The last line of eq. 5 mixes in `h_{t-1}` without the superscript of the GRU. It is the GRU's
      own previous state, `c_{t-1}`, as in the other lines, the figure and the published code.
    * The "concatenation of the gates" is the concatenation of the two gated vectors, `u`, of twice
      the width.
    * In eq. 5, an open `z` takes the new value (`convention="paper"`); the published code runs
      `torch.nn.GRUCell`, where an open `z` keeps the old value (`convention="torch"`). The two are
      equal if the `z` rows of all weights and biases are negated.
    * `r` acts after the product with `U_n`, and the inner gates have two biases, one for each map,
      as printed: the paper's own count, 13 p^2 + 4 m p + 10 p, includes both.

    Weights start as in the published code: those of `nn.Linear` outside, of `nn.GRUCell` inside.

    Shapes:
        inputs: `(batch, input_size)`
        state: `h (batch, hidden_size)` and `c (batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `h`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units.
        convention: `paper` or `torch`, the meaning of the update gate `z`.
    """

    hyperparameters = {"convention": Choice(("paper", "torch"), default="paper", searched=False)}

    def __init__(self, input_size: int, hidden_size: int, convention: str = "paper") -> None:
        super().__init__(input_size, hidden_size)
        self.convention = convention
        self.gates = nn.Linear(input_size + hidden_size, 4 * hidden_size)  # i, f, g, o
        self.memory = nn.GRUCell(2 * hidden_size, hidden_size)  # r, z, n

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Four outer gates with one bias, and three inner maps of `u` and `c` with two."""
        outer = 4 * hidden_size * (input_size + hidden_size + 1)
        return outer + 3 * hidden_size * (2 * hidden_size + hidden_size + 2)

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
        i, f, g, o = self.gates(torch.cat((inputs, hidden), dim=-1)).chunk(4, dim=-1)
        u = torch.cat((f.sigmoid() * memory, i.sigmoid() * g.tanh()), dim=-1)

        from_u = linear(u, self.memory.weight_ih, self.memory.bias_ih)
        from_memory = linear(memory, self.memory.weight_hh, self.memory.bias_hh)
        u_r, u_z, u_n = from_u.chunk(3, dim=-1)
        memory_r, memory_z, memory_n = from_memory.chunk(3, dim=-1)
        r = (u_r + memory_r).sigmoid()
        z = (u_z + memory_z).sigmoid()
        n = (u_n + r * memory_n).tanh()
        new = z if self.convention == "paper" else 1 - z
        memory = (1 - new) * memory + new * n

        hidden = o.sigmoid() * memory.tanh()
        return hidden, (hidden, memory)
