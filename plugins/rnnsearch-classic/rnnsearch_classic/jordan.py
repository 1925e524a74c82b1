"""Jordan's sequential network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import Choice, FloatRange, OutputSize, RecurrentCell, State, Value


class JordanCell(RecurrentCell):
    """Network with one hidden layer whose outputs are fed back through decaying state units.

        s_t = decay s_{t-1} + r(y_{t-1}),   s_1 = 0
        h_t = tanh(W x_t + U s_t + b)
        y_t = V h_t + c

    There is one state unit for each output, and it sees itself with the fixed weight `decay`. The
    outputs of the cell are the outputs of the model, so there is no head on top of it.

    Source: Jordan, "Serial order: a parallel distributed processing approach", Institute for
    Cognitive Science report 8604, University of California, San Diego, 1986. The equations are
    reconstructed. Departures:

        * Jordan's units are logistic. Here outputs are linear, because losses on logits and on
          real-valued targets require it. The fed-back value `r` is the logistic function of the
          outputs (`feedback="sigmoid"`, which is Jordan's network) or the outputs themselves
          (`feedback="identity"`, for targets outside the range from 0 to 1). Hidden units are tanh.
        * Inputs change at every step, whereas Jordan's `x` is the plan of a whole sequence.
        * No teacher forcing: the state units see the network's outputs in training too, and the
          gradient runs through them.

    Shapes:
        inputs: `(batch, input_size)`
        state: one tensor, `s (batch, outputs)`, for the next step
        output: `(batch, outputs)`, `y`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: hidden units.
        outputs: the task's number of outputs.
        decay: weight of a state unit's connection to itself.
        feedback: `sigmoid` or `identity`.
    """

    structure = {"outputs": OutputSize()}
    hyperparameters = {
        "decay": FloatRange(0.0, 0.99, default=0.5),
        "feedback": Choice(("sigmoid", "identity"), default="sigmoid", searched=False),
    }
    head = "identity"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        outputs: int = 2,
        decay: float = 0.5,
        feedback: str = "sigmoid",
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.outputs = outputs
        self.decay = decay
        self.feedback = feedback
        self.hidden = nn.Linear(input_size + outputs, hidden_size)
        self.output = nn.Linear(hidden_size, outputs)

    @classmethod
    @override
    def parameter_count(
        cls, input_size: int, hidden_size: int, outputs: Value = 2, **structure: Value
    ) -> int:
        """The affine maps to the hidden units and to the outputs."""
        hidden = (input_size + int(outputs) + 1) * hidden_size
        return hidden + (hidden_size + 1) * int(outputs)

    @classmethod
    @override
    def state_size(
        cls, input_size: int, hidden_size: int, outputs: Value = 2, **structure: Value
    ) -> int:
        return int(outputs)

    @classmethod
    @override
    def output_size(
        cls, input_size: int, hidden_size: int, outputs: Value = 2, **structure: Value
    ) -> int:
        return int(outputs)

    @override
    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.outputs),)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (units,) = state
        hidden = torch.tanh(self.hidden(torch.cat((inputs, units), dim=-1)))
        output = self.output(hidden)
        fed_back = torch.sigmoid(output) if self.feedback == "sigmoid" else output
        return output, (self.decay * units + fed_back,)
