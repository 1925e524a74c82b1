"""Trial records of invented studies, and their comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rnnsearch.compare.comparison import Comparison, compare
from rnnsearch.compare.leaderboard import Row
from rnnsearch.spec.model import Complexity, ModelSpec
from rnnsearch.spec.shape import DataSource, SequenceShape
from rnnsearch.spec.trial import (
    EpochMetrics,
    Phase,
    TrainingConfig,
    TrialRecord,
    TrialSpec,
    TrialState,
)

SOURCE = DataSource(
    dataset="MNIST",
    origin="cache",
    location="/data/mnist.npz",
    sha256="0f" * 32,
    sizes={"train": 55_000, "validation": 5_000, "test": 10_000},
)
GOOD = [0.961, 0.965, 0.963, 0.966, 0.962, 0.964, 0.967, 0.963]
POOR = [0.770, 0.761, 0.768, 0.764, 0.772, 0.767, 0.765, 0.769]
MIDDLING = [0.960, 0.966, 0.961, 0.965, 0.963, 0.962, 0.966, 0.964]


def epoch(number: int, *, step_ms: float = 4.0, updates: int = 100) -> EpochMetrics:
    return EpochMetrics(
        epoch=number,
        train_loss=0.2,
        train_metric=0.9,
        validation_loss=math.nan,
        validation_metric=math.nan,
        gradient_norm=1.0,
        step_ms=step_ms,
        updates=number * updates,
        seconds=number * 2.0,
    )


def record(
    label: str = "gru",
    seed: int = 1,
    metric: float | None = None,
    *,
    phase: Phase = "confirmation",
    state: TrialState = "COMPLETE",
    reason: str = "",
    number: int = 0,
    rank: int = 0,
    parameters: int = 3200,
    matched: bool = True,
    epochs: Sequence[EpochMetrics] | None = None,
    architecture: str = "",
) -> TrialRecord:
    shape = SequenceShape(input_size=28, output_size=10, length=28, readout="last_step")
    model = ModelSpec(
        architecture or label,
        shape,
        hidden_size=20,
        last_hidden_size=18,
        num_layers=2,
        options={"slope": 0.25, "clamp": "soft", "tied": True},
    )
    spec = TrialSpec(
        phase=phase,
        model=model,
        training=TrainingConfig(epochs=2, batch_size=20, learning_rate=1e-3, gradient_clip=1.0),
        seed=seed,
        task="spatial_mnist",
        task_options={},
        parameters=parameters,
        residual=parameters / 3200 - 1,
        matched=matched,
        rank=rank,
        label=label,
    )
    return TrialRecord(
        phase=phase,
        label=label,
        number=number,
        spec=spec,
        state=state,
        reason=reason,
        epochs=tuple([epoch(1), epoch(2)] if epochs is None else epochs),
        test_metric=metric,
        complexity=Complexity(parameters, parameters - 30, 7, 38, 6400.0),
        engine="eager",
    )


def confirmed(label: str, metrics: Sequence[float], **fields: object) -> list[TrialRecord]:
    return [
        record(label, seed, metric, number=seed, **fields)  # type: ignore[arg-type]
        for seed, metric in enumerate(metrics, 1)
    ]


def searched(label: str, trials: int, **fields: object) -> list[TrialRecord]:
    return [
        record(label, 0, phase="search", number=number, **fields)  # type: ignore[arg-type]
        for number in range(trials)
    ]


def comparison(records: Sequence[TrialRecord], **fields: object) -> Comparison:
    arguments: dict[str, object] = {
        "metric": "accuracy",
        "direction": "maximize",
        "no_skill": 0.1135,
        "source": SOURCE,
        "budget_parameters": 3200,
        "study": "mnist",
    }
    return compare(records, **{**arguments, **fields})  # type: ignore[arg-type]


def names(rows: Sequence[Row]) -> list[str]:
    return [row.name for row in rows]
