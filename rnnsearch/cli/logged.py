"""What a command makes of a study, logged to the study's run in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rnnsearch.cli.output import echo

if TYPE_CHECKING:
    from rnnsearch.records.store import StudyStore


def log_to_mlflow(store: StudyStore, files: list[Path]) -> None:
    """Log files to a study's run; a store that is away is no reason to fail, and is said.

    Args:
        store: the study.
        files: what to log; a folder keeps its name and everything below it.
    """
    from rnnsearch.errors import TrackingError
    from rnnsearch.records.mlflow_queries import log_files
    from rnnsearch.study.stored import tracking_uri

    run_id = store.info.run_id
    if run_id is None:
        echo("WARNING   not logged: the study has no run in MLflow here", err=True)
        return
    try:
        log_files(tracking_uri(store), run_id, files)
    except TrackingError as error:
        echo(f"WARNING   not logged: {error}", err=True)
