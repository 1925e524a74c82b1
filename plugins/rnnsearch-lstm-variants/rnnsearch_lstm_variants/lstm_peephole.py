"""The LSTM whose gates see the memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from rnnsearch import Choice, RecurrentCell, State, Value


class PeepholeLSTMCell(RecurrentCell):
    """LSTM whose gates also see the memory, past the closed output gate.

        i = sigmoid(A_i [x_t; h_{t-1}] + a_i + p_i * c_{t-1})
        f = sigmoid(A_f [x_t; h_{t-1}] + a_f + p_f * c_{t-1})
        g = tanh(A_g [x_t; h_{t-1}] + a_g)
        c_t = f * c_{t-1} + i * g
        o = sigmoid(A_o [x_t; h_{t-1}] + a_o + p_o * c_t)
        h_t = o * tanh(c_t)

    with `*` elementwise and `h_0 = c_0 = 0`. The output gate sees the new memory. With
    `peepholes="full"` each `p` is a matrix and a gate sees the memory of every unit.

    Source: Gers, Schraudolph and Schmidhuber, "Learning precise timing with LSTM recurrent
    networks", JMLR 3, 2002, with one unit per memory block; the equations as in common use since,
    with tanh twice and an untruncated gradient. Full matrices are in Salehinejad, "Learning over
    long time lags", arXiv:1602.04335, eqs. 16 to 20; the source has one weight per unit.

    Shapes:
        inputs: `(batch, input_size)`
        state: `h (batch, hidden_size)` and `c (batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `h`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units.
        peepholes: `diagonal`, a weight for each unit and gate, or `full`, a matrix for each gate.
    """

    structure = {"peepholes": Choice(("diagonal", "full"), default="diagonal", searched=False)}

    def __init__(self, input_size: int, hidden_size: int, peepholes: str = "diagonal") -> None:
        super().__init__(input_size, hidden_size)
        self.gates = nn.Linear(input_size + hidden_size, 4 * hidden_size)  # i, f, g, o
        sizes = (hidden_size,) * (2 if peepholes == "full" else 1)
        bound = 1 / math.sqrt(hidden_size)  # as for the weights of `nn.LSTM`
        self.input_peephole = nn.Parameter(torch.empty(sizes).uniform_(-bound, bound))
        self.forget_peephole = nn.Parameter(torch.empty(sizes).uniform_(-bound, bound))
        self.output_peephole = nn.Parameter(torch.empty(sizes).uniform_(-bound, bound))

    @classmethod
    @override
    def parameter_count(
        cls, input_size: int, hidden_size: int, peepholes: Value = "diagonal", **structure: Value
    ) -> int:
        """Four affine maps, and three peepholes with a weight or a row of weights for each unit."""
        affine = 4 * hidden_size * (input_size + hidden_size + 1)
        return affine + 3 * hidden_size * (hidden_size if peepholes == "full" else 1)

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
        i = (i + _seen(memory, self.input_peephole)).sigmoid()
        f = (f + _seen(memory, self.forget_peephole)).sigmoid()
        memory = f * memory + i * g.tanh()
        o = (o + _seen(memory, self.output_peephole)).sigmoid()
        hidden = o * memory.tanh()
        return hidden, (hidden, memory)


def _seen(memory: Tensor, peephole: Tensor) -> Tensor:
    return memory * peephole if peephole.dim() == 1 else linear(memory, peephole)
