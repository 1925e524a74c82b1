"""The GRU cell."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_gated.gru import GRUCell


class TestGRUCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return GRUCell


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gru_matches_torch_after_copying_weights_in_outputs_and_gradients(
    dtype: torch.dtype,
) -> None:
    torch.manual_seed(0)
    reference = nn.GRU(3, 5).to(dtype)
    cell = GRUCell(3, 5).to(dtype)
    cell.gru.load_state_dict(reference.state_dict())
    inputs = torch.randn(7, 4, 3, dtype=dtype)
    start = torch.randn(4, 5, dtype=dtype)

    expected, hidden = reference(inputs, start[None])
    outputs, state = run_eagerly(cell, inputs, (start,))
    torch.testing.assert_close((outputs, state), (expected, (hidden[0],)))

    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (outputs * weights).sum().backward()
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(cell.get_parameter(f"gru.{name}").grad, parameter.grad)


@pytest.mark.parametrize(("input_size", "hidden_size"), [(2, 177), (1, 222), (28, 10)])
def test_one_bias_count_is_the_minimal_one(input_size: int, hidden_size: int) -> None:
    m, p = input_size, hidden_size
    one_bias = GRUCell.parameter_count(m, p) - GRUCell.redundant_biases(m, p)
    assert one_bias == 3 * p * (m + p + 1) + p


def _outputs(cell: GRUCell, inputs: torch.Tensor) -> torch.Tensor:
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))[0]


def test_second_biases_of_the_gates_are_redundant_and_that_of_the_candidate_is_not() -> None:
    torch.manual_seed(0)
    cell = GRUCell(3, 5).double()
    inputs = torch.randn(6, 2, 3, dtype=torch.float64)
    before = _outputs(cell, inputs)
    with torch.no_grad():
        cell.gru.bias_ih_l0[:10] += cell.gru.bias_hh_l0[:10]
        cell.gru.bias_hh_l0[:10] = 0
    torch.testing.assert_close(_outputs(cell, inputs), before)
    with torch.no_grad():
        cell.gru.bias_ih_l0[10:] += cell.gru.bias_hh_l0[10:]
        cell.gru.bias_hh_l0[10:] = 0
    assert not torch.allclose(_outputs(cell, inputs), before)


def test_state_is_kept_for_ever_when_the_update_gate_says_so() -> None:
    cell = GRUCell(2, 3).double()
    with torch.no_grad():
        cell.gru.bias_ih_l0[3:6] = 1000.0
    hidden = torch.tensor([[0.3, -2.0, 5.0]], dtype=torch.float64)
    _, (last,) = run_eagerly(cell, torch.randn(50, 1, 2, dtype=torch.float64), (hidden,))
    assert torch.equal(last, hidden)
