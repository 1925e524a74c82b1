"""A worker: a process that trains trials, one group after the other, for a whole study."""

from __future__ import annotations

import io
import time
import traceback
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rnnsearch.config import settings
from rnnsearch.config.secrets import hide
from rnnsearch.engine.capture import Unsupported
from rnnsearch.errors import DivergedError
from rnnsearch.plugin.registry import load_registry
from rnnsearch.plugin.task import Examples
from rnnsearch.spec.trial import EpochMetrics, Outcome, TrialSpec
from rnnsearch.training.batches import Batches
from rnnsearch.training.compiled_model import Compiled
from rnnsearch.training.population import PopulationRun, share_a_program
from rnnsearch.training.run import TrainingRun

# What a worker that dies costs at most, of a trial that trains alone.
_BETWEEN_CHECKPOINTS_S = settings.seconds("RNNSEARCH_CHECKPOINT_S", 30)
# A reader sees progress this old; the process that records it has to keep up with all workers.
_BETWEEN_NEWS_S = 2.0
_NO_MEMORY = (MemoryError, torch.OutOfMemoryError)


@dataclass
class News:
    """What became of one trial since its worker spoke last.

    Attributes:
        key: the trial.
        epochs: epochs that it finished.
        outcome: what it hands back if it ran to its last epoch.
        weights: content of a file with its weights, for a confirmation.
        checkpoint: the last of its epochs and the content of a file to continue from, now and then.
        error: why it failed, or an empty string.
        traceback: where it failed.
    """

    key: str
    epochs: list[EpochMetrics]
    outcome: Outcome | None = None
    weights: bytes = b""
    checkpoint: tuple[int, bytes] | None = None
    error: str = ""
    traceback: str = ""

    @property
    def is_last(self) -> bool:
        """Whether the trial has ended."""
        return self.outcome is not None or bool(self.error)


class Worker:
    """Trains the trials that it is given; of a study's splits it sees those that it was handed.

    Args:
        compiled: what was compiled already.
        threads: threads of torch.
        on_gpu: whether to train on a GPU.
    """

    def __init__(self, compiled: Compiled, threads: int, *, on_gpu: bool) -> None:
        compiled.install()
        torch.set_num_threads(threads)
        self._device = torch.device("cuda" if on_gpu else "cpu")
        self._splits: dict[str, Batches] = {}
        self._waiting: dict[str, TrialSpec] = {}

    def hold(self, names: Sequence[str], *splits: Examples) -> None:
        """Take the data that trials may see, in place of what it held."""
        self._splits = {n: Batches(s, self._device) for n, s in zip(names, splits, strict=True)}

    @property
    def waiting(self) -> int:
        """Trials that have not ended."""
        return len(self._waiting)

    def take(
        self,
        trials: Sequence[tuple[str, TrialSpec]],
        pauses: Collection[int] = (),
        checkpoint: bytes = b"",
    ) -> None:
        """Take trials, in place of any that have not ended.

        Args:
            trials: by key.
            pauses: epochs after which the driver decides whether to continue.
            checkpoint: content of a file from which the first of them continues.
        """
        self._checkpoint, self._kept_at = checkpoint, time.monotonic()
        self._waiting, self._pauses, self._speaks_at = dict(trials), pauses, 0.0
        self._run: TrainingRun | None = None
        self._population: PopulationRun | None = None
        specs = list(self._waiting.values())
        # Fresh seeds train by one program however few of them are left, so that the last of a study
        # that was interrupted or extended is the same as among the others.
        several = len(specs) > 1 or all(spec.phase == "confirmation" for spec in specs)
        together = bool(specs) and several and not checkpoint and share_a_program(specs)
        self._members = list(self._waiting) if together else []

    def train(self) -> list[News]:
        """Train for some seconds (at first for an epoch: a sign of life), or to the next pause."""
        told: dict[str, News] = {}
        while self._waiting:
            paused = False
            for news in self._epoch():
                if (before := told.get(news.key)) is not None:
                    news.epochs[:0] = before.epochs
                    news.checkpoint = news.checkpoint or before.checkpoint
                told[news.key] = news
                paused |= bool(news.epochs) and news.epochs[-1].epoch in self._pauses
            if paused or time.monotonic() >= self._speaks_at:
                break
        self._speaks_at = time.monotonic() + _BETWEEN_NEWS_S
        return list(told.values())

    def _epoch(self) -> list[News]:
        """An epoch of the trials that train as one population, or of the first that waits."""
        if self._members:
            try:
                return self._epoch_together()
            except Unsupported:  # said before the first update: they train one by one
                self._members, self._population = [], None
        key, spec = next(iter(self._waiting.items()))
        try:
            return [self._epoch_alone(key, spec)]
        except _NO_MEMORY:
            # Who else took it is not this trial's fault: it starts again, in a worker of its own.
            raise
        except Exception as error:
            # A trial that fails leaves without touching those behind it.
            self._waiting.pop(key, None)
            self._run = None
            reason = hide(load_registry().explain(error))
            return [News(key, [], error=reason, traceback=hide(traceback.format_exc()))]

    def _epoch_alone(self, key: str, spec: TrialSpec) -> News:
        if self._run is None:
            self._run = self._begin(TrainingRun, spec, spec)
            if self._checkpoint:
                # Only tensors and numbers are unpickled; the node may be without a GPU.
                file = io.BytesIO(self._checkpoint)
                state = torch.load(file, map_location="cpu", weights_only=True)
                self._run.load_state_dict(state)
                self._checkpoint = b""
        run = self._run
        metrics = run.run_epoch()
        if metrics.epoch < spec.training.epochs:
            news = News(key, [metrics])
            if time.monotonic() >= self._kept_at + _BETWEEN_CHECKPOINTS_S:
                news.checkpoint = (metrics.epoch, _packed(run.state_dict()))
                self._kept_at = time.monotonic()
            return news
        test = run.evaluate(self._splits["test"]) if spec.phase == "confirmation" else ()
        del self._waiting[key]
        self._run = None
        outcome = Outcome(run.engine, run.engine_reason, *test)
        return News(key, [metrics], outcome, _packed(run.state_dict()) if test else b"")

    def _epoch_together(self) -> list[News]:
        spec, found = self._waiting[next(iter(self._waiting))], []
        if self._population is None:
            specs = list(self._waiting.values())
            self._population = self._begin(PopulationRun, spec, specs)
        population = self._population
        measured = population.run_epoch()
        epochs = [m.epoch for m in measured.values() if isinstance(m, EpochMetrics)]
        tested = spec.phase == "confirmation" and spec.training.epochs in epochs
        tests = population.evaluate(self._splits["test"]) if tested else {}
        for member, metrics in measured.items():
            key = self._members[member]
            if isinstance(metrics, DivergedError):
                reason = f"DivergedError: {metrics}"
                found.append(News(key, [], error=reason, traceback=reason))
            elif metrics.epoch < spec.training.epochs:
                found.append(News(key, [metrics]))
            else:
                outcome = Outcome(population.engine, "", *tests.get(member, ()))
                weights = _packed(population.weights_of(member)) if tested else b""
                found.append(News(key, [metrics], outcome, weights))
            if found[-1].is_last:
                del self._waiting[key]
        return found

    def _begin(self, run: Any, spec: TrialSpec, given: Any) -> Any:
        """Set a run up: of one trial, or of a population."""
        registry = load_registry()
        if spec.training.train_on == "train+validation":
            train, validation = self._splits["train+validation"], None
        else:
            train, validation = self._splits["train"], self._splits["validation"]
        return run(
            registry.architecture(spec.model.architecture),
            given,
            registry.task(spec.task)(**spec.task_options),
            train,
            validation,
        )


def _packed(state: dict[str, Any]) -> bytes:
    """The content of a file for `torch.load`."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()
