"""The log of a study: what happened to its trials, one JSON object a line."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rnnsearch.config.home import private_file
from rnnsearch.config.secrets import hide_all
from rnnsearch.spec.model import Complexity
from rnnsearch.spec.trial import EpochMetrics, Outcome, TrialSpec, TrialState

LOG_FILE = "log.jsonl"


class EventLog:
    """Appends to `log.jsonl` in a study's folder; a listener of its trials and stages.

    Every line has `time` (ISO 8601), `event` (`phase`, `trial_started`, `epochs`,
    `trial_finished`, `decided`) and, for a trial, its key in `trial`. A log that spans several
    drivers is one file.

    Args:
        folder: the study's.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG_FILE

    def stage(self, text: str) -> None:
        """Nothing: it is before the trials."""

    def phase(self, name: str, trials: int) -> None:
        self._write("phase", phase=name, trials=trials)

    def trial_started(self, key: str, spec: TrialSpec, complexity: Complexity) -> None:
        self._write("trial_started", trial=key, seed=spec.seed, parameters=spec.parameters)

    def epochs_finished(self, key: str, spec: TrialSpec, epochs: Sequence[EpochMetrics]) -> None:
        last = epochs[-1]
        self._write(
            "epochs",
            trial=key,
            epoch=last.epoch,
            of=spec.training.epochs,
            train_loss=last.train_loss,
            validation_metric=last.validation_metric,
        )

    def trial_finished(
        self, key: str, spec: TrialSpec, state: TrialState, reason: str, outcome: Outcome | None
    ) -> None:
        engine = outcome.engine if outcome else ""
        self._write("trial_finished", trial=key, state=state, reason=reason, engine=engine)

    def decided(self, verdicts: Mapping[str, str], more: int) -> None:
        self._write("decided", verdicts=dict(verdicts), more=more)

    def _write(self, event: str, **facts: object) -> None:
        # Not a number has no place in JSON.
        facts = {k: None if v != v else v for k, v in facts.items()}
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **facts}
        line = hide_all(line)
        with open(self._path, "a", encoding="utf-8", opener=private_file) as file:
            file.write(json.dumps(line) + "\n")
