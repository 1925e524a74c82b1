"""One training run: epochs of updates, evaluation, and where it stands."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnsearch.errors import DivergedError
from rnnsearch.model import Architecture, build_model, engine_name
from rnnsearch.task import Examples, Task
from rnnsearch.trial import EpochMetrics, TrainingConfig, TrialSpec

_EVALUATION_BATCH = 1000


class Batches:
    """A split resident on a device, given out in batches.

    A batch is `(inputs, targets, lengths)` with inputs `(time, batch, input_size)` in float, cut to
    its longest sequence (exact: what follows a sequence's end is never read).
    """

    def __init__(self, examples: Examples, device: torch.device) -> None:
        # Ray hands out read-only arrays; torch wants to own what it is given.
        def resident(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.array(array)).to(device)

        self.device = device
        self.inputs = resident(examples.inputs)
        self.targets = resident(examples.targets)
        lengths = examples.lengths
        self.lengths = None if lengths is None else resident(lengths).long()
        if not self.targets.is_floating_point():
            self.targets = self.targets.long()

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Gather one batch."""
        inputs, lengths = self.inputs[index], None
        if self.lengths is not None:
            lengths = self.lengths[index]
            inputs = inputs[:, : int(lengths.max())]
        return inputs.transpose(0, 1).to(torch.get_default_dtype()), self.targets[index], lengths


class TrainingRun:
    """A model in training, an epoch at a time.

    The seed fixes the initial weights and the order of the batches; two architectures with the
    same seed see the same batches.

    Args:
        architecture: class of the architecture.
        spec: what to train and how.
        task: the task, for its loss and its metric.
        train: the split to train on.
        validation: the split to watch, or None to watch none.
    """

    def __init__(
        self,
        architecture: Architecture,
        spec: TrialSpec,
        task: Task,
        train: Batches,
        validation: Batches | None,
    ) -> None:
        self.device = train.device
        # The one place where the global generator is seeded: the entry of a trial.
        torch.manual_seed(spec.seed)
        self.model = build_model(architecture, spec.model).to(self.device)
        self.engine = engine_name(self.model)
        self.config, self.task = spec.training, task
        self.optimizer = make_optimizer(self.model, spec.training)
        self.shuffle = torch.Generator().manual_seed(spec.seed)
        self.train, self.validation = train, validation
        self.epoch, self.updates, self.seconds = 0, 0, 0.0

    def run_epoch(self) -> EpochMetrics:
        """Train for one epoch and evaluate.

        Raises:
            DivergedError: a loss or the gradient is no longer finite.
        """
        started = time.perf_counter()
        self.model.train()
        order = torch.randperm(len(self.train), generator=self.shuffle)
        totals = torch.zeros(3, dtype=torch.float64)
        batches = order.split(self.config.batch_size)
        parameters = list(self.model.parameters())
        limit = self.config.gradient_clip or math.inf
        for index in batches:
            inputs, targets, lengths = self.train.take(index.to(self.device))
            self.optimizer.zero_grad(set_to_none=True)
            outputs = self.model(inputs, lengths)
            loss = self.task.loss(outputs, targets)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(parameters, limit)
            self.optimizer.step()
            with torch.no_grad():
                values = torch.stack((loss, self.task.score(outputs, targets), norm))
            totals += values.double().cpu() * torch.tensor([len(index), len(index), 1.0])
        stepped = time.perf_counter()
        self.epoch += 1
        self.updates += len(batches)
        train_loss, train_metric = (float(v) / len(self.train) for v in totals[:2])
        gradient_norm = float(totals[2]) / len(batches)
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
        self.seconds += time.perf_counter() - started
        return EpochMetrics(
            epoch=self.epoch,
            train_loss=train_loss,
            train_metric=train_metric,
            validation_loss=validation_loss,
            validation_metric=validation_metric,
            gradient_norm=gradient_norm,
            step_ms=1000 * (stepped - started) / len(batches),
            updates=self.updates,
            seconds=self.seconds,
        )

    @torch.no_grad()
    def evaluate(self, batches: Batches) -> tuple[float, float]:
        """Mean loss and mean metric over a split."""
        self.model.eval()
        loss = metric = 0.0
        for index in torch.arange(len(batches)).split(_EVALUATION_BATCH):
            inputs, targets, lengths = batches.take(index.to(self.device))
            outputs = self.model(inputs, lengths)
            loss += float(self.task.loss(outputs, targets)) * len(index)
            metric += float(self.task.score(outputs, targets)) * len(index)
        return loss / len(batches), metric / len(batches)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue, loadable with `torch.load(weights_only=True)`."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "shuffle": self.shuffle.get_state(),
            "epoch": self.epoch,
            "updates": self.updates,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.shuffle.set_state(state["shuffle"])
        self.epoch, self.updates = state["epoch"], state["updates"]
        self.seconds = state["seconds"]


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimizer of a run, with torch's defaults beside what the configuration says."""
    parameters = model.parameters()
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay, fused=True)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.RMSprop(parameters, lr=rate, weight_decay=decay)
