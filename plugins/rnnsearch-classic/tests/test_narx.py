"""The NARX network against its definition, linear filters and the time-delay network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from rnnsearch import ModelSpec, RecurrentCell, SequenceShape, build_model, count_parameters
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_classic.narx import NARXCell


class TestNARXCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return NARXCell


def seeded_cell(input_size: int, hidden_size: int, **options: Any) -> NARXCell:
    torch.manual_seed(0)
    return NARXCell(input_size, hidden_size, **options).double()


@pytest.mark.parametrize(("input_delays", "output_delays"), [(0, 1), (2, 3), (4, 1)])
def test_outputs_are_a_perceptron_of_what_the_definition_lists(
    input_delays: int, output_delays: int
) -> None:
    cell = seeded_cell(2, 5, outputs=3, input_delays=input_delays, output_delays=output_delays)
    inputs = torch.randn(8, 4, 2, dtype=torch.float64)
    outputs, _ = run_eagerly(cell, inputs, cell.initial_state(4))
    w, b = cell.hidden.weight.detach().numpy(), cell.hidden.bias.detach().numpy()
    v, c = cell.output.weight.detach().numpy(), cell.output.bias.detach().numpy()
    x = {t: step for t, step in enumerate(inputs.numpy())}
    y: dict[int, np.ndarray] = {}
    for t in range(8):
        seen = [x.get(t - d, np.zeros((4, 2))) for d in range(input_delays + 1)]
        seen += [y.get(t - d, np.zeros((4, 3))) for d in range(1, output_delays + 1)]
        y[t] = np.tanh(np.concatenate(seen, axis=1) @ w.T + b) @ v.T + c
        np.testing.assert_allclose(outputs[t].detach().numpy(), y[t], rtol=1e-12, atol=1e-12)


def linear_regime(cell: NARXCell, feedforward: list[float], feedback: list[float]) -> None:
    """Make a cell with one unit compute, to a relative 1e-11, a linear recursion."""
    with torch.no_grad():
        weights = torch.tensor([[*feedforward, *feedback]], dtype=torch.float64)
        cell.hidden.weight.copy_(1e-6 * weights)
        cell.output.weight.fill_(1e6)
        cell.hidden.bias.zero_()
        cell.output.bias.zero_()


def test_in_the_linear_regime_it_is_the_recursive_filter_of_scipy() -> None:
    cell = seeded_cell(1, 1, outputs=1, input_delays=2, output_delays=3)
    linear_regime(cell, [0.5, -0.3, 0.2], [0.4, -0.2, 0.1])
    inputs = torch.randn(50, 1, 1, dtype=torch.float64)
    outputs, _ = run_eagerly(cell, inputs, cell.initial_state(1))
    expected = lfilter([0.5, -0.3, 0.2], [1.0, -0.4, 0.2, -0.1], inputs[:, 0, 0].numpy())
    np.testing.assert_allclose(outputs[:, 0, 0].detach().numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("input_delays", [0, 3])
def test_without_weights_from_its_outputs_the_response_to_an_impulse_ends(
    input_delays: int,
) -> None:
    cell = seeded_cell(1, 5, outputs=2, input_delays=input_delays)
    with torch.no_grad():
        cell.hidden.weight[:, input_delays + 1 :] = 0
        cell.hidden.bias.zero_()
        cell.output.bias.zero_()
    impulse = torch.zeros(10, 1, 1, dtype=torch.float64)
    impulse[2] = 1
    outputs, _ = run_eagerly(cell, impulse, cell.initial_state(1))
    responding = outputs.any(dim=-1)[:, 0].nonzero().flatten().tolist()
    assert responding == list(range(2, 2 + input_delays + 1))


def test_delayed_inputs_and_outputs_are_kept_latest_first() -> None:
    cell = seeded_cell(2, 5, outputs=3, input_delays=2, output_delays=2)
    inputs = torch.randn(4, 1, 2, dtype=torch.float64)
    outputs, state = run_eagerly(cell, inputs, cell.initial_state(1))
    assert torch.equal(state[0], torch.cat((inputs[3], inputs[2]), dim=-1))
    assert torch.equal(state[1], torch.cat((outputs[3], outputs[2]), dim=-1))


def test_the_gradient_runs_through_the_outputs_that_are_fed_back() -> None:
    cell = seeded_cell(2, 5, input_delays=0, output_delays=1)
    inputs = torch.randn(3, 4, 2, dtype=torch.float64).requires_grad_()
    outputs, _ = run_eagerly(cell, inputs, cell.initial_state(4))
    (gradient,) = torch.autograd.grad(outputs[-1].sum(), inputs)
    assert gradient[0].all()


def test_a_model_of_it_adds_nothing_to_its_outputs() -> None:
    shape = SequenceShape(input_size=3, output_size=4, length=6, readout="every_step")
    options = {"outputs": 4, "input_delays": 1, "output_delays": 2}
    spec = ModelSpec("narx", shape, hidden_size=5, head=NARXCell.head, options=options)
    model = build_model(NARXCell, spec)
    cell = next(module for module in model.modules() if isinstance(module, NARXCell))
    inputs = torch.randn(6, 2, 3)
    expected, _ = run_eagerly(cell, inputs, cell.initial_state(2))
    assert torch.equal(model(inputs), expected)
    by_layer = ((1 + 1) * 3 + 2 * 4) * 5 + 5 + 5 * 4 + 4
    assert NARXCell.parameter_count(3, 5, **options) == by_layer
    assert count_parameters(NARXCell, spec)[0] == by_layer
