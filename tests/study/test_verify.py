"""Retraining a confirmed seed reproduces the recorded numbers, or the difference is reported."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from rnnsearch.budget.complexity import measure_complexity
from rnnsearch.cli import rnnsearch
from rnnsearch.errors import DataError, DivergedError, RnnsearchError, StoreError
from rnnsearch.plugin.data_contract import join
from rnnsearch.plugin.registry import load_registry
from rnnsearch.records.open_trial import OpenTrial
from rnnsearch.records.store import StudyStore
from rnnsearch.spec.model import ModelSpec
from rnnsearch.spec.trial import EpochMetrics, TrainingConfig, TrialSpec
from rnnsearch.study.verify import TOLERANCE, Difference, replay
from rnnsearch.training.compiled_model import Compiled
from rnnsearch.training.worker import Worker

from ..command import study_content

TASK = load_registry().task("digits")()
CONFIG = TrainingConfig(epochs=2, batch_size=64, learning_rate=0.01, gradient_clip=1.0)


def _spec(label: str, seed: int, **changes: object) -> TrialSpec:
    base = TrialSpec(
        phase="confirmation",
        model=ModelSpec(label, TASK.shape, 5),
        training=CONFIG,
        seed=seed,
        task="digits",
        task_options={},
        parameters=1500,
        residual=0.0,
        label=label,
        metric="accuracy",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def _confirm(store: StudyStore, *specs: TrialSpec, shift: float = 0.0, fail: bool = False) -> None:
    """Train seeds in a worker and record them, as a study does."""
    source = TASK.find()
    splits = {name: TASK.load(source, name) for name in ("train", "validation", "test")}  # type: ignore[arg-type]
    if specs[0].training.train_on == "train+validation":
        splits["train+validation"] = join(splits.pop("train"), splits.pop("validation"))
    worker = Worker(Compiled.of_this_process(), 1, on_gpu=False)
    worker.hold(list(splits), *splits.values())
    worker.take([(str(spec.seed), spec) for spec in specs])
    news = []
    while any(not any(n.is_last and n.key == str(s.seed) for n in news) for s in specs):
        news += worker.train()
    for spec in specs:
        study = store.optuna_study("confirmation", spec.label, "maximize")
        trial = OpenTrial(study, study.ask())
        complexity = measure_complexity(load_registry().architecture(spec.label), spec.model)
        trial.note(spec=spec.to_json(), complexity=complexity.__dict__)
        own = [n for n in news if n.key == str(spec.seed)]
        outcome = own[-1].outcome
        assert outcome is not None
        assert outcome.test_metric is not None
        trial.report([epoch for n in own for epoch in n.epochs])
        if fail:
            trial.fail("it diverged")
            continue
        metric = outcome.test_metric + shift
        trial.note(engine=outcome.engine, test_loss=outcome.test_loss, test_metric=metric)
        trial.complete(metric)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the study `small`: seeds 11 (failed), 12 and 13 of `elman`, and one of `lstm`."""
    folder = tmp_path_factory.mktemp("home")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNNSEARCH_HOME", str(folder))
        store = StudyStore.create("small", yaml.safe_dump(study_content()))
        store.write_info(state="finished", data=asdict(TASK.find()), environment={"torch": "0.1"})
        _confirm(store, _spec("elman", 11), fail=True)
        _confirm(store, _spec("elman", 12), shift=0.5)
        _confirm(store, _spec("elman", 13, engine="torch"))
        both = replace(CONFIG, train_on="train+validation")
        _confirm(store, _spec("lstm", 12, engine="eager", training=both))
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def store(home: Path, monkeypatch: pytest.MonkeyPatch) -> StudyStore:
    monkeypatch.setenv("RNNSEARCH_HOME", str(home))
    return StudyStore.open("small")


def _verify(*arguments: str) -> Result:
    result = CliRunner().invoke(rnnsearch, ["study", "verify", "small", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_on_this_machine_every_number_is_identical_with_and_without_validation(
    store: StudyStore,
) -> None:
    for label, engine in (("elman", "torch.nn.RNN"), ("lstm", "eager")):
        done = replay(store, label, 13 if label == "elman" else None)
        assert done.worst is None, done.worst
        assert done.numbers == 2 * 6 + 2
        assert done.engine == done.recorded_engine == engine


def test_of_the_best_row_it_is_the_first_complete_seed(store: StudyStore) -> None:
    done = replay(store)
    assert (done.key, done.spec.seed) == ("confirmation/elman/1", 12)


def test_a_number_that_came_out_otherwise_is_named_with_its_size(store: StudyStore) -> None:
    worst = replay(store, "elman", 12).worst
    assert worst is not None
    assert worst.what == "test accuracy"
    assert worst.recorded == pytest.approx(worst.replayed + 0.5)
    assert worst.size == pytest.approx(0.5 / worst.recorded)


def test_the_test_split_is_loaded_once_after_the_last_epoch(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[object] = []
    load = type(TASK).load
    monkeypatch.setattr(
        type(TASK),
        "load",
        lambda task, source, split: happened.append(split) or load(task, source, split),
    )
    replay(store, "lstm", on_epoch=lambda spec, metrics, worst: happened.append(metrics.epoch))
    assert happened == ["train", "validation", 1, 2, "test"]


def test_the_threads_and_the_generator_are_left_as_they_were(store: StudyStore) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    replay(store, "lstm")
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_seed_that_trained_among_others_is_replayed_on_their_engine(own_home: Path) -> None:
    store = StudyStore.create("small", yaml.safe_dump(study_content()))
    store.write_info(state="finished", data=asdict(TASK.find()))
    threads = torch.get_num_threads()
    _confirm(store, *(_spec("elman", seed, engine="vmapped") for seed in (1, 2, 3)))
    torch.set_num_threads(threads)
    done = replay(store, "elman", 2)
    assert done.engine == done.recorded_engine == "vmapped seeds"
    assert done.worst is None or done.worst.size < TOLERANCE


def test_what_changed_since_is_named(store: StudyStore) -> None:
    assert replay(store, "lstm").changes == (f"torch: 0.1 then, {torch.__version__} now",)


def test_an_unknown_row_or_seed_is_answered_with_the_known_ones(store: StudyStore) -> None:
    with pytest.raises(StoreError, match=r"row `elmann`\. Did you mean `elman`\?.*elman, lstm"):
        replay(store, "elmann")
    with pytest.raises(StoreError, match=r"row `elman` .* no confirmed seed 11\. Known: 12, 13"):
        replay(store, "elman", 11)
    with pytest.raises(StoreError, match=r"row `elman` .* no confirmed seed 99"):
        replay(store, seed=99)


def test_a_study_without_a_confirmed_seed_says_so(own_home: Path) -> None:
    with pytest.raises(StoreError, match="`empty` has no confirmed seed"):
        replay(StudyStore.create("empty", yaml.safe_dump(study_content())))


def test_other_data_than_the_study_had_is_refused_before_it_trains(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = store.info.with_fields(data={**asdict(TASK.find()), "sha256": "0"})
    monkeypatch.setattr(StudyStore, "info", property(lambda store: other))
    with pytest.raises(DataError, match="with sha256 0, but what is found now is digits"):
        replay(store, "elman")


def test_a_seed_that_diverges_this_time_was_not_reproduced(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(run: object) -> EpochMetrics:
        raise DivergedError("training loss is not finite in epoch 1")

    monkeypatch.setattr("rnnsearch.study.verify.TrainingRun.run_epoch", diverge)
    with pytest.raises(RnnsearchError, match="in the study, but not now: training loss") as caught:
        replay(store, "lstm")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("recorded", "replayed", "size"),
    [(2.0, 1.0, 0.5), (-1.0, 1.0, 2.0), (0.0, 1e-4, 0.01), (0.5, math.nan, math.inf)],
)
def test_a_difference_is_relative_but_for_small_numbers(
    recorded: float, replayed: float, size: float
) -> None:
    assert Difference("x", recorded, replayed).size == pytest.approx(size)


def test_the_command_shows_progress_and_says_that_all_is_identical(store: StudyStore) -> None:
    result = _verify("--row", "elman", "--seed", "13")
    assert result.exit_code == 0
    assert [line.rsplit(None, 1)[1] for line in result.stderr.splitlines()] == ["identical"] * 2
    assert result.stderr.startswith("epoch 1/2  train loss ")
    assert "verified   all 14 numbers are identical to the record" in result.stdout
    assert "confirmation/elman/2, seed 13, 2 epochs" in result.stdout


def test_the_command_fails_with_1_outside_the_tolerance_and_not_within(store: StudyStore) -> None:
    with pytest.raises(
        RnnsearchError, match=r"not reproduced within the tolerance of 0\.001: test "
    ):
        _verify("--row", "elman", "--seed", "12")
    result = _verify("--row", "elman", "--seed", "12", "--tolerance", "1")
    assert "verified   within the tolerance of 1: test accuracy is" in result.stdout


def test_the_tolerance_of_the_command_is_that_of_the_library() -> None:
    from rnnsearch.cli.verify import verify

    (option,) = (p for p in verify.params if p.name == "tolerance")
    assert option.default == TOLERANCE


def test_a_replay_changes_nothing_in_the_study(store: StudyStore) -> None:
    def state() -> str:
        files = sorted(f.relative_to(store.folder).as_posix() for f in store.folder.rglob("*"))
        return json.dumps([files, store.info.content(), list(map(repr, store.records()))])

    before = state()
    replay(store, "lstm")
    assert state() == before
