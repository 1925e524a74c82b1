"""The GRUs with smaller gates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_gru_variants.gru_reset_before import ResetBeforeGRUCell
from rnnsearch_gru_variants.gru_slim import SlimGRUCell

M, P = 3, 5


class TestSlimGRUCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return SlimGRUCell


def _outputs(cell: RecurrentCell, inputs: Tensor) -> Tensor:
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))[0]


@pytest.mark.parametrize("variant", [1, 2, 3])
def test_it_is_the_full_gru_whose_gates_have_zeros_for_what_the_variant_drops(variant: int) -> None:
    torch.manual_seed(0)
    full = ResetBeforeGRUCell(M, P).double()
    slim = SlimGRUCell(M, P, variant=variant).double()
    with torch.no_grad():
        slim.candidate.load_state_dict(full.candidate.state_dict())
        full.gates.weight[:, :M] = 0
        if variant == 3:
            full.gates.weight.zero_()
            full.gates.bias.copy_(slim.gates.bias)
        else:
            full.gates.weight[:, M:].copy_(slim.gates.weight)
            full.gates.bias.copy_(slim.gates.bias if variant == 1 else torch.zeros(2 * P))
    inputs = torch.randn(7, 4, M, dtype=torch.float64)
    torch.testing.assert_close(_outputs(slim, inputs), _outputs(full, inputs))


@pytest.mark.parametrize(("m", "p"), [(1, 1), (2, 177), (28, 100)])
def test_each_variant_saves_what_its_two_gates_drop(m: int, p: int) -> None:
    full = ResetBeforeGRUCell.parameter_count(m, p)
    saved = [full - SlimGRUCell.parameter_count(m, p, variant=v) for v in (1, 2, 3)]
    assert saved == [2 * p * m, 2 * p * (m + 1), 2 * p * (m + p)]


def test_without_a_variant_the_count_is_that_of_the_first() -> None:
    first = SlimGRUCell.parameter_count(M, P, variant=1)
    assert SlimGRUCell.parameter_count(M, P) == first == 2 * P * (P + 1) + P * (M + P + 1)
