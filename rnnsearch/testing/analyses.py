"""The conformance suite of analyses: the promises of `Analysis` as tests."""

from __future__ import annotations

import copy
import math
import re
from functools import cache

import numpy as np
import pytest
import torch
from typing_extensions import override

from rnnsearch.budget.model import build_model
from rnnsearch.plugin.analysis import Analysis, TrainedModel
from rnnsearch.plugin.losses import accuracy, cross_entropy
from rnnsearch.plugin.registry import load_registry
from rnnsearch.plugin.task import Examples, Task
from rnnsearch.spec.model import ModelSpec
from rnnsearch.spec.parameters import Value, defaults
from rnnsearch.spec.shape import DataSource, SequenceShape, Split
from rnnsearch.spec.trial import TrainingConfig, TrialSpec
from rnnsearch.testing.probes import first_difference, seeded, what_changes

_SHAPE = SequenceShape(input_size=3, output_size=2, length=None, readout="masked_step")


class _Signs(Task):
    """Whether a sequence of noise sums to more than nothing; what the models below are for."""

    metric, direction, no_skill = "accuracy", "maximize", 0.5
    loss, score = cross_entropy, accuracy

    @property
    @override
    def shape(self) -> SequenceShape:
        return _SHAPE

    @override
    def find(self) -> DataSource:
        return DataSource("noise", "generated", "", "0" * 64, {"validation": 12})

    @override
    def load(self, source: DataSource, split: Split) -> Examples:
        inputs = np.random.default_rng(0).standard_normal((12, 9, 3), dtype=np.float32)
        targets = (inputs.sum(axis=(1, 2)) > 0).astype(np.int64)
        return Examples(inputs, targets, np.arange(12) % 6 + 4)


class _NextLetter(Task):
    """The next letter of noise, its tokens tied to the output weight."""

    metric, direction, no_skill = "accuracy", "maximize", 0.2
    loss, score = cross_entropy, accuracy
    symbols = "abcde"

    @property
    @override
    def shape(self) -> SequenceShape:
        return SequenceShape(1, 5, 9, "every_step", vocabulary=5, embedding="tied", stride=9)

    @override
    def find(self) -> DataSource:
        return DataSource("noise", "generated", "", "0" * 64, {"validation": 12})

    @override
    def load(self, source: DataSource, split: Split) -> Examples:
        text = np.random.default_rng(0).integers(0, 5, (12, 10)).astype(np.int16)
        return Examples(text[:, :-1, None], text[:, 1:])


@cache
def example_model(architecture: str, *, tokens: bool = False) -> TrainedModel:
    """A small model of a registered architecture, with sequences to look at; it is not trained."""
    task = _NextLetter() if tokens else _Signs()
    model = ModelSpec(architecture, task.shape, 5, options=_options(architecture))
    spec = TrialSpec(
        "confirmation", model, TrainingConfig(1, 4, 0.01), 0, "noise", {}, 0, 0.0, label="example"
    )
    found = load_registry().architecture(architecture)
    built = seeded(0, lambda: build_model(found, model)).eval()
    return TrainedModel(spec, task, built, task.load(task.find(), "validation"))


def _options(architecture: str) -> dict[str, Value]:
    found = load_registry().architecture(architecture)
    return defaults({**found.structure, **found.hyperparameters}, _SHAPE.output_size)


class AnalysisConformance:
    """Every check that an analysis has to pass.

    Subclass it under a name that starts with `Test` and return the class from `analysis_class`.
    Each check runs on small models of `architectures` that the analysis does not refuse, and on
    one that reads tokens.

    Attributes:
        architectures: registered names of what to look at.
    """

    architectures: tuple[str, ...] = ("elman", "lstm", "sm_rnn")

    @pytest.fixture
    def analysis_class(self) -> type[Analysis]:
        """The class under test."""
        raise NotImplementedError

    def _accepted(self, analysis: Analysis) -> list[TrainedModel]:
        models = [example_model(name) for name in self.architectures]
        models.append(example_model(self.architectures[0], tokens=True))
        return [model for model in models if analysis.refusal(model) is None]

    def test_declared_options_have_valid_defaults(self, analysis_class: type[Analysis]) -> None:
        for name, parameter in analysis_class.options.items():
            problem = parameter.problem_with(parameter.default)
            assert problem is None, f"default of `{name}`: {problem}"
        analysis_class(**defaults(analysis_class.options))

    def test_it_takes_at_least_one_model_and_refuses_the_others_in_words(
        self, analysis_class: type[Analysis]
    ) -> None:
        analysis = analysis_class()
        reasons = [analysis.refusal(example_model(name)) for name in self.architectures]
        assert None in reasons, f"it refuses every model that is tried: {reasons[0]}"
        assert all(reason is None or reason.strip() for reason in reasons), "a reason is empty"

    def test_findings_have_names_captions_and_something_to_see(
        self, analysis_class: type[Analysis]
    ) -> None:
        for trained in self._accepted(analysis_class()):
            findings = analysis_class().analyse(trained)
            assert findings, f"nothing is found in {trained.spec.model.architecture}"
            names = [finding.name for finding in findings]
            assert len(set(names)) == len(names), f"names are files: {names} has one twice"
            for finding in findings:
                name = finding.name
                assert re.fullmatch(r"[a-z0-9_]+", name), f"`{name}` cannot be a file name"
                assert finding.caption.strip().endswith("."), f"{name}: the caption is no sentence"
                assert finding.figure is not None or finding.numbers, f"{name} shows nothing"
                missing = [n for n, v in finding.numbers.items() if math.isnan(float(v))]
                assert not missing, f"{name}: not a number: {', '.join(missing)}"

    def test_a_figure_draws_in_vectors_without_a_display(
        self, analysis_class: type[Analysis], tmp_path: object
    ) -> None:
        for trained in self._accepted(analysis_class()):
            for finding in analysis_class().analyse(trained):
                if finding.figure is not None:
                    path = f"{tmp_path}/{finding.name}.svg"
                    finding.figure.savefig(path)

    def test_the_model_and_its_examples_are_left_as_they_were(
        self, analysis_class: type[Analysis]
    ) -> None:
        for trained in self._accepted(analysis_class()):
            examples = copy.deepcopy(trained.examples)

            def look(trained: TrainedModel = trained) -> object:
                return analysis_class().analyse(trained)

            changed = what_changes(trained.model, look) or first_difference(
                examples, trained.examples, "examples"
            )
            assert changed is None, f"the analysis changed {changed}"
            assert not trained.model.training, "the model is left in training mode"
            assert all(p.grad is None for p in trained.model.parameters()), "it leaves gradients"

    def test_looking_twice_finds_the_same(self, analysis_class: type[Analysis]) -> None:
        for trained in self._accepted(analysis_class()):
            torch.manual_seed(1)
            one = [dict(f.numbers) for f in analysis_class().analyse(trained)]
            torch.manual_seed(2)
            two = [dict(f.numbers) for f in analysis_class().analyse(trained)]
            assert first_difference(one, two) is None, f"found {one}, then {two}"
