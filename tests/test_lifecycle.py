"""A study that is killed, stopped, interrupted or extended ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from rnnsearch.store import StudyStore

from .command import run, write_study

ROWS = ["lstm", "elman"]
TRIALS, SEEDS = 3, 2
# Trials of a second or two, whose engine does not depend on the load of the machine.
CHANGES: dict[str, Any] = {
    "name": "life",
    "architectures": ROWS,
    "engine": "torch",
    "training": {"epochs": 8, "batch_size": 16, "learning_rate": {"low": 1e-3, "high": 3e-2}},
    "search": {"trials": TRIALS, "scheduler": "none"},
    "confirmation": {"seeds": SEEDS},
}
WANTED = len(ROWS) * (TRIALS + SEEDS)


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "RNNSEARCH_HOME": str(home), "RNNSEARCH_CHECKPOINT_S": "0.5"}


def _begin(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """A command in a process of its own, whose signals do not reach the tests."""
    with (home / "stderr").open("a") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "rnnsearch", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            text=True,
            env=_environment(home),
            start_new_session=True,
        )


def _store(home: Path) -> StudyStore:
    return StudyStore(home / "studies" / "life")


def _ended(home: Path) -> int:
    store = _store(home)
    if not (store.folder / "study.json").exists():
        return -1
    return sum(r.state != "RUNNING" for r in store.records())


def _wait_for(home: Path, trials: int, driver: subprocess.Popen[str]) -> None:
    """Until so many trials have ended, at most five minutes."""
    deadline = time.monotonic() + 300
    while _ended(home) < trials:
        assert driver.poll() is None, (home / "stderr").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _results(home: Path) -> dict[tuple[str, str, int], Any]:
    found = {}
    for record in _store(home).records():
        assert record.spec is not None
        epochs = [(e.epoch, e.train_loss, e.validation_loss) for e in record.epochs]
        key = (record.phase, record.label, record.spec.seed)
        assert key not in found, f"{key} was run twice"
        found[key] = (record.state, record.test_metric, str(epochs))
    return found


def _assert_mlflow_agrees(home: Path) -> None:
    """Each trial of the store has one run, ended as it ended."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("life")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert {run.info.status for run in runs} <= {"FINISHED", "FAILED", "KILLED"}
    shown = {r.data.tags["rnnsearch.trial"]: r for r in runs if "rnnsearch.trial" in r.data.tags}
    known = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
    for record in _store(home).records(interrupted=True):
        key = f"{record.phase}/{record.label}/{record.number}"
        assert shown[key].info.status == known[record.state], key
        if record.state == "COMPLETE":
            assert shown[key].data.metrics["train/loss"] == record.epochs[-1].train_loss
    assert len(shown) == len(list(_store(home).records(interrupted=True)))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a study that nothing happened to."""
    home = tmp_path_factory.mktemp("undisturbed")
    done = run("study", "start", write_study(home, **CHANGES), **_environment(home))
    assert done.returncode == 0, done.stderr
    return home


def _start(home: Path) -> subprocess.Popen[str]:
    return _begin(home, "study", "start", str(write_study(home, **CHANGES)))


def _resume(home: Path) -> None:
    done = run("study", "resume", "life", **_environment(home))
    assert done.returncode == 0, done.stderr


def test_a_driver_killed_in_the_middle_of_a_trial_is_resumed_to_the_same_results(
    undisturbed: Path, tmp_path: Path
) -> None:
    driver = _start(tmp_path)
    _wait_for(tmp_path, 2, driver)
    time.sleep(1)
    driver.kill()
    driver.wait()
    status = json.loads(run("study", "status", "life", "--json", **_environment(tmp_path)).stdout)
    assert status["state"] == "its driver died; `rnnsearch study resume life` goes on"
    _resume(tmp_path)
    assert _results(tmp_path) == _results(undisturbed)
    assert len(_results(tmp_path)) == WANTED
    assert _store(tmp_path).info["state"] == "finished"
    _assert_mlflow_agrees(tmp_path)
    healthy = run("study", "doctor", "life", **_environment(tmp_path))
    assert healthy.stdout == "nothing is amiss\n"


def test_the_doctor_mends_what_a_killed_driver_left(tmp_path: Path) -> None:
    driver = _start(tmp_path)
    _wait_for(tmp_path, 1, driver)
    driver.kill()
    driver.wait()
    found = run("study", "doctor", **_environment(tmp_path)).stdout
    assert "it says that it is running, and no process runs it" in found
    assert "left running in MLflow" in found
    assert "mended" in run("study", "doctor", "life", "--fix", **_environment(tmp_path)).stdout
    assert run("study", "doctor", **_environment(tmp_path)).stdout == "nothing is amiss\n"
    _assert_mlflow_agrees(tmp_path)


def test_a_study_that_is_stopped_ends_its_trials_and_goes_on_where_it_was(
    undisturbed: Path, tmp_path: Path
) -> None:
    driver = _start(tmp_path)
    _wait_for(tmp_path, 1, driver)
    stopped = run("study", "stop", "life", **_environment(tmp_path))
    assert stopped.returncode == 0, stopped.stderr
    assert driver.wait(timeout=300) == 130
    assert _store(tmp_path).info["state"] == "stopped"
    assert all(r.state == "COMPLETE" for r in _store(tmp_path).records(interrupted=True))
    refused = run("study", "stop", "life", **_environment(tmp_path))
    assert refused.returncode == 9
    assert "is not running: stopped; `rnnsearch study resume life` goes on" in refused.stderr
    _resume(tmp_path)
    assert _results(tmp_path) == _results(undisturbed)


@pytest.mark.slow
def test_ctrl_c_once_stops_gently_and_twice_at_once(tmp_path: Path) -> None:
    driver = _start(tmp_path)
    _wait_for(tmp_path, 1, driver)
    driver.send_signal(signal.SIGINT)
    time.sleep(0.3)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(timeout=120) == 130
    assert "Ctrl-C again stops at once" in (tmp_path / "stderr").read_text()
    assert _store(tmp_path).info["state"] in ("interrupted", "stopped")
    assert all(r.state != "RUNNING" for r in _store(tmp_path).records(interrupted=True))


@pytest.mark.slow
def test_a_finished_study_is_extended_by_seeds_and_trials_and_keeps_what_it_has(
    undisturbed: Path, tmp_path: Path
) -> None:
    done = run("study", "start", write_study(tmp_path, **CHANGES), **_environment(tmp_path))
    assert done.returncode == 0, done.stderr
    before = _results(tmp_path)
    more = run("study", "extend", "life", "--seeds", str(SEEDS + 1), **_environment(tmp_path))
    assert more.returncode == 0, more.stderr
    after = _results(tmp_path)
    assert before.items() <= after.items()
    assert len(after) == len(before) + len(ROWS)
    less = run("study", "extend", "life", "--seeds", "1", **_environment(tmp_path))
    assert less.returncode == 9
    assert "it cannot shrink to 1" in less.stderr


def test_a_study_that_runs_cannot_be_resumed_beside_itself(tmp_path: Path) -> None:
    driver = _start(tmp_path)
    _wait_for(tmp_path, 0, driver)
    refused = run("study", "resume", "life", **_environment(tmp_path))
    assert refused.returncode == 9
    assert f"is running: process {driver.pid}" in refused.stderr
    killed = run("study", "kill", "life", **_environment(tmp_path))
    assert killed.returncode == 0, killed.stderr
    assert driver.wait(timeout=120) == 130


@pytest.mark.slow
def test_a_driver_killed_twenty_times_loses_and_repeats_nothing(
    undisturbed: Path, tmp_path: Path
) -> None:
    chance = random.Random(0)
    driver = _start(tmp_path)
    for _ in range(20):
        begun = time.monotonic()
        pause = chance.uniform(8, 16)
        while driver.poll() is None and time.monotonic() < begun + pause:
            time.sleep(0.1)
        if driver.poll() is not None:
            assert driver.returncode == 0, (tmp_path / "stderr").read_text()
            break
        driver.kill()
        driver.wait()
        if _ended(tmp_path) < 0:  # before there was a study to resume
            driver = _start(tmp_path)
        else:
            driver = _begin(tmp_path, "study", "resume", "life")
    assert driver.wait(timeout=600) == 0
    assert _results(tmp_path) == _results(undisturbed)
    _assert_mlflow_agrees(tmp_path)
