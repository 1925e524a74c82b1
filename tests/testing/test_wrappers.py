"""The wrapper suite catches each broken rule with the check meant for it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnsearch import CellWrapper, Choice, FloatRange, RecurrentCell, State
from rnnsearch.spec.parameters import Parameters, Value
from rnnsearch.testing import WrapperConformance
from rnnsearch.testing.wrappers import around_a_plain_cell

from .one_size import check_of


class Good(CellWrapper):
    """Adds a decaying trace of the outputs, scaled by one learned gain per output or for all."""

    structure: ClassVar[Parameters] = {"shared": Choice((False, True), default=False)}
    hyperparameters: ClassVar[Parameters] = {"decay": FloatRange(0.1, 0.9, default=0.5)}

    def __init__(
        self,
        cell: RecurrentCell,
        output_size: int,
        layer: int = 0,
        shared: bool = False,
        decay: float = 0.5,
    ) -> None:
        super().__init__(cell, output_size, layer)
        self.decay = decay
        self.gain = nn.Parameter(torch.rand(1 if shared else output_size))

    @classmethod
    def parameter_count(
        cls,
        input_size: int,
        hidden_size: int,
        layer: Value = 0,
        shared: Value = False,
        **structure: Value,
    ) -> int:
        return 1 if shared else hidden_size

    @classmethod
    def state_size(
        cls, input_size: int, hidden_size: int, layer: Value = 0, **structure: Value
    ) -> int:
        return hidden_size

    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.width), *self.cell.initial_state(batch_size))

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        trace, *inside = state
        output, after = self.cell(inputs, tuple(inside))
        trace = self.decay * trace + output
        return output + self.gain * trace, (trace, *after)


class TestGood(WrapperConformance):
    @pytest.fixture
    def wrapper_class(self) -> type[CellWrapper]:
        return Good


class DeclaredTwice(Good):
    hyperparameters: ClassVar[Parameters] = {**Good.structure, **Good.hyperparameters}


class OtherDefault(Good):
    hyperparameters: ClassVar[Parameters] = {"decay": FloatRange(0.1, 0.9, default=0.1)}


class InvalidDefault(Good):
    hyperparameters: ClassVar[Parameters] = {"decay": FloatRange(0.6, 0.9, default=0.5)}


class UnknownOption(Good):
    hyperparameters: ClassVar[Parameters] = {"slope": FloatRange(0.1, 0.9, default=0.5)}


class CountsTheCellInside(Good):
    @classmethod
    def parameter_count(
        cls, input_size: int, hidden_size: int, layer: Value = 0, **structure: Value
    ) -> int:
        added = super().parameter_count(input_size, hidden_size, layer, **structure)
        return added + hidden_size * (input_size + hidden_size + 1)


class IgnoresAnOption(Good):
    """Right at the defaults, wrong elsewhere."""

    @classmethod
    def parameter_count(
        cls, input_size: int, hidden_size: int, layer: Value = 0, **structure: Value
    ) -> int:
        return super().parameter_count(input_size, hidden_size)


class CountsTooMuchAboveTheFirst(Good):
    """Right in the first layer, wrong in the second."""

    @classmethod
    def parameter_count(
        cls, input_size: int, hidden_size: int, layer: Value = 0, **structure: Value
    ) -> int:
        return super().parameter_count(input_size, hidden_size, **structure) + int(layer)


class ForgetsItsState(Good):
    @classmethod
    def state_size(
        cls, input_size: int, hidden_size: int, layer: Value = 0, **structure: Value
    ) -> int:
        return 0


class ForgetsItsOutput(Good):
    """Outputs its inputs next to the outputs, but does not declare it."""

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, state = super().forward(inputs, state)
        return torch.cat((output, inputs), dim=-1), state


class OwnStateLast(Good):
    """Its own state has the same width as a part of the inner cell's state."""

    def initial_state(self, batch_size: int) -> State:
        trace, *inside = super().initial_state(batch_size)
        return (*inside, trace)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        *inside, trace = state
        output, (trace, *after) = super().forward(inputs, (trace, *inside))
        return output, (*after, trace)


class ForgetsTheCellInside(Good):
    """Starts every step with the initial state of the cell inside."""

    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.width),)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, (trace, *_) = super().forward(
            inputs, (state[0], *self.cell.initial_state(len(inputs)))
        )
        return output, (trace,)


class StateGrows(Good):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, (trace, *after) = super().forward(inputs, (state[0][:, : self.width], *state[1:]))
        return output, (torch.cat((trace, state[0]), dim=-1), *after)


class SkipsWithDrawnNumbers(Good):
    """Adds all its inputs, including random numbers, to the output if the widths are equal."""

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, state = super().forward(inputs, state)
        return (output + inputs if self.width == self.input_size else output), state


class DropsDrawnNumbers(Good):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return super().forward(inputs[:, : self.input_size], state)


class TraceOnTheModule(Good):
    trace: Tensor | None = None

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        trace = state[0] if self.trace is None else self.trace
        output, (trace, *after) = super().forward(inputs, (trace, *state[1:]))
        self.trace = trace.detach()
        return output, (trace, *after)


class Counter(Good):
    """A clock in Python: every second step is skipped."""

    ticks = 0

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        self.ticks += 1
        return super().forward(inputs * (self.ticks % 2), state)


class WritesInPlace(Good):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, (trace, *after) = super().forward(inputs, state)
        return output, (state[0].copy_(trace), *after)


class Noisy(Good):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return super().forward(inputs + 1e-3 * torch.randn_like(inputs), state)


class MixesTheBatch(Good):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, state = super().forward(inputs, state)
        return output - output.mean(0), state


class Unreached(Good):
    """Detaches the cell inside from the gradient."""

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        trace, *inside = state
        output, after = self.cell(inputs, tuple(inside))
        trace = self.decay * trace + output.detach()
        return self.gain * trace, (trace, *after)


class DrawsFromNumpy(Good):
    def __init__(
        self, cell: RecurrentCell, output_size: int, layer: int = 0, **options: Value
    ) -> None:
        super().__init__(cell, output_size, layer, **options)
        nn.init.constant_(self.gain, np.random.rand())


class OffsetOutsideTheStateDict(Good):
    def __init__(
        self, cell: RecurrentCell, output_size: int, layer: int = 0, **options: Value
    ) -> None:
        super().__init__(cell, output_size, layer, **options)
        self.offset = torch.rand(output_size, dtype=torch.float64)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, state = super().forward(inputs, state)
        return output + self.offset, state


class WrongGradient(Good):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, state = super().forward(inputs, state)
        return 2 * output - output.detach(), state


class HoldsALambda(Good):
    def __init__(
        self, cell: RecurrentCell, output_size: int, layer: int = 0, **options: Value
    ) -> None:
        super().__init__(cell, output_size, layer, **options)
        self.activation = lambda x: x


class BranchesOnAValue(Good):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return super().forward(-inputs if inputs.mean() > 0 else inputs, state)


def check_in_layer(wrapper: type[CellWrapper], layer: int, check: str) -> None:
    """Run a check on a plain cell inside a wrapper."""
    check_of(WrapperConformance, check)(around_a_plain_cell(wrapper, layer))


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (DeclaredTwice, "declared_options_have_valid_defaults_that_are_the_constructors"),
        (OtherDefault, "declared_options_have_valid_defaults_that_are_the_constructors"),
        (InvalidDefault, "declared_options_have_valid_defaults_that_are_the_constructors"),
        (UnknownOption, "declared_options_have_valid_defaults_that_are_the_constructors"),
        (CountsTheCellInside, "parameter_count_equals_the_parameters_built"),
        (IgnoresAnOption, "parameter_count_equals_the_parameters_built"),
        (ForgetsItsState, "state_size_equals_the_scalars_of_state_per_sample"),
        (ForgetsItsOutput, "output_size_equals_the_width_of_the_output"),
        (StateGrows, "a_step_keeps_the_shapes_of_the_state"),
        (TraceOnTheModule, "carrying_the_state_across_a_split_changes_nothing"),
        (TraceOnTheModule, "a_run_leaves_nothing_on_the_module"),
        (Counter, "a_run_leaves_nothing_on_the_module"),
        (Counter, "a_step_gives_the_same_result_whenever_it_is_taken"),
        (WritesInPlace, "a_step_leaves_its_inputs_and_state_as_they_were"),
        (Noisy, "nothing_is_drawn_at_random_inside_the_step"),
        (MixesTheBatch, "a_sample_gives_the_same_result_alone_as_in_a_batch"),
        (Unreached, "gradient_reaches_every_parameter"),
        (DrawsFromNumpy, "the_same_seed_gives_the_same_weights"),
        (OffsetOutsideTheStateDict, "a_loaded_state_dict_brings_the_whole_cell"),
    ],
)
def test_a_broken_promise_is_caught_by_its_check(broken: type[CellWrapper], check: str) -> None:
    with pytest.raises(AssertionError):
        check_in_layer(broken, 0, check)


@pytest.mark.parametrize(
    ("broken", "check", "error"),
    [
        (WrongGradient, "gradients_equal_finite_differences", "Jacobian mismatch"),
        (HoldsALambda, "a_cell_sent_to_another_process_computes_the_same", "pickle"),
        (BranchesOnAValue, "builds_and_steps_without_storage", "meta"),
    ],
)
def test_a_broken_promise_that_torch_itself_notices_stops_its_check(
    broken: type[CellWrapper], check: str, error: str
) -> None:
    with pytest.raises(Exception, match=error):
        check_in_layer(broken, 0, check)


def test_a_count_that_is_wrong_in_the_second_layer_only_is_caught_there() -> None:
    check = "parameter_count_equals_the_parameters_built"
    check_in_layer(CountsTooMuchAboveTheFirst, 0, check)
    with pytest.raises(AssertionError):
        check_in_layer(CountsTooMuchAboveTheFirst, 1, check)


@pytest.mark.parametrize("broken", [OwnStateLast, ForgetsTheCellInside])
def test_the_state_of_the_cell_inside_out_of_its_place_is_caught(
    broken: type[CellWrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError):
        WrapperConformance().test_the_state_of_the_cell_inside_stands_last(
            around_a_plain_cell(broken, 0), monkeypatch
        )


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (ForgetsItsOutput, "assert"),
        (SkipsWithDrawnNumbers, "must match the size"),
        (DropsDrawnNumbers, "split_with_sizes"),
    ],
)
def test_drawn_numbers_that_go_astray_are_caught(broken: type[CellWrapper], error: str) -> None:
    with pytest.raises((AssertionError, RuntimeError), match=error):
        WrapperConformance().test_numbers_drawn_for_the_cell_inside_reach_it_and_nothing_else(
            around_a_plain_cell(broken, 1), 5
        )
