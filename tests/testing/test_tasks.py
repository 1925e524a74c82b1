"""The task suite catches each broken rule with the check meant for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from rnnsearch import (
    NOT_ASKED,
    Choice,
    DataSource,
    Examples,
    SequenceShape,
    Split,
    Task,
    Value,
    accuracy,
    cross_entropy,
)
from rnnsearch.spec.parameters import Parameters
from rnnsearch.spec.shape import Direction
from rnnsearch.testing import TaskConformance
from rnnsearch.testing.tasks import SPLITS

SIZES = {"train": 12, "validation": 6, "test": 7}
STEPS = 9


class Good(Task):
    """Which of three inputs is largest overall, for sequences of different lengths."""

    options: ClassVar[Parameters] = {"scale": Choice((1, 2), default=1, searched=False)}
    metric: ClassVar[str] = "accuracy"
    direction: ClassVar[Direction] = "maximize"
    no_skill: ClassVar[float] = 1 / 3

    loss = cross_entropy
    score = accuracy

    @property
    def shape(self) -> SequenceShape:
        return SequenceShape(input_size=3, output_size=3, length=None, readout="masked_step")

    def find(self) -> DataSource:
        return DataSource("noise", "made here", "", "0" * 64, SIZES)

    def load(self, source: DataSource, split: Split) -> Examples:
        return self.draw(split, np.random.RandomState(SPLITS.index(split)))

    def draw(self, split: Split, numbers: np.random.RandomState) -> Examples:
        """The samples of a split from random numbers."""
        lengths = numbers.randint(3, STEPS + 1, SIZES[split])
        inputs = numbers.standard_normal((SIZES[split], STEPS, 3)).astype(np.float32)
        inputs *= int(self.chosen["scale"])
        inputs[np.arange(STEPS) >= lengths[:, None]] = 0
        return Examples(inputs, inputs.sum(axis=1).argmax(axis=-1), lengths)


class GoodAtEveryStep(Good):
    """Which input is largest at each step, for sequences of one length."""

    @property
    def shape(self) -> SequenceShape:
        return SequenceShape(input_size=3, output_size=3, length=STEPS, readout="every_step")

    def draw(self, split: Split, numbers: np.random.RandomState) -> Examples:
        inputs = numbers.standard_normal((SIZES[split], STEPS, 3)).astype(np.float32)
        return Examples(inputs, inputs.argmax(axis=-1))


class Tagging(Good):
    """Which input is largest at each step, for sequences of different lengths, padded with -100."""

    padding: ClassVar[int] = NOT_ASKED

    @property
    def shape(self) -> SequenceShape:
        return SequenceShape(input_size=3, output_size=3, length=None, readout="every_step")

    def draw(self, split: Split, numbers: np.random.RandomState) -> Examples:
        found = super().draw(split, numbers)
        assert found.lengths is not None
        tags = found.inputs.argmax(axis=-1)
        tags[np.arange(STEPS) >= found.lengths[:, None]] = self.padding
        return replace(found, targets=tags)


class TaggingWithPaddingOfClass0(Tagging):
    """The library masks padding by the lengths, so it is the same task."""

    padding: ClassVar[int] = 0


class OwnShareOfLabels(Tagging):
    """A user-defined score that is a mean over labels."""

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        targets = targets[:, : len(outputs)]
        right = (targets == outputs.argmax(dim=-1).T) & (targets != NOT_ASKED)
        return right.sum() / (targets != NOT_ASKED).sum()


class OwnShareOfSequences(Tagging):
    """A user-defined score over sequences: the share that is right at every step."""

    no_skill: ClassVar[float] = 0.0

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        targets = targets[:, : len(outputs)]
        right = (targets == outputs.argmax(dim=-1).T) | (targets == NOT_ASKED)
        return right.all(dim=1).float().mean()


@pytest.mark.parametrize(
    "kind",
    [
        Good,
        GoodAtEveryStep,
        Tagging,
        TaggingWithPaddingOfClass0,
        OwnShareOfLabels,
        OwnShareOfSequences,
    ],
)
class TestGood(TaskConformance):
    @pytest.fixture
    def task(self, kind: type[Task]) -> Task:
        return kind(scale=2)


# Declarations


class InvalidDefault(Good):
    options: ClassVar[Parameters] = {"scale": Choice((1, 2), default=3)}


class MetricInWords(Good):
    metric: ClassVar[str] = "top-1 accuracy"


class NoSkillOfAlmostAll(GoodAtEveryStep):
    no_skill: ClassVar[float] = 0.95


class BrokenByAnOption(Good):
    def draw(self, split: Split, numbers: np.random.RandomState) -> Examples:
        found = super().draw(split, numbers)
        return replace(found, targets=found.targets + (self.chosen["scale"] == 2))


class DirectionInOtherWords(Good):
    direction: ClassVar[Any] = "max"


class NoSkillUnknown(Good):
    no_skill: ClassVar[float] = float("nan")


class UnknownKindOfData(Good):
    data: ClassVar[str] = "sequences"


class ShapeFromTheData(Good):
    @property
    def shape(self) -> SequenceShape:
        features = self.load(self.find(), "train").inputs.shape[-1]
        return replace(super().shape, input_size=features)


class UnknownReadout(Good):
    @property
    def shape(self) -> SequenceShape:
        return replace(super().shape, readout="last")


class ReadsTheLastStepOfPadding(Good):
    @property
    def shape(self) -> SequenceShape:
        return replace(super().shape, readout="last_step")


class ForgetsItsOptionsWhenPickled(Good):
    def __reduce__(self) -> Any:
        return type(self), ()


class HoldsALambda(Good):
    def __init__(self, **options: Value) -> None:
        super().__init__(**options)
        self.transform = lambda x: x


# Data


class SourceWithoutName(Good):
    def find(self) -> DataSource:
        return replace(super().find(), dataset="")


class ShortDigest(Good):
    def find(self) -> DataSource:
        return replace(super().find(), sha256="0" * 32)


class DigestOfTheMoment(Good):
    """A digest of something that changes between calls, such as a path or a date."""

    looks: ClassVar[list[int]] = [0]

    def find(self) -> DataSource:
        self.looks[0] += 1
        return replace(super().find(), sha256=f"{self.looks[0]:064}")


class SizesWithoutTest(Good):
    def find(self) -> DataSource:
        return replace(super().find(), sizes={"train": 12, "validation": 6})


class SizesNotAsCounted(Good):
    def find(self) -> DataSource:
        return replace(super().find(), sizes={**SIZES, "test": 12})


class OneInputMore(Good):
    def draw(self, split: Split, numbers: np.random.RandomState) -> Examples:
        found = super().draw(split, numbers)
        return replace(found, inputs=np.pad(found.inputs, ((0, 0), (0, 0), (0, 1))))


class OneTargetLess(Good):
    def draw(self, split: Split, numbers: np.random.RandomState) -> Examples:
        found = super().draw(split, numbers)
        return replace(found, targets=found.targets[1:])


class InputThatIsNoNumber(Good):
    """In one split only."""

    def draw(self, split: Split, numbers: np.random.RandomState) -> Examples:
        found = super().draw(split, numbers)
        if split == "test":
            found.inputs[-1, 0, 0] = np.nan
        return found


class NoLengths(Good):
    def draw(self, split: Split, numbers: np.random.RandomState) -> Examples:
        return replace(super().draw(split, numbers), lengths=None)


class EmptySequence(Good):
    def draw(self, split: Split, numbers: np.random.RandomState) -> Examples:
        found = super().draw(split, numbers)
        assert found.lengths is not None
        found.lengths[0] = 0
        return found


class LengthsBeyondTheEnd(Good):
    def draw(self, split: Split, numbers: np.random.RandomState) -> Examples:
        found = super().draw(split, numbers)
        assert found.lengths is not None
        return replace(found, lengths=found.lengths + STEPS)


class ClassesFromOne(Good):
    def draw(self, split: Split, numbers: np.random.RandomState) -> Examples:
        found = super().draw(split, numbers)
        return replace(found, targets=found.targets + 1)


class AnotherLength(GoodAtEveryStep):
    @property
    def shape(self) -> SequenceShape:
        return replace(super().shape, length=STEPS + 1)


class LengthsOfOneLength(GoodAtEveryStep):
    def draw(self, split: Split, numbers: np.random.RandomState) -> Examples:
        found = super().draw(split, numbers)
        return replace(found, lengths=np.full(len(found), STEPS))


class OneTargetForAllSteps(GoodAtEveryStep):
    def draw(self, split: Split, numbers: np.random.RandomState) -> Examples:
        found = super().draw(split, numbers)
        return replace(found, targets=found.targets[:, :1])


class DrawnAnew(Good):
    def load(self, source: DataSource, split: Split) -> Examples:
        return self.draw(split, np.random.RandomState())


class DrawnOnward(Good):
    """Each load continues where the last load of its split ended."""

    def __init__(self, **options: Value) -> None:
        super().__init__(**options)
        self.numbers = {split: np.random.RandomState(i) for i, split in enumerate(SPLITS)}

    def load(self, source: DataSource, split: Split) -> Examples:
        return self.draw(split, self.numbers[split])


class LengthsDrawnAnew(Good):
    def load(self, source: DataSource, split: Split) -> Examples:
        found = super().load(source, split)
        return replace(found, lengths=np.random.randint(1, STEPS + 1, len(found)))


class ValidatesOnTraining(Good):
    def load(self, source: DataSource, split: Split) -> Examples:
        if split != "validation":
            return super().load(source, split)
        found = super().load(source, "train")
        assert found.lengths is not None
        return Examples(found.inputs[-6:], found.targets[-6:], found.lengths[-6:])


class TrainingSequencesInTest(Good):
    """The same sequences with more padding, as if each split were padded to its own longest."""

    def load(self, source: DataSource, split: Split) -> Examples:
        if split != "test":
            return super().load(source, split)
        found = super().load(source, "train")
        longer = np.pad(found.inputs, ((0, 0), (0, 5), (0, 0)))
        return replace(found, inputs=longer)


# Loss and metric


class LossOfEachSample(Good):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")


class LossThatIsNoNumber(Good):
    """The logarithm of values that may be negative."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -outputs.gather(1, targets[:, None]).log().mean()


class LossWithoutGradient(Good):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 1 - accuracy(outputs, targets)


class LossThatNeverFalls(Good):
    """A hinge so far away that no output reaches it."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - 1e3).relu().mean()


class ScoreOfEachSample(Good):
    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(dim=-1) == targets).float()


class ScoreBeyondAllBounds(Good):
    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 1 / accuracy(outputs * 0, targets * 0 + 1)


class ScoreOfSomeSamples(Good):
    """Scores a random half of the batch."""

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        some = torch.randperm(len(targets))[: max(1, len(targets) // 2)]
        return cross_entropy(outputs[some], targets[some])


class ScoreOfSomeSamplesByNumpy(Good):
    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return accuracy(outputs, targets) + float(np.random.rand())


class SumOverSamples(Good):
    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return accuracy(outputs, targets) * len(targets)


class ErrorOfTheRoot(GoodAtEveryStep):
    """The root of a mean is not the mean of roots."""

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets).sqrt()


class MacroRecall(Tagging):
    """A mean over classes is not a mean over labels or samples."""

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        found, targets = outputs.argmax(dim=-1).T, targets[:, : len(outputs)]
        recalls = [(found == c)[targets == c].float().mean().nan_to_num() for c in range(3)]
        return torch.stack(recalls).mean()


class WrongDirection(Good):
    direction: ClassVar[Direction] = "minimize"


class ScoreOfTheWrongAnswers(Good):
    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 1 - accuracy(outputs, targets)


class TimeFirst(GoodAtEveryStep):
    """Treats targets as time first, like the outputs."""

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        found = outputs.argmax(dim=-1).flatten() == targets.flatten()
        return found.float().mean()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Task], str], None]:
    """Run a check on a task, for every split if the check takes one."""

    def run(kind: type[Task], check: str) -> None:
        method = getattr(TaskConformance(), f"test_{check}")
        task = kind() if kind is InvalidDefault else kind(scale=2)
        asked = inspect.signature(method).parameters
        given = {"task": task, "source": task.find(), "monkeypatch": monkeypatch}
        for split in SPLITS if "split" in asked else SPLITS[:1]:
            given["split"] = split
            method(**{name: given[name] for name in asked})

    return run


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (InvalidDefault, "declared_options_have_valid_defaults"),
        (MetricInWords, "metric_direction_and_no_skill_level_are_declared"),
        (DirectionInOtherWords, "metric_direction_and_no_skill_level_are_declared"),
        (NoSkillUnknown, "metric_direction_and_no_skill_level_are_declared"),
        (UnknownKindOfData, "metric_direction_and_no_skill_level_are_declared"),
        (UnknownReadout, "shape_is_known_without_reading_data"),
        (ReadsTheLastStepOfPadding, "shape_is_known_without_reading_data"),
        (ForgetsItsOptionsWhenPickled, "pickles_to_a_worker"),
        (SourceWithoutName, "the_source_names_the_data_and_counts_them"),
        (ShortDigest, "the_source_names_the_data_and_counts_them"),
        (DigestOfTheMoment, "the_source_names_the_data_and_counts_them"),
        (SizesWithoutTest, "the_source_names_the_data_and_counts_them"),
        (SizesNotAsCounted, "the_source_names_the_data_and_counts_them"),
        (OneInputMore, "examples_have_the_declared_shape"),
        (OneTargetLess, "examples_have_the_declared_shape"),
        (InputThatIsNoNumber, "examples_have_the_declared_shape"),
        (NoLengths, "examples_have_the_declared_shape"),
        (EmptySequence, "examples_have_the_declared_shape"),
        (LengthsBeyondTheEnd, "examples_have_the_declared_shape"),
        (ClassesFromOne, "examples_have_the_declared_shape"),
        (AnotherLength, "examples_have_the_declared_shape"),
        (LengthsOfOneLength, "examples_have_the_declared_shape"),
        (OneTargetForAllSteps, "examples_have_the_declared_shape"),
        (DrawnAnew, "a_split_is_the_same_every_time"),
        (DrawnOnward, "a_split_is_the_same_every_time"),
        (LengthsDrawnAnew, "a_split_is_the_same_every_time"),
        (ValidatesOnTraining, "no_sequence_stands_in_two_splits"),
        (TrainingSequencesInTest, "no_sequence_stands_in_two_splits"),
        (LossOfEachSample, "loss_is_a_scalar_with_a_finite_gradient"),
        (LossThatIsNoNumber, "loss_is_a_scalar_with_a_finite_gradient"),
        (LossThatNeverFalls, "loss_is_a_scalar_with_a_finite_gradient"),
        (ScoreOfEachSample, "metric_is_a_finite_scalar_that_draws_nothing"),
        (ScoreBeyondAllBounds, "metric_is_a_finite_scalar_that_draws_nothing"),
        (ScoreOfSomeSamples, "metric_is_a_finite_scalar_that_draws_nothing"),
        (ScoreOfSomeSamplesByNumpy, "metric_is_a_finite_scalar_that_draws_nothing"),
        (SumOverSamples, "metric_of_a_batch_is_the_mean_over_its_samples"),
        (ErrorOfTheRoot, "metric_of_a_batch_is_the_mean_over_its_samples"),
        (MacroRecall, "metric_of_a_batch_is_the_mean_over_its_samples"),
        (WrongDirection, "who_knows_the_answers_has_the_best_score"),
        (ScoreOfTheWrongAnswers, "who_knows_the_answers_has_the_best_score"),
        (TimeFirst, "who_knows_the_answers_has_the_best_score"),
        (NoSkillOfAlmostAll, "no_skill_is_the_score_of_who_never_looks_at_the_inputs"),
        (BrokenByAnOption, "options_other_than_the_default_keep_the_contract"),
    ],
)
def test_a_broken_promise_is_caught_by_its_check(
    broken: type[Task], check: str, run: Callable[[type[Task], str], None]
) -> None:
    with pytest.raises(AssertionError):
        run(broken, check)


@pytest.mark.parametrize(
    ("broken", "check", "error"),
    [
        (HoldsALambda, "pickles_to_a_worker", "pickle"),
        (LossWithoutGradient, "loss_is_a_scalar_with_a_finite_gradient", "does not require grad"),
    ],
)
def test_a_broken_promise_that_python_or_torch_notices_stops_its_check(
    broken: type[Task], check: str, error: str, run: Callable[[type[Task], str], None]
) -> None:
    with pytest.raises((AttributeError, RuntimeError), match=error):
        run(broken, check)


def test_a_metric_that_is_no_mean_is_refused_in_words(
    run: Callable[[type[Task], str], None],
) -> None:
    with pytest.raises(AssertionError, match=r"F1, AUC and the like .* cannot be a task's metric"):
        run(MacroRecall, "metric_of_a_batch_is_the_mean_over_its_samples")


def test_a_shape_that_is_read_from_the_data_is_caught(
    run: Callable[[type[Task], str], None],
) -> None:
    with pytest.raises(pytest.fail.Exception, match="reads data"):
        run(ShapeFromTheData, "shape_is_known_without_reading_data")


def test_as_many_sequences_may_repeat_as_the_task_says_and_no_more() -> None:
    class Repeating(ValidatesOnTraining):  # all its validation samples
        may_repeat = 1.0

    class RepeatingHalf(ValidatesOnTraining):
        may_repeat = 0.5

    suite = TaskConformance()
    suite.test_no_sequence_stands_in_two_splits(Repeating(), Repeating().find())
    with pytest.raises(AssertionError, match="sequences of validation stand in"):
        suite.test_no_sequence_stands_in_two_splits(RepeatingHalf(), RepeatingHalf().find())
