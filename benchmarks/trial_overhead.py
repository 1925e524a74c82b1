"""What a trial costs beside its training, for trials of several lengths."""

from __future__ import annotations

import os

from benchmarks.study_run import WORKERS, run_study
from benchmarks.table import Table, Value

# Seconds of training of a trial, trials of the search, and seeds of the confirmation.
_TRIALS = {0.5: (40, 8), 5.0: (8, 4), 20.0: (8, 4)}


def run(quick: bool = False) -> list[Table]:
    """Run a small study for each length, the epochs chosen to take about that long."""
    pilot_epochs = 5 if quick else 20
    pilot = run_study(4, pilot_epochs, engine="program").search
    epoch_s = pilot.training / pilot.trials / pilot_epochs
    rows: list[dict[str, Value]] = []
    for wanted, (trials, seeds) in {0.5: (4, 2)}.items() if quick else _TRIALS.items():
        epochs = max(1, round(wanted / epoch_s))
        before = os.getloadavg()[0]
        found = run_study(trials, epochs, seeds=seeds, engine="program")
        phases = (found.search, found.confirmation)
        training = sum(phase.training for phase in phases)
        whole = sum(phase.seconds * phase.workers for phase in phases)
        rows.append(
            {
                "wanted s": wanted,
                "epochs": epochs,
                "trials": f"{trials} + {seeds}",
                "training s/trial": training / (trials + seeds),
                "search, other %": 100 * found.search.other_share,
                "confirmation, other %": 100 * found.confirmation.other_share,
                "both, other %": 100 * (1 - training / whole),
                "other s/trial": found.search.other_per_trial,
                "start s": found.search.start,
                "rest of the study s": found.seconds - sum(phase.seconds for phase in phases),
                "engine": found.engine,
                "load": f"{before:.1f} to {os.getloadavg()[0]:.1f}",
            }
        )
    return [
        Table(
            f"What a trial costs beside its training, {WORKERS} workers",
            rows,
            [
                "`other %`: share of the workers' time in a phase that went into anything else "
                "than training and validation, as the study's ledger shows it: starting the "
                "workers (in the search alone), setting trials up, recording them, and waiting "
                "at the end of a phase for each other.",
                "`other s/trial`: the same in the search, from its first trial on.",
                "`start`: of the search, until its first trial trained. `rest of the study`: "
                "imports, Ray, MLflow, building and verifying the engine in an empty home, and the "
                "plots. `load`: average of the machine over a minute, before and after.",
                "Each row is one study; wall time.",
            ],
        )
    ]
