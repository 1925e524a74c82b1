"""Ray Tune: runs a study's queues of trials on a cluster.

Tune contributes a pool of workers. Everything else is ours, since a study has to be reproducible
and resumable: the queue decides which trial is next and how each one ended, its store is the only
record, and `halving` stops trials early. So Tune's own searching, stopping and recording are
replaced by thin classes that ask the queue, each of which works around something in Tune:

- `_Trial`: one Trainable is a worker that lives as long as the study (`reuse_actors`), since
  starting one takes longer than most trials. Tune's trial is therefore not ours: it stands for all
  the trials that a worker takes at a time.
- `_QueueSearcher` draws nothing. It returns None where no place is free, and gives an idle worker
  an empty suggestion, since Tune ends all idle workers but one.
- `_EarlyStopping` stops what the queue stops, and an idle worker as soon as it is needed.
- `_QueueCallback` passes on results, ends and errors.
- All of these pickle as nothing (`__getstate__`): Tune writes them to disk, and nothing reads that.
"""

from __future__ import annotations

import faulthandler
import math
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnnsearch.search.cluster import places  # first: it sets what Ray reads when it is imported

# isort: split
import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from typing_extensions import override

from rnnsearch.config.home import private_folder, write_whole
from rnnsearch.config.schema import ResourcesConfig
from rnnsearch.config.secrets import hide
from rnnsearch.errors import RnnsearchError, StoppedError
from rnnsearch.records.store import STOP_FILE
from rnnsearch.search import interrupts
from rnnsearch.search.checkpoints import Checkpoints
from rnnsearch.search.places import Footprint
from rnnsearch.search.queue import TrialQueue
from rnnsearch.search.stage import RunningPhase, Stage
from rnnsearch.spec.shape import Direction
from rnnsearch.spec.trial import TrialSpec, file_name
from rnnsearch.training.compiled_model import Compiled
from rnnsearch.training.worker import News, Worker

_METRIC = "validation_metric"
_BETWEEN_LOOKS_S = 0.5  # of a worker that waits for trials
_BETWEEN_COUNTS_S = 5.0  # of the places that a cluster has


def run_trials(
    phases: Iterator[RunningPhase], resources: ResourcesConfig, direction: Direction, folder: Path
) -> None:
    """Run every trial of every phase, one phase after the other, and report each to its queue.

    All phases share one run of Tune, so that workers live as long as the study: starting one takes
    longer than most trials.

    Args:
        phases: each is made when all trials of the one before have ended.
        resources: what one worker takes, and how many there are.
        direction: `maximize` or `minimize`.
        folder: the study's; weights, tracebacks and Ray's files are written below it.

    Raises:
        StoppedError: the study was asked to stop, and the running trials have ended.
        RnnsearchError: Ray Tune gave up.
    """
    mode = "max" if direction == "maximize" else "min"
    stage = Stage(phases, folder, ray.put)
    try:
        _fit(stage, resources, mode, folder)
    finally:
        stage.release()
    if stage.stopped:
        raise StoppedError("stopped, as it was asked to, once the running trials had ended")


def _fit(stage: Stage, resources: ResourcesConfig, mode: str, folder: Path) -> None:
    worker = tune.with_resources(
        tune.with_parameters(
            _Trial,
            compiled=Compiled.of_this_process(),
            epoch_s=60 * resources.epoch_minutes,
        ),
        {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial},
    )
    tuner = tune.Tuner(
        worker,
        tune_config=tune.TuneConfig(
            search_alg=_QueueSearcher(stage, resources, mode, folder),
            scheduler=_EarlyStopping(stage),
            num_samples=-1,  # until the searcher has finished
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"run-{time.time_ns()}",
            storage_path=str(folder / "ray"),
            callbacks=[_QueueCallback(stage, folder)],
            verbose=0,
        ),
    )
    try:
        with interrupts.first_asks(folder / STOP_FILE):
            tuner.fit()
    except (KeyboardInterrupt, SystemExit):
        stage.interrupt_all("interrupted")
        raise
    except Exception as error:
        stage.interrupt_all(f"Ray Tune stopped: {error}")
        if stage.error is not None:
            raise stage.error from None
        raise RnnsearchError(f"Ray Tune stopped: {error}") from error
    if stage.error is not None:
        raise stage.error
    stage.interrupt_all("Ray Tune ended without reporting on this trial")


class _Trial(tune.Trainable):
    """A worker that Tune reuses: the trials of one suggestion, then those of the next.

    Tune's trial is a suggestion here; its ends and results matter only for the `news` of
    our trials that they carry.
    """

    @override
    def setup(
        self, config: dict[str, Any], compiled: Compiled | None = None, epoch_s: float = 0.0
    ) -> None:
        assert compiled is not None
        self._epoch_s = epoch_s
        # Ray only books resources; torch has to be told to keep to them.
        held = self.trial_resources.required_resources if self.trial_resources else {}
        threads = max(1, int(held.get("CPU", 1)))
        self._worker = Worker(compiled, threads, on_gpu=bool(held.get("GPU", 0)))
        self._phase = 0
        self.reset_config(config)

    @override
    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if new_config["phase"] != self._phase:
            splits = new_config["splits"]
            self._worker.hold(list(splits), *ray.get(list(splits.values())))
            self._phase = new_config["phase"]
        self._trials = [(key, TrialSpec.from_json(text)) for key, text in new_config["trials"]]
        self._worker.take(self._trials, new_config["pauses"], new_config["checkpoint"])
        return True

    @override
    def step(self) -> dict[str, Any]:
        """Train for a few seconds, or to the next epoch after which the trial may be stopped."""
        # A watchdog that needs no interpreter: neither compiled code nor a deadlock can block it.
        faulthandler.dump_traceback_later(self._epoch_s, exit=True, file=2)
        try:
            news = self._worker.train()
        finally:
            faulthandler.cancel_dump_traceback_later()
        if not self._trials:
            time.sleep(_BETWEEN_LOOKS_S)
        epochs = [epoch for one in news for epoch in one.epochs]
        last = epochs[-1] if epochs else None
        return {
            "news": news,
            "epoch": last.epoch if last else 0,
            _METRIC: last.validation_metric if last else math.nan,
            "footprint": Footprint.of_this_process(),
            "done": bool(self._trials) and not self._worker.waiting,
        }

    @override
    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: weights come with the news."""

    @override
    def load_checkpoint(self, checkpoint: str | None) -> None:  # type: ignore[override]
        """Nothing, as `save_checkpoint`."""


class _QueueSearcher(Searcher):
    """Gives Tune the next trials of a queue: as many as one worker takes at a time."""

    def __init__(self, stage: Stage, resources: ResourcesConfig, mode: str, folder: Path) -> None:
        super().__init__(metric=_METRIC, mode=mode)
        self._stage, self._resources = stage, resources
        self._checkpoints = Checkpoints(folder)
        self._at_a_time, self._counted_at = places(resources), time.monotonic()
        self._given: list[list[str]] = []
        self._waiting: set[str] = set()  # Tune's trials whose worker is idle
        self._workers = 0  # most that have trained side by side

    @override
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        # Asking only when a place is free lets Optuna know all earlier results, and makes a study
        # with one worker reproducible.
        stage = self._stage
        self._given = [keys for keys in self._given if any(map(stage.is_running, keys))]
        if time.monotonic() > self._counted_at + _BETWEEN_COUNTS_S:  # nodes come and go
            self._at_a_time = places(self._resources, stage.seen)
            self._counted_at = time.monotonic()
        if len(self._given) >= self._at_a_time:
            return None
        try:
            with interrupts.wait():
                together, checkpoint = self._take()
        except Exception as error:
            # Tune would wrap it beyond recognition.
            stage.error = error
            return Searcher.FINISHED
        if together is None:
            stage.finished = True
            return Searcher.FINISHED
        if not together:
            return self._wait(trial_id)
        self._given.append([key for key, _ in together])
        self._workers = max(self._workers, len(self._given))
        return {
            "phase": stage.number,
            "splits": stage.splits,
            "trials": [(key, spec.to_json()) for key, spec in together],
            "pauses": stage.queue.pauses(together[0][1]),
            "checkpoint": checkpoint,
        }

    def _take(self) -> tuple[list[tuple[str, TrialSpec]] | None, bytes]:
        """Trials for one worker, as the stage gives them, and the checkpoint of the first.

        A trial that was interrupted between the decision to stop it and the record of it is
        stopped here.
        """
        while True:
            together = self._stage.ask_together(self._at_a_time)
            if not together:
                return together, b""
            key, queue = together[0][0], self._stage.queue
            checkpoint, stops = self._checkpoint(key, queue)
            if not stops:
                return together, checkpoint
            queue.finish(key, None)
            self._checkpoints.drop(key)

    def _wait(self, trial_id: str) -> dict[str, Any] | None:
        """An empty suggestion, which keeps an idle worker: Tune would end all idle ones but one."""
        if len(self._given) + len(self._waiting) >= self._workers:
            return None
        self._waiting.add(trial_id)
        stage = self._stage
        here: dict[str, Any] = {"phase": stage.number, "splits": stage.splits}
        return {**here, "trials": [], "pauses": (), "checkpoint": b""}

    def _checkpoint(self, key: str, queue: TrialQueue) -> tuple[bytes, bool]:
        """What an interrupted trial had learned, if it was kept, and whether it stops there."""
        before = queue.unfinished(key)
        if before is None or not before.checkpoint:
            return b"", False
        epochs = [epoch for epoch in before.epochs if epoch.epoch <= before.checkpoint]
        if len(epochs) < before.checkpoint:
            return b"", False
        content = self._checkpoints.hand_over(before.key, key, before.checkpoint)
        if content is None:  # it trains from its first epoch again
            return b"", False
        stops = queue.go_on(key, epochs)
        queue.checkpoint(key, before.checkpoint)
        return content, stops

    @override
    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        # `_QueueCallback` records every end that matters, with its reason.
        self._waiting.discard(trial_id)

    @override
    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the searcher's memory."""

    @override
    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""


class _QueueCallback(tune.Callback):
    """Reports to the queue what Tune hears from its workers, and keeps weights and tracebacks."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self._stage, self._folder = stage, folder
        self._checkpoints = Checkpoints(folder)

    @override
    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._stage.seen |= result["footprint"]
        for news in result["news"]:
            with interrupts.wait():
                self._record(news)
            news.weights = b""  # Tune keeps the last result of every trial

    @override
    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with interrupts.wait():
            for key in self._keys(trial):
                self._stage.queue.finish(key, None)
                self._checkpoints.drop(key)

    @override
    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        # Errors of training come as news: this one is of the worker itself, or of its machine.
        if keys := self._keys(trial):
            with interrupts.wait():
                self._stage.queue.lose(keys, hide(_reason(trial.error_file)))

    def _record(self, news: News) -> None:
        queue, key = self._stage.queue, news.key
        if news.epochs:
            queue.report(key, news.epochs, at_once=news.checkpoint is not None)
        if news.checkpoint is not None:
            epoch, content = news.checkpoint
            self._checkpoints.keep(key, epoch, content)
            queue.checkpoint(key, epoch)
            self._checkpoints.drop(key, but=epoch)
        if news.is_last:
            self._checkpoints.drop(key)
        if news.error:
            # Again, for this process may know of secrets that the worker's node did not.
            self._write("errors", f"{key}.txt", hide(news.traceback).encode())
            queue.fail(key, hide(news.error))
        elif news.outcome is not None:
            outcome = news.outcome
            if news.weights:
                path = self._write("weights", f"{key}.pt", news.weights)
                outcome = replace(outcome, weights=str(path))
            queue.finish(key, outcome)

    def _write(self, folder: str, name: str, content: bytes) -> Path:
        path = self._folder / folder / file_name(name)
        write_whole(private_folder(path.parent) / path.name, content)
        return path

    def _keys(self, trial: Any) -> list[str]:
        """A worker's trials that have not ended."""
        return [key for key, _ in trial.config["trials"] if self._stage.is_running(key)]

    @override
    def __getstate__(self) -> dict[str, Any]:
        return {}


def _reason(error_file: str | None) -> str:
    """Why a worker failed, from the text that Tune keeps of its errors.

    A traceback ends with `module.Error: message`; of a worker that died there is a message only.
    """
    if error_file is None or not Path(error_file).exists():
        return "no reason given"
    text = re.sub(r"\x1b\[\d+m", "", Path(error_file).read_text(encoding="utf-8"))
    _header, *lines = [line for line in text.splitlines() if line.strip()]
    if not any(line.lstrip().startswith('File "') for line in lines):
        return lines[0] if lines else "no reason given"
    error, colon, message = lines[-1].partition(": ")
    return error.rpartition(".")[2] + colon + message


class _EarlyStopping(FIFOScheduler):
    """Stops a trial where its queue says so.

    Not Tune's ASHA: it would remember by worker what is ours to remember by trial, and could not be
    restored from the store; see `halving`.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stage = stage

    @override
    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if not trial.config["trials"]:
            # An idle worker gives way to Tune's next suggestion, which it then trains (Tune reuses
            # a worker only once its trial has ended).
            wanted = any(other.status == "PENDING" for other in tune_controller.get_trials())
            return FIFOScheduler.STOP if wanted or self._stage.finished else FIFOScheduler.CONTINUE
        stops = any([self._stage.stops(news) for news in result["news"]])
        return FIFOScheduler.STOP if stops else FIFOScheduler.CONTINUE

    @override
    def __getstate__(self) -> dict[str, Any]:
        return {}
