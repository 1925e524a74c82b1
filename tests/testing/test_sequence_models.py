"""The suite of sequence models catches each broken rule with the check meant for it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnsearch import Capabilities, Choice, IntRange, SequenceModel, SequenceShape
from rnnsearch.spec.parameters import Parameters, Value
from rnnsearch.testing import SequenceModelConformance


class Good(SequenceModel):
    """Mean of all steps up to each step, between two layers of tanh units."""

    structure: ClassVar[Parameters] = {"second_size": IntRange(1, 1 << 20, default=2)}
    hyperparameters: ClassVar[Parameters] = {
        "activation": Choice(("tanh", "identity"), default="tanh")
    }
    fine_size: ClassVar[str | None] = "second_size"

    def __init__(
        self,
        shape: SequenceShape,
        hidden_size: int,
        second_size: int = 2,
        activation: str = "tanh",
    ) -> None:
        super().__init__(shape, hidden_size)
        self.first = nn.Linear(shape.input_size, hidden_size)
        self.second = nn.Linear(hidden_size, second_size)
        self.squash = nn.Tanh() if activation == "tanh" else nn.Identity()
        self.output = nn.Linear(second_size, shape.output_size)

    @classmethod
    def parameter_count(
        cls, shape: SequenceShape, hidden_size: int, second_size: Value = 2, **structure: Value
    ) -> int:
        second = int(second_size)
        layers = (shape.input_size + 1) * hidden_size + (hidden_size + 1) * second
        return layers + (second + 1) * shape.output_size

    def mean(self, features: Tensor) -> Tensor:
        """The mean of all steps up to each step."""
        return features.cumsum(0) / torch.ones_like(features).cumsum(0)

    def read(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """The outputs that the task reads, from `(time, batch, features)`."""
        if self.shape.readout == "every_step":
            return features
        if lengths is None:
            return features[-1]
        return features[lengths - 1, torch.arange(len(lengths))]

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        features = self.mean(self.squash(self.first(inputs)))
        outputs: Tensor = self.output(self.squash(self.second(features)))
        return self.read(outputs, lengths)


class TestGood(SequenceModelConformance):
    @pytest.fixture
    def model_class(self) -> type[SequenceModel]:
        return Good


class RefusesEverything(Good):
    @classmethod
    def refusal(cls, shape: SequenceShape) -> str | None:
        return "it takes nothing"


class RefusesWithoutWords(Good):
    @classmethod
    def refusal(cls, shape: SequenceShape) -> str | None:
        return "" if shape.length is None else None


class DeclaredTwice(Good):
    hyperparameters: ClassVar[Parameters] = {**Good.structure, **Good.hyperparameters}


class OtherDefault(Good):
    hyperparameters: ClassVar[Parameters] = {
        "activation": Choice(("tanh", "identity"), default="identity")
    }


class InvalidDefault(Good):
    hyperparameters: ClassVar[Parameters] = {"activation": Choice(("identity",), default="tanh")}


class UnknownOption(Good):
    hyperparameters: ClassVar[Parameters] = {"slope": Choice((0.0, 0.1), default=0.1)}


class ClosedFormWithoutFit(Good):
    capabilities: ClassVar[Capabilities] = Capabilities(trained_by=("closed_form", "gradient"))


class ForgetsABias(Good):
    @classmethod
    def parameter_count(cls, shape: SequenceShape, hidden_size: int, **structure: Value) -> int:
        return super().parameter_count(shape, hidden_size, **structure) - shape.output_size


class IgnoresAnOption(Good):
    """Right at the defaults, wrong elsewhere."""

    @classmethod
    def parameter_count(cls, shape: SequenceShape, hidden_size: int, **structure: Value) -> int:
        return super().parameter_count(shape, hidden_size)


class CountsInSteps(Good):
    """Equal counts at neighbouring widths."""

    @classmethod
    def parameter_count(cls, shape: SequenceShape, hidden_size: int, **structure: Value) -> int:
        return super().parameter_count(shape, hidden_size // 2 * 2, **structure)


class ForgetsFrozenScalars(Good):
    def __init__(self, shape: SequenceShape, hidden_size: int, **options: Value) -> None:
        super().__init__(shape, hidden_size, **options)
        self.register_buffer("reservoir", torch.ones(3))


class RedundantBeyondAll(Good):
    @classmethod
    def redundant_biases(cls, shape: SequenceShape, hidden_size: int, **structure: Value) -> int:
        return 1000 * hidden_size


class FineSizeOfNoEffect(Good):
    """The second layer is always as wide as the first."""

    def __init__(
        self, shape: SequenceShape, hidden_size: int, second_size: int = 2, **options: Value
    ) -> None:
        super().__init__(shape, hidden_size, second_size=hidden_size, **options)

    @classmethod
    def parameter_count(cls, shape: SequenceShape, hidden_size: int, **structure: Value) -> int:
        return super().parameter_count(shape, hidden_size, second_size=hidden_size)


class AlwaysReadsTheLastStep(Good):
    """One output per sequence, even if the task needs one at every step."""

    def read(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        return super().read(features, lengths) if lengths is not None else features[-1]


class BatchFirst(Good):
    def read(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        found = super().read(features, lengths)
        return found.transpose(0, 1) if self.shape.readout == "every_step" else found


class MixesTheBatch(Good):
    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        return super().forward(inputs - 1e-3 * inputs.mean(1, keepdim=True), lengths)


class ReadsThePadding(Good):
    """Reads the last step, even if it is padding."""

    def read(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        return super().read(features, None)


class PeeksAhead(Good):
    """Centres a sequence with the mean over all its steps."""

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        return super().forward(inputs - 1e-3 * inputs.mean(0), lengths)


class PeeksAheadAndSaysSo(PeeksAhead):
    capabilities: ClassVar[Capabilities] = Capabilities(causal=False)


class Counter(Good):
    calls = 0

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        self.calls += 1
        return super().forward(inputs, lengths)


class KeepsItsFeatures(Good):
    """Continues with the features at the end of the last run."""

    last: Tensor | float = 0.0

    def mean(self, features: Tensor) -> Tensor:
        features = super().mean(features) + self.last
        self.last = features.detach()[-1]
        return features


class RunningStatistics(Good):
    """Leaves outputs unchanged, but writes a buffer, like a batch norm in training mode."""

    def __init__(self, shape: SequenceShape, hidden_size: int, **options: Value) -> None:
        super().__init__(shape, hidden_size, **options)
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        self.seen += inputs.detach().square().mean()
        return super().forward(inputs, lengths)


class Noisy(Good):
    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        return super().forward(inputs + 1e-3 * torch.randn_like(inputs), lengths)


class NoisyByNumpy(Good):
    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        return super().forward(inputs + 1e-3 * float(np.random.rand()), lengths)


class Unreached(Good):
    def mean(self, features: Tensor) -> Tensor:
        return super().mean(features.detach())


class WrongGradient(Good):
    def mean(self, features: Tensor) -> Tensor:
        mean = super().mean(features)
        return 2 * mean - mean.detach()


class DrawsFromNumpy(Good):
    def __init__(self, shape: SequenceShape, hidden_size: int, **options: Value) -> None:
        super().__init__(shape, hidden_size, **options)
        nn.init.constant_(self.output.weight, np.random.rand())


class SeedsItself(Good):
    def __init__(self, shape: SequenceShape, hidden_size: int, **options: Value) -> None:
        torch.manual_seed(0)
        super().__init__(shape, hidden_size, **options)


class WeightsOutsideTheStateDict(Good):
    def __init__(self, shape: SequenceShape, hidden_size: int, **options: Value) -> None:
        super().__init__(shape, hidden_size, **options)
        self.offset = torch.rand(shape.output_size)

    def read(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        return super().read(features, lengths) + self.offset


class ForgetsWhenPickled(Good):
    """Omits a drawn number from its pickled state."""

    scale = 1.0

    def __init__(self, shape: SequenceShape, hidden_size: int, **options: Value) -> None:
        super().__init__(shape, hidden_size, **options)
        self.scale = 1 + float(torch.rand(()))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "scale"}

    def read(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        return super().read(features, lengths) * self.scale


class HoldsALambda(Good):
    def __init__(self, shape: SequenceShape, hidden_size: int, **options: Value) -> None:
        super().__init__(shape, hidden_size, **options)
        self.activation = lambda x: x


class Float64Constant(Good):
    def read(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        one = torch.ones(1, dtype=torch.float64, device=features.device)
        return super().read(features, lengths) * one


class BranchesOnAValue(Good):
    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        return super().forward(-inputs if inputs.mean() > 0 else inputs, lengths)


class IgnoresTheDevice(Good):
    def read(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        return torch.zeros(super().read(features, lengths).shape, device="cpu")


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (RefusesEverything, "takes_at_least_one_shape_and_refuses_the_others_in_words"),
        (RefusesWithoutWords, "takes_at_least_one_shape_and_refuses_the_others_in_words"),
        (DeclaredTwice, "declared_options_have_valid_defaults_that_are_the_constructors"),
        (OtherDefault, "declared_options_have_valid_defaults_that_are_the_constructors"),
        (InvalidDefault, "declared_options_have_valid_defaults_that_are_the_constructors"),
        (UnknownOption, "declared_options_have_valid_defaults_that_are_the_constructors"),
        (ClosedFormWithoutFit, "a_model_that_is_trained_in_closed_form_has_a_fit"),
        (ForgetsABias, "parameter_count_equals_the_parameters_built"),
        (IgnoresAnOption, "parameter_count_equals_the_parameters_built"),
        (ForgetsFrozenScalars, "parameter_count_equals_the_parameters_built"),
        (RedundantBeyondAll, "parameter_count_equals_the_parameters_built"),
        (CountsInSteps, "parameter_count_grows_strictly_with_hidden_size"),
        (FineSizeOfNoEffect, "parameter_count_grows_strictly_with_the_fine_size"),
        (AlwaysReadsTheLastStep, "output_has_the_shape_that_the_readout_asks_for"),
        (BatchFirst, "output_has_the_shape_that_the_readout_asks_for"),
        (MixesTheBatch, "a_sample_gives_the_same_result_alone_as_in_a_batch"),
        (ReadsThePadding, "padding_does_not_change_the_output"),
        (PeeksAhead, "padding_does_not_change_the_output"),
        (PeeksAhead, "later_inputs_leave_earlier_outputs_alone_where_it_is_causal"),
        (Counter, "a_run_leaves_nothing_on_the_module"),
        (KeepsItsFeatures, "a_run_leaves_nothing_on_the_module"),
        (KeepsItsFeatures, "two_runs_in_evaluation_mode_are_bit_identical"),
        (RunningStatistics, "a_run_leaves_nothing_on_the_module"),
        (Noisy, "two_runs_in_evaluation_mode_are_bit_identical"),
        (NoisyByNumpy, "two_runs_in_evaluation_mode_are_bit_identical"),
        (Unreached, "gradient_reaches_every_parameter"),
        (DrawsFromNumpy, "the_same_seed_gives_the_same_weights"),
        (SeedsItself, "the_same_seed_gives_the_same_weights"),
        (IgnoresTheDevice, "builds_and_runs_without_storage"),
    ],
)
def test_a_broken_promise_is_caught_by_its_check(broken: type[SequenceModel], check: str) -> None:
    with pytest.raises(AssertionError):
        getattr(SequenceModelConformance(), f"test_{check}")(broken)


@pytest.mark.parametrize(
    ("broken", "check", "error"),
    [
        (WrongGradient, "gradients_equal_finite_differences", "Jacobian mismatch"),
        (BranchesOnAValue, "builds_and_runs_without_storage", "meta"),
    ],
)
def test_a_broken_promise_that_torch_itself_notices_stops_its_check(
    broken: type[SequenceModel], check: str, error: str
) -> None:
    with pytest.raises(Exception, match=error):
        getattr(SequenceModelConformance(), f"test_{check}")(broken)


@pytest.mark.parametrize(
    ("broken", "way"), [(WeightsOutsideTheStateDict, "state_dict"), (ForgetsWhenPickled, "pickle")]
)
def test_a_copy_that_computes_something_else_is_caught(
    broken: type[SequenceModel], way: str
) -> None:
    with pytest.raises(AssertionError):
        SequenceModelConformance().test_a_copy_computes_the_same(broken, way)


def test_a_model_that_does_not_pickle_is_caught() -> None:
    with pytest.raises(AttributeError, match="pickle"):
        SequenceModelConformance().test_a_copy_computes_the_same(HoldsALambda, "pickle")


def test_an_output_of_fixed_dtype_is_caught() -> None:
    with pytest.raises(AssertionError):
        SequenceModelConformance().test_output_follows_the_dtype_of_the_parameters(
            Float64Constant, torch.float32
        )


def test_the_check_of_later_inputs_is_skipped_where_the_model_says_that_it_reads_them() -> None:
    with pytest.raises(pytest.skip.Exception):
        SequenceModelConformance().test_later_inputs_leave_earlier_outputs_alone_where_it_is_causal(
            PeeksAheadAndSaysSo
        )
