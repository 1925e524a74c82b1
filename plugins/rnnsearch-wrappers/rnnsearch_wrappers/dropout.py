"""Dropout around the step of a cell."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from rnnsearch import CellWrapper, Choice, FloatRange, Parameters, RecurrentCell, State


class Dropout(CellWrapper):
    """Randomly drops outputs, inputs and feedback in training.

        x_t <- x_t * m_t / (1 - input_rate)     before the step
        h_{t-1} <- h_{t-1} * m'_t               the first part of the cell's state, before the step
        y_t <- y_t * m''_t / (1 - rate)         after the step

    with masks `m` that are 0 with the probability of their rate, and 1 otherwise. They are drawn
    for each unit of each sample at each step, or once for a sequence (`per: sequence`), which is
    called variational dropout. In evaluation, inputs and outputs are unchanged and the feedback is
    multiplied by `1 - recurrent_rate`: the expectation of all three. The feedback is not scaled up
    in training, because in a cell that adds to it, it would grow by that factor at every step. If
    the first part of the state is the cell's memory itself (a GRU), dropping it means forgetting:
    zoneout is the usual choice there. With all rates 0 the cell is unchanged, bit for bit.

    Source: Hinton et al., "Improving neural networks by preventing co-adaptation of feature
    detectors", arXiv:1207.0580; between recurrent layers, by step: Zaremba, Sutskever and Vinyals,
    "Recurrent neural network regularization", arXiv:1409.2329; by sequence, also of the feedback:
    Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural
    networks", NIPS 2016, arXiv:1512.05287, section 4, where inputs are dropped as symbols.

    Shapes:
        inputs: `(batch, input_size)`
        state: that of the cell inside
        output: that of the cell inside

    Args:
        cell: the cell inside.
        output_size: width of its output.
        layer: index of this layer in the stack, from 0.
        rate: share of the outputs that is dropped.
        input_rate: share of the inputs that is dropped.
        recurrent_rate: share of the first part of the state that is dropped.
        per: `step` for new masks at every step, `sequence` for the same masks at all steps.
    """

    hyperparameters: ClassVar[Parameters] = {
        "rate": FloatRange(0.0, 0.9, default=0.2, searched=False),
        "input_rate": FloatRange(0.0, 0.9, default=0.0, searched=False),
        "recurrent_rate": FloatRange(0.0, 0.9, default=0.0, searched=False),
        "per": Choice(("step", "sequence"), default="step", searched=False),
    }

    def __init__(
        self,
        cell: RecurrentCell,
        output_size: int,
        layer: int = 0,
        rate: float = 0.2,
        input_rate: float = 0.0,
        recurrent_rate: float = 0.0,
        per: str = "step",
    ) -> None:
        super().__init__(cell, output_size, layer)
        self.rate, self.input_rate, self.recurrent_rate = rate, input_rate, recurrent_rate
        self.first = len(cell.initial_state(1)) - len(self.innermost.initial_state(1))
        fed_back = cell.initial_state(1)[self.first]
        if recurrent_rate and not (fed_back.is_floating_point() or fed_back.is_complex()):
            msg = f"the first part of the state is {fed_back.dtype}: set `recurrent_rate` to 0"
            raise ValueError(msg)
        # Random numbers for inputs, feedback and outputs.
        self.drawn = [
            cell.input_size if input_rate else 0,
            fed_back.numel() if recurrent_rate else 0,
            output_size if rate else 0,
        ]
        first, size = cell.noise_size, sum(self.drawn)
        self.noise_size = first + size
        if per == "sequence":
            self.held_noise = frozenset({*cell.held_noise, *range(first, first + size)})

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        parts = [self.input_size, self.cell.noise_size, *self.drawn]
        features, inside, of_inputs, of_state, of_outputs = inputs.split(parts, dim=-1)
        if self.training and self.input_rate:
            features = _dropped(features, of_inputs, self.input_rate) / (1 - self.input_rate)
        if self.recurrent_rate:
            before, fed_back, after = (
                state[: self.first],
                state[self.first],
                state[self.first + 1 :],
            )
            if self.training:
                fed_back = _dropped(fed_back, of_state, self.recurrent_rate)
            else:
                fed_back = (1 - self.recurrent_rate) * fed_back
            state = (*before, fed_back, *after)
        if self.cell.noise_size:
            features = torch.cat((features, inside), dim=-1)
        output, state = self.cell(features, state)
        if self.training and self.rate:
            output = _dropped(output, of_outputs, self.rate) / (1 - self.rate)
        return output, state


def _dropped(values: Tensor, noise: Tensor, rate: float) -> Tensor:
    return torch.where(noise.reshape(values.shape) < rate, 0.0, values)
