"""The gated recurrent units with smaller gates, GRU1 to GRU3."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import Choice, RecurrentCell, State, Value
from rnnsearch_gru_variants.learned_constant import LearnedConstant


class SlimGRUCell(RecurrentCell):
    """GRU whose gates see less: the state and a bias, the state alone, or nothing at all.

        variant 1 (GRU1):  r, z = sigmoid(U h_{t-1} + b),  one U and b for each gate
        variant 2 (GRU2):  r, z = sigmoid(U h_{t-1})
        variant 3 (GRU3):  r, z = sigmoid(b)
        n = tanh(W_n x_t + U_n (r * h_{t-1}) + b_n)
        h_t = (1 - z) * h_{t-1} + z * n,   h_0 = 0

    with `*` elementwise. The gates do not read the input; it enters only through the candidate. The
    gates of variant 3 are learned constants, so each unit leaks at its own rate.

    Source: Dey and Salem, "Gate-variants of gated recurrent unit (GRU) neural networks", MWSCAS
    2017, arXiv:1701.05923; equations reconstructed. Departure: weights and biases start like those
    of `nn.Linear`, including the biases of variant 3.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor, `h (batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `h`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units.
        variant: 1, 2 or 3; selects what the gates read.
    """

    structure = {"variant": Choice((1, 2, 3), default=1, searched=False)}

    def __init__(self, input_size: int, hidden_size: int, variant: int = 1) -> None:
        super().__init__(input_size, hidden_size)
        self.candidate = nn.Linear(input_size + hidden_size, hidden_size)
        self.gates: nn.Module  # r, z
        if variant == 3:
            self.gates = LearnedConstant(hidden_size, 2 * hidden_size)
        else:
            self.gates = nn.Linear(hidden_size, 2 * hidden_size, bias=variant == 1)

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """The candidate, one affine map of inputs and state, and the reduced gates."""
        one_gate = {1: hidden_size + 1, 2: hidden_size, 3: 1}[int(structure.get("variant", 1))]
        return hidden_size * (input_size + hidden_size + 1) + 2 * hidden_size * one_gate

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        r, z = self.gates(hidden).sigmoid().chunk(2, dim=-1)
        n = self.candidate(torch.cat((inputs, r * hidden), dim=-1)).tanh()
        hidden = (1 - z) * hidden + z * n
        return hidden, (hidden,)
