"""The independently recurrent neural network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import Choice, IntRange, RecurrentCell, State, Value

_LARGEST_GROWTH = 2.0
_UNBOUNDED_MEMORY = 1000  # steps after which a `long` unit keeps half, without a horizon


class IndRNNCell(RecurrentCell):
    """Recurrent cell of rectifiers; each unit sees only its own past.

        h_t = relu(W x_t + u * h_{t-1} + b),   h_0 = 0,   |u_n| <= 2^(1/T)

    with `*` elementwise. The bound limits the growth of a state or gradient over `T` steps to a
    factor of two. Units are combined only in the next layer, so the cell is meant to be stacked.

    Source: Li, Li, Cook, Zhu and Gao, "Independently recurrent neural network (IndRNN): building a
    longer and deeper RNN", CVPR 2018, arXiv:1803.04831; the initial values of `u` and the bound,
    including that for long sequences, are as the authors describe them with their code. Departures:

    * The paper clips `u` at the bound after each update. A cell cannot change the optimizer, so the
      bound is in the step: `u` is the trained weight `v`, reflected at the bound, which is `v`
      itself inside and `2 bound - v` just above. A plain clamp in the step would permanently remove
      the gradient of a weight outside the bounds; a squashing function would flatten the gradient
      near the bound, where a unit remembers longest. With reflection, the size of the gradient is
      the same everywhere, and a weight always returns.
    * Batch normalisation is left out, because samples of a batch must be independent, and skip
      connections over layers are not part of a cell.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor, `h (batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `h`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units.
        horizon: the steps `T` of the bound, or 0 for a bound of 1, which holds for any length.
        recurrence: initial distribution of `u`: `mixed`, uniform from 0 to the bound, so that units
            remember for different times; or `long`, from `2^(-1/T)` to the bound (with `T` of 1000
            if `horizon` is 0), for the last layer of a task that reads the last step.
    """

    hyperparameters = {
        "horizon": IntRange(0, 1 << 20, default=0, searched=False),
        "recurrence": Choice(("mixed", "long"), default="mixed", searched=False),
    }

    def __init__(
        self, input_size: int, hidden_size: int, horizon: int = 0, recurrence: str = "mixed"
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.bound = _LARGEST_GROWTH ** (1 / horizon) if horizon else 1.0
        self.input_map = nn.Linear(input_size, hidden_size)
        remembered = _LARGEST_GROWTH ** (-1 / (horizon or _UNBOUNDED_MEMORY))
        lowest = remembered if recurrence == "long" else 0.0
        weight = torch.empty(hidden_size).uniform_(lowest, self.bound)
        self.unbounded_recurrent_weight = nn.Parameter(weight)

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Weights of inputs, a bias, and one recurrent weight for each unit."""
        return hidden_size * (input_size + 2)

    @property
    def recurrent_weight(self) -> Tensor:
        """`u`, within the bound."""
        v, bound = self.unbounded_recurrent_weight, self.bound
        folded = torch.where(v > bound, 2 * bound - v, torch.where(v < -bound, -2 * bound - v, v))
        # One reflection does not catch a weight thrown beyond three bounds at once.
        return folded.clamp(-bound, bound)

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        hidden = torch.relu(self.input_map(inputs) + self.recurrent_weight * hidden)
        return hidden, (hidden,)
