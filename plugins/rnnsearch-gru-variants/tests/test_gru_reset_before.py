"""The GRU that resets the state before the product with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from torch import Tensor, nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_gru_variants.gru_reset_before import ResetBeforeGRUCell

M, P = 3, 5


class TestResetBeforeGRUCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return ResetBeforeGRUCell


def _cell() -> ResetBeforeGRUCell:
    torch.manual_seed(0)
    return ResetBeforeGRUCell(M, P).double()


def _inputs(steps: int = 7) -> Tensor:
    return torch.randn(steps, 4, M, dtype=torch.float64)


def _outputs(cell: RecurrentCell, inputs: Tensor) -> Tensor:
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))[0]


def _torch_gru(cell: ResetBeforeGRUCell) -> nn.GRU:
    """The `torch.nn.GRU` with the same weights, whose update gate has the opposite meaning."""
    gru = nn.GRU(M, P).double()
    gates, candidate = cell.gates, cell.candidate
    sign = torch.tensor([1.0] * P + [-1.0] * P, dtype=torch.float64)  # r unchanged, z negated
    with torch.no_grad():
        signed = sign[:, None] * gates.weight
        gru.weight_ih_l0.copy_(torch.cat((signed[:, :M], candidate.weight[:, :M])))
        gru.weight_hh_l0.copy_(torch.cat((signed[:, M:], candidate.weight[:, M:])))
        gru.bias_ih_l0.copy_(torch.cat((sign * gates.bias, candidate.bias)))
        gru.bias_hh_l0.zero_()
    return gru


@pytest.mark.parametrize(("m", "p"), [(1, 1), (2, 177), (28, 10)])
def test_parameter_count_is_that_of_three_affine_maps(m: int, p: int) -> None:
    assert ResetBeforeGRUCell.parameter_count(m, p) == 3 * p**2 + 3 * m * p + 3 * p


def test_where_the_candidate_keeps_units_apart_it_is_a_torch_gru_with_negated_update_gate() -> None:
    cell = _cell()
    with torch.no_grad():
        cell.candidate.weight[:, M:] *= torch.eye(P)
    inputs = _inputs()
    torch.testing.assert_close(_outputs(cell, inputs), _torch_gru(cell)(inputs)[0])


def test_with_an_open_reset_gate_it_is_a_torch_gru_with_negated_update_gate() -> None:
    cell = _cell()
    with torch.no_grad():
        cell.gates.bias[:P] = 1000.0
    inputs = _inputs()
    torch.testing.assert_close(_outputs(cell, inputs), _torch_gru(cell)(inputs)[0])


def test_with_weights_at_large_it_is_no_torch_gru() -> None:
    cell, inputs = _cell(), _inputs()
    assert not torch.allclose(_outputs(cell, inputs), _torch_gru(cell)(inputs)[0])


def test_negating_the_update_gate_gives_the_form_of_cho_et_al() -> None:
    cell = _cell()
    w_r, w_z = cell.gates.weight.chunk(2)
    b_r, b_z = cell.gates.bias.chunk(2)
    w_n, u_n = cell.candidate.weight.split((M, P), dim=1)
    inputs = _inputs()
    hidden = torch.zeros(4, P, dtype=torch.float64)
    for step, output in zip(inputs, _outputs(cell, inputs), strict=True):
        joined = torch.cat((step, hidden), 1)
        r = torch.sigmoid(joined @ w_r.T + b_r)
        z = torch.sigmoid(joined @ -w_z.T - b_z)
        n = torch.tanh(step @ w_n.T + (r * hidden) @ u_n.T + cell.candidate.bias)
        hidden = z * hidden + (1 - z) * n
        torch.testing.assert_close(output, hidden)


def test_with_constant_gates_and_no_feedback_it_is_a_first_order_low_pass_filter() -> None:
    cell = _cell()
    with torch.no_grad():
        cell.gates.weight.zero_()
        cell.candidate.weight[:, M:] = 0
    inputs = _inputs(steps=50)
    outputs = _outputs(cell, inputs).detach().numpy()
    signals = torch.tanh(cell.candidate.weight[:, :M] @ inputs.mT + cell.candidate.bias[:, None])
    z = torch.sigmoid(cell.gates.bias[P:]).detach().numpy()
    for unit in range(P):
        signal = signals[:, unit].detach().numpy()
        expected = lfilter([z[unit]], [1, z[unit] - 1], signal, axis=0)
        np.testing.assert_allclose(outputs[:, :, unit], expected, rtol=1e-10)
