"""The gated recurrent unit."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

from rnnsearch import RecurrentCell, State, Value


class GRUCell(RecurrentCell):
    """Recurrent cell that interpolates between its previous state and a new candidate.

        r, z = sigmoid(W x_t + b + U h_{t-1} + b'),  one W, U, b, b' for each gate
        n = tanh(W_n x_t + b_n + r * (U_n h_{t-1} + b'_n))
        h_t = (1 - z) * n + z * h_{t-1},   h_0 = 0

    with `*` elementwise.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014,
    arXiv:1406.1078, Sec. 2.3. Departures, both shared with `torch.nn.GRU`, which this cell equals:
    the reset gate acts after the product with `U_n` and on its bias, whereas the paper has
    `U_n (r * h_{t-1})`, which is a different function; and each gate has two bias vectors. One of
    the two is redundant for `r` and `z`; `b'_n` is not, because `r` multiplies it.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor, `h (batch, hidden_size)`
        output: `(batch, hidden_size)`, the new `h`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gru = nn.GRU(input_size, hidden_size)

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        """Two gates and the candidate, each with weights of inputs and state and two biases."""
        return 3 * hidden_size * (input_size + hidden_size + 2)

    @classmethod
    @override
    def redundant_biases(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return 2 * hidden_size

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        weight_inputs, weight_hidden, bias_inputs, bias_hidden = self.gru.all_weights[0]
        from_inputs = linear(inputs, weight_inputs, bias_inputs)
        from_hidden = linear(hidden, weight_hidden, bias_hidden)
        input_r, input_z, input_n = from_inputs.chunk(3, dim=-1)
        hidden_r, hidden_z, hidden_n = from_hidden.chunk(3, dim=-1)
        r = (input_r + hidden_r).sigmoid()
        z = (input_z + hidden_z).sigmoid()
        n = (input_n + r * hidden_n).tanh()
        hidden = (1 - z) * n + z * hidden
        return hidden, (hidden,)

    @override
    def as_torch(self) -> nn.RNNBase:
        return self.gru
