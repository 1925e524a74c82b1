"""One training run: epochs of updates, evaluation, and where it stands."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch

from rnnsearch.budget.model import build_model
from rnnsearch.errors import DivergedError
from rnnsearch.plugin.architecture import Architecture
from rnnsearch.plugin.data_contract import Contract
from rnnsearch.plugin.task import Task
from rnnsearch.spec.trial import EpochMetrics, TrialSpec
from rnnsearch.training.batches import Batches, in_streams
from rnnsearch.training.closed_form import ClosedFormUpdates, is_closed_form
from rnnsearch.training.engines import Updates, prepare


class TrainingRun:
    """A model in training, an epoch at a time.

    The seed fixes the initial weights, the order of the batches and the noise that cells ask for;
    two architectures with the same seed see the same batches. Windows of one long sequence keep
    their order: it is divided into as many parts as a batch has samples, which are read side by
    side from their starts.

    Args:
        architecture: class of the architecture.
        spec: what to train and how.
        task: the task, for its loss and its metric.
        train: the split to train on.
        validation: the split to watch, or None to watch none.

    Raises:
        DataError: a split is not what the task's shape, loss and score say.
    """

    def __init__(
        self,
        architecture: Architecture,
        spec: TrialSpec,
        task: Task,
        train: Batches,
        validation: Batches | None,
    ) -> None:
        self._contract = Contract.of(spec.model.shape, task)
        for split in (train, validation):
            if split is not None:
                split.meet(self._contract)
        # The one place where the global generator is seeded: the entry of a trial.
        torch.manual_seed(spec.seed)
        self.model = build_model(architecture, spec.model).to(train.device)
        self._updates: Updates
        if is_closed_form(self.model):
            self._updates = ClosedFormUpdates(self.model, spec.training, task)
            self.engine_reason = ""
        else:
            self._updates, self.engine_reason = prepare(
                spec.engine, self.model, spec.training, task, train
            )
        self.engine = self._updates.name
        self.config = spec.training
        self._seed, self.shuffle = spec.seed, torch.Generator().manual_seed(spec.seed)
        self.train, self.validation = train, validation
        self._task, self._carries = task, spec.model.shape.stride > 0
        self.epoch, self.updates, self.seconds = 0, 0, 0.0
        self._validation_losses: list[float] = []

    def run_epoch(self) -> EpochMetrics:
        """Train for one epoch and evaluate.

        Raises:
            DivergedError: a loss or the gradient is no longer finite.
        """
        started = time.perf_counter()
        if self._carries:
            order = in_streams(len(self.train), self.config.batch_size)
        else:
            order = torch.randperm(len(self.train), generator=self.shuffle)
        updates = math.ceil(len(order) / self.config.batch_size)
        self._updates.scale_rate(self.config.schedule.rate(self._validation_losses))
        totals = self._updates.train(self.train, order, (self._seed, self.epoch))
        stepped = time.perf_counter()
        self.epoch += 1
        self.updates += updates
        train_loss = totals[0] / self.train.total(self._task.loss)
        train_score = totals[1] / self.train.total(self._task.score)
        gradient_norm = totals[2] / updates
        if not (math.isfinite(train_loss) and math.isfinite(gradient_norm)):
            what = "training loss" if not math.isfinite(train_loss) else "gradient norm"
            msg = f"{what} is not finite in epoch {self.epoch}"
            raise DivergedError(msg)
        validation_loss = validation_metric = math.nan
        if self.validation is not None:
            validation_loss, validation_metric = self.evaluate(self.validation)
            if not (math.isfinite(validation_loss) and math.isfinite(validation_metric)):
                what = "metric" if math.isfinite(validation_loss) else "loss"
                msg = f"validation {what} is not finite in epoch {self.epoch}"
                raise DivergedError(msg)
        self._validation_losses.append(validation_loss)
        self.seconds += time.perf_counter() - started
        return EpochMetrics(
            epoch=self.epoch,
            train_loss=train_loss,
            train_metric=self._task.metric_of(train_score),
            validation_loss=validation_loss,
            validation_metric=validation_metric,
            gradient_norm=gradient_norm,
            step_ms=1000 * (stepped - started) / updates,
            updates=self.updates,
            seconds=self.seconds,
        )

    def evaluate(self, batches: Batches) -> tuple[float, float]:
        """Mean loss and mean metric over a split.

        Raises:
            DataError: it is not what the task's shape, loss and score say.
        """
        batches.meet(self._contract)
        loss, score = self._updates.measure(batches)
        return loss, self._task.metric_of(score)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue, loadable with `torch.load(weights_only=True)`."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._updates.state_dict(),
            "shuffle": self.shuffle.get_state(),
            "epoch": self.epoch,
            "updates": self.updates,
            "seconds": self.seconds,
            "validation_losses": self._validation_losses,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        self._updates.load_state_dict(state["optimizer"])
        self.shuffle.set_state(state["shuffle"])
        self.epoch, self.updates = state["epoch"], state["updates"]
        self.seconds = state["seconds"]
        self._validation_losses = list(state["validation_losses"])
