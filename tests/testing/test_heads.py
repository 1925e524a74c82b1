"""The head suite catches each broken rule with the check meant for it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnsearch import Choice, Head
from rnnsearch.spec.parameters import Parameters, Value
from rnnsearch.testing import HeadConformance


class Good(Head):
    """One hidden layer of tanh units, with or without a bias in the output layer."""

    options: ClassVar[Parameters] = {"bias": Choice((True, False), default=True)}
    hidden_ratio: ClassVar[float | None] = 1.0

    def __init__(
        self, features: int, output_size: int, hidden_size: int, bias: bool = True
    ) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, hidden_size)
        self.output = nn.Linear(hidden_size, output_size, bias=bias)

    @classmethod
    def parameter_count(
        cls,
        features: int,
        output_size: int,
        hidden_size: int,
        bias: Value = True,
        **options: Value,
    ) -> int:
        return (features + 1) * hidden_size + (hidden_size + bool(bias)) * output_size

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.output(self.hidden(features).tanh())
        return output


class TestGood(HeadConformance):
    @pytest.fixture
    def head_class(self) -> type[Head]:
        return Good


class RefusesEverything(Good):
    @classmethod
    def refusal(cls, features: int, output_size: int) -> str | None:
        return "it takes nothing"


class RefusesWithoutWords(Good):
    @classmethod
    def refusal(cls, features: int, output_size: int) -> str | None:
        return "" if features < output_size else None


class OtherDefault(Good):
    options: ClassVar[Parameters] = {"bias": Choice((True, False), default=False)}


class InvalidDefault(Good):
    options: ClassVar[Parameters] = {"bias": Choice((False,), default=True)}


class UnknownOption(Good):
    options: ClassVar[Parameters] = {"slope": Choice((0.0, 0.1), default=0.1)}


class GrowsIntoNothingLarger(Good):
    grows_into: ClassVar[str] = "linear"


class ForgetsABias(Good):
    @classmethod
    def parameter_count(
        cls, features: int, output_size: int, hidden_size: int, **options: Value
    ) -> int:
        return super().parameter_count(features, output_size, hidden_size, **options) - hidden_size


class IgnoresAnOption(Good):
    """Right at the defaults, wrong elsewhere."""

    @classmethod
    def parameter_count(
        cls, features: int, output_size: int, hidden_size: int, **options: Value
    ) -> int:
        return super().parameter_count(features, output_size, hidden_size)


class CountsInSteps(Good):
    """Equal counts at neighbouring widths."""

    @classmethod
    def parameter_count(
        cls, features: int, output_size: int, hidden_size: int, **options: Value
    ) -> int:
        return super().parameter_count(features, output_size, hidden_size // 2 * 2, **options)


class OneOutputMore(Good):
    def forward(self, features: Tensor) -> Tensor:
        output = super().forward(features)
        return torch.cat((output, output[..., :1]), dim=-1)


class FlattensTheSteps(Good):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.reshape(-1, features.shape[-1]))


class MixesSteps(Good):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features - 1e-3 * features.mean(0))


class MixesSamples(Good):
    """Centres the samples of a batch, at a single step as well as at several."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features - 1e-3 * features.mean(-2, keepdim=True))


class Noisy(Good):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features + 1e-3 * torch.randn_like(features))


class Counter(Good):
    calls = 0

    def forward(self, features: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(features)


class RunningStatistics(Good):
    """Leaves outputs unchanged, but writes a buffer, like a batch norm in training mode."""

    def __init__(self, features: int, output_size: int, hidden_size: int, **options: Value) -> None:
        super().__init__(features, output_size, hidden_size, **options)
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        self.seen += features.detach().square().mean()
        return super().forward(features)


class Unreached(Good):
    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.output(self.hidden(features).tanh().detach())
        return output


class DrawsFromNumpy(Good):
    def __init__(self, features: int, output_size: int, hidden_size: int, **options: Value) -> None:
        super().__init__(features, output_size, hidden_size, **options)
        nn.init.constant_(self.output.weight, np.random.rand())


class SeedsItself(Good):
    def __init__(self, features: int, output_size: int, hidden_size: int, **options: Value) -> None:
        torch.manual_seed(0)
        super().__init__(features, output_size, hidden_size, **options)


class WeightsOutsideTheStateDict(Good):
    def __init__(self, features: int, output_size: int, hidden_size: int, **options: Value) -> None:
        super().__init__(features, output_size, hidden_size, **options)
        self.offset = torch.rand(output_size, dtype=torch.float64)

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features) + self.offset


class WrongGradient(Good):
    def forward(self, features: Tensor) -> Tensor:
        output = super().forward(features)
        return 2 * output - output.detach()


class BranchesOnAValue(Good):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(-features if features.mean() > 0 else features)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (RefusesEverything, "takes_at_least_one_size_and_refuses_the_others_in_words"),
        (RefusesWithoutWords, "takes_at_least_one_size_and_refuses_the_others_in_words"),
        (OtherDefault, "declared_options_have_valid_defaults_that_are_the_constructors"),
        (InvalidDefault, "declared_options_have_valid_defaults_that_are_the_constructors"),
        (UnknownOption, "declared_options_have_valid_defaults_that_are_the_constructors"),
        (GrowsIntoNothingLarger, "it_grows_into_a_head_with_a_hidden_layer"),
        (ForgetsABias, "parameter_count_equals_the_parameters_built"),
        (IgnoresAnOption, "parameter_count_equals_the_parameters_built"),
        (CountsInSteps, "parameter_count_grows_strictly_with_the_hidden_width"),
        (OneOutputMore, "output_has_the_tasks_width_at_one_step_as_at_many"),
        (FlattensTheSteps, "output_has_the_tasks_width_at_one_step_as_at_many"),
        (MixesSteps, "output_has_the_tasks_width_at_one_step_as_at_many"),
        (Noisy, "output_has_the_tasks_width_at_one_step_as_at_many"),
        (MixesSamples, "a_sample_gives_the_same_result_alone_as_in_a_batch"),
        (Counter, "a_run_leaves_nothing_on_the_module"),
        (RunningStatistics, "a_run_leaves_nothing_on_the_module"),
        (Unreached, "gradient_reaches_every_parameter"),
        (DrawsFromNumpy, "the_same_seed_gives_the_same_weights"),
        (SeedsItself, "the_same_seed_gives_the_same_weights"),
        (WeightsOutsideTheStateDict, "a_loaded_state_dict_brings_the_whole_head"),
    ],
)
def test_a_broken_promise_is_caught_by_its_check(broken: type[Head], check: str) -> None:
    with pytest.raises(AssertionError):
        getattr(HeadConformance(), f"test_{check}")(broken)


@pytest.mark.parametrize(
    ("broken", "check", "error"),
    [
        (WrongGradient, "gradients_equal_finite_differences", "Jacobian mismatch"),
        (BranchesOnAValue, "builds_and_runs_without_storage", "meta"),
    ],
)
def test_a_broken_promise_that_torch_itself_notices_stops_its_check(
    broken: type[Head], check: str, error: str
) -> None:
    with pytest.raises(Exception, match=error):
        getattr(HeadConformance(), f"test_{check}")(broken)


def test_the_check_of_the_hidden_width_is_skipped_where_there_is_no_hidden_layer() -> None:
    class WithoutHiddenLayer(Good):
        hidden_ratio: ClassVar[float | None] = None

    with pytest.raises(pytest.skip.Exception):
        HeadConformance().test_parameter_count_grows_strictly_with_the_hidden_width(
            WithoutHiddenLayer
        )
