"""Runs a whole study as a user does, by the command line and in a home of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import yaml

from benchmarks.fresh_process import REPOSITORY, environment

NAME = "benchmark"
WORKERS = 2
LEARNING_RATES = {"low": 1e-3, "high": 2e-2, "log": True}


@dataclass(frozen=True)
class Phase:
    """A phase of a study, from its ledger.

    Attributes:
        seconds: wall time, from asking for workers to the last trial's end.
        start: of it, until the first trial began to train.
        workers: trials at a time.
        training: seconds of training and validation of all trials together.
        trials: trials that ran to their end.
    """

    seconds: float
    start: float
    workers: int
    training: float
    trials: int

    @property
    def other_share(self) -> float:
        """Share of the workers' time that went into anything else than training."""
        return 1 - self.training / (self.seconds * self.workers)

    @property
    def other_per_trial(self) -> float:
        """Seconds of the workers for each trial, from the first one on, beside training."""
        return ((self.seconds - self.start) * self.workers - self.training) / self.trials


@dataclass(frozen=True)
class StudyRun:
    """What became of a study.

    Attributes:
        seconds: wall time of the command, from nothing to the leaderboard.
        search: the search.
        confirmation: the confirmation.
        specs: what its trials were asked to do, as `TrialSpec` writes it.
        engine: what trained them.
    """

    seconds: float
    search: Phase
    confirmation: Phase
    specs: list[dict[str, Any]]
    engine: str


def run_study(trials: int, epochs: int, *, seeds: int = 1, **changes: Any) -> StudyRun:
    """Run a study of SM-RNN on the 5,000 digits that come with the packages.

    Args:
        trials: trials of the search.
        epochs: of each trial.
        seeds: of the confirmation.
        changes: other settings of the study file.
    """
    content = {
        "schema_version": 1,
        "name": NAME,
        "seed": 1,
        "task": {"name": "spatial_mnist", "options": {"pixels": "binary"}},
        # One size for all trials, so that all take the same time.
        "architectures": [{"name": "sm_rnn", "options": {"mlp_ratio": 1.3333}}],
        "budget": {"parameters": 3000, "tolerance": "3%"},
        "training": {"epochs": epochs, "batch_size": 32, "learning_rate": LEARNING_RATES},
        "search": {"trials": trials, "sampler": "random", "scheduler": "none"},
        "confirmation": {"seeds": seeds},
        "resources": {"workers": WORKERS},
    }
    with tempfile.TemporaryDirectory() as folder:
        home, file = Path(folder, "home"), Path(folder, "study.yaml")
        file.write_text(yaml.safe_dump({**content, **changes}, sort_keys=False), encoding="utf-8")
        began = time.perf_counter()
        _rnnsearch(home, "study", "start", "--quiet", str(file))
        seconds = time.perf_counter() - began
        info = json.loads(_rnnsearch(home, "study", "show", NAME, "--json"))
        return _read(home / "studies" / NAME, seconds, info)


def _read(folder: Path, seconds: float, info: Mapping[str, Any]) -> StudyRun:
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'trials.db'}")
    found = {
        phase: optuna.load_study(study_name=f"{phase}/sm_rnn", storage=storage).trials
        for phase in ("search", "confirmation")
    }
    storage.engine.dispose()
    search, confirmation = (
        _phase(trials, info["phases"][phase]) for phase, trials in found.items()
    )
    specs = [json.loads(t.user_attrs["spec"]) for t in found["search"]]
    return StudyRun(seconds, search, confirmation, specs, info["engines"]["sm_rnn"]["name"])


def _phase(found: Sequence[optuna.trial.FrozenTrial], known: Mapping[str, float]) -> Phase:
    training = [json.loads(t.user_attrs["epochs"])[-1]["seconds"] for t in found]
    # The first worker to train was given its trial when it was ready: the rest is the start.
    end = max(t.datetime_complete for t in found if t.datetime_complete)
    begun = min(
        (t.datetime_complete - timedelta(seconds=own))
        for t, own in zip(found, training, strict=True)
        if t.datetime_complete
    )
    start = max(0.0, known["seconds"] - (end - begun).total_seconds())
    return Phase(known["seconds"], start, int(known["workers"]), sum(training), len(found))


def _rnnsearch(home: Path, *arguments: str) -> str:
    """Run a command of rnnsearch to its end; what it says on stdout."""
    return subprocess.run(
        [sys.executable, "-m", "rnnsearch", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env=environment(home),
    ).stdout
