"""Deleting a study from disk; its runs in MLflow: see `mlflow_queries.py`."""

from __future__ import annotations

import os
import shutil

from rnnsearch.errors import StoreError
from rnnsearch.records.store import StudyStore


def delete_study(store: StudyStore, *, force: bool = False) -> None:
    """Remove a study's folder; at any time the study is there whole, or not at all.

    Args:
        store: the study.
        force: delete it even if its driver was alive on another machine seconds ago.

    Raises:
        StoreError: it is running, or the folder cannot be removed.
    """
    with store.held("deleting", force=force) as held:
        beside = held.beside("deleted")
        try:
            if beside.exists():  # of one who was killed at it
                shutil.rmtree(beside)
            os.rename(store.folder, beside)
            shutil.rmtree(beside)
        except OSError as error:
            msg = f"cannot remove {store.folder}: {error.strerror or error}"
            raise StoreError(msg) from error
