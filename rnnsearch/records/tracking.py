"""The tracker: writes every trial of a study to MLflow."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

import mlflow
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

from rnnsearch.config.home import home, private_folder
from rnnsearch.config.secrets import hide, hide_all
from rnnsearch.plugin.registry import load_registry
from rnnsearch.records.mlflow_runs import (
    TAG_LIMIT,
    counts_of,
    flat_parameters,
    group_of,
    metrics_of,
    milliseconds,
    signature_of,
    title_of,
)
from rnnsearch.records.mlflow_store import (
    DELETED,
    answering,
    client_of,
    is_database,
    local_uri,
    run_of,
    tag_experiment,
)
from rnnsearch.records.mlflow_views import STUDY_RUN, has_views, view_tags
from rnnsearch.records.mlflow_writer import PatientWriter
from rnnsearch.serving import save_model
from rnnsearch.spec.model import Complexity
from rnnsearch.spec.shape import DataSource, Direction
from rnnsearch.spec.trial import EpochMetrics, Outcome, TrialRecord, TrialSpec, TrialState

# As MLflow's own Optuna storage maps them.
_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
_PARAMETER_LIMIT = 6_000
_BATCH_LIMIT = 1_000  # metrics that MLflow takes at a time


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
        self._writer = PatientWriter(uri, experiment)
        self._runs: dict[str, str] = {}
        self._created: dict[str, str] = {}  # in the store, and perhaps not yet described there
        self._unwritten: dict[str, list[Metric]] = {}
        self._lock = Lock()
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
        with answering(self.uri, "does not answer", advice):
            mlflow.set_tracking_uri(self.uri)
            self._client = client_of(self.uri)
            experiment = self._client.get_experiment_by_name(self._experiment)
            if experiment is not None and experiment.lifecycle_stage == DELETED:
                self._client.restore_experiment(experiment.experiment_id)
            if experiment is None:
                # MLflow would put those of a database below whatever folder this is run in.
                place = home() / "mlartifacts" if is_database(self.uri) else None
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
                tags[name] = hide(git[key], self.uri)[:TAG_LIMIT]
        self._source = source
        with answering(self.uri, "does not take runs"):
            run = self._client.create_run(self.experiment_id, tags=tags)
            run_id = str(run.info.run_id)
            self._runs["study"] = run_id
            text = hide(study_file.read_text(encoding="utf-8"), self.uri)
            self._client.log_text(run_id, text, study_file.name)
            self._client.log_dict(run_id, hide_all(environment), "environment.json")
            self._log_input(run_id, source)
        if question:
            tag_experiment(self._client, self.experiment_id, {MLFLOW_RUN_NOTE: question})
        tags = view_tags(metric, direction, run_id)
        tag_experiment(self._client, self.experiment_id, tags)
        return run_id

    def resume_study(self, run_id: str, source: DataSource, records: Sequence[TrialRecord]) -> bool:
        """Open a study's run again, and bring its runs to where the study's own records are.

        Runs of trials that were interrupted are closed, and deleted ones restored; what a dead
        driver could no longer write is written.

        Returns:
            Whether the store still has the study's run: a purged one has to be started again.

        Raises:
            TrackingError: the store does not take it.
        """
        self._source = source
        self._runs["study"] = run_id
        with answering(self.uri, "lost the study"):
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
                        self._runs.setdefault(group_of("model", record.spec), self._runs[key])
                if record.phase == "confirmation" and found is not None:
                    self._adopt(found, record.spec, record.complexity)
        return True

    def show_trials(self, metric: str, direction: Direction) -> None:
        """Say how the UI shows the trials of a study that began with an older version."""
        with answering(self.uri, "lost the study"):
            tags = self._client.get_experiment(self.experiment_id).tags
        if not has_views(tags):
            tags = view_tags(metric, direction, None)
            tag_experiment(self._client, self.experiment_id, tags)

    def _reopen(self, run_id: str) -> bool:
        """Let the study's run and its experiment be there again; false if the run is gone."""
        run = run_of(self._client, run_id)
        if run is None:
            return False
        self.experiment_id = run.info.experiment_id  # which may be called otherwise by now
        if self._client.get_experiment(self.experiment_id).lifecycle_stage == DELETED:
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
                group_of("configuration", record.spec),
            )
            if group not in self._runs and parent not in self._runs.values():
                self._runs[group] = parent
                tag = record.spec.configuration[:TAG_LIMIT]
                self._client.set_tag(parent, "rnnsearch.configuration", tag)
        for run_id in configurations:
            self._client.update_run(run_id, status="RUNNING")
        return known

    def _restore(self, run: Run) -> None:
        if run.info.lifecycle_stage == DELETED:
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
        now = milliseconds()
        missing = [epoch for epoch in record.epochs if epoch.epoch > written]
        metrics = [m for e in missing for m in metrics_of(e, record.spec.metric, now)]
        for first in range(0, len(metrics), _BATCH_LIMIT):
            self._client.log_batch(self._runs[key], metrics=metrics[first : first + _BATCH_LIMIT])
        outcome = None
        if record.state == "COMPLETE":
            outcome = Outcome(
                record.engine, record.engine_reason, record.test_loss, record.test_metric
            )
        self._close_trial(key, record.spec, record.state, record.reason, outcome)

    def trial_started(self, key: str, spec: TrialSpec, complexity: Complexity) -> None:
        self._writer.later(lambda: self._open_trial(key, spec, complexity))

    def epochs_finished(self, key: str, spec: TrialSpec, epochs: Sequence[EpochMetrics]) -> None:
        now = milliseconds()
        batch = [metric for epoch in epochs for metric in metrics_of(epoch, spec.metric, now)]
        with self._lock:
            self._unwritten.setdefault(key, []).extend(batch)
        self._writer.later(lambda: self._write_metrics(key))

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
        self._writer.later(lambda: self._close_trial(key, spec, state, reason, outcome))

    def decided(self, verdicts: Mapping[str, str], more: int) -> None:
        told = "; ".join(f"{name}: {verdict}" for name, verdict in verdicts.items())
        tag = RunTag("rnnsearch.decided", told[:TAG_LIMIT])
        self._writer.later(lambda: self._client.log_batch(self._runs["study"], tags=[tag]))

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
            self._writer.hurry()
        self._writer.later(close)
        self.flush()

    def summarise(
        self, label: str, configuration: str, rank: int, summary: Mapping[str, float | None]
    ) -> None:
        """Log the median of a confirmed configuration, and its rank now, to its run."""
        now = milliseconds()
        metrics = [Metric(k, float(v), now, 0) for k, v in summary.items() if v is not None]
        group = f"configuration/{label}/{configuration[:TAG_LIMIT]}"
        tags = [RunTag(MLFLOW_RUN_NAME, title_of(label, rank)), RunTag("rnnsearch.rank", str(rank))]
        self._writer.later(
            lambda: self._client.log_batch(self._runs[group], metrics=metrics, tags=tags)
        )
        self._writer.later(lambda: self._mark(group, superseded=False))

    def supersede(self, label: str, configuration: str) -> None:
        """Mark the runs of a configuration that its row no longer stands by."""
        group = f"configuration/{label}/{configuration[:TAG_LIMIT]}"
        title = [RunTag(MLFLOW_RUN_NAME, f"{label} superseded")]
        self._writer.later(lambda: self._client.log_batch(self._runs[group], tags=title))
        self._writer.later(lambda: self._mark(group, superseded=True))

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
        self._writer.flush()

    def close(self) -> None:
        """End the writing thread; what a store that does not answer was not told is left."""
        self._writer.close()

    def _configuration_run(self, spec: TrialSpec, complexity: Complexity) -> str:
        """The run above the seeds of a confirmed configuration, opened for the first of them."""
        group = group_of("configuration", spec)
        if group not in self._runs:
            title, parent = title_of(spec.label, spec.rank), self._runs["study"]
            tags = {
                "rnnsearch.phase": "configuration",
                "rnnsearch.rank": str(spec.rank),
                "rnnsearch.configuration": spec.configuration[:TAG_LIMIT],
                "rnnsearch.flops_counted": complexity.flops_counted,
            }
            # MLflow's comparison page opens on the first metric by name: leave it the test metric,
            # and let the counts be parameters.
            counts = counts_of(spec, complexity)
            self._runs[group] = self._create_run(group, title, parent, spec, tags, counts)
        return self._runs[group]

    def _open_trial(self, key: str, spec: TrialSpec, complexity: Complexity) -> None:
        parent, counts = self._runs["study"], counts_of(spec, complexity)
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
        now = milliseconds()
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
        tags = {"rnnsearch.state": state, "rnnsearch.reason": hide(reason)[:TAG_LIMIT]}
        metrics = []
        if outcome is not None:
            tags["rnnsearch.engine"] = outcome.engine
            tags["rnnsearch.engine_reason"] = hide(outcome.engine_reason)[:TAG_LIMIT]
            now = milliseconds()
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
        group = group_of("model", spec)
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
                signature=signature_of(spec),
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
