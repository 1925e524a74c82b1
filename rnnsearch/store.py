"""The store: a study's folder, with Optuna's database of every trial in it."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from rnnsearch.errors import StoreError, did_you_mean
from rnnsearch.home import home, write_whole
from rnnsearch.model import Complexity
from rnnsearch.parameters import Choice, FloatRange, Parameter, Value
from rnnsearch.task import Direction
from rnnsearch.trial import EpochMetrics, Phase, TrialRecord, TrialSpec
from rnnsearch.trial import TrialState as State

optuna.logging.set_verbosity(optuna.logging.ERROR)

# A file of this name in a study's folder asks its driver to stop once the running trials end.
STOP_FILE = "stop"
# A trial's epochs are written whole: at most so often, and for at most this share of the time.
_BETWEEN_WRITES_S = 4.0
_WRITING_SHARE = 0.02
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_SQLITE_DISK = ("disk is full", "disk I/O error", "readonly database")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "RUNNING",
    TrialState.WAITING: "RUNNING",
    TrialState.COMPLETE: "COMPLETE",
    TrialState.PRUNED: "PRUNED",
    TrialState.FAIL: "FAIL",
}


class StudyStore:
    """One study on disk.

    The folder holds `study.yaml` (the study file as it was started), `study.json` (what was found
    at the start: data, environment, tracking) and `trials.db` (Optuna's storage: one Optuna study
    for each row and phase, named `search/LABEL` and `confirmation/LABEL`).

    Args:
        folder: the study's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name

    @classmethod
    def require_new(cls, name: str) -> Path:
        """Return the folder that a new study would have.

        Raises:
            StoreError: the name is taken, or is none.
        """
        if not _NAME.fullmatch(name):
            msg = f"`{name}` cannot name a study: use letters, digits, `-` and `_`"
            raise StoreError(msg)
        folder = studies_folder() / name
        if folder.exists():
            msg = (
                f"a study named `{name}` exists already in {folder}. See it with `rnnsearch study "
                f"show {name}`, go on with it with `rnnsearch study resume {name}`, start this one "
                f"under another name with `--name`, or remove it with `rnnsearch study delete "
                f"{name}`"
            )
            raise StoreError(msg)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder.parent):
                pass
        except OSError as error:
            raise _unwritable(folder.parent, error) from None
        return folder

    @classmethod
    def create(cls, name: str, study_text: str) -> StudyStore:
        """Make the folder of a new study.

        Raises:
            StoreError: the name is taken, or the folder cannot be written.
        """
        folder = cls.require_new(name)
        # Under another name until it is whole: who looks at it meanwhile would make the database
        # too, and one of the two would fail.
        unfinished = cls(folder.with_name(f".{name}.{os.getpid()}.partial"))
        try:
            unfinished.folder.mkdir(parents=True)
            (unfinished.folder / "study.yaml").write_text(study_text, encoding="utf-8")
            unfinished._storage.engine.dispose()
            unfinished.folder.rename(folder)
        except OSError as error:
            raise _unwritable(folder, error) from None
        return cls(folder)

    @classmethod
    def open(cls, name: str) -> StudyStore:
        """Open an existing study.

        Raises:
            StoreError: there is none of that name.
        """
        folder = studies_folder() / name
        if not _NAME.fullmatch(name) or not folder.is_dir():
            known = [store.name for store in list_stores()]
            msg = (
                f"no study named `{name}` in {studies_folder()}.{did_you_mean(name, known)} "
                f"Known: {', '.join(known) or 'none'}"
            )
            raise StoreError(msg)
        return cls(folder)

    def discard(self) -> None:
        """Remove the study's folder with everything in it."""
        shutil.rmtree(self.folder)

    @property
    def is_running(self) -> bool:
        """Whether a process that is alive says that it runs the study.

        One on another machine is believed.
        """
        info = self.info
        if info.get("state") != "running":
            return False
        if info.get("host") != socket.gethostname():
            return "host" in info
        pid = int(info.get("pid", 0))
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            return True
        return pid > 0 and not _has_ended(pid)

    @property
    def running_where(self) -> str:
        """Where it runs."""
        info = self.info
        where = f"process {info.get('pid', '?')} on {info.get('host', '?')}"
        return f"{where}, Ray job {info['job']}" if info.get("job") else where

    @property
    def study_text(self) -> str:
        """The study file as it was when the study started."""
        return (self.folder / "study.yaml").read_text(encoding="utf-8")

    def write_info(self, **fields: Any) -> None:
        """Add fields to `study.json`, atomically."""
        path = self.folder / "study.json"
        write_whole(path, json.dumps({**self.info, **fields}, indent=2) + "\n")

    @property
    def info(self) -> dict[str, Any]:
        """What was found when the study started: data, environment, tracking."""
        path = self.folder / "study.json"
        content: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        return content

    @cached_property
    def _storage(self) -> optuna.storages.RDBStorage:
        return optuna.storages.RDBStorage(
            f"sqlite:///{self.folder / 'trials.db'}",
            engine_kwargs={"connect_args": {"timeout": 60}},
        )

    def optuna_study(
        self,
        phase: Phase,
        label: str,
        direction: Direction,
        sampler: optuna.samplers.BaseSampler | None = None,
    ) -> optuna.Study:
        """The Optuna study of one row and phase, made at the first call."""
        return optuna.create_study(
            storage=self._storage,
            study_name=f"{phase}/{label}",
            direction=direction,
            sampler=sampler,
            load_if_exists=True,
        )

    def records(self, *, interrupted: bool = False) -> Iterator[TrialRecord]:
        """Every trial of the study, in the order of phases, rows and numbers.

        Args:
            interrupted: whether to give those too that a stop or a crash ended: they are run
                anew, so they count neither as trials nor as failures. One that a crash ended
                when it was only drawn was never begun, and is never given.
        """
        if not (self.folder / "trials.db").exists():
            return
        for name in optuna.get_all_study_names(self._storage):
            phase, _, label = name.partition("/")
            study = optuna.load_study(study_name=name, storage=self._storage)
            for trial in study.get_trials(deepcopy=False):
                if not trial.user_attrs.get("interrupted") or (interrupted and _was_begun(trial)):
                    yield _record(phase, label, trial)  # type: ignore[arg-type]

    def end_zombies(self, reason: str) -> list[str]:
        """Record that trials which a dead driver left running were interrupted; gives their keys.

        Those that it had queued and not drawn are ended too: the next draw would be given their
        parameters. Only for a study that no process runs any more.
        """
        found: list[str] = []
        if not (self.folder / "trials.db").exists():
            return found
        for name in optuna.get_all_study_names(self._storage):
            study = optuna.load_study(study_name=name, storage=self._storage)
            left = (TrialState.RUNNING, TrialState.WAITING)
            for trial in study.get_trials(deepcopy=False, states=left):
                self._storage.set_trial_user_attr(trial._trial_id, "interrupted", True)
                self._storage.set_trial_user_attr(trial._trial_id, "reason", reason)
                self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                found.append(f"{name}/{trial.number}")
        return found

    def unfinished(self, study: optuna.Study) -> list[Unfinished]:
        """Trials of one row and phase that were interrupted and have not been begun anew."""
        phase, _, label = study.study_name.partition("/")
        trials = [trial for trial in study.get_trials(deepcopy=False) if _was_begun(trial)]
        begun_anew = {trial.user_attrs.get("anew") for trial in trials}
        return [
            Unfinished(
                f"{study.study_name}/{trial.number}",
                dict(trial.params),
                dict(trial.user_attrs["values"]),
                TrialSpec.from_json(trial.user_attrs["spec"]),
                _record(phase, label, trial).epochs,  # type: ignore[arg-type]
                trial.user_attrs.get("checkpoint", 0),
                trial.user_attrs.get("workers_lost", 0),
            )
            for trial in trials
            if trial.user_attrs.get("interrupted")
            and f"{study.study_name}/{trial.number}" not in begun_anew
        ]


@dataclass(frozen=True)
class Unfinished:
    """A trial that a stop or a crash ended.

    Attributes:
        key: the trial.
        parameters: what Optuna drew, as it stores it.
        values: what was drawn, by name.
        spec: what it was asked to do.
        epochs: what it had measured.
        checkpoint: the epoch after which it was kept, or 0.
        workers_lost: how many workers died over it.
    """

    key: str
    parameters: Mapping[str, Any]
    values: Mapping[str, Value]
    spec: TrialSpec
    epochs: tuple[EpochMetrics, ...]
    checkpoint: int
    workers_lost: int


def _was_begun(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial came further than being drawn: its specification is noted last."""
    return "spec" in trial.user_attrs


def _record(phase: Phase, label: str, trial: optuna.trial.FrozenTrial) -> TrialRecord:
    attributes: Mapping[str, Any] = trial.user_attrs
    spec, complexity = attributes.get("spec"), attributes.get("complexity")
    return TrialRecord(
        phase=phase,
        label=label,
        number=trial.number,
        spec=TrialSpec.from_json(spec) if spec else None,
        state=_STATES[trial.state],
        reason=attributes.get("reason", ""),
        epochs=tuple(EpochMetrics(**epoch) for epoch in json.loads(attributes.get("epochs", "[]"))),
        test_loss=attributes.get("test_loss"),
        test_metric=attributes.get("test_metric"),
        # Versions that did not say what they counted, counted products alone.
        complexity=Complexity(**{"flops_counted": "products", **complexity})
        if complexity
        else None,
        engine=attributes.get("engine", ""),
        engine_reason=attributes.get("engine_reason", ""),
        interrupted=bool(attributes.get("interrupted")),
    )


class OpenTrial:
    """A running trial in the store; every method writes at once, but for what `report` says.

    Args:
        study: the Optuna study it belongs to.
        trial: Optuna's handle.
    """

    def __init__(self, study: optuna.Study, trial: optuna.Trial) -> None:
        self._study, self._trial = study, trial
        self._epochs: list[EpochMetrics] = []
        self._write_epochs_at = 0.0
        self.number = trial.number

    def suggest(self, parameters: Mapping[str, Parameter]) -> dict[str, Value]:
        """Let Optuna draw a value for each parameter."""
        return {name: self._suggest(name, parameter) for name, parameter in parameters.items()}

    def _suggest(self, name: str, parameter: Parameter) -> Value:
        if isinstance(parameter, Choice):
            value = self._trial.suggest_categorical(name, parameter.options)
            assert value is not None, "a Choice holds no None"
            return value
        low, high, log = parameter.low, parameter.high, parameter.log
        if isinstance(parameter, FloatRange):
            return self._trial.suggest_float(name, low, high, log=log)
        return self._trial.suggest_int(name, parameter.low, parameter.high, log=log)

    def note(self, **attributes: Any) -> None:
        """Keep facts about the trial."""
        for name, value in attributes.items():
            self._trial.set_user_attr(name, value)

    def report(self, epochs: Sequence[EpochMetrics], *, at_once: bool = False) -> None:
        """Keep what epochs measured.

        The last of them is written at once, as Optuna's intermediate value; the list of all epochs
        every few seconds, when the trial ends, and where it is asked for at once.
        """
        self._epochs += epochs
        last = epochs[-1]
        if last.validation_metric == last.validation_metric:
            self._trial.report(last.validation_metric, last.epoch)
        if at_once or time.monotonic() >= self._write_epochs_at:
            self._write_epochs()

    def _write_epochs(self) -> None:
        began = time.monotonic()
        self.note(epochs=json.dumps([vars(epoch) for epoch in self._epochs]))
        took = time.monotonic() - began
        self._write_epochs_at = began + max(_BETWEEN_WRITES_S, took / _WRITING_SHARE)

    @classmethod
    def anew(
        cls, study: optuna.Study, unfinished: Unfinished, free: Mapping[str, Parameter]
    ) -> OpenTrial:
        """Begin an interrupted trial again, with what was drawn for it."""
        study.enqueue_trial(dict(unfinished.parameters))
        trial = cls(study, study.ask())
        trial.suggest(free)
        rank = unfinished.spec.rank
        trial.note(values=dict(unfinished.values), rank=rank, anew=unfinished.key)
        return trial

    def go_on(self, epochs: Sequence[EpochMetrics]) -> None:
        """Take over what an interrupted trial had measured."""
        self._epochs = list(epochs)
        self._write_epochs()

    def interrupt(self, reason: str) -> None:
        """Finish as interrupted: it will be begun anew when the study is resumed."""
        self.note(interrupted=True)
        self.fail(reason)

    def complete(self, value: float) -> None:
        """Finish with the final value."""
        self._finish(TrialState.COMPLETE, value)

    def prune(self, reason: str) -> None:
        """Finish as stopped early."""
        self.note(reason=reason)
        self._finish(TrialState.PRUNED)

    def fail(self, reason: str) -> None:
        """Finish as failed."""
        self.note(reason=reason)
        self._finish(TrialState.FAIL)

    def _finish(self, state: TrialState, value: float | None = None) -> None:
        self._write_epochs()
        # Optuna itself takes the last intermediate value as the value of a pruned trial.
        self._study.tell(self._trial, value, state=state)


def _has_ended(pid: int) -> bool:
    """Whether a process has ended though its number is taken.

    In a container where nothing collects orphans, it is taken for ever.
    """
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:  # no Linux
        return False
    return line.rpartition(")")[2].split()[0] == "Z"


def _unwritable(folder: Path, error: OSError) -> StoreError:
    msg = f"cannot write {folder}: {error.strerror}. Set RNNSEARCH_HOME to a folder that you may"
    return StoreError(f"{msg} write")


def disk_problem(error: BaseException) -> str | None:
    """What is wrong with the disk, if that is what an error comes from."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, OSError) and one.errno in _DISK:
            return one.strerror
        if isinstance(one, sqlite3.OperationalError) and any(w in str(one) for w in _SQLITE_DISK):
            return str(one)
        waiting += [one.__cause__, one.__context__]
    return None


def studies_folder() -> Path:
    """The folder that holds the studies: `studies` in RNNSEARCH_HOME."""
    return home() / "studies"


def list_stores() -> list[StudyStore]:
    """All studies, by name."""
    if not studies_folder().is_dir():
        return []
    return [
        StudyStore(f)
        for f in sorted(studies_folder().iterdir())
        if _NAME.fullmatch(f.name) and (f / "study.yaml").exists()
    ]


def make_sampler(name: str, seed: int, trials: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler; TPE begins to model after half of a small number of trials."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=draws_before_results(name, trials)
    )


def draws_before_results(name: str, trials: int) -> int:
    """How many of a sampler's first draws do not depend on any result."""
    return trials if name == "random" else max(2, min(10, trials // 2))
