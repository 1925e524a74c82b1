"""A study end to end: real Ray, a real Optuna database, a real MLflow store, real digits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import pytest
from mlflow.tracking import MlflowClient
from sklearn.datasets import load_digits

from rnnsearch.records.store import StudyStore
from rnnsearch.spec.trial import EpochMetrics, TrialRecord

from ..command import run, run_here, write_study

# A weight decay that multiplies the weights by -99,999 at every update: they soon overflow.
DIVERGING = {
    "epochs": 4,
    "batch_size": 64,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "weight_decay": [0.0, 1e-6, 1e6],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one finished study, in which some trials are stopped and some diverge."""
    folder = tmp_path_factory.mktemp("home")
    search = {"trials": 5, "grace_epochs": 1, "reduction_factor": 2}
    path = write_study(folder, training=DIVERGING, search=search)
    done = run("study", "start", path, RNNSEARCH_HOME=str(folder))
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout)
    (folder / "stderr").write_text(done.stderr)
    return folder


@pytest.fixture(scope="module")
def records(home: Path) -> list[TrialRecord]:
    return list(StudyStore(home / "studies" / "small").records())


@pytest.fixture(scope="module")
def client(home: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home / 'mlflow.db'}")


def _runs(client: MlflowClient, phase: str) -> list[Any]:
    (experiment,) = (e for e in client.search_experiments() if e.name == "small")
    query = f"tags.`rnnsearch.phase` = '{phase}'"
    return list(client.search_runs([experiment.experiment_id], query))


def test_the_study_has_trials_of_every_state(records: list[TrialRecord]) -> None:
    # Otherwise the other tests would be meaningless.
    assert {r.state for r in records if r.phase == "search"} == {"COMPLETE", "PRUNED", "FAIL"}


def test_a_trial_stopped_early_is_pruned_in_optuna_at_its_last_step(
    home: Path, records: list[TrialRecord]
) -> None:
    storage = f"sqlite:///{home / 'studies' / 'small' / 'trials.db'}"
    for label in ("lstm", "elman"):
        study = optuna.load_study(study_name=f"search/{label}", storage=storage)
        for trial in study.trials:
            if trial.state.name == "PRUNED":
                (record,) = (
                    r
                    for r in records
                    if (r.phase, r.label, r.number) == ("search", label, trial.number)
                )
                assert trial.last_step == record.epochs[-1].epoch < 4
                assert set(trial.intermediate_values) == set(range(1, trial.last_step + 1))
                assert str(trial.last_step) in record.reason


def test_a_diverged_trial_fails_with_its_reason_and_none_is_left_running(
    records: list[TrialRecord],
) -> None:
    for record in records:
        assert record.state != "RUNNING"
        if record.state == "FAIL":
            assert "not finite in epoch" in record.reason
            assert record.spec is not None
            assert record.spec.training.weight_decay == 1e6


def test_mlflow_and_optuna_agree_on_every_state(
    client: MlflowClient, records: list[TrialRecord]
) -> None:
    expected = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
    runs = {
        r.data.tags["rnnsearch.trial"]: r
        for p in ("search", "confirmation")
        for r in _runs(client, p)
    }
    assert len(runs) == len(records)
    for record in records:
        found = runs[f"{record.phase}/{record.label}/{record.number}"]
        assert found.info.status == expected[record.state]
        assert found.data.tags["rnnsearch.state"] == record.state
        assert found.data.tags.get("rnnsearch.reason", "") == record.reason


def test_the_tracebacks_of_the_failed_trials_are_kept_and_of_no_others(
    home: Path, records: list[TrialRecord]
) -> None:
    kept = {f.name: f.read_text() for f in (home / "studies" / "small" / "errors").iterdir()}
    failed = [record for record in records if record.state == "FAIL"]
    assert set(kept) == {f"{r.phase}-{r.label}-{r.number}.txt" for r in failed}
    assert all("DivergedError" in text for text in kept.values())


def test_every_row_gets_the_same_trials_and_the_same_seeds(records: list[TrialRecord]) -> None:
    by_label: dict[tuple[str, str], list[int]] = {}
    for record in records:
        assert record.spec is not None
        by_label.setdefault((record.phase, record.label), []).append(record.spec.seed)
    assert by_label["search", "lstm"] == by_label["search", "elman"]
    assert by_label["confirmation", "lstm"] == by_label["confirmation", "elman"]
    assert not set(by_label["search", "lstm"]) & set(by_label["confirmation", "lstm"])


def test_only_confirmations_are_scored_on_test(records: list[TrialRecord]) -> None:
    for record in records:
        assert (record.test_metric is not None) == (record.phase == "confirmation")


def test_seed_runs_lie_below_their_configuration_and_that_below_the_study(
    client: MlflowClient,
) -> None:
    (parent,) = _runs(client, "study")
    configurations = {r.info.run_id: r for r in _runs(client, "configuration")}
    assert len(configurations) == 2
    for run_ in [*configurations.values(), *_runs(client, "search")]:
        assert run_.data.tags["mlflow.parentRunId"] == parent.info.run_id
    for run_ in _runs(client, "confirmation"):
        above = configurations[run_.data.tags["mlflow.parentRunId"]]
        assert above.data.tags["rnnsearch.label"] == run_.data.tags["rnnsearch.label"]


def test_metrics_of_every_epoch_and_the_data_are_in_mlflow(
    client: MlflowClient, records: list[TrialRecord], home: Path
) -> None:
    record = next(r for r in records if r.phase == "confirmation")
    (run_,) = (
        r
        for r in _runs(client, "confirmation")
        if r.data.tags["rnnsearch.trial"] == f"confirmation/{record.label}/{record.number}"
    )
    history = client.get_metric_history(run_.info.run_id, "validation/accuracy")
    assert [(m.step, m.value) for m in history] == [
        (e.epoch, e.validation_metric) for e in record.epochs
    ]
    for name in (
        "train/loss",
        "train/accuracy",
        "validation/loss",
        "time/step_ms",
        "gradient_norm",
    ):
        assert len(client.get_metric_history(run_.info.run_id, name)) == 4
    assert run_.data.metrics["test/accuracy"] == record.test_metric
    (data,) = run_.inputs.dataset_inputs
    info = json.loads((home / "studies" / "small" / "study.json").read_text())
    assert info["data"]["sha256"].startswith(data.dataset.digest)
    assert run_.data.tags["rnnsearch.data_sha256"] == info["data"]["sha256"]


def test_the_study_file_the_environment_and_the_comparison_are_in_mlflow(
    client: MlflowClient,
) -> None:
    (parent,) = _runs(client, "study")
    artifacts = {a.path for a in client.list_artifacts(parent.info.run_id)}
    assert artifacts >= {"study.yaml", "environment.json", "comparison.csv", "comparison.png"}
    assert parent.info.status == "FINISHED"


def test_a_confirmed_model_predicts_in_another_process(
    home: Path, client: MlflowClient, records: list[TrialRecord]
) -> None:
    record = next(r for r in records if (r.phase, r.label, r.number) == ("confirmation", "lstm", 0))
    (run_,) = (
        r
        for r in _runs(client, "confirmation")
        if r.data.tags["rnnsearch.trial"] == "confirmation/lstm/0"
    )
    script = f"""
import mlflow, numpy
from rnnsearch import load_registry
task = load_registry().task("digits")()
test = task.load(task.find(), "test")
mlflow.set_tracking_uri("sqlite:///{home / "mlflow.db"}")
model = mlflow.pyfunc.load_model("runs:/{run_.info.run_id}/model")
logits = model.predict(test.inputs.astype(numpy.float32))
print((logits.argmax(-1) == test.targets).mean())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert record.test_metric is not None
    assert float(done.stdout) == pytest.approx(record.test_metric, abs=1e-6)


def test_what_a_person_reads_names_the_winner_the_data_and_the_next_command(home: Path) -> None:
    text = (home / "stdout").read_text()
    assert "verdict" in text
    assert "sha256" in text
    assert "rnnsearch ui small" in text
    assert str(home / "studies" / "small" / "comparison.csv") in text


def test_progress_is_plain_lines_and_free_of_library_chatter(home: Path) -> None:
    lines = (home / "stderr").read_text().splitlines()
    assert all(line.startswith("[") for line in lines), lines
    assert any("epoch 1/4" in line for line in lines)


def test_starting_a_study_again_overwrites_nothing_and_says_what_the_choices_are(
    home: Path,
) -> None:
    before = (home / "studies" / "small" / "study.json").read_text()
    done = run_here("study", "start", home / "study.yaml", RNNSEARCH_HOME=str(home))
    assert done.returncode == 9
    assert "`small` exists already" in done.stderr
    assert "--name" in done.stderr
    assert (home / "studies" / "small" / "study.json").read_text() == before


def test_compare_writes_the_same_table_again_and_prints_json(home: Path) -> None:
    table = home / "studies" / "small" / "comparison.csv"
    before = table.read_text()
    table.unlink()
    done = run_here("study", "compare", "small", "--json", RNNSEARCH_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert table.read_text() == before
    rows = json.loads(done.stdout)["rows"]
    assert [row["place"] for row in rows] == [1, 2]


def test_show_and_list_tell_the_state_of_the_study(home: Path) -> None:
    listed = json.loads(run_here("study", "list", "--json", RNNSEARCH_HOME=str(home)).stdout)
    assert [(s["study"], s["state"]) for s in listed] == [("small", "finished")]
    shown = json.loads(
        run_here("study", "show", "small", "--json", RNNSEARCH_HOME=str(home)).stdout
    )
    assert shown["data"]["dataset"] == "digits"
    assert all("not finite" in failure["reason"] for failure in shown["failures"])


def _without_time(record: TrialRecord) -> TrialRecord:
    def timeless(epoch: EpochMetrics) -> EpochMetrics:
        return replace(epoch, step_ms=0.0, seconds=0.0)

    return replace(record, epochs=tuple(map(timeless, record.epochs)))


def test_the_same_study_from_python_gives_the_same_trials_and_the_comparison_as_a_dataframe(
    home: Path, records: list[TrialRecord], tmp_path: Path
) -> None:
    script = f"""
import rnnsearch
study = rnnsearch.load_study({str(home / "study.yaml")!r})
assert study.plan().trials == 10
result = study.run()
frame = result.comparison.to_dataframe()
print(frame[["label", "place", "mean"]].to_json(orient="records"))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "RNNSEARCH_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "quiet"
    again = list(StudyStore(tmp_path / "studies" / "small").records())
    assert [_without_time(r) for r in again] == [_without_time(r) for r in records]
    rows = json.loads(done.stdout)
    assert [row["place"] for row in rows] == [1, 2]
    for row in rows:
        scores = [
            r.test_metric for r in again if (r.phase, r.label) == ("confirmation", row["label"])
        ]
        assert row["mean"] == pytest.approx(np.mean(np.array(scores, float)))


def test_the_data_of_the_study_is_scikit_learns(home: Path) -> None:
    info = json.loads((home / "studies" / "small" / "study.json").read_text())
    assert sum(info["data"]["sizes"].values()) == len(load_digits().target)
    assert np.isclose(sum(info["data"]["sizes"].values()), 1797)
    assert info["environment"]["mlflow"] == mlflow.__version__


def test_ctrl_c_twice_exits_with_130_and_leaves_no_trial_running(tmp_path: Path) -> None:
    path = write_study(
        tmp_path, training={"epochs": 20_000, "learning_rate": 1e-3}, search={"trials": 1}
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "rnnsearch", "study", "start", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RNNSEARCH_HOME": str(tmp_path)},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "epoch 1/" in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)  # asks it to stop after the running trials
    assert any("Ctrl-C again stops at once" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    store = StudyStore(tmp_path / "studies" / "small")
    assert store.info.state == "interrupted"
    states = [(r.state, r.reason) for r in store.records(interrupted=True)]
    assert states == [("FAIL", "interrupted")]
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([store.info.experiment_id])
    assert sorted(r.info.status for r in runs) == ["FAILED", "KILLED"]
