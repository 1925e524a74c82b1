"""A study that was interrupted or extended equals an undisturbed study, bit for bit.

No cluster: a loop acts as the worker, and a formula gives the measurements of training. The store,
Optuna's draws and the queues are real.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, event

from rnnsearch.compare.comparison import Comparison
from rnnsearch.compare.configurations import best_first, settle, settled_records
from rnnsearch.records.open_trial import OpenTrial
from rnnsearch.records.store import StudyStore
from rnnsearch.search.queue import TrialQueue
from rnnsearch.spec.trial import EpochMetrics, Outcome, TrialRecord, TrialSpec

from ..trial_records import comparison
from .test_queue import Study

EPOCHS = 9
# Epochs after which a worker reports, including the rungs 1 and 3, and whether it then saves a
# checkpoint.
_TOLD = ((1, True), (3, True), (4, True), (6, False), (9, False))


@pytest.fixture(scope="module", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Let databases write without waiting for the disk: there are no power failures here."""

    def connected(connection: Any, record: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", connected)
    yield
    event.remove(Engine, "connect", connected)


def _chance(*things: object) -> float:
    """A number from 0 to 1 that depends only on the arguments."""
    digest = hashlib.sha256(repr(things).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _measure(spec: TrialSpec, epoch: int) -> EpochMetrics:
    """Metrics of an epoch: rates near 0.01 are good, seeds vary, many values are equal."""
    rate = spec.training.learning_rate
    good = math.exp(-(math.log10(rate / 0.01) ** 2)) * (1 - 0.5 ** (epoch / 3))
    value = round(good + 0.2 * _chance(spec.seed, rate, epoch), 2)
    return EpochMetrics(epoch, 1 - value, value, 1 - value, value, 1.0, 1.0, epoch, float(epoch))


class Killed(Exception):
    """The driver was killed."""


class OneWorker:
    """Trains the trials of queues one after the other, and is disturbed after some of its steps.

    Args:
        disturbed: the steps after which it is disturbed; every record is a step.
        kind: `driver` dies without a message, `interrupt` lets it record that, `worker` loses only
            a worker.
            worker alone.
    """

    def __init__(self, disturbed: range = range(0), kind: str = "") -> None:
        self._disturbed, self._kind, self._step = disturbed, kind, 0
        self.times = 0

    def run(self, queue: TrialQueue) -> None:
        """Run until nothing is left, or the driver dies."""
        while together := queue.ask_together(1):
            for key, spec in together:
                try:
                    self._train(queue, key, spec)
                except Killed:
                    if self._kind == "worker":
                        waiting = [k for k, _ in together if queue.is_running(k)]
                        queue.lose(waiting, "it was killed")
                        break
                    if self._kind == "interrupt":
                        queue.interrupt_all("interrupted")
                    raise

    def _train(self, queue: TrialQueue, key: str, spec: TrialSpec) -> None:
        self._may_be_disturbed()
        first, before = 1, queue.unfinished(key)
        if before is not None and before.checkpoint:
            kept = [epoch for epoch in before.epochs if epoch.epoch <= before.checkpoint]
            assert len(kept) == before.checkpoint
            stops = queue.go_on(key, kept)
            queue.checkpoint(key, before.checkpoint)
            if stops:
                queue.finish(key, None)
                return
            first = before.checkpoint + 1
        for last, is_kept in _TOLD:
            measured = [_measure(spec, epoch) for epoch in range(first, last + 1)]
            if not measured:
                continue
            first = last + 1
            # Like Tune: first decide what happens to the trial, then record its metrics.
            stops = last < EPOCHS and queue.stops(key, measured)
            queue.report(key, measured, at_once=is_kept)
            if is_kept:
                queue.checkpoint(key, last)
            self._may_be_disturbed()
            if stops:
                queue.finish(key, None)
                return
        scores = {}
        if spec.phase == "confirmation":
            rate = spec.training.learning_rate
            scores = {"test_loss": 0.5, "test_metric": 0.5 + 0.1 * _chance("test", rate, spec.seed)}
        queue.finish(key, Outcome("eager", **scores))

    def _may_be_disturbed(self) -> None:
        self._step += 1
        if self._step in self._disturbed:
            self.times += 1
            raise Killed


def _study(
    name: str, *, sampler: str = "tpe", scheduler: str = "asha", epoch_s: float = 1.0, **asked: Any
) -> Study:
    study = Study(name, **asked)
    _set(study, sampler=sampler, scheduler=scheduler)
    study.rows = [
        replace(row, space=replace(row.space, epochs=EPOCHS), epoch_seconds=epoch_s)
        for row in study.rows
    ]
    return study


def _set(study: Study, seeds: int | None = None, **search: Any) -> None:
    searching = study.config.search.model_copy(update=search)
    confirming = study.config.confirmation
    if seeds is not None:
        confirming = confirming.model_copy(update={"seeds": seeds})
    study.config = study.config.model_copy(update={"search": searching, "confirmation": confirming})


def _complete(study: Study, worker: OneWorker | None = None) -> Study:
    """Run the study to its end, resuming it whenever its driver dies."""
    worker = worker or OneWorker()
    for _ in range(1000):
        try:
            worker.run(study.search())
            worker.run(study.confirm())
        except Killed:
            study.store.end_zombies("its driver died")
        else:
            return study
    raise AssertionError("it does not come to an end")


def _trials(study: Study) -> list[tuple[Any, ...]]:
    """Outcome of each trial, in the order of their first start."""
    records = [r for r in settled_records(study.store) if not r.is_superseded]
    ordered = sorted(records, key=lambda r: (r.phase, r.label, r.first_number))
    return [_of(record) for record in ordered if record.phase == "search"] + sorted(
        _of(record) for record in ordered if record.phase == "confirmation"
    )


def _of(record: TrialRecord) -> tuple[Any, ...]:
    assert record.spec is not None
    told = (record.state, record.reason, record.test_metric, str(record.epochs))
    return (record.phase, record.label, record.spec.to_json(), *told)


# Interrupted studies


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Any, ...]]]:
    """Outcomes of the trials of an undisturbed study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNNSEARCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield _trials(_complete(_study("calm", rows=["elman"], trials=8)))


def test_the_undisturbed_study_stops_trials_at_several_rungs(
    undisturbed: list[tuple[Any, ...]],
) -> None:
    # Otherwise the next test would be meaningless.
    reasons = {trial[4] for trial in undisturbed}
    assert {"stopped early after epoch 1", "stopped early after epoch 3"} <= reasons
    assert len(undisturbed) == 8 + 2


@pytest.mark.parametrize(
    ("kind", "disturbed"),
    [
        *(("driver", range(first, 100, 5)) for first in (1, 2, 3, 4)),
        ("interrupt", range(2, 100, 7)),
        *(("worker", range(first, 100, 11)) for first in (2, 5)),
    ],
)
def test_a_search_that_was_interrupted_draws_stops_and_confirms_what_it_would_have(
    kind: str, disturbed: range, undisturbed: list[tuple[Any, ...]]
) -> None:
    study, worker = _study("hit", rows=["elman"], trials=8), OneWorker(disturbed, kind)
    assert _trials(_complete(study, worker)) == undisturbed
    assert worker.times > 3


@pytest.mark.parametrize("kind", ["driver", "worker"])
def test_trials_that_a_worker_takes_together_end_as_if_nothing_had_happened(kind: str) -> None:
    """Short trials; interrupted ones are restarted after those behind them."""
    asked: dict[str, Any] = {"scheduler": "none", "epoch_s": 0.01, "rows": ["elman"], "trials": 8}
    calm = _complete(_study("calm", **asked))
    worker = OneWorker(range(4, 100, 13), kind)
    assert _trials(_complete(_study("hit", **asked), worker)) == _trials(calm)
    assert worker.times > 3


def test_a_trial_that_was_to_stop_when_its_driver_died_stops_where_it_goes_on() -> None:
    study = _study("hit", rows=["elman"], trials=8)
    queue = study.search()
    for _ in range(8):  # until one with a checkpoint stops after its third epoch
        ((key, spec),) = queue.ask_together(1)
        measured = [_measure(spec, epoch) for epoch in (1, 3)]
        if queue.stops(key, measured[:1]):
            queue.report(key, measured[:1])
            queue.finish(key, None)
        elif queue.stops(key, measured[1:]):
            break
        else:
            queue.report(key, measured)
            queue.finish(key, Outcome("eager"))
    else:
        pytest.fail("none stopped after three epochs")
    epochs = [_measure(spec, epoch) for epoch in (1, 2, 3)]
    queue.report(key, epochs, at_once=True)
    queue.checkpoint(key, 3)
    study.store.end_zombies("its driver died")
    resumed = study.search()
    ((again, same),) = resumed.ask_together(1)
    assert (same, again == key) == (spec, False)
    assert resumed.go_on(again, epochs)


# Extended studies


def _compared(study: Study) -> Comparison:
    records = list(study.store.records())
    return comparison(records, best=study.config.confirmation.best)


def _without_order(found: Comparison) -> Comparison:
    return replace(found, caveats=(), superseded=(), time=())


@pytest.mark.parametrize(
    ("sampler", "scheduler", "best", "trials", "seeds"),
    [
        ("tpe", "none", 1, 8, 3),
        ("tpe", "asha", 2, 8, 2),
        ("random", "asha", 1, 6, 2),
        ("random", "none", 2, 2, 3),
    ],
)
def test_extending_is_having_asked_at_once(
    sampler: str, scheduler: str, best: int, trials: int, seeds: int
) -> None:
    asked: dict[str, Any] = {"sampler": sampler, "scheduler": scheduler, "best": best}
    once = _complete(_study("once", rows=["elman"], trials=trials, seeds=seeds, **asked))
    study = _complete(_study("grown", rows=["elman"], trials=2, seeds=2, **asked))
    _set(study, trials=trials, seeds=seeds)
    _complete(study)
    assert _trials(study) == _trials(once)
    grown = _compared(study)
    assert _without_order(grown) == _without_order(_compared(once))
    assert all(row.n == seeds for row in grown.rows)
    trained = [
        (r.label, r.spec.configuration, r.spec.seed)
        for r in study.store.records()
        if r.phase == "confirmation" and r.spec
    ]
    assert len(trained) == len(set(trained))
    assert bool(grown.superseded) == any("superseded" in c for c in grown.caveats)


def _searched(study: Study, scores: dict[float, float]) -> None:
    """Search trials of the first row with given rates and scores."""
    queue = study.search()
    for rate, score in scores.items():
        row = study.rows[0]
        values = {"learning_rate": rate}
        trial = OpenTrial.begin(
            study.store.optuna_study("search", row.label, "maximize"), values, row.space.free
        )
        spec = row.trial(study.config, values, phase="search", number=trial.number)
        key, _ = queue._start(trial, spec)
        queue.report(key, [replace(_measure(spec, EPOCHS), validation_metric=score)])
        queue.finish(key, Outcome("eager"))


def _confirm(study: Study) -> list[tuple[float, int]]:
    """Run the confirmation; return rate and rank of the trained trials."""
    queue, found = study.confirm(), []
    while asked := queue.ask():
        key, spec = asked
        found.append((spec.training.learning_rate, spec.rank))
        score = 0.5 + 0.1 * _chance("test", spec.training.learning_rate, spec.seed)
        queue.report(key, [_measure(spec, EPOCHS)])
        queue.finish(key, Outcome("eager", test_loss=0.5, test_metric=score))
    return found


def test_a_row_is_never_averaged_over_two_configurations() -> None:
    study = Study(rows=["elman"], seeds=2)
    _searched(study, {0.01: 0.5})
    assert _confirm(study) == [(0.01, 0)] * 2
    before = _compared(study).rows[0]
    _searched(study, {0.02: 0.75})
    _set(study, seeds=3)
    assert _confirm(study) == [(0.02, 0)] * 3
    found = _compared(study)
    (row,) = found.rows
    assert (row.learning_rate, row.n) == (0.02, 3)
    expected = [0.5 + 0.1 * _chance("test", 0.02, seed) for seed in row.seeds]
    assert row.values == tuple(expected)
    (old,) = found.superseded
    assert (old.label, old.values, old.seeds, old.mean) == (
        *("elman", {"learning_rate": 0.01}, before.seeds),
        pytest.approx(before.mean),
    )
    assert found.ledger[0].confirmation.complete == 3
    (said,) = (caveat for caveat in found.caveats if "superseded" in caveat)
    assert said.startswith(
        "elman: superseded by a better configuration, and counted in nothing: learning_rate 0.01 "
        "(2 seeds, mean accuracy 0.5"
    )


def test_a_configuration_that_gives_way_and_one_that_keeps_its_place_are_told_apart() -> None:
    study = Study(rows=["elman"], seeds=2, best=2)
    _searched(study, {0.01: 0.5, 0.02: 0.4})
    assert sorted(_confirm(study)) == [(0.01, 0)] * 2 + [(0.02, 1)] * 2
    _searched(study, {0.03: 0.75})
    assert _confirm(study) == [(0.03, 0)] * 2
    found = _compared(study)
    assert {(row.name, row.learning_rate, row.n) for row in found.rows} == {
        ("elman #1", 0.03, 2),
        ("elman #2", 0.01, 2),
    }
    assert [dict(old.values) for old in found.superseded] == [{"learning_rate": 0.02}]


def test_where_the_best_two_change_places_no_seed_is_trained_again() -> None:
    study = Study(rows=["elman"], seeds=2, best=2)
    _searched(study, {0.01: 0.5, 0.02: 0.4})
    _confirm(study)
    _searched(study, {0.02: 0.75})  # drawn again, and better this time
    _set(study, seeds=3)
    assert _confirm(study) == [(0.02, 0), (0.01, 1)]
    found = _compared(study)
    assert {(row.name, row.learning_rate, row.n) for row in found.rows} == {
        ("elman #1", 0.02, 3),
        ("elman #2", 0.01, 3),
    }
    assert found.superseded == ()


def test_more_seeds_alone_keep_the_configuration() -> None:
    study = Study(rows=["elman"], seeds=2)
    _searched(study, {0.01: 0.5, 0.02: 0.4})
    _confirm(study)
    _set(study, seeds=4)
    assert _confirm(study) == [(0.01, 0)] * 2
    (row,) = _compared(study).rows
    assert (row.n, row.learning_rate) == (4, 0.01)


def test_a_best_that_is_not_confirmed_yet_takes_no_place_and_is_said() -> None:
    study = Study(rows=["elman"], seeds=2)
    _searched(study, {0.01: 0.5})
    _confirm(study)
    _searched(study, {0.02: 0.75})
    for began in (False, True):
        if began:
            assert study.confirm().ask() is not None
        found = _compared(study)
        (row,) = found.rows
        assert (row.learning_rate, row.n, row.reason) == (0.01, 2, "")
        assert found.superseded == ()
        (said,) = (caveat for caveat in found.caveats if "not confirmed" in caveat)
        assert said.startswith(
            "elman: its search has found a better configuration (learning_rate 0.02), which is not"
        )
    assert "Confirmations are still running: elman." in found.caveats


def test_an_extension_that_is_interrupted_leaves_old_confirmations_where_they_are() -> None:
    study = Study(rows=["elman"], seeds=2)
    _searched(study, {0.01: 0.5})
    first = study.confirm()
    assert first.ask() is not None
    first.interrupt_all("interrupted")
    _searched(study, {0.02: 0.75})
    assert _confirm(study) == [(0.02, 0)] * 2, "what is not wanted any more is not begun anew"
    (row,) = _compared(study).rows
    assert (row.learning_rate, row.n) == (0.02, 2)


def test_a_store_of_an_earlier_version_that_holds_a_mixture_is_ranked_by_the_best() -> None:
    """Such a store identified a seed by row, rank and seed, and kept its values separately."""
    study = Study(rows=["elman"], seeds=2)
    _searched(study, {0.01: 0.5, 0.02: 0.75})
    row = study.rows[0]
    optuna_study = study.store.optuna_study("confirmation", "elman", "maximize")
    for number, rate in enumerate([0.01, 0.01, 0.02, 0.02]):
        values = {"learning_rate": rate}
        spec = row.trial(study.config, values, phase="confirmation", number=number)
        trial = OpenTrial(optuna_study, optuna_study.ask())
        trial.note(values=values, rank=0, spec=replace(spec, values={}).to_json())
        trial.report([_measure(spec, EPOCHS)])
        trial.note(test_loss=0.5, test_metric=rate)
        trial.complete(rate)
    found = _compared(study)
    (row_now,) = found.rows
    assert (row_now.learning_rate, row_now.values) == (0.02, (0.02, 0.02))
    assert [(len(old.seeds), old.mean) for old in found.superseded] == [(2, pytest.approx(0.01))]
    assert _confirm(study) == [(0.02, 0)] * 2, "the seeds that the best does not have"


def test_of_equal_scores_the_trial_that_was_begun_first_is_better_however_often_it_began() -> None:
    study = Study(rows=["elman"], trials=2, seeds=1)
    queue = study.search()
    (first, spec), (second, _) = queue.ask_together(1)[0], queue.ask_together(1)[0]
    queue.lose([first], "it died")
    ((again, same),) = queue.ask_together(1)
    assert (again, same) == ("search/elman/2", spec)
    for key in (second, again):
        queue.report(key, [_measure(spec, 2)])
        queue.finish(key, Outcome("eager"))
    assert best_first(study.store.records(), "maximize")[0] == dict(spec.values)


def test_settling_twice_changes_nothing() -> None:
    study = Study(rows=["elman"], seeds=2, best=2)
    _searched(study, {0.01: 0.5, 0.02: 0.4})
    _confirm(study)
    _searched(study, {0.03: 0.75})
    _confirm(study)
    once = settle(study.store.records(), "maximize", 2)
    assert settle(once, "maximize", 2) == once
    assert settled_records(StudyStore(study.store.folder)) == once
