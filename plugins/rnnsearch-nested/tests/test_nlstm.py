"""The nested LSTM of Moniz and Krueger."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_nested.nlstm import NestedLSTMCell
from rnnsearch_nested.nlstm_concat import ConcatNestedLSTMCell


class TestNestedLSTMCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return NestedLSTMCell


class AddingCell(NestedLSTMCell):
    """The nested LSTM with addition in place of its inner memory."""

    def remember(
        self, inner_inputs: Tensor, inner_hidden: Tensor, inner_memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        return inner_inputs + inner_hidden, inner_memory


@pytest.mark.parametrize(("m", "p"), [(1, 1), (2, 77), (28, 10)])
def test_parameter_count_is_the_closed_form(m: int, p: int) -> None:
    assert NestedLSTMCell.parameter_count(m, p) == 12 * p**2 + 4 * m * p + 8 * p


def test_with_addition_for_its_inner_memory_it_is_a_torch_lstm() -> None:
    torch.manual_seed(0)
    cell, lstm = AddingCell(3, 5).double(), nn.LSTM(3, 5).double()
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(cell.gates.weight[:, :3])
        lstm.weight_hh_l0.copy_(cell.gates.weight[:, 3:])
        lstm.bias_ih_l0.copy_(cell.gates.bias)
        lstm.bias_hh_l0.zero_()
    inputs = torch.randn(7, 4, 3, dtype=torch.float64)
    outputs, (hidden, memory, _) = run_eagerly(cell, inputs, cell.initial_state(4))
    expected, (last_hidden, last_memory) = lstm(inputs)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close((hidden, memory), (last_hidden[0], last_memory[0]))


@pytest.mark.parametrize("inner_activation", ["identity", "tanh"])
def test_it_computes_the_equations_written_gate_by_gate(inner_activation: str) -> None:
    torch.manual_seed(0)
    m, p = 3, 5
    cell = NestedLSTMCell(m, p, inner_activation=inner_activation).double()
    phi = torch.tanh if inner_activation == "tanh" else (lambda a: a)

    def affine(layer: nn.Linear, gate: int, joined: Tensor) -> Tensor:
        rows = slice(gate * p, (gate + 1) * p)
        return joined @ layer.weight[rows].T + layer.bias[rows]

    inputs = torch.randn(6, 2, m, dtype=torch.float64)
    outputs, state = run_eagerly(cell, inputs, cell.initial_state(2))
    h, c, inner = torch.zeros(3, 2, p, dtype=torch.float64)
    for step, output in zip(inputs, outputs, strict=True):
        outer = torch.cat((step, h), 1)
        x_inner = torch.sigmoid(affine(cell.gates, 0, outer)) * torch.tanh(
            affine(cell.gates, 2, outer)
        )
        h_inner = torch.sigmoid(affine(cell.gates, 1, outer)) * c
        joined = torch.cat((x_inner, h_inner), 1)
        kept = torch.sigmoid(affine(cell.inner_gates, 1, joined)) * inner
        written = torch.sigmoid(affine(cell.inner_gates, 0, joined))
        inner = kept + written * phi(affine(cell.inner_gates, 2, joined))
        c = torch.sigmoid(affine(cell.inner_gates, 3, joined)) * torch.tanh(inner)
        h = torch.sigmoid(affine(cell.gates, 3, outer)) * torch.tanh(c)
        torch.testing.assert_close(output, h)
    torch.testing.assert_close(state, (h, c, inner))


def test_the_inner_activation_changes_the_function() -> None:
    outputs = []
    inputs = torch.randn(6, 2, 3)
    for inner_activation in ("identity", "tanh"):
        torch.manual_seed(0)
        cell = NestedLSTMCell(3, 5, inner_activation=inner_activation)
        outputs.append(run_eagerly(cell, inputs, cell.initial_state(2))[0])
    assert not torch.allclose(*outputs)


@pytest.mark.parametrize("cell_class", [NestedLSTMCell, ConcatNestedLSTMCell])
def test_its_memory_is_the_outer_one_beside_the_inner_one_squashed(
    cell_class: type[RecurrentCell],
) -> None:
    cell = cell_class(3, 5)
    _, state = run_eagerly(cell, 9 * torch.randn(6, 2, 3), cell.initial_state(2))
    outer, inner = cell.memory_state(state).split(5, dim=1)
    torch.testing.assert_close((outer, inner), (state[1], torch.tanh(state[2])))
    assert not torch.allclose(inner, state[2])
