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
    trials_s = plain.trials_seconds * trials / plain.trials
    start_s = plain.seconds - plain.trials_seconds
    search = ours.search

    def row(
        name: str, whole: float, within: float, engine: str, other: float | None
    ) -> dict[str, Value]:
        return {
            "variant": name,
            "engine": engine,
            "trials": trials,
            "whole s": whole,
            "of it trials s": within,
            "trials/min": 60 * trials / whole,
            "trials/min without start-up": 60 * trials / within,
            "times plain": (start_s + trials_s) / whole,
            "times plain without start-up": trials_s / within,
            "not training": other,
        }

    share = 1 - search.training / (search.seconds * search.workers)
    rows = [
        row("rnnsearch", ours.seconds, search.seconds, ours.engine, share),
        row("plain Optuna", start_s + trials_s, trials_s, "eager", None),
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
                "`whole` is from the command to the leaderboard: of rnnsearch also imports, Ray, "
                "MLflow, building the engine in an empty home, the confirmation and the plots; of "
                "plain Optuna imports and reading the data.",
                "`not training` is the share of the workers' time in the search that went into "
                "anything else than training and validation.",
            ],
        )
    ]
