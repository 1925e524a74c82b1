"""Layers over time: a cell unrolled, stacked, run in both directions, with a learned start."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch.plugin.cell import RecurrentCell, State
from rnnsearch.plugin.noise import fresh_keys, layer_keys, uniform


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
        keys: `(batch, 2)`, what a cell's noise follows from (see `rnnsearch.plugin.noise`);
            drawn from torch's global generator if absent
        output: `(time, batch, output_size)`

    Args:
        cell: the cell.
        learned_initial_state: add a trained offset, zero at first, to each part of the cell's
            initial state that can be trained: integers stay as the cell has them.
    """

    def __init__(self, cell: RecurrentCell, *, learned_initial_state: bool = False) -> None:
        super().__init__()
        self.cell = cell
        self.run: Run | None = None
        parts = cell.initial_state(1) if learned_initial_state else ()
        self.initial_offsets = nn.ParameterList(
            torch.zeros_like(in_reals(part)) for part in parts if can_be_trained(part)
        )

    def initial_state(self, batch_size: int) -> State:
        """State before the first step."""
        state = self.cell.initial_state(batch_size)
        if not len(self.initial_offsets):
            return state
        offsets = iter(self.initial_offsets)
        return tuple(
            _moved(part, next(offsets)) if can_be_trained(part) else part for part in state
        )

    @override
    def forward(
        self, inputs: Tensor, lengths: Tensor | None = None, keys: Tensor | None = None
    ) -> Tensor:
        state = self.initial_state(inputs.shape[1])
        return self.continued(self.with_noise(inputs, keys), state)[0]

    def with_noise(self, inputs: Tensor, keys: Tensor | None = None) -> Tensor:
        """Inputs of a whole sequence and, behind them, the noise that the cell asks for."""
        size = self.cell.noise_size
        if not size:
            return inputs
        steps, batch, _ = inputs.shape
        if self.training:
            keys = fresh_keys(batch, inputs.device) if keys is None else keys
            drawn = uniform(keys, steps, size, self.cell.held_noise).to(inputs.dtype)
        else:
            drawn = inputs.new_full((steps, batch, size), 0.5)
        return torch.cat((inputs, drawn), dim=-1)

    def continued(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run on from a state, and hand back where it ends: truncated backpropagation.

        Args:
            inputs: with the noise behind them (see `with_noise`).
            state: where to begin.
        """
        return (self.run or run_eagerly)(self.cell, inputs, state)


def can_be_trained(part: Tensor) -> bool:
    """Whether a part of a state is made of numbers that have gradients."""
    return part.is_floating_point() or part.is_complex()


def in_reals(part: Tensor) -> Tensor:
    """A part of a state in reals: of complex numbers both parts, side by side in a last axis."""
    return torch.view_as_real(part) if part.is_complex() else part


def _moved(part: Tensor, offset: Tensor) -> Tensor:
    # Not by a view: wherever the offset may lie (see `optimizers`).
    return part + (torch.complex(offset[..., 0], offset[..., 1]) if part.is_complex() else offset)


class Bidirectional(nn.Module):
    """Two layers, one reading each sequence backwards from its own end; outputs side by side.

    Source: Schuster and Paliwal, "Bidirectional recurrent neural networks", 1997.

    Shapes:
        inputs: `(time, batch, input_size)`
        lengths: `(batch,)`, or None where every sequence fills the time axis
        keys: as for `Unrolled`; each direction draws its own noise
        output: `(time, batch, 2 * output_size)`
    """

    def __init__(self, make_layer: Callable[[], Unrolled]) -> None:
        super().__init__()
        self.forwards = make_layer()
        self.backwards = make_layer()

    @override
    def forward(
        self, inputs: Tensor, lengths: Tensor | None = None, keys: Tensor | None = None
    ) -> Tensor:
        ahead, back = (None, None) if keys is None else (layer_keys(keys, i) for i in range(2))
        reverse = reversed_steps(len(inputs), inputs.shape[1], lengths, inputs.device)
        backward = _take_steps(self.backwards(_take_steps(inputs, reverse), keys=back), reverse)
        return torch.cat((self.forwards(inputs, keys=ahead), backward), dim=-1)


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

    @override
    def forward(
        self, inputs: Tensor, lengths: Tensor | None = None, keys: Tensor | None = None
    ) -> Tensor:
        for number, layer in enumerate(self.layers):
            inputs = layer(inputs, lengths, None if keys is None else layer_keys(keys, number))
        return inputs
