"""The recurrent multilayer perceptron against the networks it contains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_classic.rmlp import RMLPCell


class TestRMLPCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return RMLPCell


def seeded_cell(**options: Any) -> RMLPCell:
    torch.manual_seed(0)
    return RMLPCell(3, 5, **options).double()


def outputs_of(cell: RMLPCell, inputs: Tensor) -> Tensor:
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))[0]


@pytest.mark.parametrize("subnetworks", [1, 3])
def test_without_hidden_layers_it_is_stacked_elman_networks_in_outputs_and_gradients(
    subnetworks: int,
) -> None:
    cell = seeded_cell(subnetworks=subnetworks, hidden_layers=0)
    reference = nn.RNN(3, 5, num_layers=subnetworks).double()
    with torch.no_grad():
        for layer, subnetwork in enumerate(cell.subnetworks):
            weight_inputs, weight_hidden, bias, second_bias = reference.all_weights[layer]
            weight_inputs.copy_(subnetwork.output.weight)
            weight_hidden.copy_(subnetwork.feedback.weight)
            bias.copy_(subnetwork.output.bias)
            second_bias.zero_()
    inputs = torch.randn(7, 4, 3, dtype=torch.float64)
    expected, last = reference(inputs)
    outputs, state = run_eagerly(cell, inputs, cell.initial_state(4))
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(torch.stack(state), last)

    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (outputs * weights).sum().backward()
    for layer, subnetwork in enumerate(cell.subnetworks):
        weight_inputs, weight_hidden, bias, _ = reference.all_weights[layer]
        torch.testing.assert_close(subnetwork.output.weight.grad, weight_inputs.grad)
        torch.testing.assert_close(subnetwork.feedback.weight.grad, weight_hidden.grad)
        torch.testing.assert_close(subnetwork.output.bias.grad, bias.grad)


def test_without_feedback_it_is_a_multilayer_perceptron_on_each_step() -> None:
    cell = seeded_cell(subnetworks=2, hidden_layers=2)
    perceptron = nn.Sequential()
    with torch.no_grad():
        for subnetwork in cell.subnetworks:
            subnetwork.feedback.weight.zero_()
            for layer in (*subnetwork.hidden, subnetwork.output):
                perceptron.extend([layer, nn.Tanh()])
    assert len(perceptron) == 2 * 6
    inputs = torch.randn(7, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(outputs_of(cell, inputs), perceptron(inputs))


@pytest.mark.parametrize("kept", [0, 1])
def test_each_subnetwork_has_feedback_of_its_own(kept: int) -> None:
    cell = seeded_cell(subnetworks=2, hidden_layers=1)
    with torch.no_grad():
        cell.subnetworks[1 - kept].feedback.weight.zero_()
    inputs = torch.randn(2, 1, 3, dtype=torch.float64)
    other = torch.stack((inputs[0] + 1, inputs[1]))
    assert not torch.allclose(outputs_of(cell, inputs)[1], outputs_of(cell, other)[1])


def test_no_feedback_runs_from_one_subnetwork_to_an_earlier_one() -> None:
    cell = seeded_cell(subnetworks=2, hidden_layers=1)
    inputs = torch.randn(4, 3, dtype=torch.float64)
    first, second = torch.randn(2, 4, 5, dtype=torch.float64)
    _, (after, _) = cell(inputs, (first, second))
    _, (after_another, _) = cell(inputs, (first, second + 1))
    assert torch.equal(after, after_another)


def test_count_is_that_of_its_layers_and_their_feedback() -> None:
    # 2 inputs, then twice: a hidden layer and a recurrent layer of 3 units.
    by_layer = (2 * 3 + 3) + (3 * 3 + 3 + 3 * 3) + (3 * 3 + 3) + (3 * 3 + 3 + 3 * 3)
    assert RMLPCell.parameter_count(2, 3, subnetworks=2, hidden_layers=1) == by_layer
