"""The MLflow UI: serves a store on 127.0.0.1, and links to a study's comparison in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from urllib.parse import quote

from rnnsearch.home import home
from rnnsearch.tracking import find_configurations, local_uri

_PATIENCE_S = 5.0


def comparison_link(uri: str, base: str, experiment: str, run_id: str, metric: str) -> str | None:
    """Link to the comparison of a study's confirmed configurations; None if it is not there.

    Args:
        uri: the tracking store.
        base: address of the UI.
        experiment: name of the study.
        run_id: the study's own run.
        metric: the metric that the page is to open on.

    Raises:
        TrackingError: the store does not answer.
    """
    found = find_configurations(uri, experiment, run_id)
    if found is None:
        return None
    experiment_id, runs = found
    if not runs:
        return f"{base}/#/experiments/{experiment_id}"
    return (
        f"{base}/#/compare-runs?runs={_encode(runs)}&experiments={_encode([experiment_id])}"
        f"&metrics={_encode([metric])}"
    )


def serve(uri: str, port: int) -> subprocess.Popen[bytes]:
    """Start the UI of a store on 127.0.0.1; the caller waits for it, and ends it with `end`."""
    command = [
        sys.executable, "-m", "mlflow", "server",
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    if uri == local_uri():
        command += ["--artifacts-destination", str(home() / "mlartifacts")]
    # In the environment, not on the command line: a URI may hold a password, and `ps` shows those.
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    quiet = subprocess.DEVNULL
    # A session of its own: what it starts in turn is in it, and is found by `end`.
    return subprocess.Popen(
        command, stdout=quiet, stderr=quiet, env=environment, start_new_session=True
    )


def end(server: subprocess.Popen[bytes]) -> None:
    """End a UI and all of its processes; one that waits for a browser's connection does not."""
    server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(timeout=_PATIENCE_S)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _encode(value: object) -> str:
    return quote(json.dumps(value, separators=(",", ":")))
