"""Queries about a study's runs in MLflow, once they are written."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from rnnsearch.records.mlflow_store import (
    DELETED,
    answering,
    client_of,
    is_missing,
    local_uri,
    run_of,
    tag_experiment,
)
from rnnsearch.records.mlflow_views import has_views, view_tags
from rnnsearch.spec.shape import Direction


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
    with answering(uri, "does not answer"):
        client = _client(uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return None
        runs = client.search_runs(
            [found.experiment_id],
            "tags.`rnnsearch.phase` = 'configuration' "
            f"AND tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'",
            max_results=200,
        )
        shows = has_views(found.tags) or tag_experiment(
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
        is_gone: whether the study's own run is no longer in the store.
    """

    running: int = 0
    deleted: int = 0
    is_gone: bool = False


def look_at_runs(uri: str, run_id: str) -> RunsLeft:
    """Look at the runs of a study, its own too.

    Raises:
        TrackingError: the store does not answer.
    """
    with answering(uri, "does not answer"):
        client = _client(uri)
        study = run_of(client, run_id)
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
        deleted=sum(run.info.lifecycle_stage == DELETED for run in found),
    )


def read_artifact(uri: str, run_id: str, name: str) -> str:
    """The text of a file that was logged to a run.

    Raises:
        TrackingError: the store does not answer, or has no such file.
    """
    with answering(uri, "does not answer"), tempfile.TemporaryDirectory() as folder:
        path = _client(uri).download_artifacts(run_id, name, folder)
        return Path(path).read_text(encoding="utf-8")


def log_files(uri: str, run_id: str, files: list[Path]) -> None:
    """Log files to a run; raises `TrackingError` if the store does not take them."""
    with answering(uri, "does not take results"):
        client = _client(uri)
        for path in files:
            client.log_artifact(run_id, str(path))


def delete_experiment(uri: str, experiment_id: str) -> bool:
    """Mark an experiment as deleted, which MLflow can undo; false if there is none left to mark.

    Raises:
        TrackingError: the store does not answer, or does not allow it.
    """
    with answering(uri, "deletes nothing"):
        client = _client(uri)
        try:
            experiment = client.get_experiment(experiment_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        if experiment.lifecycle_stage == DELETED:
            return False
        client.delete_experiment(experiment_id)
    return True


def _client(uri: str) -> MlflowClient:
    """A client of a store that is there: MLflow would make a database wherever an address points.

    Raises:
        FileNotFoundError: the database is not there.
    """
    if uri != local_uri() and is_missing(uri):
        raise FileNotFoundError("its database file does not exist")
    return client_of(uri)
