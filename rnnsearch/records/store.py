"""The store: a study's folder, with Optuna's database of every trial in it."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import optuna
from optuna.trial import TrialState
from sqlalchemy import event

from rnnsearch.config.home import home, private_folder, sqlite_url, write_whole
from rnnsearch.errors import StoreError, did_you_mean
from rnnsearch.records.lease import STALE_S, Holder, Lease, TakenError, holder_of, take
from rnnsearch.records.ray_jobs import own_job
from rnnsearch.records.study_info import StudyInfo, StudyState
from rnnsearch.spec.model import Complexity
from rnnsearch.spec.parameters import Choice, FloatRange, Parameter, Value
from rnnsearch.spec.shape import Direction
from rnnsearch.spec.trial import EpochMetrics, Phase, TrialRecord, TrialSpec
from rnnsearch.spec.trial import TrialState as State

optuna.logging.set_verbosity(optuna.logging.ERROR)

# A file of this name in a study's folder asks its driver to stop once the running trials end.
STOP_FILE = "stop"
STUDY_FILE, INFO_FILE, TRIALS_FILE = "study.yaml", "study.json", "trials.db"

Doing: TypeAlias = Literal["running", "mending", "writing", "importing", "deleting"]
Beside: TypeAlias = Literal["lease", "partial", "deleted"]
_DOING = {
    "running": "running",
    "mending": "being mended",
    "writing": "being written",
    "importing": "being imported",
    "deleting": "being deleted",
}
# A trial's epochs are written whole: at most so often, and for at most this share of the time.
_BETWEEN_WRITES_S = 4.0
_WRITING_SHARE = 0.02
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_SQLITE_DISK = ("disk is full", "disk I/O error", "readonly database")
_SQLITE_HEADER = b"SQLite format 3\0"
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
        lease: the lease on its name, while this process holds it. Without one, what is written
            takes it for as long; with one, nothing is written any more once it is lost.
    """

    def __init__(self, folder: Path, lease: Lease | None = None) -> None:
        self.folder = folder
        self.name = folder.name
        self.lease = lease

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
    def new(cls, name: str, doing: Doing = "running") -> AbstractContextManager[StudyStore]:
        """Hold a name that no study has; the study is made by `create`.

        Raises:
            StoreError: the name is taken, or is none.
        """
        cls.require_new(name)
        return cls(studies_folder() / name).held(doing)

    @classmethod
    def create(cls, name: str, study_text: str) -> StudyStore:
        """Make a new study at once; raises as `new` does."""
        with cls.new(name, "writing") as store:
            store.make(study_text)
        return cls(store.folder)

    def make(self, study_text: str) -> None:
        """Make the folder of a new study, whole or not at all.

        Raises:
            StoreError: the name is taken, or the folder cannot be written.
        """
        self.require_new(self.name)
        # Under another name until it is whole: who looks at it meanwhile would make the database
        # too, and one of the two would fail.
        unfinished = StudyStore(self.beside("partial"))
        try:
            shutil.rmtree(unfinished.folder, ignore_errors=True)  # of one who was killed at it
            private_folder(unfinished.folder)
            write_whole(unfinished.folder / STUDY_FILE, study_text)
            unfinished.make_database()
            unfinished.folder.rename(self.folder)
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        finally:
            shutil.rmtree(unfinished.folder, ignore_errors=True)

    def make_database(self) -> None:
        """Make the database of its trials, where there is none."""
        self._storage.engine.dispose()
        (self.folder / TRIALS_FILE).chmod(0o600)

    def discard(self) -> None:
        """Remove the study's folder with everything in it."""
        shutil.rmtree(self.folder)

    def beside(self, kind: Beside) -> Path:
        """Where, beside the study's folder, something about it is while it is not whole."""
        return self.folder.with_name(f".{self.name}.{kind}")

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
        if not os.access(folder, os.R_OK | os.X_OK):
            raise StoreError(f"study `{name}` in {folder} is another user's, who alone may read it")
        return cls(folder)

    @contextmanager
    def held(self, doing: Doing, *, force: bool = False) -> Iterator[StudyStore]:
        """The same study, held: nobody else runs, mends, writes or deletes it meanwhile.

        Args:
            doing: what for.
            force: also where its driver was alive on another machine seconds ago.

        Raises:
            StoreError: somebody holds it, or the lease cannot be written.
        """
        if self.lease is not None:
            self.lease.require()
            yield self
            return
        try:
            lease = take(self.beside("lease"), doing, job=own_job(), force=force)
        except TakenError as error:
            raise self._taken(error) from None
        except OSError as error:
            raise _unwritable(self.folder.parent, error) from None
        with lease:
            yield StudyStore(self.folder, lease)

    def _taken(self, error: TakenError) -> StoreError:
        holder, seconds = error.holder, error.seconds
        if not self.folder.exists():
            who = f"{holder} is making it" if holder else "it is being made"
            msg = f"a study named `{self.name}` exists already: {who}. Take another `--name`"
            return StoreError(msg)
        doing = _DOING[holder.doing] if holder and holder.doing in _DOING else "in use"
        msg = f"study `{self.name}` is {doing}" + (f": {holder}" if holder else "")
        if seconds is not None:
            msg += (
                f". It showed a sign of life less than {STALE_S:.0f} s ago; if it is dead, this "
                f"works in {math.ceil(seconds)} s"
            )
        return StoreError(msg)

    @property
    def holder(self) -> Holder | None:
        """Who runs, mends, writes or deletes the study, if anybody does."""
        return holder_of(self.beside("lease"))

    @property
    def is_running(self) -> bool:
        """Whether a driver that is alive runs the study."""
        holder = self.holder
        return holder is not None and holder.doing == "running"

    @property
    def last_driver(self) -> str:
        """Where the study runs, or ran last."""
        if (holder := self.holder) is not None:
            return str(holder)
        info = self.info
        where = f"process {info.pid or '?'} on {info.host or '?'}"
        return f"{where}, Ray job {info.job}" if info.job else where

    @property
    def study_text(self) -> str:
        """The study file as it was when the study started.

        Raises:
            StoreError: it is missing or cannot be read.
        """
        path = self.folder / STUDY_FILE
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StoreError(f"cannot read {path}: {reason}. {self.advice}") from error

    @property
    def advice(self) -> str:
        """What to type where one of its files is damaged."""
        return f"`rnnsearch study doctor {self.name}` says more; with `--fix` it mends what it can"

    def write_info(self, **fields: Any) -> None:
        """Change fields of `study.json`, atomically; None takes one away.

        Raises:
            StoreError: somebody else holds the study, what is there is damaged, or it cannot be
                written.
        """
        with self.held("writing"):
            path, text = self.folder / INFO_FILE, self.info.with_fields(**fields).to_json()
            try:
                write_whole(path, text)
            except StoreError as error:
                if disk_problem(error) is None or not _written_over(path, text):
                    raise

    @property
    def state(self) -> StudyState | None:
        """The state of the study: one that seems to run, and that nobody runs, was interrupted."""
        if self.is_running:
            return "running"
        state = self.info.state
        return "interrupted" if state == "running" else state

    @property
    def info(self) -> StudyInfo:
        """What `study.json` says; nothing is known before the first trial.

        Raises:
            StoreError: it is damaged.
        """
        path = self.folder / INFO_FILE
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return StudyInfo()
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror or error}") from error
        try:
            return StudyInfo.parse(text, str(path))
        except StoreError as error:
            raise StoreError(f"{error}. {self.advice}") from None

    @cached_property
    def _storage(self) -> optuna.storages.RDBStorage:
        path = self.folder / TRIALS_FILE
        url = sqlite_url(path)
        with self._damage_named():
            if path.exists() and not path.stat().st_size:
                raise sqlite3.DatabaseError("the file is empty")
            storage = optuna.storages.RDBStorage(
                url.replace("{", "{{").replace("}", "}}"),  # Optuna fills its version in
                engine_kwargs={"connect_args": {"timeout": 60}},
            )
        if (lease := self.lease) is not None:
            # A driver that was asleep while another took over reads and writes no trial any more.
            event.listen(storage.engine, "before_cursor_execute", lambda *_: lease.require())
        return storage

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        """Say of a database that cannot be read which it is, and what to do."""
        try:
            yield
        except Exception as error:
            if (problem := _damage(error)) is None:
                raise
            msg = f"{self.folder / TRIALS_FILE} is damaged: {problem}. {self.advice}"
            raise StoreError(msg) from error

    @property
    def damage(self) -> str | None:
        """What is wrong with its files, as far as that is seen without reading its trials."""
        path = self.folder / STUDY_FILE
        try:
            path.open("rb").close()
            state = self.info.state
            path = self.folder / TRIALS_FILE
            if not path.exists() and state is None:
                return None  # it never started
            with path.open("rb") as file:
                begins = file.read(len(_SQLITE_HEADER))
        except OSError as error:
            return f"cannot read {path}: {error.strerror or error}. {self.advice}"
        except StoreError as error:
            return str(error)
        if begins == _SQLITE_HEADER:
            return None
        found = "no database" if begins else "empty"
        return f"{path} is damaged: it is {found}. {self.advice}"

    def optuna_study(
        self,
        phase: Phase,
        label: str,
        direction: Direction,
        sampler: optuna.samplers.BaseSampler | None = None,
    ) -> optuna.Study:
        """The Optuna study of one row and phase, made at the first call.

        It keeps the trials; what they train with is drawn by `Drawing`.
        """
        return optuna.create_study(
            storage=self._storage,
            study_name=f"{phase}/{label}",
            direction=direction,
            sampler=sampler or optuna.samplers.RandomSampler(),
            load_if_exists=True,
        )

    @property
    def direction(self) -> Direction | None:
        """Whether a larger metric is better; None before the first trial."""
        if not (self.folder / "trials.db").exists():
            return None
        for summary in optuna.get_all_study_summaries(self._storage, include_best_trial=False):
            return _direction_of(summary.direction)
        return None

    def records(self, *, interrupted: bool = False) -> Iterator[TrialRecord]:
        """Every trial of the study, in the order of phases, rows and numbers.

        Args:
            interrupted: whether to give those too that a stop or a crash ended: they are run
                anew, so they count neither as trials nor as failures. One that a crash ended
                when it was only drawn was never begun, and is never given.
        """
        if not (self.folder / TRIALS_FILE).exists():
            return
        with self._damage_named():
            names = optuna.get_all_study_names(self._storage)
        for name in names:
            phase, _, label = name.partition("/")
            with self._damage_named():
                study = optuna.load_study(study_name=name, storage=self._storage)
                trials = study.get_trials(deepcopy=False)
                first = _first_numbers(name, trials)
                found = [
                    _record(phase, label, trial, first)  # type: ignore[arg-type]
                    for trial in trials
                    if not trial.user_attrs.get("interrupted")
                    or (interrupted and _was_begun(trial))
                ]
            yield from found

    def end_zombies(self, reason: str) -> list[str]:
        """Record that trials which a dead driver left running were interrupted; gives their keys.

        Those that it had queued and not drawn are ended too: the next draw would be given their
        parameters. Only for a study that no process runs any more.
        """
        found: list[str] = []
        if not (self.folder / TRIALS_FILE).exists():
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

    def useless_checkpoints(self) -> Iterator[Path]:
        """Checkpoints from which no trial will go on."""
        unfinished = {
            f"{r.phase}-{r.label}-{r.number}"
            for r in self.records(interrupted=True)
            if r.interrupted or r.state == "RUNNING"
        }
        for path in sorted((self.folder / "checkpoints").glob("*.pt")):
            if path.name.rsplit(".", 2)[0] not in unfinished:
                yield path

    def unfinished(self, study: optuna.Study) -> list[Unfinished]:
        """Trials of one row and phase that were interrupted and have not been begun anew.

        In the order in which they were first begun.
        """
        name = study.study_name
        trials = [trial for trial in study.get_trials(deepcopy=False) if _was_begun(trial)]
        begun_anew = {trial.user_attrs.get("anew") for trial in trials}
        first = _first_numbers(name, trials)
        found = [
            Unfinished(
                f"{name}/{trial.number}",
                dict(trial.user_attrs["values"]),
                _spec_of(trial.user_attrs),
                _epochs_of(trial.user_attrs),
                trial.user_attrs.get("checkpoint", 0),
                trial.user_attrs.get("workers_lost", 0),
                first[trial.number],
            )
            for trial in trials
            if trial.user_attrs.get("interrupted") and f"{name}/{trial.number}" not in begun_anew
        ]
        return sorted(found, key=lambda one: one.first_number)


@dataclass(frozen=True)
class Unfinished:
    """A trial that a stop or a crash ended.

    Attributes:
        key: the trial.
        values: what was drawn, by name.
        spec: what it was asked to do.
        epochs: what it had measured.
        checkpoint: the epoch after which it was kept, or 0.
        workers_lost: how many workers died over it.
        first_number: the number under which it was first begun.
    """

    key: str
    values: Mapping[str, Value]
    spec: TrialSpec
    epochs: tuple[EpochMetrics, ...]
    checkpoint: int
    workers_lost: int
    first_number: int


def _was_begun(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial came further than being drawn: its specification is noted last."""
    return "spec" in trial.user_attrs


def _first_numbers(name: str, trials: Sequence[optuna.trial.FrozenTrial]) -> dict[int, int]:
    """By number, the number under which a trial was first begun."""
    first: dict[int, int] = {}
    for trial in trials:  # what is begun anew comes after what it is
        before = str(trial.user_attrs.get("anew", "")).removeprefix(f"{name}/")
        known = first.get(int(before)) if before.isdecimal() else None
        first[trial.number] = trial.number if known is None else known
    return first


def _spec_of(attributes: Mapping[str, Any]) -> TrialSpec:
    spec = TrialSpec.from_json(attributes["spec"])
    # In a study of an earlier version they are beside it.
    return spec if spec.values else replace(spec, values=dict(attributes.get("values", {})))


def _epochs_of(attributes: Mapping[str, Any]) -> tuple[EpochMetrics, ...]:
    return tuple(EpochMetrics(**epoch) for epoch in json.loads(attributes.get("epochs", "[]")))


def _direction_of(direction: optuna.study.StudyDirection) -> Direction:
    return "maximize" if direction == optuna.study.StudyDirection.MAXIMIZE else "minimize"


def _record(
    phase: Phase, label: str, trial: optuna.trial.FrozenTrial, first: Mapping[int, int]
) -> TrialRecord:
    attributes: Mapping[str, Any] = trial.user_attrs
    complexity = attributes.get("complexity")
    return TrialRecord(
        phase=phase,
        label=label,
        number=trial.number,
        spec=_spec_of(attributes) if attributes.get("spec") else None,
        state=_STATES[trial.state],
        reason=attributes.get("reason", ""),
        epochs=_epochs_of(attributes),
        test_loss=attributes.get("test_loss"),
        test_metric=attributes.get("test_metric"),
        # Versions that did not say what they counted, counted products alone.
        complexity=Complexity(**{"flops_counted": "products", **complexity})
        if complexity
        else None,
        engine=attributes.get("engine", ""),
        engine_reason=attributes.get("engine_reason", ""),
        interrupted=bool(attributes.get("interrupted")),
        begun_as=None if first[trial.number] == trial.number else first[trial.number],
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
        """Let Optuna draw a value for each parameter, or take what was drawn."""
        return _suggest(self._trial, parameters)

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
    def begin(
        cls, study: optuna.Study, values: Mapping[str, Value], free: Mapping[str, Parameter]
    ) -> OpenTrial:
        """Begin a trial with values that were drawn for it.

        Args:
            study: the Optuna study that it is to belong to.
            values: by name.
            free: what Optuna is to keep them as.
        """
        study.enqueue_trial({name: values[name] for name in free if name in values})
        trial = cls(study, study.ask())
        trial.suggest(free)
        trial.note(values=dict(values))
        return trial

    @classmethod
    def anew(
        cls, study: optuna.Study, unfinished: Unfinished, free: Mapping[str, Parameter]
    ) -> OpenTrial:
        """Begin an interrupted trial again, with what was drawn for it."""
        trial = cls.begin(study, unfinished.values, free)
        trial.note(rank=unfinished.spec.rank, anew=unfinished.key)
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


def _unwritable(folder: Path, error: OSError) -> StoreError:
    msg = f"cannot write {folder}: {error.strerror}. Set RNNSEARCH_HOME to a folder that you may"
    return StoreError(f"{msg} write")


def _damage(error: BaseException) -> str | None:
    """What is wrong with a database, if that is what an error comes from."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        is_passing = isinstance(one, sqlite3.OperationalError) and "no such" not in str(one)
        if isinstance(one, sqlite3.DatabaseError) and not is_passing:
            return str(one)
        one = one.__cause__ or one.__context__
    if isinstance(error, ValueError | TypeError | KeyError):  # what Optuna or we made of its rows
        return f"{type(error).__name__}: {error}"
    return None


def _written_over(path: Path, text: str) -> bool:
    """Write a file on a full disk, where it lies; whether it had the room."""
    try:
        with path.open("r+b") as file:
            room = len(file.read())
            content = text.encode()
            if len(content) > room:
                content = json.dumps(json.loads(text), separators=(",", ":")).encode()
            if len(content) > room:
                return False
            file.seek(0)
            file.write(content.ljust(room))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        return False
    return True


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
        # Another user's, in a home that several share, is theirs alone.
        if _NAME.fullmatch(f.name)
        and os.access(f, os.X_OK)
        and any((f / file).exists() for file in (STUDY_FILE, INFO_FILE, TRIALS_FILE))
    ]


class Drawing:
    """What Optuna draws for one trial: in memory, from its row's other trials.

    The sampler sees them in the order in which they were first begun, each once: neither what was
    interrupted nor a number that a trial got when it was begun anew reaches it. So a study that was
    interrupted, or extended, draws what it would have drawn.

    Args:
        study: the Optuna study that holds the row's trials.
        sampler: `random` or `tpe`.
        seed: of this trial.
        number: of this trial in its row, from 0.
    """

    def __init__(self, study: optuna.Study, sampler: str, seed: int, number: int) -> None:
        self._study = optuna.create_study(
            direction=study.direction, sampler=make_sampler(sampler, seed, number)
        )
        if not is_drawn_blindly(sampler, number):
            self._study.add_trials(_as_first_begun(study))

    def draw(self, parameters: Mapping[str, Parameter]) -> dict[str, Value]:
        """Draw a value for each parameter; again, if the last ones would not do."""
        trial = self._study.ask()
        values = _suggest(trial, parameters)
        self._study.tell(trial, state=TrialState.FAIL)  # nothing to learn from
        return values


def _as_first_begun(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """What a sampler may learn from, in the order in which it was first begun."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    trials = study.get_trials(deepcopy=False)
    first = _first_numbers(study.study_name, trials)
    return [
        optuna.create_trial(
            state=trial.state,
            values=trial.values,
            params=trial.params,
            distributions=trial.distributions,
            intermediate_values=trial.intermediate_values,
        )
        for trial in sorted(trials, key=lambda trial: first[trial.number])
        if trial.state in states
    ]


def _suggest(trial: optuna.Trial, parameters: Mapping[str, Parameter]) -> dict[str, Value]:
    return {name: _suggest_one(trial, name, rule) for name, rule in parameters.items()}


def _suggest_one(trial: optuna.Trial, name: str, parameter: Parameter) -> Value:
    if isinstance(parameter, Choice):
        value = trial.suggest_categorical(name, parameter.options)
        assert value is not None, "a Choice holds no None"
        return value
    if isinstance(parameter, FloatRange):
        return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
    return trial.suggest_int(name, parameter.low, parameter.high, log=parameter.log)


# Of every four trials TPE draws the first two blindly, until it has drawn ten so: half of a small
# search. It depends on a trial's number alone, and not on how many there are to be: a search that
# is extended is the search that was asked for at once.
_EVERY, _BLIND, _UNTIL = 4, 2, 20


def is_drawn_blindly(sampler: str, number: int) -> bool:
    """Whether what a sampler draws for a row's trial does not depend on any result."""
    return sampler == "random" or (number < _UNTIL and number % _EVERY < _BLIND)


def make_sampler(name: str, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler for a row's trial of a number, from 0."""
    if is_drawn_blindly(name, number):
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_BLIND)
