"""The doctor: finds what a crash or a bad disk did to a study, and repairs what can be repaired.

Nothing that could still be read is deleted: a damaged file is renamed, with `.damaged` added to its
name.
"""

from __future__ import annotations

import math
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from rnnsearch.config.check import check_config
from rnnsearch.config.home import write_whole
from rnnsearch.errors import DamagedError, RnnsearchError, StoreError, StudyFileError, TrackingError
from rnnsearch.plugin.registry import load_registry
from rnnsearch.records.store import (
    INFO_FILE,
    STOP_FILE,
    STUDY_FILE,
    TRIALS_FILE,
    StudyStore,
    studies_folder,
)
from rnnsearch.records.study_info import Extension, StudyInfo
from rnnsearch.study.plan import make_task
from rnnsearch.study.stored import stored_task, tracking_uri

_WITH_FIX = "fix it with `rnnsearch study doctor --fix`"
# `.NAME.partial` and the like; before there was a lease, `.NAME.PID.partial` and `.import-XYZ`.
_BESIDE = re.compile(
    r"\.(?P<name>[A-Za-z0-9][A-Za-z0-9_-]*)\.(?:\d+\.)?(?:partial|deleted|lease)"
    r"|\.(?:import|deleted)-\w+"
)


@dataclass(frozen=True)
class Diagnosis:
    """One thing that is not as it should be.

    Attributes:
        study: the study.
        what: what was found.
        fixed: whether it was repaired.
        advice: what to do about it.
    """

    study: str
    what: str
    fixed: bool
    advice: str


def examine(store: StudyStore, *, fix: bool = False) -> list[Diagnosis]:
    """Look a study over; one that is running is left alone.

    Args:
        store: the study.
        fix: whether to repair what is found.

    Raises:
        StoreError: it is to be repaired, and another process holds it.
    """
    if not fix:
        return [] if store.is_running else _Examination(store, fix=False).findings()
    with store.held("repairing") as held:
        return _Examination(held, fix=True).findings()


def examine_leftovers(*, fix: bool = False) -> list[Diagnosis]:
    """Look for what starts, imports and deletions that were killed left beside the studies.

    Args:
        fix: whether to remove it.
    """
    found = []
    folder = studies_folder()
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if (match := _BESIDE.fullmatch(path.name)) is None:
            continue
        store = StudyStore(folder / (match["name"] or "import"))
        if store.holder is not None or (store.folder.exists() and path == store.beside("lease")):
            continue
        if fix:
            try:
                with store.held("repairing"):
                    _remove(path)
            except StoreError:  # another process took it at this moment
                continue
        what = f"what somebody who was killed left: {path.name}"
        found.append(Diagnosis(match["name"] or path.name, what, fix, _WITH_FIX))
    return found


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)  # a lease is gone once it was held


class _Examination:
    """One look at one study.

    Args:
        store: the study; held, if it is to be repaired.
        fix: whether to repair what is found.
    """

    def __init__(self, store: StudyStore, *, fix: bool) -> None:
        self._store, self._fix = store, fix
        self._found: list[Diagnosis] = []

    def findings(self) -> list[Diagnosis]:
        """Everything that was found; each part of a study relies on those before it."""
        for part in (self._file, self._trials, self._info, self._state, self._files, self._runs):
            try:
                part()
            except TrackingError as error:
                self._cannot(str(error), "bring it back, then ask again")
            except RnnsearchError as error:
                self._cannot(_problem(error), "")
                break
        return self._found

    def _note(self, what: str, fix: Callable[[], object]) -> None:
        """Note something that can be repaired, and repair it if asked to."""
        if self._fix:
            fix()
        self._found.append(Diagnosis(self._store.name, what, self._fix, _WITH_FIX))

    def _cannot(self, what: str, advice: str) -> None:
        """Note something that the user has to repair."""
        if what not in {finding.what for finding in self._found}:
            self._found.append(Diagnosis(self._store.name, what, False, advice or "see above"))

    def _put_aside(self, name: str) -> None:
        """Give a damaged file another name."""
        path = self._store.folder / name
        aside, number = path.with_name(f"{name}.damaged"), 1
        while aside.exists():
            number += 1
            aside = path.with_name(f"{name}.damaged-{number}")
        with suppress(FileNotFoundError):
            path.rename(aside)

    # The study file

    def _file(self) -> None:
        path = self._store.folder / STUDY_FILE
        try:
            stored_task(self._store)
        except StudyFileError as error:
            problem = str(error)
        except DamagedError as error:
            if error.path != path:
                return  # it comes later
            problem = error.problem
        else:
            return
        text = self._logged_file()
        if text is None:
            advice = f"put {STUDY_FILE} back as the study was started with it"
            self._found.append(Diagnosis(self._store.name, problem, False, advice))
            raise StoreError(problem)
        self._note(f"{problem}; MLflow has it", lambda: self._restore_file(text))
        if not self._fix:
            raise StoreError(problem)

    def _restore_file(self, text: str) -> None:
        self._put_aside(STUDY_FILE)
        write_whole(self._store.folder / STUDY_FILE, text)

    def _logged_file(self) -> str | None:
        """The study file as the study's run has it."""
        from rnnsearch.records.mlflow_queries import read_artifact
        from rnnsearch.records.mlflow_store import resolve_uri

        with suppress(RnnsearchError):
            info = self._store.info
            if info.run_id:
                uri = info.tracking_uri or resolve_uri(None)
                return read_artifact(uri, info.run_id, STUDY_FILE)
        return None

    # Its trials

    def _trials(self) -> None:
        path = self._store.folder / TRIALS_FILE
        try:
            if path.exists():
                list(self._store.records(interrupted=True))
                problem = _sqlite_problem(path)
            else:
                problem = "the file is missing" if self._has_begun() else None
        except DamagedError as error:
            what = error.problem
        else:
            if problem is None:
                return
            what = f"{path} is damaged: {problem}"
        if (rows := _readable(path)) is not None:
            self._note(f"{what}; every trial can be read", lambda: self._rewrite(rows))
        else:
            self._note(
                f"{what}; `rnnsearch study resume {self._store.name}` then runs every trial again",
                self._forget_trials,
            )
        if not self._fix:
            raise StoreError(what)
        self._store = StudyStore(self._store.folder, self._store.lease)

    def _has_begun(self) -> bool:
        try:
            return self._store.info.state is not None
        except StoreError:
            return True

    def _rewrite(self, rows: list[str]) -> None:
        """Put all that the database holds into a new one."""
        path = self._store.folder / TRIALS_FILE
        partial = path.with_name(f".{TRIALS_FILE}.partial")
        partial.unlink(missing_ok=True)
        with closing(sqlite3.connect(partial)) as database:
            database.executescript("".join(rows))
        self._put_aside(TRIALS_FILE)
        partial.rename(path)

    def _forget_trials(self) -> None:
        for name in (TRIALS_FILE, f"{TRIALS_FILE}-journal", f"{TRIALS_FILE}-wal"):
            self._put_aside(name)
        StudyStore(self._store.folder).make_database()
        with suppress(StoreError):  # else it is made again, below
            # The runs of the trials that were lost stay as they are, and new ones are begun.
            self._store.write_info(state="interrupted", run_id=None, phases=None, seconds=None)

    # What is known of it

    def _info(self) -> None:
        try:
            known = self._store.info
        except StoreError as error:
            problem = _problem(error)
        else:
            records = any(True for _ in self._store.records(interrupted=True))
            if not records or known.data is not None:
                return
            problem = f"{self._store.folder / INFO_FILE} is missing or empty, and there are trials"
        what = (
            f"{problem}; from its trials it is known again, but for its times, its versions and "
            "its runs in MLflow, which `resume` writes again"
        )
        self._note(what, self._rebuild)
        if not self._fix:
            raise StoreError(problem)

    def _rebuild(self) -> None:
        store = self._store
        records = list(store.records(interrupted=True))
        file = store.study_file
        config = check_config(file)
        asked = Counter(
            r.label for r in records if r.phase == "search" and r.spec and not r.interrupted
        )
        seeds = {r.spec.seed for r in records if r.phase == "confirmation" and r.spec}
        trials = max(asked.values(), default=0)
        more = len(seeds) if len(seeds) > config.confirmation.at_most else None
        goes_on = config.confirmation.until is not None
        extended = Extension(
            trials=trials if trials > config.search.trials else None,
            seeds=None if goes_on else more,
            most_seeds=more if goes_on else None,
        )
        found = {}
        if records:
            source = make_task(config, file, load_registry()).find()
            found = {"state": "interrupted", "data": source, "extended": extended}
        engines = {
            r.label: {"engine": r.spec.engine, "name": r.spec.engine, "step_ms": math.nan}
            for r in records
            if r.spec is not None
        }
        info = StudyInfo().with_fields(name=store.name, engines=engines, **found)
        self._put_aside(INFO_FILE)
        write_whole(store.folder / INFO_FILE, info.to_json())

    # What a driver that died left

    def _state(self) -> None:
        store = self._store
        running = [r for r in store.records() if r.state == "RUNNING"]
        if running:
            self._note(
                f"{len(running)} trials are left running",
                lambda: store.end_zombies("its driver died"),
            )
        if store.info.state == "running":
            self._note(
                "it says that it is running, and no process runs it",
                lambda: store.write_info(state="interrupted"),
            )
        elif store.beside("lease").exists() if store.lease is None else store.lease.replaced:
            self._note("somebody who had it died", lambda: None)  # holding it repairs that

    def _files(self) -> None:
        store = self._store
        for path in store.folder.rglob(".*.partial"):
            self._note(f"half a file: {path.name}", lambda path=path: _remove(path))  # type: ignore[misc]
        stop = store.folder / STOP_FILE
        if stop.exists():
            self._note("a request to stop is left", lambda: stop.unlink(missing_ok=True))
        for path in store.useless_checkpoints():
            self._note(
                f"a checkpoint of a trial that has ended: {path.name}",
                lambda path=path: path.unlink(missing_ok=True),  # type: ignore[misc]
            )

    # Its runs

    def _runs(self) -> None:
        from rnnsearch.records.mlflow_queries import look_at_runs

        run_id = self._store.info.run_id
        if run_id is None:
            return
        left = look_at_runs(tracking_uri(self._store), run_id)
        found = []
        if left.is_gone:
            found.append("its run is no longer in MLflow; a new one has to be started")
        if left.deleted:
            found.append(f"{left.deleted} of its runs were deleted in MLflow, and can be restored")
        if left.running:
            found.append(f"{left.running} runs are left running in MLflow")
        for i, what in enumerate(found):
            self._note(what, self._mend_runs if i == 0 else lambda: None)

    def _mend_runs(self) -> None:
        from rnnsearch.records.tracking import Tracker

        store, info = self._store, self._store.info
        assert info.run_id is not None
        assert info.data is not None
        tracker = Tracker(tracking_uri(store), store.name)
        with closing(tracker):
            tracker.connect()
            records = list(store.records(interrupted=True))
            if not tracker.resume_study(info.run_id, info.data, records):
                config, task = store.config, stored_task(store)
                run_id = tracker.start_study(
                    store.folder / STUDY_FILE,
                    config.question,
                    info.data,
                    info.environment,
                    info.git,
                    task.metric,
                    task.direction,
                )
                tracker.resume_study(run_id, info.data, records)
                store.write_info(run_id=run_id, experiment_id=tracker.experiment_id)
            tracker.finish_study("FINISHED" if info.state == "finished" else "KILLED", [])


def _problem(error: RnnsearchError) -> str:
    """What is wrong, without the advice to ask the doctor."""
    return error.problem if isinstance(error, DamagedError) else str(error)


def _sqlite_problem(path: Path) -> str | None:
    """What SQLite finds wrong with a database."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            (answer,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if answer == "ok" else str(answer).replace("\n", " ")


def _readable(path: Path) -> list[str] | None:
    """Statements that recreate a database, or None if something in it cannot be read."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            found = [f"{line}\n" for line in database.iterdump()]
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    return found if any("CREATE TABLE" in line for line in found) else None
