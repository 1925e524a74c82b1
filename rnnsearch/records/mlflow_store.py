"""The MLflow store that has a study's runs: where it is, how it is made, why it fails."""

from __future__ import annotations

import logging
import os
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.tracking import MlflowClient
from sqlalchemy import make_url

from rnnsearch.config.home import home, sqlite_url
from rnnsearch.config.secrets import hide, hide_password, is_ambiguous
from rnnsearch.errors import TrackingError
from rnnsearch.records.mlflow_views import is_server

# A model is logged with its signature; an example would only add files.
warnings.filterwarnings("ignore", message=".*An input example was not provided")
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.ERROR)
# It prints the traceback of what it raises, and we say what that means.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

_DATABASE = "mlflow.db"
_LEFT_S = 3600.0
DELETED = "deleted"


def local_uri() -> str:
    """The embedded store: one database file in RNNSEARCH_HOME."""
    return sqlite_url(home() / _DATABASE)


def _make_database(path: Path) -> None:
    """Make the embedded store's database completely or not at all, if it does not exist.

    MLflow makes it by dozens of migrations; a process killed among them would leave a file that
    neither it nor any later one can finish.
    """
    if path.exists():
        return
    # Imported here: with a server it is not needed.
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


def client_of(uri: str) -> MlflowClient:
    """A client of a store; the embedded one is made first if it does not exist."""
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
def answering(uri: str, otherwise: str, advice: str = "") -> Iterator[None]:
    """Say of a store that did not do what it was asked what it `otherwise` does, and why."""
    try:
        yield
    except Exception as error:
        msg = f"the MLflow tracking store {hide_password(uri)} {otherwise}: {reason_of(error, uri)}"
        raise TrackingError(msg + advice) from tellable(error, uri)


def reason_of(error: Exception, uri: str) -> str:
    """The first line of an error, without the password that a URI may hold."""
    lines = str(error).splitlines() or [type(error).__name__]
    return hide(lines[0], uri)[:300]


def tellable(error: Exception, uri: str) -> Exception | None:
    """The cause to be shown below an error of ours; none if it says a password."""
    told = "".join(traceback.format_exception(error))
    return error if hide(told, uri) == told else None


def is_database(uri: str) -> bool:
    return urlsplit(uri).scheme.partition("+")[0] in DATABASE_ENGINES


def is_missing(uri: str) -> bool:
    """Whether a store is a database file that does not exist."""
    if not uri.startswith(("sqlite:", "sqlite+")):
        return False
    database = make_url(uri).database
    return database is None or not Path(database).exists()


def run_of(client: MlflowClient, run_id: str) -> Run | None:
    """A run, deleted or not; None if the store does not have it, or no longer has it."""
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def tag_experiment(client: MlflowClient, experiment_id: str, tags: Mapping[str, str]) -> bool:
    """Tag an experiment; false where one may write runs, but not change their experiment."""
    try:
        for name, value in tags.items():
            client.set_experiment_tag(experiment_id, name, value)
    except MlflowException:
        return False
    return True
