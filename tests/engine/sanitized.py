"""Runs models on the compiled engines over odd shapes, in a process with memory checks.

Started by `test_sanitizers.py`, which sets up the sanitizers; reports which engine ran what.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from rnnsearch import Examples, ModelSpec, SequenceShape, load_registry
from rnnsearch.budget.model import build_model
from rnnsearch.engine import build
from rnnsearch.plugin.losses import (
    Classification,
    Measure,
    StandIn,
    binary_cross_entropy,
    mean_squared_error,
)
from rnnsearch.spec.engine import Engine
from rnnsearch.spec.trial import TrainingConfig
from rnnsearch.training.batches import Batches
from rnnsearch.training.engines import prepare

CPU = torch.device("cpu")
# Steps, samples and samples per batch: one of each, an odd batch, an incomplete last batch, more
# steps than are contracted at once.
SIZES = ((1, 1, 1), (1, 5, 3), (7, 1, 4), (5, 19, 17), (33, 23, 8), (65, 9, 9))
CELLS = ("elman", "lstm_projection", "mcrm")
CONFIG = TrainingConfig(epochs=1, batch_size=1, learning_rate=0.01, gradient_clip=0.5)


class Values(StandIn):
    """A regression loss with its score."""

    def __init__(self, loss: Measure) -> None:
        self.loss, self.score = loss, mean_squared_error  # type: ignore[assignment]


def settings() -> Iterator[tuple[SequenceShape, StandIn | Classification, dict[str, object]]]:
    """Shapes of sequences, with an objective and the model's settings besides its cell."""
    for readout in ("last_step", "masked_step", "every_step"):
        shape = SequenceShape(3, 4, None if readout == "masked_step" else 1, readout)
        yield shape, Classification(), {}
        yield replace(shape, length=None), Values(mean_squared_error), {"num_layers": 2}
    varying = SequenceShape(3, 4, None, "every_step")
    yield varying, Values(binary_cross_entropy), {"bidirectional": True}
    yield (
        replace(varying, readout="masked_step"),
        Classification(),
        {
            "bidirectional": True,
            "num_layers": 2,
            "learned_initial_state": True,
            "head": "mlp",
            "head_hidden_size": 3,
        },
    )


def split(
    shape: SequenceShape, objective: object, steps: int, samples: int, dtype: type
) -> Batches:
    """Noise; where allowed, with missing targets and different lengths."""
    source = np.random.default_rng(samples)
    inputs = (9 * source.standard_normal((samples, steps, 3))).astype(dtype)
    where = (samples, steps) if shape.readout == "every_step" else (samples,)
    targets: np.ndarray = source.integers(0, 4, where)
    if isinstance(objective, Values):
        targets = source.random((*where, 4), dtype=np.float32)
    lengths = source.integers(1, steps + 1, samples) if shape.length is None else None
    if shape.readout == "every_step" and steps > 1:
        targets[::2, 1] = np.nan if isinstance(objective, Values) else -100
    return Batches(Examples(inputs, targets, lengths), CPU)


def run(name: str, size: tuple[int, int, int], engine: str, dtype: type) -> int:
    """Train and measure one cell in every setting; return how often the engine ran it."""
    steps, samples, batch = size
    taken = 0
    for shape, objective, options in settings():
        shape = replace(shape, length=shape.length and steps)
        torch.manual_seed(0)
        architecture = load_registry().architecture(name)
        model = build_model(architecture, ModelSpec(name, shape, 5, **options))  # type: ignore[arg-type]
        data = split(shape, objective, steps, samples, dtype)
        config = replace(CONFIG, batch_size=batch)
        updates, _ = prepare(Engine(engine), model, config, objective, data)
        order = torch.randperm(samples)
        measured = (*updates.train(data, order), *updates.measure(data))
        assert all(np.isfinite(measured)), (name, size, engine, shape, measured)
        longer = split(shape, objective, steps + (shape.length is None), samples + 2, dtype)
        updates.measure(longer)
        taken += updates.name.startswith("compiled")
    return taken


def overrun() -> None:
    """Read past the end: the lengths are changed after all checks."""
    shape = SequenceShape(3, 4, None, "masked_step")
    model = build_model(load_registry().architecture("elman"), ModelSpec("elman", shape, 5))
    data = split(shape, Classification(), 5, 19, np.float32)
    updates, _ = prepare(
        Engine.PROGRAM, model, replace(CONFIG, batch_size=19), Classification(), data
    )
    assert updates.name == "compiled program"
    assert data.lengths is not None
    data.lengths.fill_(4000)
    updates.train(data, torch.arange(19))


def main(what: str) -> None:
    """Run the cells, or an overrun that a sanitizer must report."""
    # Much faster to build with sanitizers, which find the same errors.
    setattr(build, "_FLAGS", tuple("-O1" if flag == "-O3" else flag for flag in build._FLAGS))  # noqa: B010
    torch.set_num_threads(1)
    if what == "overrun":
        return overrun()
    for name in CELLS:
        for engine in ("program", "layers"):
            for i, size in enumerate(SIZES):
                dtype = (np.float32, np.int8, np.float64, np.uint8, np.int16)[i % 5]
                taken = run(name, size, engine, dtype)
                print(f"{name} {engine} {size}: {taken} compiled", flush=True)
                assert taken, "nothing was compiled: nothing was watched"
    return None


if __name__ == "__main__":
    main(sys.argv[1])
