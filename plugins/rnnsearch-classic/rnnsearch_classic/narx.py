"""The NARX network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import IntRange, OutputSize, RecurrentCell, State, Value


class NARXCell(RecurrentCell):
    """Network with one hidden layer that sees delayed inputs and its own delayed outputs.

        h_t = tanh(W [x_t; ...; x_{t-d_x}; y_{t-1}; ...; y_{t-d_y}] + b)
        y_t = V h_t + c

    with zeros before the first step: a nonlinear autoregressive model with exogenous inputs. The
    outputs of the cell are the outputs of the model, so there is no head on top of it. If the
    weights of the delayed outputs are zero, it is a time-delay network, whose response to an input
    ends after `d_x` further steps.

    Source: Siegelmann, Horne and Giles, "Computational capabilities of recurrent NARX neural
    networks", IEEE Transactions on Systems, Man, and Cybernetics B 27, 1997, the equation of the
    abstract. The multilayer perceptron with one hidden layer of tanh units and linear outputs is
    reconstructed. Outputs are fed back unchanged, without squashing. Departure: no teacher
    forcing; the delayed outputs are the network's own in training too, and the gradient runs
    through them.

    Shapes:
        inputs: `(batch, input_size)`
        state: the delayed inputs `(batch, input_delays * input_size)` and the delayed outputs
            `(batch, output_delays * outputs)`, latest first; the former is left out where
            `input_delays` is 0
        output: `(batch, outputs)`, `y`

    Args:
        input_size: features per time step, at least 1.
        hidden_size: hidden units.
        outputs: the task's number of outputs.
        input_delays: `d_x`.
        output_delays: `d_y`.
    """

    structure = {
        "outputs": OutputSize(),
        "input_delays": IntRange(0, 16, default=2, searched=False),
        "output_delays": IntRange(1, 16, default=2, searched=False),
    }
    head = "identity"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        outputs: int = 2,
        input_delays: int = 2,
        output_delays: int = 2,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.input_line = input_delays * input_size
        self.output_line = output_delays * outputs
        self.hidden = nn.Linear(input_size + self.input_line + self.output_line, hidden_size)
        self.output = nn.Linear(hidden_size, outputs)

    @classmethod
    @override
    def parameter_count(
        cls,
        input_size: int,
        hidden_size: int,
        outputs: Value = 2,
        input_delays: Value = 2,
        output_delays: Value = 2,
        **structure: Value,
    ) -> int:
        """The affine maps to the hidden units and to the outputs."""
        seen = (int(input_delays) + 1) * input_size + int(output_delays) * int(outputs)
        return (seen + 1) * hidden_size + (hidden_size + 1) * int(outputs)

    @classmethod
    @override
    def state_size(
        cls,
        input_size: int,
        hidden_size: int,
        outputs: Value = 2,
        input_delays: Value = 2,
        output_delays: Value = 2,
        **structure: Value,
    ) -> int:
        return int(input_delays) * input_size + int(output_delays) * int(outputs)

    @classmethod
    @override
    def output_size(
        cls, input_size: int, hidden_size: int, outputs: Value = 2, **structure: Value
    ) -> int:
        return int(outputs)

    @override
    def initial_state(self, batch_size: int) -> State:
        sizes = (self.input_line, self.output_line)
        return tuple(self.zeros(batch_size, size) for size in sizes if size)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        *delayed_inputs, delayed_outputs = state
        window = torch.cat((inputs, *delayed_inputs), dim=-1)
        hidden = torch.tanh(self.hidden(torch.cat((window, delayed_outputs), dim=-1)))
        output = self.output(hidden)
        delayed_outputs = torch.cat((output, delayed_outputs), dim=-1)[:, : self.output_line]
        if not self.input_line:
            return output, (delayed_outputs,)
        return output, (window[:, : self.input_line], delayed_outputs)
