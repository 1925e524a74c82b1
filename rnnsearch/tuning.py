"""Ray: starts or joins a cluster, and runs a queue of trials on it with Ray Tune."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

# Ray reads these when it is imported. It would otherwise print banners, write logs nobody asked
# for, report usage, and catch Ctrl-C and return as if the study had finished.
os.environ.update(
    {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        # The store is the truth; Tune's own snapshot of an experiment is never read back.
        "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    }
)
_ADDRESS = os.environ.get("RAY_ADDRESS", "")
_LOCAL = not _ADDRESS
if _LOCAL or _ADDRESS.partition(":")[0] in ("127.0.0.1", "localhost"):
    # Left alone, Ray listens on every interface of the machine, and takes 127.0.0.1 for another
    # address. This (internal, hence the test on the bound addresses) keeps it on loopback, where
    # tokens protect from nothing.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")

import ray  # noqa: E402
import torch  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from rnnsearch.batches import Batches  # noqa: E402
from rnnsearch.compiled_model import Compiled  # noqa: E402
from rnnsearch.config import ResourcesConfig, SearchConfig  # noqa: E402
from rnnsearch.engine.capture import Unsupported  # noqa: E402
from rnnsearch.errors import DivergedError, RnnsearchError  # noqa: E402
from rnnsearch.population import PopulationRun, share_a_program  # noqa: E402
from rnnsearch.registry import load_registry  # noqa: E402
from rnnsearch.task import Examples  # noqa: E402
from rnnsearch.training import TrainingRun  # noqa: E402
from rnnsearch.trial import EpochMetrics, TrialSpec  # noqa: E402
from rnnsearch.trial_queue import Outcome, TrialQueue  # noqa: E402

_METRIC = "validation_metric"
_BETWEEN_REPORTS_S = 0.5
_ANSWER_TIMEOUT_S = 10


@contextmanager
def cluster(object_bytes: int) -> Iterator[None]:
    """Join the cluster at RAY_ADDRESS, or run one on this machine alone.

    Args:
        object_bytes: bytes of data that the trials will share.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if _LOCAL:
        ray.init(
            address="local",
            _node_ip_address="127.0.0.1",
            include_dashboard=False,
            object_store_memory=max(256 << 20, 3 * object_bytes),
            **quiet,
        )
    else:
        _reach(_ADDRESS)
        ray.init(address=_ADDRESS, **quiet)
    # `docker stop` and job schedulers send SIGTERM; Ray would answer with a dump of its stack.
    with suppress(ValueError):  # not in the main thread: then it is the caller's to handle
        signal.signal(signal.SIGTERM, _interrupt)
    for name in ("ray", "ray.tune", "ray.train"):
        # A trial's error goes to the queue, with its reason; Ray would print its traceback too.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        ray.shutdown()


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _reach(address: str) -> None:
    """Refuse an address at which nothing listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return  # `auto` and the like: Ray knows
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_TIMEOUT_S).close()
    except OSError as error:
        msg = (
            f"no Ray cluster answers at RAY_ADDRESS={address}: {error.strerror or error}. Start "
            f"it, correct the address, or unset RAY_ADDRESS to run on this machine"
        )
        raise RnnsearchError(msg) from error


def trials_at_a_time(resources: ResourcesConfig) -> int:
    """How many trials the study asks for, or the cluster holds.

    Raises:
        RnnsearchError: this machine cannot hold even one. (A cluster may still grow.)
    """
    have: dict[str, float] = ray.cluster_resources()
    fits = have.get("CPU", 1.0) / resources.cpus_per_trial
    if resources.gpus_per_trial:
        fits = min(fits, have.get("GPU", 0.0) / resources.gpus_per_trial)
    if fits < 1 and _LOCAL:
        msg = (
            f"no node can hold a trial of {resources.cpus_per_trial:g} CPUs and "
            f"{resources.gpus_per_trial:g} GPUs: this machine has {have.get('CPU', 0):g} CPUs and "
            f"{have.get('GPU', 0):g} GPUs. Lower `resources`, or set RAY_ADDRESS to a cluster"
        )
        raise RnnsearchError(msg)
    return resources.workers or max(1, math.floor(fits))


def run_trials(
    queue: TrialQueue,
    splits: Mapping[str, Examples],
    resources: ResourcesConfig,
    direction: str,
    folder: Path,
    search: SearchConfig | None = None,
) -> None:
    """Run every trial of a queue, and tell it what became of each.

    Args:
        queue: the trials.
        splits: the data that trials may see, by name; put once into Ray's object store.
        resources: what one trial takes, and how many run at a time.
        direction: `maximize` or `minimize`.
        folder: where Ray keeps its files.
        search: for early stopping; None lets every trial finish.
    """
    if not queue.total:
        return
    mode = "max" if direction == "maximize" else "min"
    stop_early = search is not None and search.scheduler == "asha"
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(_Trial, splits=dict(splits), compiled=Compiled.of_this_process()),
            {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial},
        ),
        tune_config=tune.TuneConfig(
            search_alg=_QueueSearcher(
                queue, trials_at_a_time(resources), mode, patient=not stop_early
            ),
            scheduler=_AshaPerRow(mode, search) if stop_early and search else FIFOScheduler(),
            num_samples=queue.total,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"{'search' if search else 'confirmation'}-{time.time_ns()}",
            storage_path=str(folder),
            callbacks=[_QueueCallback(queue)],
            # A confirmed model is kept; a search trial's weights are of no further use.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=search is None),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except (KeyboardInterrupt, SystemExit):
        queue.fail_all("interrupted")
        raise
    except Exception as error:
        queue.fail_all(f"Ray Tune stopped: {error}")
        raise RnnsearchError(f"Ray Tune stopped: {error}") from error
    queue.fail_all("Ray Tune ended without a word about this trial")


class _Trial(tune.Trainable):
    """Trials inside a Ray worker, one after the other; the process is reused for the next ones."""

    def setup(
        self,
        config: dict[str, Any],
        splits: Mapping[str, Examples] | None = None,
        compiled: Compiled | None = None,
    ) -> None:
        assert splits is not None
        if compiled is not None:
            compiled.install()
        # Ray's resources are a promise between trials; torch has to be told to keep it.
        held = self.trial_resources.required_resources if self.trial_resources else {}
        torch.set_num_threads(max(1, int(held.get("CPU", 1))))
        device = torch.device("cuda" if held.get("GPU", 0) else "cpu")
        self._splits = {name: Batches(examples, device) for name, examples in splits.items()}
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._waiting = [(key, TrialSpec.from_json(text)) for key, text in new_config["trials"]]
        self._patient = new_config["patient"]
        self._weights: dict[str, Any] = {}
        self._run: TrainingRun | None = None
        self._population: PopulationRun | None = None
        self._trials = list(self._waiting)
        specs = [spec for _, spec in self._trials]
        if len(specs) > 1 and share_a_program(specs):
            self._population = self._begin(PopulationRun, specs[0], specs)
        return True

    def step(self) -> dict[str, Any]:
        """Train for an epoch, or where nobody stops trials early, for about half a second."""
        began, told = time.perf_counter(), []
        while self._waiting:
            told += self._together() if self._population else self._first()
            if not self._patient or time.perf_counter() - began > _BETWEEN_REPORTS_S:
                break
        value = next((t["metrics"][_METRIC] for t in told[::-1] if "metrics" in t), math.nan)
        return {"told": told, _METRIC: value, "done": not self._waiting}

    def _first(self) -> list[dict[str, Any]]:
        """An epoch of the first of the trials that wait."""
        key, spec = self._waiting[0]
        try:
            if self._run is None:
                self._run = self._begin(TrainingRun, spec, spec)
            run = self._run
            metrics = run.run_epoch()
        except Exception as error:
            if not self._patient:
                raise
            # A trial that fails leaves without touching those behind it.
            del self._waiting[0]
            self._run = None
            return [{"key": key, "error": f"{type(error).__name__}: {error}"}]
        if metrics.epoch < spec.training.epochs:
            return [{"key": key, "metrics": asdict(metrics)}]
        outcome = Outcome(run.engine, run.engine_reason)
        if spec.phase == "confirmation":
            outcome = Outcome(run.engine, run.engine_reason, *run.evaluate(self._splits["test"]))
            self._weights[key] = run.state_dict()
        del self._waiting[0]
        self._run = None
        return [{"key": key, "metrics": asdict(metrics), "outcome": asdict(outcome)}]

    def _together(self) -> list[dict[str, Any]]:
        """An epoch of all trials, as one population."""
        population, told = self._population, []
        assert population is not None
        try:
            news = population.run_epoch()
        except Unsupported:  # said before the first update: they run one by one
            self._population = None
            return self._first()
        spec = self._trials[0][1]
        epochs = [n.epoch for n in news.values() if isinstance(n, EpochMetrics)]
        confirmed = spec.phase == "confirmation" and spec.training.epochs in epochs
        tests = population.evaluate(self._splits["test"]) if confirmed else {}
        for member, metrics in news.items():
            key = self._trials[member][0]
            if isinstance(metrics, DivergedError):
                told.append({"key": key, "error": f"DivergedError: {metrics}"})
            elif metrics.epoch < spec.training.epochs:
                told.append({"key": key, "metrics": asdict(metrics)})
                continue
            else:
                outcome = Outcome(population.engine, "", *tests.get(member, ()))
                if spec.phase == "confirmation":
                    self._weights[key] = population.weights_of(member)
                told.append({"key": key, "metrics": asdict(metrics), "outcome": asdict(outcome)})
            self._waiting = [waiting for waiting in self._waiting if waiting[0] != key]
        return told

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

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        for key, state in self._weights.items():
            torch.save(state, Path(checkpoint_dir, weights_file(key)))

    def load_checkpoint(self, checkpoint: str | None) -> None:  # type: ignore[override]
        """Nothing: a checkpoint is kept for its weights; trials that stop are run anew."""


def weights_file(key: str) -> str:
    """Name of the file with a trial's weights."""
    return f"{key.replace('/', '-')}.pt"


class _QueueSearcher(Searcher):
    """Gives Tune the next trials of a queue: as many as one worker takes at a time."""

    def __init__(self, queue: TrialQueue, at_a_time: int, mode: str, *, patient: bool) -> None:
        super().__init__(metric=_METRIC, mode=mode)
        self._queue, self._at_a_time, self._patient = queue, at_a_time, patient
        self._given: list[list[str]] = []

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        # Asking only when a place is free lets Optuna know all earlier results, and makes one
        # worker reproducible.
        running = self._queue.is_running
        self._given = [keys for keys in self._given if any(map(running, keys))]
        if len(self._given) >= self._at_a_time:
            return None
        if not (together := self._queue.ask_together(self._at_a_time)):
            return Searcher.FINISHED
        self._given.append([key for key, _ in together])
        return {
            "row": together[0][1].label,
            "trials": [(key, spec.to_json()) for key, spec in together],
            "patient": self._patient,
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the callback hears of every ending, with its reason."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the searcher's memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles the searcher to disk; the queue holds an open database.
        return {**self.__dict__, "_queue": None}


class _QueueCallback(tune.Callback):
    """Tells a queue what Tune hears of the trials."""

    def __init__(self, queue: TrialQueue) -> None:
        self._queue = queue
        self._outcomes: dict[str, Outcome] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        for told in result["told"]:
            key = told["key"]
            if "error" in told:
                self._queue.fail(key, told["error"])
                continue
            self._queue.report(key, EpochMetrics(**told["metrics"]))
            if "outcome" in told:
                outcome = Outcome(**told["outcome"])
                if outcome.test_metric is None:
                    self._queue.finish(key, outcome)
                else:  # its weights come with the checkpoint
                    self._outcomes[key] = outcome

    def on_checkpoint(
        self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **info: Any
    ) -> None:
        for key in self._keys(trial):
            path = Path(checkpoint.path) / weights_file(key)
            if key in self._outcomes and path.exists():
                self._outcomes[key] = replace(self._outcomes[key], weights=str(path))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        for key in self._keys(trial):
            self._queue.finish(key, self._outcomes.pop(key, None))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        to_blame = True  # the first that had not ended; the worker never got to those behind it
        for key in self._keys(trial):
            if (outcome := self._outcomes.pop(key, None)) is not None:
                self._queue.finish(key, outcome)
            elif to_blame:
                to_blame = False
                self._queue.fail(key, _reason(trial.error_file))
            else:
                self._queue.hand_back(key)

    def _keys(self, trial: Any) -> list[str]:
        """A worker's trials that have not ended."""
        return [key for key, _ in trial.config["trials"] if self._queue.is_running(key)]

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _reason(error_file: str | None) -> str:
    """Why a trial failed, from the text that Tune keeps of its errors.

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


class _AshaPerRow(FIFOScheduler):
    """ASHA among the trials of one row at a time.

    An architecture that learns slowly at first competes with itself, not with the others: a common
    bracket would take its effort away and hand it to the fast starters.
    """

    def __init__(self, mode: str, search: SearchConfig) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._mode, self._search = mode, search
        self._rows: dict[str, ASHAScheduler] = {}

    def _row(self, trial: Any) -> ASHAScheduler:
        row = trial.config["row"]
        if row not in self._rows:
            epochs = TrialSpec.from_json(trial.config["trials"][0][1]).training.epochs
            self._rows[row] = ASHAScheduler(
                metric=_METRIC,
                mode=self._mode,
                max_t=epochs,
                grace_period=min(self._search.grace_epochs, epochs),
                reduction_factor=self._search.reduction_factor,
            )
        return self._rows[row]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._row(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision: str = self._row(trial).on_trial_result(tune_controller, trial, result)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._row(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._row(trial).on_trial_remove(tune_controller, trial)


__all__ = ["cluster", "run_trials", "trials_at_a_time"]
