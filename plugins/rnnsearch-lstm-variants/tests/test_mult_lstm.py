"""The multiplicative LSTM against `torch.nn.LSTM` and against its equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_lstm_variants.mult_lstm import MultiplicativeLSTMCell


class TestMultiplicativeLSTMCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return MultiplicativeLSTMCell


def drawn(m: int, p: int) -> MultiplicativeLSTMCell:
    torch.manual_seed(0)
    cell = MultiplicativeLSTMCell(m, p).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_()
    return cell


def randn(*sizes: int) -> Tensor:
    return torch.randn(*sizes, dtype=torch.float64)


@pytest.mark.parametrize(("m", "p"), [(1, 1), (2, 77), (28, 10)])
def test_the_count_is_an_lstm_s_and_that_of_the_two_factors(m: int, p: int) -> None:
    assert MultiplicativeLSTMCell.parameter_count(m, p) == 4 * p * (m + p + 1) + p * (m + p)


def test_for_many_units_it_is_a_quarter_larger_than_an_lstm() -> None:
    """The ratio stated in the paper for one-hot inputs read by an embedding."""
    m, p = 1900, 1900
    ratio = MultiplicativeLSTMCell.parameter_count(m, p) / (4 * p * (m + p + 1))
    assert ratio == pytest.approx(1.25, abs=1e-3)


def test_where_the_factor_of_the_inputs_is_one_and_that_of_the_state_the_identity_it_is_an_lstm() -> (  # noqa: E501
    None
):
    cell, lstm = drawn(3, 5), nn.LSTM(3, 5).double()
    inputs = randn(7, 4, 3)
    inputs[..., 2] = 1
    with torch.no_grad():
        cell.input_factor.weight.zero_()
        cell.input_factor.weight[:, 2] = 1
        cell.hidden_factor.weight.copy_(torch.eye(5))
        lstm.weight_ih_l0.copy_(cell.gates.weight[:, :3])
        lstm.weight_hh_l0.copy_(cell.gates.weight[:, 3:])
        lstm.bias_ih_l0.copy_(cell.gates.bias)
        lstm.bias_hh_l0.zero_()
    outputs, (hidden, memory) = run_eagerly(cell, inputs, cell.initial_state(4))
    expected, (last_hidden, last_memory) = lstm(inputs)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close((hidden, memory), (last_hidden[0], last_memory[0]))


def test_the_recurrent_weights_are_those_that_the_input_picks() -> None:
    """An LSTM whose recurrent matrix is `U diag(W_mx x_t) W_mh` at each step."""
    m, p = 3, 4
    cell = drawn(m, p)
    inputs = randn(6, 2, m)
    weight, bias = cell.gates.weight.detach().numpy(), cell.gates.bias.detach().numpy()
    input_factor = cell.input_factor.weight.detach().numpy()
    hidden_factor = cell.hidden_factor.weight.detach().numpy()

    def sigmoid(a: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-a))

    expected = np.zeros((6, 2, p))
    for sample in range(2):
        h, c = np.zeros(p), np.zeros(p)
        for step in range(6):
            x = inputs[step, sample].numpy()
            recurrent = weight[:, m:] @ np.diag(input_factor @ x) @ hidden_factor
            i, f, g, o = np.split(weight[:, :m] @ x + recurrent @ h + bias, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            expected[step, sample] = h
    outputs, _ = run_eagerly(cell, inputs, cell.initial_state(2))
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=0, atol=1e-12)
