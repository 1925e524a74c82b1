"""The phase that a running study is in: which trials a worker gets next, and from which queue.

The parts of Ray Tune that look at a study (searcher, scheduler, callback) share one stage. It knows
no Ray itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from rnnsearch.plugin.task import Examples
from rnnsearch.records.store import STOP_FILE
from rnnsearch.search.places import NOTHING_SEEN
from rnnsearch.search.queue import TrialQueue
from rnnsearch.spec.trial import TrialSpec
from rnnsearch.training.worker import News


@dataclass(frozen=True)
class RunningPhase:
    """A queue of trials and the data that they may see.

    Attributes:
        queue: the trials.
        splits: the data, by name; each is shared with the workers once.
    """

    queue: TrialQueue
    splits: Mapping[str, Examples]


class Stage:
    """Where a study is among its phases.

    Args:
        phases: each is made when all trials of the one before have ended.
        folder: the study's, where a file may ask it to stop.
        share: puts data where workers find it, and returns a reference to it.

    Attributes:
        phase: the current one; None before the first.
        number: how many phases have begun.
        stopped: whether the study was asked to stop.
        finished: whether the last trial has been handed out and has ended.
        seen: the most that a worker has needed so far.
        error: what went wrong while the next trials were sought.
    """

    def __init__(
        self, phases: Iterator[RunningPhase], folder: Path, share: Callable[[Examples], Any]
    ) -> None:
        self._phases, self._stop_file, self._share = phases, folder / STOP_FILE, share
        self._shared: dict[str, Any] = {}
        self.phase: RunningPhase | None = None
        self.number = 0
        self.stopped = self.finished = False
        self.seen = NOTHING_SEEN
        self.error: Exception | None = None

    @property
    def splits(self) -> dict[str, Any]:
        """References to the data of the phase, by name."""
        return self._shared

    @property
    def queue(self) -> TrialQueue:
        """The queue of the current phase."""
        assert self.phase is not None
        return self.phase.queue

    def ask_together(self, workers: int) -> list[tuple[str, TrialSpec]] | None:
        """Trials for one worker, none if others have to end first, None when all have ended."""
        if self._stop_file.exists():
            self.stopped = True
            return [] if self.phase and self.phase.queue.running else None
        while True:
            if self.phase is not None:
                if together := self.phase.queue.ask_together(workers):
                    return together
                if self.phase.queue.running:
                    return []
            if (following := next(self._phases, None)) is None:
                return None
            self.phase, self.number = following, self.number + 1
            known, splits = self._shared, following.splits
            self._shared = {n: known[n] if n in known else self._share(splits[n]) for n in splits}

    def release(self) -> None:
        """Drop the references to the shared data."""
        self._shared = {}

    def is_running(self, key: str) -> bool:
        """Whether a trial has been handed out and has not ended."""
        return self.phase is not None and self.phase.queue.is_running(key)

    def stops(self, news: News) -> bool:
        """Whether the trial that a worker reports on is to stop early."""
        if self.phase is None or not self.is_running(news.key):
            return False
        return self.phase.queue.stops(news.key, news.epochs)

    def interrupt_all(self, reason: str) -> None:
        """Record that every trial still running was interrupted."""
        if self.phase is not None:
            self.phase.queue.interrupt_all(reason)

    @override
    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles what it is given to disk, and a queue holds an open database.
        return {}
