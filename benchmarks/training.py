"""Blocks of whole training steps: as programs, and under torch's autograd."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from benchmarks.interleaving import STEPS, Block
from benchmarks.models import CLASSES
from rnnsearch.budget.model import RecurrentModel
from rnnsearch.engine.program import Data, Member, Program
from rnnsearch.plugin.losses import Classification
from rnnsearch.spec.trial import TrainingConfig
from rnnsearch.training.compiled_model import plan_program
from rnnsearch.training.engines import compile_layers, join_layers
from rnnsearch.training.optimizers import ModelOptimizer

_RATE = 1e-3


@dataclass(frozen=True)
class Sequences:
    """Random sequences to classify: as many batches as a block has steps.

    Attributes:
        length: time steps.
        batch_size: samples of a batch.
        features: features per time step.
    """

    length: int
    batch_size: int
    features: int

    @cached_property
    def inputs(self) -> Tensor:
        """`(samples, time, features)`."""
        random = torch.Generator().manual_seed(0)
        shape = (STEPS * self.batch_size, self.length, self.features)
        return torch.rand(shape, generator=random)

    @cached_property
    def targets(self) -> Tensor:
        """`(samples,)` classes."""
        random = torch.Generator().manual_seed(1)
        return torch.randint(0, CLASSES, (len(self.inputs),), generator=random)

    @cached_property
    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """Batches `(time, batch, features)` with their targets, cut and laid out beforehand."""
        pieces = self.inputs.split(self.batch_size)
        inputs = [piece.transpose(0, 1).contiguous() for piece in pieces]
        return list(zip(inputs, self.targets.split(self.batch_size), strict=True))


def program_block(models: Sequence[RecurrentModel], data: Sequences) -> tuple[Block, Program]:
    """Models as members of one program, each on a block of steps after the other; Adam."""
    plan = plan_program(models[0], Classification(), data.length, data.batch_size)
    members = [Member(model, plan, "adam", _RATE) for model in models]
    program = Program(plan, members[0].names)
    native = Data(data.inputs, data.targets, None, CLASSES)
    order = torch.arange(len(data.inputs))

    def block(steps: int) -> None:
        for member in members:
            program.run(
                member, native, order[: steps * data.batch_size], data.batch_size, train=True
            )

    return block, program


def autograd_block(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> Block:
    """Steps of torch: autograd, its cross-entropy, its fused Adam."""
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE, fused=True)

    def block(steps: int) -> None:
        for inputs, targets in batches[:steps]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()

    return block


def layers_block(model: RecurrentModel, data: Sequences) -> Block:
    """Steps as a study makes them with the cells over time in machine code: clipping included."""
    compile_layers(model, data.batch_size, torch.device("cpu"))
    optimizer = ModelOptimizer(model, TrainingConfig(1, data.batch_size, _RATE))
    join_layers(model, optimizer)

    def block(steps: int) -> None:
        for inputs, targets in data.batches[:steps]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.clip(math.inf)
            optimizer.step()

    return block
