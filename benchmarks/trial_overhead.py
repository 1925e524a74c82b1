"""What a trial costs beside its training, for trials of several lengths."""

from __future__ import annotations

from benchmarks.study_run import WORKERS, run_study
from benchmarks.table import Table, Value

# Seconds of training of a trial, and trials; as many for each worker.
_TRIALS = {0.5: 40, 5.0: 8, 20.0: 4}


def run(quick: bool = False) -> list[Table]:
    """Run a small study for each length, the epochs chosen to take about that long."""
    pilot_epochs = 5 if quick else 20
    pilot = run_study(4, pilot_epochs, engine="program").search
    epoch_s = pilot.training / pilot.trials / pilot_epochs
    rows: list[dict[str, Value]] = []
    for wanted, trials in ((0.5, 4),) if quick else _TRIALS.items():
        epochs = max(1, round(wanted / epoch_s))
        found = run_study(trials, epochs, engine="program")
        search = found.search
        training = search.training / trials
        rows.append(
            {
                "wanted s": wanted,
                "epochs": epochs,
                "trials": trials,
                "training s/trial": training,
                "other s/trial": search.other_per_trial,
                "other / training": search.other_per_trial / training,
                "workers' start s": search.start,
                "search s": search.seconds,
                "rest of the study s": found.seconds - search.seconds,
                "engine": found.engine,
            }
        )
    return [
        Table(
            f"What a trial costs beside its training, {WORKERS} workers",
            rows,
            [
                "`other`: what the workers did between the beginning of the first trial and the "
                "end of the last that was not training or validation: taking over trials, "
                "setting them up, recording them, and waiting at the end for each other.",
                "`workers' start`: from asking for workers until the first trial trains; once a "
                "phase. `rest of the study`: imports, Ray, MLflow, building and verifying the "
                "engine in an empty home, the confirmation and the plots.",
                "Each row is one study; wall time.",
            ],
        )
    ]
