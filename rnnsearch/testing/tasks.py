"""The conformance suite of tasks: the promises of `Task` as tests."""

from __future__ import annotations

import math
import pickle
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rnnsearch.errors import DataError, MissingDataError, RnnsearchError
from rnnsearch.plugin.capabilities import DATA
from rnnsearch.plugin.data_contract import SPLITS as SPLITS
from rnnsearch.plugin.data_contract import Contract, check
from rnnsearch.plugin.losses import (
    NOT_ASKED,
    asked,
    binary_cross_entropy,
    cross_entropy,
    mean_squared_error,
)
from rnnsearch.plugin.task import Examples, Task
from rnnsearch.spec.parameters import IntRange, Value, defaults
from rnnsearch.spec.shape import DataSource, Split
from rnnsearch.testing.probes import noise, settings
from rnnsearch.training.batches import Batches

_READOUTS = ("last_step", "masked_step", "every_step")
_SOME = 8
_SURE = 100.0  # a logit
_MOST_OUTPUTS = 20_000_000  # of a model, held at once
_SIZES = ("train_size", "validation_size", "test_size")  # options of generated tasks
_FEW = 50
_SECONDS = 10.0  # spent on other options
_KNOWN_LOSSES = (cross_entropy, binary_cross_entropy, mean_squared_error)
IGNORED = NOT_ASKED
"""A class target that is left out of the mean."""


class TaskConformance:
    """Every check that a task has to pass.

    Subclass it under a name that starts with `Test` and return an instance from `task`, with
    options that make it small where it has such options. Where the data are nowhere to be had, the
    checks that read them skip with the reason.

    Attributes:
        no_skill_tolerance: how far from `no_skill` the metric of a constant answer may be on the
            test split, as a part of it.
    """

    no_skill_tolerance: ClassVar[float] = 0.1

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
        inputs, targets, _ = as_batches(task, examples).take(
            torch.arange(min(_SOME, len(examples)))
        )
        steps, batch, _ = inputs.shape
        every = task.shape.readout == "every_step"
        shape = (steps, batch, task.shape.output_size) if every else (batch, task.shape.output_size)
        return noise(*shape, seed=seed, dtype=torch.float32), targets

    # Declarations

    def test_declared_options_have_valid_defaults(self, task: Task) -> None:
        for name, parameter in task.options.items():
            problem = parameter.problem_with(parameter.default)
            assert problem is None, f"default of `{name}`: {problem}"
        type(task)(**defaults(task.options))

    def test_metric_direction_and_no_skill_level_are_declared(self, task: Task) -> None:
        assert task.metric.isidentifier(), f"`{task.metric}` is no name that can be a column"
        assert task.direction in ("maximize", "minimize"), f"`direction` is `{task.direction}`"
        assert math.isfinite(task.no_skill), f"`no_skill` is {task.no_skill}"
        assert task.data in DATA, f"`data` is `{task.data}`: expected {' or '.join(DATA)}"

    def test_shape_is_known_without_reading_data(
        self, task: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("find", "load"):
            monkeypatch.setattr(type(task), name, lambda *_: pytest.fail("the shape reads data"))
        shape = task.shape
        for name in ("input_size", "output_size", "length"):
            size = getattr(shape, name)
            fits = size is None if name == "length" and size is None else size >= 1
            assert fits, f"`{name}` of the shape is {size}: expected at least 1"
        assert shape.readout in _READOUTS, (
            f"`readout` of the shape is `{shape.readout}`: expected {', '.join(_READOUTS)}"
        )
        if shape.readout == "last_step":
            assert shape.length is not None, "the last step of padding is read: `masked_step`"

    def test_pickles_to_a_worker(self, task: Task) -> None:
        again = pickle.loads(pickle.dumps(task))
        assert again.chosen == task.chosen, f"{task.chosen} arrives as {again.chosen}"
        assert again.shape == task.shape, f"{task.shape} arrives as {again.shape}"

    # Data

    def test_the_source_names_the_data_and_counts_them(
        self, task: Task, source: DataSource
    ) -> None:
        assert source.dataset, "`dataset` of the source is empty"
        assert len(source.sha256) == 64, f"`sha256` has {len(source.sha256)} characters, not 64"
        missing = set(SPLITS) - set(source.sizes)
        assert not missing, f"`sizes` says nothing of {', '.join(sorted(missing))}"
        for split in SPLITS:
            found, said = len(task.load(source, split)), source.sizes[split]
            assert found == said, f"{split} has {found} samples, and `sizes` says {said}"
        assert task.find().sha256 == source.sha256, "found twice, it is the same"

    @pytest.mark.parametrize("split", SPLITS)
    def test_examples_have_the_declared_shape(
        self, task: Task, source: DataSource, split: Split
    ) -> None:
        """By the rules that every study checks before it starts; see `Task` for them."""
        examples, shape = task.load(source, split), task.shape
        try:
            check(examples, Contract.of(shape, task), split)
        except DataError as error:
            raise AssertionError(str(error)) from None
        if shape.length is None:
            assert examples.lengths is not None, "the shape says that lengths differ; give them"

    @pytest.mark.parametrize("split", SPLITS)
    def test_what_follows_the_end_of_a_sequence_counts_for_nothing(
        self, task: Task, source: DataSource, split: Split
    ) -> None:
        """Whatever a task writes there, the library masks it by the lengths."""
        examples = task.load(source, split)
        if examples.lengths is None:
            pytest.skip("all sequences have one length")
        after = np.arange(examples.inputs.shape[1]) >= examples.lengths[:, None]
        batches = as_batches(task, examples)
        assert not batches.inputs[torch.from_numpy(after)].any()
        if task.shape.readout == "every_step":
            assert not asked(batches.targets)[torch.from_numpy(after)].any()

    def test_a_split_is_the_same_every_time(self, task: Task, source: DataSource) -> None:
        for split in SPLITS:
            first = task.load(source, split)
            for again in (task, type(task)(**task.chosen)):
                second = again.load(source, split)
                for name in ("inputs", "targets", "lengths"):
                    one, two = getattr(first, name), getattr(second, name)
                    same = one is two or np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
                    assert same, f"{name} of {split} differ between two calls of `load`"

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
        assert loss.shape == (), f"the loss of a batch has the shape {tuple(loss.shape)}"
        assert torch.isfinite(loss), f"the loss of noise is {loss.item()}"
        (gradient,) = torch.autograd.grad(loss, outputs)
        assert torch.isfinite(gradient).all(), "the gradient of the loss is not finite"
        assert gradient.any(), "the loss does not depend on the outputs"

    def test_metric_is_a_finite_scalar_that_draws_nothing(
        self, task: Task, source: DataSource
    ) -> None:
        outputs, targets = self._outputs(task, task.load(source, "train"))
        before = torch.get_rng_state()
        once, twice = task.score(outputs, targets), task.score(outputs, targets)
        assert once.shape == (), f"the score of a batch has the shape {tuple(once.shape)}"
        assert math.isfinite(float(once)), f"the score of noise is {float(once)}"
        assert float(once) == float(twice), f"one batch scores {float(once)}, then {float(twice)}"
        assert torch.equal(before, torch.get_rng_state()), "the score draws numbers"

    def test_metric_of_a_batch_is_the_mean_over_its_samples(
        self, task: Task, source: DataSource
    ) -> None:
        """Or over the labels that count, where a sample has several.

        The metric of a split is the mean over its batches; one that is no mean would depend on
        which samples stand together.
        """
        examples = task.load(source, "train")
        outputs, targets = self._outputs(task, examples)
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
        weights = as_batches(task, examples).weights(task.score)
        weighs = [1.0] * len(parts) if weights is None else weights[: len(parts)].tolist()
        mean = sum(p * w for p, w in zip(parts, weighs, strict=True)) / sum(weighs)
        over = "its samples" if weights is None else "its labels that count"
        assert whole == pytest.approx(mean, rel=1e-4, abs=1e-6), (
            f"the score of {len(parts)} samples together is {whole:.6g}, but the mean over {over} "
            f"is {mean:.6g}. Return a mean from `score`, over samples or over labels, and what is "
            f"a function of it, such as a root, from `metric_of`. F1, AUC and the like are no such "
            f"mean, and cannot be a task's metric"
        )

    def test_who_knows_the_answers_has_the_best_score(self, task: Task, source: DataSource) -> None:
        skip_unless_known(task)
        examples = task.load(source, "validation")
        best = task.best_score
        if best is None:
            best = 1.0 if task.direction == "maximize" else 0.0
        _, targets, _ = as_batches(task, examples).take(torch.arange(min(_SOME, len(examples))))
        found = task.score(_perfect(task, targets), targets).item()
        assert found == pytest.approx(best, abs=1e-6), (
            f"who knows the answers scores {found:.6g}, and `best_score` is {best:g}"
        )

    def test_no_skill_is_the_score_of_who_never_looks_at_the_inputs(
        self, task: Task, source: DataSource
    ) -> None:
        """A predictor that knows only how often each answer occurs in training: tried on `test`."""
        skip_unless_known(task)
        train, test = task.load(source, "train"), _some_of(task, task.load(source, "test"))
        targets = as_batches(task, test).targets
        outputs = _without_inputs(task, train, outputs_shape(task, test))
        found = task.metric_of(task.score(outputs, targets).item())
        least = self.no_skill_tolerance * abs(task.no_skill)
        if task.metric.endswith("accuracy"):
            # Of a few samples chance alone would make a difference.
            least = max(least, 3 * math.sqrt(max(found * (1 - found), 0.01) / len(test)))
        assert abs(found - task.no_skill) <= least, (
            f"who answers the same whatever the inputs scores {found:.4g}, and `no_skill` is "
            f"{task.no_skill:.4g}: correct it"
        )

    def test_options_other_than_the_default_keep_the_contract(self, task: Task) -> None:
        """Each choice and the ends of each range, one at a time, for some seconds in all.

        Of a range of integers that goes far beyond its default, only the beginning: the rest is
        likely to be a size.
        """
        small = {
            name: _FEW
            for name in _SIZES
            if name in task.options and not task.options[name].problem_with(_FEW)
        }
        with _for_some_seconds():
            for setting in settings(task.options)[1:]:
                moved = {n: v for n, v in setting.items() if v != task.options[n].default}
                if moved.keys() & set(_SIZES) or any(_is_far(task, *m) for m in moved.items()):
                    continue
                try:
                    other = type(task)(**{**task.chosen, **small, **moved})
                    source = other.find()
                    data = {split: other.load(source, split) for split in SPLITS}
                except RnnsearchError:
                    continue  # refused in words
                for split, examples in data.items():
                    try:
                        check(examples, Contract.of(other.shape, other), split)
                    except DataError as error:
                        raise AssertionError(f"with {moved}: {error}") from None


class _TimeIsUpError(BaseException):
    pass


@contextmanager
def _for_some_seconds() -> Iterator[None]:
    """Stop quietly when the time is up; what was not reached is not checked."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: object) -> None:
        raise _TimeIsUpError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        with suppress(_TimeIsUpError):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _is_far(task: Task, name: str, value: Value) -> bool:
    option = task.options[name]
    return isinstance(option, IntRange) and int(value) > max(20, 4 * abs(option.default))


def _some_of(task: Task, examples: Examples) -> Examples:
    """Samples from all over a split, as many as outputs for them fit into memory."""
    shape = task.shape
    steps = examples.inputs.shape[1] if shape.readout == "every_step" else 1
    stride = math.ceil(len(examples) * steps * shape.output_size / _MOST_OUTPUTS)
    lengths = None if examples.lengths is None else examples.lengths[::stride]
    return Examples(examples.inputs[::stride], examples.targets[::stride], lengths)


def outputs_shape(task: Task, examples: Examples) -> tuple[int, ...]:
    """Shape of a model's outputs for some examples."""
    shape = task.shape
    steps = (examples.inputs.shape[1],) if shape.readout == "every_step" else ()
    return (*steps, len(examples), shape.output_size)


def _without_inputs(task: Task, train: Examples, shape: tuple[int, ...]) -> Tensor:
    """Outputs of who has seen the targets of training, step by step, and never looks at inputs."""
    targets, classes = as_batches(task, train).targets.numpy(), task.shape.output_size
    if task.shape.stride:  # windows of one sequence: no step of a window is like that of another
        targets = targets.reshape(-1, 1, *targets.shape[2:])
    if targets.dtype.kind == "f":
        known = ~np.isnan(targets)
        best = np.nan_to_num(targets).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        if task.loss is binary_cross_entropy:
            best = best - 0.5
    else:
        steps = targets.reshape(len(targets), -1).T
        counts = np.stack([np.bincount(s[s >= 0], minlength=classes) for s in steps]) + 1e-9
        best = np.log(counts / counts.sum(axis=-1, keepdims=True))
        best = best.reshape(*targets.shape[1:], classes)
    if task.shape.readout == "every_step":  # where test is longer: on with the last answer
        best = best[np.minimum(np.arange(shape[0]), len(best) - 1)]
    return torch.from_numpy(best).float().unsqueeze(-2).expand(shape)


def as_batches(task: Task, examples: Examples) -> Batches:
    """A split as losses, scores and engines are given it.

    Raises:
        AssertionError: it breaks the data contract.
    """
    batches = Batches(examples, torch.device("cpu"))
    try:
        batches.meet(Contract.of(task.shape, task))
    except DataError as error:
        raise AssertionError(str(error)) from None
    return batches


def skip_unless_known(task: Task) -> None:
    """Skip a check that has to know what a good answer looks like."""
    if task.loss not in _KNOWN_LOSSES:
        pytest.skip(
            "what a good answer looks like is known for the losses of `rnnsearch.plugin.losses`"
        )


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
