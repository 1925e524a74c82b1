"""The queue of a study's trials: which one is next, and what became of each.

Every trial state is decided here, once, and told from here to Optuna's storage and to the
listeners (MLflow, the terminal), so that they cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rnnsearch.config import StudyConfig
from rnnsearch.engines import POPULATION_ENGINES
from rnnsearch.errors import BudgetError, RnnsearchError
from rnnsearch.model import Complexity, measure_complexity
from rnnsearch.parameters import Value
from rnnsearch.space import SearchSpace, derive_seed
from rnnsearch.store import OpenTrial, StudyStore, draws_before_results, make_sampler
from rnnsearch.task import Direction
from rnnsearch.trial import EpochMetrics, TrialSpec, TrialState

_MOST_DRAWS = 100
# Trials that one worker takes at a time last about so long together: short ones would otherwise
# spend more time on being handed out than on training.
_TOGETHER_S = 5.0


@dataclass(frozen=True)
class Outcome:
    """What a trial that ran to its last epoch hands back.

    Attributes:
        engine: what ran the model.
        engine_reason: why not what the trial asked for, or an empty string.
        test_loss: loss on the test split, for a confirmation.
        test_metric: metric on the test split, for a confirmation.
        weights: path of the trained weights, for a confirmation.
    """

    engine: str
    engine_reason: str = ""
    test_loss: float | None = None
    test_metric: float | None = None
    weights: str = ""


class Listener(Protocol):
    """Hears of every trial; `key` is the same throughout a trial's life."""

    def trial_started(self, key: str, spec: TrialSpec, complexity: Complexity) -> None:
        """A trial begins."""

    def epoch_finished(self, key: str, spec: TrialSpec, metrics: EpochMetrics) -> None:
        """A trial reports an epoch."""

    def trial_finished(
        self, key: str, spec: TrialSpec, state: TrialState, reason: str, outcome: Outcome | None
    ) -> None:
        """A trial has ended, one way or another."""


@dataclass
class _Live:
    trial: OpenTrial
    spec: TrialSpec
    last: EpochMetrics | None = None


class TrialQueue:
    """Hands out trials, equally many for each row, and records what became of them.

    Args:
        listeners: who hears of every trial.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners
        self._live: dict[str, _Live] = {}
        self._handed_back: list[str] = []
        self.total = 0

    def ask(self) -> tuple[str, TrialSpec] | None:
        """Take the next trial, or None when there is none left."""
        raise NotImplementedError

    def ask_together(self, workers: int) -> list[tuple[str, TrialSpec]]:
        """Take trials that one worker runs one after the other, or none when none is left.

        Several only where they are short, where all are known beforehand (fresh seeds; draws that
        do not depend on results), and where enough are left for the other workers. Each is the
        same trial that it would be alone.

        Args:
            workers: trials at a time.
        """
        if self._handed_back:
            key = self._handed_back.pop(0)
            return [(key, self._live[key].spec)]
        first = self.ask()
        if first is None:
            return []
        if first[1].engine in POPULATION_ENGINES:
            return [first, *self._ask_like(first[1], workers)]
        together, seconds = [first], self._seconds_of(first[1])
        share = math.ceil((1 + self._known_beforehand()) / workers)
        most = min(share, _most_together(seconds))
        while len(together) < most and (following := self.ask()) is not None:
            together.append(following)
        return together

    def _ask_like(self, spec: TrialSpec, workers: int) -> list[tuple[str, TrialSpec]]:
        """Take a worker's share of the trials that can train as one population with another."""
        return []

    def _known_beforehand(self) -> int:
        """Trials that could be handed out now without a result being missed."""
        return 0

    def _seconds_of(self, spec: TrialSpec) -> float:
        """Estimated seconds of a trial."""
        return math.inf

    def hand_back(self, key: str) -> None:
        """Let a trial that its worker never got to be asked for again."""
        self._handed_back.append(key)

    def is_running(self, key: str) -> bool:
        """Whether a trial was handed out, has not finished and was not handed back."""
        return key in self._live and key not in self._handed_back

    @property
    def running(self) -> int:
        """Trials handed out and not finished."""
        return len(self._live)

    def _start(
        self, space: SearchSpace, trial: OpenTrial, spec: TrialSpec
    ) -> tuple[str, TrialSpec]:
        key = f"{spec.phase}/{spec.label}/{trial.number}"
        complexity = measure_complexity(space.architecture, spec.model)
        trial.note(spec=spec.to_json(), complexity=complexity.__dict__)
        self._live[key] = _Live(trial, spec)
        for listener in self._listeners:
            listener.trial_started(key, spec, complexity)
        return key, spec

    def report(self, key: str, metrics: EpochMetrics) -> None:
        """Record an epoch."""
        live = self._live[key]
        live.trial.report(metrics)
        live.last = metrics
        for listener in self._listeners:
            listener.epoch_finished(key, live.spec, metrics)

    def finish(self, key: str, outcome: Outcome | None) -> None:
        """Record that a trial ended without an error: complete if it ran to its last epoch."""
        live = self._live[key]
        last, spec = live.last, live.spec
        if last is None or outcome is None:
            del self._live[key]
            reason = f"stopped early after epoch {last.epoch}" if last else "stopped before epoch 1"
            live.trial.prune(reason)
            self._tell(key, spec, "PRUNED", reason, None)
            return
        value = last.validation_metric if outcome.test_metric is None else outcome.test_metric
        if not (math.isfinite(value) and math.isfinite(outcome.test_loss or 0.0)):
            self.fail(key, f"the loss or the {spec.metric} is not finite after the last epoch")
            return
        del self._live[key]
        live.trial.note(
            engine=outcome.engine,
            engine_reason=outcome.engine_reason,
            test_loss=outcome.test_loss,
            test_metric=outcome.test_metric,
        )
        live.trial.complete(value)
        self._tell(key, spec, "COMPLETE", "", outcome)

    def fail(self, key: str, reason: str) -> None:
        """Record that a trial failed."""
        live = self._live.pop(key)
        live.trial.fail(reason)
        self._tell(key, live.spec, "FAIL", reason, None)

    def fail_all(self, reason: str) -> None:
        """Record that every trial still running has failed, as after an interrupt."""
        for key in list(self._live):
            self.fail(key, reason)

    def _tell(
        self, key: str, spec: TrialSpec, state: TrialState, reason: str, outcome: Outcome | None
    ) -> None:
        for listener in self._listeners:
            listener.trial_finished(key, spec, state, reason, outcome)


def _most_together(seconds: float) -> int:
    return math.floor(_TOGETHER_S / seconds) if seconds > 0 else 0


class SearchQueue(TrialQueue):
    """The search: Optuna draws each row's trials, and the rows take turns."""

    def __init__(
        self,
        store: StudyStore,
        config: StudyConfig,
        spaces: Sequence[SearchSpace],
        direction: Direction,
        listeners: Sequence[Listener],
    ) -> None:
        super().__init__(listeners)
        self._config, self._spaces = config, spaces
        trials = config.search.trials
        self._studies = [
            store.optuna_study(
                "search",
                space.label,
                direction,
                make_sampler(
                    config.search.sampler,
                    derive_seed(config.seed, f"sampler/{space.label}", 0),
                    trials,
                ),
            )
            for space in spaces
        ]
        self._asked = [0] * len(spaces)
        self._drawn_blindly = draws_before_results(config.search.sampler, trials)
        self.total = trials * len(spaces)

    def _known_beforehand(self) -> int:
        if self._config.search.scheduler != "none":  # it stops trials one by one
            return 0
        return sum(max(0, self._drawn_blindly - asked) for asked in self._asked)

    def _seconds_of(self, spec: TrialSpec) -> float:
        return _seconds_of(self._spaces, spec)

    def ask(self) -> tuple[str, TrialSpec] | None:
        if (fewest := min(self._asked)) >= self._config.search.trials:
            return None
        row = self._asked.index(fewest)
        self._asked[row] += 1
        space, study = self._spaces[row], self._studies[row]
        for _ in range(_MOST_DRAWS):
            trial = OpenTrial(study, study.ask())
            values = trial.suggest(space.free)
            trial.note(values=values)
            try:
                spec = space.trial(self._config, values, phase="search", number=fewest)
            except BudgetError as error:
                # Between two points at which the plan tried the budget, a tight tolerance can
                # still be missed. Another draw takes its place: no row loses a trial to it.
                trial.fail(str(error))
                continue
            return self._start(space, trial, spec)
        msg = f"`{space.label}`: {_MOST_DRAWS} draws in a row met no width at the budget"
        raise RnnsearchError(f"{msg}; widen `budget.tolerance`")


class ConfirmationQueue(TrialQueue):
    """The confirmation: each row's best configurations, each on the same fresh seeds."""

    def __init__(
        self,
        store: StudyStore,
        config: StudyConfig,
        spaces: Sequence[SearchSpace],
        direction: Direction,
        listeners: Sequence[Listener],
    ) -> None:
        super().__init__(listeners)
        self._store, self._config, self._direction = store, config, direction
        best = {space.label: best_values(store, config, space, direction) for space in spaces}
        # Seeds in the outer loop: if time runs out, all rows have as many as each other.
        self._waiting = [
            (space, rank, values, number)
            for number in range(config.confirmation.seeds)
            for space in spaces
            for rank, values in enumerate(best[space.label])
        ]
        self._waiting.reverse()
        self._spaces = spaces
        self.total = len(self._waiting)

    def _known_beforehand(self) -> int:
        return len(self._waiting)

    def _ask_like(self, spec: TrialSpec, workers: int) -> list[tuple[str, TrialSpec]]:
        alike = [w for w in self._waiting if (w[0].label, w[1]) == (spec.label, spec.rank)]
        found = []
        # The same share for every worker, so that none is left with a seed to run alone.
        share = math.ceil(self._config.confirmation.seeds / workers)
        for waiting in alike[::-1][: share - 1]:
            self._waiting.remove(waiting)
            found.append(self._begin(waiting))
        return found

    def _seconds_of(self, spec: TrialSpec) -> float:
        return _seconds_of(self._spaces, spec)

    def ask(self) -> tuple[str, TrialSpec] | None:
        if not self._waiting:
            return None
        return self._begin(self._waiting.pop())

    def _begin(
        self, waiting: tuple[SearchSpace, int, dict[str, Value], int]
    ) -> tuple[str, TrialSpec]:
        space, rank, values, number = waiting
        study = self._store.optuna_study("confirmation", space.label, self._direction)
        trial = OpenTrial(study, study.ask())
        trial.note(values=values, rank=rank)
        spec = space.trial(self._config, values, phase="confirmation", number=number, rank=rank)
        return self._start(space, trial, spec)


def _seconds_of(spaces: Sequence[SearchSpace], spec: TrialSpec) -> float:
    epoch_s = next(space.epoch_seconds for space in spaces if space.label == spec.label)
    return epoch_s * spec.training.epochs


def best_values(
    store: StudyStore, config: StudyConfig, space: SearchSpace, direction: Direction
) -> list[dict[str, Value]]:
    """The sampled values of a row's best complete search trials, best first.

    A pruned trial's score is from fewer epochs and does not compete. Without a search there is one
    configuration, the fixed one.
    """
    if config.search.trials == 0:
        return [{}]
    study = store.optuna_study("search", space.label, direction)
    trials = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    sign = -1.0 if direction == "maximize" else 1.0
    trials.sort(key=lambda t: (sign * float(t.value or 0.0), t.number))
    distinct: list[dict[str, Value]] = []
    for trial in trials:
        values = dict(trial.user_attrs["values"])
        if values not in distinct:
            distinct.append(values)
    return distinct[: config.confirmation.best]
