"""MLflow: writes every trial of a study to a tracking store, and opens its UI."""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Lock
from urllib.parse import urlsplit

# MLflow reads these when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # a UI of 2 processes, not 10
# It would otherwise retry an absent server for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # results go there
# A run id in the environment would hijack every run that is started here.
os.environ.pop("MLFLOW_RUN_ID", None)

import mlflow
import numpy as np
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import (
    MLFLOW_GIT_BRANCH,
    MLFLOW_GIT_COMMIT,
    MLFLOW_GIT_DIFF,
    MLFLOW_GIT_DIRTY,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NAME,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
)
from sqlalchemy import make_url

from rnnsearch.config import settings
from rnnsearch.config.home import home, private_folder, sqlite_url
from rnnsearch.config.secrets import hide, hide_all, hide_password, is_ambiguous
from rnnsearch.errors import TrackingError
from rnnsearch.plugin.registry import load_registry
from rnnsearch.records.mlflow_views import STUDY_RUN, has_views, is_server, view_tags
from rnnsearch.serving import save_model
from rnnsearch.spec.model import Complexity
from rnnsearch.spec.shape import DataSource, Direction
from rnnsearch.spec.trial import EpochMetrics, Outcome, TrialRecord, TrialSpec, TrialState

# A model is logged with its signature; an example would add nothing but files.
warnings.filterwarnings("ignore", message=".*An input example was not provided")
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.ERROR)
# It prints the traceback of what it raises, and we say what that means.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

# As MLflow's own Optuna storage maps them.
_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
_TAG_LIMIT, _PARAMETER_LIMIT = 7_000, 6_000
_BATCH_LIMIT = 1_000  # metrics that MLflow takes at a time
# A server that restarts is back within minutes; what came up meanwhile is written then.
_PATIENCE_S = settings.seconds("RNNSEARCH_TRACKING_PATIENCE_S", 300)
_BETWEEN_TRIES_S = 5.0
_DATABASE = "mlflow.db"
_LEFT_S = 3600.0
_DELETED = "deleted"
_PASSING = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")


def local_uri() -> str:
    """The embedded store: one database file in RNNSEARCH_HOME."""
    return sqlite_url(home() / _DATABASE)


def _make_database(path: Path) -> None:
    """Make the embedded store's database whole or not at all, where there is none.

    MLflow makes it by dozens of migrations; a process killed among them would leave a file that
    neither it nor any later one can finish.
    """
    if path.exists():
        return
    # Not for whoever has a server.
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*.partial*"):  # by who was killed at it
        if left.stat().st_mtime < time.time() - _LEFT_S:
            left.unlink(missing_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    store = SqlAlchemyStore(  # type: ignore[no-untyped-call]
        sqlite_url(partial), str(path.with_name("mlartifacts"))
    )
    store.engine.dispose()
    partial.chmod(0o600)  # it has the code's uncommitted changes
    try:
        os.link(partial, path)
    except FileExistsError:  # another study was first
        pass
    except OSError:  # this file system has no links
        partial.replace(path)
    partial.unlink(missing_ok=True)


def _client_of(uri: str) -> MlflowClient:
    """A client of a store; the embedded one is made first where there is none."""
    if uri == local_uri():
        _make_database(home() / _DATABASE)
    return MlflowClient(uri)


def resolve_uri(configured: str | None) -> str:
    """The store to use: the study file's, else MLFLOW_TRACKING_URI, else the embedded one.

    Raises:
        TrackingError: it is a server's, and its password is written so that it cannot be read.
    """
    uri = configured or os.environ.get("MLFLOW_TRACKING_URI") or local_uri()
    if is_server(uri) and is_ambiguous(uri):
        msg = (
            f"the address of the MLflow server, {hide_password(uri)}, cannot be read: write `/`, "
            "`?`, `#`, `@` and `:` in a password as `%2F`, `%3F`, `%23`, `%40` and `%3A`, or give "
            "the password in MLFLOW_TRACKING_PASSWORD"
        )
        raise TrackingError(msg)
    return uri


@contextmanager
def _answering(uri: str, otherwise: str, advice: str = "") -> Iterator[None]:
    """Say of a store that did not do what it was asked what it `otherwise` does, and why."""
    try:
        yield
    except Exception as error:
        msg = f"the MLflow tracking store {hide_password(uri)} {otherwise}: {_reason(error, uri)}"
        raise TrackingError(msg + advice) from _tellable(error, uri)


def _reason(error: Exception, uri: str) -> str:
    """The first line of an error, without the password that a URI may hold."""
    lines = str(error).splitlines() or [type(error).__name__]
    return hide(lines[0], uri)[:300]


def _tellable(error: Exception, uri: str) -> Exception | None:
    """The cause to be shown below an error of ours; none if it says a password."""
    told = "".join(traceback.format_exception(error))
    return error if hide(told, uri) == told else None


class Tracker:
    """Writes a study's runs; a listener of its trials.

    The runs nest: one run for the study; below it one for each trial of the search, and one for
    each confirmed configuration, with its seeds below that. All writing happens in one thread of
    the driver, so that a slow server does not hold up the trials and a database file has one
    writer. Epochs that finish while it is busy go into one batch. A server that goes away is tried
    again for five minutes, and then given up: resuming the study writes what it missed.

    Args:
        uri: the tracking store.
        experiment: name of the MLflow experiment, that is of the study.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri = uri
        self._experiment = experiment
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._runs: dict[str, str] = {}
        self._created: dict[str, str] = {}  # in the store, and perhaps not yet described there
        self._unwritten: dict[str, list[Metric]] = {}
        self._lock = Lock()
        self._failed: Exception | None = None
        self._gone_since: float | None = None
        self._hurry = Event()
        self._source: DataSource | None = None

    def connect(self) -> None:
        """Reach the store, and create its database before anything else can race for it.

        Raises:
            TrackingError: it does not answer, or the database cannot be made.
        """
        if self.uri == local_uri():
            advice = ". Set RNNSEARCH_HOME to a folder that you may write"
        else:
            advice = (
                ". Start it, correct `tracking.uri` or MLFLOW_TRACKING_URI, or unset them to use "
                f"{local_uri()}"
            )
        with _answering(self.uri, "does not answer", advice):
            mlflow.set_tracking_uri(self.uri)
            self._client = _client_of(self.uri)
            experiment = self._client.get_experiment_by_name(self._experiment)
            if experiment is not None and experiment.lifecycle_stage == "deleted":
                self._client.restore_experiment(experiment.experiment_id)
            if experiment is None:
                # MLflow would put those of a database below whatever folder this is run in.
                place = home() / "mlartifacts" if _is_database(self.uri) else None
                if place:
                    with suppress(OSError):  # the first file that cannot be written there says why
                        private_folder(place)
                self.experiment_id = self._client.create_experiment(
                    self._experiment, artifact_location=place.as_uri() if place else None
                )
            else:
                self.experiment_id = experiment.experiment_id

    def start_study(
        self,
        study_file: Path,
        question: str,
        source: DataSource,
        environment: Mapping[str, str],
        git: Mapping[str, str],
        metric: str,
        direction: Direction,
    ) -> str:
        """Open the study's own run, and say how the UI shows its trials; returns the run's id.

        Raises:
            TrackingError: the store does not take it.
        """
        tags = {
            MLFLOW_RUN_NAME: f"study {self._experiment}",
            MLFLOW_RUN_NOTE: question,
            **self._source_tags(),
            "rnnsearch.study": self._experiment,
            "rnnsearch.phase": "study",
            **self._data_tags(source),
        }
        for key, name in (
            ("commit", MLFLOW_GIT_COMMIT),
            ("branch", MLFLOW_GIT_BRANCH),
            ("dirty", MLFLOW_GIT_DIRTY),
            ("diff", MLFLOW_GIT_DIFF),
        ):
            if git.get(key):
                tags[name] = hide(git[key], self.uri)[:_TAG_LIMIT]
        self._source = source
        with _answering(self.uri, "does not take runs"):
            run = self._client.create_run(self.experiment_id, tags=tags)
            run_id = str(run.info.run_id)
            self._runs["study"] = run_id
            text = hide(study_file.read_text(encoding="utf-8"), self.uri)
            self._client.log_text(run_id, text, study_file.name)
            self._client.log_dict(run_id, hide_all(environment), "environment.json")
            self._log_input(run_id, source)
        if question:
            _tag_experiment(self._client, self.experiment_id, {MLFLOW_RUN_NOTE: question})
        tags = view_tags(metric, direction, run_id)
        _tag_experiment(self._client, self.experiment_id, tags)
        return run_id

    def resume_study(self, run_id: str, source: DataSource, records: Sequence[TrialRecord]) -> bool:
        """Open a study's run again, and bring its runs to where the study's own records are.

        Runs of trials that were interrupted are closed, and deleted ones restored; what a dead
        driver could not write any more is written.

        Returns:
            Whether the store still has the study's run: one that was purged is to be begun anew.

        Raises:
            TrackingError: the store does not take it.
        """
        self._source = source
        self._runs["study"] = run_id
        with _answering(self.uri, "lost the study"):
            if not self._reopen(run_id):
                return False
            known = self._find_runs(records)
            for record in records:
                key = str(record.key)
                found = known.get(key)
                if record.spec is None or record.complexity is None or record.state == "RUNNING":
                    continue
                if found is None or found.info.status != _STATUS[record.state]:
                    self._write_anew(key, record, found)
                else:
                    self._runs[key] = found.info.run_id
                    if record.phase == "confirmation" and record.state == "COMPLETE":
                        # Its configuration has its model.
                        self._runs.setdefault(_group("model", record.spec), self._runs[key])
                if record.phase == "confirmation" and found is not None:
                    self._adopt(found, record.spec, record.complexity)
        return True

    def show_trials(self, metric: str, direction: Direction) -> None:
        """Say how the UI shows the trials of a study that began with an older version."""
        with _answering(self.uri, "lost the study"):
            tags = self._client.get_experiment(self.experiment_id).tags
        if not has_views(tags):
            tags = view_tags(metric, direction, None)
            _tag_experiment(self._client, self.experiment_id, tags)

    def _reopen(self, run_id: str) -> bool:
        """Let the study's run and its experiment be there again; false if the run is gone."""
        run = _run_of(self._client, run_id)
        if run is None:
            return False
        self.experiment_id = run.info.experiment_id  # which may be called otherwise by now
        if self._client.get_experiment(self.experiment_id).lifecycle_stage == _DELETED:
            self._client.restore_experiment(self.experiment_id)
            run = self._client.get_run(run_id)
        self._restore(run)
        self._client.update_run(run_id, status="RUNNING")
        return True

    def _adopt(self, run: Run, spec: TrialSpec, complexity: Complexity) -> None:
        """Put a seed below the run of its own configuration.

        Earlier versions put all seeds of a row below one run, whatever they were trained with.
        """
        parent = self._configuration_run(spec, complexity)
        if run.data.tags.get(MLFLOW_PARENT_RUN_ID) != parent:
            self._client.set_tag(run.info.run_id, MLFLOW_PARENT_RUN_ID, parent)

    def _find_runs(self, records: Sequence[TrialRecord]) -> dict[str, Run]:
        """The runs of the study's trials by key; those of configurations are remembered."""
        runs: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id],
                f"tags.`rnnsearch.study` = '{self._experiment}'",
                run_view_type=ViewType.ALL,
                max_results=1_000,
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                break
        # An earlier study of the same name may have left runs in the same experiment.
        study = self._runs["study"]
        configurations = {
            run.info.run_id: run.data.tags
            for run in runs
            if run.data.tags.get("rnnsearch.phase") == "configuration"
            and run.data.tags.get(MLFLOW_PARENT_RUN_ID) == study
        }
        parents = {study, *configurations}
        known = {
            run.data.tags["rnnsearch.trial"]: run
            for run in runs
            if "rnnsearch.trial" in run.data.tags
            and run.data.tags.get(MLFLOW_PARENT_RUN_ID) in parents
        }
        for one in runs:
            if one.info.run_id in configurations or one in known.values():
                self._restore(one)
        for run_id, tags in configurations.items():
            if "rnnsearch.configuration" in tags:
                label, configuration = tags["rnnsearch.label"], tags["rnnsearch.configuration"]
                self._runs[f"configuration/{label}/{configuration}"] = run_id
        # Those of earlier versions do not say which they are: they are what their first seed is.
        for record in sorted(records, key=lambda record: record.number):
            run = known.get(str(record.key))
            if record.phase != "confirmation" or record.spec is None or run is None:
                continue
            parent, group = (
                run.data.tags[MLFLOW_PARENT_RUN_ID],
                _group("configuration", record.spec),
            )
            if group not in self._runs and parent not in self._runs.values():
                self._runs[group] = parent
                tag = record.spec.configuration[:_TAG_LIMIT]
                self._client.set_tag(parent, "rnnsearch.configuration", tag)
        for run_id in configurations:
            self._client.update_run(run_id, status="RUNNING")
        return known

    def _restore(self, run: Run) -> None:
        if run.info.lifecycle_stage == _DELETED:
            self._client.restore_run(run.info.run_id)

    def _write_anew(self, key: str, record: TrialRecord, found: Run | None) -> None:
        assert record.spec is not None
        assert record.complexity is not None
        written = 0
        if found is None:
            self._open_trial(key, record.spec, record.complexity)
        else:
            self._runs[key] = found.info.run_id
            history = self._client.get_metric_history(found.info.run_id, "train/loss")
            written = max((metric.step for metric in history), default=0)
        now = _milliseconds()
        missing = [epoch for epoch in record.epochs if epoch.epoch > written]
        metrics = [m for e in missing for m in _metrics_of(e, record.spec.metric, now)]
        for first in range(0, len(metrics), _BATCH_LIMIT):
            self._client.log_batch(self._runs[key], metrics=metrics[first : first + _BATCH_LIMIT])
        outcome = None
        if record.state == "COMPLETE":
            outcome = Outcome(
                record.engine, record.engine_reason, record.test_loss, record.test_metric
            )
        self._close_trial(key, record.spec, record.state, record.reason, outcome)

    def trial_started(self, key: str, spec: TrialSpec, complexity: Complexity) -> None:
        self._later(lambda: self._open_trial(key, spec, complexity))

    def epochs_finished(self, key: str, spec: TrialSpec, epochs: Sequence[EpochMetrics]) -> None:
        now = _milliseconds()
        batch = [metric for epoch in epochs for metric in _metrics_of(epoch, spec.metric, now)]
        with self._lock:
            self._unwritten.setdefault(key, []).extend(batch)
        self._later(lambda: self._write_metrics(key))

    def _write_metrics(self, key: str) -> None:
        while True:
            with self._lock:
                metrics = self._unwritten.get(key, [])[:_BATCH_LIMIT]
            if not metrics:
                return
            self._client.log_batch(self._runs[key], metrics=metrics)
            with self._lock:  # only now: if the server went away, they are still to be written
                del self._unwritten[key][: len(metrics)]

    def trial_finished(
        self, key: str, spec: TrialSpec, state: TrialState, reason: str, outcome: Outcome | None
    ) -> None:
        self._later(lambda: self._close_trial(key, spec, state, reason, outcome))

    def finish_study(self, status: str, artifacts: list[Path]) -> None:
        """Log a study's results and close its run, after everything before has been written."""

        def close() -> None:
            run_id = self._runs["study"]
            for key, group in self._runs.items():
                if key.startswith("configuration/"):
                    self._client.set_terminated(group, status)
            for path in artifacts:
                self._client.log_artifact(run_id, str(path))
            self._client.set_terminated(run_id, status)

        if status != "FINISHED":
            self._hurry.set()  # somebody waits for the terminal
        self._later(close)
        self.flush()

    def summarise(
        self, label: str, configuration: str, rank: int, summary: Mapping[str, float | None]
    ) -> None:
        """Log the mean and interval of a confirmed configuration, and its rank now, to its run."""
        now = _milliseconds()
        metrics = [Metric(k, float(v), now, 0) for k, v in summary.items() if v is not None]
        group = f"configuration/{label}/{configuration[:_TAG_LIMIT]}"
        tags = [RunTag(MLFLOW_RUN_NAME, _title(label, rank)), RunTag("rnnsearch.rank", str(rank))]
        self._later(lambda: self._client.log_batch(self._runs[group], metrics=metrics, tags=tags))
        self._later(lambda: self._mark(group, superseded=False))

    def supersede(self, label: str, configuration: str) -> None:
        """Mark the runs of a configuration that its row does not stand by any more."""
        group = f"configuration/{label}/{configuration[:_TAG_LIMIT]}"
        title = [RunTag(MLFLOW_RUN_NAME, f"{label} superseded")]
        self._later(lambda: self._client.log_batch(self._runs[group], tags=title))
        self._later(lambda: self._mark(group, superseded=True))

    def _mark(self, group: str, *, superseded: bool) -> None:
        """Say of a configuration's run, and of its seeds, whether they count in anything."""
        run_id, value = self._runs[group], str(superseded).lower()
        seeds = self._client.search_runs(
            [self.experiment_id],
            f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'",
            max_results=50_000,
        )
        for run in (self._client.get_run(run_id), *seeds):
            if run.data.tags.get("rnnsearch.superseded", "false") != value:
                self._client.set_tag(run.info.run_id, "rnnsearch.superseded", value)

    def flush(self) -> None:
        """Wait until everything is written.

        Raises:
            TrackingError: something could not be.
        """
        self._writer.submit(lambda: None).result()
        if self._failed is not None:
            msg = (
                f"MLflow stopped taking results ({hide_password(self.uri)}): "
                f"{_reason(self._failed, self.uri)}. "
                f"The study's own records are complete: `rnnsearch study compare "
                f"{self._experiment}` shows them, and `rnnsearch study resume "
                f"{self._experiment}` writes to MLflow what it missed"
            )
            raise TrackingError(msg) from _tellable(self._failed, self.uri)

    def close(self) -> None:
        """End the writing thread; what a store that does not answer was not told is left."""
        self._hurry.set()
        self._writer.shutdown(wait=True)

    def _later(self, write: Callable[[], object]) -> None:
        def guarded() -> None:
            while self._failed is None:
                try:
                    write()
                except (MlflowException, OSError) as error:
                    self._wait_for_it(error)
                else:
                    self._gone_since = None
                    return

        future: Future[None] = self._writer.submit(guarded)
        future.add_done_callback(_raise_bug)

    def _wait_for_it(self, error: Exception) -> None:
        """Wait a little for a store that did not answer, or give it up."""
        if self._gone_since is None:
            self._gone_since = time.monotonic()
            shown, reason = hide_password(self.uri), _reason(error, self.uri)
            logging.getLogger("rnnsearch").warning("MLflow (%s): %s", shown, reason)
        passes = not isinstance(error, MlflowException) or error.error_code in _PASSING
        too_long = time.monotonic() > self._gone_since + _PATIENCE_S
        if not passes or too_long or self._hurry.wait(_BETWEEN_TRIES_S):
            self._failed = error

    def _configuration_run(self, spec: TrialSpec, complexity: Complexity) -> str:
        """The run above the seeds of a confirmed configuration, opened for the first of them."""
        group = _group("configuration", spec)
        if group not in self._runs:
            title, parent = _title(spec.label, spec.rank), self._runs["study"]
            tags = {
                "rnnsearch.phase": "configuration",
                "rnnsearch.rank": str(spec.rank),
                "rnnsearch.configuration": spec.configuration[:_TAG_LIMIT],
                "rnnsearch.flops_counted": complexity.flops_counted,
            }
            # MLflow's comparison page opens on the first metric by name: leave it the test metric,
            # and let the counts be parameters.
            counts = _counts_of(spec, complexity)
            self._runs[group] = self._create_run(group, title, parent, spec, tags, counts)
        return self._runs[group]

    def _open_trial(self, key: str, spec: TrialSpec, complexity: Complexity) -> None:
        parent, counts = self._runs["study"], _counts_of(spec, complexity)
        name = f"{spec.label} trial {key.rpartition('/')[2]}"
        if spec.phase == "confirmation":
            parent = self._configuration_run(spec, complexity)
            name = f"{spec.label} seed {spec.seed}"
        tags = {
            "rnnsearch.phase": spec.phase,
            "rnnsearch.trial": key,
            "rnnsearch.seed": str(spec.seed),
            "rnnsearch.flops_counted": complexity.flops_counted,
        }
        run_id = self._create_run(key, name, parent, spec, tags, {"seed": spec.seed})
        self._runs[key] = run_id
        now = _milliseconds()
        metrics = [Metric(k, float(v), now, 0) for k, v in counts.items()]
        self._client.log_batch(run_id, metrics=metrics)

    def _create_run(
        self,
        key: str,
        name: str,
        parent: str,
        spec: TrialSpec,
        tags: Mapping[str, str],
        parameters: Mapping[str, float],
    ) -> str:
        assert self._source is not None
        plugin = load_registry().plugin_of("architecture", spec.model.architecture)
        common = {
            MLFLOW_RUN_NAME: name,
            MLFLOW_PARENT_RUN_ID: parent,
            **self._source_tags(),
            STUDY_RUN: self._runs["study"],
            "rnnsearch.study": self._experiment,
            "rnnsearch.architecture": spec.model.architecture,
            "rnnsearch.plugin": f"{plugin.distribution} {plugin.version}",
            "rnnsearch.label": spec.label,
            "rnnsearch.task": spec.task,
            "rnnsearch.matched": str(spec.matched).lower(),
            "rnnsearch.closed_by": spec.closed_by or "hidden_size",
            **self._data_tags(self._source),
        }
        # Tried again after the store went away, it is the same run.
        if key not in self._created:
            run = self._client.create_run(self.experiment_id, tags={**common, **tags})
            self._created[key] = str(run.info.run_id)
        run_id = self._created[key]
        settings = {**flat_parameters(spec), **parameters}
        self._client.log_batch(
            run_id, params=[Param(k, str(v)[:_PARAMETER_LIMIT]) for k, v in settings.items()]
        )
        self._log_input(run_id, self._source)
        return run_id

    def _close_trial(
        self, key: str, spec: TrialSpec, state: TrialState, reason: str, outcome: Outcome | None
    ) -> None:
        run_id = self._runs[key]
        tags = {"rnnsearch.state": state, "rnnsearch.reason": hide(reason)[:_TAG_LIMIT]}
        metrics = []
        if outcome is not None:
            tags["rnnsearch.engine"] = outcome.engine
            tags["rnnsearch.engine_reason"] = hide(outcome.engine_reason)[:_TAG_LIMIT]
            now = _milliseconds()
            for name, value in (("loss", outcome.test_loss), (spec.metric, outcome.test_metric)):
                if value is not None and math.isfinite(value):
                    metrics.append(Metric(f"test/{name}", value, now, spec.training.epochs))
        self._client.log_batch(
            run_id, metrics=metrics, tags=[RunTag(k, v) for k, v in tags.items() if v]
        )
        if outcome is not None and outcome.weights:
            self._log_model(key, run_id, spec, Path(outcome.weights))
        self._client.set_terminated(run_id, _STATUS[state])

    def _log_model(self, key: str, run_id: str, spec: TrialSpec, weights: Path) -> None:
        """Keep the model of the first seed of a configuration: the first, not the best on test."""
        group = _group("model", spec)
        if group in self._runs:
            return
        self._runs[group] = run_id
        import torch

        state = torch.load(weights, weights_only=True, map_location="cpu")["model"]
        with tempfile.TemporaryDirectory() as scratch:
            save_model(Path(scratch, "data"), spec, state)
            mlflow.pyfunc.save_model(
                path=str(Path(scratch, "model")),
                loader_module="rnnsearch.serving",
                data_path=str(Path(scratch, "data")),
                pip_requirements=["rnnsearch"],
                signature=_signature(spec),
                metadata={
                    "architecture": spec.model.architecture,
                    "task": spec.task,
                    "task_options": dict(spec.task_options),
                    "trial": key,
                },
            )
            self._client.log_artifacts(run_id, str(Path(scratch, "model")), "model")

    def _source_tags(self) -> dict[str, str]:
        """What stands as the source of a run."""
        name = f"rnnsearch study {self._experiment}"
        return {MLFLOW_SOURCE_NAME: name, MLFLOW_SOURCE_TYPE: "LOCAL"}

    def _data_tags(self, source: DataSource) -> dict[str, str]:
        tags = {
            "rnnsearch.data": source.dataset,
            "rnnsearch.data_origin": source.origin,
            "rnnsearch.data_sha256": source.sha256,
        }
        return {**tags, "rnnsearch.caveat": source.caveat} if source.caveat else tags

    def _log_input(self, run_id: str, source: DataSource) -> None:
        dataset = Dataset(
            name=source.dataset,
            digest=source.sha256[:36],
            source_type="local",
            source=json.dumps({"uri": hide(source.location), "sha256": source.sha256}),
            profile=json.dumps(dict(source.sizes)),
        )
        self._client.log_inputs(
            run_id, [DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training")])]
        )


def _group(kind: str, spec: TrialSpec) -> str:
    """The key of what the seeds of one configuration share."""
    return f"{kind}/{spec.label}/{spec.configuration[:_TAG_LIMIT]}"


def _title(label: str, rank: int) -> str:
    return f"{label} confirmed" + (f" (no. {rank + 1})" if rank else "")


def _counts_of(spec: TrialSpec, complexity: Complexity) -> dict[str, float]:
    return {
        "parameters/total": complexity.trainable,
        "parameters/one_bias": complexity.one_bias,
        "parameters/frozen": complexity.frozen,
        "parameters/residual": spec.residual,
        "state_size": complexity.state_size,
        "flops_per_step": complexity.flops_per_step,
    }


def _metrics_of(epoch: EpochMetrics, metric: str, now: int) -> list[Metric]:
    """What an epoch measured, but for what is not a number."""
    values = {
        "train/loss": epoch.train_loss,
        f"train/{metric}": epoch.train_metric,
        "validation/loss": epoch.validation_loss,
        f"validation/{metric}": epoch.validation_metric,
        "gradient_norm": epoch.gradient_norm,
        "time/step_ms": epoch.step_ms,
        "time/seconds": epoch.seconds,
    }
    return [Metric(k, v, now, epoch.epoch) for k, v in values.items() if math.isfinite(v)]


def _signature(spec: TrialSpec) -> ModelSignature:
    shape = spec.model.shape
    steps = shape.length or -1
    between = (steps,) if shape.readout == "every_step" else ()
    inputs = TensorSpec(np.dtype(np.float32), (-1, steps, shape.input_size))
    outputs = TensorSpec(np.dtype(np.float32), (-1, *between, shape.output_size))
    return ModelSignature(Schema([inputs]), Schema([outputs]))


def flat_parameters(spec: TrialSpec) -> dict[str, str | int | float | bool]:
    """What is configured in a trial, by flat names; logged once and never changed."""
    model, training = asdict(spec.model), asdict(spec.training)
    del model["shape"]
    options = model.pop("options")
    head_options = model.pop("head_options")
    training["schedule"] = str(spec.training.schedule)
    return {
        **model,
        **{f"options.{k}": v for k, v in options.items()},
        **{f"head.{k}": v for k, v in head_options.items()},
        **training,
    }


def _tag_experiment(client: MlflowClient, experiment_id: str, tags: Mapping[str, str]) -> bool:
    """Tag an experiment; false where one may write runs, but not change their experiment."""
    try:
        for name, value in tags.items():
            client.set_experiment_tag(experiment_id, name, value)
    except MlflowException:
        return False
    return True


@dataclass(frozen=True)
class FoundRuns:
    """Where a study is in a store.

    Attributes:
        experiment_id: its experiment.
        has_views: whether the experiment says how the UI is to show its trials.
        configurations: runs of its confirmed configurations.
    """

    experiment_id: str
    has_views: bool
    configurations: list[str]


def find_runs(
    uri: str, experiment: str, run_id: str, metric: str, direction: Direction
) -> FoundRuns | None:
    """Find a study's experiment and the runs of its confirmed configurations.

    `run_id` is the study's own run: an earlier study of the same name is not to be mixed in. The
    experiment of a study that began with an older version is told how to show its trials.

    Raises:
        TrackingError: the store does not answer.
    """
    mlflow.set_tracking_uri(uri)
    with _answering(uri, "does not answer"):
        client = _client_of(uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return None
        runs = client.search_runs(
            [found.experiment_id],
            "tags.`rnnsearch.phase` = 'configuration' "
            f"AND tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'",
            max_results=200,
        )
        shows = has_views(found.tags) or _tag_experiment(
            client, found.experiment_id, view_tags(metric, direction, None)
        )
    ids = [r.info.run_id for r in runs if r.data.tags.get("rnnsearch.superseded") != "true"]
    return FoundRuns(found.experiment_id, shows, ids)


@dataclass(frozen=True)
class RunsLeft:
    """What of a study's runs is not as the study left it.

    Attributes:
        running: how many seem to be running.
        deleted: how many were deleted, and can be restored.
        is_gone: whether the study's own run is in the store no more.
    """

    running: int = 0
    deleted: int = 0
    is_gone: bool = False


def look_at_runs(uri: str, run_id: str) -> RunsLeft:
    """Look at the runs of a study, its own too.

    Raises:
        TrackingError: the store does not answer.
    """
    with _answering(uri, "does not answer"):
        client = _client_of(uri)
        study = _run_of(client, run_id)
        if study is None:
            return RunsLeft(is_gone=True)
        found, level = [study], [study]
        while level:
            below: list[Run] = []
            for parent in level:
                below += client.search_runs(
                    [study.info.experiment_id],
                    f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent.info.run_id}'",
                    run_view_type=ViewType.ALL,
                    max_results=50_000,
                )
            found += below
            level = [r for r in below if r.data.tags.get("rnnsearch.phase") == "configuration"]
    return RunsLeft(
        running=sum(run.info.status == "RUNNING" for run in found),
        deleted=sum(run.info.lifecycle_stage == _DELETED for run in found),
    )


def _run_of(client: MlflowClient, run_id: str) -> Run | None:
    """A run, deleted or not; None if the store does not have it, or not any more."""
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def read_artifact(uri: str, run_id: str, name: str) -> str:
    """The text of a file that was logged to a run.

    Raises:
        TrackingError: the store does not answer, or has no such file.
    """
    with _answering(uri, "does not answer"), tempfile.TemporaryDirectory() as folder:
        path = _client_of(uri).download_artifacts(run_id, name, folder)
        return Path(path).read_text(encoding="utf-8")


def log_files(uri: str, run_id: str, files: list[Path]) -> None:
    """Log files to a run; raises `TrackingError` if the store does not take them."""
    with _answering(uri, "does not take results"):
        client = _client_of(uri)
        for path in files:
            client.log_artifact(run_id, str(path))


def delete_experiment(uri: str, experiment_id: str) -> bool:
    """Mark an experiment as deleted, which MLflow can undo; false if there is none left to mark.

    Raises:
        TrackingError: the store does not answer, or does not allow it.
    """
    with _answering(uri, "deletes nothing"):
        client = _client_of(uri)
        try:
            experiment = client.get_experiment(experiment_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        if experiment.lifecycle_stage == "deleted":
            return False
        client.delete_experiment(experiment_id)
    return True


def _is_database(uri: str) -> bool:
    return urlsplit(uri).scheme.partition("+")[0] in DATABASE_ENGINES


def is_missing(uri: str) -> bool:
    """Whether a store is a database file that does not exist."""
    if not uri.startswith(("sqlite:", "sqlite+")):
        return False
    database = make_url(uri).database
    return database is None or not Path(database).exists()


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


def _raise_bug(future: Future[None]) -> None:
    # What `guarded` does not catch is an error of ours: let it be seen.
    if (error := future.exception()) is not None:
        told = hide("".join(traceback.format_exception(error)))
        logging.getLogger("rnnsearch").error("while writing to MLflow\n%s", told)
