"""Zoneout: units that keep their old value at random."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from rnnsearch import CellWrapper, FloatRange, Parameters, RecurrentCell, State


class Zoneout(CellWrapper):
    """Lets units of the state randomly keep their previous value in training.

        s_t = d_t * s_{t-1} + (1 - d_t) * s'_t,   d_t = 1 with probability `rate`, else 0
        s_t = rate * s_{t-1} + (1 - rate) * s'_t  in evaluation

    with `s'_t` the next state of the cell inside given `s_{t-1}`, and `d_t` drawn for each unit of
    each sample at each step. `rate` is the rate of the first part of the state (the hidden state of
    most cells), `cell_rate` that of the others (the memory of an LSTM). If the output is the first
    part of the state, it is that part after zoneout. Integers are unaffected, and so is the state
    of other wrappers inside; in a cell that counts its steps in floating point, the count falls
    behind. A part with a rate of 0 is unchanged, and with both rates 0 so is the whole cell, bit
    for bit.

    Source: Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations",
    ICLR 2017, arXiv:1606.01305, eqs. 3 to 5, where LSTMs of language models have 0.05 for `h` and
    0.5 for `c`.

    Shapes:
        inputs: `(batch, input_size)`
        state: that of the cell inside
        output: that of the cell inside

    Args:
        cell: the cell inside.
        output_size: width of its output.
        layer: index of this layer in the stack, from 0.
        rate: share of units of the first part of the state that keep their value.
        cell_rate: the same share for the other parts.
    """

    hyperparameters: ClassVar[Parameters] = {
        "rate": FloatRange(0.0, 0.9, default=0.05, searched=False),
        "cell_rate": FloatRange(0.0, 0.9, default=0.05, searched=False),
    }

    def __init__(
        self,
        cell: RecurrentCell,
        output_size: int,
        layer: int = 0,
        rate: float = 0.05,
        cell_rate: float = 0.05,
    ) -> None:
        super().__init__(cell, output_size, layer)
        parts = cell.initial_state(1)
        units = len(self.innermost.initial_state(1))
        self.first = len(parts) - units
        rates = [*[0.0] * self.first, rate, *[cell_rate] * (units - 1)]
        self.rates = [r if _has_units(part) else 0.0 for r, part in zip(rates, parts, strict=True)]
        # Random numbers for each part.
        self.drawn = [part.numel() if r else 0 for r, part in zip(self.rates, parts, strict=True)]
        self.noise_size = cell.noise_size + sum(self.drawn)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        given = self.input_size + self.cell.noise_size
        inside, *noise = inputs.split([given, *self.drawn], dim=-1)
        output, after = self.cell(inside, state)
        zoned = tuple(map(self._zoned, self.rates, noise, state, after))
        return (zoned[self.first] if output is after[self.first] else output), zoned

    def _zoned(self, rate: float, noise: Tensor, old: Tensor, new: Tensor) -> Tensor:
        if not rate:
            return new
        if not self.training:
            return rate * old + (1 - rate) * new
        return torch.where(noise.reshape(old.shape) < rate, old, new)


def _has_units(part: Tensor) -> bool:
    return part.is_floating_point() or part.is_complex()
