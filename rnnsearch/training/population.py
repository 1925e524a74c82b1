"""Several trials of one model shape as one program of torch: fresh seeds, other learning rates."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnnsearch.budget.model import build_model
from rnnsearch.engine.vmapped import VmappedPopulation
from rnnsearch.errors import DivergedError
from rnnsearch.plugin.architecture import Architecture
from rnnsearch.plugin.data_contract import Contract
from rnnsearch.plugin.task import Task
from rnnsearch.spec.engine import Engine
from rnnsearch.spec.trial import EpochMetrics, TrialSpec
from rnnsearch.training.batches import Batches, weight
from rnnsearch.training.engines import EVALUATION_BATCH, noise_keys


def share_a_program(specs: Sequence[TrialSpec]) -> bool:
    """Whether trials can train as one population: they differ in seeds and scalars only.

    Those that carry a state from window to window, or whose learning rate falls when the loss of
    each stops falling, train one by one.
    """
    first = specs[0]
    alone = first.model.shape.stride or first.training.schedule.kind == "plateau"
    together = len({_shape_of(spec) for spec in specs}) == 1 and not alone
    return together and specs[0].engine.takes_several


def _shape_of(spec: TrialSpec) -> str:
    scalars = replace(spec.training, learning_rate=1.0, gradient_clip=0.0)
    return repr((spec.model, scalars, spec.engine, spec.phase))


class PopulationRun:
    """A population in training, an epoch at a time; each member is seeded as if it ran alone.

    Args:
        architecture: class of the architecture.
        specs: what to train and how; `share_a_program` of them holds.
        task: the task, for its loss and its metric.
        train: the split to train on.
        validation: the split to watch, or None to watch none.

    Raises:
        DataError: a split is not what the task's shape, loss and score say.
        Unsupported: torch cannot run the members together.
    """

    def __init__(
        self,
        architecture: Architecture,
        specs: Sequence[TrialSpec],
        task: Task,
        train: Batches,
        validation: Batches | None,
    ) -> None:
        self._contract = Contract.of(specs[0].model.shape, task)
        for split in (train, validation):
            if split is not None:
                split.meet(self._contract)
        self.engine = specs[0].engine.shown_for_several
        self._models, self._shuffles = [], []
        self._seeds = [spec.seed for spec in specs]
        for spec in specs:
            torch.manual_seed(spec.seed)
            self._models.append(build_model(architecture, spec.model).to(train.device))
            self._shuffles.append(torch.Generator().manual_seed(spec.seed))
        config = specs[0].training
        self._population = VmappedPopulation(
            self._models,
            config.optimizer,
            [spec.training.learning_rate for spec in specs],
            config.weight_decay,
            [spec.training.gradient_clip for spec in specs],
            graphed=specs[0].engine is Engine.GRAPHED,
        )
        self._config, self._task = config, task
        self._train, self._validation = train, validation
        self._epoch, self._updates, self._seconds = 0, 0, 0.0

    def run_epoch(self) -> dict[int, EpochMetrics | DivergedError]:
        """Train for one epoch and evaluate.

        Returns:
            By number of the member, what it measured; or why it diverged, and then it has left.
        """
        started = time.perf_counter()
        members = self._population.members
        samples, size = len(self._train), self._config.batch_size
        orders = {m: torch.randperm(samples, generator=self._shuffles[m]) for m in range(self._all)}
        totals = torch.zeros(3, len(members), dtype=torch.float64)
        measures = self._task.loss, self._task.score
        weights = [self._train.weights(measure) for measure in measures]
        total_loss, total_score = map(self._train.total, measures)
        self._population.scale_rates(self._config.schedule.rate([math.nan] * self._epoch))
        for first in range(0, samples, size):
            index = torch.stack([orders[m][first : first + size] for m in members])
            keys = self._noise_keys(members, index)
            measured = self._population.step(*self._take(index), *measures, keys)
            weighs = [[weight(some, row) for row in index] for some in weights]
            weighs.append([1.0] * len(members))
            totals += torch.stack(measured).double().cpu() * torch.tensor(
                weighs, dtype=torch.float64
            )
        stepped = time.perf_counter()
        updates = math.ceil(samples / size)
        self._epoch += 1
        self._updates += updates
        watched = self.evaluate(self._validation) if self._validation is not None else {}
        elapsed = time.perf_counter() - started
        # Each member is told its share, so that sums over trials are what was really spent.
        self._seconds += elapsed / len(members)
        found: dict[int, EpochMetrics | DivergedError] = {}
        for row, member in enumerate(members):
            loss, metric, norm = totals[:, row].tolist()
            val_loss, val_metric = watched.get(member, (math.nan, math.nan))
            checked = (loss, norm, *(watched.get(member, ())))
            if not all(map(math.isfinite, checked)):
                found[member] = DivergedError(f"a loss is not finite in epoch {self._epoch}")
                self._population.drop(member)
                continue
            found[member] = EpochMetrics(
                epoch=self._epoch,
                train_loss=loss / total_loss,
                train_metric=self._task.metric_of(metric / total_score),
                validation_loss=val_loss,
                validation_metric=val_metric,
                gradient_norm=norm / updates,
                step_ms=1000 * (stepped - started) / updates / len(members),
                updates=self._updates,
                seconds=self._seconds,
            )
        return found

    @property
    def _all(self) -> int:
        return len(self._models)

    def _take(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """A batch for each member, of the full length: `(members, time, batch, features)`."""
        data, where = self._train, index.to(self._train.device)
        inputs = data.inputs[where].transpose(1, 2).to(torch.get_default_dtype())
        return inputs, data.targets[where], None if data.lengths is None else data.lengths[where]

    def _noise_keys(self, members: Sequence[int], index: Tensor) -> Tensor | None:
        """Keys `(members, batch, 2)` of the noise that the cells ask for, if they do."""
        where = index.to(self._train.device)
        keys = [
            key
            for member, samples in zip(members, where, strict=True)
            for key in noise_keys(self._models[member], (self._seeds[member], self._epoch), samples)
        ]
        return torch.stack(keys) if keys else None

    def evaluate(self, data: Batches) -> dict[int, tuple[float, float]]:
        """Mean loss and mean metric of each member over a split.

        Raises:
            DataError: it is not what the task's shape, loss and score say.
        """
        data.meet(self._contract)
        members, measures = self._population.members, (self._task.loss, self._task.score)
        weights = [data.weights(measure) for measure in measures]
        totals = torch.zeros(2, len(members), dtype=torch.float64)
        for index in torch.arange(len(data)).split(EVALUATION_BATCH):
            batch = data.take(index.to(data.device))
            measured = self._population.evaluate(*batch, *measures)
            weighs = torch.tensor([[weight(w, index)] for w in weights], dtype=torch.float64)
            totals += torch.stack(measured).double().cpu() * weighs
        whole = torch.tensor([[data.total(m)] for m in measures], dtype=torch.float64)
        pairs = (totals / whole).t().tolist()
        metric_of = self._task.metric_of
        return {m: (loss, metric_of(s)) for m, (loss, s) in zip(members, pairs, strict=True)}

    def weights_of(self, member: int) -> dict[str, Any]:
        """What a finished member leaves, as `TrainingRun.state_dict` names it."""
        self._population.write_back()
        model = self._models[member]
        return {"model": {k: v.clone() for k, v in model.state_dict().items()}}
