"""FLOP counts agree with counts by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnsearch import ModelSpec, RecurrentCell, SequenceShape, State, Value, measure_complexity
from rnnsearch.budget.flops import FlopCounter
from rnnsearch.errors import CapabilityError

B, M, P = 7, 3, 5  # samples, inputs, units
SHAPE = SequenceShape(M, 2, None, "last_step")  # no fixed length: the head counts nothing


def counted(run: Callable[..., object], *given: Tensor) -> float:
    """FLOPs of a function of tensors."""
    with torch.no_grad(), FlopCounter() as counter:
        run(*given)
    return counter.total


def real(*shape: int) -> Tensor:
    return torch.empty(*shape, device="meta")


def paired(*shape: int) -> Tensor:
    return torch.empty(*shape, device="meta", dtype=torch.complex64)


@pytest.mark.parametrize(
    ("run", "given", "expected"),
    [
        (torch.tanh, [real(B, P)], B * P),
        (torch.add, [real(B, P), real(P)], B * P),
        (lambda a: a.mul_(2).add_(1), [real(B, P)], 2 * B * P),
        (lambda a, b: torch.where(a > b, a, b), [real(B, P), real(B, P)], 2 * B * P),
        (torch.matmul, [real(B, M), real(M, P)], 2 * B * M * P),
        (torch.mv, [real(B, M), real(M)], 2 * B * M),
        (functional.linear, [real(B, M), real(P, M), real(P)], 2 * B * M * P + B * P),
        (lambda a: a.sum(dim=1), [real(B, P)], B * P),
        (lambda a: a.amax(dim=0), [real(B, P)], B * P),
        (lambda a: a.softmax(dim=1), [real(B, P)], 4 * B * P),
        (torch.bmm, [real(B, 2, M), real(B, M, P)], 2 * B * 2 * M * P),
        (functional.conv1d, [real(B, M, 9), real(P, M, 4), real(P)], B * 6 * P * (2 * M * 4 + 1)),
        (lambda a: a[:, 1:].t().reshape(-1).clone(), [real(B, P)], 0),
        (lambda a: torch.cat((a, a), dim=1).double(), [real(B, P)], 0),
        (lambda a: torch.arange(B) + 1, [real(1)], 0),
        (lambda a: torch.fft.fft(a), [paired(B, 8)], B * 5 * 8 * 3),
        (torch.add, [paired(B, P), paired(B, P)], 2 * B * P),
        (torch.mul, [paired(B, P), paired(P)], 6 * B * P),
        (torch.mul, [paired(B, P), real(P)], 2 * B * P),
        (lambda a: 0.5 * a, [paired(B, P)], 2 * B * P),
        (torch.abs, [paired(B, P)], 4 * B * P),
        (torch.matmul, [paired(B, M), paired(M, P)], 8 * B * M * P),
        (torch.polar, [real(B, P), real(B, P)], 4 * B * P),
        (lambda a, b: torch.complex(a, b).real, [real(B, P), real(B, P)], 0),
        (lambda a: a.sum(), [paired(B, P)], 2 * B * P),
    ],
)
def test_an_operator_counts_what_it_does(
    run: Callable[..., object], given: list[Tensor], expected: int
) -> None:
    assert counted(run, *given) == expected


class Liquid(RecurrentCell):
    """Several small steps over pairs of units, without matrix products."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.width = nn.Parameter(torch.ones(hidden_size, hidden_size))
        self.weight = nn.Parameter(torch.ones(hidden_size, hidden_size))

    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return 2 * hidden_size**2

    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        (units,) = state
        weight = functional.softplus(self.weight)  # the same for all samples
        for _ in range(6):
            units = (weight * torch.sigmoid(self.width * units.unsqueeze(-1))).sum(dim=1)
        return units, (units,)


def test_a_cell_without_products_of_matrices_counts_its_pairs_of_units() -> None:
    measured = measure_complexity(Liquid, ModelSpec("liquid", SHAPE, P, head="linear"))
    assert measured.flops_per_step == 6 * 4 * P * P


class Spiral(RecurrentCell):
    """A diagonal complex recurrence."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.pole = nn.Parameter(torch.ones(hidden_size, 2))
        self.read = nn.Parameter(torch.ones(input_size, hidden_size))

    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return hidden_size * (2 + input_size)

    @classmethod
    def state_size(cls, input_size: int, hidden_size: int, **options: Value) -> int:
        return 2 * hidden_size + 1

    def initial_state(self, batch_size: int) -> State:
        zeros = self.zeros(batch_size, self.hidden_size)
        return torch.complex(zeros, zeros), torch.zeros_like(zeros[:, :1], dtype=torch.int64)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        units, steps = state
        pole = torch.complex(self.pole[:, 0], self.pole[:, 1])
        units = pole * units + inputs @ self.read
        return units.real, (units, steps + 1)


@pytest.mark.parametrize("learned", [False, True])
def test_a_complex_state_counts_in_reals(learned: bool) -> None:
    spec = ModelSpec("spiral", SHAPE, P, head="linear", learned_initial_state=learned)
    measured = measure_complexity(Spiral, spec)
    assert measured.flops_per_step == 2 * M * P + 6 * P + P
    assert measured.state_size == 2 * P + 1
    # A step counter has no learned initial value.
    offsets = 2 * P if learned else 0
    assert measured.trainable == P * (2 + M) + offsets + 2 * (P + 1)


class Drawing(Liquid):
    """Asks for one random number per unit."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.noise_size = hidden_size

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        drawn = inputs[:, self.input_size :]
        units = state[0] + (drawn if self.training else 0.5)
        return units, (units,)


def test_a_cell_that_asks_for_noise_is_counted_as_in_evaluation() -> None:
    measured = measure_complexity(Drawing, ModelSpec("drawing", SHAPE, P, head="linear"))
    assert measured.flops_per_step == P


class Outside(Spiral):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        _, after = super().forward(inputs, state)
        return after[0], after


class Inside(Spiral):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.pole = nn.Parameter(torch.ones(hidden_size, dtype=torch.complex64))


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (Outside, "the output of architecture `spiral` is complex"),
        (Inside, "keeps its parameter `pole` in complex numbers. Keep pairs of reals"),
    ],
)
def test_complex_outputs_and_parameters_are_refused_with_what_to_do(
    cell: type[RecurrentCell], said: str
) -> None:
    with pytest.raises(CapabilityError, match=said.replace("(", r"\(")):
        measure_complexity(cell, ModelSpec("spiral", SHAPE, P, head="linear"))
