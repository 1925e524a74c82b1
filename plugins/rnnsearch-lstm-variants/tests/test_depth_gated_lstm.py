"""The depth-gated LSTM against the stacked `torch.nn.LSTM` and against its equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_lstm_variants.depth_gated_lstm import DepthGatedLSTMCell


class TestDepthGatedLSTMCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return DepthGatedLSTMCell


def drawn(m: int, p: int, layers: int) -> DepthGatedLSTMCell:
    torch.manual_seed(0)
    cell = DepthGatedLSTMCell(m, p, layers=layers).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_()
    return cell


def randn(*sizes: int) -> Tensor:
    return torch.randn(*sizes, dtype=torch.float64)


@pytest.mark.parametrize("layers", [2, 3, 8])
@pytest.mark.parametrize(("m", "p"), [(1, 1), (28, 10)])
def test_the_count_is_that_of_stacked_lstms_and_the_depth_gates(
    m: int, p: int, layers: int
) -> None:
    stacked = 4 * p * (m + p + 1) + (layers - 1) * 4 * p * (2 * p + 1)
    depth_gates = (layers - 1) * (p * p + p + 2 * p)
    assert DepthGatedLSTMCell.parameter_count(m, p, layers=layers) == stacked + depth_gates


@pytest.mark.parametrize("layers", [2, 4])
def test_with_closed_depth_gates_it_is_the_stacked_torch_lstm(layers: int) -> None:
    cell, lstm = drawn(3, 5, layers), nn.LSTM(3, 5, num_layers=layers).double()
    with torch.no_grad():
        for k, layer in enumerate(cell.layers):
            width = 3 if k == 0 else 5
            lstm.get_parameter(f"weight_ih_l{k}").copy_(layer.gates.weight[:, :width])
            lstm.get_parameter(f"weight_hh_l{k}").copy_(layer.gates.weight[:, width:])
            lstm.get_parameter(f"bias_ih_l{k}").copy_(layer.gates.bias)
            lstm.get_parameter(f"bias_hh_l{k}").zero_()
            if k:
                layer.depth_gate.bias.fill_(-1000)
    inputs = randn(7, 4, 3)
    outputs, state = run_eagerly(cell, inputs, cell.initial_state(4))
    expected, (hidden, memory) = lstm(inputs)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(torch.stack(state[::2]), hidden)
    torch.testing.assert_close(torch.stack(state[1::2]), memory)


def test_the_cell_computes_its_equations_in_numpy() -> None:
    m, p, layers = 3, 4, 3
    cell = drawn(m, p, layers)
    w = {name: value.detach().numpy() for name, value in cell.named_parameters()}
    inputs = randn(6, 2, m)

    def sigmoid(a: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-a))

    expected = np.zeros((6, 2, p))
    for sample in range(2):
        h, c = np.zeros((layers, p)), np.zeros((layers, p))
        for step in range(6):
            x = inputs[step, sample].numpy()
            for k in range(layers):
                affine = w[f"layers.{k}.gates.weight"] @ np.concatenate([x, h[k]])
                i, f, g, o = np.split(affine + w[f"layers.{k}.gates.bias"], 4)
                new = sigmoid(f) * c[k] + sigmoid(i) * np.tanh(g)
                if k > 0:
                    d = sigmoid(
                        w[f"layers.{k}.depth_gate.weight"] @ x
                        + w[f"layers.{k}.depth_gate.bias"]
                        + w[f"layers.{k}.own_weight"] * c[k]
                        + w[f"layers.{k}.below_weight"] * c[k - 1]  # already from this step
                    )
                    new = new + d * c[k - 1]
                c[k] = new
                x = h[k] = sigmoid(o) * np.tanh(new)
            expected[step, sample] = h[-1]
    outputs, _ = run_eagerly(cell, inputs, cell.initial_state(2))
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=0, atol=1e-12)


def test_with_open_depth_gates_the_memory_of_the_first_layer_reaches_the_last() -> None:
    """Upper layers that write and keep nothing hold the memory of the first, at the same step."""
    cell = drawn(3, 5, 4)
    with torch.no_grad():
        for layer in cell.layers[1:]:
            layer.gates.weight.zero_()
            layer.gates.bias[:10] = -1000  # i, f
            layer.depth_gate.bias.fill_(1000)
    _, state = run_eagerly(cell, randn(7, 4, 3), cell.initial_state(4))
    for memory in state[3::2]:
        torch.testing.assert_close(memory, state[1])
