"""The second-order recurrent network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from rnnsearch import RecurrentCell, State, Value


class SecondOrderCell(RecurrentCell):
    """Recurrent cell whose weights belong to pairs of one unit and one input.

        s_t[i] = sigmoid(sum_jk W[i, j, k] s_{t-1}[j] x_t[k] + b[i])
        s_0 = (1, 0, ..., 0)

    With one symbol per step, coded one-hot, each symbol picks its own weight matrix, as a finite
    automaton picks a transition. The cell takes any real inputs; then the matrices of all inputs
    are summed, each weighted with its input. The state enters only through these products, so a
    step with all inputs zero forgets it.

    Source: Giles et al., "Learning and extracting finite state automata with second-order
    recurrent neural networks", Neural Computation 4, 1992; with biases as in Omlin and Giles,
    "Constructing deterministic finite-state automata in recurrent neural networks", Journal of the
    ACM 43, 1996. The equation is reconstructed from descriptions of these networks. Departures: the
    gradient runs back through time, whereas Giles et al. carried it forwards; a head reads all
    units, whereas their first unit was the answer; and parameters start uniform in
    `[-1, 1] / sqrt(hidden_size * input_size)`.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor, `s (batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `s`

    Args:
        input_size: features per time step, at least 1; the size of the alphabet if one-hot.
        hidden_size: units.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        bound = (hidden_size * input_size) ** -0.5
        shape = (hidden_size, hidden_size, input_size)
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """A weight for each unit, previous unit and input, and a bias for each unit."""
        return hidden_size * hidden_size * input_size + hidden_size

    @override
    def initial_state(self, batch_size: int) -> State:
        rest = self.zeros(batch_size, self.hidden_size - 1)
        return (torch.cat((self.zeros(batch_size, 1) + 1, rest), dim=-1),)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (units,) = state
        pairs = (units.unsqueeze(2) * inputs.unsqueeze(1)).flatten(1)
        units = torch.sigmoid(linear(pairs, self.weight.flatten(1), self.bias))
        return units, (units,)
