"""The store: a study's folder, with Optuna's database of every trial in it."""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rnnsearch.config.check import check_config
from rnnsearch.config.home import home, private_folder, sqlite_url, write_whole
from rnnsearch.config.schema import StudyConfig, TrackingConfig
from rnnsearch.config.study_file import StudyFile, parse_study
from rnnsearch.errors import DamagedError, StoreError, did_you_mean
from rnnsearch.records.disk import database_problem, disk_problem, overwrite
from rnnsearch.records.lease import STALE_S, Holder, Lease, TakenError, holder_of, take
from rnnsearch.records.ray_jobs import own_job
from rnnsearch.records.study_info import StudyInfo, StudyState
from rnnsearch.records.trials_file import (
    StoredTrial,
    Unfinished,
    first_numbers,
    read_direction,
    read_trials,
    record_of,
    unfinished_of,
    was_begun,
)
from rnnsearch.spec.shape import Direction
from rnnsearch.spec.trial import Phase, TrialRecord

if TYPE_CHECKING:
    import optuna

# A file of this name in a study's folder asks its driver to stop once the running trials end.
STOP_FILE = "stop"
STUDY_FILE, INFO_FILE, TRIALS_FILE = "study.yaml", "study.json", "trials.db"

Doing: TypeAlias = Literal["running", "repairing", "writing", "importing", "deleting"]
Beside: TypeAlias = Literal["lease", "partial", "deleted"]
_DOING = {
    "running": "running",
    "repairing": "being repaired",
    "writing": "being written",
    "importing": "being imported",
    "deleting": "being deleted",
}
_SQLITE_HEADER = b"SQLite format 3\0"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class StudyStore:
    """One study on disk.

    The folder holds `study.yaml` (the study file as it was started), `study.json` (what was found
    at the start: data, environment, tracking) and `trials.db` (Optuna's storage: one Optuna study
    for each row and phase, named `search/LABEL` and `confirmation/LABEL`).

    Args:
        folder: the study's folder.
        lease: the lease on its name, while this process holds it. Without one, what is written
            takes it for as long; with one, nothing more is written once it is lost.
    """

    def __init__(self, folder: Path, lease: Lease | None = None) -> None:
        self.folder = folder
        self.name = folder.name
        self.lease = lease

    @classmethod
    def require_new(cls, name: str) -> Path:
        """Return the folder that a new study would have.

        Raises:
            StoreError: the name is taken or invalid.
        """
        if not _NAME.fullmatch(name):
            msg = f"`{name}` cannot name a study: use letters, digits, `-` and `_`"
            raise StoreError(msg)
        folder = studies_folder() / name
        if folder.exists():
            msg = (
                f"a study named `{name}` exists already in {folder}. See it with `rnnsearch study "
                f"show {name}`, resume it with `rnnsearch study resume {name}`, start this one "
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
            StoreError: the name is taken or invalid.
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
        """Make the database of its trials, if it does not exist."""
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
            StoreError: no study has that name.
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
        """The same study, held: no other process runs, repairs, writes or deletes it meanwhile.

        Args:
            doing: what for.
            force: also where its driver was alive on another machine seconds ago.

        Raises:
            StoreError: another process holds it, or the lease cannot be written.
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
        """The process that runs, repairs, writes or deletes the study, if there is one."""
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
            DamagedError: it is missing or cannot be read.
        """
        path = self.folder / STUDY_FILE
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise self._damaged(path, f"cannot read {path}: {reason}") from error

    @property
    def study_file(self) -> StudyFile:
        """The study file, parsed.

        Raises:
            DamagedError: it is missing or cannot be read.
            StudyFileError: it is no study file.
        """
        return parse_study(self.study_text, str(self.folder / STUDY_FILE))

    @property
    def config(self) -> StudyConfig:
        """What the study is to do: its file, with what it was extended to.

        An imported one has no tracking address: the archive's author chose it, and passwords
        in this environment are not for it.

        Raises:
            DamagedError: `study.yaml` or `study.json` is missing or cannot be read.
            StudyFileError: the file is no study file.
        """
        info = self.info
        config = check_config(info.extended.applied_to(self.study_file))
        if info.imported is not None:
            config = config.model_copy(update={"tracking": TrackingConfig()})
        return config

    def _damaged(self, path: Path, problem: str) -> DamagedError:
        return DamagedError(study=self.name, path=path, problem=problem)

    def write_info(self, **fields: Any) -> None:
        """Change fields of `study.json`, atomically; None takes one away.

        Raises:
            StoreError: another process holds the study, it is damaged, or it cannot be
                written.
        """
        with self.held("writing"):
            path, text = self.folder / INFO_FILE, self.info.with_fields(**fields).to_json()
            try:
                write_whole(path, text)
            except StoreError as error:
                if disk_problem(error) is None or not overwrite(path, text):
                    raise

    @property
    def state(self) -> StudyState | None:
        """The state of the study: one that says it is running, but is not, was interrupted."""
        return self.state_of(self.info)

    def state_of(self, info: StudyInfo) -> StudyState | None:
        """The state of the study, whose `study.json` has been read."""
        if self.is_running:
            return "running"
        return "interrupted" if info.state == "running" else info.state

    @property
    def info(self) -> StudyInfo:
        """What `study.json` says; nothing is known before the first trial.

        Raises:
            DamagedError: it is damaged.
        """
        path = self.folder / INFO_FILE
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return StudyInfo()
        except OSError as error:
            problem = f"cannot read {path}: {error.strerror or error}"
            raise self._damaged(path, problem) from error
        try:
            return StudyInfo.parse(text, str(path))
        except StoreError as error:
            raise self._damaged(path, str(error)) from None

    @cached_property
    def _storage(self) -> optuna.storages.RDBStorage:
        # Here, so that commands that only read a study do not wait for it.
        import optuna
        from sqlalchemy import event

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = self.folder / TRIALS_FILE
        url = sqlite_url(path)
        with self._damage_named():
            if path.exists():
                read_direction(path)
            storage = optuna.storages.RDBStorage(
                url.replace("{", "{{").replace("}", "}}"),  # Optuna fills its version in
                engine_kwargs={"connect_args": {"timeout": 60}},
            )
        if (lease := self.lease) is not None:
            # A driver that was asleep while another took over no longer reads or writes trials.
            event.listen(storage.engine, "before_cursor_execute", lambda *_: lease.require())
        return storage

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        """Say of a database that cannot be read which it is, and what to do."""
        try:
            yield
        except Exception as error:
            if (problem := database_problem(error)) is None:
                raise
            path = self.folder / TRIALS_FILE
            raise self._damaged(path, f"{path} is damaged: {problem}") from error

    def damage(self, info: StudyInfo) -> DamagedError | None:
        """What is wrong with its files, as far as that is seen without reading its trials.

        Args:
            info: what `study.json` says.
        """
        path = self.folder / STUDY_FILE
        try:
            path.open("rb").close()
            path = self.folder / TRIALS_FILE
            if not path.exists() and info.state is None:
                return None  # it never started
            with path.open("rb") as file:
                begins = file.read(len(_SQLITE_HEADER))
        except OSError as error:
            return self._damaged(path, f"cannot read {path}: {error.strerror or error}")
        if begins == _SQLITE_HEADER:
            return None
        found = "no database" if begins else "empty"
        return self._damaged(path, f"{path} is damaged: it is {found}")

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
        import optuna

        return optuna.create_study(
            storage=self._storage,
            study_name=f"{phase}/{label}",
            direction=direction,
            sampler=sampler or optuna.samplers.RandomSampler(),
            load_if_exists=True,
        )

    def _trials(self) -> dict[str, list[StoredTrial]]:
        """Every trial, by the name of its Optuna study."""
        if not (path := self.folder / TRIALS_FILE).exists():
            return {}
        if self.lease is not None:
            self.lease.require()
        with self._damage_named():
            return read_trials(path)

    @property
    def direction(self) -> Direction | None:
        """Whether a larger metric is better; None before the first trial."""
        if not (path := self.folder / TRIALS_FILE).exists():
            return None
        with self._damage_named():
            return read_direction(path)

    def records(self, *, interrupted: bool = False) -> Iterator[TrialRecord]:
        """Every trial of the study, in the order of phases, rows and numbers.

        Args:
            interrupted: whether to give those too that a stop or a crash ended: they are run
                again, so they count neither as trials nor as failures. One that a crash ended
                when it was only drawn was never begun, and is never given.

        Raises:
            DamagedError: the database is damaged.
        """
        for name, trials in self._trials().items():
            phase, _, label = name.partition("/")
            with self._damage_named():
                first = first_numbers(name, trials)
                found = [
                    record_of(phase, label, trial, first)  # type: ignore[arg-type]
                    for trial in trials
                    if not trial.user_attrs.get("interrupted") or (interrupted and was_begun(trial))
                ]
            yield from found

    def end_zombies(self, reason: str) -> list[str]:
        """Record that trials which a dead driver left running were interrupted; gives their keys.

        Those that it had queued and not drawn are ended too: the next draw would be given their
        parameters. Only for a study that no process runs.
        """
        found: list[str] = []
        if not (self.folder / TRIALS_FILE).exists():
            return found
        import optuna
        from optuna.trial import TrialState

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
        """Checkpoints from which no trial will resume."""
        unfinished = {
            record.key.file_name
            for record in self.records(interrupted=True)
            if record.interrupted or record.state == "RUNNING"
        }
        for path in sorted((self.folder / "checkpoints").glob("*.pt")):
            if path.name.rsplit(".", 2)[0] not in unfinished:
                yield path

    def unfinished(self, phase: Phase, label: str) -> list[Unfinished]:
        """Trials of one row and phase that were interrupted and have not been run again.

        In the order in which they were first begun.
        """
        name = f"{phase}/{label}"
        return unfinished_of(name, self._trials().get(name, []))


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
        StudyStore(f)
        for f in sorted(studies_folder().iterdir())
        # Another user's, in a home that several share, is theirs alone.
        if _NAME.fullmatch(f.name)
        and os.access(f, os.X_OK)
        and any((f / file).exists() for file in (STUDY_FILE, INFO_FILE, TRIALS_FILE))
    ]
