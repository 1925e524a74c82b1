"""Jordan's network against its recursion and the perceptron it contains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnsearch import ModelSpec, RecurrentCell, SequenceShape, build_model, count_parameters
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_classic.jordan import JordanCell


class TestJordanCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return JordanCell


def seeded_cell(**options: Any) -> JordanCell:
    torch.manual_seed(0)
    return JordanCell(3, 5, outputs=2, **options).double()


@pytest.mark.parametrize("feedback", ["sigmoid", "identity"])
def test_outputs_follow_the_recursion_written_in_numpy(feedback: str) -> None:
    cell = seeded_cell(decay=0.7, feedback=feedback)
    inputs = torch.randn(6, 4, 3, dtype=torch.float64)
    outputs, _ = run_eagerly(cell, inputs, cell.initial_state(4))
    w, u = np.split(cell.hidden.weight.detach().numpy(), [3], axis=1)
    b, c = cell.hidden.bias.detach().numpy(), cell.output.bias.detach().numpy()
    v = cell.output.weight.detach().numpy()
    fed_back: list[np.ndarray] = []
    for t, x in enumerate(inputs.numpy()):
        units = sum((0.7 ** (t - 1 - i) * r for i, r in enumerate(fed_back)), np.zeros((4, 2)))
        y = np.tanh(x @ w.T + units @ u.T + b) @ v.T + c
        np.testing.assert_allclose(outputs[t].detach().numpy(), y, rtol=1e-12, atol=1e-12)
        fed_back.append(1 / (1 + np.exp(-y)) if feedback == "sigmoid" else y)


def test_without_weights_from_the_state_it_is_a_perceptron_on_each_step() -> None:
    cell = seeded_cell()
    with torch.no_grad():
        cell.hidden.weight[:, 3:] = 0
    perceptron = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), cell.output).double()
    with torch.no_grad():
        perceptron[0].weight.copy_(cell.hidden.weight[:, :3])
        perceptron[0].bias.copy_(cell.hidden.bias)
    inputs = torch.randn(6, 4, 3, dtype=torch.float64)
    outputs, _ = run_eagerly(cell, inputs, cell.initial_state(4))
    torch.testing.assert_close(outputs, perceptron(inputs))


def test_without_decay_the_state_is_the_previous_output() -> None:
    cell = seeded_cell(decay=0.0, feedback="identity")
    inputs = torch.randn(6, 4, 3, dtype=torch.float64)
    outputs, (units,) = run_eagerly(cell, inputs, cell.initial_state(4))
    assert torch.equal(units, outputs[-1])


def test_the_gradient_runs_through_the_outputs_that_are_fed_back() -> None:
    cell = seeded_cell()
    inputs = torch.randn(3, 4, 3, dtype=torch.float64).requires_grad_()
    outputs, _ = run_eagerly(cell, inputs, cell.initial_state(4))
    (gradient,) = torch.autograd.grad(outputs[-1].sum(), inputs)
    assert gradient[0].all()


def test_a_model_of_it_adds_nothing_to_its_outputs() -> None:
    shape = SequenceShape(input_size=3, output_size=4, length=6, readout="every_step")
    options = {"outputs": 4, "decay": 0.5, "feedback": "sigmoid"}
    spec = ModelSpec("jordan", shape, hidden_size=5, head=JordanCell.head, options=options)
    model = build_model(JordanCell, spec)
    cell = next(module for module in model.modules() if isinstance(module, JordanCell))
    inputs = torch.randn(6, 2, 3)
    expected, _ = run_eagerly(cell, inputs, cell.initial_state(2))
    assert torch.equal(model(inputs), expected)
    assert count_parameters(JordanCell, spec)[0] == JordanCell.parameter_count(3, 5, outputs=4)
