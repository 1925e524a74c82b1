"""The LSTM with a recurrent projection."""

from __future__ import annotations

import math
import warnings
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from rnnsearch import FloatRange, RecurrentCell, State, Value


class _ProjectedLSTM(nn.LSTM):
    """`nn.LSTM` without its warning on processors that lack faster code for projections."""

    @override
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
            return super().forward(*args, **kwargs)


class ProjectionLSTMCell(RecurrentCell):
    """LSTM that feeds back and outputs a narrower projection of its hidden units.

        i, f, o = sigmoid(W x_t + b + U r_{t-1} + b'),  one W, U, b, b' for each gate
        g = tanh(W_g x_t + b_g + U_g r_{t-1} + b'_g)
        c_t = f * c_{t-1} + i * g
        r_t = P (o * tanh(c_t))

    with `*` elementwise and `r_0 = c_0 = 0`. `P` projects `n` units to `q`, the rounded
    `projection_ratio * n`, but at least one and fewer than `n`; a single unit is not projected.

    Source: Sak, Senior and Beaufays, "Long short-term memory based recurrent neural network
    architectures for large vocabulary speech recognition", arXiv:1402.1128, and Interspeech 2014,
    the recurrent projection layer. Departures, all shared with `torch.nn.LSTM` with a `proj_size`,
    which this cell equals: no peepholes, no second projection without feedback, and two bias
    vectors, one of which is redundant.

    Shapes:
        inputs: `(batch, input_size)`
        state: `r (batch, q)` and `c (batch, hidden_size)`
        output: `(batch, q)`, the new `r`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units, `n`.
        projection_ratio: `q` as a fraction of `n`.
    """

    structure = {"projection_ratio": FloatRange(0.1, 0.9, default=0.25)}

    def __init__(self, input_size: int, hidden_size: int, projection_ratio: float = 0.25) -> None:
        super().__init__(input_size, hidden_size)
        self.output_width = _width(hidden_size, projection_ratio)
        # For torch, 0 means no projection, and a projection must be narrower than the units.
        projected = self.output_width if self.output_width < hidden_size else 0
        self.lstm = _ProjectedLSTM(input_size, hidden_size, proj_size=projected)

    @classmethod
    @override
    def parameter_count(
        cls, input_size: int, hidden_size: int, projection_ratio: Value = 0.25, **structure: Value
    ) -> int:
        """Four gates with two biases, and the projection."""
        width = _width(hidden_size, projection_ratio)
        gates = 4 * hidden_size * (input_size + width + 2)
        return gates + (hidden_size * width if width < hidden_size else 0)

    @classmethod
    @override
    def redundant_biases(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return 4 * hidden_size

    @classmethod
    @override
    def state_size(
        cls, input_size: int, hidden_size: int, projection_ratio: Value = 0.25, **structure: Value
    ) -> int:
        return hidden_size + _width(hidden_size, projection_ratio)

    @classmethod
    @override
    def output_size(
        cls, input_size: int, hidden_size: int, projection_ratio: Value = 0.25, **structure: Value
    ) -> int:
        return _width(hidden_size, projection_ratio)

    @override
    def initial_state(self, batch_size: int) -> State:
        return self.zeros(batch_size, self.output_width), self.zeros(batch_size, self.hidden_size)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        projected, memory = state
        weight_inputs, weight_hidden, bias_inputs, bias_hidden, *projection = self.lstm.all_weights[
            0
        ]
        from_inputs = linear(inputs, weight_inputs, bias_inputs)
        from_hidden = linear(projected, weight_hidden, bias_hidden)
        i, f, g, o = (from_inputs + from_hidden).chunk(4, dim=-1)
        memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * memory.tanh()
        projected = linear(hidden, projection[0]) if projection else hidden
        return projected, (projected, memory)

    @override
    def as_torch(self) -> nn.RNNBase:
        return self.lstm


def _width(hidden_size: int, projection_ratio: Value) -> int:
    rounded = math.floor(float(projection_ratio) * hidden_size + 0.5)
    return max(1, min(rounded, hidden_size - 1))
