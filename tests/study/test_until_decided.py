"""A real study that goes on until decided: what a person reads while it runs and afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from ..command import run, run_here, write_study

SLOW = {"learning_rate": 1e-6, "epochs": 4}  # does not learn


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a study of a row that learns and one that does not, confirmed until decided."""
    folder = tmp_path_factory.mktemp("decided")
    path = write_study(
        folder,
        architectures=["lstm", {"name": "lstm", "label": "slow", "training": SLOW}],
        engine="torch",
        training={"epochs": 4, "batch_size": 64, "learning_rate": 1e-2},
        search={"trials": 0},
        confirmation={"seeds": 3, "until": "decided", "most_seeds": 9, "margin": 0.001},
    )
    done = run("study", "start", path, RNNSEARCH_HOME=str(folder / "home"))
    assert done.returncode == 0, done.stderr
    (folder / "stderr").write_text(done.stderr)
    (folder / "stdout").write_text(done.stdout)
    return folder


def test_the_terminal_says_after_each_round_what_is_decided(home: Path) -> None:
    lines = [line.partition("] ")[2] for line in (home / "stderr").read_text().splitlines()]
    rounds = [line for line in lines if "slow: " in line]
    assert rounds[0].endswith("; 6 more trials")
    assert "lstm: undecided (about 3 more seeds)" in rounds[0]
    assert rounds[-1].startswith("lstm: best, slow: worse (by ")
    assert "more trials" not in rounds[-1]


def test_the_leaderboard_gives_the_verdict_with_its_evidence(home: Path) -> None:
    text = (home / "stdout").read_text()
    assert "lstm is the best of the models at 1,500 parameters" in text
    assert "worse (by " in text
    assert "unequal" not in text


def test_status_and_the_log_tell_what_is_decided(home: Path) -> None:
    environment = {"RNNSEARCH_HOME": str(home / "home")}
    shown = run_here("study", "status", "small", **environment).stdout
    assert "decided so far  lstm: best" in shown
    assert "left 0 trials" in shown
    log = (home / "home" / "studies" / "small" / "log.jsonl").read_text().splitlines()
    decided = [event for event in map(json.loads, log) if event["event"] == "decided"]
    assert [event["more"] for event in decided] == [6, 0]
    assert decided[-1]["verdicts"]["lstm"] == "best"


def test_mlflow_has_the_medians_and_what_is_decided(home: Path) -> None:
    client = MlflowClient(f"sqlite:///{home / 'home' / 'mlflow.db'}")
    (experiment,) = (e for e in client.search_experiments() if e.name == "small")
    runs = client.search_runs([experiment.experiment_id])
    (own,) = (r for r in runs if "rnnsearch.decided" in r.data.tags)
    assert "lstm: best; slow: worse (by " in own.data.tags["rnnsearch.decided"]
    medians = {r.info.run_name: r.data.metrics for r in runs if "test/seeds" in r.data.metrics}
    assert medians["lstm confirmed"]["test/seeds"] == 6
    assert medians["lstm confirmed"]["test/accuracy"] > medians["slow confirmed"]["test/accuracy"]


def test_a_row_can_be_made_the_control_afterwards(home: Path) -> None:
    environment = {"RNNSEARCH_HOME": str(home / "home")}
    folder = home / "home" / "studies" / "small"
    before = (folder / "comparison.csv").read_text()
    shown = run_here("study", "compare", "small", "--against", "slow", **environment)
    assert "The control slow has a median test accuracy of" in shown.stdout
    assert (folder / "comparison.csv").read_text() == before, "it is not what the study asks for"
    wrong = run_here("study", "compare", "small", "--against", "slwo", **environment)
    assert wrong.returncode == 3
    assert "study `small` has no row `slwo`. Did you mean `slow`? Rows: lstm, slow" in wrong.stderr


def test_the_plan_says_how_many_runs_it_takes_at_least_and_at_most(home: Path) -> None:
    environment = {"RNNSEARCH_HOME": str(home / "home")}
    shown = run_here("study", "plan", home / "study.yaml", **environment).stdout
    assert "Confirmation  6 runs on fresh seeds, and more until decided (18 at most)" in shown


def test_extending_cannot_take_seeds_back(home: Path) -> None:
    environment = {"RNNSEARCH_HOME": str(home / "home")}
    refused = run_here("study", "extend", "small", "--seeds", "8", **environment)
    assert refused.returncode == 9
    assert "has 9 seeds already; it cannot shrink to 8" in refused.stderr
    unknown = run_here("study", "extend", "small", **environment)
    assert unknown.returncode == 2
    assert "--trials, --seeds or --until decided" in unknown.stderr
