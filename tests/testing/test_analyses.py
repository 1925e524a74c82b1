"""The suite of analyses catches each broken rule with the check meant for it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from rnnsearch import Analysis, Finding, IntRange, TrainedModel
from rnnsearch.spec.parameters import Parameters
from rnnsearch.testing import AnalysisConformance
from rnnsearch.testing.analyses import example_model


@pytest.fixture(autouse=True)
def fresh_models() -> Iterator[None]:
    """Some analyses below modify the models, which are made only once."""
    example_model.cache_clear()
    yield
    example_model.cache_clear()


class Good(Analysis):
    """Size of the outputs of a model with recurrent layers."""

    options: ClassVar[Parameters] = {"samples": IntRange(1, 100, default=4)}

    def refusal(self, trained: TrainedModel) -> str | None:
        return None if trained.layers else "it has no recurrent layer"

    def outputs(self, trained: TrainedModel) -> Tensor:
        """Outputs of the model."""
        with torch.no_grad():
            outputs: Tensor = trained.model(*trained.inputs(0, int(self.chosen["samples"])))
        return outputs

    def analyse(self, trained: TrainedModel) -> list[Finding]:
        outputs = self.outputs(trained)
        figure = Figure(figsize=(2, 2))
        figure.subplots().hist(outputs.flatten())
        numbers = {"largest": float(outputs.max()), "smallest": float(outputs.min())}
        return [
            Finding("outputs", "How large each output is.", figure),
            Finding("extremes", "The largest and the smallest output.", numbers=numbers),
        ]


class TestGood(AnalysisConformance):
    @pytest.fixture
    def analysis_class(self) -> type[Analysis]:
        return Good


class InvalidDefault(Good):
    options: ClassVar[Parameters] = {"samples": IntRange(1, 100, default=0)}


class RefusesEverything(Good):
    def refusal(self, trained: TrainedModel) -> str | None:
        return "it takes nothing"


class RefusesWithoutWords(Good):
    def refusal(self, trained: TrainedModel) -> str | None:
        return "" if trained.spec.model.architecture == "lstm" else None


class FindsNothing(Good):
    def analyse(self, trained: TrainedModel) -> list[Finding]:
        return []


class FindsNothingInTokens(Good):
    def analyse(self, trained: TrainedModel) -> list[Finding]:
        return [] if trained.task.shape.vocabulary else super().analyse(trained)


class OneNameForTwo(Good):
    def analyse(self, trained: TrainedModel) -> list[Finding]:
        return [replace(finding, name="outputs") for finding in super().analyse(trained)]


class NameThatIsNoFile(Good):
    def analyse(self, trained: TrainedModel) -> list[Finding]:
        return [replace(f, name=f"{f.name} of {trained.label}") for f in super().analyse(trained)]


class CaptionThatIsNoSentence(Good):
    def analyse(self, trained: TrainedModel) -> list[Finding]:
        return [replace(finding, caption="outputs") for finding in super().analyse(trained)]


class NothingToSee(Good):
    def analyse(self, trained: TrainedModel) -> list[Finding]:
        return [replace(finding, figure=None) for finding in super().analyse(trained)]


class NotANumber(Good):
    """Takes the mean of nothing."""

    def analyse(self, trained: TrainedModel) -> list[Finding]:
        numbers = {"mean": float(self.outputs(trained)[:0].mean())}
        return [replace(finding, numbers=numbers) for finding in super().analyse(trained)]


class FigureThatCannotBeDrawn(Good):
    """A formula that matplotlib parses only when it draws."""

    def analyse(self, trained: TrainedModel) -> list[Finding]:
        findings = super().analyse(trained)
        findings[0].figure.suptitle(r"$\nonsense{$")
        return findings


class WritesWeights(Good):
    def outputs(self, trained: TrainedModel) -> Tensor:
        with torch.no_grad():
            next(trained.model.parameters()).mul_(0.5)
        return super().outputs(trained)


class LeavesAHook(Good):
    def outputs(self, trained: TrainedModel) -> Tensor:
        trained.model.register_forward_hook(lambda *_: None)
        return super().outputs(trained)


class LeavesTrainingMode(Good):
    def outputs(self, trained: TrainedModel) -> Tensor:
        trained.model.train()
        return super().outputs(trained)


class LeavesGradients(Good):
    def outputs(self, trained: TrainedModel) -> Tensor:
        trained.model(*trained.inputs()).sum().backward()
        return super().outputs(trained)


class WritesExamples(Good):
    """Centres the inputs in place: they share memory with the examples."""

    def outputs(self, trained: TrainedModel) -> Tensor:
        inputs, _ = trained.inputs(0, 2)
        inputs -= inputs.mean(dim=0)
        return super().outputs(trained)


class Noisy(Good):
    def outputs(self, trained: TrainedModel) -> Tensor:
        outputs = super().outputs(trained)
        return outputs + torch.randn_like(outputs)


class NoisyByNumpy(Good):
    def outputs(self, trained: TrainedModel) -> Tensor:
        return super().outputs(trained) + float(np.random.rand())


class Counter(Good):
    looks: ClassVar[list[int]] = [0]

    def outputs(self, trained: TrainedModel) -> Tensor:
        self.looks[0] += 1
        return super().outputs(trained) + self.looks[0]


class ReadsTokensAsVectors(Good):
    """Passes token numbers to a layer that reads embeddings."""

    def outputs(self, trained: TrainedModel) -> Tensor:
        inputs, _ = trained.inputs()
        with torch.no_grad():
            outputs: Tensor = trained.layers[0](inputs, None)
        return outputs


class IgnoresItsOptions(Good):
    """Takes no options, but declares one."""

    def __init__(self) -> None:
        super().__init__()


def run(broken: type[Analysis], check: str, folder: Path) -> None:
    """Run a check, with the folder for its figures."""
    method = getattr(AnalysisConformance(), f"test_{check}")
    drawing = "tmp_path" in inspect.signature(method).parameters
    method(broken, **({"tmp_path": folder} if drawing else {}))


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (InvalidDefault, "declared_options_have_valid_defaults"),
        (RefusesEverything, "it_takes_at_least_one_model_and_refuses_the_others_in_words"),
        (RefusesWithoutWords, "it_takes_at_least_one_model_and_refuses_the_others_in_words"),
        (FindsNothing, "findings_have_names_captions_and_something_to_see"),
        (FindsNothingInTokens, "findings_have_names_captions_and_something_to_see"),
        (OneNameForTwo, "findings_have_names_captions_and_something_to_see"),
        (NameThatIsNoFile, "findings_have_names_captions_and_something_to_see"),
        (CaptionThatIsNoSentence, "findings_have_names_captions_and_something_to_see"),
        (NothingToSee, "findings_have_names_captions_and_something_to_see"),
        (NotANumber, "findings_have_names_captions_and_something_to_see"),
        (WritesWeights, "the_model_and_its_examples_are_left_as_they_were"),
        (LeavesAHook, "the_model_and_its_examples_are_left_as_they_were"),
        (LeavesTrainingMode, "the_model_and_its_examples_are_left_as_they_were"),
        (LeavesGradients, "the_model_and_its_examples_are_left_as_they_were"),
        (WritesExamples, "the_model_and_its_examples_are_left_as_they_were"),
        (Noisy, "looking_twice_finds_the_same"),
        (NoisyByNumpy, "looking_twice_finds_the_same"),
        (Counter, "looking_twice_finds_the_same"),
    ],
)
def test_a_broken_promise_is_caught_by_its_check(
    broken: type[Analysis], check: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError):
        run(broken, check, tmp_path)


@pytest.mark.parametrize(
    ("broken", "check", "error"),
    [
        (IgnoresItsOptions, "declared_options_have_valid_defaults", "unexpected keyword"),
        (
            ReadsTokensAsVectors,
            "findings_have_names_captions_and_something_to_see",
            "shapes cannot be mult",
        ),
        (FigureThatCannotBeDrawn, "a_figure_draws_in_vectors_without_a_display", "nonsense"),
    ],
)
def test_an_analysis_that_breaks_down_stops_its_check(
    broken: type[Analysis], check: str, error: str, tmp_path: Path
) -> None:
    with pytest.raises((TypeError, RuntimeError, ValueError), match=error):
        run(broken, check, tmp_path)
