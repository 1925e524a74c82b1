"""The store keeps every trial where Optuna finds it, and changes only its own folder."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from rnnsearch import Choice, Complexity, FloatRange, IntRange, ModelSpec, SequenceShape, StoreError
from rnnsearch.records.drawing import Drawing, is_drawn_blindly, make_sampler
from rnnsearch.records.open_trial import OpenTrial
from rnnsearch.records.store import StudyStore, list_stores, studies_folder
from rnnsearch.records.study_info import StudyInfo
from rnnsearch.spec.parameters import Parameter, Value
from rnnsearch.spec.trial import EpochMetrics, TrainingConfig, TrialSpec

from ..leases import write_lease

ROW = "lstm"
FREE: dict[str, Parameter] = {
    "learning_rate": FloatRange(1e-4, 1e-1, default=1e-3, log=True),
    "options.ratio": FloatRange(0.5, 2.0, default=1.0),
    "num_layers": IntRange(1, 3, default=1),
    "batch_size": IntRange(8, 256, default=8, log=True),
    "bidirectional": Choice((True, False), default=True),
    "optimizer": Choice(("adam", "sgd"), default="adam"),
}
SPEC = TrialSpec(
    phase="search",
    model=ModelSpec("lstm", SequenceShape(8, 10, None, "masked_step"), 20, options={"a": 0.5}),
    training=TrainingConfig(epochs=3, batch_size=16, learning_rate=0.01),
    seed=5,
    task="digits",
    task_options={"pixels": "grey"},
    parameters=2610,
    residual=0.003,
    label=ROW,
    metric="accuracy",
)


def _epoch(epoch: int, validation: float) -> EpochMetrics:
    return EpochMetrics(
        epoch, 1.0 / epoch, 0.5, 0.75, validation, 1.5, 2.0, 4 * epoch, 0.25 * epoch
    )


def _open(store: StudyStore) -> OpenTrial:
    study = store.optuna_study("search", ROW, "maximize", make_sampler("random", 0, 4))
    return OpenTrial(study, study.ask())


def _as_optuna_sees_it(store: StudyStore, name: str = f"search/{ROW}") -> optuna.Study:
    """The study as read from the file by Optuna alone."""
    return optuna.load_study(study_name=name, storage=f"sqlite:///{store.folder}/trials.db")


@pytest.fixture
def store() -> StudyStore:
    return StudyStore.create("small", "name: small\n")


# Folders


def test_a_study_lies_in_a_folder_of_its_name_in_the_home(own_home: Path) -> None:
    store = StudyStore.create("small", "name: small # été\n")
    assert store.folder == own_home / "studies" / "small" == studies_folder() / "small"
    assert (store.folder / "study.yaml").read_text("utf-8") == "name: small # été\n"
    assert store.study_text == "name: small # été\n"


def test_a_study_is_opened_by_its_name(store: StudyStore) -> None:
    again = StudyStore.open("small")
    assert (again.folder, again.name) == (store.folder, "small")
    assert again.study_text == store.study_text


def test_a_study_that_exists_is_not_overwritten_and_the_choices_are_named(
    store: StudyStore,
) -> None:
    with pytest.raises(StoreError) as caught:
        StudyStore.create("small", "name: other\n")
    assert str(caught.value) == (
        f"a study named `small` exists already in {store.folder}. See it with `rnnsearch study "
        "show small`, resume it with `rnnsearch study resume small`, start this one under "
        "another name with `--name`, or remove it with `rnnsearch study delete small`"
    )
    assert store.study_text == "name: small\n"


def test_a_study_that_does_not_exist_is_refused_with_the_nearest(store: StudyStore) -> None:
    StudyStore.create("other", "")
    with pytest.raises(StoreError) as caught:
        StudyStore.open("smal")
    assert str(caught.value) == (
        f"no study named `smal` in {studies_folder()}. Did you mean `small`? Known: other, small"
    )
    assert not (studies_folder() / "smal").exists()


def test_where_there_are_no_studies_that_is_said(own_home: Path) -> None:
    with pytest.raises(StoreError, match=r"Known: none$"):
        StudyStore.open("small")
    assert not own_home.exists()


@pytest.mark.parametrize(
    "name", ["../outside", "..", ".", "", "a/b", "/tmp", "a\\b", ".hidden", "a\n", "-rf", "a.b"]
)
def test_a_name_that_leaves_the_folder_is_refused(name: str, own_home: Path) -> None:
    (own_home / "outside").mkdir(parents=True)
    (own_home / "outside" / "study.yaml").write_text("name: outside\n", encoding="utf-8")
    before = sorted(own_home.rglob("*"))
    with pytest.raises(StoreError, match="cannot name a study"):
        StudyStore.create(name, "")
    with pytest.raises(StoreError, match="no study named"):
        StudyStore.open(name)
    assert sorted(own_home.rglob("*")) == before


@pytest.mark.parametrize("blocked", [".", "studies"], ids=["the home", "the studies"])
def test_a_file_in_the_way_of_a_folder_is_said(own_home: Path, blocked: str) -> None:
    path = own_home / blocked
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreError) as caught:
        StudyStore.create("small", "")
    assert str(caught.value).startswith(f"cannot write {own_home / 'studies'}")
    assert str(caught.value).endswith("Set RNNSEARCH_HOME to a folder that you may write")
    assert path.read_text("utf-8") == "in the way"
    assert list_stores() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_that_may_not_be_written_is_said(own_home: Path) -> None:
    own_home.mkdir(mode=0o500)
    with pytest.raises(
        StoreError, match=r"cannot write .*: Permission denied\. Set RNNSEARCH_HOME"
    ):
        StudyStore.create("small", "")


def test_studies_are_listed_by_name_and_other_folders_are_not(own_home: Path) -> None:
    assert list_stores() == []
    for name in ("b", "a"):
        StudyStore.create(name, "")
    (own_home / "studies" / "empty").mkdir()
    (own_home / "studies" / "file").write_text("", encoding="utf-8")
    assert [store.name for store in list_stores()] == ["a", "b"]


# Information at the start


def test_info_is_empty_at_first_and_fields_add_up(store: StudyStore) -> None:
    assert store.info == StudyInfo()
    store.write_info(state="running", git={"commit": "c0ffee"})
    store.write_info(state="finished", seconds=1.5)
    expected = {"state": "finished", "git": {"commit": "c0ffee"}, "seconds": 1.5}
    assert StudyStore.open("small").info.content() == expected
    assert json.loads((store.folder / "study.json").read_text("utf-8")) == expected


def _fail_to_replace(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*paths: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)


def test_what_is_known_is_replaced_whole_or_not_at_all(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_info(state="running")
    before = sorted(store.folder.iterdir())
    with monkeypatch.context() as patched:
        _fail_to_replace(patched, errno.EACCES)
        with pytest.raises(StoreError, match=r"study\.json: Permission denied"):
            store.write_info(state="finished")
    assert StudyStore.open("small").info == StudyInfo(state="running")
    assert sorted(store.folder.iterdir()) == before


def test_how_a_study_ended_is_known_though_the_disk_is_full(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_info(state="interrupted", seconds=12.5)
    before = sorted(store.folder.iterdir())
    with monkeypatch.context() as patched:
        _fail_to_replace(patched, errno.ENOSPC)
        store.write_info(state="failed", seconds=13.0)  # it can use the space of the old one
        with pytest.raises(StoreError, match=r"study\.json: No space left on device"):
            store.write_info(git={"diff": 100 * "+"})
    assert StudyStore.open("small").info == StudyInfo(state="failed", seconds=13.0)
    assert sorted(store.folder.iterdir()) == before


# Trials as Optuna sees them


def test_a_complete_trial_is_complete_in_optuna_with_its_value_and_its_epochs(
    store: StudyStore,
) -> None:
    trial = _open(store)
    values = trial.suggest(FREE)
    for epoch, validation in ((1, 0.25), (2, 0.5)):
        trial.report([_epoch(epoch, validation)])
    trial.complete(0.5)
    (found,) = _as_optuna_sees_it(store).trials
    assert found.state is optuna.trial.TrialState.COMPLETE
    assert found.value == 0.5
    assert found.params == values
    assert found.intermediate_values == {1: 0.25, 2: 0.5}
    assert _as_optuna_sees_it(store).best_trial.number == found.number


def test_epochs_reported_together_are_all_kept_and_the_last_is_optunas_value(
    store: StudyStore,
) -> None:
    trial = _open(store)
    trial.report([_epoch(1, 0.25), _epoch(2, 0.75)])
    trial.report([_epoch(3, 0.5)])
    trial.complete(0.5)
    (record,) = store.records()
    assert record.epochs == (_epoch(1, 0.25), _epoch(2, 0.75), _epoch(3, 0.5))
    (found,) = _as_optuna_sees_it(store).trials
    assert found.intermediate_values == {2: 0.75, 3: 0.5}


def test_a_reader_sees_the_epochs_of_a_running_trial_seconds_old_at_most(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("rnnsearch.records.open_trial.time.monotonic", lambda: now)
    trial, seen = _open(store), []
    for epoch in range(1, 5):
        trial.report([_epoch(epoch, 0.5)])
        now += 2.0
        (record,) = StudyStore.open("small").records()
        seen.append(len(record.epochs))
    assert seen == [1, 1, 3, 3], "written every four seconds"


def test_writing_down_many_epochs_takes_a_small_share_of_the_time(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, writes = 0.0, 0
    monkeypatch.setattr("rnnsearch.records.open_trial.time.monotonic", lambda: now)
    trial = _open(store)
    note = trial.note

    def slow(**attributes: object) -> None:
        nonlocal now, writes
        now, writes = now + 1.0, writes + 1
        note(**attributes)

    monkeypatch.setattr(trial, "note", slow)
    for epoch in range(1, 101):
        now += 1.0
        trial.report([_epoch(epoch, 0.5)])
    assert writes == 3, "a second of writing in fifty"


def test_a_trial_stopped_early_is_pruned_in_optuna_at_its_last_epoch(store: StudyStore) -> None:
    trial = _open(store)
    for epoch, validation in ((1, 0.5), (2, 0.25)):
        trial.report([_epoch(epoch, validation)])
    trial.prune("stopped early after epoch 2")
    (found,) = _as_optuna_sees_it(store).trials
    assert found.state is optuna.trial.TrialState.PRUNED
    assert found.last_step == 2
    assert found.intermediate_values == {1: 0.5, 2: 0.25}
    assert found.value == 0.25
    assert found.user_attrs["reason"] == "stopped early after epoch 2"


def test_a_trial_stopped_before_its_first_epoch_is_pruned_without_a_value(
    store: StudyStore,
) -> None:
    _open(store).prune("stopped before epoch 1")
    (found,) = _as_optuna_sees_it(store).trials
    assert (found.state, found.value) == (optuna.trial.TrialState.PRUNED, None)


def test_a_failed_trial_fails_in_optuna_with_its_reason(store: StudyStore) -> None:
    trial = _open(store)
    trial.report([_epoch(1, 0.25)])
    trial.fail("DivergedError: training loss is not finite in epoch 2")
    (found,) = _as_optuna_sees_it(store).trials
    assert (found.state, found.value) == (optuna.trial.TrialState.FAIL, None)
    assert found.user_attrs["reason"] == "DivergedError: training loss is not finite in epoch 2"
    assert found.intermediate_values == {1: 0.25}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_driver_that_was_killed_and_not_collected_runs_nothing(store: StudyStore) -> None:
    driver = subprocess.Popen(["sleep", "60"])
    write_lease(store, driver.pid)
    assert store.is_running
    driver.kill()
    deadline = time.monotonic() + 10
    while store.is_running and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(driver.pid, 0)  # its number is still in use
    assert not store.is_running
    driver.wait()


def test_a_trial_that_a_crash_ended_before_it_was_begun_is_no_record(store: StudyStore) -> None:
    store.optuna_study("search", ROW, "maximize").ask()
    begun = _open(store)
    begun.note(spec=SPEC.to_json())
    assert len(store.end_zombies("its driver died")) == 2
    (record,) = store.records(interrupted=True)
    assert record.number == begun.number
    assert list(store.records()) == []


@pytest.mark.parametrize("drawn", [True, False], ids=["when it was drawn", "when it was queued"])
def test_a_trial_whose_second_beginning_was_cut_short_is_begun_again(
    store: StudyStore, drawn: bool
) -> None:
    first = _open(store)
    first.suggest(FREE)
    first.note(values={}, spec=SPEC.to_json())
    first.interrupt("its driver was stopped")
    study = store.optuna_study("search", ROW, "maximize")
    (before,) = store.unfinished("search", ROW)
    if drawn:
        OpenTrial.anew(study, before, FREE)
    else:
        study.enqueue_trial(dict(before.values))
    assert store.end_zombies("its driver died") == [f"search/{ROW}/1"]
    assert store.unfinished("search", ROW) == [before]
    new = study.ask()
    assert "fixed_params" not in study.trials[new.number].system_attrs, "another trial's draw"


def test_a_running_trial_is_running_in_optuna(store: StudyStore) -> None:
    trial = _open(store)
    trial.report([_epoch(1, 0.25)])
    (found,) = _as_optuna_sees_it(store).trials
    assert found.state is optuna.trial.TrialState.RUNNING
    assert found.intermediate_values == {1: 0.25}


def test_a_validation_metric_that_is_no_number_is_kept_out_of_optuna_but_not_lost(
    store: StudyStore,
) -> None:
    trial = _open(store)
    trial.report([_epoch(1, math.nan)])
    trial.complete(0.75)
    (found,) = _as_optuna_sees_it(store).trials
    assert (found.intermediate_values, found.value) == ({}, 0.75)
    (record,) = store.records()
    assert math.isnan(record.epochs[0].validation_metric)


def test_rows_and_phases_are_optuna_studies_of_their_own(store: StudyStore) -> None:
    for phase, label in (("search", "a"), ("search", "b"), ("confirmation", "a")):
        study = store.optuna_study(phase, label, "minimize")  # type: ignore[arg-type]
        OpenTrial(study, study.ask()).complete(1.0)
    names = optuna.get_all_study_names(f"sqlite:///{store.folder}/trials.db")
    assert sorted(names) == ["confirmation/a", "search/a", "search/b"]
    for name in names:
        study = _as_optuna_sees_it(store, name)
        assert study.direction is optuna.study.StudyDirection.MINIMIZE
        assert [trial.number for trial in study.trials] == [0]


# Trials as stored


def test_a_record_has_all_that_was_noted(store: StudyStore) -> None:
    trial = _open(store)
    complexity = Complexity(10, 9, 1, 6, 12.5)
    trial.note(spec=SPEC.to_json(), complexity=complexity.__dict__)
    trial.report([_epoch(1, 0.25)])
    trial.note(engine="eager", test_loss=0.125, test_metric=0.875)
    trial.complete(0.875)
    (record,) = StudyStore.open("small").records()
    assert (record.phase, record.label, record.number) == ("search", ROW, 0)
    assert (record.state, record.reason) == ("COMPLETE", "")
    assert record.spec == SPEC
    assert record.complexity == complexity
    assert record.epochs == (_epoch(1, 0.25),)
    assert (record.engine, record.test_loss, record.test_metric) == ("eager", 0.125, 0.875)


def test_operations_of_a_study_made_before_all_were_counted_are_known_as_such(
    store: StudyStore,
) -> None:
    trial = _open(store)
    now = Complexity(10, 9, 1, 6, 12.5)
    then = {k: v for k, v in now.__dict__.items() if k != "flops_counted"}
    trial.note(spec=SPEC.to_json(), complexity=then)
    (record,) = StudyStore.open("small").records()
    assert record.complexity == replace(now, flops_counted="products")


def test_every_state_is_remembered_in_the_order_of_numbers(store: StudyStore) -> None:
    trials = [_open(store) for _ in range(4)]
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    trials[2].fail("broken")
    trials[0].complete(1.0)
    trials[1].report([_epoch(1, 0.5)])
    trials[1].prune("weak")
    assert [(record.number, record.state, record.reason) for record in store.records()] == [
        (0, "COMPLETE", ""),
        (1, "PRUNED", "weak"),
        (2, "FAIL", "broken"),
        (3, "RUNNING", ""),
    ]


def test_a_trial_that_failed_before_it_was_specified_has_a_record_too(store: StudyStore) -> None:
    _open(store).fail("no width meets the budget")
    (record,) = store.records()
    assert (record.spec, record.complexity, record.epochs) == (None, None, ())
    assert record.reason == "no width meets the budget"


def test_a_study_without_trials_has_no_records(store: StudyStore) -> None:
    assert list(store.records()) == []


def test_a_specification_that_differs_is_told_apart(store: StudyStore) -> None:
    trial = _open(store)
    trial.note(spec=SPEC.to_json())
    (record,) = store.records()
    assert record.spec is not None
    assert record.spec != replace(SPEC, seed=6)


# Draws by Optuna


def _draws(store: StudyStore, sampler: str, seed: int, count: int) -> list[dict[str, Value]]:
    study = store.optuna_study("search", ROW, "maximize", make_sampler(sampler, seed, count))
    drawn = []
    for _ in range(count):
        trial = OpenTrial(study, study.ask())
        drawn.append(trial.suggest(FREE))
        trial.complete(float(drawn[-1]["learning_rate"]))
    return drawn


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_what_is_drawn_lies_in_its_range_and_has_its_type(store: StudyStore, sampler: str) -> None:
    for values in _draws(store, sampler, 0, 8):
        assert set(values) == set(FREE)
        for name, parameter in FREE.items():
            assert parameter.problem_with(values[name]) is None
        kinds = {name: type(value) for name, value in values.items()}
        assert kinds == {
            **{"learning_rate": float, "options.ratio": float, "num_layers": int},
            **{"batch_size": int, "bidirectional": bool, "optimizer": str},
        }


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_draws_the_same_in_a_new_store(sampler: str) -> None:
    first, second, third = (
        _draws(StudyStore.create(name, ""), sampler, seed, 5)
        for name, seed in (("first", 3), ("second", 3), ("third", 4))
    )
    assert first == second
    assert first != third


def test_samplers_are_optunas() -> None:
    assert type(make_sampler("random", 0, 8)) is optuna.samplers.RandomSampler
    assert type(make_sampler("tpe", 0, 10)) is optuna.samplers.TPESampler


def test_half_of_a_small_search_is_drawn_blindly_however_long_it_is_to_be() -> None:
    blind = [number for number in range(100) if is_drawn_blindly("tpe", number)]
    assert blind == [0, 1, 4, 5, 8, 9, 12, 13, 16, 17]
    assert all(is_drawn_blindly("random", number) for number in range(100))


def _run(store: StudyStore, values: list[float]) -> None:
    """Trials with given rates; the value is the closeness of the rate to 0.75."""
    for value in values:
        trial = OpenTrial.begin(_study(store), {"rate": value}, RATE)
        trial.note(spec=SPEC.to_json())
        trial.complete(-abs(value - 0.75))


RATE = {"rate": FloatRange(0.0, 1.0, default=0.5)}


def _study(store: StudyStore) -> optuna.Study:
    return store.optuna_study("search", ROW, "maximize")


def test_what_is_drawn_depends_on_the_trials_and_not_on_the_numbers_that_optuna_gave_them() -> None:
    """Two of three trials were interrupted, and restarted in the opposite order."""
    rates = [0.5, 0.8, 0.1]
    plain, mended = StudyStore.create("plain", ""), StudyStore.create("mended", "")
    _run(plain, rates)
    for rate in rates[:2]:
        trial = OpenTrial.begin(_study(mended), {"rate": rate}, RATE)
        trial.note(spec=SPEC.to_json())
        trial.interrupt("its driver died")
    for unfinished in reversed(mended.unfinished("search", ROW)):
        trial = OpenTrial.anew(_study(mended), unfinished, RATE)
        trial.note(spec=SPEC.to_json())
        trial.complete(-abs(float(unfinished.values["rate"]) - 0.75))
    _run(mended, rates[2:])
    assert [t.params["rate"] for t in _study(mended).trials] == [0.5, 0.8, 0.8, 0.5, 0.1]
    numbers = [r.first_number for r in mended.records()]
    assert numbers == [1, 0, 4]
    drawn = [Drawing(_study(store), "tpe", 5, 3).draw(RATE) for store in (plain, mended)]
    assert drawn[0] == drawn[1]
    # As Optuna itself would draw from the plain study.
    asked = optuna.load_study(
        study_name=f"search/{ROW}",
        storage=f"sqlite:///{plain.folder}/trials.db",
        sampler=optuna.samplers.TPESampler(seed=5, n_startup_trials=2),
    ).ask()
    assert drawn[0] == {"rate": asked.suggest_float("rate", 0.0, 1.0)}


def test_tpe_draws_nearer_to_what_was_good_once_it_has_seen_some(store: StudyStore) -> None:
    misses = []
    for number in range(12):
        (rate,) = Drawing(_study(store), "tpe", number, number).draw(RATE).values()
        _run(store, [float(rate)])
        misses.append(abs(float(rate) - 0.75))
    assert sum(misses[6:]) < sum(misses[:6])


@pytest.mark.parametrize("name", ["my%20work", "what?", "a#b", "{SCHEMA_VERSION}", "{x"])
def test_a_study_lies_in_the_home_whatever_its_path_holds(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RNNSEARCH_HOME", str(tmp_path / name))
    store = StudyStore.create("small", "name: small\n")
    assert store.folder == tmp_path / name / "studies" / "small"
    assert sorted(path.name for path in store.folder.iterdir()) == ["study.yaml", "trials.db"]
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == [name]
