"""The trials of a search: Optuna draws them, and the rows take turns."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from typing import ClassVar

from typing_extensions import override

from rnnsearch.config.schema import StudyConfig
from rnnsearch.errors import BudgetError, RnnsearchError
from rnnsearch.records.drawing import Drawing, is_drawn_blindly
from rnnsearch.records.open_trial import OpenTrial
from rnnsearch.records.store import StudyStore
from rnnsearch.records.trials_file import Unfinished
from rnnsearch.search.halving import Halving
from rnnsearch.search.queue import Listener, Live, TrialQueue
from rnnsearch.search.search_row import SearchRow
from rnnsearch.spec.seed import derive_seed
from rnnsearch.spec.shape import Direction
from rnnsearch.spec.trial import (
    EpochMetrics,
    Phase,
    TrialSpec,
)

_MOST_DRAWS = 100


class SearchQueue(TrialQueue):
    """The search: Optuna draws each row's trials, and the rows take turns."""

    phase: ClassVar[Phase] = "search"

    def __init__(
        self,
        store: StudyStore,
        config: StudyConfig,
        rows: Sequence[SearchRow],
        direction: Direction,
        listeners: Sequence[Listener],
    ) -> None:
        super().__init__(store, config, rows, direction, listeners)
        records = [
            r for r in store.records(interrupted=True) if r.phase == "search" and r.spec is not None
        ]
        done = Counter(r.label for r in records if not r.interrupted)
        again = Counter(one.spec.label for one in self._unfinished)
        self._asked = {label: done[label] + again[label] for label in self._rows}
        self._halvings: dict[str, Halving] = {}
        if config.search.scheduler == "asha":
            # Among the trials of one row at a time: an architecture that learns slowly at first
            # competes with itself, and does not lose its effort to those that start fast.
            self._halvings = {
                row.label: Halving(
                    config.search, config.search.epochs or row.space.epochs, direction
                )
                for row in rows
            }
        for record in records:
            if record.label in self._halvings:
                self._halvings[record.label].remember(record.first_number, record.epochs)
        self.done = done.total()
        self.total = config.search.trials * len(rows)
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

    def _first_number(self, key: str, live: Live) -> int:
        """The number under which a trial was first begun: by it, the rungs know it."""
        return self._anew[key].first_number if key in self._anew else live.trial.number

    @override
    def _begin_anew(self, unfinished: Unfinished) -> tuple[str, TrialSpec]:
        if halving := self._halvings.get(unfinished.spec.label):
            halving.forget(unfinished.first_number)
            # It was allowed to continue after all but the last; later trials do not change that.
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
        row, study = self._rows[label], self._studies[label]
        # Of its own seed for every trial: what is drawn depends on the trials before it, and not on
        # whether the study was resumed between them.
        seed = derive_seed(self._config.seed, f"sampler/{label}", number)
        drawing = Drawing(study, self._config.search.sampler, seed, number)
        for _ in range(_MOST_DRAWS):
            values = drawing.draw(row.space.free)
            trial = OpenTrial.begin(study, values, row.space.free)
            try:
                spec = row.trial(self._config, values, phase="search", number=number)
            except BudgetError as error:
                # Between two points at which the plan tried the budget, a tight tolerance can
                # still be missed. Another draw takes its place: no row loses a trial to it.
                trial.fail(str(error))
                continue
            return self._start(trial, spec)
        msg = f"`{label}`: {_MOST_DRAWS} draws in a row met no width at the budget"
        raise RnnsearchError(f"{msg}; widen `budget.tolerance`")
