"""The independently recurrent neural network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import Choice, IntRange, RecurrentCell, State, Value

_LARGEST_GROWTH = 2.0
_UNBOUNDED_MEMORY = 1000  # steps after which a `long` unit keeps half, where no horizon is given


class IndRNNCell(RecurrentCell):
    """Recurrent cell of rectifiers whose units each see only their own past.

        h_t = relu(W x_t + u * h_{t-1} + b),   h_0 = 0,   |u_n| <= 2^(1/T)

    with `*` elementwise. The bound keeps what reaches a unit from `T` steps ago, forwards or
    backwards, below twice of what it was. Units come together only in a next layer, so the cell is
    meant to be stacked.

    Source: Li, Li, Cook, Zhu and Gao, "Independently recurrent neural network (IndRNN): building a
    longer and deeper RNN", CVPR 2018, arXiv:1803.04831; starting values of `u` and the bound, also
    that for long sequences, as the authors describe them beside their code. Departures:

    * The paper cuts `u` off at the bound after each update. A cell cannot reach into the optimizer,
      so the bound is in the step: `u` is the trained weight `v`, reflected at the bound, which is
      `v` itself inside and `2 bound - v` just above. A plain clamp in the step would take the
      gradient from a weight that has left the bounds, for good; a squashing function would flatten
      it near the bound, where a unit remembers longest. Under reflection its size is the same
      everywhere and a weight always finds back.
    * Batch normalisation is left out, since samples of a batch must not see each other, and skips
      over layers are not part of a cell.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor, `h (batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `h`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units.
        horizon: the steps `T` of the bound, or 0 for a bound of 1, which holds at any length.
        recurrence: how `u` starts: `mixed`, uniform from 0 to the bound, so that units remember
            for different times; or `long`, from `2^(-1/T)` to the bound (with `T` of 1000 where
            `horizon` is 0), for the last layer of a task that reads the last step.
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
        # A weight thrown beyond three bounds at once is not caught by one reflection.
        return folded.clamp(-bound, bound)

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        hidden = torch.relu(self.input_map(inputs) + self.recurrent_weight * hidden)
        return hidden, (hidden,)
