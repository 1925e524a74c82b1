"""Record what the layers of a model do on samples, step by step, without changing the model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor, nn

from rnnsearch import RecurrentCell, State, TrainedModel

# Called at every step with the cell, its inputs and the state before; returns the step's result.
Step: TypeAlias = Callable[[RecurrentCell, Tensor, State], tuple[Tensor, State]]


@dataclass(frozen=True)
class Recording:
    """The memory of one layer on some samples.

    Attributes:
        key: the layer, as part of a file name; empty if there is only one.
        memory: the cell's memory, as it defines it, after each step, `(time, batch, units)`;
            absolute values if it is complex.
        valid: whether a step is part of its sequence, `(time, batch)`; padding is not.
    """

    key: str
    memory: Tensor
    valid: Tensor

    @property
    def title(self) -> str:
        """The layer, in words; empty if there is only one."""
        return self.key.replace("_", " ")

    def of_sample(self, sample: int) -> Tensor:
        """The memory over one sequence without its padding, `(time, units)`."""
        return self.memory[: int(self.valid[:, sample].sum()), sample]


def no_layers(trained: TrainedModel) -> str | None:
    """Reason if a model has no layers that step through time, else None."""
    return None if trained.layers else "it takes whole sequences at once: no layer steps in time"


def layer_keys(model: nn.Module, layers: list[nn.Module]) -> list[str]:
    """Names of layers that can be part of a file name; empty for the only layer of a model."""
    paths = {id(module): path for path, module in model.named_modules()}
    directions = [paths[id(layer)].rpartition(".")[2] for layer in layers]
    directions = [d if d in ("forwards", "backwards") else "" for d in directions]
    numbers: list[int] = []
    for direction in directions:
        before = numbers[-1] if numbers else 0
        numbers.append(before if direction == "backwards" else before + 1)
    return [
        "_".join(filter(None, (f"layer_{number}" if numbers[-1] > 1 else "", direction)))
        for number, direction in zip(numbers, directions, strict=True)
    ]


def watched(trained: TrainedModel, steps: Callable[[int], Step]) -> TrainedModel:
    """A copy of a model whose layer `i` steps with `steps(i)`.

    Every layer runs eagerly, one step after the other. A layer that reads backwards gets its
    sequence reversed, so its steps are in its own order.
    """

    def run(step: Step) -> Callable[[RecurrentCell, Tensor, State], tuple[Tensor, State]]:
        def run_layer(cell: RecurrentCell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
            outputs = []
            for step_inputs in inputs.unbind(0):
                output, state = step(cell, step_inputs, state)
                outputs.append(output)
            return torch.stack(outputs), state

        return run_layer

    twin = replace(trained, model=copy.deepcopy(trained.model))
    for index, layer in enumerate(twin.layers):
        layer.run = run(steps(index))
    return twin


def valid_steps(inputs: Tensor, lengths: Tensor | None) -> Tensor:
    """Whether a step is part of its sequence, `(time, batch)`."""
    steps, batch = inputs.shape[:2]
    if lengths is None:
        return torch.ones(steps, batch, dtype=torch.bool)
    return torch.arange(steps).unsqueeze(1) < lengths


@torch.no_grad()
def record(trained: TrainedModel, samples: int) -> list[Recording]:
    """Run the first samples through a model and keep the memory of each layer."""
    memories: list[list[Tensor]] = [[] for _ in trained.layers]

    def remember(index: int) -> Step:
        def step(cell: RecurrentCell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
            output, state = cell(inputs, state)
            memory = cell.memory_state(state)
            memories[index].append((memory.abs() if memory.is_complex() else memory).double())
            return output, state

        return step

    twin = watched(trained, remember)
    inputs, lengths = twin.inputs(0, samples)
    twin.model(inputs, lengths)
    valid = valid_steps(inputs, lengths)
    return [
        Recording(key, torch.stack(memory), valid)
        for key, memory in zip(layer_keys(twin.model, [*twin.layers]), memories, strict=True)
    ]
