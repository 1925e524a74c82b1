"""The queue of a study's trials: which one is next, and what became of each.

Every trial state is decided here, once, and told from here to Optuna's storage and to the
listeners (MLflow, the terminal), so that they cannot disagree.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import ClassVar, Protocol

from typing_extensions import override

from rnnsearch.budget.model import measure_complexity
from rnnsearch.budget.space import SearchSpace, derive_seed
from rnnsearch.compare.configurations import best_first
from rnnsearch.config.schema import StudyConfig
from rnnsearch.errors import BudgetError, RnnsearchError
from rnnsearch.records.drawing import Drawing, is_drawn_blindly
from rnnsearch.records.open_trial import OpenTrial
from rnnsearch.records.store import StudyStore
from rnnsearch.records.trials_file import Unfinished
from rnnsearch.search.halving import Halving
from rnnsearch.spec.model import Complexity
from rnnsearch.spec.parameters import Value
from rnnsearch.spec.shape import Direction
from rnnsearch.spec.trial import (
    EpochMetrics,
    Outcome,
    Phase,
    TrialKey,
    TrialRecord,
    TrialSpec,
    TrialState,
    configuration_of,
)

_MOST_DRAWS = 100
# Trials that one worker takes at a time last about so long together: short ones would otherwise
# spend more time on being handed out than on training.
_TOGETHER_S = 5.0
# How many workers a trial may lose before it counts as failed: a node that vanishes is not its
# fault, a worker that runs out of memory each time is. For the last one it has all the room there
# is: nothing else runs meanwhile.
_WORKERS_PER_TRIAL = 3


class Listener(Protocol):
    """Hears of every trial; `key` is the same throughout a trial's life."""

    def trial_started(self, key: str, spec: TrialSpec, complexity: Complexity) -> None:
        """A trial begins."""

    def epochs_finished(self, key: str, spec: TrialSpec, epochs: Sequence[EpochMetrics]) -> None:
        """A trial reports what it trained since it reported last: one epoch or more."""

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
        store: the study's.
        config: the study.
        spaces: its rows.
        direction: `maximize` or `minimize`.
        listeners: who hears of every trial.
    """

    phase: ClassVar[Phase]

    def __init__(
        self,
        store: StudyStore,
        config: StudyConfig,
        spaces: Sequence[SearchSpace],
        direction: Direction,
        listeners: Sequence[Listener],
    ) -> None:
        self._store, self._config, self._listeners = store, config, listeners
        self._spaces = {space.label: space for space in spaces}
        self._studies = {
            label: store.optuna_study(self.phase, label, direction) for label in self._spaces
        }
        self._live: dict[str, _Live] = {}
        self._handed_back: list[str] = []
        self._unfinished = [
            one for label in self._spaces for one in store.unfinished(self.phase, label)
        ]
        self._anew: dict[str, Unfinished] = {}
        self.done = 0  # trials that had ended when the study was resumed
        self.total = 0

    def ask(self) -> tuple[str, TrialSpec] | None:
        """Take the next trial, or None when there is none left."""
        return self._begin_anew(self._unfinished.pop(0)) if self._unfinished else self._ask_new()

    def _ask_new(self) -> tuple[str, TrialSpec] | None:
        """Take the next trial that was never begun."""
        raise NotImplementedError

    def ask_together(self, workers: int) -> list[tuple[str, TrialSpec]]:
        """Take trials that one worker runs one after the other, or none when none can begin now.

        Several only where they are short, where all are known beforehand (fresh seeds; draws that
        do not depend on results), and where enough are left for the other workers. Each is the
        same trial that it would be alone.

        Args:
            workers: trials at a time.
        """
        if self._needs_room(self._anew[key] for key in self._live if key in self._anew):
            return []
        if self._handed_back:
            key = self._handed_back.pop(0)
            return [(key, self._live[key].spec)]
        again = bool(self._unfinished)
        if self._live and self._needs_room(self._unfinished[:1]):
            return []
        first = self.ask()
        if first is None:
            return []
        if first[1].engine.takes_several:
            return [first, *self._ask_like(first[0], first[1], workers)]
        if again:  # it may go on from a checkpoint, or be the one that its worker died of
            return [first]
        together, seconds = [first], self._seconds_of(first[1])
        share = math.ceil((1 + self._known_beforehand()) / workers)
        most = min(share, _most_together(seconds))
        while len(together) < most and (following := self.ask()) is not None:
            together.append(following)
        return together

    @staticmethod
    def _needs_room(trials: Iterable[Unfinished]) -> bool:
        """Whether one of them is at its last worker."""
        return any(one.workers_lost == _WORKERS_PER_TRIAL - 1 for one in trials)

    def _ask_like(self, key: str, spec: TrialSpec, workers: int) -> list[tuple[str, TrialSpec]]:
        """Take a worker's share of the trials that can train as one population with another."""
        return []

    def pauses(self, spec: TrialSpec) -> tuple[int, ...]:
        """The epochs after which a trial may be stopped."""
        return ()

    def stops(self, key: str, epochs: Sequence[EpochMetrics]) -> bool:
        """Whether a trial is to stop early, after epochs that it has not reported yet."""
        return False

    def _known_beforehand(self) -> int:
        """Trials that could be handed out now without a result being missed."""
        return 0

    def _seconds_of(self, spec: TrialSpec) -> float:
        """Estimated seconds of a trial."""
        return self._spaces[spec.label].epoch_seconds * spec.training.epochs

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

    def _start(self, trial: OpenTrial, spec: TrialSpec) -> tuple[str, TrialSpec]:
        key = str(TrialKey(spec.phase, spec.label, trial.number))
        complexity = measure_complexity(self._spaces[spec.label].architecture, spec.model)
        trial.note(complexity=complexity.__dict__, spec=spec.to_json())
        self._live[key] = _Live(trial, spec)
        for listener in self._listeners:
            listener.trial_started(key, spec, complexity)
        return key, spec

    def report(self, key: str, epochs: Sequence[EpochMetrics], *, at_once: bool = False) -> None:
        """Record one epoch or more; `at_once` where a checkpoint relies on it."""
        live = self._live[key]
        live.trial.report(epochs, at_once=at_once)
        live.last = epochs[-1]
        for listener in self._listeners:
            listener.epochs_finished(key, live.spec, epochs)

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

    def lose(self, keys: Sequence[str], reason: str) -> None:
        """Record that a worker died, and let its trials be asked for again.

        The first, which may be to blame, and those that had trained beside it begin anew where
        they were kept last, each with a worker to itself; one that lost too many is failed. The
        worker never got to the others.
        """
        for key in keys:
            live = self._live[key]
            if key != keys[0] and live.last is None:
                self.hand_back(key)
                continue
            lost = 1 + (self._anew[key].workers_lost if key in self._anew else 0)
            if lost == _WORKERS_PER_TRIAL:
                self.fail(key, f"it lost {lost} workers: {reason}")
                continue
            live.trial.note(workers_lost=lost)
            self._interrupt(key, reason)
            left = self._store.unfinished(self.phase, live.spec.label)
            self._unfinished += [one for one in left if one.key == key]

    def interrupt_all(self, reason: str) -> None:
        """Record that every trial still running was interrupted, and may be begun anew."""
        for key in list(self._live):
            self._interrupt(key, reason)

    def _interrupt(self, key: str, reason: str) -> None:
        live = self._live.pop(key)
        live.trial.interrupt(reason)
        self._tell(key, live.spec, "FAIL", reason, None)

    def _begin_anew(self, unfinished: Unfinished) -> tuple[str, TrialSpec]:
        """Begin a trial again that was interrupted: the same trial."""
        label = unfinished.spec.label
        free = self._spaces[label].free if self.phase == "search" else {}
        trial = OpenTrial.anew(self._studies[label], unfinished, free)
        self._anew[str(TrialKey(self.phase, label, trial.number))] = unfinished
        return self._start(trial, unfinished.spec)

    def unfinished(self, key: str) -> Unfinished | None:
        """The interrupted trial that this one is, begun anew."""
        return self._anew.get(key)

    def go_on(self, key: str, epochs: Sequence[EpochMetrics]) -> bool:
        """Record what a trial had measured up to the checkpoint from which it goes on.

        Returns:
            whether it is to stop there, which was decided and not recorded any more.
        """
        live = self._live[key]
        live.trial.go_on(epochs)
        live.last = epochs[-1]
        for listener in self._listeners:
            listener.epochs_finished(key, live.spec, epochs)
        return False

    def checkpoint(self, key: str, epoch: int) -> None:
        """Record that what a trial had learned after an epoch is kept."""
        self._live[key].trial.note(checkpoint=epoch)

    def _tell(
        self, key: str, spec: TrialSpec, state: TrialState, reason: str, outcome: Outcome | None
    ) -> None:
        for listener in self._listeners:
            listener.trial_finished(key, spec, state, reason, outcome)


def _most_together(seconds: float) -> int:
    return math.floor(_TOGETHER_S / seconds) if seconds > 0 else 0


class SearchQueue(TrialQueue):
    """The search: Optuna draws each row's trials, and the rows take turns."""

    phase: ClassVar[Phase] = "search"

    def __init__(
        self,
        store: StudyStore,
        config: StudyConfig,
        spaces: Sequence[SearchSpace],
        direction: Direction,
        listeners: Sequence[Listener],
    ) -> None:
        super().__init__(store, config, spaces, direction, listeners)
        records = [
            r for r in store.records(interrupted=True) if r.phase == "search" and r.spec is not None
        ]
        done = Counter(r.label for r in records if not r.interrupted)
        again = Counter(one.spec.label for one in self._unfinished)
        self._asked = {label: done[label] + again[label] for label in self._spaces}
        self._halvings: dict[str, Halving] = {}
        if config.search.scheduler == "asha":
            # Among the trials of one row at a time: an architecture that learns slowly at first
            # competes with itself, and does not lose its effort to those that start fast.
            self._halvings = {
                space.label: Halving(config.search, config.search.epochs or space.epochs, direction)
                for space in spaces
            }
        for record in records:
            if record.label in self._halvings:
                self._halvings[record.label].remember(record.first_number, record.epochs)
        self.done = done.total()
        self.total = config.search.trials * len(spaces)
        spent = store.info.seconds_of("search")
        minutes = math.inf if config.search.minutes is None else config.search.minutes
        self._ends_at = time.monotonic() + 60 * minutes - spent

    @override
    def _known_beforehand(self) -> int:
        if self._config.search.scheduler != "none":  # it stops trials one by one
            return 0
        sampler, trials = self._config.search.sampler, self._config.search.trials
        following = (range(asked, trials) for asked in self._asked.values())
        return sum(
            len(list(takewhile(lambda number: is_drawn_blindly(sampler, number), numbers)))
            for numbers in following
        )

    @override
    def pauses(self, spec: TrialSpec) -> tuple[int, ...]:
        halving = self._halvings.get(spec.label)
        return halving.rungs if halving else ()

    @override
    def stops(self, key: str, epochs: Sequence[EpochMetrics]) -> bool:
        live = self._live[key]
        halving = self._halvings.get(live.spec.label)
        if halving is None:
            return False
        number = self._first_number(key, live)
        return any([halving.stops(number, epoch) for epoch in epochs])

    def _first_number(self, key: str, live: _Live) -> int:
        """The number under which a trial was first begun: by it, the rungs know it."""
        return self._anew[key].first_number if key in self._anew else live.trial.number

    @override
    def _begin_anew(self, unfinished: Unfinished) -> tuple[str, TrialSpec]:
        if halving := self._halvings.get(unfinished.spec.label):
            halving.forget(unfinished.first_number)
            # It was let go on after each but the last; who came after it does not change that.
            halving.remember(unfinished.first_number, unfinished.epochs[:-1])
        return super()._begin_anew(unfinished)

    @override
    def go_on(self, key: str, epochs: Sequence[EpochMetrics]) -> bool:
        super().go_on(key, epochs)
        unfinished, live = self._anew[key], self._live[key]
        halving, last = self._halvings.get(live.spec.label), epochs[-1]
        if halving is None or last.epoch < unfinished.epochs[-1].epoch:
            return False  # it trained beyond its checkpoint, so it was not stopped there
        return halving.stops(unfinished.first_number, last)

    @override
    def _ask_new(self) -> tuple[str, TrialSpec] | None:
        label = min(self._asked, key=self._asked.__getitem__)
        number = self._asked[label]
        if number >= self._config.search.trials or time.monotonic() >= self._ends_at:
            return None
        self._asked[label] += 1
        space, study = self._spaces[label], self._studies[label]
        # Of its own seed for every trial: what is drawn depends on the trials before it, and not on
        # whether the study was resumed between them.
        seed = derive_seed(self._config.seed, f"sampler/{label}", number)
        drawing = Drawing(study, self._config.search.sampler, seed, number)
        for _ in range(_MOST_DRAWS):
            values = drawing.draw(space.free)
            trial = OpenTrial.begin(study, values, space.free)
            try:
                spec = space.trial(self._config, values, phase="search", number=number)
            except BudgetError as error:
                # Between two points at which the plan tried the budget, a tight tolerance can
                # still be missed. Another draw takes its place: no row loses a trial to it.
                trial.fail(str(error))
                continue
            return self._start(trial, spec)
        msg = f"`{label}`: {_MOST_DRAWS} draws in a row met no width at the budget"
        raise RnnsearchError(f"{msg}; widen `budget.tolerance`")


class ConfirmationQueue(TrialQueue):
    """The confirmation: each row's best configurations, each on the same fresh seeds."""

    phase: ClassVar[Phase] = "confirmation"

    def __init__(
        self,
        store: StudyStore,
        config: StudyConfig,
        spaces: Sequence[SearchSpace],
        direction: Direction,
        listeners: Sequence[Listener],
    ) -> None:
        super().__init__(store, config, spaces, direction, listeners)
        records = list(store.records())
        best = {space.label: self._best_of(space, records, direction) for space in spaces}
        # A seed that a configuration was confirmed on is not trained again, whatever its rank was;
        # one of a configuration that is no longer among the best stays as it is.
        ranks = {
            (label, configuration_of(values)): rank
            for label, configurations in best.items()
            for rank, values in enumerate(configurations)
        }
        self._unfinished = [
            replace(one, spec=replace(one.spec, rank=ranks[one.spec.label, one.spec.configuration]))
            for one in self._unfinished
            if (one.spec.label, one.spec.configuration) in ranks
        ]
        begun = {
            (spec.label, spec.configuration, spec.seed)
            for spec in (
                *(r.spec for r in records if r.phase == "confirmation" and r.spec),
                *(one.spec for one in self._unfinished),
            )
        }
        # Seeds in the outer loop: if time runs out, all rows have as many as each other.
        wanted = [
            (space, rank, values, number)
            for number in range(config.confirmation.seeds)
            for space in spaces
            for rank, values in enumerate(best[space.label])
        ]
        self._waiting = [
            (space, rank, values, number)
            for space, rank, values, number in wanted
            if (
                space.label,
                configuration_of(values),
                derive_seed(config.seed, "confirmation", number),
            )
            not in begun
        ]
        self.total = len(wanted)
        self.done = self.total - len(self._waiting) - len(self._unfinished)
        self._waiting.reverse()

    def _best_of(
        self, space: SearchSpace, records: Iterable[TrialRecord], direction: Direction
    ) -> list[dict[str, Value]]:
        """A row's configurations to confirm; without a search there is one, the fixed one."""
        if self._config.search.trials == 0:
            return [{}]
        found = best_first((r for r in records if r.label == space.label), direction)
        return found[: self._config.confirmation.best]

    @override
    def _known_beforehand(self) -> int:
        return len(self._waiting)

    @override
    def _ask_like(self, key: str, spec: TrialSpec, workers: int) -> list[tuple[str, TrialSpec]]:
        # The same share for every worker, so that none is left with a seed to run alone.
        others = math.ceil(self._config.confirmation.seeds / workers) - 1
        if key in self._anew:  # those that were interrupted together train together again
            if self._anew[key].workers_lost:
                return []
            alike = [
                one
                for one in self._unfinished
                if (one.spec.label, one.spec.rank) == (spec.label, spec.rank)
                and not (one.workers_lost or one.checkpoint)
            ][:others]
            self._unfinished = [one for one in self._unfinished if one not in alike]
            return [self._begin_anew(one) for one in alike]
        waiting = [w for w in self._waiting if (w[0].label, w[1]) == (spec.label, spec.rank)]
        found = []
        for one in waiting[::-1][:others]:
            self._waiting.remove(one)
            found.append(self._begin(one))
        return found

    @override
    def _ask_new(self) -> tuple[str, TrialSpec] | None:
        return self._begin(self._waiting.pop()) if self._waiting else None

    def _begin(
        self, waiting: tuple[SearchSpace, int, dict[str, Value], int]
    ) -> tuple[str, TrialSpec]:
        space, rank, values, number = waiting
        study = self._studies[space.label]
        trial = OpenTrial.begin(study, values, {})
        trial.note(rank=rank)
        spec = space.trial(self._config, values, phase="confirmation", number=number, rank=rank)
        return self._start(trial, spec)
