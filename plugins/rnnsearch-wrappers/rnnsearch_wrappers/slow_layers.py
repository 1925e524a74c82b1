"""A stack whose higher layers step less often."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from rnnsearch import CellWrapper, IntRange, Parameters, RecurrentCell, State, Value


class SlowLayers(CellWrapper):
    """Lets layer l of a stack step once every `period`^l steps; in between it keeps its state.

        s_t, y_t = cell(x_t, s_{t-1})    if t is a multiple of period^l (t = 0, 1, ...)
                 = s_{t-1}, y_{t-1}      otherwise

    The first layer (l = 0) always steps. A higher layer sees the newest output of the layer below
    when it steps, so it reads a sequence that is `period` times shorter. With a period of 1 this is
    the plain stack.

    Source: El Hihi and Bengio, "Hierarchical recurrent neural networks for long-term dependencies",
    NIPS 1995, whose levels have different time scales. Departure: there the levels are one net with
    delays of several lengths; here they are a stack.

    Shapes:
        inputs: `(batch, input_size)`
        state: for a layer above the first, the steps taken so far `(batch, 1)` and the held output
            `(batch, output_size)`, then the state of the cell inside
        output: that of the cell inside

    Args:
        cell: the cell inside.
        output_size: width of its output.
        layer: index of this layer in the stack, from 0.
        period: how many times less often each layer steps than the one below.
    """

    hyperparameters: ClassVar[Parameters] = {"period": IntRange(1, 64, default=2, searched=False)}

    def __init__(
        self, cell: RecurrentCell, output_size: int, layer: int = 0, period: int = 2
    ) -> None:
        super().__init__(cell, output_size, layer)
        self.every = period**layer

    @classmethod
    @override
    def state_size(
        cls, input_size: int, hidden_size: int, layer: Value = 0, **structure: Value
    ) -> int:
        return 1 + hidden_size if layer else 0

    @classmethod
    @override
    def idle(
        cls, input_size: int, hidden_size: int, layer: Value = 0, **options: Value
    ) -> str | None:
        return None if layer else "the first layer of a stack steps always"

    @override
    def initial_state(self, batch_size: int) -> State:
        state = self.cell.initial_state(batch_size)
        if not self.layer:
            return state
        return (self.zeros(batch_size, 1), self.zeros(batch_size, self.width), *state)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        if not self.layer:
            return self.cell(inputs, state)  # type: ignore[no-any-return]
        taken, held, *inside = state
        output, after = self.cell(inputs, tuple(inside))
        # Half a step added, so that no rounding of the count can reach the edge.
        steps = torch.fmod(taken + 0.5, self.every) < 1
        output = torch.where(steps, output, held)
        kept = tuple(
            torch.where(steps.view(-1, *[1] * (old.dim() - 1)), new, old)
            for new, old in zip(after, inside, strict=True)
        )
        return output, (taken + 1, output, *kept)
