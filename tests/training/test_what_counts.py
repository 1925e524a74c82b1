"""Loss and metric of a split are means over scored targets, independent of the batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rnnsearch import (
    NOT_ASKED,
    Examples,
    ModelSpec,
    SequenceShape,
    accuracy,
    binary_cross_entropy,
    cross_entropy,
    load_registry,
    mean_squared_error,
)
from rnnsearch.engine import cpp_compiler
from rnnsearch.spec.engine import Engine
from rnnsearch.spec.trial import TrainingConfig, TrialSpec
from rnnsearch.training.batches import Batches
from rnnsearch.training.population import PopulationRun
from rnnsearch.training.run import TrainingRun

CPU = torch.device("cpu")
SAMPLES, STEPS, FEATURES, OUTPUTS = 90, 11, 2, 3
TAGS = SequenceShape(FEATURES, OUTPUTS, None, "every_step")
# So slow that the weights do not change: training and evaluation give the same measurements.
STILL = TrainingConfig(epochs=1, batch_size=17, learning_rate=1e-30, optimizer="sgd")
ENGINES = Engine.PROGRAM.fallbacks
WAYS = (*ENGINES, "vmapped", "closed form")


def share_of_labels(outputs: Tensor, targets: Tensor) -> Tensor:
    """A user-defined accuracy."""
    targets = targets[:, : len(outputs)]
    counted = targets != NOT_ASKED
    return ((targets == outputs.argmax(dim=-1).T) & counted).sum() / counted.sum()


def share_of_sequences(outputs: Tensor, targets: Tensor) -> Tensor:
    """The share of right labels in each sequence, averaged over sequences."""
    targets = targets[:, : len(outputs)]
    counted = targets != NOT_ASKED
    right = (targets == outputs.argmax(dim=-1).T) & counted
    return (right.sum(dim=1) / counted.sum(dim=1)).mean()


class Objective:
    """A loss and a score."""

    def __init__(self, loss: Any, score: Any) -> None:
        self.loss, self.score = loss, score

    def metric_of(self, score: float) -> float:
        return score


@pytest.fixture(autouse=True, scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One folder of compiled kernels for all tests here."""
    folder = tmp_path_factory.mktemp("kernels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpp_compiler, "cache_folder", lambda: folder)
        yield


def split(shape: SequenceShape, *, values: bool, seed: int = 0) -> Examples:
    """Short sequences first, all but the longest last; some targets of each are missing."""
    source = np.random.default_rng(seed)
    inputs = source.standard_normal((SAMPLES, STEPS, FEATURES), dtype=np.float32)
    lengths = np.where(np.arange(SAMPLES) < SAMPLES // 2, 2, STEPS - 1)
    where: tuple[int, ...] = (SAMPLES,) if shape.readout == "masked_step" else (SAMPLES, STEPS)
    targets: np.ndarray = source.integers(0, OUTPUTS, where)
    # The short sequences are easy, the long ones are not.
    targets[: SAMPLES // 2] = 1
    if values:
        targets = source.random((*where, OUTPUTS), dtype=np.float32)
        targets[: SAMPLES // 2] = 0.5
        targets[::3, ..., 1] = np.nan
    elif shape.readout == "every_step":
        targets[::3, 1] = NOT_ASKED
    return Examples(inputs, targets, lengths)


def run_on(way: str, shape: SequenceShape, objective: Any, train: Batches) -> Any:
    """A run that measures a model without changing it."""
    architecture = "esn" if way == "closed form" else "gru"
    cls = load_registry().architecture(architecture)
    model = ModelSpec(architecture, shape, 4, head="" if architecture == "esn" else "linear")
    engine = "torch" if way == "closed form" else way
    spec = TrialSpec("search", model, STILL, 3, "", {}, 0, 0.0, engine=engine)
    if way == "vmapped":
        return PopulationRun(cls, [spec, replace(spec, seed=5)], objective, train, None)
    return TrainingRun(cls, spec, objective, train, None)


def measure(run: Any, data: Batches) -> tuple[float, float]:
    found = run.evaluate(data)
    pair: tuple[float, float] = found[0] if isinstance(found, dict) else found
    return pair


def by_hand(run: Any, examples: Examples, objective: Any) -> tuple[float, float]:
    """Loss and score in NumPy, element by element, over all scored targets."""
    model = run.model if isinstance(run, TrainingRun) else run._models[0]
    lengths = examples.lengths
    assert lengths is not None
    with torch.no_grad():
        inputs = torch.from_numpy(examples.inputs).transpose(0, 1)
        found = model.eval()(inputs, torch.from_numpy(lengths)).double().numpy()
    per_step = found.ndim == 3
    losses, scores = [], []
    for i, length in enumerate(lengths):
        steps = range(length) if per_step else (None,)
        own = []
        for t in steps:
            output = found[t, i] if per_step else found[i]
            target = examples.targets[i] if t is None else examples.targets[i, t]
            if objective.loss is cross_entropy:
                if target == NOT_ASKED:
                    continue
                losses.append(np.log(np.exp(output).sum()) - output[target])
                own.append(float(output.argmax() == target))
                continue
            for o, y in zip(output, target, strict=True):
                if np.isnan(y):
                    continue
                squared = (o - y) ** 2
                bits = np.log1p(np.exp(o)) - o * y
                losses.append(squared if objective.loss is mean_squared_error else bits)
                own.append(squared)
        scores += [np.mean(own)] if objective.score is share_of_sequences else own
    return float(np.mean(losses)), float(np.mean(scores))


CASES = {
    "labels": (TAGS, cross_entropy, accuracy),
    "values at every step": (TAGS, mean_squared_error, mean_squared_error),
    "bits at every step": (TAGS, binary_cross_entropy, mean_squared_error),
    "values once": (replace(TAGS, readout="masked_step"), mean_squared_error, mean_squared_error),
    "an own mean over labels": (TAGS, cross_entropy, share_of_labels),
    "an own mean over sequences": (TAGS, cross_entropy, share_of_sequences),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_a_split_has_one_loss_and_one_metric_whatever_the_batches(
    name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, loss, score = CASES[name]
    objective = Objective(loss, score)
    examples = split(shape, values=loss is not cross_entropy)
    train = Batches(examples, CPU)
    run = run_on(way, shape, objective, train)
    epoch = run.run_epoch()
    first = epoch[0] if isinstance(epoch, dict) else epoch
    expected = pytest.approx(by_hand(run, examples, objective), rel=1e-5)
    assert (first.train_loss, first.train_metric) == expected, "of training, 17 at a time"
    other = np.random.default_rng(1).permutation(SAMPLES)
    shuffled = Examples(*(a[other] for a in (examples.inputs, examples.targets, examples.lengths)))  # type: ignore[index]
    for size in (7, 50, 1000):
        for module in ("engines", "population"):
            monkeypatch.setattr(f"rnnsearch.training.{module}.EVALUATION_BATCH", size)
        for some in (examples, shuffled):
            assert measure(run, Batches(some, CPU)) == expected, size


@pytest.mark.parametrize("way", ENGINES)
def test_where_all_count_alike_a_mean_over_batches_is_what_it_was_to_the_last_bit(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums of batch means times samples, divided by samples: as before samples had weights."""
    monkeypatch.setattr("rnnsearch.training.engines.EVALUATION_BATCH", 40)
    shape = replace(TAGS, length=STEPS)
    whole = split(shape, values=False)
    examples = Examples(whole.inputs, np.where(whole.targets < 0, 0, whole.targets))
    examples.targets[:, :3] = NOT_ASKED
    objective = Objective(cross_entropy, accuracy)
    data = Batches(examples, CPU)
    run = run_on(way, shape, objective, data)
    found = measure(run, data)
    assert data.weights(cross_entropy) is None
    sums = [0.0, 0.0]
    for index in torch.arange(SAMPLES).split(40):
        part = Batches(Examples(examples.inputs[index], examples.targets[index]), CPU)
        for i, value in enumerate(measure(run, part)):
            sums[i] += value * len(index)
    if way == "program":  # it sums in another order within a batch: its result is a sum
        assert found == pytest.approx([value / SAMPLES for value in sums], rel=1e-12)
    else:
        assert found == tuple(value / SAMPLES for value in sums)
