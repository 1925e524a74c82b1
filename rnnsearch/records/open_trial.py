"""A running trial, as Optuna's database keeps it while it runs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import TrialState

from rnnsearch.records.drawing import suggest
from rnnsearch.records.trials_file import Unfinished
from rnnsearch.spec.parameters import Parameter, Value
from rnnsearch.spec.trial import EpochMetrics

# A trial's epochs are written whole: at most so often, and for at most this share of the time.
_BETWEEN_WRITES_S = 4.0
_WRITING_SHARE = 0.02


class OpenTrial:
    """A running trial in the store; every method writes at once, except `report`, as it says.

    Args:
        study: the Optuna study it belongs to.
        trial: Optuna's handle.
    """

    def __init__(self, study: optuna.Study, trial: optuna.Trial) -> None:
        self._study, self._trial = study, trial
        self._epochs: list[EpochMetrics] = []
        self._write_epochs_at = 0.0
        self.number = trial.number

    def suggest(self, parameters: Mapping[str, Parameter]) -> dict[str, Value]:
        """Let Optuna draw a value for each parameter, or take what was drawn."""
        return suggest(self._trial, parameters)

    def note(self, **attributes: Any) -> None:
        """Keep facts about the trial."""
        for name, value in attributes.items():
            self._trial.set_user_attr(name, value)

    def report(self, epochs: Sequence[EpochMetrics], *, at_once: bool = False) -> None:
        """Keep what epochs measured.

        The last of them is written at once, as Optuna's intermediate value; the list of all epochs
        every few seconds, when the trial ends, and where it is asked for at once.
        """
        self._epochs += epochs
        last = epochs[-1]
        if last.validation_metric == last.validation_metric:
            self._trial.report(last.validation_metric, last.epoch)
        if at_once or time.monotonic() >= self._write_epochs_at:
            self._write_epochs()

    def _write_epochs(self) -> None:
        began = time.monotonic()
        self.note(epochs=json.dumps([vars(epoch) for epoch in self._epochs]))
        took = time.monotonic() - began
        self._write_epochs_at = began + max(_BETWEEN_WRITES_S, took / _WRITING_SHARE)

    @classmethod
    def begin(
        cls, study: optuna.Study, values: Mapping[str, Value], free: Mapping[str, Parameter]
    ) -> OpenTrial:
        """Begin a trial with values that were drawn for it.

        Args:
            study: the Optuna study that it is to belong to.
            values: by name.
            free: what Optuna is to keep them as.
        """
        study.enqueue_trial({name: values[name] for name in free if name in values})
        trial = cls(study, study.ask())
        trial.suggest(free)
        trial.note(values=dict(values))
        return trial

    @classmethod
    def anew(
        cls, study: optuna.Study, unfinished: Unfinished, free: Mapping[str, Parameter]
    ) -> OpenTrial:
        """Begin an interrupted trial again, with what was drawn for it."""
        trial = cls.begin(study, unfinished.values, free)
        trial.note(rank=unfinished.spec.rank, anew=unfinished.key)
        return trial

    def go_on(self, epochs: Sequence[EpochMetrics]) -> None:
        """Take over what an interrupted trial had measured."""
        self._epochs = list(epochs)
        self._write_epochs()

    def interrupt(self, reason: str) -> None:
        """Finish as interrupted: it is run again when the study is resumed."""
        self.note(interrupted=True)
        self.fail(reason)

    def complete(self, value: float) -> None:
        """Finish with the final value."""
        self._finish(TrialState.COMPLETE, value)

    def prune(self, reason: str) -> None:
        """Finish as stopped early."""
        self.note(reason=reason)
        self._finish(TrialState.PRUNED)

    def fail(self, reason: str) -> None:
        """Finish as failed."""
        self.note(reason=reason)
        self._finish(TrialState.FAIL)

    def _finish(self, state: TrialState, value: float | None = None) -> None:
        self._write_epochs()
        # Optuna itself takes the last intermediate value as the value of a pruned trial.
        self._study.tell(self._trial, value, state=state)
