"""MLflow: a real server, links, and information that may be shown."""

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
from typing import Any
from urllib.parse import unquote

import pytest
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from rnnsearch.records.mlflow_store import local_uri
from rnnsearch.records.mlflow_ui import serve, study_links
from rnnsearch.records.mlflow_views import address, table_link
from rnnsearch.records.store import StudyStore
from rnnsearch.records.tracking import Tracker

from ..command import run, run_here, write_study
from ..life import Life
from ..loopback import free_port
from ..trial_records import SOURCE, epoch, searched


class SlowClient:
    """Accepts batches of metrics, but blocks on the first until it is released."""

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
    # The study, one trial per row, one configuration per row with one seed.
    assert len(runs) == 1 + 2 + 2 + 2
    shown = run("ui", "small", **environment)
    trials, confirmed, compared = shown.stdout.splitlines()
    assert trials == f"small: {table_link(uri, '1', 'trials')}"
    assert confirmed == f"small, confirmed: {table_link(uri, '1', 'confirmed')}"
    assert compared.startswith(f"small, comparison: {uri}/#/compare-runs?runs=")
    # A browser may know the server by another name than a container does.
    environment["RNNSEARCH_TRACKING_LINK"] = "http://localhost:7000/"
    told = run_here("study", "show", "small", **environment)
    assert f"Trials {table_link('http://localhost:7000', '1', 'trials')}" in told.stdout


@pytest.fixture
def ui(undisturbed: Life) -> Iterator[tuple[str, dict[str, str]]]:
    """`rnnsearch ui` on a finished study: its address, and the links it prints."""
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
    lines = [process.stdout.readline().strip() for _ in range(3)]
    yield base, dict(line.removeprefix("life").lstrip(", ").split(": ", 1) for line in lines)
    process.terminate()  # SIGINT is ignored if the tests run in a shell's background
    process.communicate(timeout=30)


def test_ui_serves_the_store_and_its_links_open_trials_and_comparison_in_a_browser(
    ui: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    base, links = ui
    assert base.startswith("http://127.0.0.1:")
    assert links[""] == table_link(base, "1", "trials")
    assert 'metrics=["test/accuracy"]' in unquote(links["comparison"])
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine")
    page = _page(browser, links[""], tmp_path)
    for shown in ("lstm trial 0", "elman trial 0", "validation/accuracy", "parameters/total"):
        assert shown in page
    page = _page(browser, links["comparison"], tmp_path)
    assert "Comparing 2 Runs from 1 Experiment" in page
    assert "lstm confirmed" in page
    assert "elman confirmed" in page
    assert "test/accuracy" in page


def _page(browser: str, link: str, tmp_path: Path) -> str:
    """A page as rendered by a browser, after its scripts have run."""
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
    return done.stdout


def test_the_experiment_says_how_its_trials_are_shown_and_every_run_where_it_is_from(
    own_home: Path, tmp_path: Path
) -> None:
    # Parameters and tags that opened the table of trials in a real browser.
    link = table_link("http://h", "7", "trials")
    assert link == (
        "http://h/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=trials"
    )
    file = tmp_path / "study.yaml"
    file.write_text("# http://ann:geheim@h\n", encoding="utf-8")
    tracker = Tracker(local_uri(), "small")
    tracker.connect()
    diff = "+remote = https://ann:geheim@h/x.git\n+PASSWORD=geheim"
    environment = {"proxy": "http://ann:geheim@h"}
    git = {"commit": "c0ffee", "diff": diff}
    run_id = tracker.start_study(file, "Which?", SOURCE, environment, git, "mse", "minimize")
    (trial,) = searched("gru", 1)
    assert trial.spec is not None
    assert trial.complexity is not None
    tracker.trial_started("search/gru/0", trial.spec, trial.complexity)
    reason = "OSError: http://ann:geheim@h"
    tracker.trial_finished("search/gru/0", trial.spec, "FAIL", reason, None)
    tracker.flush()
    client = MlflowClient(local_uri())
    tags = client.get_experiment(tracker.experiment_id).tags
    assert tags["mlflow.note.content"] == "Which?"
    for name, phase, score in (
        ("trials", "search", "validation/mse"),
        ("confirmed", "confirmation", "test/mse"),
    ):
        view = json.loads(tags[f"mlflow.sharedViewState.{name}"])
        assert view["orderByKey"] == f"metrics.`{score}`"
        assert view["orderByAsc"] is True, "the smallest error is the best"
        assert view["selectedColumns"][1:4] == [
            f"metrics.`{score}`", "metrics.`parameters/total`", "params.`architecture`",
        ]  # fmt: skip
        assert view["columnOrder"] == list(view["columnWidths"]) == view["selectedColumns"]
        found = client.search_runs([tracker.experiment_id], view["searchFilter"])
        assert [run.data.tags["rnnsearch.phase"] for run in found] == [phase] * (phase == "search")
        assert run_id in view["searchFilter"], "an earlier study of that name is not in it"
    runs = client.search_runs([tracker.experiment_id])
    assert len(runs) == 2
    for one in runs:
        assert one.data.tags["mlflow.source.name"] == "rnnsearch study small"
        assert one.data.tags["mlflow.source.type"] == "LOCAL"
    tracker.close()
    # No password was logged there.
    folder = own_home / "mlartifacts" / run_id / "artifacts"
    assert sorted(p.name for p in folder.iterdir()) == ["environment.json", "study.yaml"]
    sent = [p.read_text("utf-8") for p in folder.iterdir()] + [str(one.data.tags) for one in runs]
    assert all("geheim" not in text for text in sent)
    assert sum("***" in text for text in sent) == 4
    # A study from before there were views gets them when it is opened.
    for name in ("trials", "confirmed"):
        client.delete_experiment_tag(tracker.experiment_id, f"mlflow.sharedViewState.{name}")
    links = study_links(local_uri(), "http://h", "small", run_id, "mse", "minimize")
    assert links is not None
    assert links["trials"] == table_link("http://h", tracker.experiment_id, "trials")
    tags = client.get_experiment(tracker.experiment_id).tags
    assert run_id not in json.loads(tags["mlflow.sharedViewState.trials"])["searchFilter"]


@pytest.mark.parametrize(
    ("uri", "told", "expected"),
    [
        ("http://ann:geheim@h:5000/mlflow/?token=geheim", None, "http://h:5000/mlflow"),
        ("HTTPS://h", None, "https://h"),
        ("sqlite:////home/x/mlflow.db", None, None),
        ("postgresql://h/db", "https://runs.example/", "https://runs.example"),
        ("http://mlflow:5000", "localhost:5000", "http://localhost:5000"),
    ],
)
def test_links_are_to_where_a_browser_finds_the_server(
    uri: str, told: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if told is not None:
        monkeypatch.setenv("RNNSEARCH_TRACKING_LINK", told)
    assert address(uri) == expected


@pytest.mark.parametrize(
    ("host", "allowed", "names"),
    [
        ("127.0.0.1", (), None),
        ("0.0.0.0", (), {"localhost:*", "127.0.0.1:*"}),
        ("::", ("runs.example",), {"localhost:*", "runs.example", "runs.example:*"}),
        ("10.1.2.3", (), {"localhost:*", "10.1.2.3:*"}),
    ],
)
def test_a_ui_that_others_reach_answers_to_names_that_are_known_and_never_to_all(
    host: str,
    allowed: tuple[str, ...],
    names: set[str] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(
        "rnnsearch.records.mlflow_ui.subprocess.Popen",
        lambda command, **_: commands.append(command),
    )
    serve("sqlite:////nowhere.db", 5000, host, allowed)
    (command,) = commands
    assert command[command.index("--host") + 1] == host
    assert "sqlite:////nowhere.db" not in command, "an address may have a password"
    if names is None:
        assert "--allowed-hosts" not in command, "MLflow's own: this machine"
        return
    told = set(command[command.index("--allowed-hosts") + 1].split(","))
    assert names <= told
    assert not told & {"*", "*:*", "0.0.0.0:*"}
    origins = set(command[command.index("--cors-allowed-origins") + 1].split(","))
    assert origins == {f"{scheme}://{name}" for name in told for scheme in ("http", "https")}


def test_nothing_is_asked_at_an_address_that_came_with_an_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rnnsearch.records.archive import export_study, import_study

    asked: list[object] = []
    text = write_study(tmp_path, tracking={"uri": "http://evil.example"}).read_text("utf-8")
    store = StudyStore.create("small", text)
    store.write_info(
        state="finished", tracking_uri="http://evil.example", experiment_id="1", run_id="a" * 32
    )
    export_study(store, tmp_path / "small.zip")
    theirs = import_study(tmp_path / "small.zip", "theirs")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "geheim")
    monkeypatch.setattr("socket.getaddrinfo", lambda host, *_, **__: asked.append(host))
    assert theirs.config.tracking.uri is None
    done = run_here("ui", "theirs")
    assert done.returncode == 8
    assert "http://evil.example, which is not asked" in done.stderr
    assert "set MLFLOW_TRACKING_URI to it" in done.stderr
    assert "no study has been recorded" not in done.stderr
    assert not asked


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "it has recorded none yet. `rnnsearch study resume small` runs it"),
        (
            {"imported": {"file": "a.zip", "name": "small", "on": "2026-01-01T00:00:00+00:00"}},
            "it was imported, and an archive holds no runs. `rnnsearch study compare small`",
        ),
    ],
)
def test_a_named_study_without_runs_is_told_apart_from_a_store_without_studies(
    own_home: Path, tmp_path: Path, fields: dict[str, Any], why: str
) -> None:
    store = StudyStore.create("small", write_study(tmp_path).read_text("utf-8"))
    store.write_info(**fields)
    named, unnamed = run_here("ui", "small"), run_here("ui")
    assert (named.returncode, unnamed.returncode) == (8, 8)
    assert f"study `small` has no runs in {local_uri()}: {why}" in named.stderr
    assert "no study has been recorded in" in unnamed.stderr


def test_who_is_killed_while_making_the_database_leaves_no_half_of_one(own_home: Path) -> None:
    code = (
        "from rnnsearch.records.tracking import Tracker; "
        "from rnnsearch.records.mlflow_store import local_uri; "
        "Tracker(local_uri(), 'x').connect()"
    )
    maker = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 120
    while not list(own_home.glob(".mlflow.db.*.partial")):
        assert maker.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    maker.kill()
    maker.wait()
    assert not (own_home / "mlflow.db").exists()
    for left in own_home.glob(".mlflow.db.*"):  # including journals
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
    # Its parent is a file, so the study's first artifact cannot be written.
    (tmp_path / "mlartifacts").write_text("in the way")
    done = run("study", "start", write_study(tmp_path), "-q", RNNSEARCH_HOME=str(tmp_path))
    assert done.returncode == 8, done.stderr
    assert "does not take runs" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "studies" / "small").exists()
