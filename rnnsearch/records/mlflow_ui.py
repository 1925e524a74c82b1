"""The MLflow UI: serves a store, and links to a study's trials and its comparison in it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

from rnnsearch.config.home import home
from rnnsearch.records.mlflow_queries import find_runs
from rnnsearch.records.mlflow_store import local_uri
from rnnsearch.records.mlflow_views import CONFIRMED, TRIALS, comparison_link, table_link
from rnnsearch.spec.shape import Direction

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ANY = ("0.0.0.0", "::")
_PATIENCE_S = 2.0


def study_links(
    uri: str, base: str, experiment: str, run_id: str, metric: str, direction: Direction
) -> dict[str, str] | None:
    """Links to a study by what they show, its trials first; None if the store does not have it.

    Args:
        uri: the tracking store.
        base: address of the UI.
        experiment: name of the study.
        run_id: the study's own run.
        metric: name of the task's metric, which the comparison is to open on.
        direction: which values of it are better.

    Raises:
        TrackingError: the store does not answer.
    """
    found = find_runs(uri, experiment, run_id, metric, direction)
    if found is None:
        return None
    if found.has_views:
        links = {view: table_link(base, found.experiment_id, view) for view in (TRIALS, CONFIRMED)}
    else:
        links = {TRIALS: table_link(base, found.experiment_id, None)}
    if found.configurations:
        runs = found.configurations
        links["comparison"] = comparison_link(base, found.experiment_id, runs, f"test/{metric}")
    return links


def serve(
    uri: str, port: int, host: str = LOOPBACK[0], allowed: tuple[str, ...] = ()
) -> subprocess.Popen[bytes]:
    """Start the UI of a store; the caller waits for it, and ends it with `end`.

    Args:
        uri: the tracking store.
        port: port to listen on.
        host: address to listen on.
        allowed: names by which browsers may call it, besides those of this machine.
    """
    command = [
        sys.executable, "-m", "mlflow", "server",
        "--host", host, "--port", str(port), "--workers", "1",
        # A browser keeps its connection open, and would be waited for.
        "--uvicorn-opts", "--timeout-graceful-shutdown 1",
    ]  # fmt: skip
    if host not in LOOPBACK or allowed:
        # MLflow answers to no other name, so that a page on the internet cannot ask it for one's
        # runs through the browser (DNS rebinding).
        own = (*LOOPBACK[:2], "[[]::1]", socket.gethostname(), host)
        known = [name for one in own if one not in _ANY for name in (one, f"{one}:*")]
        names = dict.fromkeys((*known, *(name for one in allowed for name in (one, f"{one}:*"))))
        origins = [f"{scheme}://{name}" for name in names for scheme in ("http", "https")]
        command += ["--allowed-hosts", ",".join(names), "--cors-allowed-origins", ",".join(origins)]
    if uri == local_uri():
        command += ["--artifacts-destination", (home() / "mlartifacts").as_uri()]
    # In the environment, not on the command line: a URI may hold a password, and `ps` shows those.
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    quiet = subprocess.DEVNULL
    # A session of its own: what it starts in turn is in it, and is found by `end`.
    return subprocess.Popen(
        command, stdout=quiet, stderr=quiet, env=environment, start_new_session=True
    )


def own_address(host: str, port: int) -> str:
    """Where a program on this machine reaches a UI that listens on an address."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def end(server: subprocess.Popen[bytes]) -> None:
    """End a UI and all of its processes, soon: it has nothing that a sudden end could damage."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(timeout=_PATIENCE_S)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
