"""Handmade models whose memory is known in advance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnsearch import (
    DataSource,
    Examples,
    ModelSpec,
    RecurrentCell,
    SequenceShape,
    State,
    Task,
    TrainedModel,
    Value,
    mean_squared_error,
)
from rnnsearch.budget.model import RecurrentModel
from rnnsearch.plugin.layers import Bidirectional, Stacked, Unrolled
from rnnsearch.spec.trial import TrainingConfig, TrialSpec

LookAt: TypeAlias = Callable[..., TrainedModel]


class HandMadeCell(RecurrentCell):
    """A step that a test supplies: `(inputs, memory)` to the next memory, which is the output."""

    def __init__(
        self, input_size: int, hidden_size: int, step: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.step = step
        self.anchor = nn.Parameter(torch.zeros(1))

    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return 1

    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        memory = self.step(inputs, state[0])
        return memory, (memory,)


class _HandMadeTask(Task):
    metric, direction, no_skill = "mean_squared_error", "minimize", 1.0
    loss = score = mean_squared_error

    def __init__(self, shape: SequenceShape) -> None:
        super().__init__()
        self._shape = shape

    @property
    def shape(self) -> SequenceShape:
        return self._shape

    def find(self) -> DataSource:
        raise NotImplementedError

    def load(self, source: DataSource, split: Any) -> Examples:
        raise NotImplementedError


@pytest.fixture
def look_at() -> LookAt:
    """Put cells, one per layer, into a trained model without a head, with its samples.

    Shapes:
        inputs: `(samples, time, input_size)`
    """

    def make(
        *cells: RecurrentCell,
        inputs: np.ndarray,
        lengths: np.ndarray | None = None,
        targets: np.ndarray | None = None,
        readout: str = "last_step",
        bidirectional: bool = False,
    ) -> TrainedModel:
        layers: list[Any]
        if bidirectional:
            ways = iter(cells)
            layers = [Bidirectional(lambda: Unrolled(next(ways)))]
        else:
            layers = [Unrolled(cell) for cell in cells]
        if lengths is not None:
            readout = "masked_step"
        model = RecurrentModel(Stacked(layers), nn.Identity(), readout, bidirectional=bidirectional)
        width = cells[-1].hidden_size * (2 if bidirectional else 1)
        shape = SequenceShape(inputs.shape[2], width, None, readout)
        if targets is None:
            targets = np.zeros((len(inputs), width))
        spec = TrialSpec(
            "confirmation",
            ModelSpec("elman", shape, cells[-1].hidden_size),
            TrainingConfig(1, 4, 0.01),
            0,
            "hand_made",
            {},
            0,
            0.0,
            label="hand made",
        )
        examples = Examples(inputs, targets, lengths)
        return TrainedModel(spec, _HandMadeTask(shape), model.eval(), examples)

    return make


@pytest.fixture
def cell_of() -> Callable[..., RecurrentCell]:
    """Make a cell from a step: input size, memory size, `(inputs, memory)` to the next memory."""
    return HandMadeCell
