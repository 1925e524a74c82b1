"""The LSTM cell."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_gated.lstm import LSTMCell


class TestLSTMCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return LSTMCell


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_lstm_matches_torch_after_copying_weights_in_outputs_and_gradients(
    dtype: torch.dtype,
) -> None:
    torch.manual_seed(0)
    reference = nn.LSTM(3, 5).to(dtype)
    cell = LSTMCell(3, 5).to(dtype)
    cell.lstm.load_state_dict(reference.state_dict())
    inputs = torch.randn(7, 4, 3, dtype=dtype)
    start = (torch.randn(4, 5, dtype=dtype), torch.randn(4, 5, dtype=dtype))

    expected, (hidden, memory) = reference(inputs, (start[0][None], start[1][None]))
    outputs, state = run_eagerly(cell, inputs, start)
    torch.testing.assert_close((outputs, state), (expected, (hidden[0], memory[0])))

    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (outputs * weights).sum().backward()
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(cell.get_parameter(f"lstm.{name}").grad, parameter.grad)


@pytest.mark.parametrize(("input_size", "hidden_size"), [(4, 20), (20, 20), (28, 10)])
def test_one_bias_count_is_that_of_the_papers(input_size: int, hidden_size: int) -> None:
    sizes = (input_size, hidden_size)
    one_bias = LSTMCell.parameter_count(*sizes) - LSTMCell.redundant_biases(*sizes)
    assert one_bias == 4 * hidden_size * (hidden_size + input_size + 1)


def test_moving_one_bias_vector_into_the_other_changes_nothing() -> None:
    torch.manual_seed(0)
    cell = LSTMCell(3, 5).double()
    inputs = torch.randn(6, 2, 3, dtype=torch.float64)
    before, _ = run_eagerly(cell, inputs, cell.initial_state(2))
    with torch.no_grad():
        cell.lstm.bias_ih_l0 += cell.lstm.bias_hh_l0
        cell.lstm.bias_hh_l0.zero_()
    after, _ = run_eagerly(cell, inputs, cell.initial_state(2))
    torch.testing.assert_close(after, before)


def test_memory_is_kept_for_ever_with_open_forget_and_closed_input_gate() -> None:
    cell = LSTMCell(2, 3).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.lstm.bias_ih_l0[:3] = -1000.0  # i
        cell.lstm.bias_ih_l0[3:6] = 1000.0  # f
    memory = torch.tensor([[0.3, -2.0, 5.0]], dtype=torch.float64)
    inputs = torch.randn(50, 1, 2, dtype=torch.float64)
    _, (_, last) = run_eagerly(cell, inputs, (torch.zeros_like(memory), memory))
    assert torch.equal(last, memory)
