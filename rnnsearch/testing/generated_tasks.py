"""The conformance suite of tasks whose data is generated: what holds beyond that of any task."""

from __future__ import annotations

import pickle
from functools import cache

import numpy as np
import pytest
import torch
from typing_extensions import override

from rnnsearch.errors import StudyFileError
from rnnsearch.plugin.generated_task import GeneratedTask, digest_of
from rnnsearch.plugin.losses import asked
from rnnsearch.plugin.task import Examples
from rnnsearch.spec.parameters import Value
from rnnsearch.spec.shape import DataSource, Split
from rnnsearch.testing.probes import elsewhere, noise
from rnnsearch.testing.tasks import (
    SPLITS,
    TaskConformance,
    as_batches,
    outputs_shape,
)

_Data = dict[Split, Examples]


def _digest(pickled: bytes) -> str:
    task: GeneratedTask = pickle.loads(pickled)
    return task.find().sha256


@cache
def _generated(kind: type[GeneratedTask], options: tuple[tuple[str, Value], ...]) -> _Data:
    task = kind(**dict(options))
    return {split: task.generate(split) for split in SPLITS}


class GeneratedTaskConformance(TaskConformance):
    """Every check that a task has to pass whose data is generated.

    Subclass it under a name that starts with `Test` and return an instance from `task`: one with
    splits of a few hundred samples, so that the level of no skill can be measured on them.
    """

    @pytest.fixture
    @override
    def task(self) -> GeneratedTask:
        """The task under test."""
        raise NotImplementedError

    @pytest.fixture
    def data(self, task: GeneratedTask) -> _Data:
        """All its splits, made once for all tests."""
        return _generated(type(task), tuple(task.chosen.items()))

    # Declarations

    def test_no_option_is_searched(self, task: GeneratedTask) -> None:
        assert not any(option.searched for option in task.options.values())

    def test_the_level_of_the_class_is_that_of_its_defaults(self, task: GeneratedTask) -> None:
        assert type(task)().no_skill == type(task).no_skill

    def test_an_unknown_option_is_refused(self, task: GeneratedTask) -> None:
        with pytest.raises(StudyFileError, match="unknown option `nonsense`"):
            type(task)(nonsense=1)

    # Data

    def test_the_arrays_are_of_types_and_shapes_that_every_engine_reads(
        self, task: GeneratedTask, data: _Data
    ) -> None:
        for split, found in data.items():
            as_batches(task, found)
            read = {"inputs": (np.float32, np.uint8, np.int8, np.int16), "targets": (np.float32,)}
            for name, types in read.items():
                dtype = getattr(found, name).dtype
                if name == "inputs" or dtype.kind == "f":
                    known = ", ".join(one.__name__ for one in types)
                    assert dtype in types, f"{name} of {split} are {dtype}: write {known}"

    def test_after_the_end_there_is_nothing_to_read_and_nothing_to_answer(
        self, task: GeneratedTask, data: _Data
    ) -> None:
        if task.shape.length is not None:
            pytest.skip("all sequences have one length")
        for split, found in data.items():
            assert found.lengths is not None
            padding = np.arange(found.inputs.shape[1]) >= found.lengths[:, None]
            left = np.argwhere((found.inputs != 0).any(axis=-1) & padding)
            assert not len(left), f"{len(left)} steps of {split} after the end: fill them with 0"
            if task.shape.readout == "every_step":
                # The library masks them, whatever stands there.
                assert not asked(as_batches(task, found).targets)[torch.from_numpy(padding)].any()

    def test_every_sequence_has_something_to_answer(self, task: GeneratedTask, data: _Data) -> None:
        for split, found in data.items():
            targets = as_batches(task, found).targets
            empty = (~asked(targets).reshape(len(targets), -1).any(dim=1)).nonzero().flatten()
            assert not len(empty), f"nothing is asked in sample {int(empty[0])} of {split}"

    def test_another_process_generates_the_same_data(self, task: GeneratedTask) -> None:
        """A seed taken from `hash` of a string, for one, differs between processes."""
        sent = pickle.dumps(task)
        assert elsewhere(_digest, sent) == _digest(sent)

    def test_another_seed_gives_other_data_in_every_split(
        self, task: GeneratedTask, source: DataSource, data: _Data
    ) -> None:
        if "seed" not in task.options:
            pytest.skip("nothing is drawn at random")
        other = type(task)(**{**task.chosen, "seed": int(task.chosen["seed"]) + 1})
        assert other.find().sha256 != source.sha256
        for split in SPLITS:
            assert digest_of(other.generate(split)) != digest_of(data[split])

    def test_training_and_validation_can_be_joined(self, data: _Data) -> None:
        for name in ("inputs", "targets"):
            first, second = getattr(data["train"], name), getattr(data["validation"], name)
            assert (first.shape[1:], first.dtype) == (second.shape[1:], second.dtype)

    def test_the_test_split_is_made_only_when_it_is_asked_for(
        self, task: GeneratedTask, source: DataSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = list[str]()
        generate = type(task).generate

        def watch(self: GeneratedTask, split: Split) -> Examples:
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
        self, task: GeneratedTask, data: _Data
    ) -> None:
        examples = data["validation"]
        shape = outputs_shape(task, examples)
        outputs = noise(*shape, seed=0, dtype=torch.float32).requires_grad_()
        targets = as_batches(task, examples).targets
        loss = task.loss(outputs, targets)
        loss.backward()
        assert loss.shape == task.score(outputs, targets).shape == ()
        assert loss.isfinite()
        assert outputs.grad is not None
        counted = asked(targets)
        if counted.dim() < len(shape):
            counted = counted.unsqueeze(-1)
        if task.shape.readout == "every_step":
            counted = counted.transpose(0, 1)
        assert torch.equal(outputs.grad != 0, counted.expand(shape))

    def test_loss_and_score_take_outputs_that_end_with_the_longest_sequence(
        self, task: GeneratedTask, data: _Data
    ) -> None:
        if task.shape.length is not None or task.shape.readout != "every_step":
            pytest.skip("the outputs are never cut")
        examples = data["train"]
        assert examples.lengths is not None
        steps = examples.inputs.shape[1]
        short = np.flatnonzero(examples.lengths < steps)
        longest = examples.lengths[short].max()
        targets = as_batches(task, examples).targets[short]
        outputs = noise(steps, len(short), task.shape.output_size, seed=0, dtype=torch.float32)
        for measure in (task.loss, task.score):
            cut, whole = measure(outputs[:longest], targets), measure(outputs, targets)
            assert cut.item() == pytest.approx(whole.item())
