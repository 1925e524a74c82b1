"""The cell suite catches each broken rule with the check meant for it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnsearch import Choice, IntRange, RecurrentCell, State
from rnnsearch.spec.parameters import Parameters, Value
from rnnsearch.testing import CellConformance

from .one_size import check_of


class Good(RecurrentCell):
    """An Elman cell with a leak, one bias, and an output narrower than its state."""

    structure: ClassVar[Parameters] = {"outputs": IntRange(1, 1 << 20, default=2)}
    hyperparameters: ClassVar[Parameters] = {"leak": Choice((0.0, 0.5), default=0.5)}

    def __init__(
        self, input_size: int, hidden_size: int, outputs: int = 2, leak: float = 0.5
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.leak = leak
        self.update = nn.Linear(input_size + hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, outputs, bias=False)

    @classmethod
    def parameter_count(
        cls, input_size: int, hidden_size: int, outputs: Value = 2, **structure: Value
    ) -> int:
        return hidden_size * (input_size + hidden_size + 1 + int(outputs))

    @classmethod
    def output_size(
        cls, input_size: int, hidden_size: int, outputs: Value = 2, **structure: Value
    ) -> int:
        return int(outputs)

    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    def new_hidden(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        new = torch.tanh(self.update(torch.cat((inputs, hidden), dim=-1)))
        return self.leak * hidden + (1 - self.leak) * new

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = self.new_hidden(inputs, state[0])
        return self.output(hidden), (hidden,)


class Heads(RecurrentCell):
    """A cell whose heads share its units, with a fixed number of heads."""

    structure: ClassVar[Parameters] = {"heads": Choice((2, 3), default=2)}

    def __init__(self, input_size: int, hidden_size: int, heads: int = 2) -> None:
        super().__init__(input_size, hidden_size)
        if hidden_size % heads:
            raise ValueError(f"{hidden_size} units cannot be shared by {heads} heads")
        self.heads = heads
        self.update = nn.Linear(input_size + hidden_size // heads, hidden_size // heads)

    @classmethod
    def width_multiple(cls, heads: Value = 2, **structure: Value) -> int:
        return int(heads)

    @classmethod
    def parameter_count(
        cls, input_size: int, hidden_size: int, heads: Value = 2, **structure: Value
    ) -> int:
        each = hidden_size // int(heads)
        return each * (input_size + each + 1)

    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        parts = state[0].chunk(self.heads, dim=-1)
        hidden = torch.cat(
            [torch.tanh(self.update(torch.cat((inputs, p), dim=-1))) for p in parts], dim=-1
        )
        return hidden, (hidden,)


class TestWidthsInMultiples(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return Heads


class TestGood(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return Good


class StateOnTheModule(Good):
    hidden: Tensor | None = None

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = state[0] if self.hidden is None else self.hidden
        self.hidden = self.new_hidden(inputs, hidden).detach()
        return self.output(self.hidden), (self.hidden,)


class RunningStatistics(Good):
    """Leaves outputs unchanged, but writes a buffer, like a batch norm in training mode."""

    def __init__(self, input_size: int, hidden_size: int, **options: Value) -> None:
        super().__init__(input_size, hidden_size, **options)
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        self.seen += inputs.detach().square().mean()
        return super().forward(inputs, state)


class Counter(Good):
    """A clock in Python: every second step is skipped."""

    ticks = 0

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        self.ticks += 1
        if self.ticks % 2:
            return self.output(state[0]), state
        return super().forward(inputs, state)


class CounterElsewhere(Good):
    """The same clock, stored where no inspection of the module finds it."""

    ticks: ClassVar[list[int]] = [0]

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        self.ticks[0] += 1
        return super().forward(inputs / self.ticks[0], state)


class ForgetsABias(Good):
    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return super().parameter_count(input_size, hidden_size, **structure) - hidden_size


class IgnoresAnOption(Good):
    """Right at the defaults, wrong elsewhere."""

    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return super().parameter_count(input_size, hidden_size)


class CountsInSteps(Good):
    """Equal counts at neighbouring widths."""

    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return super().parameter_count(input_size, hidden_size // 2 * 2, **structure)


class RedundantBeyondAll(Good):
    @classmethod
    def redundant_biases(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return 1000 * hidden_size


class PeeksAtOtherRows(Good):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return super().forward(inputs - 1e-3 * inputs.mean(0), state)


class FirstRowRules(Good):
    """Mixes samples through the state only."""

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, (hidden,) = super().forward(inputs, state)
        return output, (0.9 * hidden + 0.1 * hidden[:1],)


class Noisy(Good):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return super().forward(inputs + 1e-3 * torch.randn_like(inputs), state)


class NoisyByNumpy(Good):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return super().forward(inputs + 1e-3 * float(np.random.rand()), state)


class WrongStateSize(Good):
    @classmethod
    def state_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return hidden_size + 1


class BatchOnTheSecondAxis(Good):
    def initial_state(self, batch_size: int) -> State:
        return (super().initial_state(batch_size)[0].T,)


class WrongOutputSize(Good):
    @classmethod
    def output_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return hidden_size


class StateGrows(Good):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, (hidden,) = super().forward(inputs, (state[0][:, : self.hidden_size],))
        return output, (torch.cat((hidden, state[0]), dim=-1),)


class WritesInPlace(Good):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, (hidden,) = super().forward(inputs, state)
        return output, (state[0].copy_(hidden),)


class AnotherLayer(Good):
    """Returns a torch layer that it does not hold."""

    def as_torch(self) -> nn.RNNBase:
        return nn.RNN(self.input_size, self.hidden_size)


class NearlyTheTorchLayer(RecurrentCell):
    """Steps with one bias, whereas its torch layer adds two."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.rnn = nn.RNN(input_size, hidden_size)

    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return hidden_size * (input_size + hidden_size + 2)

    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        linear, rnn = nn.functional.linear, self.rnn
        from_inputs = linear(inputs, rnn.weight_ih_l0, rnn.bias_ih_l0)
        hidden = torch.tanh(from_inputs + linear(state[0], rnn.weight_hh_l0))
        return hidden, (hidden,)

    def as_torch(self) -> nn.RNNBase:
        return self.rnn


class ReadsBackwards(NearlyTheTorchLayer):
    """A torch layer that sees the future."""

    def as_torch(self) -> nn.RNNBase:
        class Backwards(nn.RNN):
            def forward(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
                outputs, last = super().forward(inputs.flip(0), hidden)
                return outputs.flip(0), last

        layer = Backwards(self.input_size, self.hidden_size).to(self.rnn.weight_ih_l0.dtype)
        layer.load_state_dict(self.rnn.state_dict())
        return layer


class Unreached(Good):
    def new_hidden(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        return super().new_hidden(inputs, hidden.detach() * 0)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = self.new_hidden(inputs, state[0])
        return self.output(hidden.detach()), (hidden,)


class WrongGradient(Good):
    def new_hidden(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        new = super().new_hidden(inputs, hidden)
        return (2 * new - new.detach()).tanh()


class Unpadded(Good):
    """Single outputs are right, but rows depend on the lengths of other rows."""

    def new_hidden(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        return super().new_hidden(inputs, hidden) + len(inputs)


class SeedsItself(Good):
    def __init__(self, input_size: int, hidden_size: int, **options: Value) -> None:
        torch.manual_seed(0)
        super().__init__(input_size, hidden_size, **options)


class DrawsFromNumpy(Good):
    def __init__(self, input_size: int, hidden_size: int, **options: Value) -> None:
        super().__init__(input_size, hidden_size, **options)
        nn.init.constant_(self.output.weight, np.random.rand())


class WeightsOutsideTheStateDict(Good):
    def __init__(self, input_size: int, hidden_size: int, **options: Value) -> None:
        super().__init__(input_size, hidden_size, **options)
        self.offset = torch.rand(hidden_size, dtype=torch.float64)

    def new_hidden(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        return super().new_hidden(inputs, hidden) + self.offset


class HoldsALambda(Good):
    def __init__(self, input_size: int, hidden_size: int, **options: Value) -> None:
        super().__init__(input_size, hidden_size, **options)
        self.activation = lambda x: x


class Float32State(Good):
    def initial_state(self, batch_size: int) -> State:
        return (torch.zeros(batch_size, self.hidden_size),)


class BranchesOnAValue(Good):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        if inputs.mean() > 0:
            return super().forward(inputs, state)
        return super().forward(-inputs, state)


class UndeclaredDefault(Good):
    hyperparameters: ClassVar[Parameters] = {"leak": Choice((0.0, 0.5), default=0.0)}


class WrongFrozenCount(Good):
    def __init__(self, input_size: int, hidden_size: int, **options: Value) -> None:
        super().__init__(input_size, hidden_size, **options)
        self.register_buffer("reservoir", torch.ones(3))


class MisnamedMemory(Good):
    """Should be called `memory_state`."""

    def memory(self, state: State) -> Tensor:
        return state[0]


class MisnamedSize(Good):
    """Should be called `state_size`."""

    @classmethod
    def size_of_state(cls, input_size: int, hidden_size: int, **options: Value) -> int:
        return hidden_size


class ComplexWeights(Good):
    def __init__(self, input_size: int, hidden_size: int, **options: Value) -> None:
        super().__init__(input_size, hidden_size, **options)
        self.register_buffer("poles", torch.ones(hidden_size, dtype=torch.complex64))


class ComplexOutput(Good):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, state = super().forward(inputs, state)
        return torch.complex(output, output), state


class Buffered(Good):
    """Stores its last states in a buffer whose length adds no parameters."""

    hyperparameters: ClassVar[Parameters] = {**Good.hyperparameters, "kept": IntRange(1, 9, 3)}

    def __init__(
        self, input_size: int, hidden_size: int, outputs: int = 2, leak: float = 0.5, kept: int = 3
    ) -> None:
        super().__init__(input_size, hidden_size, outputs, leak)
        self.kept = kept

    @classmethod
    def state_size(
        cls, input_size: int, hidden_size: int, kept: Value = 3, **options: Value
    ) -> int:
        return int(kept) * hidden_size

    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.kept, self.hidden_size),)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = self.new_hidden(inputs, state[0].mean(dim=1))
        kept = torch.cat((state[0][:, 1:], hidden.unsqueeze(1)), dim=1)
        return self.output(hidden), (kept,)


class HalfComplexSize(Buffered):
    """Counts each complex number as one scalar."""

    def initial_state(self, batch_size: int) -> State:
        (zeros,) = super().initial_state(batch_size)
        return (torch.complex(zeros, zeros),)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, (kept,) = super().forward(inputs, (state[0].real,))
        return output, (torch.complex(kept, 0.5 * state[0].imag + 0.1 * kept),)


class ComplexState(HalfComplexSize):
    @classmethod
    def state_size(
        cls, input_size: int, hidden_size: int, kept: Value = 3, **options: Value
    ) -> int:
        return 2 * int(kept) * hidden_size


class NormalNoise(Good):
    """Adds normal noise made from uniform numbers; the logarithm would be infinite at zero."""

    noise_size = 2

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        features, drawn = inputs.split([self.input_size, 2], dim=-1)
        radius = torch.sqrt(-2 * torch.log(drawn[:, :1]))
        normal = radius * torch.cos(6.2831853 * drawn[:, 1:])
        features = features + 0.1 * normal if self.training else features
        return super().forward(features, state)


class TestComplexState(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return ComplexState


class TestNormalNoise(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return NormalNoise


def test_options_that_change_no_parameter_may_change_the_state() -> None:
    check_of(CellConformance, "state_size_equals_the_scalars_of_state_per_sample")(Buffered)


def test_a_method_that_looks_like_one_of_the_contract_is_told_which() -> None:
    check = check_of(
        CellConformance, "no_method_looks_like_one_of_the_contract_and_is_never_called"
    )
    check(Good)  # its step calls `new_hidden`
    with pytest.raises(
        AssertionError, match=r"`memory` overrides nothing.*`memory_state` is meant"
    ):
        check(MisnamedMemory)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (MisnamedSize, "no_method_looks_like_one_of_the_contract_and_is_never_called"),
        (ComplexWeights, "parameters_buffers_and_outputs_are_real"),
        (ComplexOutput, "parameters_buffers_and_outputs_are_real"),
        (HalfComplexSize, "state_size_equals_the_scalars_of_state_per_sample"),
        (UndeclaredDefault, "declared_options_have_valid_defaults_that_are_the_constructors"),
        (ForgetsABias, "parameter_count_equals_the_parameters_built"),
        (IgnoresAnOption, "parameter_count_equals_the_parameters_built"),
        (WrongFrozenCount, "parameter_count_equals_the_parameters_built"),
        (CountsInSteps, "parameter_count_grows_strictly_with_hidden_size"),
        (RedundantBeyondAll, "redundant_biases_lie_between_none_and_all"),
        (WrongStateSize, "state_size_equals_the_scalars_of_state_per_sample"),
        (BatchOnTheSecondAxis, "state_size_equals_the_scalars_of_state_per_sample"),
        (WrongOutputSize, "output_size_equals_the_width_of_the_output"),
        (StateGrows, "a_step_keeps_the_shapes_of_the_state"),
        (StateOnTheModule, "a_run_leaves_nothing_on_the_module"),
        (StateOnTheModule, "carrying_the_state_across_a_split_changes_nothing"),
        (RunningStatistics, "a_run_leaves_nothing_on_the_module"),
        (Counter, "a_run_leaves_nothing_on_the_module"),
        (Counter, "a_step_gives_the_same_result_whenever_it_is_taken"),
        (CounterElsewhere, "a_step_gives_the_same_result_whenever_it_is_taken"),
        (CounterElsewhere, "carrying_the_state_across_a_split_changes_nothing"),
        (WritesInPlace, "a_step_leaves_its_inputs_and_state_as_they_were"),
        (Noisy, "nothing_is_drawn_at_random_inside_the_step"),
        (NoisyByNumpy, "nothing_is_drawn_at_random_inside_the_step"),
        (PeeksAtOtherRows, "a_sample_gives_the_same_result_alone_as_in_a_batch"),
        (FirstRowRules, "a_sample_gives_the_same_result_alone_as_in_a_batch"),
        (AnotherLayer, "as_torch_computes_what_the_steps_compute"),
        (NearlyTheTorchLayer, "as_torch_computes_what_the_steps_compute"),
        (ReadsBackwards, "later_inputs_leave_earlier_outputs_bit_identical"),
        (Unreached, "gradient_reaches_every_parameter"),
        (Unpadded, "padding_changes_nothing_in_either_direction"),
        (SeedsItself, "the_same_seed_gives_the_same_weights"),
        (DrawsFromNumpy, "the_same_seed_gives_the_same_weights"),
        (WeightsOutsideTheStateDict, "a_loaded_state_dict_brings_the_whole_cell"),
    ],
)
def test_a_broken_promise_is_caught_by_its_check(broken: type[RecurrentCell], check: str) -> None:
    with pytest.raises(AssertionError):
        check_of(CellConformance, check)(broken)


@pytest.mark.parametrize(
    ("broken", "check", "error"),
    [
        (WrongGradient, "gradients_equal_finite_differences", "Jacobian mismatch"),
        (HoldsALambda, "a_cell_sent_to_another_process_computes_the_same", "pickle"),
        (BranchesOnAValue, "builds_and_steps_without_storage", "meta"),
    ],
)
def test_a_broken_promise_that_torch_itself_notices_stops_its_check(
    broken: type[RecurrentCell], check: str, error: str
) -> None:
    with pytest.raises(Exception, match=error):
        check_of(CellConformance, check)(broken)


def test_a_state_of_fixed_dtype_is_caught() -> None:
    with pytest.raises((AssertionError, RuntimeError)):
        CellConformance().test_state_and_output_follow_the_dtype_of_the_parameters(
            Float32State, torch.float64
        )


def test_the_check_of_as_torch_is_skipped_where_no_layer_is_named() -> None:
    with pytest.raises(pytest.skip.Exception):
        CellConformance().test_as_torch_computes_what_the_steps_compute(Good)


def test_a_failure_names_the_attribute_that_a_step_changed() -> None:
    with pytest.raises(AssertionError, match=r"a step changed module\.ticks"):
        CellConformance().test_a_run_leaves_nothing_on_the_module(Counter)
