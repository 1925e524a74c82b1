"""The log of a study has one line for every event of its trials."""

from __future__ import annotations

import json
import math
from pathlib import Path

from rnnsearch.records.event_log import EventLog
from rnnsearch.spec.model import Complexity
from rnnsearch.spec.trial import EpochMetrics, Outcome

from ..training.test_worker import spec


def test_every_event_is_a_line_of_json_and_a_second_driver_goes_on_below(tmp_path: Path) -> None:
    trial, key = spec("eager"), "search/lstm/0"
    epoch = EpochMetrics(3, 1.0, 0.5, 1.0, math.nan, 1.0, 1.0, 9, 2.0)
    log = EventLog(tmp_path)
    log.phase("search", 1)
    log.trial_started(key, trial, Complexity(1, 1, 0, 1, 1.0))
    log.epochs_finished(key, trial, [epoch])
    EventLog(tmp_path).trial_finished(key, trial, "COMPLETE", "", Outcome("eager"))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    events = ["phase", "trial_started", "epochs", "trial_finished"]
    assert [line["event"] for line in lines] == events
    assert all(line["time"][:2] == "20" for line in lines)
    assert [line.get("trial") for line in lines] == [None, key, key, key]
    assert (lines[2]["epoch"], lines[2]["of"]) == (3, trial.training.epochs)
    assert (lines[2]["train_loss"], lines[2]["validation_metric"]) == (1.0, None)
    assert (lines[3]["state"], lines[3]["engine"]) == ("COMPLETE", "eager")
