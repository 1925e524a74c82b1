"""The confirmation: each row's best configurations, trained again on fresh seeds and tested."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar, TypeAlias

from typing_extensions import override

from rnnsearch.compare.configurations import best_first, settle
from rnnsearch.compare.decision import rounds
from rnnsearch.compare.leaderboard import Terms, group_by_label, rank_records
from rnnsearch.compare.wording import verdict_text
from rnnsearch.config.schema import StudyConfig
from rnnsearch.records.open_trial import OpenTrial
from rnnsearch.records.store import StudyStore
from rnnsearch.search.queue import Listener, TrialQueue
from rnnsearch.search.search_row import SearchRow
from rnnsearch.spec.parameters import Value
from rnnsearch.spec.seed import derive_seed
from rnnsearch.spec.shape import Direction
from rnnsearch.spec.trial import (
    Phase,
    TrialRecord,
    TrialSpec,
    configuration_of,
)

# A row, the rank of one of its configurations, that configuration, and the number of a seed.
_Waiting: TypeAlias = tuple[SearchRow, int, dict[str, Value], int]


class ConfirmationQueue(TrialQueue):
    """The confirmation: each row's best configurations, each on the same fresh seeds.

    It comes in rounds. The first gives every configuration `confirmation.seeds` seeds; it is the
    only one unless the study goes on `until: decided`. Then, whenever all trials of a round have
    ended, those that more seeds are of use to get a third more, at least three (`decision.decide`
    says which, and may be asked after every round). A round depends on the scores of the rounds
    before it and on nothing else, so a resumed study makes the same decisions.

    Args:
        store: the study's.
        config: the study.
        rows: its rows.
        terms: on what terms they are compared.
        listeners: who hears of every trial and every decision.
    """

    phase: ClassVar[Phase] = "confirmation"

    def __init__(
        self,
        store: StudyStore,
        config: StudyConfig,
        rows: Sequence[SearchRow],
        terms: Terms,
        listeners: Sequence[Listener],
    ) -> None:
        super().__init__(store, config, rows, terms.direction, listeners)
        self._terms = terms
        records = list(store.records())
        best = {row.label: self._best_of(row, records, terms.direction) for row in rows}
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
        self._begun = {
            (spec.label, spec.configuration, spec.seed)
            for spec in (
                *(r.spec for r in records if r.phase == "confirmation" and r.spec),
                *(one.spec for one in self._unfinished),
            )
        }
        self._configurations = {
            (row.label, rank): values for row in rows for rank, values in enumerate(best[row.label])
        }
        spent = store.info.seconds_of("confirmation")
        minutes = config.confirmation.minutes
        self._ends_at = math.inf if minutes is None else time.monotonic() + 60 * minutes - spent
        self._seeds = 0  # of every configuration that was in the last round
        self._in_round: list[tuple[str, int]] = list(self._configurations)
        self._waiting: list[_Waiting] = []
        self._rounds = rounds(config.confirmation.seeds, config.confirmation.at_most)
        self._begin_round(next(self._rounds))
        self.done = max(0, self.total - len(self._waiting) - len(self._unfinished))

    def _begin_round(self, seeds: int) -> None:
        """Let the configurations of a round have as many seeds as this."""
        # Seeds in the outer loop: if time runs out, all rows have as many as each other.
        wanted = [
            (self._rows[label], rank, self._configurations[label, rank], number)
            for number in range(self._seeds, seeds)
            for label, rank in self._in_round
        ]
        self._waiting = [one for one in wanted if not self._was_begun(one)]
        self._waiting.reverse()
        self.total += len(wanted)
        self._new_seeds, self._seeds = seeds - self._seeds, seeds

    def _was_begun(self, waiting: _Waiting) -> bool:
        row, _, values, number = waiting
        seed = derive_seed(self._config.seed, "confirmation", number)
        return (row.label, configuration_of(values), seed) in self._begun

    def _next_round(self) -> bool:
        """Look at what is confirmed, and begin another round if that is of use."""
        config = self._config.confirmation
        seeds = next(self._rounds, None) if self._in_round else None
        if seeds is None:
            return False
        records = settle(self._store.records(), self._terms.direction, config.best)
        order = [
            derive_seed(self._config.seed, "confirmation", number) for number in range(self._seeds)
        ]
        # What a later round gave to some rows, before the study was resumed, is not known yet.
        known = set(order)
        by_label = group_by_label(
            r for r in records if r.spec and (r.phase == "search" or r.spec.seed in known)
        )
        ranked, decision = rank_records(by_label, self._terms, order)
        if decision is None:
            return False
        unsettled = set(decision.unsettled) if time.monotonic() < self._ends_at else set()
        useful = {(row.label, row.rank) for row in ranked if row.name in unsettled}
        self._in_round = [one for one in self._in_round if one in useful]
        told = {
            row.name: verdict_text(row.standing, decision.margin, row.decimals)
            for row in ranked
            if row.standing
        }
        self._store.write_info(decided=told)
        if self._in_round:
            self._begin_round(seeds)
        for listener in self._listeners:
            listener.decided(told, len(self._waiting))
        return bool(self._in_round)

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
        others = math.ceil(self._new_seeds / workers) - 1
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
        while not self._waiting:
            if self._live or self._unfinished or not self._next_round():
                return None
        if time.monotonic() >= self._ends_at:
            return None
        return self._begin(self._waiting.pop())

    def _begin(self, waiting: _Waiting) -> tuple[str, TrialSpec]:
        row, rank, values, number = waiting
        study = self._studies[row.label]
        trial = OpenTrial.begin(study, values, {})
        trial.note(rank=rank)
        spec = row.trial(self._config, values, phase="confirmation", number=number, rank=rank)
        return self._start(trial, spec)
