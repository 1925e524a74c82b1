"""The minimal gated unit and its variants."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_gru_variants.gru_reset_before import ResetBeforeGRUCell
from rnnsearch_gru_variants.gru_slim import SlimGRUCell
from rnnsearch_gru_variants.mgu import MGUCell

M, P = 3, 5


class TestMGUCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return MGUCell


def _outputs(cell: RecurrentCell, inputs: Tensor) -> Tensor:
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))[0]


def _inputs() -> Tensor:
    return torch.randn(7, 4, M, dtype=torch.float64)


def test_it_is_a_gru_whose_two_gates_are_the_same() -> None:
    torch.manual_seed(0)
    cell, gru = MGUCell(M, P).double(), ResetBeforeGRUCell(M, P).double()
    with torch.no_grad():
        gru.candidate.load_state_dict(cell.candidate.state_dict())
        gru.gates.weight.copy_(cell.gate.weight.repeat(2, 1))
        gru.gates.bias.copy_(cell.gate.bias.repeat(2))
    inputs = _inputs()
    torch.testing.assert_close(_outputs(cell, inputs), _outputs(gru, inputs))


@pytest.mark.parametrize("variant", [1, 2, 3])
def test_each_variant_is_a_slim_gru_whose_two_gates_are_the_same(variant: int) -> None:
    torch.manual_seed(0)
    cell, gru = MGUCell(M, P, variant).double(), SlimGRUCell(M, P, variant).double()
    with torch.no_grad():
        for name, parameter in gru.named_parameters():
            own = cell.get_parameter(name.replace("gates.", "gate."))
            is_gate = not name.startswith("candidate")
            parameter.copy_(torch.cat((own, own)) if is_gate else own)
    inputs = _inputs()
    torch.testing.assert_close(_outputs(cell, inputs), _outputs(gru, inputs))


@pytest.mark.parametrize("variant", [1, 2, 3])
def test_each_variant_is_the_unit_with_zeros_for_what_it_drops(variant: int) -> None:
    torch.manual_seed(0)
    full, cell = MGUCell(M, P).double(), MGUCell(M, P, variant).double()
    with torch.no_grad():
        cell.candidate.load_state_dict(full.candidate.state_dict())
        full.gate.weight[:, :M] = 0
        if variant == 3:
            full.gate.weight.zero_()
            full.gate.bias.copy_(cell.gate.bias)
        else:
            full.gate.weight[:, M:].copy_(cell.gate.weight)
            full.gate.bias.copy_(cell.gate.bias if variant == 1 else torch.zeros(P))
    inputs = _inputs()
    torch.testing.assert_close(_outputs(cell, inputs), _outputs(full, inputs))


@pytest.mark.parametrize(("m", "p"), [(1, 1), (2, 177), (28, 100)])
def test_each_variant_saves_what_its_gate_drops(m: int, p: int) -> None:
    full = MGUCell.parameter_count(m, p)
    assert full == 2 * p * (m + p + 1)
    saved = [full - MGUCell.parameter_count(m, p, variant=v) for v in (0, 1, 2, 3)]
    assert saved == [0, p * m, p * (m + 1), p * (m + p)]
