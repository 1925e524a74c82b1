"""`rnnsearch trial` shows every trial in full, and finds a trial by a prefix of its key."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from rnnsearch.__main__ import main
from rnnsearch.cli import rnnsearch
from rnnsearch.errors import StoreError
from rnnsearch.records.open_trial import OpenTrial
from rnnsearch.records.store import StudyStore
from rnnsearch.spec.trial import Phase

from ..command import study_content
from ..trial_records import epoch, record


def _add(store: StudyStore, phase: Phase, label: str, state: str, seed: int = 3) -> None:
    study = store.optuna_study(phase, label, "maximize")
    trial = OpenTrial(study, study.ask())
    if state == "before":
        trial.fail("BudgetError: no width")
        return
    made = record(label, seed, phase=phase)
    assert made.spec is not None
    assert made.complexity is not None
    trial.note(spec=made.spec.to_json(), complexity=made.complexity.__dict__, engine="eager")
    if state == "RUNNING":
        return
    trial.report([epoch(1), epoch(2)])
    if state == "FAIL":
        trial.fail("DivergedError: \x1b[31mred\nmore")
    elif state == "PRUNED":
        trial.prune("stopped early after epoch 2")
    else:
        if phase == "confirmation":
            trial.note(test_loss=0.25, test_metric=0.75)
        trial.note(engine_reason="program: not faster")
        trial.complete(0.75)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study with trials of every state."""
    home = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNNSEARCH_HOME", str(home))
        content = study_content(architectures=["gru", "lstm"])
        store = StudyStore.create("small", yaml.safe_dump(content))
        for state in ("COMPLETE", "PRUNED", "FAIL", "before"):
            _add(store, "search", "gru", state)
        _add(store, "search", "lstm", "RUNNING")
        for _ in range(11):
            _add(store, "confirmation", "gru", "COMPLETE", seed=5)
    return store.folder


@pytest.fixture(autouse=True)
def store(made: Path, own_home: Path) -> StudyStore:
    shutil.copytree(made, own_home / "studies" / "small")
    return StudyStore.open("small")


def _trial(*arguments: str) -> str:
    result = CliRunner().invoke(rnnsearch, ["trial", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def _listed(*arguments: str) -> list[str]:
    return [line.split()[0] for line in _trial("list", "small", *arguments).splitlines()[1:]]


def test_every_trial_is_listed_with_its_state_seed_epochs_and_scores() -> None:
    lines = _trial("list", "small").splitlines()
    assert len(lines) == 1 + 16
    assert lines[1].split() == ["search/gru/0", "COMPLETE", "3", "3,200", "2", "eager"]
    complete = next(line for line in lines if line.startswith("confirmation/gru/10"))
    assert complete.split() == [
        "confirmation/gru/10", "COMPLETE", "5", "3,200", "2", "0.75", "eager",
    ]  # fmt: skip
    (failed,) = (line for line in lines if line.startswith("search/gru/2"))
    assert failed.split("eager")[1].strip() == "DivergedError: \\x1b[31mred"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--phase", "search"), [*(f"search/gru/{i}" for i in range(4)), "search/lstm/0"]),
        (("--row", "lstm"), ["search/lstm/0"]),
        (("--state", "fail"), ["search/gru/2", "search/gru/3"]),
        (("--state", "PRUNED", "--phase", "search", "--row", "gru"), ["search/gru/1"]),
        (("--state", "RUNNING", "--row", "gru"), []),
    ],
)
def test_trials_are_chosen_by_phase_row_and_state(
    options: tuple[str, ...], expected: list[str]
) -> None:
    assert _listed(*options) == expected


def test_an_unknown_row_is_answered_with_the_nearest() -> None:
    with pytest.raises(StoreError, match=r"no row `gr`\. Did you mean `gru`\? Known: gru, lstm"):
        _trial("list", "small", "--row", "gr")


def test_the_list_as_json_says_null_where_there_is_no_number() -> None:
    found: list[dict[str, Any]] = json.loads(_trial("list", "small", "--json"))
    assert [f["trial"] for f in found] == _listed()
    first, last = found[0], found[-1]
    assert (first["validation_metric"], first["test_metric"]) == (None, None)
    assert (last["test_loss"], last["test_metric"], last["seed"]) == (0.25, 0.75, 5)
    assert found[3] == {
        "trial": "search/gru/3",
        "phase": "search",
        "row": "gru",
        "number": 3,
        "state": "FAIL",
        **dict.fromkeys(("seed", "configuration", "parameters")),
        "epochs": 0,
        **dict.fromkeys(("validation_metric", "test_loss", "test_metric")),
        "engine": "",
        "superseded": False,
        "reason": "BudgetError: no width",
    }


def test_a_study_without_trials_has_an_empty_list() -> None:
    StudyStore.create("empty", "")
    assert json.loads(_trial("list", "empty", "--json")) == []
    assert len(_trial("list", "empty").splitlines()) == 1


def test_a_trial_is_shown_in_full() -> None:
    lines = [
        " ".join(x.split()) for x in _trial("show", "small", "confirmation/gru/3").splitlines()
    ]
    for line in (
        "Trial confirmation/gru/3 of study small: COMPLETE",
        "Engine eager: program: not faster",
        "Test loss 0.25, 0.75",
        "model.shape.input_size 28",
        "model.options.slope 0.25",
        "training.learning_rate 0.001",
        "seed 5",
        "state_size 38",
        "1 0.2 0.9 nan nan 1 4 100 2",
        "2 0.2 0.9 nan nan 1 4 200 4",
    ):
        assert line in lines


def test_a_trial_as_json_has_its_specification_and_its_epochs() -> None:
    found = json.loads(_trial("show", "small", "confirmation/gru/3", "--json"))
    assert found["spec"]["training"]["batch_size"] == 20
    assert found["complexity"]["state_size"] == 38
    assert [e["updates"] for e in found["epochs"]] == [100, 200]
    assert found["epochs"][0]["validation_loss"] is None


def test_a_trial_that_ended_before_it_had_a_specification_is_shown() -> None:
    output = _trial("show", "small", "search/gru/3")
    assert "Reason BudgetError: no width" in output
    assert "It ended before it was known what it would train." in output
    assert "It finished no epoch." in output
    assert json.loads(_trial("show", "small", "search/gru/3", "--json"))["spec"] is None


def test_a_trial_is_found_by_its_key_or_by_a_beginning_that_only_it_has() -> None:
    assert "Trial  search/lstm/0 " in _trial("show", "small", "search/l")
    assert "Trial  confirmation/gru/1 " in _trial("show", "small", "confirmation/gru/1")


def test_a_beginning_that_several_have_is_answered_with_them() -> None:
    with pytest.raises(StoreError) as caught:
        _trial("show", "small", "conf")
    assert str(caught.value) == (
        "`conf` is the beginning of 11 trials of study `small`: confirmation/gru/0, "
        "confirmation/gru/1, confirmation/gru/2, confirmation/gru/3, confirmation/gru/4 and 6 more"
    )


@pytest.mark.parametrize("verb", ["show", "logs"])
def test_an_unknown_trial_is_answered_with_the_nearest(verb: str) -> None:
    with pytest.raises(StoreError) as caught:
        _trial(verb, "small", "search/lstn/0")
    assert str(caught.value) == (
        "study `small` has no trial `search/lstn/0`. Did you mean `search/lstm/0`? "
        "`rnnsearch trial list small` lists its 16"
    )


def test_the_log_of_a_trial_is_its_traceback_without_what_a_terminal_obeys(
    store: StudyStore,
) -> None:
    (store.folder / "errors").mkdir()
    path = store.folder / "errors" / "search-gru-2.txt"
    path.write_bytes(b"Traceback\n\tline \xc3\xa9\x1b[2J\xff\n")
    said = _trial("logs", "small", "search/gru/2")
    assert said == "Traceback\n\tline é\\x1b[2J\N{REPLACEMENT CHARACTER}\n"


def test_a_trial_without_a_log_says_so(store: StudyStore) -> None:
    output = _trial("logs", "small", "search/gru/1")
    assert output.startswith(
        "search/gru/1 left no log: it is PRUNED (stopped early after epoch 2). "
    )
    assert str(store.folder / "errors") in output


def test_a_log_that_cannot_be_read_is_said(store: StudyStore) -> None:
    (store.folder / "errors" / "search-gru-2.txt").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"cannot read .*Is a directory"):
        _trial("logs", "small", "search/gru/2")


@pytest.mark.parametrize("name", ["../x", "smal", ".."])
@pytest.mark.parametrize("arguments", [("list",), ("show", "k"), ("logs", "k")])
def test_a_study_that_does_not_exist_is_refused_with_9(
    name: str, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    verb, *rest = arguments
    with pytest.raises(SystemExit) as stop:
        main(["trial", verb, name, *rest])
    assert stop.value.code == 9
    assert f"error: no study named `{name}`" in capsys.readouterr().err
