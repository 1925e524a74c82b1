"""The recurrent multilayer perceptron."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import IntRange, RecurrentCell, State, Value


class Subnetwork(nn.Module):
    """Feed-forward layers, then one layer that also sees its own previous output.

        z_t = f(V_n ... f(V_1 i_t + a_1) ... + a_n)
        o_t = f(W z_t + b + U o_{t-1})

    Shapes:
        inputs: `(batch, input_size)`
        previous: `(batch, size)`
        output: `(batch, size)`

    Args:
        input_size: inputs.
        size: units of every layer.
        hidden_layers: feed-forward layers before the recurrent one.
    """

    def __init__(self, input_size: int, size: int, hidden_layers: int) -> None:
        super().__init__()
        widths = [input_size] + [size] * hidden_layers
        self.hidden = nn.ModuleList(nn.Linear(width, size) for width in widths[:-1])
        self.output = nn.Linear(widths[-1], size)
        self.feedback = nn.Linear(size, size, bias=False)

    @override
    def forward(self, inputs: Tensor, previous: Tensor) -> Tensor:
        for layer in self.hidden:
            inputs = torch.tanh(layer(inputs))
        return torch.tanh(self.output(inputs) + self.feedback(previous))


class RMLPCell(RecurrentCell):
    """Cascade of small feed-forward networks; the last layer of each feeds back to itself.

    With `o^0_t = x_t`, for the subnetworks j = 1, 2, ...

        z^j_t = f(...) of o^{j-1}_t through the feed-forward layers of subnetwork j
        o^j_t = f(W^j z^j_t + b^j + U^j o^j_{t-1}),   o^j_0 = 0

    and the output is that of the last subnetwork. `f` is tanh.

    Source: Puskorius and Feldkamp, "Neurocontrol of nonlinear dynamical systems with Kalman filter
    trained recurrent networks", IEEE Transactions on Neural Networks 5, 1994; Tutschku, "Recurrent
    multilayer perceptrons for identification and control: the road to applications", University of
    Wuerzburg, 1995. The equations are reconstructed from descriptions of these networks: cascaded
    subnetworks, feed-forward except for their last layer, joined by feed-forward connections alone.
    Departures: all layers have one width, and a head takes the place of the last, linear layer.

    One subnetwork without hidden layers is Elman's network; several without hidden layers are the
    same number of stacked Elman networks.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor for each subnetwork, its output `(batch, hidden_size)`
        output: `(batch, hidden_size)`, the output of the last subnetwork

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units of every layer.
        subnetworks: networks in the cascade.
        hidden_layers: feed-forward layers in each, before the one with feedback.
    """

    structure = {
        "subnetworks": IntRange(1, 4, default=2),
        "hidden_layers": IntRange(0, 3, default=1),
    }

    def __init__(
        self, input_size: int, hidden_size: int, subnetworks: int = 2, hidden_layers: int = 1
    ) -> None:
        super().__init__(input_size, hidden_size)
        widths = [input_size] + [hidden_size] * (subnetworks - 1)
        self.subnetworks = nn.ModuleList(
            Subnetwork(width, hidden_size, hidden_layers) for width in widths
        )

    @classmethod
    @override
    def parameter_count(
        cls,
        input_size: int,
        hidden_size: int,
        subnetworks: Value = 2,
        hidden_layers: Value = 1,
        **structure: Value,
    ) -> int:
        """Affine maps, the first of which sees the inputs, and the feedback of each subnetwork."""
        affine_maps = int(subnetworks) * (int(hidden_layers) + 1)
        first = (input_size + 1) * hidden_size
        others = (affine_maps - 1) * (hidden_size + 1) * hidden_size
        return first + others + int(subnetworks) * hidden_size * hidden_size

    @classmethod
    @override
    def state_size(
        cls, input_size: int, hidden_size: int, subnetworks: Value = 2, **structure: Value
    ) -> int:
        return int(subnetworks) * hidden_size

    @override
    def initial_state(self, batch_size: int) -> State:
        return tuple(self.zeros(batch_size, self.hidden_size) for _ in self.subnetworks)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        outputs = []
        for subnetwork, previous in zip(self.subnetworks, state, strict=True):
            inputs = subnetwork(inputs, previous)
            outputs.append(inputs)
        return inputs, tuple(outputs)

    @override
    def memory_state(self, state: State) -> Tensor:
        return torch.cat(state, dim=-1)
