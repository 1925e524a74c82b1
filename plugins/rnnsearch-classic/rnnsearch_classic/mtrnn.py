"""The multiple-timescale recurrent network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import Choice, FloatRange, RecurrentCell, State, Value


class MTRNNCell(RecurrentCell):
    """Leaky units in a fast group, which sees the inputs, and a slow group, which does not.

        u_t = (1 - 1/tau_f) u_{t-1} + 1/tau_f (W_fx x_t + W_ff c_{t-1} + W_fs d_{t-1} + b_f)
        v_t = (1 - 1/tau_s) v_{t-1} + 1/tau_s (W_sf c_{t-1} + W_ss d_{t-1} + b_s)
        c_t = f(u_t),   d_t = f(v_t),   u_0 = 0

    The slow group receives the inputs only through the fast group, and the output is that of the
    fast group: the slow group has no direct connection to inputs or outputs.
    `v_0` is learned. `f` is tanh or the logistic function.

    Source: Yamashita and Tani, "Emergence of functional hierarchy in a multiple timescale neural
    network model: a humanoid robot experiment", PLoS Computational Biology 4(11), 2008,
    doi:10.1371/journal.pcbi.1000220: 60 fast units with `tau_f` 5 and 20 slow units with `tau_s`
    70. The equations are reconstructed. Departures:

        * The cell has one `v_0`. In the source, each training sequence has its own, which tells the
          network what sequence to produce; a cell does not know which sequence it sees.
        * The inputs and the head take the place of the input-output group, softmax units with a
          time constant of 2.
        * Every unit has a bias.

    If both time constants are 1, the cell is Elman's network without the connections from the
    inputs to the slow group.

    Shapes:
        inputs: `(batch, input_size)`
        state: `u (batch, hidden_size)` and `v (batch, slow units)`
        output: `(batch, hidden_size)`, `f(u_t)`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: fast units.
        slow_ratio: slow units as a multiple of `hidden_size`, rounded half up, at least one.
        tau_fast: time constant of the fast group, in steps.
        tau_slow: time constant of the slow group, in steps.
        nonlinearity: `tanh` or `sigmoid`.
    """

    structure = {"slow_ratio": FloatRange(0.1, 1.0, default=1 / 3)}
    hyperparameters = {
        "tau_fast": FloatRange(1.0, 20.0, default=5.0, log=True),
        "tau_slow": FloatRange(5.0, 500.0, default=70.0, log=True),
        "nonlinearity": Choice(("tanh", "sigmoid"), default="tanh", searched=False),
    }

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        slow_ratio: float = 1 / 3,
        tau_fast: float = 5.0,
        tau_slow: float = 70.0,
        nonlinearity: str = "tanh",
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.tau_fast = tau_fast
        self.tau_slow = tau_slow
        self.activation = torch.tanh if nonlinearity == "tanh" else torch.sigmoid
        slow_size = _slow_size(hidden_size, slow_ratio)
        self.fast = nn.Linear(input_size + hidden_size + slow_size, hidden_size)
        self.slow = nn.Linear(hidden_size + slow_size, slow_size)
        self.initial_slow = nn.Parameter(torch.zeros(slow_size))

    @classmethod
    @override
    def parameter_count(
        cls, input_size: int, hidden_size: int, slow_ratio: Value = 1 / 3, **structure: Value
    ) -> int:
        """The two groups' affine maps, and the initial state of the slow group."""
        slow_size = _slow_size(hidden_size, slow_ratio)
        fast = (input_size + hidden_size + slow_size + 1) * hidden_size
        return fast + (hidden_size + slow_size + 1) * slow_size + slow_size

    @classmethod
    @override
    def state_size(
        cls, input_size: int, hidden_size: int, slow_ratio: Value = 1 / 3, **structure: Value
    ) -> int:
        return hidden_size + _slow_size(hidden_size, slow_ratio)

    @override
    def initial_state(self, batch_size: int) -> State:
        # A sum, not `expand`: a view of a parameter confuses torch's FLOP counter.
        slow = self.zeros(batch_size, len(self.initial_slow)) + self.initial_slow
        return self.zeros(batch_size, self.hidden_size), slow

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        fast, slow = state
        context = torch.cat((self.activation(fast), self.activation(slow)), dim=-1)
        to_fast = self.fast(torch.cat((inputs, context), dim=-1))
        to_slow = self.slow(context)
        fast = (1 - 1 / self.tau_fast) * fast + to_fast / self.tau_fast
        slow = (1 - 1 / self.tau_slow) * slow + to_slow / self.tau_slow
        return self.activation(fast), (fast, slow)

    @override
    def memory_state(self, state: State) -> Tensor:
        return torch.cat(state, dim=-1)


def _slow_size(hidden_size: int, slow_ratio: Value) -> int:
    return max(1, math.floor(float(slow_ratio) * hidden_size + 0.5))
