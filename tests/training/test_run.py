"""A training run is reproducible to the bit, can be continued, and computes correct values."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnsearch import (
    DivergedError,
    Examples,
    ModelSpec,
    SequenceShape,
    Task,
    build_model,
    load_registry,
)
from rnnsearch.spec.trial import EpochMetrics, TrainingConfig, TrialSpec
from rnnsearch.training.batches import Batches
from rnnsearch.training.run import TrainingRun

CPU = torch.device("cpu")
ROWS = SequenceShape(input_size=3, output_size=4, length=5, readout="last_step")
STROKES = replace(ROWS, length=None, readout="masked_step")
SAMPLES, BATCH = 50, 16
CELLS = ["elman", "gru", "lstm", "mcrm", "mike_rnn", "nlstm", "nlstm_concat", "prelu_rnn", "sm_rnn"]


class Shapes(Task):
    """Four classes of noise; records the targets of every batch."""

    metric = "accuracy"
    direction = "maximize"
    no_skill = 0.25

    def __init__(self, shape: SequenceShape = ROWS) -> None:
        super().__init__()
        self._shape = shape
        self.seen: list[list[int]] = []

    @property
    def shape(self) -> SequenceShape:
        return self._shape

    def find(self) -> Any:
        raise NotImplementedError

    def load(self, source: Any, split: str) -> Examples:
        raise NotImplementedError

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.seen.append(targets.tolist())
        return functional.cross_entropy(outputs, targets % 4)

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(dim=-1) == targets % 4).float().mean()


def examples(shape: SequenceShape = ROWS, samples: int = SAMPLES, seed: int = 0) -> Examples:
    """Noise; the target of a sample is its index, so that batches can be distinguished."""
    source = np.random.default_rng(seed)
    inputs = source.normal(size=(samples, 5, 3)).astype(np.float32)
    lengths = source.integers(1, 5, samples) if shape.length is None else None
    return Examples(inputs, np.arange(samples), lengths)


def trial(
    architecture: str = "lstm", seed: int = 3, shape: SequenceShape = ROWS, **training: Any
) -> TrialSpec:
    """A small trial."""
    config: dict[str, Any] = {"epochs": 3, "batch_size": BATCH, "learning_rate": 0.01, **training}
    head = "" if architecture == "ff_nn" else "linear"
    return TrialSpec(
        phase="search",
        model=ModelSpec(architecture, shape, 6, head=head),
        training=TrainingConfig(**config),
        seed=seed,
        task="shapes",
        task_options={},
        parameters=0,
        residual=0.0,
    )


def start(spec: TrialSpec, task: Task | None = None, *, watched: bool = True) -> TrainingRun:
    """A run on noise."""
    shape = spec.model.shape
    return TrainingRun(
        load_registry().architecture(spec.model.architecture),
        spec,
        task or Shapes(shape),
        Batches(examples(shape), CPU),
        Batches(examples(shape, 23, seed=1), CPU) if watched else None,
    )


def untimed(metrics: EpochMetrics) -> dict[str, str]:
    """An epoch's metrics to the last bit, without the times."""
    kept = {
        name: value for name, value in asdict(metrics).items() if name not in ("step_ms", "seconds")
    }
    return {name: float(value).hex() for name, value in kept.items()}


def train(architecture: str = "lstm", epochs: int = 3, **settings: Any) -> list[dict[str, str]]:
    """Metrics of a whole run."""
    run = start(trial(architecture, **settings))
    return [untimed(run.run_epoch()) for _ in range(epochs)]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Let torch use one thread, as in a trial on one CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Reproducibility


@pytest.mark.parametrize("architecture", [*CELLS, "ff_nn", "snn"])
def test_the_same_seed_gives_the_same_metrics_to_the_bit(architecture: str) -> None:
    first = train(architecture)
    torch.rand(7)  # Other draws from the global generator do not matter.
    assert train(architecture) == first


def test_the_same_seed_gives_the_same_metrics_in_another_process() -> None:
    program = (
        "import importlib.util, json, sys\n"
        "spec = importlib.util.spec_from_file_location('probe', sys.argv[1])\n"
        "probe = importlib.util.module_from_spec(spec)\n"
        "sys.modules['probe'] = probe\n"
        "spec.loader.exec_module(probe)\n"
        "print(json.dumps([probe.train(name) for name in ('lstm', 'mcrm')]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, __file__],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert json.loads(done.stdout) == [train("lstm"), train("mcrm")]


def test_another_seed_gives_other_weights_and_another_order() -> None:
    tasks = [Shapes(), Shapes()]
    first, second = (
        start(trial(seed=seed), task) for seed, task in zip((3, 4), tasks, strict=True)
    )
    assert not torch.equal(
        next(first.model.parameters()).detach(), next(second.model.parameters()).detach()
    )
    for run in (first, second):
        run.run_epoch()
    assert tasks[0].seen != tasks[1].seen


def test_two_architectures_with_one_seed_see_the_same_batches() -> None:
    tasks = [Shapes(), Shapes()]
    for task, architecture in zip(tasks, ("lstm", "ff_nn"), strict=True):
        run = start(trial(architecture), task)
        run.run_epoch()
        run.run_epoch()
    assert tasks[0].seen == tasks[1].seen


def test_an_epoch_sees_every_sample_once_and_the_next_in_another_order() -> None:
    task = Shapes()
    run = start(trial(), task)
    run.run_epoch()
    run.run_epoch()
    assert [len(batch) for batch in task.seen] == [16, 16, 16, 2] * 2
    first, second = (list(chain(*task.seen[i : i + 4])) for i in (0, 4))
    assert sorted(first) == sorted(second) == list(range(SAMPLES))
    assert first != second


# Continuing


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd"])
def test_a_run_continues_to_the_bit_where_its_state_was_saved(
    optimizer: str, tmp_path: Path
) -> None:
    spec = trial(optimizer=optimizer, gradient_clip=0.5)
    whole = start(spec)
    expected = [untimed(whole.run_epoch()) for _ in range(4)]
    broken = start(spec)
    begun = [untimed(broken.run_epoch()) for _ in range(2)]
    torch.save(broken.state_dict(), tmp_path / "state.pt")
    again = start(spec)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    ended = [untimed(again.run_epoch()) for _ in range(2)]
    assert begun + ended == expected
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_clock_of_a_run_continues_too() -> None:
    run, again = start(trial()), start(trial())
    seconds = run.run_epoch().seconds
    again.load_state_dict(run.state_dict())
    metrics = again.run_epoch()
    assert metrics.seconds > seconds > 0
    assert (metrics.epoch, metrics.updates) == (2, 8)


# Updates


def _by_hand(spec: TrialSpec) -> tuple[nn.Module, float]:
    """One epoch with one update of plain gradient descent, written out."""
    torch.manual_seed(spec.seed)
    model = build_model(load_registry().architecture(spec.model.architecture), spec.model)
    data = examples(spec.model.shape)
    inputs = torch.from_numpy(data.inputs).transpose(0, 1)
    loss = functional.cross_entropy(model(inputs), torch.from_numpy(data.targets) % 4)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
    limit = spec.training.gradient_clip
    scale = min(1.0, limit / norm) if limit else 1.0
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= spec.training.learning_rate * scale * gradient
    return model, norm


@pytest.mark.parametrize("clip", [0.0, 0.05, 1e6], ids=["none", "small", "large"])
@pytest.mark.parametrize("architecture", ["lstm", "mcrm"])
def test_an_update_clips_the_gradient_of_the_loss_and_then_steps(
    architecture: str, clip: float
) -> None:
    settings = {"optimizer": "sgd", "learning_rate": 0.5, "batch_size": SAMPLES}
    spec = trial(architecture, gradient_clip=clip, **settings)
    run = start(spec)
    metrics = run.run_epoch()
    model, norm = _by_hand(spec)
    assert clip == 0 or (clip < norm) == (clip == 0.05)
    assert metrics.gradient_norm == pytest.approx(norm, rel=1e-5)
    for one, other in zip(run.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_gradients_do_not_add_up_over_batches() -> None:
    norms = []
    for clip in (0.0, 1e-12):
        run = start(trial(optimizer="sgd", learning_rate=1e-12, gradient_clip=clip))
        norms.append([run.run_epoch().gradient_norm for _ in range(3)])
    # With a negligible step, every epoch finds the same gradients, in some order.
    for epochs in norms:
        assert max(epochs) < 1.5 * min(epochs)
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


# Measurements of an epoch


@pytest.mark.parametrize("shape", [ROWS, STROKES], ids=["fixed length", "any length"])
def test_training_metrics_weigh_every_sample_alike(shape: SequenceShape) -> None:
    # The last batch has 2 of 50 samples. With almost no step, all updates see the same model.
    run = start(trial(shape=shape, optimizer="sgd", learning_rate=1e-12))
    metrics = run.run_epoch()
    loss, score = run.evaluate(run.train)
    assert metrics.train_loss == pytest.approx(loss, rel=1e-5)
    assert metrics.train_metric == pytest.approx(score, rel=1e-5)


@pytest.mark.parametrize("shape", [ROWS, STROKES], ids=["fixed length", "any length"])
@pytest.mark.parametrize("samples", [1, 999, 1000, 1001, 2337])
def test_evaluation_equals_that_of_all_samples_at_once(samples: int, shape: SequenceShape) -> None:
    run = start(trial(shape=shape))
    data = examples(shape, samples, seed=2)
    lengths = None if data.lengths is None else torch.from_numpy(data.lengths)
    with torch.no_grad():
        outputs = run.model(torch.from_numpy(data.inputs).transpose(0, 1), lengths)
    targets = torch.from_numpy(data.targets) % 4
    loss = functional.cross_entropy(outputs.double(), targets)
    score = (outputs.argmax(dim=-1) == targets).double().mean()
    found = run.evaluate(Batches(data, CPU))
    assert found == pytest.approx((float(loss), float(score)), rel=1e-5)


def test_evaluation_changes_nothing() -> None:
    run, other = start(trial()), start(trial())
    run.evaluate(run.train)
    run.evaluate(run.train)
    assert untimed(run.run_epoch()) == untimed(other.run_epoch())


def test_validation_is_that_of_the_model_after_the_epoch() -> None:
    run = start(trial())
    metrics = run.run_epoch()
    assert run.validation is not None
    assert (metrics.validation_loss, metrics.validation_metric) == run.evaluate(run.validation)


def test_without_a_validation_split_its_metrics_are_no_numbers_and_training_is_the_same() -> None:
    watched, alone = start(trial()), start(trial(), watched=False)
    for _ in range(2):
        expected, found = watched.run_epoch(), alone.run_epoch()
        assert math.isnan(found.validation_loss)
        assert math.isnan(found.validation_metric)
        assert (found.train_loss, found.train_metric) == (
            expected.train_loss,
            expected.train_metric,
        )


def test_a_run_counts_its_epochs_and_updates() -> None:
    run = start(trial())
    counted = [(metrics.epoch, metrics.updates) for metrics in (run.run_epoch(), run.run_epoch())]
    assert counted == [(1, 4), (2, 8)]


def test_a_run_learns() -> None:
    run = start(trial(learning_rate=0.05))
    losses = [run.run_epoch().train_loss for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]


# Batches


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("architecture", CELLS)
def test_cutting_a_batch_to_its_longest_sequence_changes_no_output(
    architecture: str, bidirectional: bool
) -> None:
    data = examples(STROKES)
    assert data.lengths is not None
    padding = np.arange(5) >= data.lengths[:, None]
    data.inputs[padding] = 1000.0  # Any code that reads it changes the result.
    index = torch.arange(7)
    inputs, _, lengths = Batches(data, CPU).take(index)
    assert lengths is not None
    assert inputs.shape == (int(lengths.max()), 7, 3)
    assert len(inputs) < 5
    torch.manual_seed(0)
    spec = ModelSpec(architecture, STROKES, 6, bidirectional=bidirectional)
    model = build_model(load_registry().architecture(architecture), spec)
    whole = torch.from_numpy(data.inputs[:7]).transpose(0, 1)
    torch.testing.assert_close(model(inputs, lengths), model(whole, lengths), rtol=0, atol=1e-6)


def test_a_batch_holds_the_samples_asked_for_with_time_first() -> None:
    data = examples(STROKES)
    assert data.lengths is not None
    inputs, targets, lengths = Batches(data, CPU).take(torch.tensor([4, 0]))
    assert targets.tolist() == [4, 0]
    assert lengths is not None
    assert lengths.tolist() == data.lengths[[4, 0]].tolist()
    longest = max(lengths.tolist())
    expected = data.inputs[[4, 0], :longest].swapaxes(0, 1)
    np.testing.assert_array_equal(inputs.numpy(), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16, np.float64])
def test_inputs_of_any_type_become_floats_a_batch_at_a_time(dtype: type) -> None:
    values = np.arange(12).reshape(2, 3, 2).astype(dtype)
    batches = Batches(Examples(values, np.zeros(2, np.uint8)), CPU)
    inputs, targets, lengths = batches.take(torch.arange(2))
    assert batches.inputs.dtype == torch.from_numpy(values).dtype
    assert (inputs.dtype, targets.dtype, lengths) == (torch.float32, torch.int64, None)
    assert inputs.transpose(0, 1).tolist() == values.astype(float).tolist()


def test_targets_that_are_real_stay_real() -> None:
    data = Examples(np.zeros((2, 3, 1)), np.array([0.25, 1.5], np.float32))
    _, targets, _ = Batches(data, CPU).take(torch.arange(2))
    assert targets.tolist() == [0.25, 1.5]


def test_arrays_that_may_not_be_written_are_copied() -> None:
    data = examples()
    for array in (data.inputs, data.targets):
        array.flags.writeable = False
    batches = Batches(data, CPU)
    batches.inputs += 1
    assert len(batches) == SAMPLES
    assert float(batches.inputs[0, 0, 0]) == pytest.approx(float(data.inputs[0, 0, 0]) + 1)


# Divergence


class NoLoss(Shapes):
    """Its loss is NaN from a given call on."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.calls -= torch.is_grad_enabled()
        return super().loss(outputs, targets) * (math.nan if self.calls < 0 else 1.0)


class NoValidationLoss(Shapes):
    """Its loss is NaN in evaluation."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().loss(outputs, targets) + (0.0 if torch.is_grad_enabled() else math.inf)


class NoValidationMetric(Shapes):
    """Its metric is NaN."""

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().score(outputs, targets) * math.nan


class NoGradient(Shapes):
    """Its loss is 0 and infinitely steep."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - outputs.detach()).abs().sqrt().mean()


@pytest.mark.parametrize(
    ("task", "finished", "message"),
    [
        (NoLoss(0), 0, "training loss is not finite in epoch 1"),
        (NoLoss(3), 0, "training loss is not finite in epoch 1"),
        (NoLoss(9), 2, "training loss is not finite in epoch 3"),
        (NoValidationMetric(), 0, "validation metric is not finite in epoch 1"),
        (NoValidationLoss(), 0, "validation loss is not finite in epoch 1"),
    ],
    ids=["at once", "in the first epoch", "in the third epoch", "in the metric", "on validation"],
)
def test_a_run_that_leaves_the_finite_numbers_says_what_and_when(
    task: Task, finished: int, message: str
) -> None:
    run = start(trial(), task)
    for _ in range(finished):
        run.run_epoch()
    with pytest.raises(DivergedError) as caught:
        run.run_epoch()
    assert str(caught.value) == message


def test_a_gradient_that_leaves_the_finite_numbers_is_divergence_too() -> None:
    run = start(trial(batch_size=SAMPLES), NoGradient())
    with pytest.raises(DivergedError, match=r"^gradient norm is not finite in epoch 1$"):
        run.run_epoch()


def test_a_huge_learning_rate_diverges_instead_of_going_on_with_nonsense() -> None:
    run = start(trial("prelu_rnn", optimizer="sgd", learning_rate=1e6))
    with pytest.raises(DivergedError, match=r"not finite in epoch 1"):
        run.run_epoch()
