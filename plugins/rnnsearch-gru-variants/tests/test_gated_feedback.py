"""The gated-feedback network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_gru_variants.gated_feedback import GatedFeedbackCell

M, P, LAYERS = 3, 4, 3


class TestGatedFeedbackCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return GatedFeedbackCell


def _cell(unit: str) -> GatedFeedbackCell:
    torch.manual_seed(0)
    return GatedFeedbackCell(M, P, layers=LAYERS, unit=unit).double()


def _inputs() -> Tensor:
    return torch.randn(6, 2, M, dtype=torch.float64)


def _run(cell: RecurrentCell, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))


def _force_gates(cell: GatedFeedbackCell, values: Tensor) -> None:
    """Fix the gates `g^{ij}`, row i and column j, each at zero or one."""
    with torch.no_grad():
        for layer, gates in enumerate(cell.feedback_gates):
            gates.weight.zero_()
            gates.bias.copy_(2000.0 * values[:, layer] - 1000.0)


def _stacked(cell: GatedFeedbackCell) -> nn.RNNBase:
    """The stack of torch layers with the same weights as each layer's feedback to itself."""
    layer_class = {"tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell.unit]
    stack = layer_class(M, P, num_layers=LAYERS).double()
    for j, (from_below, from_all) in enumerate(zip(cell.from_below, cell.from_all, strict=True)):
        width = M if j == 0 else P
        own = from_all.weight[:, j * P : (j + 1) * P]
        rows = [from_below.weight], [own], [from_below.bias]
        if cell.unit != "tanh":
            gates = cell.unit_gates[j]
            parts = gates.weight[:, :width], gates.weight[:, width:], gates.bias
            for row, part in zip(rows, parts, strict=True):
                kept = part.chunk(2 if cell.unit == "gru" else 3)
                if cell.unit == "gru":  # torch has r, z, n, and its open z keeps
                    row[:0] = [kept[0], -kept[1]]
                else:  # torch has i, f, g, o
                    row[:] = [kept[0], kept[1], row[0], kept[2]]
        with torch.no_grad():
            for name, row in zip(("weight_ih", "weight_hh", "bias_ih"), rows, strict=True):
                getattr(stack, f"{name}_l{j}").copy_(torch.cat(row))
            getattr(stack, f"bias_hh_l{j}").zero_()
    return stack


@pytest.mark.parametrize("unit", ["tanh", "gru", "lstm"])
def test_with_gates_open_from_each_layer_to_itself_alone_it_is_a_torch_stack(unit: str) -> None:
    cell, inputs = _cell(unit), _inputs()
    _force_gates(cell, torch.eye(LAYERS))
    outputs, state = _run(cell, inputs)
    expected, last = _stacked(cell)(inputs)
    torch.testing.assert_close(outputs, expected)
    parts = torch.cat(last) if unit == "lstm" else last
    torch.testing.assert_close(torch.stack(state), parts)


@pytest.mark.parametrize("unit", ["tanh", "gru", "lstm"])
def test_with_all_gates_open_it_is_no_stack(unit: str) -> None:
    cell, inputs = _cell(unit), _inputs()
    _force_gates(cell, torch.ones(LAYERS, LAYERS))
    assert not torch.allclose(_run(cell, inputs)[0], _stacked(cell)(inputs)[0])


def test_with_all_gates_open_it_is_one_fully_connected_network_with_layered_input() -> None:
    cell, inputs = _cell("tanh"), _inputs()
    _force_gates(cell, torch.ones(LAYERS, LAYERS))
    recurrent = torch.cat([from_all.weight for from_all in cell.from_all])  # (L p, L p)
    everything = torch.zeros(2, LAYERS * P, dtype=torch.float64)
    for step, output in zip(inputs, _run(cell, inputs)[0], strict=True):
        fed_back = everything @ recurrent.T
        below, parts = step, []
        for j, from_below in enumerate(cell.from_below):
            below = torch.tanh(from_below(below) + fed_back[:, j * P : (j + 1) * P])
            parts.append(below)
        everything = torch.cat(parts, 1)
        torch.testing.assert_close(output, below)


@pytest.mark.parametrize("unit", ["tanh", "gru", "lstm"])
def test_it_computes_the_equations_written_pair_by_pair(unit: str) -> None:
    cell, inputs = _cell(unit), _inputs()
    hidden = [torch.zeros(2, P, dtype=torch.float64) for _ in range(LAYERS)]
    memory = [torch.zeros(2, P, dtype=torch.float64) for _ in range(LAYERS)]
    outputs, state = _run(cell, inputs)
    for step, output in zip(inputs, outputs, strict=True):
        before = list(hidden)
        star = torch.cat(before, 1)
        below = step
        for j in range(LAYERS):
            width = below.shape[1]
            gates = cell.feedback_gates[j]
            fed_back = torch.zeros(2, P, dtype=torch.float64)
            for i in range(LAYERS):
                w, u = gates.weight[i, :width], gates.weight[i, width:]
                g = torch.sigmoid(below @ w + star @ u + gates.bias[i])
                matrix = cell.from_all[j].weight[:, i * P : (i + 1) * P]
                fed_back = fed_back + g[:, None] * (before[i] @ matrix.T)
            from_below = below @ cell.from_below[j].weight.T + cell.from_below[j].bias
            if unit != "tanh":
                own = cell.unit_gates[j](torch.cat((below, before[j]), 1))
                own = torch.sigmoid(own).split(P, 1)
            if unit == "tanh":
                hidden[j] = torch.tanh(from_below + fed_back)
            elif unit == "gru":
                n = torch.tanh(from_below + own[0] * fed_back)
                hidden[j] = (1 - own[1]) * before[j] + own[1] * n
            else:
                memory[j] = own[1] * memory[j] + own[0] * torch.tanh(from_below + fed_back)
                hidden[j] = own[2] * torch.tanh(memory[j])
            below = hidden[j]
        torch.testing.assert_close(output, below)
    expected = (*hidden, *memory) if unit == "lstm" else tuple(hidden)
    torch.testing.assert_close(state, expected)


def test_a_shut_gate_cuts_the_feedback_of_one_layer_to_one_other() -> None:
    cell = _cell("tanh")
    state = tuple(torch.randn(2, P, dtype=torch.float64) for _ in range(LAYERS))
    moved = (*state[:-1], state[-1] + 1)
    gates = torch.ones(LAYERS, LAYERS)
    gates[2, 0] = 0  # from the top layer to the bottom layer
    inputs = torch.randn(2, M, dtype=torch.float64)
    _force_gates(cell, gates)
    bottoms = [cell(inputs, given)[1][0] for given in (state, moved)]
    assert torch.equal(*bottoms)
    _force_gates(cell, torch.ones(LAYERS, LAYERS))
    bottoms = [cell(inputs, given)[1][0] for given in (state, moved)]
    assert not torch.allclose(*bottoms)


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize(("m", "p"), [(1, 1), (3, 5), (28, 10)])
def test_parameter_count_of_tanh_layers_is_that_of_the_equations_and_their_biases(
    m: int, p: int, layers: int
) -> None:
    weights = p * (m + p * (layers - 1)) + layers**2 * p**2
    gates = sum(layers * (below + layers * p) for below in [m, *[p] * (layers - 1)])
    biases = layers * p + layers**2
    counted = GatedFeedbackCell.parameter_count(m, p, layers=layers)
    assert counted == weights + gates + biases


@pytest.mark.parametrize(("unit", "gates"), [("gru", 2), ("lstm", 3)])
def test_gated_layers_add_gates_of_the_layer_below_and_their_own_state(
    unit: str, gates: int
) -> None:
    more = GatedFeedbackCell.parameter_count(7, 5, unit=unit) - GatedFeedbackCell.parameter_count(
        7, 5
    )
    assert more == gates * 5 * (7 + 5 + 1) + gates * 5 * (5 + 5 + 1)
