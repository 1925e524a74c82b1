"""The store: a study's folder, with Optuna's database of every trial in it."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
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
                f"show {name}`, start this one under another name with `--name`, or remove that "
                f"folder to start over"
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
        try:
            folder.mkdir(parents=True)
            (folder / "study.yaml").write_text(study_text, encoding="utf-8")
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

    def records(self) -> Iterator[TrialRecord]:
        """Every trial of the study, in the order of phases, rows and numbers."""
        if not (self.folder / "trials.db").exists():
            return
        for name in optuna.get_all_study_names(self._storage):
            phase, _, label = name.partition("/")
            study = optuna.load_study(study_name=name, storage=self._storage)
            for trial in study.get_trials(deepcopy=False):
                yield _record(phase, label, trial)  # type: ignore[arg-type]


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
        complexity=Complexity(**complexity) if complexity else None,
        engine=attributes.get("engine", ""),
        engine_reason=attributes.get("engine_reason", ""),
    )


class OpenTrial:
    """A running trial in the store; every method writes at once.

    Args:
        study: the Optuna study it belongs to.
        trial: Optuna's handle.
    """

    def __init__(self, study: optuna.Study, trial: optuna.Trial) -> None:
        self._study, self._trial = study, trial
        self._epochs: list[EpochMetrics] = []
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

    def report(self, metrics: EpochMetrics) -> None:
        """Keep an epoch's metrics; the validation metric becomes Optuna's intermediate value."""
        self._epochs.append(metrics)
        if metrics.validation_metric == metrics.validation_metric:
            self._trial.report(metrics.validation_metric, metrics.epoch)

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
        self.note(epochs=json.dumps([asdict(epoch) for epoch in self._epochs]))
        # Optuna itself takes the last intermediate value as the value of a pruned trial.
        self._study.tell(self._trial, value, state=state)


def _unwritable(folder: Path, error: OSError) -> StoreError:
    msg = f"cannot write {folder}: {error.strerror}. Set RNNSEARCH_HOME to a folder that you may"
    return StoreError(f"{msg} write")


def studies_folder() -> Path:
    """The folder that holds the studies: `studies` in RNNSEARCH_HOME."""
    return home() / "studies"


def list_stores() -> list[StudyStore]:
    """All studies, by name."""
    if not studies_folder().is_dir():
        return []
    return [
        StudyStore(f) for f in sorted(studies_folder().iterdir()) if (f / "study.yaml").exists()
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
