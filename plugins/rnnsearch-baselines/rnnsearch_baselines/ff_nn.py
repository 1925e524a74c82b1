"""A feed-forward net that sees the whole sequence as one vector."""

from __future__ import annotations

from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import Choice, IntRange, SequenceModel, SequenceShape, Value


class FFNN(SequenceModel):
    """Feed-forward net with two sigmoid layers on the flattened sequence.

        z = [x_1; ...; x_T]
        y = A_3 sigmoid(A_2 sigmoid(A_1 z + b_1) + b_2) + b_3

    Source: Galatolo, Cimino, Vaglini, "Using stigmergy as a computational memory in the design of
    recurrent neural networks", ICPRAM 2019, arXiv:1903.01341, Table 1, the FF-NN: 784-300-300-10,
    with 328810 parameters. Departure: the published net passes its outputs through a sigmoid before
    the cross-entropy, which keeps the loss above about 1.46 for ten classes; `output="sigmoid"`
    does that, but it is not the default.

    Shapes:
        inputs: `(time, batch, input_size)`, where `time` is the length of the task's sequences
        output: `(batch, output_size)`

    Args:
        shape: the task's sequences, all of one length.
        hidden_size: units of the first layer.
        second_size: units of the second layer; 0 takes `hidden_size`.
        output: `identity` or `sigmoid`.
    """

    structure = {"second_size": IntRange(0, 1 << 20, default=0, searched=False)}
    hyperparameters = {
        "output": Choice(("identity", "sigmoid"), default="identity", searched=False)
    }
    fine_size = "second_size"

    def __init__(
        self, shape: SequenceShape, hidden_size: int, second_size: int = 0, output: str = "identity"
    ) -> None:
        super().__init__(shape, hidden_size)
        second_size = second_size or hidden_size
        self.network = nn.Sequential(
            nn.Linear(_flattened_size(shape), hidden_size),
            nn.Sigmoid(),
            nn.Linear(hidden_size, second_size),
            nn.Sigmoid(),
            nn.Linear(second_size, shape.output_size),
            nn.Sigmoid() if output == "sigmoid" else nn.Identity(),
        )

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
        cls, shape: SequenceShape, hidden_size: int, second_size: Value = 0, **structure: Value
    ) -> int:
        """Three affine maps."""
        second = int(second_size) or hidden_size
        first_layer = (_flattened_size(shape) + 1) * hidden_size
        return first_layer + (hidden_size + 1) * second + (second + 1) * shape.output_size

    @override
    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        output: Tensor = self.network(inputs.transpose(0, 1).flatten(1))
        return output


def _flattened_size(shape: SequenceShape) -> int:
    if shape.length is None:
        msg = "FFNN needs sequences of one length"
        raise ValueError(msg)
    return shape.length * shape.input_size
