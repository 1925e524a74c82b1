"""Trials read without Optuna equal those read with Optuna."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import optuna
import pytest

from rnnsearch.records.store import TRIALS_FILE, StudyStore
from rnnsearch.records.trials_file import first_numbers, read_direction, read_trials


@pytest.fixture
def store(own_home: Path) -> StudyStore:
    """A study with a trial in each of Optuna's states, in two rows."""
    store = StudyStore.create("small", "name: small\n")
    for label, direction in (("b/[0]", "minimize"), ("a", "minimize")):
        study = store.optuna_study("search", label, direction)  # type: ignore[arg-type]
        for state in (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED):
            trial = study.ask()
            trial.set_user_attr("values", {"rate": 0.1, "name": "ü\n"})
            trial.report(1.0, 1)
            study.tell(trial, 1.0 if state == optuna.trial.TrialState.COMPLETE else None, state)
        study.ask().set_user_attr("reason", None)
        study.enqueue_trial({"x": 1})
        study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial({"x": 2})
    return store


def test_every_trial_is_read_as_optuna_reads_it(store: StudyStore) -> None:
    path = store.folder / TRIALS_FILE
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    found = read_trials(path)
    assert list(found) == optuna.get_all_study_names(storage)
    for name, trials in found.items():
        expected = optuna.load_study(study_name=name, storage=storage).get_trials()
        assert [(t.number, t.state, t.user_attrs) for t in trials] == [
            (t.number, t.state.name, t.user_attrs) for t in expected
        ]
    assert {t.state for t in found["search/a"]} == {s.name for s in optuna.trial.TrialState}
    assert read_direction(path) == "minimize"


def test_a_database_without_trials_has_no_direction(own_home: Path) -> None:
    store = StudyStore.create("small", "name: small\n")
    assert read_trials(store.folder / TRIALS_FILE) == {}
    assert read_direction(store.folder / TRIALS_FILE) is None
    assert store.direction is None


def test_what_a_killed_writer_left_half_done_is_not_read(store: StudyStore) -> None:
    path = store.folder / TRIALS_FILE
    before = read_trials(path)
    journal = path.with_name(f"{TRIALS_FILE}-journal")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA cache_size=1")  # so that the change is written to the file
    writer.execute("PRAGMA cache_spill=1")
    writer.execute("BEGIN IMMEDIATE")
    for _ in range(6):
        writer.execute(
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) "
            "SELECT trial_id, key || random(), value_json FROM trial_user_attributes"
        )
    copy = store.folder.with_name("copy")
    copy.mkdir()
    for file in (path, journal):  # as after a crash: the journal is hot
        (copy / file.name).write_bytes(file.read_bytes())
    writer.close()
    assert (copy / TRIALS_FILE).read_bytes() != path.read_bytes()
    assert read_trials(copy / TRIALS_FILE) == before


@pytest.mark.parametrize(
    ("marks", "first"),
    [
        ({}, {0: 0, 1: 1, 2: 2}),
        ({1: "search/a/0"}, {0: 0, 1: 0, 2: 2}),
        ({1: "search/a/0", 2: "search/a/1"}, {0: 0, 1: 0, 2: 0}),
        ({2: "search/other/0"}, {0: 0, 1: 1, 2: 2}),
    ],
)
def test_a_trial_that_is_run_again_keeps_its_first_number(
    marks: Mapping[int, str], first: Mapping[int, int], own_home: Path
) -> None:
    store = StudyStore.create("small", "name: small\n")
    study = store.optuna_study("search", "a", "minimize")
    for number in range(3):
        trial = study.ask()
        if number in marks:
            trial.set_user_attr("anew", marks[number])
    assert first_numbers("search/a", read_trials(store.folder / TRIALS_FILE)["search/a"]) == first
