"""What the run of a trial holds in MLflow: its names, its parameters and its metrics."""

from __future__ import annotations

import math
import time
from dataclasses import asdict

import numpy as np
from mlflow.entities import Metric
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from rnnsearch.spec.model import Complexity
from rnnsearch.spec.trial import EpochMetrics, TrialSpec

TAG_LIMIT = 7_000


def group_of(kind: str, spec: TrialSpec) -> str:
    """The key of what the seeds of one configuration share."""
    return f"{kind}/{spec.label}/{spec.configuration[:TAG_LIMIT]}"


def title_of(label: str, rank: int) -> str:
    return f"{label} confirmed" + (f" (no. {rank + 1})" if rank else "")


def counts_of(spec: TrialSpec, complexity: Complexity) -> dict[str, float]:
    return {
        "parameters/total": complexity.trainable,
        "parameters/one_bias": complexity.one_bias,
        "parameters/frozen": complexity.frozen,
        "parameters/residual": spec.residual,
        "state_size": complexity.state_size,
        "flops_per_step": complexity.flops_per_step,
    }


def metrics_of(epoch: EpochMetrics, metric: str, now: int) -> list[Metric]:
    """What an epoch measured, without values that are not numbers."""
    values = {
        "train/loss": epoch.train_loss,
        f"train/{metric}": epoch.train_metric,
        "validation/loss": epoch.validation_loss,
        f"validation/{metric}": epoch.validation_metric,
        "gradient_norm": epoch.gradient_norm,
        "time/step_ms": epoch.step_ms,
        "time/seconds": epoch.seconds,
    }
    return [Metric(k, v, now, epoch.epoch) for k, v in values.items() if math.isfinite(v)]


def signature_of(spec: TrialSpec) -> ModelSignature:
    shape = spec.model.shape
    steps = shape.length or -1
    between = (steps,) if shape.readout == "every_step" else ()
    inputs = TensorSpec(np.dtype(np.float32), (-1, steps, shape.input_size))
    outputs = TensorSpec(np.dtype(np.float32), (-1, *between, shape.output_size))
    return ModelSignature(Schema([inputs]), Schema([outputs]))


def flat_parameters(spec: TrialSpec) -> dict[str, str | int | float | bool]:
    """What is configured in a trial, by flat names; logged once and never changed."""
    model, training = asdict(spec.model), asdict(spec.training)
    del model["shape"]
    options = model.pop("options")
    head_options = model.pop("head_options")
    training["schedule"] = str(spec.training.schedule)
    return {
        **model,
        **{f"options.{k}": v for k, v in options.items()},
        **{f"head.{k}": v for k, v in head_options.items()},
        **training,
    }


def milliseconds() -> int:
    return time.time_ns() // 1_000_000
