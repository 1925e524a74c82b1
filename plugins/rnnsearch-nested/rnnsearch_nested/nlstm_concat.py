"""The nested LSTM that is the MCRM paper's baseline."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import RecurrentCell, State, Value


class ConcatNestedLSTMCell(RecurrentCell):
    """LSTM whose memory is the hidden state of an inner LSTM that reads both gated vectors.

        i, f, o = sigmoid(A [x_t; h_{t-1}] + a),  one A and a for each gate
        g = tanh(A_g [x_t; h_{t-1}] + a_g)
        u = [f * c_{t-1}; i * g]
        i', f', o' = sigmoid(B [u; c_{t-1}] + b),  one B and b for each inner gate
        c'_t = f' * c'_{t-1} + i' * tanh(B_g [u; c_{t-1}] + b_g)
        c_t = o' * tanh(c'_t)
        h_t = o * tanh(c_t)

    with `*` elementwise and `h_0 = c_0 = c'_0 = 0`.

    Source: the NLSTM of Mohamed and Claudel, arXiv:1808.02016, Tables 1 and 2, as in their
    published code. It is not the cell of Moniz and Krueger, `NestedLSTMCell`: the inner LSTM takes
    both gated vectors as its input and also keeps its own hidden state, which is `c`. Only this
    count, `16 p^2 + 4 m p + 8 p`, gives the sizes of Table 2.

    Shapes:
        inputs: `(batch, input_size)`
        state: `h`, `c` and the inner `c'`, each `(batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `h`
        memory: `(batch, 2 * hidden_size)`, `c` and then `tanh(c')`, as the MCRM paper draws it

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units of each level.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gates = nn.Linear(input_size + hidden_size, 4 * hidden_size)  # i, f, g, o
        self.inner_gates = nn.Linear(3 * hidden_size, 4 * hidden_size)  # i', f', g', o'

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Four gates at each of two levels, each one affine map."""
        outer = 4 * hidden_size * (input_size + hidden_size + 1)
        return outer + 4 * hidden_size * (3 * hidden_size + 1)

    @classmethod
    @override
    def state_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return 3 * hidden_size

    @override
    def initial_state(self, batch_size: int) -> State:
        zeros = self.zeros(batch_size, self.hidden_size)
        return zeros, zeros, zeros

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, memory, inner_memory = state
        i, f, g, o = self.gates(torch.cat((inputs, hidden), dim=-1)).chunk(4, dim=-1)
        u = torch.cat((f.sigmoid() * memory, i.sigmoid() * g.tanh()), dim=-1)

        inner_gates = self.inner_gates(torch.cat((u, memory), dim=-1))
        inner_i, inner_f, inner_g, inner_o = inner_gates.chunk(4, dim=-1)
        inner_memory = inner_f.sigmoid() * inner_memory + inner_i.sigmoid() * inner_g.tanh()
        memory = inner_o.sigmoid() * inner_memory.tanh()

        hidden = o.sigmoid() * memory.tanh()
        return hidden, (hidden, memory, inner_memory)

    @override
    def memory_state(self, state: State) -> Tensor:
        """The outer memory and, beside it, the squashed inner memory, as the outer level sees it.

        Source: Mohamed and Claudel, arXiv:1808.02016, the memory states of figure 8.
        """
        _, memory, inner_memory = state
        return torch.cat((memory, inner_memory.tanh()), dim=-1)
