"""The IndRNN cell: independent units, and a recurrent weight that stays within its bound."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_structured.indrnn import IndRNNCell


class TestIndRNNCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return IndRNNCell


def _with_weight(v: list[float], horizon: int = 0) -> IndRNNCell:
    torch.manual_seed(0)
    cell = IndRNNCell(2, len(v), horizon=horizon).double()
    with torch.no_grad():
        cell.unbounded_recurrent_weight.copy_(torch.tensor(v))
    return cell


@pytest.mark.parametrize(("m", "p"), [(1, 1), (2, 128), (28, 10)])
def test_parameter_count_is_the_closed_form(m: int, p: int) -> None:
    assert IndRNNCell.parameter_count(m, p) == p * (m + 2)


def test_indrnn_matches_a_torch_net_of_rectifiers_with_a_diagonal_matrix() -> None:
    torch.manual_seed(0)
    cell = IndRNNCell(3, 5).double()
    reference = nn.RNN(3, 5, nonlinearity="relu").double()
    with torch.no_grad():
        reference.weight_ih_l0.copy_(cell.input_map.weight)
        reference.bias_ih_l0.copy_(cell.input_map.bias)
        reference.bias_hh_l0.zero_()
        reference.weight_hh_l0.copy_(torch.diag(cell.recurrent_weight))
    inputs = torch.randn(7, 4, 3, dtype=torch.float64)
    start = torch.rand(4, 5, dtype=torch.float64)
    expected, last = reference(inputs, start[None])
    outputs, (hidden,) = run_eagerly(cell, inputs, (start,))
    torch.testing.assert_close((outputs, hidden), (expected, last[0]))

    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (outputs * weights).sum().backward()
    torch.testing.assert_close(
        cell.unbounded_recurrent_weight.grad, reference.weight_hh_l0.grad.diagonal()
    )


def test_a_unit_does_not_depend_on_the_past_of_another() -> None:
    torch.manual_seed(0)
    cell = IndRNNCell(2, 4).double()
    with torch.no_grad():
        cell.input_map.bias.fill_(1.0)  # all units are on
    inputs = torch.rand(6, 1, 2, dtype=torch.float64)

    def last(start: torch.Tensor) -> torch.Tensor:
        return run_eagerly(cell, inputs, (start[None],))[0][-1, 0]

    jacobian = torch.func.jacrev(last)(torch.full((4,), 5.0, dtype=torch.float64))
    assert jacobian.diagonal().all()
    assert torch.equal(jacobian, torch.diag(jacobian.diagonal()))


@pytest.mark.parametrize("horizon", [1, 20, 784])
def test_a_state_and_its_gradient_at_most_double_over_the_horizon(horizon: int) -> None:
    bound = 2 ** (1 / horizon)
    # Inside, at, beyond and far beyond the bound, on both sides.
    weights = [0.5, bound, bound + 0.1, 2 * bound, 100.0, -bound - 0.1, -100.0]
    cell = _with_weight(weights, horizon)
    assert float(cell.recurrent_weight.detach().abs().max()) <= bound
    with torch.no_grad():
        cell.input_map.weight.zero_()
        cell.input_map.bias.zero_()
    start = torch.ones(1, len(weights), dtype=torch.float64, requires_grad=True)
    nothing = torch.zeros(horizon, 1, 2, dtype=torch.float64)
    _, (last,) = run_eagerly(cell, nothing, (start,))
    last.sum().backward()
    largest = float(last.detach().max())
    assert largest <= 2 + 1e-9
    assert float(start.grad.abs().max()) <= 2 + 1e-9
    # The bound is not only respected but reached.
    assert largest == pytest.approx(2)


def test_without_a_horizon_the_bound_is_one() -> None:
    cell = _with_weight([0.5, 1.0, 1.25, 7.0, -0.5, -1.0, -1.25, -7.0])
    expected = [0.5, 1.0, 0.75, -1.0, -0.5, -1.0, -0.75, 1.0]
    assert cell.recurrent_weight.tolist() == expected


def test_the_reflection_keeps_the_size_of_the_gradient() -> None:
    cell = _with_weight([0.5, 0.999, 1.001, 2.5, -0.5, -1.001, -2.5])
    cell.recurrent_weight.sum().backward()
    slopes = cell.unbounded_recurrent_weight.grad.tolist()
    assert slopes == [1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0]


def test_a_weight_that_was_driven_against_the_bound_finds_back() -> None:
    cell = _with_weight([0.9])
    optimizer = torch.optim.SGD(cell.parameters(), lr=0.01)
    reached = []
    for target in (3.0, 0.5):
        for _ in range(300):
            optimizer.zero_grad()
            (cell.recurrent_weight - target).square().sum().backward()
            optimizer.step()
        reached.append(cell.recurrent_weight.item())
    assert reached[0] == pytest.approx(1.0, abs=0.05)
    assert reached[1] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("horizon", [0, 20])
def test_mixed_recurrence_starts_between_nothing_and_the_bound(horizon: int) -> None:
    torch.manual_seed(0)
    weights = IndRNNCell(1, 1000, horizon=horizon).recurrent_weight.detach()
    bound = 2 ** (1 / horizon) if horizon else 1.0
    assert 0 <= float(weights.min()) < 0.02
    assert bound - 0.02 < float(weights.max()) <= bound


@pytest.mark.parametrize(("horizon", "lowest"), [(0, 2**-0.001), (20, 2**-0.05)])
def test_long_recurrence_starts_within_a_factor_of_two_at_the_horizon(
    horizon: int, lowest: float
) -> None:
    torch.manual_seed(0)
    cell = IndRNNCell(1, 1000, horizon=horizon, recurrence="long")
    weights = cell.recurrent_weight.detach()
    assert lowest - 1e-6 <= float(weights.min())
    assert float(weights.max()) <= cell.bound + 1e-6
    # Over the whole range, not at one end of it.
    assert float(weights.max() - weights.min()) > 0.9 * (cell.bound - lowest)
