"""A whole study of short trials, against the same trials through plain Optuna."""

from __future__ import annotations

from benchmarks.plain_optuna import run_trials
from benchmarks.study_run import LEARNING_RATES, WORKERS, run_study
from benchmarks.table import Table, Value


def run(quick: bool = False) -> list[Table]:
    """Run the study, and some of its trials plainly."""
    trials, epochs, measured = (4, 1, 2) if quick else (40, 10, 4)
    ours = run_study(trials, epochs)
    low, high = float(LEARNING_RATES["low"]), float(LEARNING_RATES["high"])
    plain = run_trials(ours.specs[:measured], low, high, WORKERS)
    scaled = plain.trials_seconds * trials / plain.trials
    # Variant, engine, whole wall time, and that without start-up.
    variants = (
        ("rnnsearch", ours.engine, ours.seconds, ours.search.seconds - ours.search.start),
        ("plain Optuna", "eager", plain.seconds - plain.trials_seconds + scaled, scaled),
    )
    rows: list[dict[str, Value]] = [
        {
            "variant": name,
            "engine": engine,
            "trials": trials,
            "whole s": whole,
            "without start-up s": trials_s,
            "trials/min, whole": 60 * trials / whole,
            "trials/min without start-up": 60 * trials / trials_s,
            "times plain, whole": variants[1][2] / whole,
            "times plain without start-up": variants[1][3] / trials_s,
        }
        for name, engine, whole, trials_s in variants
    ]
    model, training = ours.specs[0]["model"], ours.specs[0]["training"]
    return [
        Table(
            f"A study of {trials} trials on {WORKERS} workers",
            rows,
            [
                f"SM-RNN({model['hidden_size']}) of {ours.specs[0]['parameters']:,} parameters on "
                f"5,000 digits, row by row; {training['epochs']} epochs, batch "
                f"{training['batch_size']}. Each variant is one run, wall time.",
                f"Of plain Optuna's trials {plain.trials} are measured and scaled to {trials}; its "
                "start-up counts once.",
                "`whole` is from the command to the end: of rnnsearch with imports, Ray, MLflow, "
                "building and verifying the engine in an empty home, the confirmation and the "
                "plots; of plain Optuna with imports and reading the data. Without start-up: from "
                "where the first trial trains to the end of the last.",
                f"Of the workers' time in rnnsearch's search, {100 * ours.search.other_share:.0f} "
                "% went into anything else than training and validation, the workers' own start "
                f"of {ours.search.start:.1f} s among it; from there on it was "
                f"{ours.search.other_per_trial:.2f} s for each trial, beside "
                f"{ours.search.training / trials:.2f} s of training.",
            ],
        )
    ]
