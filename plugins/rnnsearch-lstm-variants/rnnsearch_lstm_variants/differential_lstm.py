"""The LSTM gated by the differences of its memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import IntRange, RecurrentCell, State, Value


class DifferentialLSTMCell(RecurrentCell):
    """LSTM whose gates see how the memory changes: its differences up to order `R`.

    With `D_t` the differences `d^0_t = s_t` and `d^r_t = d^{r-1}_t - d^{r-1}_{t-1}` side by side,
    up to `r = R`, that is `s_t`, `s_t - s_{t-1}` and `s_t - 2 s_{t-1} + s_{t-2}` for `R = 2`:

        i = sigmoid(A_i [x_t; y_{t-1}] + a_i + V_i D_{t-1})
        f = sigmoid(A_f [x_t; y_{t-1}] + a_f + V_f D_{t-1})
        s_t = f * s_{t-1} + i * tanh(A_s [x_t; y_{t-1}] + a_s)
        o = sigmoid(A_o [x_t; y_{t-1}] + a_o + V_o D_t)
        y_t = o * tanh(s_t)

    with `*` elementwise, and `y` and `s` 0 up to the start. With `R = 0` it is the LSTM with full
    peepholes, and with `V = 0` the LSTM without peepholes.

    Source: Veeriah, Zhuang and Qi, "Differential recurrent neural networks for action recognition"
    (dRNN), ICCV 2015, arXiv:1504.06678. Reconstructed from Salehinejad, "Learning over long time
    lags", arXiv:1602.04335, eqs. 29 to 31, which writes the derivative of the hidden state `h` but
    means that of the memory, and leaves its `y`, the output, undefined. The output function is that
    of an LSTM. Not the dRNN of dilated networks.

    Shapes:
        inputs: `(batch, input_size)`
        state: `y`, then `d^0 = s` to `d^R`, each `(batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `y`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units.
        order: `R`, the highest order of difference.
    """

    structure = {"order": IntRange(0, 2, default=1, searched=False)}

    def __init__(self, input_size: int, hidden_size: int, order: int = 1) -> None:
        super().__init__(input_size, hidden_size)
        self.order = order
        seen = (order + 1) * hidden_size
        self.gates = nn.Linear(input_size + hidden_size, 4 * hidden_size)  # i, f, s, o
        self.from_old = nn.Linear(seen, 2 * hidden_size, bias=False)  # i, f
        self.from_new = nn.Linear(seen, hidden_size, bias=False)  # o

    @classmethod
    @override
    def parameter_count(
        cls, input_size: int, hidden_size: int, order: Value = 1, **structure: Value
    ) -> int:
        """Four affine maps, and a matrix for each of three gates and each order."""
        affine = 4 * hidden_size * (input_size + hidden_size + 1)
        return affine + 3 * (int(order) + 1) * hidden_size**2

    @classmethod
    @override
    def state_size(
        cls, input_size: int, hidden_size: int, order: Value = 1, **structure: Value
    ) -> int:
        return (int(order) + 2) * hidden_size

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),) * (self.order + 2)

    @override
    def memory_state(self, state: State) -> Tensor:
        return state[1]

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, *old = state
        i, f, s, o = self.gates(torch.cat((inputs, output), dim=-1)).chunk(4, dim=-1)
        old_i, old_f = self.from_old(torch.cat(old, dim=-1)).chunk(2, dim=-1)
        new = [(f + old_f).sigmoid() * old[0] + (i + old_i).sigmoid() * s.tanh()]
        for before in old[:-1]:
            new.append(new[-1] - before)
        output = (o + self.from_new(torch.cat(new, dim=-1))).sigmoid() * new[0].tanh()
        return output, (output, *new)
