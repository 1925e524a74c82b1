"""The confirmation: each row's best configurations, trained again on fresh seeds and tested."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

from typing_extensions import override

from rnnsearch.compare.configurations import best_first
from rnnsearch.config.schema import StudyConfig
from rnnsearch.records.open_trial import OpenTrial
from rnnsearch.records.store import StudyStore
from rnnsearch.search.queue import Listener, TrialQueue
from rnnsearch.search.row import SearchRow
from rnnsearch.spec.parameters import Value
from rnnsearch.spec.seed import derive_seed
from rnnsearch.spec.shape import Direction
from rnnsearch.spec.trial import (
    Phase,
    TrialRecord,
    TrialSpec,
    configuration_of,
)


class ConfirmationQueue(TrialQueue):
    """The confirmation: each row's best configurations, each on the same fresh seeds."""

    phase: ClassVar[Phase] = "confirmation"

    def __init__(
        self,
        store: StudyStore,
        config: StudyConfig,
        rows: Sequence[SearchRow],
        direction: Direction,
        listeners: Sequence[Listener],
    ) -> None:
        super().__init__(store, config, rows, direction, listeners)
        records = list(store.records())
        best = {row.label: self._best_of(row, records, direction) for row in rows}
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
            (row, rank, values, number)
            for number in range(config.confirmation.seeds)
            for row in rows
            for rank, values in enumerate(best[row.label])
        ]
        self._waiting = [
            (row, rank, values, number)
            for row, rank, values, number in wanted
            if (
                row.label,
                configuration_of(values),
                derive_seed(config.seed, "confirmation", number),
            )
            not in begun
        ]
        self.total = len(wanted)
        self.done = self.total - len(self._waiting) - len(self._unfinished)
        self._waiting.reverse()

    def _best_of(
        self, row: SearchRow, records: Iterable[TrialRecord], direction: Direction
    ) -> list[dict[str, Value]]:
        """A row's configurations to confirm; without a search there is one, the fixed one."""
        if self._config.search.trials == 0:
            return [{}]
        found = best_first((r for r in records if r.label == row.label), direction)
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
        self, waiting: tuple[SearchRow, int, dict[str, Value], int]
    ) -> tuple[str, TrialSpec]:
        row, rank, values, number = waiting
        study = self._studies[row.label]
        trial = OpenTrial.begin(study, values, {})
        trial.note(rank=rank)
        spec = row.trial(self._config, values, phase="confirmation", number=number, rank=rank)
        return self._start(trial, spec)
