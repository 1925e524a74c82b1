"""Ray: starts or joins a cluster, and runs a study's queues of trials on it with Ray Tune."""

from __future__ import annotations

import faulthandler
import gc
import glob
import hashlib
import logging
import math
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from rnnsearch.config import machine
from rnnsearch.search import ray_environment

_ADDRESS = ray_environment.prepare()

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.schedulers import FIFOScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from rnnsearch.config.home import private_folder, write_whole  # noqa: E402
from rnnsearch.config.schema import ResourcesConfig  # noqa: E402
from rnnsearch.config.secrets import hide  # noqa: E402
from rnnsearch.errors import RnnsearchError, StoppedError  # noqa: E402
from rnnsearch.plugin.task import Examples  # noqa: E402
from rnnsearch.records.store import STOP_FILE  # noqa: E402
from rnnsearch.search import interrupts  # noqa: E402
from rnnsearch.search.places import (  # noqa: E402
    NOTHING_SEEN,
    Footprint,
    memory_for_workers,
    require_memory,
    this_machine,
    trials_at_a_time,
)
from rnnsearch.search.queue import TrialQueue  # noqa: E402
from rnnsearch.spec.shape import Direction  # noqa: E402
from rnnsearch.spec.trial import TrialSpec, file_name  # noqa: E402
from rnnsearch.training.compiled_model import Compiled  # noqa: E402
from rnnsearch.training.worker import News, Worker  # noqa: E402

_METRIC = "validation_metric"
_BETWEEN_LOOKS_S = 0.5  # of a worker that waits for trials
_BETWEEN_COUNTS_S = 5.0  # of the places that a cluster has


@dataclass(frozen=True)
class Phase:
    """A queue of trials and the data that they may see.

    Attributes:
        queue: the trials.
        splits: the data, by name; put once into Ray's object store.
    """

    queue: TrialQueue
    splits: Mapping[str, Examples]


@contextmanager
def cluster(object_bytes: int) -> Iterator[None]:
    """Join the cluster at RAY_ADDRESS, or run one on this machine alone.

    Args:
        object_bytes: bytes of data that the trials will share.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if _ADDRESS is not None:
        _ADDRESS.reach()
        _begin(address=_ADDRESS.text, **quiet)
    else:
        store = max(256 << 20, 3 * object_bytes)
        if machine.is_limited():  # Ray looks at some of the limits
            quiet["_memory"] = memory_for_workers(store)
        _begin(
            address="local",
            _node_ip_address="127.0.0.1",
            _temp_dir=str(ray_environment.session_folder()),
            include_dashboard=False,
            num_cpus=machine.cpus(),
            object_store_memory=store,
            **quiet,
        )
    # `docker stop` and job schedulers send SIGTERM; Ray would answer with a dump of its stack.
    with suppress(ValueError):  # not in the main thread: then it is the caller's to handle
        signal.signal(signal.SIGTERM, interrupts.arrive)
    for name in ("ray", "ray.tune", "ray.train"):
        # A trial's error goes to the queue, with its reason; Ray would print its traceback too.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        # What is left in reference cycles lets go of Ray in whichever thread collects it, and Ray
        # ends a process that comes back to it after its shutdown.
        gc.collect()
        ray.shutdown()


def _begin(**arguments: Any) -> None:
    """Start Ray, or join a cluster.

    Raises:
        RnnsearchError: Ray refuses; says which of its variables are set.
    """
    try:
        ray.init(**arguments)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        what = f"{_ADDRESS.named} cannot be joined" if _ADDRESS else "Ray does not start"
        names = {n for n in os.environ if n.startswith("RAY_")} - set(ray_environment.SET_BY_US)
        hint = f" These of its variables are set: {', '.join(sorted(names))}" if names else ""
        raise RnnsearchError(f"{what}: {reason.rstrip('.')}.{hint}") from error


def require_room(resources: ResourcesConfig) -> None:
    """Refuse what cannot run before anything is planned: too little room here, or no cluster.

    Raises:
        RnnsearchError: there is no room for even one trial, or no cluster at RAY_ADDRESS.
    """
    if _ADDRESS is not None:
        _ADDRESS.reach()
    else:
        ray_environment.session_folder()
        require_memory(machine.memory())
        trials_at_a_time(resources, [this_machine()])


def places(resources: ResourcesConfig, seen: Footprint = NOTHING_SEEN) -> int:
    """How many trials run at a time on the cluster as it is now; see `trials_at_a_time`."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return trials_at_a_time(resources, nodes, seen, may_grow=_ADDRESS is not None)


def run_trials(
    phases: Iterator[Phase], resources: ResourcesConfig, direction: Direction, folder: Path
) -> None:
    """Run every trial of every phase, one phase after the other, and tell its queue of each.

    All in one run of Tune, so that workers live as long as the study: to start one takes longer
    than many a trial.

    Args:
        phases: each is made when all trials of the one before have ended.
        resources: what one worker takes, and how many there are.
        direction: `maximize` or `minimize`.
        folder: the study's; weights, tracebacks and Ray's files are written below it.
    """
    mode = "max" if direction == "maximize" else "min"
    stage = _Stage(phases, folder)
    try:
        _fit(stage, resources, mode, folder)
    finally:
        stage.release()
    if stage.stopped:
        raise StoppedError("stopped, as it was asked to, once the running trials had ended")


def _fit(stage: _Stage, resources: ResourcesConfig, mode: str, folder: Path) -> None:
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
            num_samples=-1,  # until the searcher says that it has finished
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
    stage.interrupt_all("Ray Tune ended without a word about this trial")


class _Stage:
    """The phase that a study is in, for the parts of Tune that look at it."""

    def __init__(self, phases: Iterator[Phase], folder: Path) -> None:
        self._phases, self._stop_file = phases, folder / STOP_FILE
        self.stopped = self.finished = False
        self._refs: dict[str, Any] = {}
        self.number = 0
        self.phase: Phase | None = None
        self.seen = NOTHING_SEEN  # what the workers need
        self.error: Exception | None = None

    @property
    def splits(self) -> dict[str, Any]:
        """References to the data of the phase."""
        return self._refs

    def ask_together(self, workers: int) -> list[tuple[str, TrialSpec]] | None:
        """Trials for one worker, none if others have to end first, None when all have ended."""
        if self._stop_file.exists():
            self.stopped = True
            return [] if self.phase and self.phase.queue.running else None
        while True:
            if self.phase is not None:
                if together := self.phase.queue.ask_together(workers):
                    return together
                if self.phase.queue.running:
                    return []
            if (following := next(self._phases, None)) is None:
                return None
            self.phase, self.number = following, self.number + 1
            known, splits = self._refs, following.splits
            self._refs = {n: known[n] if n in known else ray.put(s) for n, s in splits.items()}

    def release(self) -> None:
        """Let go of the data in Ray's object store."""
        self._refs = {}

    def is_running(self, key: str) -> bool:
        """Whether a trial has been handed out and has not ended."""
        return self.phase is not None and self.phase.queue.is_running(key)

    def stops(self, news: News) -> bool:
        """Whether the trial that a worker tells of is to stop early."""
        if self.phase is None or not self.is_running(news.key):
            return False
        return self.phase.queue.stops(news.key, news.epochs)

    def interrupt_all(self, reason: str) -> None:
        """Record that every trial still running was interrupted."""
        if self.phase is not None:
            self.phase.queue.interrupt_all(reason)

    @override
    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles what it is given to disk; a queue holds an open database.
        return {}


class _Trial(tune.Trainable):
    """A worker that Tune reuses: the trials of one suggestion, then those of the next."""

    @override
    def setup(
        self, config: dict[str, Any], compiled: Compiled | None = None, epoch_s: float = 0.0
    ) -> None:
        assert compiled is not None
        self._epoch_s = epoch_s
        # Ray's resources are a promise between trials; torch has to be told to keep it.
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
        """Train for some seconds, or to the next epoch at which somebody may stop the trial."""
        # A watch that needs no interpreter: compiled code and deadlocks do not stop it.
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

    def __init__(self, stage: _Stage, resources: ResourcesConfig, mode: str, folder: Path) -> None:
        super().__init__(metric=_METRIC, mode=mode)
        self._stage, self._resources, self._folder = stage, resources, folder
        self._at_a_time, self._counted_at = places(resources), time.monotonic()
        self._given: list[list[str]] = []
        self._waiting: set[str] = set()  # Tune's trials that only wait
        self._workers = 0  # that have been at work side by side

    @override
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        # Asking only when a place is free lets Optuna know all earlier results, and makes one
        # worker reproducible.
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
        assert stage.phase is not None
        return {
            "phase": stage.number,
            "splits": stage.splits,
            "trials": [(key, spec.to_json()) for key, spec in together],
            "pauses": stage.phase.queue.pauses(together[0][1]),
            "checkpoint": checkpoint,
        }

    def _take(self) -> tuple[list[tuple[str, TrialSpec]] | None, bytes]:
        """Trials for one worker, as the stage gives them, and what the first of them goes on from.

        One that was interrupted after it had been decided that it stops is stopped here.
        """
        while True:
            together = self._stage.ask_together(self._at_a_time)
            if not together:
                return together, b""
            assert self._stage.phase is not None
            key, queue = together[0][0], self._stage.phase.queue
            checkpoint, stops = self._checkpoint(key, queue)
            if not stops:
                return together, checkpoint
            queue.finish(key, None)
            _drop_checkpoints(self._folder, key)

    def _wait(self, trial_id: str) -> dict[str, Any] | None:
        """Something for a worker to do that has nothing to do: Tune would end all such but one."""
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
        path = self._folder / "checkpoints" / _checkpoint_file(before.key, before.checkpoint)
        epochs = [epoch for epoch in before.epochs if epoch.epoch <= before.checkpoint]
        if not path.is_file() or len(epochs) < before.checkpoint:
            return b"", False
        content = _unsealed(path.read_bytes())
        if (
            content is None
        ):  # a disk that lies, or an update, costs the trial what it had trained, no more
            path.unlink()
            return b"", False
        path.replace(path.with_name(_checkpoint_file(key, before.checkpoint)))
        stops = queue.go_on(key, epochs)
        queue.checkpoint(key, before.checkpoint)
        return content, stops

    @override
    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        # The callback hears of every ending that matters, with its reason.
        self._waiting.discard(trial_id)

    @override
    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the searcher's memory."""

    @override
    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""


class _QueueCallback(tune.Callback):
    """Tells a queue what Tune hears of the trials, and keeps weights and tracebacks."""

    def __init__(self, stage: _Stage, folder: Path) -> None:
        self._stage, self._folder = stage, folder

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
                self._queue.finish(key, None)
                _drop_checkpoints(self._folder, key)

    @override
    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        # What goes wrong in training comes as news: this is the worker itself, or its machine.
        if keys := self._keys(trial):
            with interrupts.wait():
                self._queue.lose(keys, hide(_reason(trial.error_file)))

    @property
    def _queue(self) -> TrialQueue:
        assert self._stage.phase is not None
        return self._stage.phase.queue

    def _record(self, news: News) -> None:
        if news.epochs:
            self._queue.report(news.key, news.epochs, at_once=news.checkpoint is not None)
        if news.checkpoint is not None:
            epoch, content = news.checkpoint
            self._write("checkpoints", _checkpoint_file(news.key, epoch), _sealed(content))
            self._queue.checkpoint(news.key, epoch)
            _drop_checkpoints(self._folder, news.key, but=epoch)
        if news.is_last:
            _drop_checkpoints(self._folder, news.key)
        if news.error:
            # Again, for this process may know of secrets that the worker's node did not.
            self._write("errors", f"{news.key}.txt", hide(news.traceback).encode())
            self._queue.fail(news.key, hide(news.error))
        elif news.outcome is not None:
            outcome = news.outcome
            if news.weights:
                path = self._write("weights", f"{news.key}.pt", news.weights)
                outcome = replace(outcome, weights=str(path))
            self._queue.finish(news.key, outcome)

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


def _drop_checkpoints(folder: Path, key: str, but: int = 0) -> None:
    """Remove what a trial no longer needs to go on."""
    kept = _checkpoint_file(key, but)
    pattern = _checkpoint_file(glob.escape(key), "*")
    for path in (folder / "checkpoints").glob(pattern):
        if path.name != kept:
            path.unlink(missing_ok=True)


def _checkpoint_file(key: str, epoch: int | str) -> str:
    return f"{file_name(key)}.{epoch}.pt"


# Counted up when a checkpoint comes to hold something else, so that none of before is read.
_CHECKPOINT_FORMAT = b"3"


def _sealed(content: bytes) -> bytes:
    """Content behind its hash, by which damage and checkpoints of another format are noticed."""
    return hashlib.sha256(_CHECKPOINT_FORMAT + content).digest() + content


def _unsealed(sealed: bytes) -> bytes | None:
    """What was sealed, or None if it is not what it was."""
    content = sealed[32:]
    return content if _sealed(content) == sealed else None


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
    """Stops a trial where its queue says so; what is stopped, and by what, the queue remembers."""

    def __init__(self, stage: _Stage) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stage = stage

    @override
    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if not trial.config["trials"]:
            # Whoever waits gives way.
            wanted = any(other.status == "PENDING" for other in tune_controller.get_trials())
            return FIFOScheduler.STOP if wanted or self._stage.finished else FIFOScheduler.CONTINUE
        stops = any([self._stage.stops(news) for news in result["news"]])
        return FIFOScheduler.STOP if stops else FIFOScheduler.CONTINUE

    @override
    def __getstate__(self) -> dict[str, Any]:
        return {}


__all__ = ["Phase", "cluster", "places", "run_trials"]
