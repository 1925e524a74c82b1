"""The continuous-time recurrent network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from rnnsearch import Choice, FloatRange, IntRange, RecurrentCell, State, Value


class CTRNNCell(RecurrentCell):
    """Leaky units in continuous time with individual time constants, integrated numerically.

        tau[i] dy[i]/dt = -y[i] + sum_j W[i, j] sigmoid(y[j] + theta[j]) + I[i]
        I = V x_t,   y(0) = 0

    where `x_t` is held for `time_step` units of time, which the solver covers in `substeps` equal
    steps: Euler's method, of first order, or the classical Runge-Kutta method, of fourth order.
    Time constants are learned: `tau = time_step + exp(rho)`. They are never shorter than the time
    between two inputs, so Euler's method does not overshoot. Where `exp(rho)` vanishes, with
    `solver="euler"` and `substeps=1`, this is a network in discrete time,
    `y_t = W sigmoid(y_{t-1} + theta) + V x_t`.

    Source: Beer, "On the dynamics of small continuous-time recurrent neural networks", Adaptive
    Behavior 3, 1995; Funahashi and Nakamura, "Approximation of dynamical systems by continuous
    time recurrent neural networks", Neural Networks 6, 1993, whose outputs are internal states, as
    here. The equation is reconstructed. Departures: the time constants have a lower limit, and
    start with `exp(rho)` log-uniform between 0.1 and 10 times `time_step`; and the gradient is that
    of the solver's steps, not of an adjoint equation.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor, `y (batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `y`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units.
        solver: `euler` or `rk4`.
        time_step: time between two inputs, in the unit of `tau`.
        substeps: solver steps between two inputs.
    """

    hyperparameters = {
        "solver": Choice(("euler", "rk4"), default="euler", searched=False),
        "time_step": FloatRange(0.01, 10.0, default=1.0, log=True, searched=False),
        "substeps": IntRange(1, 16, default=1, searched=False),
    }

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        solver: str = "euler",
        time_step: float = 1.0,
        substeps: int = 1,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.solver = solver
        self.time_step = time_step
        self.substeps = substeps
        self.input_map = nn.Linear(input_size, hidden_size, bias=False)
        self.coupling = nn.Linear(hidden_size, hidden_size, bias=False)
        self.threshold = nn.Parameter(torch.zeros(hidden_size))
        spread = math.log(10.0)
        excess = torch.empty(hidden_size).uniform_(-spread, spread) + math.log(time_step)
        self.log_excess_time = nn.Parameter(excess)

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Weights of inputs and units, and a threshold and a time constant of each unit."""
        return hidden_size * (input_size + hidden_size + 2)

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    @property
    def time_constants(self) -> Tensor:
        """`tau`, one per unit."""
        return self.time_step + self.log_excess_time.exp()

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (potential,) = state
        drive = self.input_map(inputs)
        step = self.time_step / self.substeps / self.time_constants
        for _ in range(self.substeps):
            if self.solver == "euler":
                potential = potential + step * self._slope(potential, drive)
            else:
                potential = self._runge_kutta(potential, drive, step)
        return potential, (potential,)

    def _slope(self, potential: Tensor, drive: Tensor) -> Tensor:
        """`tau dy/dt`."""
        rate = torch.sigmoid(potential + self.threshold)
        return linear(rate, self.coupling.weight) + drive - potential

    def _runge_kutta(self, potential: Tensor, drive: Tensor, step: Tensor) -> Tensor:
        first = self._slope(potential, drive)
        second = self._slope(potential + step / 2 * first, drive)
        third = self._slope(potential + step / 2 * second, drive)
        fourth = self._slope(potential + step * third, drive)
        return potential + step / 6 * (first + 2 * second + 2 * third + fourth)
