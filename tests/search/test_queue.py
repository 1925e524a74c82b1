"""The queue treats all rows equally and reports the same to Optuna and the listeners."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
import pytest

from rnnsearch import (
    BudgetError,
    Choice,
    Complexity,
    RnnsearchError,
    Value,
    load_registry,
    measure_complexity,
)
from rnnsearch.budget.row import build_spaces
from rnnsearch.budget.space import SearchSpace
from rnnsearch.compare.configurations import best_first
from rnnsearch.config.check import check_config
from rnnsearch.config.schema import SearchConfig, StudyConfig
from rnnsearch.config.study_file import parse_study
from rnnsearch.records.drawing import is_drawn_blindly
from rnnsearch.records.store import StudyStore
from rnnsearch.search.confirmation import ConfirmationQueue
from rnnsearch.search.queue import Listener, TrialQueue
from rnnsearch.search.trials import SearchQueue
from rnnsearch.spec.shape import Direction
from rnnsearch.spec.trial import EpochMetrics, Outcome, TrialSpec
from rnnsearch.study.plan import make_task

ROWS = ["lstm", "elman", "gru"]
TEXT = """\
schema_version: 1
name: small
seed: {seed}
task: digits
architectures: [{rows}]
budget: {{parameters: 1500, tolerance: 3%}}
training: {{epochs: 2, learning_rate: {{low: 1e-3, high: 1e-1, log: true}}}}
search: {{trials: {trials}, sampler: random}}
confirmation: {{seeds: {seeds}, best: {best}}}
"""


class Heard:
    """A listener that records all events."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.complexities: list[Complexity] = []

    def trial_started(self, key: str, spec: TrialSpec, complexity: Complexity) -> None:
        self.events.append(("started", key))
        self.complexities.append(complexity)

    def epochs_finished(self, key: str, spec: TrialSpec, epochs: Sequence[EpochMetrics]) -> None:
        self.events.append(("epochs", key, *(metrics.epoch for metrics in epochs)))

    def trial_finished(
        self, key: str, spec: TrialSpec, state: str, reason: str, outcome: Outcome | None
    ) -> None:
        self.events.append(("finished", key, state, reason))


class Study:
    """A study without training: configuration, spaces and a store."""

    def __init__(
        self,
        name: str = "small",
        *,
        rows: Sequence[str] = ROWS,
        seed: int = 1,
        trials: int = 2,
        seeds: int = 2,
        best: int = 1,
        direction: Direction = "maximize",
    ) -> None:
        text = TEXT.format(seed=seed, rows=", ".join(rows), trials=trials, seeds=seeds, best=best)
        if not trials:
            text = text.replace("{low: 1e-3, high: 1e-1, log: true}", "1e-2")
        file = parse_study(text, "my.yaml")
        self.config: StudyConfig = check_config(file)
        registry = load_registry()
        task = make_task(self.config, file, registry)
        self.spaces: list[SearchSpace] = build_spaces(self.config, file, registry, task)
        self.store = StudyStore.create(name, text)
        self.direction: Direction = direction

    def search(self, *listeners: Listener) -> SearchQueue:
        return SearchQueue(self.store, self.config, self.spaces, self.direction, listeners)

    def confirm(self, *listeners: Listener) -> ConfirmationQueue:
        return ConfirmationQueue(self.store, self.config, self.spaces, self.direction, listeners)

    def optuna_trials(self, name: str) -> list[optuna.trial.FrozenTrial]:
        """The trials of a row and phase, as read by Optuna alone."""
        storage = f"sqlite:///{self.store.folder}/trials.db"
        return optuna.load_study(study_name=name, storage=storage).trials


def _epoch(epoch: int, validation: float) -> EpochMetrics:
    return EpochMetrics(epoch, 1.0, 0.5, 1.0, validation, 1.0, 1.0, epoch, float(epoch))


def _ask(queue: TrialQueue) -> tuple[str, TrialSpec]:
    asked = queue.ask()
    assert asked is not None
    return asked


def _ask_all(queue: TrialQueue) -> list[tuple[str, TrialSpec]]:
    asked = list(iter(queue.ask, None))
    return [trial for trial in asked if trial is not None]


def _finish(queue: TrialQueue, key: str, validation: float, **outcome: Any) -> None:
    queue.report(key, [_epoch(2, validation)])
    queue.finish(key, Outcome("eager", **outcome))


def _run_search(study: Study, scores: Mapping[str, Sequence[float | None]]) -> SearchQueue:
    """Run a search to its end; for a score of None, a trial stops early at 0.99."""
    queue = study.search()
    for key, _ in _ask_all(queue):
        _, row, number = key.split("/")
        score = scores[row][int(number)]
        if score is None:
            queue.report(key, [_epoch(1, 0.99)])
            queue.finish(key, None)
        else:
            _finish(queue, key, score)
    return queue


# The search


def test_rows_take_turns_and_get_equally_many_trials() -> None:
    queue = Study(trials=3).search()
    assert queue.total == 9
    asked = _ask_all(queue)
    assert [key for key, _ in asked] == [
        f"search/{row}/{number}" for number in range(3) for row in ROWS
    ]
    assert [spec.label for _, spec in asked] == ROWS * 3
    assert queue.running == 9
    assert queue.ask() is None


def test_a_search_begins_no_trial_after_its_minutes_and_those_begun_count() -> None:
    study = Study(trials=3)
    search = study.config.search.model_copy(update={"minutes": 1.0})
    study.config = study.config.model_copy(update={"search": search})
    queue = study.search()
    key, _ = _ask(queue)
    study.store.write_info(phases={"search": {"seconds": 60.0, "workers": 1}})
    assert study.search().ask() is None
    _finish(queue, key, 0.5)
    assert [r.state for r in study.store.records()] == ["COMPLETE"]


def test_rows_get_equally_many_trials_when_one_is_slow() -> None:
    queue = Study(trials=2).search()
    slow, _ = _ask(queue)
    others = []
    while (asked := queue.ask()) is not None:
        others.append(asked[0])
        _finish(queue, asked[0], 0.5)
    assert [slow, *others] == [f"search/{row}/{number}" for number in range(2) for row in ROWS]
    assert queue.running == 1


def test_trials_of_one_number_have_one_seed_and_others_another() -> None:
    specs = [spec for _, spec in _ask_all(Study(trials=3).search())]
    seeds = [{spec.seed for spec in specs[i : i + 3]} for i in (0, 3, 6)]
    assert [len(found) for found in seeds] == [1, 1, 1]
    assert len(set.union(*seeds)) == 3


def test_what_was_drawn_is_what_the_trial_trains_with_and_what_optuna_keeps() -> None:
    study = Study(rows=["lstm"], trials=2)
    specs = [spec for _, spec in _ask_all(study.search())]
    kept = study.optuna_trials("search/lstm")
    for spec, trial in zip(specs, kept, strict=True):
        assert trial.params == {"learning_rate": spec.training.learning_rate}
        assert trial.user_attrs["values"] == trial.params
        assert TrialSpec.from_json(trial.user_attrs["spec"]) == spec


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_same_study_draws_the_same_in_a_new_store(sampler: str) -> None:
    drawn = []
    for name, seed in (("first", 1), ("second", 1), ("third", 2)):
        study = Study(name, rows=["lstm", "sm_rnn"], trials=3, seed=seed)
        search = study.config.search.model_copy(update={"sampler": sampler})
        study.config = study.config.model_copy(update={"search": search})
        queue = study.search()
        asked = []
        while (trial := queue.ask()) is not None:
            asked.append(trial)
            _finish(queue, trial[0], trial[1].training.learning_rate)
        drawn.append(asked)
    first, second, third = drawn
    assert first == second
    rates = [[spec.training.learning_rate for _, spec in asked] for asked in (first, third)]
    assert not set(rates[0]) & set(rates[1])


def test_rows_draw_independently_of_each_other() -> None:
    together = [spec for _, spec in _ask_all(Study("both", rows=["lstm", "gru"]).search())]
    alone = [spec for _, spec in _ask_all(Study("one", rows=["gru"]).search())]
    assert [spec for spec in together if spec.label == "gru"] == alone
    rates = {spec.training.learning_rate for spec in together}
    assert len(rates) == 4


class Unsolvable(SearchSpace):
    """A row whose first draws do not meet the budget."""

    draws = 0
    failing = 1

    def trial(self, *arguments: Any, **settings: Any) -> TrialSpec:
        Unsolvable.draws += 1
        if Unsolvable.draws <= Unsolvable.failing:
            msg = "no width meets the budget"
            raise BudgetError(msg, architecture="gru", budget=1, tolerance=0.02, nearest=(2,))
        return super().trial(*arguments, **settings)


@pytest.fixture
def unsolvable(monkeypatch: pytest.MonkeyPatch) -> type[Unsolvable]:
    monkeypatch.setattr(Unsolvable, "draws", 0)
    monkeypatch.setattr(Unsolvable, "failing", 1)
    return Unsolvable


def test_a_draw_that_meets_no_budget_fails_with_its_reason_and_another_takes_its_place(
    unsolvable: type[Unsolvable],
) -> None:
    study, heard = Study(trials=2), Heard()
    study.spaces[1] = unsolvable(**vars(study.spaces[1]))
    asked = _ask_all(study.search(heard))
    keys = [key for key, _ in asked]
    assert keys == [
        *("search/lstm/0", "search/elman/1", "search/gru/0"),
        *("search/lstm/1", "search/elman/2", "search/gru/1"),
    ]
    failed = study.optuna_trials("search/elman")[0]
    assert failed.state is optuna.trial.TrialState.FAIL
    assert failed.user_attrs["reason"] == "no width meets the budget"
    assert heard.events == [("started", key) for key in keys]
    # The lost draw costs the row no trial and shifts no seed.
    seeds = [spec.seed for _, spec in asked]
    assert seeds == [seeds[0]] * 3 + [seeds[3]] * 3


def test_a_row_whose_draws_never_meet_the_budget_stops_the_search_with_its_name(
    unsolvable: type[Unsolvable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnnsearch.search.trials._MOST_DRAWS", 4)
    monkeypatch.setattr(unsolvable, "failing", 4)
    study = Study(rows=["elman"])
    study.spaces[0] = unsolvable(**vars(study.spaces[0]))
    with pytest.raises(
        RnnsearchError, match="`elman`: 4 draws in a row met no width at the budget"
    ):
        study.search().ask()
    states = [trial.state for trial in study.optuna_trials("search/elman")]
    assert states == [optuna.trial.TrialState.FAIL] * 4


# Outcome of a trial


def test_a_trial_that_ran_to_its_end_is_complete_with_its_last_validation_metric() -> None:
    study, heard = Study(rows=["lstm"]), Heard()
    queue = study.search(heard)
    key, _ = _ask(queue)
    queue.report(key, [_epoch(1, 0.75)])
    queue.report(key, [_epoch(2, 0.5)])
    queue.finish(key, Outcome("torch.nn.LSTM"))
    (trial,) = study.optuna_trials("search/lstm")
    assert (trial.state, trial.value) == (optuna.trial.TrialState.COMPLETE, 0.5)
    assert trial.intermediate_values == {1: 0.75, 2: 0.5}
    (record,) = study.store.records()
    assert (record.engine, record.test_loss, record.test_metric) == ("torch.nn.LSTM", None, None)
    assert heard.events[-1] == ("finished", key, "COMPLETE", "")
    assert queue.running == 0


def test_a_confirmed_trial_is_complete_with_its_test_metric() -> None:
    study = Study(rows=["lstm"], trials=0)
    queue = study.confirm()
    key, _ = _ask(queue)
    _finish(queue, key, math.nan, test_loss=0.25, test_metric=0.875)
    (trial,) = study.optuna_trials("confirmation/lstm")
    assert (trial.state, trial.value) == (optuna.trial.TrialState.COMPLETE, 0.875)
    (record,) = study.store.records()
    assert (record.test_loss, record.test_metric) == (0.25, 0.875)


@pytest.mark.parametrize(
    ("epochs", "reason"),
    [(0, "stopped before epoch 1"), (1, "stopped early after epoch 1")],
)
def test_a_trial_that_ends_without_an_outcome_is_pruned(epochs: int, reason: str) -> None:
    study, heard = Study(rows=["lstm"]), Heard()
    queue = study.search(heard)
    key, _ = _ask(queue)
    for epoch in range(epochs):
        queue.report(key, [_epoch(epoch + 1, 0.5)])
    queue.finish(key, None)
    (trial,) = study.optuna_trials("search/lstm")
    assert trial.state is optuna.trial.TrialState.PRUNED
    assert trial.last_step == (epochs or None)
    assert trial.user_attrs["reason"] == reason
    assert heard.events[-1] == ("finished", key, "PRUNED", reason)
    assert queue.running == 0


def test_a_trial_that_loses_its_worker_is_begun_anew_with_what_was_drawn_for_it() -> None:
    study, heard = Study(rows=["lstm"], trials=1), Heard()
    queue = study.search(heard)
    key, spec = _ask(queue)
    queue.report(key, [_epoch(1, 0.5)])
    queue.checkpoint(key, 1)
    queue.lose([key], "it died")
    assert heard.events[-1] == ("finished", key, "FAIL", "it died")
    assert not list(study.store.records())
    again, same = _ask(queue)
    assert (again, same) == ("search/lstm/1", spec)
    before = queue.unfinished(again)
    assert before is not None
    assert (before.key, before.checkpoint, [e.epoch for e in before.epochs]) == (key, 1, [1])
    _finish(queue, again, 0.75)
    assert queue.ask() is None
    assert [(r.number, r.state) for r in study.store.records()] == [(1, "COMPLETE")]


def test_a_rung_that_a_trial_had_passed_is_not_decided_again_by_trials_that_came_later() -> None:
    study = Study(rows=["lstm"], trials=4)
    queue = study.search()
    (early, spec), (other, _), (low, _), (high, _) = _ask_all(queue)
    (rung,) = queue.pauses(spec)

    def reach(key: str, validation: float) -> bool:
        queue.report(key, [_epoch(rung, validation)])
        return queue.stops(key, [_epoch(rung, validation)])

    assert not reach(early, 0.3)
    queue.report(early, [_epoch(rung + 1, 0.4)])  # it continued
    assert not reach(other, 0.9)
    assert reach(low, 0.2)
    queue.report(high, [_epoch(rung, 0.25)])
    queue.lose([early, high], "it died")
    anew = {queue._anew[key].key: key for key, _ in _ask_all(queue)}
    assert not reach(anew[early], 0.3)
    # A trial without a decision is decided on like any other.
    assert reach(anew[high], 0.25)


def test_a_trial_that_loses_three_workers_is_failed() -> None:
    study = Study(rows=["lstm"], trials=1)
    queue = study.search()
    for _ in range(2):
        queue.lose([_ask(queue)[0]], "it died")
    # The store keeps the count, so a resumed study continues it.
    queue = study.search()
    queue.lose([_ask(queue)[0]], "it died")
    (record,) = study.store.records()
    assert (record.state, record.reason) == ("FAIL", "it lost 3 workers: it died")
    assert queue.ask() is None


def test_a_trial_at_its_last_worker_waits_until_nothing_runs_and_nothing_begins_beside_it() -> None:
    study = Study(rows=["lstm"], trials=4)
    queue = study.search()
    blamed, beside = _ask(queue)[0], _ask(queue)[0]
    queue.lose([blamed], "out of memory")
    (again, _), *others = queue.ask_together(2)  # the second worker: other trials run too
    assert others == []
    queue.lose([again], "out of memory")
    assert queue.ask_together(2) == []
    _finish(queue, beside, 0.5)
    ((last, _),) = queue.ask_together(2)
    assert queue.ask_together(2) == []
    _finish(queue, last, 0.75)
    assert queue.ask_together(2)


def test_of_a_lost_worker_s_trials_those_that_it_never_got_to_stay_the_same_trials() -> None:
    study, heard = Study(rows=["lstm"], trials=0, seeds=3), Heard()
    queue = study.confirm(heard)
    (first, _), (beside, _), (behind, _) = _ask_all(queue)
    queue.report(beside, [_epoch(1, 0.5)])
    queue.lose([first, beside, behind], "it died")
    assert [e[1] for e in heard.events if e[0] == "finished"] == [first, beside]
    assert [key for key, _ in queue.ask_together(1)] == [behind]
    # One by one, to find out which one caused it.
    assert [key for key, _ in queue.ask_together(1)] == ["confirmation/lstm/3"]
    assert [key for key, _ in queue.ask_together(1)] == ["confirmation/lstm/4"]
    assert queue.ask_together(1) == []


def test_a_trial_that_fails_keeps_its_reason() -> None:
    study, heard = Study(rows=["lstm"]), Heard()
    queue = study.search(heard)
    key, _ = _ask(queue)
    queue.fail(key, "DivergedError: training loss is not finite in epoch 1")
    (trial,) = study.optuna_trials("search/lstm")
    assert trial.state is optuna.trial.TrialState.FAIL
    assert trial.user_attrs["reason"] == "DivergedError: training loss is not finite in epoch 1"
    assert heard.events[-1][2:] == ("FAIL", "DivergedError: training loss is not finite in epoch 1")
    assert queue.running == 0


@pytest.mark.parametrize(
    ("validation", "outcome"),
    [
        (math.nan, {}),
        (math.inf, {}),
        (0.5, {"test_loss": 0.5, "test_metric": math.nan}),
        (0.5, {"test_loss": 0.5, "test_metric": -math.inf}),
        (0.5, {"test_loss": math.nan, "test_metric": 0.1}),
    ],
    ids=["validation", "endless validation", "test", "endless test", "test loss"],
)
def test_a_score_that_is_no_number_fails_the_trial_and_leaves_it_neither_running_nor_complete(
    validation: float, outcome: dict[str, float]
) -> None:
    study, heard = Study(rows=["lstm"]), Heard()
    queue = study.search(heard)
    key, _ = _ask(queue)
    _finish(queue, key, validation, **outcome)
    (trial,) = study.optuna_trials("search/lstm")
    assert trial.state is optuna.trial.TrialState.FAIL
    reason = "the loss or the accuracy is not finite after the last epoch"
    assert trial.user_attrs["reason"] == reason
    assert heard.events[-1] == ("finished", key, "FAIL", reason)
    assert queue.running == 0


def test_all_that_still_runs_can_be_failed_at_once() -> None:
    study, heard = Study(trials=2), Heard()
    queue = study.search(heard)
    asked = [_ask(queue)[0] for _ in range(4)]
    _finish(queue, asked[1], 0.5)
    queue.interrupt_all("interrupted")
    assert queue.running == 0
    records = study.store.records(interrupted=True)
    states = {f"{r.phase}/{r.label}/{r.number}": (r.state, r.reason) for r in records}
    assert states == {
        asked[0]: ("FAIL", "interrupted"),
        asked[1]: ("COMPLETE", ""),
        asked[2]: ("FAIL", "interrupted"),
        asked[3]: ("FAIL", "interrupted"),
    }
    ended = [event for event in heard.events if event[0] == "finished"]
    assert sorted(event[1] for event in ended) == sorted(asked)
    queue.interrupt_all("again")
    assert len(heard.events) == 4 + 1 + 4


def test_listeners_hear_every_event_once_and_in_order() -> None:
    study, first, second = Study(rows=["lstm", "gru"]), Heard(), Heard()
    queue = study.search(first, second)
    lstm, _ = _ask(queue)
    gru, _ = _ask(queue)
    queue.report(gru, [_epoch(1, 0.5)])
    queue.report(lstm, [_epoch(1, 0.5)])
    queue.fail(lstm, "broken")
    queue.report(gru, [_epoch(2, 0.5)])
    queue.finish(gru, Outcome("eager"))
    assert first.events == [
        ("started", lstm),
        ("started", gru),
        ("epochs", gru, 1),
        ("epochs", lstm, 1),
        ("finished", lstm, "FAIL", "broken"),
        ("epochs", gru, 2),
        ("finished", gru, "COMPLETE", ""),
    ]
    assert second.events == first.events


def test_the_complexity_that_is_told_and_kept_is_that_of_the_model() -> None:
    study, heard = Study(rows=["lstm"]), Heard()
    _, spec = _ask(study.search(heard))
    expected = measure_complexity(study.spaces[0].architecture, spec.model)
    assert heard.complexities == [expected]
    (record,) = study.store.records()
    assert record.complexity == expected


# Confirmation


SCORES: dict[str, list[float | None]] = {
    "lstm": [0.25, 0.75, None, 0.5],
    "gru": [0.5, 0.25, 0.125, None],
}


def _rates(study: Study, row: str) -> list[float]:
    return [trial.params["learning_rate"] for trial in study.optuna_trials(f"search/{row}")]


@pytest.mark.parametrize(
    ("direction", "best"),
    [("maximize", {"lstm": [1, 3], "gru": [0, 1]}), ("minimize", {"lstm": [0, 3], "gru": [2, 1]})],
)
def test_the_best_complete_trials_are_confirmed_best_first(
    direction: Direction, best: dict[str, list[int]]
) -> None:
    study = Study(rows=list(SCORES), trials=4, best=2, seeds=1, direction=direction)
    _run_search(study, SCORES)
    queue = study.confirm()
    assert queue.total == 4
    confirmed = {
        (spec.label, spec.rank): spec.training.learning_rate for _, spec in _ask_all(queue)
    }
    assert confirmed == {
        (row, rank): _rates(study, row)[number]
        for row, numbers in best.items()
        for rank, number in enumerate(numbers)
    }


def test_equal_scores_are_confirmed_in_the_order_of_their_trials() -> None:
    study = Study(rows=["lstm"], trials=3, best=3, seeds=1)
    _run_search(study, {"lstm": [0.5, 0.5, 0.5]})
    rates = [spec.training.learning_rate for _, spec in _ask_all(study.confirm())]
    assert rates == _rates(study, "lstm")


def test_one_configuration_is_not_confirmed_twice() -> None:
    study = Study(rows=["lstm"], trials=4, best=4, seeds=1)
    free = {"learning_rate": Choice((0.01, 0.02), default=0.01)}
    study.spaces[0] = SearchSpace(**{**vars(study.spaces[0]), "free": free})
    _run_search(study, {"lstm": [0.75, 0.5, 0.25, 0.125]})
    drawn = _rates(study, "lstm")
    assert len(set(drawn)) < len(drawn)
    confirmed = [spec.training.learning_rate for _, spec in _ask_all(study.confirm())]
    assert confirmed == list(dict.fromkeys(drawn))


def test_all_rows_are_confirmed_on_the_same_fresh_seeds_one_seed_after_the_other() -> None:
    study = Study(trials=1, seeds=3)
    searched = {spec.seed for _, spec in _ask_all(study.search())}
    fresh = Study("fresh", trials=1, seeds=3)
    _run_search(fresh, {row: [0.5] for row in ROWS})
    queue = fresh.confirm()
    specs = [spec for _, spec in _ask_all(queue)]
    assert queue.total == len(specs) == 9
    assert [spec.label for spec in specs] == ROWS * 3
    seeds = [[spec.seed for spec in specs if spec.label == row] for row in ROWS]
    assert seeds[0] == seeds[1] == seeds[2]
    assert len(set(seeds[0])) == 3
    assert not searched & set(seeds[0])


def test_seeds_do_not_depend_on_how_many_rows_or_configurations_there_are() -> None:
    seeds = []
    for name, rows, best in (("one", ["gru"], 1), ("more", ["lstm", "gru"], 2)):
        study = Study(name, rows=rows, trials=2, best=best, seeds=2)
        _run_search(study, {row: [0.5, 0.25] for row in rows})
        specs = [spec for _, spec in _ask_all(study.confirm())]
        seeds.append([spec.seed for spec in specs if (spec.label, spec.rank) == ("gru", 0)])
    assert seeds[0] == seeds[1]


def test_a_confirmation_notes_its_rank_and_its_values() -> None:
    study = Study(rows=["lstm"], trials=2, best=2, seeds=1)
    _run_search(study, {"lstm": [0.25, 0.5]})
    _ask_all(study.confirm())
    noted = [trial.user_attrs for trial in study.optuna_trials("confirmation/lstm")]
    assert [attributes["rank"] for attributes in noted] == [0, 1]
    assert [attributes["values"]["learning_rate"] for attributes in noted] == [
        *reversed(_rates(study, "lstm"))
    ]


def test_a_row_without_a_complete_trial_is_not_confirmed_and_the_others_are() -> None:
    study = Study(rows=["lstm", "gru"], trials=1, seeds=2)
    _run_search(study, {"lstm": [None], "gru": [0.5]})
    queue = study.confirm()
    assert queue.total == 2
    assert [spec.label for _, spec in _ask_all(queue)] == ["gru", "gru"]


def test_without_a_search_the_one_configuration_of_each_row_is_confirmed() -> None:
    study = Study(trials=0, seeds=2)
    assert study.search().total == 0
    assert study.search().ask() is None
    queue = study.confirm()
    specs = [spec for _, spec in _ask_all(queue)]
    assert queue.total == len(specs) == 6
    assert {spec.training.learning_rate for spec in specs} == {0.01}
    assert queue.ask() is None


def test_values_are_those_that_were_drawn() -> None:
    study = Study(rows=["sm_rnn"], trials=1, seeds=1)
    ((_, searched),) = _ask_all(queue := study.search())
    _finish(queue, "search/sm_rnn/0", 0.5)
    ((_, confirmed),) = _ask_all(study.confirm())
    assert confirmed.model == searched.model
    assert confirmed.training == searched.training
    drawn: dict[str, Value] = {
        "learning_rate": searched.training.learning_rate,
        "options.mlp_ratio": searched.model.options["mlp_ratio"],
    }
    assert best_first(study.store.records(), "maximize") == [drawn]


# Trials that one worker takes together


def _quick(study: Study, epoch_seconds: float = 0.1) -> Study:
    study.spaces = [replace(space, epoch_seconds=epoch_seconds) for space in study.spaces]
    return study


def test_short_confirmations_are_taken_together_and_shared_among_workers() -> None:
    study = _quick(Study(trials=0, seeds=4))
    queue = study.confirm()
    sizes = []
    while together := queue.ask_together(2):
        sizes.append(len(together))
    assert sizes == [6, 3, 2, 1]
    assert sum(sizes) == queue.total


def test_trials_taken_together_are_those_that_would_be_taken_alone() -> None:
    alone = [spec for _, spec in _ask_all(Study(trials=0, seeds=4).confirm())]
    queue = _quick(Study("again", trials=0, seeds=4)).confirm()
    together = [spec for group in iter(lambda: queue.ask_together(2), []) for _, spec in group]
    assert together == alone


def test_long_trials_are_taken_one_by_one() -> None:
    queue = _quick(Study(trials=0, seeds=4), epoch_seconds=100.0).confirm()
    assert len(queue.ask_together(2)) == 1


def test_no_search_trial_is_taken_before_the_results_it_should_know() -> None:
    study = _quick(Study(trials=10))
    search = SearchConfig(trials=10, sampler="tpe", scheduler="none")
    study.config = study.config.model_copy(update={"search": search})
    queue, ended, groups = study.search(), set[str](), []
    while together := [key for key, _ in queue.ask_together(1)]:
        for key in together:
            row, _, number = key.rpartition("/")
            if not is_drawn_blindly("tpe", int(number)):
                assert {f"{row}/{before}" for before in range(int(number))} <= ended
        groups.append(together)
        for key in together:
            _finish(queue, key, 0.5)
        ended |= set(together)
    assert len(ended) == 10 * len(ROWS)
    # Random draws are taken at once.
    assert groups[0] == [f"search/{row}/{number}" for number in range(2) for row in ROWS]


def test_a_trial_that_its_worker_never_got_to_is_asked_for_again() -> None:
    queue = _quick(Study(trials=0, seeds=4)).confirm()
    (first, _), (second, spec), *_ = queue.ask_together(2)
    queue.fail(first, "the worker died")
    queue.hand_back(second)
    assert not queue.is_running(second)
    assert queue.ask_together(2) == [(second, spec)]
    assert queue.is_running(second)


def test_seeds_of_one_configuration_train_as_one_population_however_long_they_take() -> None:
    study = Study(trials=0, seeds=4)
    study.spaces = [replace(space, engine="vmapped") for space in study.spaces]
    queue = study.confirm()
    groups = list(iter(lambda: queue.ask_together(2), []))
    rows = [{spec.label for _, spec in group} for group in groups]
    assert rows == [{row} for _ in range(2) for row in ROWS]
    assert [len(group) for group in groups] == [2] * 6
    assert len({key for group in groups for key, _ in group}) == 12
