"""The differential LSTM against peephole LSTMs, `torch.nn.LSTM` and explicit differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_lstm_variants.differential_lstm import DifferentialLSTMCell
from rnnsearch_lstm_variants.lstm_peephole import PeepholeLSTMCell


class TestDifferentialLSTMCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return DifferentialLSTMCell


def drawn(m: int, p: int, order: int) -> DifferentialLSTMCell:
    torch.manual_seed(0)
    cell = DifferentialLSTMCell(m, p, order=order).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_()
    return cell


def randn(*sizes: int) -> Tensor:
    return torch.randn(*sizes, dtype=torch.float64)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize(("m", "p"), [(1, 1), (28, 10)])
def test_the_count_is_the_closed_form(m: int, p: int, order: int) -> None:
    expected = 4 * p * (m + p + 1) + 3 * (order + 1) * p**2
    assert DifferentialLSTMCell.parameter_count(m, p, order=order) == expected


def test_of_order_0_it_is_the_lstm_with_full_peepholes() -> None:
    cell, peephole = drawn(3, 5, 0), PeepholeLSTMCell(3, 5, peepholes="full").double()
    with torch.no_grad():
        peephole.gates.load_state_dict(cell.gates.state_dict())
        peephole.input_peephole.copy_(cell.from_old.weight[:5])
        peephole.forget_peephole.copy_(cell.from_old.weight[5:])
        peephole.output_peephole.copy_(cell.from_new.weight)
    inputs = randn(7, 4, 3)
    found, expected = (run_eagerly(c, inputs, c.initial_state(4)) for c in (cell, peephole))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_without_weights_of_differences_it_is_the_torch_lstm(order: int) -> None:
    cell, lstm = drawn(3, 5, order), nn.LSTM(3, 5).double()
    with torch.no_grad():
        cell.from_old.weight.zero_()
        cell.from_new.weight.zero_()
        lstm.weight_ih_l0.copy_(cell.gates.weight[:, :3])
        lstm.weight_hh_l0.copy_(cell.gates.weight[:, 3:])
        lstm.bias_ih_l0.copy_(cell.gates.bias)
        lstm.bias_hh_l0.zero_()
    inputs = randn(7, 4, 3)
    outputs, state = run_eagerly(cell, inputs, cell.initial_state(4))
    expected, (_, memory) = lstm(inputs)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(cell.memory_state(state), memory[0])


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_cell_computes_its_equations_with_differences_of_the_memory_s_history(
    order: int,
) -> None:
    m, p = 3, 4
    cell = drawn(m, p, order)
    w = {name: value.detach().numpy() for name, value in cell.named_parameters()}
    inputs = randn(7, 2, m)

    def sigmoid(a: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-a))

    def differences(history: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.diff(history, n=r, axis=0)[-1] for r in range(order + 1)])

    expected = np.zeros((7, 2, p))
    for sample in range(2):
        y, memories = np.zeros(p), [np.zeros(p)] * 3
        for step in range(7):
            x = inputs[step, sample].numpy()
            net = w["gates.weight"] @ np.concatenate([x, y]) + w["gates.bias"]
            i, f, g, o = np.split(net, 4)
            old = w["from_old.weight"] @ differences(memories)
            i, f = sigmoid(i + old[:p]), sigmoid(f + old[p:])
            memories.append(f * memories[-1] + i * np.tanh(g))
            o = sigmoid(o + w["from_new.weight"] @ differences(memories))
            y = o * np.tanh(memories[-1])
            expected[step, sample] = y
    outputs, _ = run_eagerly(cell, inputs, cell.initial_state(2))
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=0, atol=1e-12)


def test_the_second_difference_of_a_memory_that_grows_evenly_is_0() -> None:
    """Open gates and a constant write: `s` counts, its first difference is 1, its second 0."""
    cell = DifferentialLSTMCell(2, 3, order=2).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.gates.bias[:9] = 1000
    _, state = run_eagerly(cell, randn(6, 1, 2), cell.initial_state(1))
    assert [part.unique().tolist() for part in state[1:]] == [[6.0], [1.0], [0.0]]
