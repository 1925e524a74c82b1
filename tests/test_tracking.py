"""MLflow: a real server, links, and what may be shown."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from urllib.parse import unquote

import pytest
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from rnnsearch.store import StudyStore
from rnnsearch.tracking import Tracker, local_uri

from .command import run, write_study
from .life import Life
from .loopback import free_port
from .trial_records import epoch, searched


class SlowClient:
    """Takes batches of metrics, the first of them only when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[Metric]] = []
        self.let = Event()

    def log_batch(self, run_id: str, metrics: list[Metric]) -> None:
        assert self.let.wait(60)
        self.batches.append(metrics)


def test_epochs_that_finish_while_the_server_is_slow_go_into_few_batches_and_none_is_lost() -> None:
    tracker, client = Tracker("sqlite:///nowhere.db", "small"), SlowClient()
    tracker._client = client  # type: ignore[assignment]
    tracker._runs["search/lstm/0"] = "run"
    spec = searched("lstm", 1)[0].spec
    assert spec is not None
    for number in range(1, 501):
        tracker.epochs_finished("search/lstm/0", spec, [epoch(number)])
    client.let.set()
    tracker.flush()
    tracker.close()
    logged = [(m.key, m.step) for batch in client.batches for m in batch]
    assert len(logged) == len(set(logged))
    assert {step for _, step in logged} == set(range(1, 501))
    assert len(client.batches) <= 2 + len(logged) // 1000
    assert max(map(len, client.batches)) <= 1000


def _wait_for(url: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.5)


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A real MLflow server on 127.0.0.1 with its own database."""
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
            "--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}",
            "--artifacts-destination", str(tmp_path / "artifacts"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env={
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
    )  # fmt: skip
    _wait_for(f"http://127.0.0.1:{port}/health")
    yield f"http://127.0.0.1:{port}", process
    _stop(process)


def test_a_server_that_goes_away_costs_no_trial_and_is_reported(
    server: tuple[str, subprocess.Popen[str]], tmp_path: Path
) -> None:
    uri, server_process = server
    path = write_study(tmp_path, search={"trials": 2}, confirmation={"seeds": 1})
    home = tmp_path / "home"
    process = subprocess.Popen(
        [sys.executable, "-m", "rnnsearch", "study", "start", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "RNNSEARCH_HOME": str(home),
            "MLFLOW_TRACKING_URI": uri,
            "RNNSEARCH_TRACKING_PATIENCE_S": "1",
        },
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "epoch 1/" in line:
            break
    _stop(server_process)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 8, errors
    assert "`rnnsearch study compare small` shows them" in errors
    assert "Traceback" not in errors
    store = StudyStore(home / "studies" / "small")
    assert store.info.state == "finished"
    assert {r.state for r in store.records()} <= {"COMPLETE", "PRUNED"}
    shown = run("study", "compare", "small", RNNSEARCH_HOME=str(home), MLFLOW_TRACKING_URI=uri)
    assert "best mean" in shown.stdout


def test_a_study_is_recorded_on_the_server_at_mlflow_tracking_uri(
    server: tuple[str, subprocess.Popen[str]], tmp_path: Path
) -> None:
    uri, _ = server
    path = write_study(tmp_path, search={"trials": 1}, confirmation={"seeds": 1})
    home = tmp_path / "home"
    environment = {"RNNSEARCH_HOME": str(home), "MLFLOW_TRACKING_URI": uri}
    done = run("study", "start", path, **environment)
    assert done.returncode == 0, done.stderr
    assert uri in done.stdout
    assert not (home / "mlflow.db").exists(), "nothing in the embedded store"
    request = urllib.request.Request(
        f"{uri}/api/2.0/mlflow/runs/search",
        data=json.dumps({"experiment_ids": ["1"]}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        runs = json.load(answer)["runs"]
    assert {r["info"]["status"] for r in runs} == {"FINISHED"}
    # The study, a trial of each row, a configuration of each row with a seed.
    assert len(runs) == 1 + 2 + 2 + 2
    shown = run("ui", "small", **environment)
    assert shown.stdout.startswith(f"small: {uri}/#/compare-runs?runs=")


@pytest.fixture
def ui(undisturbed: Life) -> Iterator[tuple[str, str]]:
    """`rnnsearch ui` on a finished study: the address, and the link that it prints."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "rnnsearch", "ui", "life", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=undisturbed.environment,
    )
    assert process.stdout is not None
    base = process.stdout.readline().strip()
    link = process.stdout.readline().strip().removeprefix("life: ")
    yield base, link
    process.terminate()  # SIGINT is ignored where the tests run in a shell's background
    process.communicate(timeout=30)


def test_ui_serves_the_store_and_its_link_opens_the_comparison_in_a_browser(
    ui: tuple[str, str], tmp_path: Path
) -> None:
    base, link = ui
    assert base.startswith("http://127.0.0.1:")
    assert 'metrics=["test/accuracy"]' in unquote(link)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine")
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={tmp_path / 'browser'}",
            "--virtual-time-budget=20000", "--dump-dom", link,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    page = done.stdout
    assert "Comparing 2 Runs from 1 Experiment" in page
    assert "lstm confirmed" in page
    assert "elman confirmed" in page
    assert "test/accuracy" in page


def test_who_is_killed_while_making_the_database_leaves_no_half_of_one(own_home: Path) -> None:
    code = "from rnnsearch.tracking import Tracker, local_uri; Tracker(local_uri(), 'x').connect()"
    maker = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 120
    while not list(own_home.glob(".mlflow.db.*.partial")):
        assert maker.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    maker.kill()
    maker.wait()
    assert not (own_home / "mlflow.db").exists()
    for left in own_home.glob(".mlflow.db.*"):  # a journal too
        os.utime(left, (0, 0))
    tracker = Tracker(local_uri(), "x")
    tracker.connect()
    tracker.close()
    assert (own_home / "mlflow.db").exists()
    assert not list(own_home.glob(".mlflow.db.*"))


def test_a_database_of_ones_own_keeps_models_and_plots_at_home_and_not_where_it_is_run(
    own_home: Path, tmp_path: Path
) -> None:
    tracker = Tracker(f"sqlite:///{tmp_path / 'mine.db'}", "x")
    tracker.connect()
    tracker.close()
    (found,) = (e for e in MlflowClient(tracker.uri).search_experiments() if e.name == "x")
    assert found.artifact_location == (own_home / "mlartifacts").as_uri()


def test_a_store_that_takes_no_run_leaves_the_name_of_the_study_free(tmp_path: Path) -> None:
    # Artifacts go below a file, so the study's first artifact cannot be written.
    (tmp_path / "mlartifacts").write_text("in the way")
    done = run("study", "start", write_study(tmp_path), "-q", RNNSEARCH_HOME=str(tmp_path))
    assert done.returncode == 8, done.stderr
    assert "does not take runs" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "studies" / "small").exists()
