"""The peephole LSTM against its printed equations and against `torch.nn.LSTM`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_lstm_variants.lstm_peephole import PeepholeLSTMCell


class TestPeepholeLSTMCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return PeepholeLSTMCell


def drawn(m: int, p: int, peepholes: str) -> PeepholeLSTMCell:
    torch.manual_seed(0)
    cell = PeepholeLSTMCell(m, p, peepholes=peepholes).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_()
    return cell


def randn(*sizes: int) -> Tensor:
    return torch.randn(*sizes, dtype=torch.float64)


@pytest.mark.parametrize(("m", "p"), [(1, 1), (2, 77), (28, 10)])
def test_the_counts_are_the_closed_forms(m: int, p: int) -> None:
    lstm = 4 * p * (m + p + 1)
    assert PeepholeLSTMCell.parameter_count(m, p) == lstm + 3 * p
    assert PeepholeLSTMCell.parameter_count(m, p, peepholes="full") == lstm + 3 * p**2


@pytest.mark.parametrize("peepholes", ["diagonal", "full"])
def test_the_cell_computes_the_printed_equations_in_numpy(peepholes: str) -> None:
    """One unit, one gate and one product at a time, with matrices for the peepholes."""
    m, p, steps = 3, 4, 6
    cell = drawn(m, p, peepholes)
    inputs = randn(steps, 2, m)
    outputs, (last_hidden, last_memory) = run_eagerly(cell, inputs, cell.initial_state(2))

    x_all = inputs.numpy()
    weight, bias = cell.gates.weight.detach().numpy(), cell.gates.bias.detach().numpy()
    blocks = {name: slice(k * p, (k + 1) * p) for k, name in enumerate("ifgo")}
    w_x = {name: weight[rows, :m] for name, rows in blocks.items()}
    w_h = {name: weight[rows, m:] for name, rows in blocks.items()}
    b = {name: bias[rows] for name, rows in blocks.items()}
    w_c = {}
    for name, parameter in zip(
        "ifo", (cell.input_peephole, cell.forget_peephole, cell.output_peephole), strict=True
    ):
        values = parameter.detach().numpy()
        w_c[name] = values if peepholes == "full" else np.diag(values)

    def sigmoid(a: float) -> float:
        return float(1 / (1 + np.exp(-a)))

    for sample in range(2):
        h, c = np.zeros(p), np.zeros(p)
        for step in range(steps):
            x, h_before, c_before = x_all[step, sample], h.copy(), c.copy()

            def net(name: str, unit: int, x: np.ndarray = x, h: np.ndarray = h_before) -> float:
                return float(w_x[name][unit] @ x + w_h[name][unit] @ h + b[name][unit])

            for unit in range(p):
                i = sigmoid(net("i", unit) + w_c["i"][unit] @ c_before)
                f = sigmoid(net("f", unit) + w_c["f"][unit] @ c_before)
                c[unit] = f * c_before[unit] + i * np.tanh(net("g", unit))
            for unit in range(p):
                h[unit] = sigmoid(net("o", unit) + w_c["o"][unit] @ c) * np.tanh(c[unit])
            found = outputs[step, sample].detach().numpy()
            np.testing.assert_allclose(found, h, rtol=0, atol=1e-12)
        np.testing.assert_allclose(last_hidden[sample].detach().numpy(), h, rtol=0, atol=1e-12)
        np.testing.assert_allclose(last_memory[sample].detach().numpy(), c, rtol=0, atol=1e-12)


@pytest.mark.parametrize("peepholes", ["diagonal", "full"])
def test_without_weights_in_its_peepholes_it_is_the_torch_lstm(peepholes: str) -> None:
    cell, lstm = drawn(3, 5, peepholes), nn.LSTM(3, 5).double()
    with torch.no_grad():
        for weight in (cell.input_peephole, cell.forget_peephole, cell.output_peephole):
            weight.zero_()
        lstm.weight_ih_l0.copy_(cell.gates.weight[:, :3])
        lstm.weight_hh_l0.copy_(cell.gates.weight[:, 3:])
        lstm.bias_ih_l0.copy_(cell.gates.bias)
        lstm.bias_hh_l0.zero_()
    inputs = randn(7, 4, 3)
    outputs, (hidden, memory) = run_eagerly(cell, inputs, cell.initial_state(4))
    expected, (last_hidden, last_memory) = lstm(inputs)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close((hidden, memory), (last_hidden[0], last_memory[0]))


def test_full_peepholes_with_diagonal_matrices_are_diagonal_peepholes() -> None:
    diagonal, full = drawn(3, 5, "diagonal"), drawn(3, 5, "full")
    with torch.no_grad():
        full.gates.load_state_dict(diagonal.gates.state_dict())
        for gate in ("input", "forget", "output"):
            weight = diagonal.get_parameter(f"{gate}_peephole")
            full.get_parameter(f"{gate}_peephole").copy_(torch.diag(weight))
    inputs = randn(7, 4, 3)
    found, expected = (
        run_eagerly(cell, inputs, cell.initial_state(4)) for cell in (full, diagonal)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gate", ["input", "forget", "output"])
def test_a_gate_sees_the_memory_when_nothing_else_reaches_it(gate: str) -> None:
    """All affine maps are 0 except the bias of `g`, and one peephole at a time has weights."""
    cell = PeepholeLSTMCell(2, 3).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.gates.bias[6:9] = 0.5
        cell.get_parameter(f"{gate}_peephole").fill_(2.0)
    memory = torch.tensor([[-1.0, 0.5, 3.0]], dtype=torch.float64)
    hidden, (_, new) = cell(randn(1, 2), (torch.zeros_like(memory), memory))

    written, half = torch.tanh(torch.tensor(0.5, dtype=torch.float64)), 0.5
    i = torch.sigmoid(2 * memory) if gate == "input" else half
    f = torch.sigmoid(2 * memory) if gate == "forget" else half
    torch.testing.assert_close(new, f * memory + i * written)
    # The output gate sees the new memory, not the old.
    o = torch.sigmoid(2 * new) if gate == "output" else half
    torch.testing.assert_close(hidden, o * torch.tanh(new))
