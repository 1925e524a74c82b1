"""The MCRM cell."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_gated.lstm import LSTMCell
from rnnsearch_nested.mcrm import MCRMCell


class TestMCRMCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return MCRMCell


def _cell(hidden_size: int = 5, convention: str = "paper") -> MCRMCell:
    torch.manual_seed(0)
    return MCRMCell(3, hidden_size, convention=convention).double()


def _inputs(*, scale: float = 1.0, steps: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return scale * torch.randn(steps, 4, 3, generator=generator, dtype=torch.float64)


def _run(cell: RecurrentCell, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))


@pytest.mark.parametrize(("m", "p"), [(1, 1), (2, 85), (1, 108), (50, 1000)])
def test_parameter_count_is_the_closed_form(m: int, p: int) -> None:
    assert MCRMCell.parameter_count(m, p) == 13 * p**2 + 4 * m * p + 10 * p


def test_one_bias_count_is_the_papers_which_has_both_biases_of_the_inner_gates() -> None:
    assert MCRMCell.redundant_biases(2, 85) == 0


def test_torch_convention_matches_a_linear_map_and_a_torch_gru_cell_with_the_same_weights() -> None:
    torch.manual_seed(3)
    p = 5
    linear, gru = nn.Linear(3 + p, 4 * p).double(), nn.GRUCell(2 * p, p).double()
    cell = _cell(p, convention="torch")
    cell.gates.load_state_dict(linear.state_dict())
    cell.memory.load_state_dict(gru.state_dict())
    inputs = _inputs()
    outputs, (_, last) = _run(cell, inputs)

    hidden, memory = torch.zeros(2, 4, p, dtype=torch.float64)
    expected = []
    for step in inputs:
        i, f, g, o = linear(torch.cat((step, hidden), 1)).chunk(4, 1)
        written = torch.sigmoid(i) * torch.tanh(g)
        memory = gru(torch.cat((torch.sigmoid(f) * memory, written), 1), memory)
        hidden = torch.sigmoid(o) * torch.tanh(memory)
        expected.append(hidden)
    torch.testing.assert_close(outputs, torch.stack(expected))
    torch.testing.assert_close(last, memory)

    (outputs * outputs.detach().cos()).sum().backward()
    (torch.stack(expected) * outputs.detach().cos()).sum().backward()
    torch.testing.assert_close(cell.gates.weight.grad, linear.weight.grad)
    for name, parameter in gru.named_parameters():
        torch.testing.assert_close(cell.memory.get_parameter(name).grad, parameter.grad)


def test_conventions_differ_with_equal_weights_and_agree_after_negating_the_update_gate() -> None:
    paper, torchs = _cell(convention="paper"), _cell(convention="torch")
    torchs.load_state_dict(paper.state_dict())
    inputs = _inputs()
    assert not torch.allclose(_run(paper, inputs)[0], _run(torchs, inputs)[0])
    p = paper.hidden_size
    with torch.no_grad():
        for parameter in torchs.memory.parameters():
            parameter[p : 2 * p].neg_()
    torch.testing.assert_close(_run(paper, inputs), _run(torchs, inputs))


def _force_lstm(cell: MCRMCell) -> LSTMCell:
    """Make the inner cell replace its state with tanh of the sum of its inputs.

    Returns the LSTM with the same outer gates.
    """
    p = cell.hidden_size
    lstm = LSTMCell(cell.input_size, p).double()
    with torch.no_grad():
        for parameter in cell.memory.parameters():
            parameter.zero_()
        cell.memory.bias_ih[p : 2 * p] = 1000.0  # z = 1: only the new value
        cell.memory.weight_ih[2 * p :] = torch.cat((torch.eye(p), torch.eye(p)), dim=1)
        lstm.lstm.weight_ih_l0.copy_(cell.gates.weight[:, : cell.input_size])
        lstm.lstm.weight_hh_l0.copy_(cell.gates.weight[:, cell.input_size :])
        lstm.lstm.bias_ih_l0.copy_(cell.gates.bias)
        lstm.lstm.bias_hh_l0.zero_()
    return lstm


def test_an_always_open_inner_gate_gives_an_lstm_with_a_squashed_memory() -> None:
    class Squashed(LSTMCell):
        def forward(
            self, inputs: Tensor, state: tuple[Tensor, ...]
        ) -> tuple[Tensor, tuple[Tensor, ...]]:
            weights, _, _, _ = self.lstm.all_weights[0]
            gates = inputs @ weights.T + self.lstm.bias_ih_l0 + state[0] @ self.lstm.weight_hh_l0.T
            o = gates.chunk(4, dim=-1)[3].sigmoid()
            _, (_, memory) = super().forward(inputs, state)
            hidden = o * memory.tanh().tanh()
            return hidden, (hidden, memory.tanh())

    cell = _cell()
    lstm = _force_lstm(cell)
    squashed = Squashed(3, cell.hidden_size).double()
    squashed.load_state_dict(lstm.state_dict())
    torch.testing.assert_close(_run(cell, _inputs()), _run(squashed, _inputs()))


def test_for_small_signals_it_tracks_the_lstm_to_first_order() -> None:
    cell = _cell()
    with torch.no_grad():
        cell.gates.bias.zero_()
    lstm = _force_lstm(cell)

    def gap(scale: float) -> float:
        inputs = _inputs(scale=scale, steps=3)
        return float((_run(cell, inputs)[0] - _run(lstm, inputs)[0]).detach().abs().max())

    # A tenth of the signal reduces the gap to a thousandth: the difference is of third order.
    assert 0 < gap(1e-3) < 1.1e-3 * gap(1e-2)
