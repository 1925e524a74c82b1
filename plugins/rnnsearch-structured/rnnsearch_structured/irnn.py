"""The recurrent net of rectifiers that is initialized as an integrator."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import FloatRange, RecurrentCell, State, Value

_INPUT_WEIGHT_DEVIATION = 0.001


class IRNNCell(RecurrentCell):
    """Elman cell of rectifiers whose recurrent weights start at a multiple of the identity.

        h_t = relu(W x_t + U h_{t-1} + b),   h_0 = 0

    initially with `U = identity_scale I`, `b = 0` and `W` normal with a standard deviation of
    0.001; all are trained. With the identity, a state without input does not change, and neither
    does a gradient on its way back.

    Source: Le, Jaitly and Hinton, "A simple way to initialize recurrent networks of rectified
    linear units", arXiv:1504.00941, with the scaled identity mentioned in the abstract.
    Reconstructed, without the paper's text: the initial bias and the initial spread of `W`.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor, `h (batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `h`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units.
        identity_scale: factor of the identity. Below 1 the cell initially forgets, for tasks with
            short dependencies.
    """

    hyperparameters = {"identity_scale": FloatRange(0.01, 1.0, default=1.0, searched=False)}

    def __init__(self, input_size: int, hidden_size: int, identity_scale: float = 1.0) -> None:
        super().__init__(input_size, hidden_size)
        self.input_map = nn.Linear(input_size, hidden_size)
        self.recurrent_map = nn.Linear(hidden_size, hidden_size, bias=False)
        nn.init.normal_(self.input_map.weight, std=_INPUT_WEIGHT_DEVIATION)
        nn.init.zeros_(self.input_map.bias)
        with torch.no_grad():
            nn.init.eye_(self.recurrent_map.weight).mul_(identity_scale)

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Weights of inputs and state, and a bias."""
        return hidden_size * (input_size + hidden_size + 1)

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        hidden = torch.relu(self.input_map(inputs) + self.recurrent_map(hidden))
        return hidden, (hidden,)
