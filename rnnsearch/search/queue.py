"""The queue of a study's trials: which one is next, and what became of each.

Every trial state is decided here, once, and told from here to Optuna's storage and to the
listeners (MLflow, the terminal), so that they cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from rnnsearch.budget.complexity import measure_complexity
from rnnsearch.config.schema import StudyConfig
from rnnsearch.records.open_trial import OpenTrial
from rnnsearch.records.store import StudyStore
from rnnsearch.records.trials_file import Unfinished
from rnnsearch.search.search_row import SearchRow
from rnnsearch.spec.model import Complexity
from rnnsearch.spec.shape import Direction
from rnnsearch.spec.trial import (
    EpochMetrics,
    Outcome,
    Phase,
    TrialKey,
    TrialSpec,
    TrialState,
)

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

    def decided(self, verdicts: Mapping[str, str], more: int) -> None:
        """A round of confirmations was looked at: what is decided, and how many trials follow."""


@dataclass
class Live:
    trial: OpenTrial
    spec: TrialSpec
    last: EpochMetrics | None = None


class TrialQueue:
    """Hands out trials, equally many for each row, and records what became of them.

    Args:
        store: the study's.
        config: the study.
        rows: its rows.
        direction: `maximize` or `minimize`.
        listeners: who hears of every trial.
    """

    phase: ClassVar[Phase]

    def __init__(
        self,
        store: StudyStore,
        config: StudyConfig,
        rows: Sequence[SearchRow],
        direction: Direction,
        listeners: Sequence[Listener],
    ) -> None:
        self._store, self._config, self._listeners = store, config, listeners
        self._rows = {row.label: row for row in rows}
        self._studies = {
            label: store.optuna_study(self.phase, label, direction) for label in self._rows
        }
        self._live: dict[str, Live] = {}
        self._handed_back: list[str] = []
        self._unfinished = [
            one for label in self._rows for one in store.unfinished(self.phase, label)
        ]
        self._anew: dict[str, Unfinished] = {}
        self.done = 0  # trials that had ended when the study was resumed
        self.total = 0

    def ask(self) -> tuple[str, TrialSpec] | None:
        """Take the next trial, or None when none is left."""
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
        if again:  # it may continue from a checkpoint, or be the one that killed its worker
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
        return self._rows[spec.label].epoch_seconds * spec.training.epochs

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
        complexity = measure_complexity(self._rows[spec.label].space.architecture, spec.model)
        trial.note(complexity=complexity.__dict__, spec=spec.to_json())
        self._live[key] = Live(trial, spec)
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

        The first, which may be to blame, and those that had trained beside it start again where
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
        """Record that every trial still running was interrupted, and may be run again."""
        for key in list(self._live):
            self._interrupt(key, reason)

    def _interrupt(self, key: str, reason: str) -> None:
        live = self._live.pop(key)
        live.trial.interrupt(reason)
        self._tell(key, live.spec, "FAIL", reason, None)

    def _begin_anew(self, unfinished: Unfinished) -> tuple[str, TrialSpec]:
        """Begin a trial again that was interrupted: the same trial."""
        label = unfinished.spec.label
        free = self._rows[label].space.free if self.phase == "search" else {}
        trial = OpenTrial.anew(self._studies[label], unfinished, free)
        self._anew[str(TrialKey(self.phase, label, trial.number))] = unfinished
        return self._start(trial, unfinished.spec)

    def unfinished(self, key: str) -> Unfinished | None:
        """The interrupted trial that this one runs again."""
        return self._anew.get(key)

    def go_on(self, key: str, epochs: Sequence[EpochMetrics]) -> bool:
        """Record what a trial had measured up to the checkpoint from which it continues.

        Returns:
            whether it is to stop there, which had been decided but not recorded.
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
