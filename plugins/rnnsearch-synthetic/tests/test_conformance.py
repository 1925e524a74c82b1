"""What every task of this plugin promises, on small data."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from functools import cache
from importlib import import_module
from typing import Literal

import numpy as np
import pytest
import torch

from rnnsearch import DataSource, Examples, StudyFileError, Task, Value, binary_cross_entropy
from rnnsearch.testing import TaskConformance
from rnnsearch_synthetic.hooks import rnnsearch_tasks

Split = Literal["train", "validation", "test"]
Case = tuple[str, dict[str, Value]]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SIZES: dict[str, Value] = {"train_size": 1000, "validation_size": 300, "test_size": 2000}
FEWER: dict[str, Value] = {"train_size": 200, "validation_size": 50, "test_size": 200}
CASES: list[Case] = [
    ("adding", {"length": 12, **SIZES}),
    ("adding", {"length": 12, "marks": "halves", **SIZES}),
    ("copy_memory", {"delay": 5, **SIZES}),
    ("copy_memory", {"delay": 1, "encoding": "one_hot", **SIZES}),
    ("noisy_lag", {"length": 20, **SIZES}),
    ("noisy_lag", {"length": 20, "informative": 1, "noisy_signal": True, **SIZES}),
    ("temporal_order", {"length": 20, **SIZES}),
    ("temporal_order", {"length": 20, "markers": 3, **SIZES}),
    ("precise_timing", {"shortest": 5, "intervals": 6, **SIZES}),
    ("precise_timing", {"shortest": 1, "delays": 4, "intervals": 8, **SIZES}),
    ("mackey_glass", {"length": 30, "washout": 10, "horizon": 6, **FEWER}),
    ("narma10", {"length": 40, "washout": 20, **SIZES}),
    ("memory_capacity", {"length": 20, "delays": 5, **SIZES}),
]


def make(case: Case) -> Task:
    name, options = case
    module, _, attribute = rnnsearch_tasks()[name].partition(":")
    task: Task = getattr(import_module(module), attribute)(**options)
    return task


def name_of(case: Case) -> str:
    chosen = [f"{k}={v}" for k, v in case[1].items() if not k.endswith("_size")]
    return "-".join([case[0], *chosen])


@cache
def _data(case: str) -> tuple[DataSource, dict[Split, Examples]]:
    task = make(json.loads(case))
    source = task.find()
    return source, {split: task.load(source, split) for split in SPLITS}


def data(case: Case) -> dict[Split, Examples]:
    """All splits of a task, made once for all tests."""
    return _data(json.dumps(case))[1]


def content(examples: Examples) -> str:
    digest = hashlib.sha256()
    for array in (examples.inputs, examples.targets, examples.lengths):
        if array is not None:
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def sequences(examples: Examples) -> set[bytes]:
    """What is read, without the padding."""
    steps = examples.inputs.shape[1]
    lengths = np.full(len(examples), steps) if examples.lengths is None else examples.lengths
    rows = zip(examples.inputs, lengths.tolist(), strict=True)
    return {np.ascontiguousarray(row[:length]).tobytes() for row, length in rows}


def counted(examples: Examples) -> np.ndarray:
    """Which targets count."""
    targets = examples.targets
    if targets.dtype.kind == "f":
        return ~np.isnan(targets)
    return targets != -100


def batch(examples: Examples) -> torch.Tensor:
    """Targets as the tasks' losses get them."""
    targets = torch.from_numpy(examples.targets)
    return targets if targets.is_floating_point() else targets.long()


def outputs_shape(task: Task, examples: Examples) -> tuple[int, ...]:
    shape = task.shape
    steps = (examples.inputs.shape[1],) if shape.readout == "every_step" else ()
    return (*steps, len(examples), shape.output_size)


def perfect(task: Task, examples: Examples) -> torch.Tensor:
    """Outputs of who knows the targets."""
    targets = batch(examples)
    if targets.is_floating_point():
        outputs = torch.nan_to_num(targets)
        if task.loss is binary_cross_entropy:
            outputs = 200 * outputs - 100
    else:
        classes = targets.clamp(min=0)
        outputs = 100.0 * torch.nn.functional.one_hot(classes, task.shape.output_size)
    return outputs.transpose(0, 1) if task.shape.readout == "every_step" else outputs


def without_inputs(task: Task, train: Examples, shape: tuple[int, ...]) -> torch.Tensor:
    """Outputs of who has seen the targets of training, step by step, and never looks at inputs."""
    targets, classes = train.targets, task.shape.output_size
    if targets.dtype.kind == "f":
        known = ~np.isnan(targets)
        best = np.nan_to_num(targets).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        if task.loss is binary_cross_entropy:
            best = best - 0.5
    else:
        counts = (targets[..., None] == np.arange(classes)).sum(axis=0)
        best = np.log((counts + 1e-9) / (counts + 1e-9).sum(axis=-1, keepdims=True))
    if task.shape.readout == "every_step":  # where test is longer: on with the last answer
        best = best[np.minimum(np.arange(shape[0]), len(best) - 1)]
    return torch.from_numpy(best).float().unsqueeze(-2).expand(shape)


@pytest.mark.parametrize("case", CASES, ids=name_of)
class TestTask(TaskConformance):
    @pytest.fixture
    def task(self, case: Case) -> Task:
        return make(case)

    @pytest.fixture
    def source(self, case: Case) -> DataSource:
        return _data(json.dumps(case))[0]

    # Declarations

    def test_no_option_is_searched(self, task: Task) -> None:
        assert not any(option.searched for option in task.options.values())

    def test_the_level_of_the_class_is_that_of_its_defaults(self, task: Task) -> None:
        assert type(task)().no_skill == type(task).no_skill

    def test_an_unknown_option_is_refused(self, task: Task) -> None:
        with pytest.raises(StudyFileError, match="unknown option `nonsense`"):
            type(task)(nonsense=1)

    # Data

    def test_the_arrays_are_of_types_and_shapes_that_every_engine_reads(
        self, task: Task, case: Case
    ) -> None:
        shape = task.shape
        for found in data(case).values():
            samples, steps, _ = found.inputs.shape
            assert found.inputs.dtype in (np.float32, np.uint8, np.int8, np.int16)
            per_step = (steps,) if shape.readout == "every_step" else ()
            if found.targets.dtype.kind == "f":
                assert found.targets.dtype == np.float32
                assert found.targets.shape == (samples, *per_step, shape.output_size)
                assert not np.isinf(found.targets).any()
            else:
                assert found.targets.shape == (samples, *per_step)
                classes = found.targets[found.targets != -100]
                assert 0 <= classes.min() <= classes.max() < shape.output_size

    def test_after_the_end_there_is_nothing_to_read_and_nothing_to_answer(
        self, task: Task, case: Case
    ) -> None:
        if task.shape.length is not None:
            pytest.skip("all sequences have one length")
        for found in data(case).values():
            assert found.lengths is not None
            padding = np.arange(found.inputs.shape[1]) >= found.lengths[:, None]
            assert (found.inputs[padding] == 0).all()
            if task.shape.readout == "every_step":
                assert not counted(found)[padding].any()

    def test_every_sequence_has_something_to_answer(self, case: Case) -> None:
        for found in data(case).values():
            assert counted(found).reshape(len(found), -1).any(axis=1).all()

    def test_another_seed_gives_other_data_in_every_split(
        self, task: Task, source: DataSource, case: Case
    ) -> None:
        if "seed" not in task.options:
            pytest.skip("nothing is drawn at random")
        other = make((case[0], {**case[1], "seed": 5}))
        assert other.find().sha256 != source.sha256
        for split in SPLITS:
            assert content(other.load(source, split)) != content(data(case)[split])

    def test_no_sequence_without_its_padding_stands_in_two_splits(self, case: Case) -> None:
        seen = [sequences(examples) for examples in data(case).values()]
        for i, some in enumerate(seen):
            assert all(not some & others for others in seen[i + 1 :])

    def test_training_and_validation_can_be_joined(self, case: Case) -> None:
        train, validation = data(case)["train"], data(case)["validation"]
        for name in ("inputs", "targets"):
            first, second = getattr(train, name), getattr(validation, name)
            assert (first.shape[1:], first.dtype) == (second.shape[1:], second.dtype)

    def test_the_test_split_is_made_only_when_it_is_asked_for(
        self, task: Task, source: DataSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = list[str]()
        generate = type(task).generate

        def watch(self: Task, split: Split) -> Examples:
            made.append(split)
            return generate(self, split)

        monkeypatch.setattr(type(task), "generate", watch)
        task.load(source, "train")
        task.load(source, "validation")
        assert "test" not in made
        task.load(source, "test")
        assert "test" in made

    # Loss and metric

    def test_the_loss_has_a_gradient_only_where_something_is_asked(
        self, task: Task, case: Case
    ) -> None:
        examples = data(case)["validation"]
        shape = outputs_shape(task, examples)
        generator = torch.Generator().manual_seed(0)
        outputs = torch.randn(shape, generator=generator).requires_grad_()
        loss = task.loss(outputs, batch(examples))
        loss.backward()
        assert loss.shape == task.score(outputs, batch(examples)).shape == ()
        assert loss.isfinite()
        assert outputs.grad is not None
        asked = torch.from_numpy(counted(examples))
        if asked.dim() < len(shape):
            asked = asked.unsqueeze(-1)
        if task.shape.readout == "every_step":
            asked = asked.transpose(0, 1)
        assert torch.equal(outputs.grad != 0, asked.expand(shape))

    def test_loss_and_score_take_outputs_that_end_with_the_longest_sequence(
        self, task: Task, case: Case
    ) -> None:
        if task.shape.length is not None or task.shape.readout != "every_step":
            pytest.skip("the outputs are never cut")
        examples = data(case)["train"]
        assert examples.lengths is not None
        steps = examples.inputs.shape[1]
        short = np.flatnonzero(examples.lengths < steps)
        longest = examples.lengths[short].max()
        targets = batch(examples)[short]
        generator = torch.Generator().manual_seed(0)
        outputs = torch.randn(steps, len(short), task.shape.output_size, generator=generator)
        for measure in (task.loss, task.score):
            cut, whole = measure(outputs[:longest], targets), measure(outputs, targets)
            assert cut.item() == pytest.approx(whole.item())

    def test_who_knows_the_answers_has_the_best_score(self, task: Task, case: Case) -> None:
        examples = data(case)["validation"]
        best = 1.0 if task.direction == "maximize" else 0.0
        found = task.score(perfect(task, examples), batch(examples)).item()
        assert found == pytest.approx(best, abs=1e-6)

    def test_no_skill_is_the_score_of_who_never_looks_at_the_inputs(
        self, task: Task, case: Case
    ) -> None:
        train, test = data(case)["train"], data(case)["test"]
        outputs = without_inputs(task, train, outputs_shape(task, test))
        found = task.score(outputs, batch(test)).item()
        # That many sequences give it to a tenth.
        assert found == pytest.approx(task.no_skill, rel=0.1)


def test_another_process_generates_the_same_data() -> None:
    code = (
        "import sys, json; from importlib import import_module\n"
        "from rnnsearch_synthetic.hooks import rnnsearch_tasks\n"
        "for name, options in json.loads(sys.argv[1]):\n"
        "    module, _, attribute = rnnsearch_tasks()[name].partition(':')\n"
        "    print(getattr(import_module(module), attribute)(**options).find().sha256)"
    )
    command = [sys.executable, "-c", code, json.dumps(CASES)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)
    assert answer.stdout.split() == [_data(json.dumps(case))[0].sha256 for case in CASES]
