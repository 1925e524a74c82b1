"""The highway network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import (
    Capabilities,
    Choice,
    FloatRange,
    IntRange,
    SequenceModel,
    SequenceShape,
    Value,
)


class Highway(SequenceModel):
    """Deep feed-forward net on the flattened sequence, with gates that let values bypass a layer.

        z = f(A [x_1; ...; x_T] + a)
        z <- T(z) * H(z) + (1 - T(z)) * z,   for each layer, with
            H(z) = f(W_H z + b_H),   T(z) = sigmoid(W_T z + b_T)
        y = C z + c

    with `*` elementwise and `f` the rectifier or tanh. `b_T` starts at `gate_bias`, below zero, so
    that values and gradients initially pass almost unchanged at any depth.

    Source: Srivastava, Greff and Schmidhuber, "Training very deep networks", NIPS 2015,
    arXiv:1507.06228. Reconstructed from descriptions of the paper, without its text. Departure:
    with `last_size`, a plain layer of that width is added before the output to meet a parameter
    budget.

    Shapes:
        inputs: `(time, batch, input_size)`, where `time` is the length of the task's sequences
        output: `(batch, output_size)`

    Args:
        shape: the task's sequences, all of one length.
        hidden_size: units of each layer.
        layers: highway layers.
        last_size: units of a plain layer before the output; 0 for none.
        gate_bias: initial value of `b_T`.
        activation: `relu` or `tanh`.
    """

    structure = {
        "layers": IntRange(1, 50, default=10),
        "last_size": IntRange(0, 1 << 20, default=0, searched=False),
    }
    hyperparameters = {
        "gate_bias": FloatRange(-10.0, 0.0, default=-2.0),
        "activation": Choice(("relu", "tanh"), default="relu", searched=False),
    }
    capabilities = Capabilities(causal=False)
    fine_size = "last_size"

    def __init__(
        self,
        shape: SequenceShape,
        hidden_size: int,
        layers: int = 10,
        last_size: int = 0,
        gate_bias: float = -2.0,
        activation: str = "relu",
    ) -> None:
        super().__init__(shape, hidden_size)
        function = nn.ReLU if activation == "relu" else nn.Tanh
        self.first = nn.Sequential(nn.Linear(_flattened_size(shape), hidden_size), function())
        self.layers = nn.Sequential(
            *(HighwayLayer(hidden_size, gate_bias, function()) for _ in range(layers))
        )
        self.last = nn.Sequential()
        if last_size:
            self.last = nn.Sequential(nn.Linear(hidden_size, last_size), function())
        self.output_map = nn.Linear(last_size or hidden_size, shape.output_size)

    @classmethod
    @override
    def refusal(cls, shape: SequenceShape) -> str | None:
        if shape.length is None:
            return "it reads all steps at once, so every sequence must have the same length"
        if shape.readout == "every_step":
            return "it reads all steps at once and cannot give an output at every step"
        return None

    @classmethod
    @override
    def parameter_count(
        cls,
        shape: SequenceShape,
        hidden_size: int,
        layers: Value = 10,
        last_size: Value = 0,
        **structure: Value,
    ) -> int:
        """The first layer, two affine maps per highway layer, and the layers after them."""
        last = int(last_size)
        count = (_flattened_size(shape) + 1) * hidden_size
        count += int(layers) * 2 * (hidden_size + 1) * hidden_size
        count += (hidden_size + 1) * last
        return count + ((last or hidden_size) + 1) * shape.output_size

    @override
    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        values = self.layers(self.first(inputs.transpose(0, 1).flatten(1)))
        output: Tensor = self.output_map(self.last(values))
        return output


class HighwayLayer(nn.Module):
    """A layer that a gate mixes with its own input.

    Shapes:
        values: `(batch, features)`
        output: `(batch, features)`

    Args:
        features: width.
        gate_bias: initial bias of the gate.
        activation: activation of the layer.
    """

    def __init__(self, features: int, gate_bias: float, activation: nn.Module) -> None:
        super().__init__()
        self.transform_and_gate = nn.Linear(features, 2 * features)
        self.activation = activation
        nn.init.constant_(self.transform_and_gate.bias[features:], gate_bias)

    @override
    def forward(self, values: Tensor) -> Tensor:
        transform, gate = self.transform_and_gate(values).chunk(2, dim=-1)
        gate = torch.sigmoid(gate)
        mixed: Tensor = gate * self.activation(transform) + (1 - gate) * values
        return mixed


def _flattened_size(shape: SequenceShape) -> int:
    if shape.length is None:
        msg = "Highway needs sequences of one length"
        raise ValueError(msg)
    return shape.length * shape.input_size
