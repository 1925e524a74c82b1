"""The nested LSTM that is the MCRM paper's baseline."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_nested.nlstm_concat import ConcatNestedLSTMCell


class TestConcatNestedLSTMCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return ConcatNestedLSTMCell


@pytest.mark.parametrize(("m", "p"), [(1, 1), (2, 77), (1, 448)])
def test_parameter_count_is_the_closed_form(m: int, p: int) -> None:
    assert ConcatNestedLSTMCell.parameter_count(m, p) == 16 * p**2 + 4 * m * p + 8 * p


def test_it_matches_a_linear_map_and_a_torch_lstm_cell_with_the_same_weights() -> None:
    torch.manual_seed(0)
    m, p = 3, 5
    cell = ConcatNestedLSTMCell(m, p).double()
    inner = nn.LSTMCell(2 * p, p).double()
    with torch.no_grad():
        inner.weight_ih.copy_(cell.inner_gates.weight[:, : 2 * p])
        inner.weight_hh.copy_(cell.inner_gates.weight[:, 2 * p :])
        inner.bias_ih.copy_(cell.inner_gates.bias)
        inner.bias_hh.zero_()
    inputs = torch.randn(7, 4, m, dtype=torch.float64)
    outputs, state = run_eagerly(cell, inputs, cell.initial_state(4))

    hidden, memory, inner_memory = torch.zeros(3, 4, p, dtype=torch.float64)
    expected = []
    for step in inputs:
        i, f, g, o = cell.gates(torch.cat((step, hidden), 1)).chunk(4, 1)
        joined = torch.cat((torch.sigmoid(f) * memory, torch.sigmoid(i) * torch.tanh(g)), 1)
        memory, inner_memory = inner(joined, (memory, inner_memory))
        hidden = torch.sigmoid(o) * torch.tanh(memory)
        expected.append(hidden)
    torch.testing.assert_close(outputs, torch.stack(expected))
    torch.testing.assert_close(state, (hidden, memory, inner_memory))
