"""The LSTM variants of "LSTM: A search space odyssey"."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import Choice, RecurrentCell, State, Value

# The gates that each variant lacks.
_MISSING = {"nig": "i", "nfg": "f", "cifg": "f", "nog": "o"}


class LSTMVariantCell(RecurrentCell):
    """The vanilla LSTM with peepholes, or one of eight variants that change one aspect of it.

        z = tanh(A_z [x_t; h_{t-1}] + a_z)
        i = sigmoid(A_i [x_t; h_{t-1}] + a_i + p_i * c_{t-1})
        f = sigmoid(A_f [x_t; h_{t-1}] + a_f + p_f * c_{t-1})
        c_t = i * z + f * c_{t-1}
        o = sigmoid(A_o [x_t; h_{t-1}] + a_o + p_o * c_t)
        h_t = o * tanh(c_t)

    with `*` elementwise and `h_0 = c_0 = 0` is `vanilla`. The variants:

        nig   no input gate: i = 1
        nfg   no forget gate: f = 1
        nog   no output gate: o = 1
        niaf  no input activation function: z without its tanh
        noaf  no output activation function: h_t = o * c_t
        cifg  coupled input and forget gate: f = 1 - i
        np    no peepholes: p_i = p_f = p_o = 0
        fgr   full gate recurrence: i, f and o each also see i, f and o of the previous step,
              through nine matrices R without biases; i_0 = f_0 = o_0 = 0

    A fixed gate has no parameters.

    Source: Greff, Srivastava, Koutník, Steunebrink and Schmidhuber, "LSTM: A search space odyssey",
    IEEE Transactions on Neural Networks and Learning Systems 28, 2017, arXiv:1503.04069, Sec. II
    and the list of its eight variants. Reconstructed: `p_o` of `fgr` sees the new memory as in the
    vanilla LSTM, and the gates before the first step are 0.

    Shapes:
        inputs: `(batch, input_size)`
        state: `h` and `c`, each `(batch, hidden_size)`; for `fgr` also `i`, `f` and `o`
        output: `(batch, hidden_size)`, the new `h`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units.
        variant: `vanilla` or the abbreviation of a variant.
    """

    structure = {
        "variant": Choice(
            ("vanilla", "nig", "nfg", "nog", "niaf", "noaf", "cifg", "np", "fgr"),
            default="vanilla",
            searched=False,
        )
    }

    def __init__(self, input_size: int, hidden_size: int, variant: str = "vanilla") -> None:
        super().__init__(input_size, hidden_size)
        self.variant = variant
        self.gates = [gate for gate in "ifo" if gate != _MISSING.get(variant)]
        self.affine = nn.Linear(input_size + hidden_size, (1 + len(self.gates)) * hidden_size)
        if variant != "np":
            bound = 1 / math.sqrt(hidden_size)  # as for the weights of `nn.LSTM`
            self.peepholes = nn.ParameterDict(
                {g: torch.empty(hidden_size).uniform_(-bound, bound) for g in self.gates}
            )
        if variant == "fgr":
            self.gate_recurrence = nn.Linear(3 * hidden_size, 3 * hidden_size, bias=False)

    @classmethod
    @override
    def parameter_count(
        cls, input_size: int, hidden_size: int, variant: Value = "vanilla", **structure: Value
    ) -> int:
        """An affine map for `z` and each gate, a peephole for each gate, matrices between gates."""
        gates = 2 if variant in _MISSING else 3
        count = (1 + gates) * hidden_size * (input_size + hidden_size + 1)
        count += 0 if variant == "np" else gates * hidden_size
        return count + (9 * hidden_size**2 if variant == "fgr" else 0)

    @classmethod
    @override
    def state_size(
        cls, input_size: int, hidden_size: int, variant: Value = "vanilla", **structure: Value
    ) -> int:
        return (5 if variant == "fgr" else 2) * hidden_size

    @override
    def initial_state(self, batch_size: int) -> State:
        zeros = self.zeros(batch_size, self.hidden_size)
        return (zeros,) * (5 if self.variant == "fgr" else 2)

    @override
    def memory_state(self, state: State) -> Tensor:
        return state[1]

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, memory, *gates_before = state
        joined = torch.cat((inputs, hidden), dim=-1)
        z, *nets = self.affine(joined).chunk(1 + len(self.gates), dim=-1)
        if self.variant == "fgr":
            between = self.gate_recurrence(torch.cat(gates_before, dim=-1)).chunk(3, dim=-1)
            nets = [net + more for net, more in zip(nets, between, strict=True)]
        net = dict(zip(self.gates, nets, strict=True))

        i = self._opening("i", net, memory)
        f = 1 - i if self.variant == "cifg" else self._opening("f", net, memory)
        memory = i * (z if self.variant == "niaf" else z.tanh()) + f * memory
        o = self._opening("o", net, memory)
        hidden = o * (memory if self.variant == "noaf" else memory.tanh())
        return hidden, (hidden, memory, *((i, f, o) if self.variant == "fgr" else ()))

    def _opening(self, gate: str, net: Mapping[str, Tensor], memory: Tensor) -> Tensor:
        """Activation of a gate; a gate that the variant lacks is always open."""
        if gate not in net:
            return torch.ones_like(memory)
        seen = net[gate]
        if self.variant != "np":
            seen = seen + self.peepholes[gate] * memory
        return seen.sigmoid()
