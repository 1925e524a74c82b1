"""Layers over time: a cell unrolled, stacked, run in both directions, with a learned start."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from rnnsearch.cell import RecurrentCell, State


def run_eagerly(cell: RecurrentCell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Step through a sequence: the definition of what a cell computes.

    Shapes:
        inputs: `(time, batch, input_size)`
        outputs: `(time, batch, output_size)`
    """
    outputs = []
    for step_inputs in inputs.unbind(0):
        output, state = cell(step_inputs, state)
        outputs.append(output)
    return torch.stack(outputs), state


def run_as_torch(cell: RecurrentCell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run a whole sequence through the `torch.nn` layer that equals the cell."""
    layer = cell.as_torch()
    assert layer is not None, "asked for by `engines`"
    hidden = tuple(part.unsqueeze(0) for part in state)
    outputs, last = layer(inputs, hidden if isinstance(layer, nn.LSTM) else hidden[0])
    return outputs, tuple(p.squeeze(0) for p in (last if isinstance(last, tuple) else (last,)))


# Runs a cell over a sequence: inputs and state to outputs and last state, as `run_eagerly`.
Run: TypeAlias = Callable[[RecurrentCell, Tensor, State], tuple[Tensor, State]]


class Unrolled(nn.Module):
    """A cell run over the time axis.

    `run` says how; None is the step-by-step loop, which defines what every other way must give.

    Shapes:
        inputs: `(time, batch, input_size)`
        output: `(time, batch, output_size)`

    Args:
        cell: the cell.
        learned_initial_state: add a trained offset, zero at first, to the cell's initial state.
    """

    def __init__(self, cell: RecurrentCell, *, learned_initial_state: bool = False) -> None:
        super().__init__()
        self.cell = cell
        self.run: Run | None = None
        parts = cell.initial_state(1) if learned_initial_state else ()
        self.initial_offsets = nn.ParameterList(torch.zeros_like(part) for part in parts)

    def initial_state(self, batch_size: int) -> State:
        """State before the first step."""
        state = self.cell.initial_state(batch_size)
        if not len(self.initial_offsets):
            return state
        return tuple(part + off for part, off in zip(state, self.initial_offsets, strict=True))

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.continued(inputs, self.initial_state(inputs.shape[1]))[0]

    def continued(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run on from a state, and hand back where it ends: truncated backpropagation."""
        if self.cell.noise_size:
            shape = (*inputs.shape[:2], self.cell.noise_size)
            drawn = torch.rand(shape, device=inputs.device, dtype=inputs.dtype)
            noise = drawn if self.training else torch.full_like(drawn, 0.5)
            inputs = torch.cat((inputs, noise), dim=-1)
        return (self.run or run_eagerly)(self.cell, inputs, state)


class Bidirectional(nn.Module):
    """Two layers, one reading each sequence backwards from its own end; outputs side by side.

    Source: Schuster and Paliwal, "Bidirectional recurrent neural networks", 1997.

    Shapes:
        inputs: `(time, batch, input_size)`
        lengths: `(batch,)`, or None where every sequence fills the time axis
        output: `(time, batch, 2 * output_size)`
    """

    def __init__(self, make_layer: Callable[[], Unrolled]) -> None:
        super().__init__()
        self.forwards = make_layer()
        self.backwards = make_layer()

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        reverse = reversed_steps(len(inputs), inputs.shape[1], lengths, inputs.device)
        backward = _take_steps(self.backwards(_take_steps(inputs, reverse)), reverse)
        return torch.cat((self.forwards(inputs), backward), dim=-1)


def reversed_steps(
    steps: int, batch_size: int, lengths: Tensor | None, device: torch.device
) -> Tensor:
    """Index `(time, batch)` that reverses each sequence within its length and keeps the padding."""
    time = torch.arange(steps, device=device).unsqueeze(1).expand(steps, batch_size)
    if lengths is None:
        return time.flip(0)
    return torch.where(time < lengths, lengths - 1 - time, time)


def _take_steps(sequence: Tensor, index: Tensor) -> Tensor:
    return sequence.gather(0, index.unsqueeze(-1).expand(*index.shape, sequence.shape[-1]))


class Stacked(nn.Module):
    """Layers one after the other.

    Source: Graves, "Generating sequences with recurrent neural networks", arXiv:1308.0850.
    """

    def __init__(self, layers: list[Unrolled | Bidirectional]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            inputs = layer(inputs, lengths)
        return inputs
