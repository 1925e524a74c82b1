"""A study from its file to its leaderboard: the stages in order."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rnnsearch.compare.comparison import Comparison
from rnnsearch.compare.leaderboard import Terms
from rnnsearch.config.check import check_config, load_config
from rnnsearch.config.schema import StudyConfig
from rnnsearch.config.secrets import hide_password
from rnnsearch.config.study_file import StudyFile, parse_study
from rnnsearch.errors import StoppedError, StoreError, TrackingError
from rnnsearch.plugin.data_contract import join
from rnnsearch.plugin.registry import load_registry
from rnnsearch.plugin.task import Examples
from rnnsearch.records.disk import disk_problem
from rnnsearch.records.environment import describe_environment, describe_git
from rnnsearch.records.event_log import EventLog
from rnnsearch.records.ray_jobs import own_job
from rnnsearch.records.store import STOP_FILE, STUDY_FILE, StudyStore, studies_folder
from rnnsearch.records.study_info import Extension, PhaseSpent
from rnnsearch.search.confirmation import ConfirmationQueue
from rnnsearch.search.queue import Listener
from rnnsearch.search.search import SearchQueue
from rnnsearch.spec.trial import Phase as PhaseName
from rnnsearch.spec.trial import configuration_of
from rnnsearch.study.plan import StudyPlan, make_plan
from rnnsearch.study.stored import compare_study, tracking_uri, write_comparison

if TYPE_CHECKING:
    from rnnsearch.records.tracking import Tracker
    from rnnsearch.search.stage import RunningPhase


@dataclass(frozen=True)
class StudyResult:
    """What a finished study leaves.

    Attributes:
        comparison: the confirmed rows, ranked, with the ledger and the caveats.
        folder: the study's folder.
        files: the files written for reading: table and plot.
        tracking_uri: the MLflow store that holds the runs, without a password.
        left_out: why each row that could not run was left out, by label.
    """

    comparison: Comparison
    folder: Path
    files: tuple[Path, ...]
    tracking_uri: str
    left_out: Mapping[str, str] = field(default_factory=dict)


class StudyListener(Listener, Protocol):
    """Hears of a study's trials, and of its stages."""

    def stage(self, text: str) -> None:
        """A stage begins that may take a while."""

    def phase(self, name: str, trials: int) -> None:
        """The search or the confirmation begins."""


@dataclass(frozen=True)
class Study:
    """A study that has been read and checked but not started.

    Attributes:
        config: its configuration.
        file: the file it came from.
    """

    config: StudyConfig
    file: StudyFile

    def plan(self) -> StudyPlan:
        """Everything that can be known before anything is trained."""
        return make_plan(self.config, self.file, load_registry())

    def renamed(self, name: str) -> Study:
        """The same study under another name; raises `StudyFileError` if the name will not do."""
        data = {**self.file.data, "name": name}
        file = StudyFile("--name", self.file.text, data, {("name",): 1})
        return Study(check_config(file), self.file)

    def was_started(self) -> bool:
        """Whether a study of this name exists; a refusal if it came from another file.

        Raises:
            StoreError: the stored study file is another.
        """
        store = StudyStore(studies_folder() / self.config.name)
        if not store.folder.exists():
            return False
        if store.study_text != self.file.text:
            msg = (
                f"study `{store.name}` was started from another file, which is kept in "
                f"{store.folder / STUDY_FILE}. Start this one under another `--name`, or go on "
                f"with that one: `rnnsearch study resume {store.name}`"
            )
            raise StoreError(msg)
        return True

    def run(self, listeners: Sequence[StudyListener] = ()) -> StudyResult:
        """Search, confirm and compare.

        Raises:
            RnnsearchError: the study could not start, or could not be finished.
        """
        name = self.config.name
        with _disk_errors(name), StudyStore.new(name) as store:
            return _run(self, listeners, store, is_resumed=False)


def load_study(path: str | Path) -> Study:
    """Read and check a study file.

    Raises:
        StudyFileError: with the line of what is wrong.
    """
    config, file = load_config(str(path))
    return Study(config, file)


def resume_study(
    name: str,
    listeners: Sequence[StudyListener] = (),
    *,
    trials: int | None = None,
    seeds: int | None = None,
    until: Literal["decided"] | None = None,
) -> StudyResult:
    """Go on with a study that was stopped, interrupted or killed, or that is to be extended.

    Every trial that has ended stays as it is. One that had not is run again with what was drawn
    for it, from its last checkpoint where there is one.

    Args:
        name: the study.
        listeners: who hears of its trials.
        trials: search trials for each row from now on, if more are wanted.
        seeds: seeds for each confirmation from now on, if more are wanted; until decided, at most.
        until: `decided` for more seeds wherever rows are not told apart yet.

    Raises:
        StoreError: there is no such study, it is running, or it is to shrink.
        RnnsearchError: it could not be finished.
    """
    with _disk_errors(name), StudyStore.open(name).held("running") as store:
        if store.lease and (dead := store.lease.replaced):
            _announce(listeners, f"taking over from {dead}, which died")
        elif (info := store.info).state == "running":
            _announce(listeners, f"taking over from process {info.pid} on {info.host}, which died")
        if (trials, seeds, until) != (None, None, None):
            _extend(store, trials, seeds, until)
        config = store.config
        file = parse_study(store.study_text, str(store.folder / STUDY_FILE))
        return _run(Study(config, file), listeners, store, is_resumed=True)


def _extend(
    store: StudyStore,
    trials: int | None,
    seeds: int | None,
    until: Literal["decided"] | None,
) -> None:
    """Write down to how many trials and seeds a study is to grow.

    Raises:
        StoreError: it is to shrink.
        StudyFileError: it is to grow beyond what a study file may ask for.
    """
    config = store.config
    extended = store.info.extended.model_dump()
    goes_on = until or config.confirmation.until
    for what, key, asked, now in (
        ("trials", "trials", trials, config.search.trials),
        ("seeds", "most_seeds" if goes_on else "seeds", seeds, config.confirmation.at_most),
    ):
        if asked is None:
            continue
        if asked < now:
            raise StoreError(
                f"study `{store.name}` has {now} {what} already; it cannot shrink to {asked}"
            )
        extended[key] = asked
    if until is not None:
        extended["until"] = until
    file = parse_study(store.study_text, f"rnnsearch study extend {store.name}")
    check_config(Extension(**extended).applied_to(replace(file, lines={})))
    store.write_info(extended=extended)


@contextmanager
def _disk_errors(name: str) -> Iterator[None]:
    """Say what to do about a disk that is full or broken, whatever stumbled over it."""
    try:
        yield
    except Exception as error:
        folder, problem = studies_folder() / name, disk_problem(error)
        if problem is None or not folder.exists():
            raise
        msg = (
            f"cannot write {folder}: {problem}. Make room, then `rnnsearch study resume {name}` "
            "goes on"
        )
        raise StoreError(msg) from error


def _run(
    study: Study, listeners: Sequence[StudyListener], store: StudyStore, *, is_resumed: bool
) -> StudyResult:
    # Ray and MLflow take seconds to import: not before a study really runs.
    from rnnsearch.records.mlflow_store import resolve_uri
    from rnnsearch.records.mlflow_views import is_server
    from rnnsearch.records.tracking import Tracker
    from rnnsearch.search.cluster import cluster, places, require_room
    from rnnsearch.search.ray_tune import run_trials

    config = study.config
    if not is_resumed:
        StudyStore.require_new(config.name)  # it may have been made before its name was held
    require_room(config.resources)
    _announce(listeners, "reading the data and solving the widths")
    plan = study.plan()
    if is_resumed:
        _require_same_data(plan, store)
    left_out = {row.label: str(row.error) for row in plan.failed}
    for label, reason in left_out.items():
        _announce(listeners, f"WARNING {label} is left out: {reason}")
    for planned in plan.rows:
        if planned.engine.failed:
            _announce(listeners, f"WARNING {planned.space.label}: {planned.engine.reason}")
    splits = dict(plan.splits)
    uri = tracking_uri(store) if is_resumed else resolve_uri(config.tracking.uri)
    _announce(listeners, "starting Ray and MLflow")
    tracker = Tracker(uri, store.name)
    with closing(tracker), ThreadPoolExecutor(1) as beside:
        connecting = beside.submit(tracker.connect)
        if is_server(tracker.uri):  # to make a database, on the other hand, takes a while
            connecting.result()
        with cluster(sum(_nbytes(examples) for examples in splits.values())):
            # Whatever can be refused is refused before anything is written.
            places(config.resources)
            connecting.result()
            if not is_resumed:
                store.make(study.file.text)
            (store.folder / STOP_FILE).unlink(missing_ok=True)
            with _recorded(store, tracker, study, plan, is_resumed=is_resumed):
                store.write_info(left_out=left_out)
                hearing = [*listeners, EventLog(store.folder)]
                phases = _phases(store, plan, splits, [tracker, *hearing], hearing)
                with closing(phases):  # while Ray is there, and not when it is collected
                    run_trials(phases, config.resources, plan.task.direction, store.folder)
                for checkpoint in store.useless_checkpoints():
                    checkpoint.unlink(missing_ok=True)
        _announce(listeners, "comparing")
        comparison = compare_study(store)
        files = write_comparison(store, comparison)
        for row in comparison.ranked:
            summary = {
                f"test/{plan.task.metric}": row.median,
                "test/mean": row.mean,
                "test/low": row.low,
                "test/high": row.high,
                "test/seeds": row.n,
                "time/step_ms": row.step_ms,
            }
            tracker.summarise(row.label, row.configuration, row.rank or 0, summary)
        for old in comparison.superseded:
            tracker.supersede(old.label, configuration_of(old.values))
        tracker.finish_study("FINISHED", files)
    uri = hide_password(tracker.uri)
    return StudyResult(comparison, store.folder, tuple(files), uri, left_out)


def _require_same_data(plan: StudyPlan, store: StudyStore) -> None:
    """Require that a resumed study would run on the data that it began with.

    Raises:
        StoreError: the data are others now.
    """
    data = store.info.data
    if data is not None and data.sha256 != plan.source.sha256:
        msg = (
            f"study `{store.name}` began on data with sha256 {data.sha256}, and "
            f"{plan.source.location} "
            f"has {plan.source.sha256}. Bring the old data back, or start a new study"
        )
        raise StoreError(msg)


def _phases(
    store: StudyStore,
    plan: StudyPlan,
    splits: dict[str, Examples],
    hearing: Sequence[Listener],
    listeners: Sequence[StudyListener],
) -> Generator[RunningPhase, None, None]:
    """The search, and when all of its trials have ended the confirmation."""
    from rnnsearch.search.stage import RunningPhase

    config, direction = plan.config, plan.task.direction
    # Which engine is fastest is measured; a resumed study keeps the ones that it began with.
    begun = store.info.engines
    rows = [row.trained_by(begun.get(row.space.label, row.engine).engine) for row in plan.rows]
    search = SearchQueue(store, config, rows, direction, hearing)
    _begin(listeners, "search", search.total - search.done)
    with _timed(store, "search", config):
        yield RunningPhase(search, splits)
    terms = Terms(
        direction,
        plan.task.no_skill,
        plan.task.limits,
        config.confirmation.margin,
        config.confirmation.against,
    )
    confirmation = ConfirmationQueue(store, config, rows, terms, hearing)
    _begin(listeners, "confirmation", confirmation.total - confirmation.done)
    with _timed(store, "confirmation", config):
        yield RunningPhase(confirmation, _confirmation_splits(config, plan, splits))


@contextmanager
def _timed(store: StudyStore, phase: PhaseName, config: StudyConfig) -> Iterator[None]:
    """Keep how long a phase took on how many workers, for the ledger."""
    from rnnsearch.search.cluster import places

    began, workers = time.monotonic(), places(config.resources)
    try:
        yield
    finally:
        seconds = round(store.info.seconds_of(phase) + time.monotonic() - began, 3)
        spent = PhaseSpent(seconds=seconds, workers=workers)
        store.write_info(phases={**store.info.phases, phase: spent})


@contextmanager
def _recorded(
    store: StudyStore, tracker: Tracker, study: Study, plan: StudyPlan, *, is_resumed: bool
) -> Iterator[None]:
    """Keep in `study.json`, and in MLflow if it goes wrong, how the trials of a study ended."""
    environment = describe_environment(load_registry())
    git = describe_git(Path(study.file.path).resolve().parent)
    here: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname(), "job": own_job()}
    info = store.info
    before = info.seconds or 0.0
    if is_resumed:
        store.end_zombies("its driver died")
    records = list(store.records(interrupted=True))
    if info.run_id and tracker.resume_study(info.run_id, plan.source, records):
        tracker.show_trials(plan.task.metric, plan.task.direction)
    else:
        try:
            parent = tracker.start_study(
                store.folder / STUDY_FILE,
                study.config.question,
                plan.source,
                environment,
                git,
                plan.task.metric,
                plan.task.direction,
            )
        except TrackingError:
            if not is_resumed:
                store.discard()  # nothing has run: the name stays free
            raise
        if records:  # one whose run was purged, or that was imported
            tracker.resume_study(parent, plan.source, records)
        here |= {"tracking_uri": hide_password(tracker.uri), "run_id": parent}
    if info.data is None:
        here |= {
            "name": study.config.name,
            "started": _now(),
            "data": plan.source,
            "environment": environment,
            "engines": {row.space.label: row.engine for row in plan.rows},
            "git": git,
        }
    else:
        here |= {"resumed": [*info.resumed, _now()]}
    store.write_info(state="running", experiment_id=tracker.experiment_id, **here)
    began = time.monotonic()
    state, status = "failed", "FAILED"
    try:
        yield
        state = "finished"
    except StoppedError:
        state, status = "stopped", "KILLED"
        raise
    except KeyboardInterrupt:
        state, status = "interrupted", "KILLED"
        raise
    finally:
        store.write_info(state=state, seconds=round(before + time.monotonic() - began, 1))
        if state != "finished":
            # If MLflow is gone as well: what stopped the study is the error to show.
            with suppress(TrackingError):
                tracker.finish_study(status, [])


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _confirmation_splits(
    config: StudyConfig, plan: StudyPlan, splits: dict[str, Examples]
) -> dict[str, Examples]:
    """The data of the confirmation; only here does the test split come near a trial."""
    test = plan.task.load(plan.source, "test")
    if config.confirmation.train_on == "train":
        return {**splits, "test": test}
    return {"train+validation": join(splits["train"], splits["validation"]), "test": test}


def _announce(listeners: Sequence[StudyListener], text: str) -> None:
    for listener in listeners:
        listener.stage(text)


def _begin(listeners: Sequence[StudyListener], name: str, trials: int) -> None:
    for listener in listeners:
        listener.phase(name, trials)


def _nbytes(examples: Examples) -> int:
    lengths = 0 if examples.lengths is None else examples.lengths.nbytes
    return examples.inputs.nbytes + examples.targets.nbytes + lengths
