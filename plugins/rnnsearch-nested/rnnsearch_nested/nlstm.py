"""The nested LSTM with two levels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import Choice, RecurrentCell, State, Value


class NestedLSTMCell(RecurrentCell):
    """LSTM whose memory is updated by an inner LSTM instead of by addition.

        i, f, o = sigmoid(A [x_t; h_{t-1}] + a),  one A and a for each gate
        g = tanh(A_g [x_t; h_{t-1}] + a_g)
        x' = i * g,  h' = f * c_{t-1}
        i', f', o' = sigmoid(B [x'; h'] + b),  one B and b for each inner gate
        c'_t = f' * c'_{t-1} + i' * phi(B_g [x'; h'] + b_g)
        c_t = o' * tanh(c'_t)
        h_t = o * tanh(c_t)

    with `*` elementwise and `h_0 = c_0 = c'_0 = 0`. Adding, `c_t = x' + h'`, would give an LSTM.

    Source: Moniz and Krueger, "Nested LSTMs", arXiv:1801.10308, with two levels. Interpretations:
    the inner input is the product `i * g`; `h'` is the inner LSTM's hidden state, so it has no
    other; `phi` is the identity by default, or tanh, and both are in use; one bias per gate; the
    biases of the forget gates are not raised.

    Shapes:
        inputs: `(batch, input_size)`
        state: `h`, `c` and the inner `c'`, each `(batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `h`
        memory: `(batch, 2 * hidden_size)`, `c` and then `tanh(c')`, as the MCRM paper draws it

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units of each level.
        inner_activation: `phi`, `identity` or `tanh`.
    """

    hyperparameters = {
        "inner_activation": Choice(("identity", "tanh"), default="identity", searched=False)
    }

    def __init__(
        self, input_size: int, hidden_size: int, inner_activation: str = "identity"
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.inner_activation = nn.Tanh() if inner_activation == "tanh" else nn.Identity()
        self.gates = nn.Linear(input_size + hidden_size, 4 * hidden_size)  # i, f, g, o
        self.inner_gates = nn.Linear(2 * hidden_size, 4 * hidden_size)  # i', f', g', o'

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Four gates at each of two levels, each one affine map."""
        outer = 4 * hidden_size * (input_size + hidden_size + 1)
        return outer + 4 * hidden_size * (2 * hidden_size + 1)

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
        memory, inner_memory = self.remember(
            i.sigmoid() * g.tanh(), f.sigmoid() * memory, inner_memory
        )
        hidden = o.sigmoid() * memory.tanh()
        return hidden, (hidden, memory, inner_memory)

    def remember(
        self, inner_inputs: Tensor, inner_hidden: Tensor, inner_memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update the outer and the inner memory; an LSTM would add the first two arguments here."""
        gates = self.inner_gates(torch.cat((inner_inputs, inner_hidden), dim=-1))
        i, f, g, o = gates.chunk(4, dim=-1)
        inner_memory = f.sigmoid() * inner_memory + i.sigmoid() * self.inner_activation(g)
        return o.sigmoid() * inner_memory.tanh(), inner_memory

    @override
    def memory_state(self, state: State) -> Tensor:
        """The outer memory and, beside it, the squashed inner memory, as the outer level sees it.

        Source: Mohamed and Claudel, arXiv:1808.02016, the memory states of figure 8.
        """
        _, memory, inner_memory = state
        return torch.cat((memory, inner_memory.tanh()), dim=-1)
