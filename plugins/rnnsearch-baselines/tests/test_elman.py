"""The Elman cell against `torch.nn.RNN` and its equation."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance
from rnnsearch_baselines.elman import ElmanCell


class TestElmanCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return ElmanCell


def seeded_cell(nonlinearity: str) -> ElmanCell:
    torch.manual_seed(0)
    return ElmanCell(3, 5, nonlinearity).double()


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_stepping_equals_torch_after_copying_weights(nonlinearity: str) -> None:
    cell = seeded_cell(nonlinearity)
    layer = nn.RNN(3, 5, nonlinearity=nonlinearity).double()
    layer.load_state_dict(
        {name.removeprefix("rnn."): value for name, value in cell.state_dict().items()}
    )
    inputs = torch.randn(7, 4, 3, dtype=torch.float64)
    expected, _ = layer(inputs)
    state = cell.initial_state(4)
    for step in range(7):
        output, state = cell(inputs[step], state)
        torch.testing.assert_close(output, expected[step], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("nonlinearity", "activation"),
    [
        pytest.param("tanh", np.tanh, id="tanh"),
        pytest.param("relu", lambda s: np.maximum(0, s), id="relu"),
    ],
)
def test_with_the_redundant_biases_at_zero_the_cell_is_elman_s_equation(
    nonlinearity: str, activation: np.ufunc
) -> None:
    cell = seeded_cell(nonlinearity)
    with torch.no_grad():
        cell.rnn.all_weights[0][3].zero_()
    from_inputs, from_hidden, bias, redundant = (
        weight.detach().numpy() for weight in cell.rnn.all_weights[0]
    )
    assert redundant.size == ElmanCell.redundant_biases(3, 5)
    inputs = torch.randn(6, 3, dtype=torch.float64)
    hidden, state = np.zeros(5), cell.initial_state(1)
    for step_inputs in inputs:
        hidden = activation(from_inputs @ step_inputs.numpy() + from_hidden @ hidden + bias)
        output, state = cell(step_inputs.unsqueeze(0), state)
        np.testing.assert_allclose(output[0].detach().numpy(), hidden, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_with_one_bias_the_count_is_that_of_one_affine_map(seed: int) -> None:
    draw = random.Random(seed)
    sizes = draw.randint(1, 50), draw.randint(1, 50)
    trainable, redundant = ElmanCell.parameter_count(*sizes), ElmanCell.redundant_biases(*sizes)
    assert trainable == sum(p.numel() for p in ElmanCell(*sizes).parameters())
    assert trainable - redundant == sum(
        p.numel() for p in nn.Linear(sum(sizes), sizes[1]).parameters()
    )


def test_an_elman_model_counts_what_the_sequential_mnist_entry_of_the_mcrm_paper_has() -> None:
    # Mohamed and Claudel, arXiv:1808.02016, Table 2: 384 units, about 152K parameters.
    head = 384 * 10 + 10
    assert ElmanCell.parameter_count(1, 384) + head == 152458
