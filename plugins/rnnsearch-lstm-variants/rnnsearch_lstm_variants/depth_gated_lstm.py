"""The depth-gated LSTM."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import IntRange, RecurrentCell, State, Value


class DepthGatedLSTMCell(RecurrentCell):
    """Stacked LSTMs whose memories are joined from layer to layer through a depth gate.

    Layer `l` reads `x^l_t`, the inputs for the first and `h^{l-1}_t` for the others:

        i, f, o = sigmoid(A [x^l_t; h^l_{t-1}] + a),  one A and a for each gate
        g = tanh(A_g [x^l_t; h^l_{t-1}] + a_g)
        d = sigmoid(W_d x^l_t + b_d + w_c * c^l_{t-1} + w_l * c^{l-1}_t)     (not in the first)
        c^l_t = f * c^l_{t-1} + i * g + d * c^{l-1}_t                        (d = 0 in the first)
        h^l_t = o * tanh(c^l_t)

    with `*` elementwise; all states start at 0, and each layer has its own weights.

    One step of this cell runs all its layers, because a layer needs the memory of the layer below
    at the same time step; `num_layers` of a study stacks whole cells.

    Source: Yao, Cohn, Vylomova, Duh and Dyer, "Depth-gated LSTM", arXiv:1508.03790. Reconstructed.
    Departures: the gates `i`, `f` and `o` have no peepholes, so without depth gates this is the
    stacked `torch.nn.LSTM`; the first layer has no depth gate to its inputs, unlike in some code.

    Shapes:
        inputs: `(batch, input_size)`
        state: `h` and `c` of every layer, starting with the first, each `(batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `h` of the last layer

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units of each layer.
        layers: layers of this cell.
    """

    structure = {"layers": IntRange(2, 8, default=2, searched=False)}

    def __init__(self, input_size: int, hidden_size: int, layers: int = 2) -> None:
        super().__init__(input_size, hidden_size)
        self.layers = nn.ModuleList(
            _Layer(hidden_size if layer else input_size, hidden_size, joined=layer > 0)
            for layer in range(layers)
        )

    @classmethod
    @override
    def parameter_count(
        cls, input_size: int, hidden_size: int, layers: Value = 2, **structure: Value
    ) -> int:
        """Four gates in each layer; from the second layer on, a depth gate with two diagonals."""
        first = 4 * hidden_size * (input_size + hidden_size + 1)
        joined = 4 * hidden_size * (2 * hidden_size + 1) + hidden_size * (hidden_size + 1 + 2)
        return first + (int(layers) - 1) * joined

    @classmethod
    @override
    def state_size(
        cls, input_size: int, hidden_size: int, layers: Value = 2, **structure: Value
    ) -> int:
        return 2 * int(layers) * hidden_size

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),) * (2 * len(self.layers))

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        parts: list[Tensor] = []
        below: Tensor | None = None
        for layer, hidden, memory in zip(self.layers, state[::2], state[1::2], strict=True):
            inputs, below = layer(inputs, hidden, memory, below)
            parts += [inputs, below]
        return inputs, tuple(parts)


class _Layer(nn.Module):
    """One layer; `joined` says whether it is joined to the memory of the layer below."""

    def __init__(self, input_size: int, hidden_size: int, *, joined: bool) -> None:
        super().__init__()
        self.gates = nn.Linear(input_size + hidden_size, 4 * hidden_size)  # i, f, g, o
        if joined:
            bound = 1 / math.sqrt(hidden_size)  # as for the weights of `nn.LSTM`
            self.depth_gate = nn.Linear(input_size, hidden_size)
            self.own_weight = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))
            self.below_weight = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))

    @override
    def forward(
        self, inputs: Tensor, hidden: Tensor, memory: Tensor, below: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        i, f, g, o = self.gates(torch.cat((inputs, hidden), dim=-1)).chunk(4, dim=-1)
        new = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        if below is not None:
            seen = self.own_weight * memory + self.below_weight * below
            new = new + (self.depth_gate(inputs) + seen).sigmoid() * below
        return o.sigmoid() * new.tanh(), new
