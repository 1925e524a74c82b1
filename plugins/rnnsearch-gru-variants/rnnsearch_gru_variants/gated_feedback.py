"""The gated-feedback recurrent network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import Choice, IntRange, RecurrentCell, State, Value

_UNIT_GATES = {"tanh": 0, "gru": 2, "lstm": 3}


class GatedFeedbackCell(RecurrentCell):
    """Stack of recurrent layers, each fed by all of them through one scalar gate per pair.

    Layers j = 1 to L, from the bottom up, with `h^0_t = x_t`, and `h*` for the states of all layers
    side by side:

        g^{ij} = sigmoid(w^{ij} . h^{j-1}_t + u^{ij} . h*_{t-1} + a^{ij}),  a scalar
        f^j = sum_i g^{ij} U^{ij} h^i_{t-1},  the feedback to layer j

        tanh:  h^j_t = tanh(W^j h^{j-1}_t + f^j + b^j)
        gru:   h^j_t = (1 - z^j) * h^j_{t-1} + z^j * tanh(W^j h^{j-1}_t + r^j * f^j + b^j)
        lstm:  c^j_t = f'^j * c^j_{t-1} + i^j * tanh(W^j h^{j-1}_t + f^j + b^j),
               h^j_t = o^j * tanh(c^j_t)

    with `*` elementwise and all states initially zero. The gates `r^j, z^j` of a GRU and `i^j,
    f'^j, o^j` of an LSTM are each the sigmoid of an affine map of `h^{j-1}_t` and their own layer's
    `h^j_{t-1}`. If `g^{ij}` is one for i = j and zero elsewhere, this is a stacked network.

    Source: Chung, Gulcehre, Cho and Bengio, "Gated feedback recurrent neural networks", ICML 2015,
    arXiv:1502.02367, Sec. 3; equations reconstructed. Interpretations: each pair of layers has its
    own `w^{ij}`; the output is the state of the top layer. Departure: the equations have no biases;
    each affine map has one here.

    Shapes:
        inputs: `(batch, input_size)`
        state: `h^1` to `h^L`, then for `lstm` `c^1` to `c^L`, each `(batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `h^L`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units of each layer.
        layers: L.
        unit: type of the layers, `tanh`, `gru` or `lstm`.
    """

    structure = {
        "layers": IntRange(1, 5, default=2, searched=False),
        "unit": Choice(("tanh", "gru", "lstm"), default="tanh", searched=False),
    }

    def __init__(
        self, input_size: int, hidden_size: int, layers: int = 2, unit: str = "tanh"
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.layers = layers
        self.unit = unit
        below = [input_size, *[hidden_size] * (layers - 1)]
        everything = layers * hidden_size
        self.feedback_gates = nn.ModuleList(nn.Linear(m + everything, layers) for m in below)
        self.from_below = nn.ModuleList(nn.Linear(m, hidden_size) for m in below)  # W, b
        self.from_all = nn.ModuleList(nn.Linear(everything, hidden_size, bias=False) for m in below)
        self.unit_gates = nn.ModuleList()
        if unit != "tanh":
            rows = _UNIT_GATES[unit] * hidden_size  # r, z or i, f', o
            self.unit_gates.extend(nn.Linear(m + hidden_size, rows) for m in below)

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Each layer: its feedback gates, its candidate, and the gates of its unit."""
        layers = int(structure.get("layers", 2))
        rows = _UNIT_GATES[str(structure.get("unit", "tanh"))] * hidden_size
        return sum(
            (layers + hidden_size) * (below + layers * hidden_size + 1)
            + rows * (below + hidden_size + 1)
            for below in (input_size, *[hidden_size] * (layers - 1))
        )

    @classmethod
    @override
    def state_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        parts = 2 if structure.get("unit", "tanh") == "lstm" else 1
        return parts * int(structure.get("layers", 2)) * hidden_size

    @override
    def initial_state(self, batch_size: int) -> State:
        parts = 2 * self.layers if self.unit == "lstm" else self.layers
        return (self.zeros(batch_size, self.hidden_size),) * parts

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, memory = state[: self.layers], state[self.layers :]
        new_hidden: list[Tensor] = []
        new_memory: list[Tensor] = []
        below = inputs
        for layer, own in enumerate(hidden):
            fed_back = self._fed_back(layer, below, hidden)
            from_below = self.from_below[layer](below)
            if self.unit == "tanh":
                below = torch.tanh(from_below + fed_back)
            elif self.unit == "gru":
                r, z = self._unit_gates(layer, below, own).chunk(2, dim=-1)
                below = (1 - z) * own + z * torch.tanh(from_below + r * fed_back)
            else:
                i, f, o = self._unit_gates(layer, below, own).chunk(3, dim=-1)
                new_memory.append(f * memory[layer] + i * torch.tanh(from_below + fed_back))
                below = o * new_memory[layer].tanh()
            new_hidden.append(below)
        return below, (*new_hidden, *new_memory)

    def _fed_back(self, layer: int, below: Tensor, hidden: State) -> Tensor:
        gates = self.feedback_gates[layer](torch.cat((below, *hidden), dim=-1)).sigmoid()
        # A scalar commutes with a matrix: gate the states, then multiply once by all U^{ij}.
        gated = [gates[:, i : i + 1] * part for i, part in enumerate(hidden)]
        fed_back: Tensor = self.from_all[layer](torch.cat(gated, dim=-1))
        return fed_back

    def _unit_gates(self, layer: int, below: Tensor, own: Tensor) -> Tensor:
        gates: Tensor = self.unit_gates[layer](torch.cat((below, own), dim=-1))
        return gates.sigmoid()
