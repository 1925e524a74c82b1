"""The IRNN cell against `torch.nn.RNN`, and as the integrator of its initial weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_structured.irnn import IRNNCell


class TestIRNNCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return IRNNCell


@pytest.mark.parametrize(("m", "p"), [(1, 1), (2, 100), (28, 10)])
def test_parameter_count_is_the_closed_form(m: int, p: int) -> None:
    assert IRNNCell.parameter_count(m, p) == m * p + p**2 + p


def test_irnn_matches_torch_after_copying_weights_in_outputs_and_gradients() -> None:
    torch.manual_seed(0)
    reference = nn.RNN(3, 5, nonlinearity="relu").double()
    cell = IRNNCell(3, 5).double()
    with torch.no_grad():
        cell.input_map.weight.copy_(reference.weight_ih_l0)
        cell.input_map.bias.copy_(reference.bias_ih_l0 + reference.bias_hh_l0)
        cell.recurrent_map.weight.copy_(reference.weight_hh_l0)
    inputs = torch.randn(7, 4, 3, dtype=torch.float64)
    start = torch.rand(4, 5, dtype=torch.float64)

    expected, last = reference(inputs, start[None])
    outputs, (hidden,) = run_eagerly(cell, inputs, (start,))
    torch.testing.assert_close((outputs, hidden), (expected, last[0]))

    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (outputs * weights).sum().backward()
    torch.testing.assert_close(cell.input_map.weight.grad, reference.weight_ih_l0.grad)
    torch.testing.assert_close(cell.input_map.bias.grad, reference.bias_hh_l0.grad)
    torch.testing.assert_close(cell.recurrent_map.weight.grad, reference.weight_hh_l0.grad)


def test_a_fresh_cell_without_input_keeps_a_state_and_a_gradient_for_ever() -> None:
    torch.manual_seed(0)
    cell = IRNNCell(2, 3).double()
    start = torch.tensor([[0.3, 2.0, 5.0]], dtype=torch.float64, requires_grad=True)
    outputs, (last,) = run_eagerly(cell, torch.zeros(500, 1, 2, dtype=torch.float64), (start,))
    assert torch.equal(outputs, start.expand_as(outputs))
    last.sum().backward()
    assert torch.equal(start.grad, torch.ones_like(start))


def test_a_scaled_identity_forgets_by_its_scale_at_every_step() -> None:
    cell = IRNNCell(1, 2, identity_scale=0.5).double()
    start = torch.ones(1, 2, dtype=torch.float64)
    outputs, _ = run_eagerly(cell, torch.zeros(4, 1, 1, dtype=torch.float64), (start,))
    assert outputs[:, 0, 0].tolist() == [0.5, 0.25, 0.125, 0.0625]


def test_a_fresh_cell_has_no_bias_and_small_normal_input_weights() -> None:
    torch.manual_seed(0)
    cell = IRNNCell(100, 100)
    assert not cell.input_map.bias.any()
    weights = cell.input_map.weight.detach() / 0.001
    # 10,000 normal numbers: four standard errors.
    assert abs(float(weights.mean())) < 0.04
    assert abs(float(weights.std()) - 1) < 0.03
    assert float(weights.abs().max()) > 3
