"""A study damaged in one place is named, stops no other study, and is repaired if possible."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient

from rnnsearch.errors import StoreError, TrackingError
from rnnsearch.plugin.registry import load_registry
from rnnsearch.records.open_trial import OpenTrial
from rnnsearch.records.store import StudyStore, studies_folder
from rnnsearch.records.tracking import Tracker
from rnnsearch.spec.model import Complexity, ModelSpec
from rnnsearch.spec.trial import EpochMetrics, TrainingConfig, TrialSpec
from rnnsearch.study.doctor import examine, examine_leftovers
from rnnsearch.study.stored import compare_study, tracking_uri

from ..command import run_here, study_content
from ..leases import write_lease

TASK = load_registry().task("digits")()
SOURCE = TASK.find()


def _confirm(store: StudyStore, label: str, seed: int, metric: float) -> None:
    spec = TrialSpec(
        "confirmation",
        ModelSpec(label, TASK.shape, 6),
        TrainingConfig(1, 32, 0.01),
        seed,
        "digits",
        {},
        1500,
        0.0,
        engine="torch",
        label=label,
        metric="accuracy",
    )
    study = store.optuna_study("confirmation", label, "maximize")
    trial = OpenTrial(study, study.ask())
    trial.note(values={}, rank=0, spec=spec.to_json())
    trial.note(complexity=asdict(Complexity(10, 9, 1, 6, 12.5)))
    trial.report([EpochMetrics(1, 1.0, 0.5, 0.75, 0.5, 1.5, 2.0, 4, 0.25)])
    trial.note(test_metric=metric, test_loss=1.0 - metric)
    trial.complete(metric)


@pytest.fixture
def store() -> StudyStore:
    """A finished study without runs: two rows and three seeds, while its file asks for two."""
    made = StudyStore.create("small", yaml.safe_dump(study_content()))
    made.write_info(name="small", state="finished", data=SOURCE, extended={"seeds": 3})
    for seed in (11, 12, 13):
        _confirm(made, "lstm", seed, 0.5 + seed / 100)
        _confirm(made, "elman", seed, seed / 100)
    return StudyStore(made.folder)


def _cut(name: str, size: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: size if size >= 0 else len(content) + size])

    return damage


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return damage


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


_DAMAGES = {
    "study.json empty": (_cut("study.json", 0), "study.json"),
    "study.json cut": (_cut("study.json", 40), "study.json"),
    "study.json of another type": (_write("study.json", b'["a"]'), "study.json"),
    "study.json with a wrong state": (_write("study.json", b'{"state": "done"}'), "study.json"),
    "study.json not text": (_write("study.json", b"\xff\xfe\0"), "study.json"),
    "trials.db empty": (_cut("trials.db", 0), "trials.db"),
    "trials.db cut": (_cut("trials.db", -60_000), "trials.db"),
    "trials.db no database": (_write("trials.db", b"x" * 9000), "trials.db"),
    "trials.db missing": (_remove("trials.db"), "trials.db"),
    "study.yaml missing": (_remove("study.yaml"), "study.yaml"),
    "study.yaml not YAML": (_write("study.yaml", b"name: ["), "study.yaml"),
    "study.yaml not text": (_write("study.yaml", b"\xff\xfe"), "study.yaml"),
}


@pytest.mark.parametrize(("damage", "file"), _DAMAGES.values(), ids=_DAMAGES)
def test_a_damaged_study_is_named_stops_no_other_and_loses_nothing(
    damage: Callable[[Path], None], file: str, store: StudyStore
) -> None:
    StudyStore.create("other", yaml.safe_dump(study_content(name="other")))
    damage(store.folder)
    before = {p.name: p.read_bytes() for p in store.folder.iterdir()}
    listed = run_here("study", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    states = {row["study"]: row["state"] for row in json.loads(listed.stdout)}
    assert states["other"] == "never started"
    assert file in listed.stderr or states["small"] != "damaged"
    refused = run_here("study", "show", "small")
    if refused.returncode:
        assert refused.returncode == 9, refused.stderr
        assert file in refused.stderr
    named = run_here("study", "show", "smal")
    assert "Did you mean `small`?" in named.stderr
    found = run_here("study", "doctor")
    assert found.returncode == 0, found.stderr
    assert file in found.stdout
    assert "small: " in found.stdout
    assert "other: " not in found.stdout
    after = {p.name: p.read_bytes() for p in store.folder.iterdir()}
    assert after == before, "who only looks changes nothing"
    assert run_here("study", "doctor", "--fix").returncode == 0
    kept = [p.read_bytes() for p in store.folder.iterdir()]
    if file == "trials.db":  # its trials must be run again
        known = {**json.loads(before.pop("study.json")), "state": "interrupted"}
        assert store.info.content() == known
    assert all(content in kept for content in before.values()), "nothing is deleted"


@pytest.mark.parametrize(
    "damage", [d for name, (d, _) in _DAMAGES.items() if name.startswith("study.json")]
)
def test_a_damaged_study_json_is_made_anew_from_the_trials(
    damage: Callable[[Path], None], store: StudyStore
) -> None:
    before = compare_study(store)
    damage(store.folder)
    (finding,) = examine(store, fix=True)
    assert finding.mended
    assert "study.json" in finding.what
    assert (store.info.state, store.info.data) == ("interrupted", SOURCE)
    assert store.config.confirmation.seeds == 3, "it had been extended"
    assert store.info.engines["lstm"].engine == "torch"
    assert compare_study(store).rows == before.rows
    assert examine(store) == []


@pytest.mark.parametrize("name", ["trials.db cut", "trials.db empty", "trials.db missing"])
def test_trials_that_cannot_be_read_are_put_aside_and_run_again(
    name: str, store: StudyStore
) -> None:
    store.write_info(run_id="f" * 32, tracking_uri="http://127.0.0.1:9")
    _DAMAGES[name][0](store.folder)
    found = examine(StudyStore(store.folder), fix=True)
    assert "resume small` then runs every trial again" in found[0].what
    again = StudyStore(store.folder)
    assert list(again.records(interrupted=True)) == []
    assert (again.state, again.info.run_id, again.info.data) == ("interrupted", None, SOURCE)
    assert examine(again) == []


def test_an_index_that_is_damaged_costs_no_trial(store: StudyStore) -> None:
    before = list(map(repr, store.records()))
    path = store.folder / "trials.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA writable_schema=ON")
        database.execute(
            "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE "
            "name = 'ix_studies_study_name') WHERE name = 'ix_trials_study_id'"
        )
    again = StudyStore(store.folder)
    found = examine(again)
    assert "every trial can be read" in found[0].what
    examine(again, fix=True)
    again = StudyStore(store.folder)
    assert list(map(repr, again.records())) == before
    assert examine(again) == []
    assert (store.folder / "trials.db.damaged").exists()


def test_what_is_wrong_is_said_of_the_study_by_every_reader(store: StudyStore) -> None:
    (store.folder / "study.json").write_text('{"state": 3}')
    with pytest.raises(StoreError, match=r"study\.json: `state`: expected 'running'.*doctor small"):
        compare_study("small")


# During a run


def test_a_study_that_runs_is_neither_mended_deleted_nor_written(store: StudyStore) -> None:
    (store.folder / "stop").touch()
    with store.held("running"):
        assert examine(store) == []
        for command in (("doctor", "small", "--fix"), ("delete", "small", "--yes")):
            refused = run_here("study", *command)
            assert refused.returncode == 9
            assert refused.stderr.startswith("error: study `small` is running: process ")
        mended = run_here("study", "doctor", "--fix")
        assert mended.returncode == 0
        assert mended.stdout == "nothing is amiss\n"
        shown = run_here("study", "compare", "small")
        assert shown.returncode == 0, shown.stderr
        assert "nothing is written or logged" in shown.stderr
        assert not (store.folder / "comparison.csv").exists()
        assert json.loads(run_here("study", "status", "small", "--json").stdout)["state"] == (
            "running"
        )
    assert [f.what for f in examine(store, fix=True)] == ["a request to stop is left"]


def test_a_study_whose_driver_died_is_interrupted_whoever_asks(store: StudyStore) -> None:
    store.write_info(state="running", pid=1, host="elsewhere")
    write_lease(store, 99999, started="1")
    assert store.state == "interrupted"
    (listed,) = json.loads(run_here("study", "list", "--json").stdout)
    assert listed["state"] == "interrupted"
    refused = run_here("study", "kill", "small")
    assert refused.returncode == 9
    assert "its driver died; `rnnsearch study resume small` continues it" in refused.stderr
    assert [f.what for f in examine(store)] == [
        "it says that it is running, and no process runs it"
    ]
    examine(store, fix=True)
    assert store.info.state == "interrupted"
    assert examine(store) == examine_leftovers() == []


def test_what_killed_starts_left_is_found_and_removed(store: StudyStore) -> None:
    folder = studies_folder()
    (folder / ".gone.partial").mkdir()
    (folder / ".gone.31.partial").mkdir()
    (folder / ".import-x1").mkdir()
    (folder / ".small.deleted").mkdir()
    (folder / ".notes").mkdir()
    write_lease(StudyStore(folder / "dead"), 99999, started="1")
    found = examine_leftovers()
    names = {".gone.partial", ".gone.31.partial", ".import-x1", ".small.deleted", ".dead.lease"}
    assert {finding.what.rpartition(" ")[2] for finding in found} == names
    with StudyStore(folder / "gone").held("running"):
        assert not any(finding.study == "gone" for finding in examine_leftovers(fix=True))
    examine_leftovers(fix=True)
    assert sorted(path.name for path in folder.iterdir()) == [".notes", "small"]


def test_a_full_disk_leaves_no_study_running(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_info(state="running", environment={"torch": "2.13"})

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with store.held("running") as held:
        held.write_info(state="interrupted", seconds=1.5)
        with pytest.raises(StoreError, match="No space left on device"):
            held.write_info(git={"diff": "x" * 5000})
    assert (store.info.state, store.info.seconds) == ("interrupted", 1.5)


# Runs


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a study and its runs, used as a template."""
    home = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNNSEARCH_HOME", str(home))
        patch.setenv("MLFLOW_TRACKING_URI", "")
        made = StudyStore.create("small", yaml.safe_dump(study_content()))
        made.write_info(name="small", state="finished", data=SOURCE)
        for seed in (11, 12):
            _confirm(made, "lstm", seed, 0.5)
            _confirm(made, "elman", seed, 0.25)
        uri = f"sqlite:///{home / 'mlflow.db'}"
        tracker = Tracker(uri, "small")
        tracker.connect()
        run_id = tracker.start_study(
            made.folder / "study.yaml", "", SOURCE, {}, {}, "accuracy", "maximize"
        )
        made.write_info(run_id=run_id, tracking_uri=uri, experiment_id=tracker.experiment_id)
        tracker.resume_study(run_id, SOURCE, list(made.records()))
        tracker.finish_study("FINISHED", [])
        tracker.close()
    return home


@pytest.fixture
def with_runs(tracked: Path, own_home: Path) -> tuple[StudyStore, MlflowClient]:
    """The same study in the home of the test, as if the home had been moved."""
    shutil.copytree(tracked, own_home)
    store = StudyStore.open("small")
    store.write_info(tracking_uri=f"sqlite:///{own_home / 'mlflow.db'}")
    return store, MlflowClient(f"sqlite:///{own_home / 'mlflow.db'}")


def _tree(client: MlflowClient, store: StudyStore) -> set[tuple[str, str]]:
    """State and trial of each run below the study's own."""
    info = store.info
    assert info.run_id is not None
    assert client.get_run(info.run_id).info.lifecycle_stage == "active"
    runs = client.search_runs([client.get_run(info.run_id).info.experiment_id], max_results=1000)
    above = {info.run_id} | {
        r.info.run_id for r in runs if r.data.tags.get("mlflow.parentRunId") == info.run_id
    }
    return {
        (r.data.tags["rnnsearch.trial"], r.info.status)
        for r in runs
        if "rnnsearch.trial" in r.data.tags and r.data.tags["mlflow.parentRunId"] in above
    }


EVERY = {(f"confirmation/{row}/{n}", "FINISHED") for row in ("lstm", "elman") for n in (0, 1)}


def _delete_run(client: MlflowClient, store: StudyStore) -> None:
    client.delete_run(str(store.info.run_id))


def _delete_below(client: MlflowClient, store: StudyStore) -> None:
    for run in client.search_runs([str(store.info.experiment_id)]):
        if run.info.run_id != store.info.run_id:
            client.delete_run(run.info.run_id)


def _delete_experiment(client: MlflowClient, store: StudyStore) -> None:
    client.delete_experiment(str(store.info.experiment_id))


def _purge(client: MlflowClient, store: StudyStore) -> None:
    """Equivalent to `mlflow gc`."""
    _delete_run(client, store)
    client._tracking_client.store._hard_delete_run(store.info.run_id)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (_delete_run, "1 of its runs were deleted in MLflow"),
        (_delete_below, "6 of its runs were deleted in MLflow"),
        (_delete_experiment, "7 of its runs were deleted in MLflow"),
        (_purge, "its run is no longer in MLflow; a new one has to be started"),
    ],
)
def test_runs_that_were_deleted_are_found_and_restored_and_purged_ones_begun_anew(
    harm: Callable[[MlflowClient, StudyStore], None],
    expected: str,
    with_runs: tuple[StudyStore, MlflowClient],
) -> None:
    store, client = with_runs
    assert examine(store) == []
    assert _tree(client, store) == EVERY
    harm(client, store)
    (finding,) = examine(store)
    assert finding.what.startswith(expected)
    assert examine(store, fix=True)[0].mended
    assert examine(store) == []
    assert _tree(client, store) == EVERY
    assert client.get_run(str(store.info.run_id)).info.status == "FINISHED"


def test_where_the_runs_are_is_what_the_study_says_and_passwords_are_the_environment_s(
    with_runs: tuple[StudyStore, MlflowClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = with_runs
    recorded = store.info.tracking_uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert tracking_uri(store) == recorded
    assert examine(store) == []
    for command in ("compare", "report"):
        done = run_here("study", command, "small", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
        assert (done.returncode, done.stderr) == (0, ""), command
    store.write_info(tracking_uri="http://me:***@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    assert tracking_uri(store) == "http://me:secret@127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:10")
    assert tracking_uri(store) == "http://me:***@127.0.0.1:9", "no password goes elsewhere"


def test_the_runs_of_a_home_that_was_moved_moved_with_it(
    with_runs: tuple[StudyStore, MlflowClient], own_home: Path
) -> None:
    store, _ = with_runs
    store.write_info(tracking_uri="sqlite:////nowhere/mlflow.db")
    assert tracking_uri(store) == f"sqlite:///{own_home / 'mlflow.db'}"
    assert examine(store) == []


def test_a_tracking_store_that_is_away_is_said_and_the_rest_is_examined(
    store: StudyStore,
) -> None:
    store.write_info(run_id="f" * 32, tracking_uri="http://127.0.0.1:9", state="running")
    found = run_here("study", "doctor", "--fix")
    assert found.returncode == 0
    assert "no process runs it (mended)" in found.stdout
    assert "http://127.0.0.1:9 does not answer" in found.stdout
    with pytest.raises(TrackingError):
        Tracker("http://127.0.0.1:9", "small").connect()


def test_a_study_file_that_is_gone_is_fetched_from_the_study_s_run(
    with_runs: tuple[StudyStore, MlflowClient],
) -> None:
    store, _ = with_runs
    text = store.study_text
    (store.folder / "study.yaml").unlink()
    assert "MLflow has it" in examine(store)[0].what
    examine(store, fix=True)
    assert store.study_text == text
    assert examine(store) == []
