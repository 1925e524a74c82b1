"""The conformance suite of tasks: the promises of `Task` as tests."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rnnsearch.batches import Batches
from rnnsearch.capabilities import DATA
from rnnsearch.errors import MissingDataError
from rnnsearch.losses import binary_cross_entropy, cross_entropy, mean_squared_error
from rnnsearch.parameters import defaults
from rnnsearch.task import DataSource, Examples, Split, Task
from rnnsearch.testing.probes import noise

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_READOUTS = ("last_step", "masked_step", "every_step")
_SOME = 8
_SURE = 100.0  # a logit
_KNOWN_LOSSES = (cross_entropy, binary_cross_entropy, mean_squared_error)
IGNORED = -100
"""A class target that is left out of the mean."""


class TaskConformance:
    """Every check that a task has to pass.

    Subclass it under a name that starts with `Test` and return an instance from `task`, with
    options that make it small where it has such options. Where the data are nowhere to be had, the
    checks that read them skip with the reason.
    """

    @pytest.fixture
    def task(self) -> Task:
        """The task under test."""
        raise NotImplementedError

    @pytest.fixture
    def source(self, task: Task) -> DataSource:
        """Where its data come from."""
        try:
            return task.find()
        except MissingDataError as error:
            pytest.skip(f"no data: {error}")

    def _outputs(self, task: Task, examples: Examples, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Random outputs of a model for some examples, and their targets."""
        some = Batches(examples, torch.device("cpu"))
        inputs, targets, _ = some.take(torch.arange(min(_SOME, len(examples))))
        steps, batch, _ = inputs.shape
        every = task.shape.readout == "every_step"
        shape = (steps, batch, task.shape.output_size) if every else (batch, task.shape.output_size)
        return noise(*shape, seed=seed, dtype=torch.float32), targets

    # Declarations

    def test_declared_options_have_valid_defaults(self, task: Task) -> None:
        for name, parameter in task.options.items():
            assert parameter.problem_with(parameter.default) is None, name
        type(task)(**defaults(task.options))

    def test_metric_direction_and_no_skill_level_are_declared(self, task: Task) -> None:
        assert task.metric.isidentifier(), "a name that can be a column"
        assert task.direction in ("maximize", "minimize")
        assert math.isfinite(task.no_skill)
        assert task.data in DATA

    def test_shape_is_known_without_reading_data(
        self, task: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("find", "load"):
            monkeypatch.setattr(type(task), name, lambda *_: pytest.fail("the shape reads data"))
        shape = task.shape
        assert shape.input_size >= 1
        assert shape.output_size >= 1
        assert shape.readout in _READOUTS
        assert shape.length is None or shape.length >= 1
        if shape.readout == "last_step":
            assert shape.length is not None, "the last step of padding is read: `masked_step`"

    def test_pickles_to_a_worker(self, task: Task) -> None:
        again = pickle.loads(pickle.dumps(task))
        assert again.chosen == task.chosen
        assert again.shape == task.shape

    # Data

    def test_the_source_names_the_data_and_counts_them(
        self, task: Task, source: DataSource
    ) -> None:
        assert source.dataset
        assert len(source.sha256) == 64
        assert set(source.sizes) >= set(SPLITS)
        for split in SPLITS:
            assert len(task.load(source, split)) == source.sizes[split], split
        assert task.find().sha256 == source.sha256, "found twice, it is the same"

    @pytest.mark.parametrize("split", SPLITS)
    def test_examples_have_the_declared_shape(
        self, task: Task, source: DataSource, split: Split
    ) -> None:
        examples, shape = task.load(source, split), task.shape
        samples, steps, features = examples.inputs.shape
        assert features == shape.input_size
        assert len(examples.targets) == samples
        assert np.isfinite(examples.inputs.astype(np.float32)).all()
        if shape.length is not None:
            assert steps == shape.length
            assert examples.lengths is None
        else:
            assert examples.lengths is not None
            assert examples.lengths.shape == (samples,)
            assert examples.lengths.min() >= 1
            assert examples.lengths.max() <= steps
        if shape.readout == "every_step":
            assert examples.targets.shape[:2] == (samples, steps)
        if task.loss is cross_entropy:
            classes = examples.targets[examples.targets != IGNORED]
            assert 0 <= classes.min() <= classes.max() < shape.output_size

    def test_a_split_is_the_same_every_time(self, task: Task, source: DataSource) -> None:
        for split in SPLITS:
            first = task.load(source, split)
            for again in (task, type(task)(**task.chosen)):
                second = again.load(source, split)
                for name in ("inputs", "targets", "lengths"):
                    np.testing.assert_array_equal(getattr(first, name), getattr(second, name))

    def test_no_sequence_stands_in_two_splits(self, task: Task, source: DataSource) -> None:
        seen: dict[bytes, Split] = {}
        for split in SPLITS:
            here = _sequences(task.load(source, split))
            both = [seen[sample] for sample in here if sample in seen]
            found = f"{len(both)} of {len(here)} sequences of {split} stand in {set(both)} too"
            assert len(both) <= task.may_repeat * len(here), found
            seen.update(dict.fromkeys(here, split))

    # Loss and metric

    def test_loss_is_a_scalar_with_a_finite_gradient(self, task: Task, source: DataSource) -> None:
        outputs, targets = self._outputs(task, task.load(source, "train"))
        loss = task.loss(outputs.requires_grad_(), targets)
        assert loss.shape == ()
        assert torch.isfinite(loss)
        (gradient,) = torch.autograd.grad(loss, outputs)
        assert torch.isfinite(gradient).all()
        assert gradient.any()

    def test_metric_is_a_finite_scalar_that_draws_nothing(
        self, task: Task, source: DataSource
    ) -> None:
        outputs, targets = self._outputs(task, task.load(source, "train"))
        before = torch.get_rng_state()
        once, twice = task.score(outputs, targets), task.score(outputs, targets)
        assert once.shape == ()
        assert math.isfinite(float(once))
        assert float(once) == float(twice)
        assert torch.equal(before, torch.get_rng_state())

    def test_metric_of_a_batch_is_the_mean_over_its_samples(
        self, task: Task, source: DataSource
    ) -> None:
        """Batches are averaged by their sizes; a metric that is no mean would depend on them."""
        outputs, targets = self._outputs(task, task.load(source, "train"))
        axis = 1 if task.shape.readout == "every_step" else 0
        if task.loss in _KNOWN_LOSSES:
            # Where chance gets nothing right, all scores may be zero, and so any mean of them.
            known = _perfect(task, targets)[: len(outputs)].to(outputs.dtype)
            rest = len(targets) // 2
            kept = outputs.narrow(axis, 0, rest)
            outputs = torch.cat((kept, known.narrow(axis, rest, len(targets) - rest)), dim=axis)
        whole = float(task.score(outputs, targets))
        parts = [
            float(task.score(outputs.narrow(axis, i, 1), targets[i : i + 1]))
            for i in range(len(targets))
        ]
        assert whole == pytest.approx(sum(parts) / len(parts), rel=1e-4, abs=1e-6)

    def test_who_knows_the_answers_has_the_best_score(self, task: Task, source: DataSource) -> None:
        skip_unless_known(task)
        examples = task.load(source, "validation")
        best = task.best_score
        if best is None:
            best = 1.0 if task.direction == "maximize" else 0.0
        some = Batches(examples, torch.device("cpu"))
        _, targets, _ = some.take(torch.arange(min(_SOME, len(examples))))
        found = task.score(_perfect(task, targets), targets).item()
        assert found == pytest.approx(best, abs=1e-6)


def skip_unless_known(task: Task) -> None:
    """Skip a check that has to know what a good answer looks like."""
    if task.loss not in _KNOWN_LOSSES:
        pytest.skip("what a good answer looks like is known for the losses of `rnnsearch.losses`")


def _perfect(task: Task, targets: Tensor) -> Tensor:
    """Outputs of who knows the targets."""
    if targets.is_floating_point():
        outputs = torch.nan_to_num(targets)
        if task.loss is binary_cross_entropy:
            outputs = _SURE * (2 * outputs - 1)
    else:
        outputs = _SURE * functional.one_hot(targets.clamp(min=0), task.shape.output_size)
    return outputs.transpose(0, 1) if task.shape.readout == "every_step" else outputs


def _sequences(examples: Examples) -> set[bytes]:
    """What is read, without the padding."""
    steps = examples.inputs.shape[1]
    lengths = np.full(len(examples), steps) if examples.lengths is None else examples.lengths
    rows = zip(examples.inputs, lengths.tolist(), strict=True)
    return {np.ascontiguousarray(row[:length]).tobytes() for row, length in rows}
