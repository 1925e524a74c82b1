"""The conformance suite of wrappers: what is wrapped keeps every promise of a step cell."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch.plugin.cell import RecurrentCell, State
from rnnsearch.plugin.wrapper import CellWrapper
from rnnsearch.spec.parameters import Value
from rnnsearch.testing.cells import CellConformance


class PlainCell(RecurrentCell):
    """The cell inside: `h' = tanh(W x + U h + b)`, and a second state that sums its outputs."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.affine = nn.Linear(input_size + hidden_size, hidden_size)

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return hidden_size * (input_size + hidden_size + 1)

    @classmethod
    @override
    def state_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return 2 * hidden_size

    @override
    def initial_state(self, batch_size: int) -> State:
        zeros = self.zeros(batch_size, self.hidden_size)
        return zeros, zeros

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, total = state
        hidden = torch.tanh(self.affine(torch.cat((inputs, hidden), dim=-1)))
        return hidden, (hidden, total + hidden)


class _DrawingCell(PlainCell):
    """A plain cell that asks for numbers drawn at random, and would be lost without them."""

    noise_size = 2

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        features, drawn = inputs.split([self.input_size, self.noise_size], dim=-1)
        return super().forward(features * drawn.mean(dim=-1, keepdim=True), state)


class _Wrapped(RecurrentCell):
    """A wrapper around a `PlainCell`, as one cell with the counts of both."""

    wrapper: ClassVar[type[CellWrapper]]
    layer: ClassVar[int]

    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__(input_size, hidden_size)
        inside = PlainCell(input_size, hidden_size)
        self.hold(self.wrapper(inside, hidden_size, self.layer, **options))

    def hold(self, whole: CellWrapper) -> None:
        """Be this wrapper around its cell."""
        self.whole = whole
        self.noise_size, self.held_noise = whole.noise_size, whole.held_noise

    @classmethod
    @override
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        added = cls.wrapper.parameter_count(input_size, hidden_size, layer=cls.layer, **structure)
        return added + PlainCell.parameter_count(input_size, hidden_size)

    @classmethod
    @override
    def state_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        added = cls.wrapper.state_size(input_size, hidden_size, layer=cls.layer, **structure)
        return added + PlainCell.state_size(input_size, hidden_size)

    @classmethod
    @override
    def width_multiple(cls, **structure: Value) -> int:
        return cls.wrapper.width_multiple(**structure)

    @classmethod
    @override
    def output_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return cls.wrapper.output_size(input_size, hidden_size, **structure)

    @override
    def initial_state(self, batch_size: int) -> State:
        return self.whole.initial_state(batch_size)

    @override
    def memory_state(self, state: State) -> Tensor:
        return self.whole.memory_state(state)

    @override
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        result: tuple[Tensor, State] = self.whole(inputs, state)
        return result

    @override
    def __reduce__(self) -> Any:
        # The class is made here, and not importable by name.
        return _rebuilt, (self.wrapper, self.layer, self.input_size, self.hidden_size, self.whole)


@cache
def around_a_plain_cell(wrapper: type[CellWrapper], layer: int) -> type[RecurrentCell]:
    """The cell class that a wrapper makes of a plain one, in a layer of a stack."""
    declared = {
        "structure": wrapper.structure,
        "hyperparameters": wrapper.hyperparameters,
        "known_failures": wrapper.known_failures,
    }
    name = f"{wrapper.__name__}InLayer{layer}"
    return type(name, (_Wrapped,), {"wrapper": wrapper, "layer": layer, **declared})


def _rebuilt(
    wrapper: type[CellWrapper],
    layer: int,
    input_size: int,
    hidden_size: int,
    whole: CellWrapper,
) -> RecurrentCell:
    cell = around_a_plain_cell(wrapper, layer)(input_size, hidden_size)
    assert isinstance(cell, _Wrapped)
    cell.hold(whole)
    return cell


class WrapperConformance(CellConformance):
    """Every check that a wrapper has to pass: a plain cell in it passes those of cells.

    Subclass it under a name that starts with `Test` and return the class from `wrapper_class`.
    Each check runs in the first and in the second layer of a stack.
    """

    @pytest.fixture
    def wrapper_class(self) -> type[CellWrapper]:
        """The class under test."""
        raise NotImplementedError

    @pytest.fixture(params=[0, 1], ids=["layer 0", "layer 1"])
    @override
    def cell_class(
        self, wrapper_class: type[CellWrapper], request: pytest.FixtureRequest
    ) -> type[RecurrentCell]:
        """A plain cell in the wrapper."""
        return around_a_plain_cell(wrapper_class, request.param)

    @override
    def written_by_the_author(self, cell_class: type[RecurrentCell]) -> type[RecurrentCell]:
        assert issubclass(cell_class, _Wrapped)
        return cell_class.wrapper

    @override
    def test_declared_options_have_valid_defaults_that_are_the_constructors(
        self, cell_class: type[RecurrentCell]
    ) -> None:
        assert issubclass(cell_class, _Wrapped)
        wrapper = cell_class.wrapper
        assert not set(wrapper.structure) & set(wrapper.hyperparameters), "declared twice"
        arguments = inspect.signature(wrapper).parameters
        for name, parameter in {**wrapper.structure, **wrapper.hyperparameters}.items():
            problem = parameter.problem_with(parameter.default)
            assert problem is None, f"default of `{name}`: {problem}"
            assert name in arguments, f"the constructor does not take `{name}`"
            assert arguments[name].default == parameter.default, (
                f"`{name}` is {arguments[name].default!r} by default in the constructor, and "
                f"{parameter.default!r} where it is declared"
            )

    def test_the_state_of_the_cell_inside_stands_last(
        self, cell_class: type[RecurrentCell], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Parts of one shape are told apart by what stands in them.
        inside = tuple(torch.full((2, 5), float(part)) for part in (1, 2))
        monkeypatch.setattr(PlainCell, "initial_state", lambda *_: inside)
        state = cell_class(3, 5).initial_state(2)
        assert len(state) >= len(inside)
        for part, expected in zip(state[-len(inside) :], inside, strict=True):
            torch.testing.assert_close(part, expected)

    @pytest.mark.parametrize("input_size", [3, 5])
    def test_numbers_drawn_for_the_cell_inside_reach_it_and_nothing_else(
        self, cell_class: type[RecurrentCell], input_size: int
    ) -> None:
        assert issubclass(cell_class, _Wrapped)
        inside = _DrawingCell(input_size, 5)
        whole = cell_class.wrapper(inside, 5, cell_class.layer)
        features = torch.zeros(2, input_size + whole.noise_size)
        output, _ = whole(features, whole.initial_state(2))
        assert output.shape == (2, cell_class.output_size(input_size, 5))


__all__ = ["PlainCell", "WrapperConformance", "around_a_plain_cell"]
