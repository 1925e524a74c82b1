"""The suite of generated tasks catches each broken rule with the check meant for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from rnnsearch import (
    DataSource,
    Examples,
    GeneratedTask,
    IntRange,
    SequenceShape,
    Split,
    Value,
    cross_entropy,
    generated_options,
    mean_squared_error,
    split_of,
)
from rnnsearch.spec.parameters import Parameters
from rnnsearch.spec.shape import Direction
from rnnsearch.testing import GeneratedTaskConformance
from rnnsearch.testing.tasks import IGNORED, SPLITS

SIZES = {"train_size": 300, "validation_size": 100, "test_size": 300}
SHORTEST, STEPS = 10, 16


class Good(GeneratedTask):
    """At every step after the first, repeat the previous bit, in strings of zeros and ones."""

    options: ClassVar[Parameters] = generated_options(300, 100, 300)
    metric: ClassVar[str] = "accuracy"
    direction: ClassVar[Direction] = "maximize"
    no_skill: ClassVar[float] = 0.5

    loss = cross_entropy

    @property
    def shape(self) -> SequenceShape:
        return SequenceShape(input_size=1, output_size=2, length=None, readout="every_step")

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Share of right bits in each string, averaged over strings."""
        outputs = outputs.transpose(0, 1)
        targets = targets[:, : outputs.shape[1]]
        counted = targets != IGNORED
        right = (outputs.argmax(dim=-1) == targets) & counted
        return (right.sum(dim=1) / counted.sum(dim=1)).mean()

    def generate(self, split: Split) -> Examples:
        chance = self.generator(split)
        bits = np.zeros((self.size(split), STEPS), np.int8)
        lengths = chance.randint(SHORTEST, STEPS + 1, len(bits))
        for row, length in zip(bits, lengths, strict=True):
            row[:length] = chance.randint(0, 2, length)
            while split_of(row[:length].tobytes()) != split:
                row[:length] = chance.randint(0, 2, length)
        targets = np.full(bits.shape, IGNORED, np.int64)
        targets[:, 1:] = bits[:, :-1]
        targets[np.arange(STEPS) >= lengths[:, None]] = IGNORED
        return Examples(bits[:, :, None], targets, lengths)


class GoodValue(GeneratedTask):
    """After eight random numbers, repeat the first."""

    options: ClassVar[Parameters] = generated_options(300, 100, 300)
    metric: ClassVar[str] = "squared_error"
    direction: ClassVar[Direction] = "minimize"
    no_skill: ClassVar[float] = 1 / 12  # the variance of a number between 0 and 1

    loss = mean_squared_error
    score = mean_squared_error

    @property
    def shape(self) -> SequenceShape:
        return SequenceShape(input_size=1, output_size=1, length=8, readout="last_step")

    def generate(self, split: Split) -> Examples:
        inputs = self.generator(split).uniform(size=(self.size(split), 8, 1)).astype(np.float32)
        return Examples(inputs, inputs[:, 0])


class AsksInThePadding(Good):
    """The library masks these by the lengths."""

    def generate(self, split: Split) -> Examples:
        found = super().generate(split)
        assert found.lengths is not None
        found.targets[np.arange(STEPS) >= found.lengths[:, None]] = 0
        return found


@pytest.mark.parametrize("kind", [Good, GoodValue, AsksInThePadding])
class TestGood(GeneratedTaskConformance):
    @pytest.fixture
    def task(self, kind: type[GeneratedTask]) -> GeneratedTask:
        return kind(**SIZES)


# Declarations


class SearchedOption(Good):
    options: ClassVar[Parameters] = {**Good.options, "level": IntRange(1, 3, default=1)}


class OtherNoSkillAtTheDefaults(Good):
    def __init__(self, **options: Value) -> None:
        super().__init__(**options)
        self.no_skill = 0.25


class TakesAnyOption(Good):
    def __init__(self, **options: Value) -> None:
        super().__init__(**{name: v for name, v in options.items() if name in self.options})


# Data


class Float64Inputs(GoodValue):
    def generate(self, split: Split) -> Examples:
        found = super().generate(split)
        return replace(found, inputs=found.inputs.astype(np.float64))


class Float64Targets(GoodValue):
    def generate(self, split: Split) -> Examples:
        found = super().generate(split)
        return replace(found, targets=found.targets.astype(np.float64))


class FlatTargets(GoodValue):
    """A loss that broadcasts would spread them over all pairs of samples."""

    def generate(self, split: Split) -> Examples:
        found = super().generate(split)
        return replace(found, targets=found.targets[:, 0])


class InfiniteTarget(GoodValue):
    def generate(self, split: Split) -> Examples:
        found = super().generate(split)
        found.targets[0] = np.inf
        return found


class ClassesFromOne(Good):
    def generate(self, split: Split) -> Examples:
        found = super().generate(split)
        return replace(found, targets=np.where(found.targets >= 0, found.targets + 1, IGNORED))


class OneHotClasses(Good):
    def generate(self, split: Split) -> Examples:
        found = super().generate(split)
        return replace(found, targets=np.stack((found.targets == 0, found.targets == 1), axis=-1))


class PaddingOfOnes(Good):
    def generate(self, split: Split) -> Examples:
        found = super().generate(split)
        assert found.lengths is not None
        found.inputs[np.arange(STEPS) >= found.lengths[:, None]] = 1
        return found


class NothingToAnswerInOne(Good):
    def generate(self, split: Split) -> Examples:
        found = super().generate(split)
        found.targets[-1] = IGNORED
        return found


class SeedFromHash(Good):
    def generator(self, split: Split) -> np.random.RandomState:
        return np.random.RandomState(hash(split) % 2**32)


class IgnoresTheSeed(Good):
    def generator(self, split: Split) -> np.random.RandomState:
        return np.random.RandomState(SPLITS.index(split))


class OneTestForAllSeeds(Good):
    def generator(self, split: Split) -> np.random.RandomState:
        return np.random.RandomState(0) if split == "test" else super().generator(split)


class OneStreamForAllSplits(GoodValue):
    def generator(self, split: Split) -> np.random.RandomState:
        return super().generator("train")


class LongerValidation(Good):
    """Each split is as long as its longest sequence, or longer."""

    def generate(self, split: Split) -> Examples:
        found = super().generate(split)
        more = (0, SPLITS.index(split))
        targets = np.pad(found.targets, ((0, 0), more), constant_values=IGNORED)
        return replace(found, inputs=np.pad(found.inputs, ((0, 0), more, (0, 0))), targets=targets)


class MakesAllSplitsAtOnce(Good):
    def load(self, source: DataSource, split: Split) -> Examples:
        return {name: self.generate(name) for name in SPLITS}[split]


class SizesNotAsAsked(Good):
    """Drops repeated sequences after reporting the sizes."""

    def load(self, source: DataSource, split: Split) -> Examples:
        found = self.generate(split)
        assert found.lengths is not None
        return Examples(found.inputs[1:], found.targets[1:], found.lengths[1:])


# Loss and metric


class LossOfThePadding(Good):
    """Treats missing targets as zeros."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets.clamp(min=0))


class LossOfTheLastStep(Good):
    """Ignores all earlier targets."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        counted = (targets != IGNORED).cumsum(dim=1)
        last = counted == counted.max(dim=1, keepdim=True).values
        return cross_entropy(outputs, torch.where(last, targets, IGNORED))


class LossOverAllSteps(Good):
    """Divides by the number of steps, some of which may be cut off."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        counted = (targets != IGNORED).sum()
        return cross_entropy(outputs, targets) * counted / outputs[..., 0].numel()


class LossOfWholeOutputs(Good):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(outputs.permute(1, 2, 0), targets)


class ScoreOverAllSteps(Good):
    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        counted = (targets != IGNORED).sum()
        return super().score(outputs, targets) * counted / outputs[..., 0].numel()


class WrongDirection(Good):
    direction: ClassVar[Direction] = "minimize"


class NoSkillOfOneClassInThree(Good):
    no_skill: ClassVar[float] = 1 / 3


class NoSkillOfTheOutputZero(GoodValue):
    """The mean square instead of the variance: predicting the mean needs no inputs."""

    no_skill: ClassVar[float] = 1 / 3


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[GeneratedTask], str], None]:
    """Runs a check on a task."""

    def run(kind: type[GeneratedTask], check: str) -> None:
        task = kind(**SIZES)
        available = {
            "task": lambda: task,
            "source": task.find,
            "data": lambda: {split: task.generate(split) for split in SPLITS},
            "monkeypatch": lambda: monkeypatch,
        }
        method = getattr(GeneratedTaskConformance(), f"test_{check}")
        method(**{name: available[name]() for name in inspect.signature(method).parameters})

    return run


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (SearchedOption, "no_option_is_searched"),
        (OtherNoSkillAtTheDefaults, "the_level_of_the_class_is_that_of_its_defaults"),
        (Float64Inputs, "the_arrays_are_of_types_and_shapes_that_every_engine_reads"),
        (Float64Targets, "the_arrays_are_of_types_and_shapes_that_every_engine_reads"),
        (FlatTargets, "the_arrays_are_of_types_and_shapes_that_every_engine_reads"),
        (InfiniteTarget, "the_arrays_are_of_types_and_shapes_that_every_engine_reads"),
        (ClassesFromOne, "the_arrays_are_of_types_and_shapes_that_every_engine_reads"),
        (OneHotClasses, "the_arrays_are_of_types_and_shapes_that_every_engine_reads"),
        (PaddingOfOnes, "after_the_end_there_is_nothing_to_read_and_nothing_to_answer"),
        (NothingToAnswerInOne, "every_sequence_has_something_to_answer"),
        (SeedFromHash, "another_process_generates_the_same_data"),
        (IgnoresTheSeed, "another_seed_gives_other_data_in_every_split"),
        (OneTestForAllSeeds, "another_seed_gives_other_data_in_every_split"),
        (OneStreamForAllSplits, "no_sequence_stands_in_two_splits"),
        (LongerValidation, "training_and_validation_can_be_joined"),
        (MakesAllSplitsAtOnce, "the_test_split_is_made_only_when_it_is_asked_for"),
        (SizesNotAsAsked, "the_source_names_the_data_and_counts_them"),
        (LossOfThePadding, "the_loss_has_a_gradient_only_where_something_is_asked"),
        (LossOfTheLastStep, "the_loss_has_a_gradient_only_where_something_is_asked"),
        (LossOverAllSteps, "loss_and_score_take_outputs_that_end_with_the_longest_sequence"),
        (ScoreOverAllSteps, "loss_and_score_take_outputs_that_end_with_the_longest_sequence"),
        (WrongDirection, "who_knows_the_answers_has_the_best_score"),
        (NoSkillOfOneClassInThree, "no_skill_is_the_score_of_who_never_looks_at_the_inputs"),
        (NoSkillOfTheOutputZero, "no_skill_is_the_score_of_who_never_looks_at_the_inputs"),
    ],
)
def test_a_broken_promise_is_caught_by_its_check(
    broken: type[GeneratedTask], check: str, run: Callable[[type[GeneratedTask], str], None]
) -> None:
    with pytest.raises(AssertionError):
        run(broken, check)


def test_a_task_that_takes_any_option_is_caught(
    run: Callable[[type[GeneratedTask], str], None],
) -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        run(TakesAnyOption, "an_unknown_option_is_refused")


def test_a_loss_that_needs_outputs_of_all_steps_is_caught(
    run: Callable[[type[GeneratedTask], str], None],
) -> None:
    with pytest.raises(RuntimeError, match="Expected target size"):
        run(LossOfWholeOutputs, "loss_and_score_take_outputs_that_end_with_the_longest_sequence")
