"""The minimal gated unit and its variants with a smaller gate, MGU1 to MGU3."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import Choice, RecurrentCell, State, Value
from rnnsearch_gru_variants.learned_constant import LearnedConstant


class MGUCell(RecurrentCell):
    """GRU with a single gate, which both resets the state and updates it.

        variant 0 (MGU):   f = sigmoid(W_f x_t + U_f h_{t-1} + b_f)
        variant 1 (MGU1):  f = sigmoid(U_f h_{t-1} + b_f)
        variant 2 (MGU2):  f = sigmoid(U_f h_{t-1})
        variant 3 (MGU3):  f = sigmoid(b_f)
        n = tanh(W_n x_t + U_n (f * h_{t-1}) + b_n)
        h_t = (1 - f) * h_{t-1} + f * n,   h_0 = 0

    with `*` elementwise. The gate is called the forget gate, but opening it writes the candidate.

    Source: Zhou, Wu, Zhang and Zhou, "Minimal gated unit for recurrent neural networks",
    International Journal of Automation and Computing 13, 2016, arXiv:1603.09420. Variants: Heck and
    Salem, "Simplified minimal gated unit variations for recurrent neural networks", MWSCAS 2017,
    arXiv:1701.03452; equations reconstructed. Departure: weights and biases start like those of
    `nn.Linear`, including the biases of variant 3.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor, `h (batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `h`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units.
        variant: 0 to 3; selects what the gate reads.
    """

    structure = {"variant": Choice((0, 1, 2, 3), default=0, searched=False)}

    def __init__(self, input_size: int, hidden_size: int, variant: int = 0) -> None:
        super().__init__(input_size, hidden_size)
        self.candidate = nn.Linear(input_size + hidden_size, hidden_size)
        self.reads_inputs = variant == 0
        self.gate: nn.Module
        if variant == 3:
            self.gate = LearnedConstant(hidden_size, hidden_size)
        else:
            width = input_size + hidden_size if self.reads_inputs else hidden_size
            self.gate = nn.Linear(width, hidden_size, bias=variant != 2)

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """The candidate, one affine map of inputs and state, and the reduced gate."""
        affine = input_size + hidden_size + 1
        gate = {0: affine, 1: hidden_size + 1, 2: hidden_size, 3: 1}
        return hidden_size * (affine + gate[int(structure.get("variant", 0))])

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        read = torch.cat((inputs, hidden), dim=-1) if self.reads_inputs else hidden
        f = self.gate(read).sigmoid()
        n = self.candidate(torch.cat((inputs, f * hidden), dim=-1)).tanh()
        hidden = (1 - f) * hidden + f * n
        return hidden, (hidden,)
