"""The same trials without rnnsearch's engines and machinery: Optuna around an eager loop.

What a user would write who has the cell and no more: worker processes on one SQLite storage, one
thread each, nothing tracked.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from benchmarks.fresh_process import REPOSITORY, environment

_STUDY = "plain"
_RATE = "learning_rate"


@dataclass(frozen=True)
class PlainRun:
    """What the trials took.

    Attributes:
        seconds: wall time from nothing to the last trial's end.
        trials_seconds: of it, from the first trial's start to the last one's end.
        trials: how many there were.
    """

    seconds: float
    trials_seconds: float
    trials: int


def run_trials(specs: list[dict[str, Any]], low: float, high: float, workers: int) -> PlainRun:
    """Run trials to their end.

    Args:
        specs: what a study asked of its trials; their learning rates are used again.
        low: lowest learning rate of the study.
        high: highest.
        workers: processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        storage = f"sqlite:///{Path(folder, 'trials.db')}"
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        began = time.perf_counter()
        study = optuna.create_study(storage=storage, study_name=_STUDY, direction="maximize")
        for spec in specs:
            study.enqueue_trial({_RATE: spec["training"][_RATE]})
        settings = {"storage": storage, "spec": specs[0], "low": low, "high": high}
        shares = [len(specs[i::workers]) for i in range(workers)]
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", __name__, json.dumps({**settings, "trials": share})],
                cwd=REPOSITORY,
                env=environment(Path(folder, "home")),
            )
            for share in shares
        ]
        codes = [process.wait() for process in processes]
        seconds = time.perf_counter() - began
        if any(codes):
            raise RuntimeError(f"a worker of plain Optuna ended with {max(codes)}")
        done = optuna.load_study(study_name=_STUDY, storage=storage).trials
        first = min(trial.datetime_start for trial in done if trial.datetime_start)
        last = max(trial.datetime_complete for trial in done if trial.datetime_complete)
        return PlainRun(seconds, (last - first).total_seconds(), len(done))


def work(storage: str, spec: dict[str, Any], low: float, high: float, trials: int) -> None:
    """Run a worker's share of the trials."""
    import torch
    from torch import nn

    from rnnsearch import build_model, load_registry
    from rnnsearch.spec.trial import TrialSpec

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    registry, wanted = load_registry(), TrialSpec.from_json(json.dumps(spec))
    task = registry.task(wanted.task)(**wanted.task_options)
    source = task.find()

    def resident(split: Any) -> tuple[torch.Tensor, torch.Tensor]:
        examples = task.load(source, split)
        inputs = torch.from_numpy(examples.inputs).float().transpose(0, 1).contiguous()
        return inputs, torch.from_numpy(examples.targets).long()

    (inputs, targets), (held_out, answers) = resident("train"), resident("validation")
    batch_size = wanted.training.batch_size

    def begin(seed: int, rate: float) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        model = build_model(registry.architecture(wanted.model.architecture), wanted.model)
        return model, torch.optim.Adam(model.parameters(), lr=rate, fused=True)

    def update(model: nn.Module, optimizer: torch.optim.Optimizer, index: torch.Tensor) -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[:, index]), targets[index]).backward()
        optimizer.step()

    def objective(trial: optuna.Trial) -> float:
        model, optimizer = begin(trial.number, trial.suggest_float(_RATE, low, high, log=True))
        accuracy = 0.0
        for _ in range(wanted.training.epochs):
            for index in torch.randperm(len(targets)).split(batch_size):
                update(model, optimizer, index)
            with torch.no_grad():
                accuracy = float((model(held_out).argmax(-1) == answers).float().mean())
        return accuracy

    # What torch imports and allocates on first use is start-up, not to be scaled with the trials.
    update(*begin(0, low), torch.arange(batch_size))
    study = optuna.load_study(study_name=_STUDY, storage=storage)
    study.optimize(objective, n_trials=trials)


if __name__ == "__main__":
    work(**json.loads(sys.argv[1]))
