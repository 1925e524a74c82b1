"""What a trial costs beside its training, for trials of several lengths."""

from __future__ import annotations

from benchmarks.study_run import WORKERS, run_study
from benchmarks.table import Table, Value

# Seconds of training of a trial, and trials; as many for each worker.
_TRIALS = {0.5: 40, 5.0: 8, 20.0: 4}


def run(quick: bool = False) -> list[Table]:
    """Run a small study for each length, the epochs chosen to take about that long."""
    pilot_epochs = 2 if quick else 20
    pilot = run_study(4, pilot_epochs).search
    epoch_s = pilot.training / pilot.trials / pilot_epochs
    rows: list[dict[str, Value]] = []
    for wanted, trials in ((0.2, 4),) if quick else _TRIALS.items():
        epochs = max(1, round(wanted / epoch_s))
        found = run_study(trials, epochs)
        search = found.search
        rows.append(
            {
                "wanted s": wanted,
                "epochs": epochs,
                "trials": trials,
                "training s/trial": search.training / trials,
                "other s/trial": search.other,
                "other share": search.other * trials / (search.seconds * search.workers),
                "search s": search.seconds,
                "start-up, confirmation and end s": found.seconds - search.seconds,
                "engine": found.engine,
            }
        )
    return [
        Table(
            f"What a trial costs beside its training, {WORKERS} workers",
            rows,
            [
                "`other` is the time of the workers between the first trial's start and the last "
                "one's end that was not training or validation: starting a process, handing over "
                "trials, recording them, and waiting at the end for the others.",
                "Each row is one study; wall time.",
            ],
        )
    ]
