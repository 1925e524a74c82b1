"""Successive halving: which trials of a row stop early, by what those before them had measured.

ASHA, as in Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, in the
form in which Ray Tune has it: a trial that reaches a rung stops there if it is worse than the best
`1 / reduction_factor` of those that have reached it before. It is ours, so that what it remembers
is keyed by the trial and not by the process that trains it, and can be read back from the store.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from rnnsearch.config.schema import SearchConfig
from rnnsearch.spec.shape import Direction
from rnnsearch.spec.trial import EpochMetrics


class Halving:
    """The rungs of one row, and what each of its trials had measured at them.

    Args:
        search: which epochs are rungs, and how many trials pass one.
        epochs: epochs of a full trial.
        direction: `maximize` or `minimize`.
    """

    def __init__(self, search: SearchConfig, epochs: int, direction: Direction) -> None:
        self._sign = 1.0 if direction == "maximize" else -1.0
        self._percentile = (1 - 1 / search.reduction_factor) * 100
        self._rungs: dict[int, dict[int, float]] = {}  # by epoch: by trial, larger is better
        rung = search.grace_epochs
        while rung < epochs:
            self._rungs[rung] = {}
            rung *= search.reduction_factor

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs after which a trial may be stopped, ascending."""
        return tuple(self._rungs)

    def stops(self, trial: int, measured: EpochMetrics) -> bool:
        """Whether a trial is to stop after an epoch; remembers what it measured.

        Args:
            trial: the number under which it was first begun.
            measured: the epoch.
        """
        others = self._rungs.get(measured.epoch, {})
        if measured.epoch not in self._rungs or trial in others:  # then it was decided before
            return False
        known = [value for value in others.values() if not math.isnan(value)]
        value = self._sign * measured.validation_metric
        others[trial] = value
        return bool(known) and bool(value < np.percentile(known, self._percentile))

    def remember(self, trial: int, epochs: Iterable[EpochMetrics]) -> None:
        """Let count what a trial measured at the rungs that it passed."""
        for epoch in epochs:
            if epoch.epoch in self._rungs:
                self._rungs[epoch.epoch][trial] = self._sign * epoch.validation_metric

    def forget(self, trial: int) -> None:
        """Let a trial be decided on again: it starts over."""
        for measured in self._rungs.values():
            measured.pop(trial, None)
